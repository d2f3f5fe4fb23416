#!/usr/bin/env bash
# Stands for python and fairseq's commands where the recipes' own handling of files is tested, under each of their names:
# takes no time, and what it makes depends on all that the real one would depend on.
set -euo pipefail

value_of() { # option argument...
  local option=$1
  shift
  while [ "$1" != "$option" ]; do shift; done
  printf '%s' "$2"
}

sum() { cksum | cut -d ' ' -f 1; }

# A file that looks whole to scripts/repair_checkpoints.py: it ends as a zip does. Written as the plugin does.
write_checkpoint() { # file text
  printf '%s\nPK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' "$2" >"$1.new"
  mv "$1.new" "$1"
}

# Each epoch depends on the one before it and on the seed and the rate.
train() { # argument...
  local folder last epochs keep number=0 state=begun kept name
  folder=$(value_of --save-dir "$@") epochs=$(value_of --max-epoch "$@") keep=$(value_of --keep-last-epochs "$@")
  last=$folder/checkpoint_last.pt
  mkdir -p "$folder"
  if [ -f "$last" ]; then
    read -r number state < <(tr -d '\0' <"$last")
  fi
  while [ "$number" -lt "$epochs" ]; do
    number=$((number + 1))
    echo "epoch $number" >>"$TRAINED"
    state=$(echo "$state $number $(value_of --seed "$@") $(value_of --lr "$@")" | sum)
    write_checkpoint "$folder/checkpoint$number.pt" "$number $state"
    for name in best last; do
      ln -f "$folder/checkpoint$number.pt" "$folder/checkpoint_$name.pt.new"
      mv -f "$folder/checkpoint_$name.pt.new" "$folder/checkpoint_$name.pt"
      rm -f "$folder/checkpoint_$name.pt.new"
    done
    for kept in "$folder"/checkpoint[0-9]*.pt; do
      name=${kept##*/checkpoint}
      [ "${name%.pt}" -gt $((number - keep)) ] || rm "$kept"
    done
  done
}

average() { # --output file checkpoint...
  local output=$2
  shift 2
  cat "$@" | sum >"$output.new"
  mv "$output.new" "$output"
}

generate() { # argument...
  local name
  name=$(value_of --results-path "$@")/generate-$(value_of --gen-subset "$@").txt
  printf 'T-0\ta\nD-0\t0\tb\nmodel %s WER: 1.5\n' "$(sum <"$(value_of --path "$@")")" >"$name"
}

# The folders of text, pieces and data of all recipes.
prepare() { # argument...
  local work split
  case "$*" in
    */g2p/*)
      work=$(value_of --output "$@")/fre/text
      mkdir -p "$work"
      for split in train dev; do echo "a a" | tee "$work/$split.word" >"$work/$split.phoneme"; done
      echo "fre 1"
      ;;
    */speech/*) mkdir -p "${!#}" ;;
    *)
      work=$(value_of --work "$@")
      mkdir -p "$work"/{text,spm,encoded}
      for split in train valid test; do echo "a a" | tee "$work/text/$split.en" >"$work/text/$split.zh"; done
      echo pieces | tee "$work/spm/en.model" >"$work/spm/zh.model"
      ;;
  esac
}

preprocess() { # argument...
  local folder lang
  folder=$(value_of --destdir "$@")
  mkdir -p "$folder"
  for lang in "$(value_of --source-lang "$@")" "$(value_of --target-lang "$@")"; do echo "a 1" >"$folder/dict.$lang.txt"; done
}

case ${0##*/} in
  fairseq-train) train "$@" ;;
  fairseq-generate) generate "$@" ;;
  fairseq-preprocess) preprocess "$@" ;;
  python)
    case "$*" in
      *show_progress.py*)
        log=$3
        while [ "$1" != -- ]; do shift; done
        shift
        exec "$@" >>"$log"
        ;;
      *average_checkpoints.py*) average "${@:2}" ;;
      *repair_checkpoints.py*) exec "$REAL_PYTHON" "$@" ;;
      *en_zh/score.py*) sum <"$(value_of --generated "$@")" | tee "$(value_of --hypotheses "$@")" ;;
      *"s2s_plugin translate"*) cat - "$(value_of --model "$@")"/{model.pt,search,languages,en.model} | sum ;;
      *report.py* | *attention.py*) cat "$(find "$KILL_UNDER" -name model.pt -not -path '*/old-*')" ;;
      *prepare.py* | *speech/digits.py*) prepare "$@" ;;
      *) ;; # the rest makes nothing that is looked at
    esac
    ;;
esac
