#!/usr/bin/env bash
# What the recipes share: options from a table, stages that are skipped when nothing changed, commands with a log.
# To be sourced by scripts with `set -euo pipefail`. Written for bash 3.2 and newer.
# shellcheck disable=SC2034,SC2154  # opt_* are set by name, from the table; EXTRA is for the scripts that source this

die() {
  echo "error: $*" >&2
  exit 1
}

say() { printf '==> %-11s %s\n' "$1" "$2"; }

# --- options ----------------------------------------------------------------------------------------------------------
# A table has a line `name | kind | default | help` for each option; a line without `|` is a heading of --help.
# Kinds: int (1 or more), count (0 or more), counts (several, between spaces), number (0 or more), share (0 to below 1),
# coverage (0.98 to 1, as sentencepiece has it), lang, langs (several), word, file and folder (must exist), path, flag, and
# choice:a,b,c. A value comes from the command line, else from the environment variable S2S_NAME, else from the differences
# that a mode sets, else from the table.

trim() {
  local text=$1
  text=${text#"${text%%[![:space:]]*}"}
  printf '%s' "${text%"${text##*[![:space:]]}"}"
}

# Splits a line of the table into name, kind, default, help; false for a heading.
split_option() {
  case $1 in *'|'*) ;; *) return 1 ;; esac
  local rest=$1
  name=$(trim "${rest%%|*}") rest=${rest#*|}
  kind=$(trim "${rest%%|*}") rest=${rest#*|}
  default=$(trim "${rest%%|*}") help=$(trim "${rest#*|}")
}

variable_of() { printf 'opt_%s' "$1" | tr - _; }

environment_of() { printf 'S2S_%s' "$1" | tr 'a-z-' 'A-Z_'; }

# Prints what is wrong with a value of a kind, or nothing.
value_fault() { # kind value
  local number='^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$' word
  case $1 in
    int) [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || echo "must be a whole number of at least 1" ;;
    count) [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || echo "must be a whole number of at least 0" ;;
    number) [[ $2 =~ $number ]] || echo "must be a number of at least 0" ;;
    share) [[ $2 =~ ^(0|0?\.[0-9]+|0\.)$ ]] || echo "must be a number from 0 to below 1" ;;
    coverage) [[ $2 =~ ^(1(\.0*)?|0?\.9[89][0-9]*)$ ]] || echo "must be a number from 0.98 to 1" ;;
    lang) [[ $2 =~ ^[a-z]{2,3}([_-][A-Za-z]+)?$ ]] || echo "must be a language code such as en, zh or pt_BR" ;;
    counts | langs)
      for word in $2; do
        [ -z "$(value_fault "${1%s}" "$word")" ] || echo "$word $(value_fault "${1%s}" "$word")"
      done
      [ -z "$(tr -s ' ' '\n' <<<"$2" | sort | uniq -d)" ] || echo "says one twice"
      ;;
    list) [[ $2 =~ ^[0-9.]+(,[0-9.]+)*$ ]] || echo "must be numbers with commas between" ;;
    word) [[ $2 =~ ^[A-Za-z0-9_-]+$ ]] || echo "must be a name of letters, digits and _" ;;
    flag) [[ $2 =~ ^[01]$ ]] || echo "must be 1 (yes) or 0 (no)" ;;
    file)
      if [ ! -e "$2" ]; then
        echo "does not exist"
      elif [ ! -f "$2" ]; then
        echo "is not a file"
      elif [ ! -r "$2" ]; then
        echo "cannot be read"
      fi
      ;;
    folder) [ -d "$2" ] || echo "is no folder" ;;
    path)
      case $2 in
        '') echo "must not be empty" ;;
        *:*) echo "must not hold a colon, which fairseq takes for the end of a path" ;;
      esac
      ;;
    choice:*)
      case ",${1#choice:}," in *",$2,"*) ;; *) echo "must be one of ${1#choice:}" ;; esac
      ;;
  esac
}

set_option() { # kind name value shown
  local fault=""
  # An empty value stands for "not given", where the table's default is empty too.
  if [ -n "$3" ] || [ "$1" = path ]; then fault=$(value_fault "$1" "$3"); fi
  [ -z "$fault" ] || die "$4 $3: $fault"
  printf -v "$(variable_of "$2")" '%s' "$3"
}

# Sets opt_NAME for every option of the table, GIVEN to the names of those that the user gave, and the array EXTRA to what
# follows `--`.
parse_options() { # table mode-differences argument...
  local table=$1 differences=$2 line name kind default help names="" given value env pair
  shift 2
  GIVEN=" "
  while IFS= read -r line; do
    split_option "$line" || continue
    names="$names --$name"
    for pair in $differences; do
      [ "${pair%%=*}" != "$name" ] || default=${pair#*=}
    done
    printf -v "$(variable_of "$name")" '%s' "$default"
    env=$(environment_of "$name")
    if [ -n "${!env:-}" ]; then
      set_option "$kind" "$name" "${!env}" "$env"
      GIVEN="$GIVEN$name "
    fi
  done <<<"$table"
  EXTRA=()
  while [ $# -gt 0 ]; do
    case $1 in
      --)
        shift
        EXTRA=("$@")
        break
        ;;
      --*) given=${1#--} ;;
      *) die "unexpected argument '$1'; the options are:$names" ;;
    esac
    if ! find_option "$table" "${given%%=*}"; then
      die "unknown option --${given%%=*}; the options are:$names"
    fi
    if [ "$kind" = flag ]; then
      case $given in *=*) value=${given#*=} ;; *) value=1 ;; esac
    else
      case $given in
        *=*) value=${given#*=} ;;
        *)
          [ $# -ge 2 ] || die "--$given needs a value"
          value=$2
          shift
          ;;
      esac
      [ -n "$value" ] || die "--${given%%=*} needs a value"
    fi
    set_option "$kind" "$name" "$value" "--$name"
    GIVEN="$GIVEN$name "
    shift
  done
}

# Whether the user gave the option, on the command line or as an environment variable.
was_given() { # name
  case $GIVEN in *" $1 "*) return 0 ;; esac
  return 1
}

# Sets kind, default and help to those of the option; false if the table has none of that name.
find_option() { # table name
  local line
  while IFS= read -r line; do
    if split_option "$line" && [ "$name" = "$2" ]; then return 0; fi
  done <<<"$1"
  return 1
}

# Whether a flag stands among the arguments (before `--`), for what has to be known before the others are read.
has_flag() { # flag argument...
  local flag=$1 argument
  shift
  for argument in "$@"; do
    [ "$argument" != -- ] || return 1
    [ "$argument" != "$flag" ] || return 0
  done
  return 1
}

# What a recipe begins with: says its usage and leaves, or reads the options of the table OPTIONS. Sets `differences` to
# those that hold.
read_options() { # differences smoke-differences argument...
  differences=$1
  local smoke_differences=$2
  shift 2
  if has_flag --help "$@" || has_flag -h "$@"; then
    usage
    exit 0
  fi
  if has_flag --smoke "$@" || [ "${S2S_SMOKE:-0}" = 1 ]; then differences=$smoke_differences; fi
  parse_options "$OPTIONS" "$differences" "$@"
}

# Dies of an argument of fairseq-train after `--` that an option of the recipe's own is for.
refuse_extra() { # argument=option...
  local argument pair
  for argument in ${EXTRA[@]+"${EXTRA[@]}"}; do
    for pair in "$@"; do
      [ "${argument%%=*}" != "${pair%%=*}" ] || die "$argument after --: say --${pair#*=} before it"
    done
  done
}

print_options() { # table mode-differences
  local line name kind default help pair
  while IFS= read -r line; do
    if split_option "$line"; then
      for pair in $2; do
        [ "${pair%%=*}" != "$name" ] || default=${pair#*=}
      done
      case $kind in
        flag) kind="" default="" ;;
        choice:*) kind=$(printf '%s' "${kind#choice:}" | tr , '|') ;;
        int | count | number | share | coverage) kind=N ;;
        counts) kind='"N ..."' ;;
        langs) kind='"LANG ..."' ;;
        *) kind=$(printf '%s' "$kind" | tr '[:lower:]' '[:upper:]') ;;
      esac
      kind="--$name${kind:+ $kind}"
      [ ${#kind} -le 26 ] || kind="$kind"$'\n'"$(printf '%28s' '')"
      printf '  %-26s %s%s\n' "$kind" "$help" "${default:+ [$default]}"
    elif [ -n "$line" ]; then
      printf '\n%s\n' "$line"
    fi
  done <<<"$1"
}

absolute() { case $1 in '' | /*) printf '%s' "$1" ;; *) printf '%s/%s' "$2" "$1" ;; esac }

# Learning rates from a peak down to 0 with the last epoch, one an epoch, between commas. fairseq's own linear decay wants
# the number of updates, which nobody knows yet.
linear_rates() { # peak epochs
  awk -v peak="$1" -v epochs="$2" 'BEGIN {
    for (epoch = 1; epoch <= epochs; epoch++)
      printf "%s%.4g", (epoch > 1 ? "," : ""), peak * (1 - (epoch - 0.5) / epochs)
  }'
}

# --- files ------------------------------------------------------------------------------------------------------------
# A file is written beside and renamed, so that a full disk or a kill leaves the old one whole.

# Of the disk that holds WORK; the second where `sync` knows no `-f`.
sync_disk() { sync -f "$WORK" 2>/dev/null || sync; }

# What is the same already is not written again.
replace_file() { # file text
  if [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; then return 0; fi
  if ! { printf '%s\n' "$2" >"$1.new"; } 2>/dev/null || ! sync_disk || ! mv "$1.new" "$1"; then
    rm -f "$1.new"
    die "$1: cannot be written"
  fi
}

copy_into() { # folder file...
  local folder=$1 file to
  shift
  for file in "$@"; do
    to=$folder/${file##*/}
    if ! cmp -s "$file" "$to" && ! { cp "$file" "$to.new" && sync_disk && mv -f "$to.new" "$to"; } 2>/dev/null; then
      rm -f "$to.new"
      die "$to: cannot be written"
    fi
  done
}

# Moves what a former model left, named as in WORK, into a new folder, ASIDE; nothing is ever deleted. Stamps are named
# first, so that none speaks of what is gone. The move is done when the folder gets its name: one that was broken off
# before is undone by take_back.
set_aside() { # name...
  local number=1 name half=$WORK/old-half
  while [ -e "$WORK/old-$number" ]; do number=$((number + 1)); done
  ASIDE=$WORK/old-$number
  mkdir "$half"
  replace_file "$half/contents" "$(printf '%s\n' "$@")"
  for name in "$@"; do
    if [ -e "$WORK/$name" ]; then
      mkdir -p "$(dirname "$half/$name")"
      mv "$WORK/$name" "$half/$name"
    fi
  done
  mv "$half" "$ASIDE"
}

# Puts back what a set_aside that was broken off had moved, stamps last.
take_back() {
  local half=$WORK/old-half name names=() number=1
  [ -d "$half" ] || return 0
  if [ -f "$half/contents" ]; then
    while IFS= read -r name; do names=("$name" ${names[@]+"${names[@]}"}); done <"$half/contents"
  fi
  for name in ${names[@]+"${names[@]}"}; do
    if [ -e "$half/$name" ] && [ ! -e "$WORK/$name" ]; then mv "$half/$name" "$WORK/$name"; fi
  done
  if [ -z "$(find "$half" ! -type d ! -path "$half/contents*" | head -n 1)" ]; then
    rm -rf "$half"
  else # somebody made anew what was to come back
    while [ -e "$WORK/old-$number" ]; do number=$((number + 1)); done
    mv "$half" "$WORK/old-$number"
  fi
}

# What a run that was broken off left half-written. A stage that is done again does so itself, but one may not be.
remove_leftovers() {
  rm -rf "$WORK"/{text,tests,spm,encoded,tests-encoded,data-bin}.new "$WORK"/*/data-bin{,-test}.new
  rm -f "$WORK"/{stamps,model,output,data,taught}/*.new "$WORK"/*/seed-*/*.new "$WORK"/{model.pt,room}.new
}

# What stands behind a failure at the very end: a full disk, and what to do. For a trap of EXIT.
explain_exit() {
  local status=$? fault=""
  if [ "$status" -gt 0 ] && [ "$status" -lt 128 ]; then
    fault=$({ printf '%65536s' '' >"$WORK/room.new"; } 2>&1) || true
    rm -f "$WORK/room.new"
    case $fault in
      *"No space left"* | *"quota exceeded"*)
        echo "error: there is no room left in $WORK: make room and run the same command again" >&2
        status=1
        ;;
    esac
  fi
  exit "$status"
}

# --- checkpoints ------------------------------------------------------------------------------------------------------

# Numbers of the epochs whose checkpoints are in a folder, from the first to the last.
epoch_numbers() { # folder
  local file number
  for file in "$1"/checkpoint[0-9]*.pt; do
    number=${file##*/checkpoint} number=${number%.pt}
    case $number in *[!0-9]*) ;; *) echo "$number" ;; esac # others are of updates, or there is none
  done | sort -n
}

# The last epoch that was finished; 0 if none was.
epochs_done() { # folder
  local last
  last=$(epoch_numbers "$1" | tail -n 1)
  echo "${last:-0}"
}

# Sets CHECKPOINTS to those of the last epochs, at most so many: a training that was killed while it saved may have left
# one more than it keeps, and an earlier one may have kept fewer. Where there are none it is the last checkpoint.
find_last_epochs() { # folder count
  local number
  CHECKPOINTS=()
  while IFS= read -r number; do CHECKPOINTS+=("$1/checkpoint$number.pt"); done < <(epoch_numbers "$1" | tail -n "$2")
  [ ${#CHECKPOINTS[@]} -gt 0 ] || CHECKPOINTS=("$1/checkpoint_last.pt")
}

# --- stages -----------------------------------------------------------------------------------------------------------
# The stamp of a finished stage holds its settings, `key=value` a line, and the checksums of the stamps it builds on. A
# stage is done again when these lines differ, and so are the ones that build on it.

# Prints lines `key=value` for options.
settings_of() {
  local name variable
  for name in "$@"; do
    variable=$(variable_of "$name")
    printf '%s=%s\n' "$name" "${!variable}"
  done
}

# The same for options that stamps of earlier versions lack: only those that are not at their defaults, so that what was
# made before such an option existed is not made again.
changed_settings_of() {
  local name variable option kind default help
  for option in "$@"; do
    find_option "$OPTIONS" "$option"
    variable=$(variable_of "$option")
    [ "${!variable}" = "$default" ] || settings_of "$option"
  done
}

input_stamp() { printf 'input-%s=%s\n' "$1" "$(cksum <"$WORK/stamps/$1")"; }

# The value of a key in a stamp; of an option that the stamp lacks, its default.
stamped_value() { # stamp key
  local line name kind default="" help
  if line=$(grep "^$2=" <<<"$1"); then
    printf '%s' "${line#*=}"
  elif find_option "${OPTIONS:-}" "$2"; then
    printf '%s' "$default"
  fi
}

# Says in a few words how settings differ: "vocab-tgt 6000 -> 3000".
describe_change() { # old new
  local key old new said=""
  while IFS= read -r key; do
    old=$(stamped_value "$1" "$key") new=$(stamped_value "$2" "$key")
    if [ "$old" != "$new" ]; then
      case $key in
        input-*) [ -n "$said" ] || said="what it builds on" ;;
        arguments) [ -n "$said" ] || said="arguments of fairseq-train" ;;
        corpus) said="${said:+$said, }the corpus" ;;
        *) said="${said:+$said, }$key $old -> $new" ;;
      esac
    fi
  done < <(printf '%s\n' "$2" "$1" | sed 's/=.*//' | awk 'NF && !seen[$0]++')
  printf '%s' "${said:-settings}"
}

# True if the stage has to run; its stamp is gone then.
stage_due() { # name settings
  local stamp="$WORK/stamps/$1" old
  if [ -f "$stamp" ]; then
    old=$(cat "$stamp")
    if [ "$old" = "$2" ]; then
      say "$1" "done before"
      return 1
    fi
    say "$1" "again, for a change of: $(describe_change "$old" "$2")"
    rm -f "$stamp"
  fi
  return 0
}

# All that the stage wrote is on the disk before its stamp is.
stage_done() { # name settings
  replace_file "$WORK/stamps/$1" "$2"
}

# Runs a command; its output goes to a log, and what it died of to the screen. With --epochs N it shows a training.
logged() { # log [--epochs N] command...
  local log="$WORK/logs/$1.log" view=()
  shift
  if [ "$1" = --epochs ]; then
    view=("$1" "$2")
    shift 2
  else
    rm -f "$log"
  fi
  "$PY" "$ROOT/scripts/show_progress.py" --log "$log" ${view[@]+"${view[@]}"} -- "$@"
}

# --- machine ----------------------------------------------------------------------------------------------------------
# Of the options device, gpus, precision and threads.

# Sets GPUS to the number of GPUs to train on, 0 for the CPU; and threads.
find_device() {
  local seen=0
  GPUS=0
  if [ "$opt_device" != cpu ] && command -v nvidia-smi >/dev/null 2>&1; then
    seen=$("$PY" -c 'import torch; print(torch.cuda.device_count())' 2>/dev/null) || seen=0
  fi
  if [ "$opt_device" = gpu ] && [ "$seen" -eq 0 ]; then die "--device gpu: PyTorch sees no GPU here"; fi
  [ "$opt_gpus" -le "$seen" ] || [ "$opt_gpus" -le 1 ] || die "--gpus $opt_gpus: PyTorch sees $seen here"
  if [ "$seen" -gt 0 ]; then GPUS=$opt_gpus; fi
  if [ "$seen" -gt 0 ] && [ "$GPUS" -eq 0 ]; then GPUS=$seen; fi
  if [ "$GPUS" -eq 0 ] && [ "$opt_precision" != float32 ] && [ "${opt_prepare_only:-0}" = 0 ]; then
    die "--precision $opt_precision needs a GPU: fairseq has it nowhere else"
  fi
  DEVICE_ARGS=()
  if [ "$GPUS" -eq 0 ]; then DEVICE_ARGS=(--cpu); fi
  if [ "$opt_threads" -gt 0 ]; then export OMP_NUM_THREADS=$opt_threads; fi
  WORKERS=$opt_threads
  if [ "$WORKERS" -eq 0 ]; then WORKERS=$("$PY" -c 'import os; print(os.cpu_count() or 1)'); fi
}

device_name() {
  if [ "$GPUS" -gt 0 ]; then
    echo "$GPUS GPU$([ "$GPUS" -eq 1 ] || echo s)"
  elif [ "${opt_cpu_processes:-1}" -gt 1 ]; then
    echo "the CPU in $opt_cpu_processes processes"
  else
    echo "the CPU"
  fi
}

# Whether this CPU multiplies matrices faster in bfloat16 than in float32.
bfloat16_is_faster() {
  local answer
  # `ops` by itself imports torch alone, and fairseq takes seconds.
  answer=$(PYTHONPATH=s2s_plugin "$PY" -c 'from ops.arithmetic import bfloat16_is_faster; print(bfloat16_is_faster())')
  [ "$answer" = True ]
}

# fairseq-train reads its arguments only when all is prepared; a mistake in them should show now.
check_train_args() { # line-of-the-stamp-or-nothing further-argument...
  local settings arguments=("${TRAIN_ARGS[@]}" "${@:2}")
  settings=$(printf 'arguments=%s\n%s' "${arguments[*]}" "$1")
  if [ ! -f "$WORK/stamps/arguments" ] || [ "$(cat "$WORK/stamps/arguments")" != "$settings" ]; then
    logged arguments "$PY" scripts/check_train_args.py "$WORK/data-bin" --user-dir s2s_plugin "${arguments[@]}"
    stage_done arguments "$settings"
  fi
}

# Writes the sums of a model's folder, which whoever loads it checks. Before a file of it changes they have to go, so that
# a run that is broken off leaves none that are wrong.
write_sums() { # folder
  "$PY" -P s2s_plugin/folder.py "$1"
}

# Two runs in one folder would overwrite each other's work. The lock ends with the last process that holds it. Whoever has
# it clears up what the one before left.
lock_work() {
  if command -v flock >/dev/null 2>&1; then
    exec 9>"$WORK/.lock"
    # What a killed run started needs some seconds to notice.
    flock -w 10 9 || die "another run is at work in $WORK: wait for it, or choose another folder with --work"
  fi
  trap explain_exit EXIT
  take_back
  remove_leftovers
}
