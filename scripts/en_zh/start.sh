#!/usr/bin/env bash
# What a recipe does before its stages: it checks the options, settles folders and devices, and makes the environment.
# Sourced by stages.sh.
# shellcheck disable=SC2034,SC2154  # used by the scripts that source this; opt_* are set by name, from the table

# All of it, in order. Mistakes show before anything is installed, and those in arguments of fairseq-train before any text
# is read.
start_recipe() { # differences
  check_options
  set_train_args
  set_search_args
  set_paths "$1"
  lock_work
  cd "$ROOT" || die "$ROOT is gone"
  # shellcheck source=scripts/setup.sh
  source scripts/setup.sh
  find_device
  if [ -n "$opt_finetune" ]; then
    check_train_args "$(finetune_stamp)" --finetune-from-model "$opt_finetune/model.pt"
  else
    check_train_args ""
  fi
}

# What can be known wrong before anything is installed or read.
check_options() {
  [ "$opt_src_lang" != "$opt_tgt_lang" ] || die "--src-lang and --tgt-lang are both $opt_src_lang"
  local split src tgt name
  for split in train valid test test2; do
    src=opt_${split}_src tgt=opt_${split}_tgt
    if [ -n "${!src}" ] && [ -z "${!tgt}" ]; then die "--$split-src needs --$split-tgt, its translation"; fi
    if [ -z "${!src}" ] && [ -n "${!tgt}" ]; then die "--$split-tgt needs --$split-src, its original"; fi
  done
  if [ -z "$opt_train_src" ]; then
    [ -z "$opt_valid_src$opt_test_src$opt_test2_src" ] ||
      die "--valid-src, --test-src and --test2-src go with --train-src and --train-tgt"
    case $opt_src_lang-$opt_tgt_lang in
      en-zh | zh-en) ;;
      *) die "--src-lang $opt_src_lang --tgt-lang $opt_tgt_lang: the corpus that comes with this recipe is English (en)" \
        "and Chinese (zh); for other languages give your own with --train-src and --train-tgt" ;;
    esac
  fi
  if [ -n "$opt_teacher" ]; then check_model_folder teacher model.pt languages; fi
  [ -n "$opt_teacher" ] || ! was_given teach || die "--teach $opt_teach needs --teacher, whose translations it is about"
  if [ -n "$opt_finetune" ]; then check_finetune; fi
  [ -z "$opt_test2_src" ] || [ -n "$opt_test_src" ] || die "--test2-src is a second test text: give the first with --test-src"
  if [ "$opt_joint_vocab" -gt 0 ]; then
    for name in vocab-src vocab-tgt; do
      ! was_given "$name" || die "--$name is for one language's vocabulary: it needs --joint-vocab 0"
    done
    [ "$opt_char" = 0 ] || die "--char is for the target language alone: it needs --joint-vocab 0"
  fi
  case $opt_arch-$opt_compute_dtype in
    attn_rnn_s2s*) ;;
    *-bfloat16) die "--compute-dtype bfloat16 is an option of attn_rnn_s2s, which --arch $opt_arch lacks" ;;
    *)
      for name in encoder-dropout-out decoder-dropout-readout; do
        ! was_given "$name" || die "--$name is an option of attn_rnn_s2s, and --arch is $opt_arch: say --dropout"
      done
      ;;
  esac
  if [ "$opt_compute_dtype" = auto ] && [ "${opt_prepare_only:-0}" = 1 ]; then
    die "--compute-dtype auto looks at this machine, and with --prepare-only others train: say float32 or bfloat16"
  fi
  [ "$opt_max_length" -lt "$opt_max_tokens" ] ||
    die "--max-length $opt_max_length does not fit --max-tokens $opt_max_tokens: the longest sentence must fit a batch"
  refuse_extra --finetune-from-model=finetune --max-epoch=epochs --save-dir=work --keep-last-epochs=average \
    --no-epoch-checkpoints=average "--keep-best-checkpoints=average-of best"
  [ "$opt_average" -le "$opt_epochs" ] || opt_average=$opt_epochs
  if [ "$opt_cpu" = 1 ]; then opt_device=cpu; fi
  if [ "$opt_cpu_processes" -gt 1 ]; then
    [ "$opt_device" != gpu ] || die "--cpu-processes $opt_cpu_processes is for the CPU, but --device is gpu"
    opt_device=cpu
  fi
  BLEU_TOKENIZER=$opt_bleu_tokenizer
  if [ "$BLEU_TOKENIZER" = auto ]; then
    case $opt_tgt_lang in zh*) BLEU_TOKENIZER=zh ;; *) BLEU_TOKENIZER=13a ;; esac
  fi
  local side lang
  for side in src tgt; do
    lang=opt_${side}_lang
    case ${!lang} in zh*) set_default "vocab_$side" 6000 ;; *) set_default "vocab_$side" 5000 ;; esac
  done
}

# Whether a folder holds what is needed of a model, for the languages of this run.
check_model_folder() { # option file...
  local option=$1 folder=opt_$1 file languages
  folder=${!folder}
  shift
  for file in "$@"; do
    [ -f "$folder/$file" ] || die "--$option $folder: there is no $file; give the folder \`model\` that a recipe made"
  done
  languages=$(awk -F = '$1 == "src_lang" { src = $2 } $1 == "tgt_lang" { tgt = $2 } END { print src "-" tgt }' "$folder/languages")
  [ "$languages" = "$opt_src_lang-$opt_tgt_lang" ] ||
    die "--$option $folder translates $languages, and this run is to learn $opt_src_lang-$opt_tgt_lang"
}

# Its vocabulary is one that is there: nothing about it can be chosen. Sets FINETUNE_FILES, what is taken of its folder.
check_finetune() {
  local name
  FINETUNE_FILES=(model.pt {"$opt_src_lang","$opt_tgt_lang"}.model dict.{"$opt_src_lang","$opt_tgt_lang"}.txt)
  check_model_folder finetune "${FINETUNE_FILES[@]}" languages
  for name in vocab-src vocab-tgt joint-vocab sp-type coverage char; do
    ! was_given "$name" || die "--$name is for a new vocabulary, and --finetune keeps that of its model: leave one of them out"
  done
  for name in ${EXTRA[@]+"${EXTRA[@]}"}; do
    case $name in
      --reset-* | --restore-file*)
        die "$name after --: --finetune starts from its model with everything else new, and fairseq takes one of them"
        ;;
    esac
  done
  if cmp -s "$opt_finetune"/dict.{"$opt_src_lang","$opt_tgt_lang"}.txt; then opt_joint_vocab=1; else opt_joint_vocab=0; fi
}

set_default() {
  local variable=opt_$1
  [ -n "${!variable}" ] || printf -v "$variable" '%s' "$2"
}

# Makes paths absolute, since the recipe works in the repository's root: files are looked up from where the user is, the
# default work folder from the root.
set_paths() { # differences
  local split side variable default="" pair name
  for split in train valid test test2; do
    for side in src tgt; do
      variable=opt_${split}_${side}
      printf -v "$variable" '%s' "$(absolute "${!variable}" "$PWD")"
    done
  done
  opt_teacher=$(absolute "$opt_teacher" "$PWD")
  opt_finetune=$(absolute "$opt_finetune" "$PWD")
  find_option "$OPTIONS" work
  for pair in $1; do
    [ "${pair%%=*}" != work ] || default=${pair#*=}
  done
  if [ "$opt_work" = "$default" ]; then WORK=$ROOT/$opt_work; else WORK=$(absolute "$opt_work" "$PWD"); fi
  case $WORK in *:*) die "--work $WORK: must not hold a colon, which fairseq takes for the end of a path" ;; esac
  for name in teacher finetune; do
    variable=opt_$name
    if [ -n "${!variable}" ] && [ "${!variable}" -ef "$WORK/model" ]; then
      die "--$name ${!variable} is the model that this run would replace: choose another folder with --work"
    fi
  done
  mkdir -p "$WORK/stamps" "$WORK/logs" 2>/dev/null || die "--work $WORK: cannot be written to"
}
