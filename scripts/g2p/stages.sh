#!/usr/bin/env bash
# The stages of the recipe, in their order. Sourced by run.sh, after scripts/lib.sh and settings.sh.
# shellcheck disable=SC2154  # opt_* are set by name, from the table

# What can be known wrong before anything is installed or read.
check_options() {
  if [ "$opt_smoke" = 1 ] && [ -z "$opt_data" ]; then opt_data=$ROOT/examples/g2p/data; fi
  [ -n "$opt_data" ] || die "--data FOLDER is needed: the folder task1/data of https://github.com/sigmorphon/2020, or one" \
    "with {language}_{train,dev,test}.tsv of your own; --smoke tries the recipe on a sample"
  if was_given seed; then
    ! was_given seeds || die "--seed $opt_seed and --seeds $opt_seeds: say one of them"
    opt_seeds=$opt_seed
  fi
  refuse_extra --max-epoch=epochs --max-update=epochs --save-dir=work --seed=seeds --keep-last-epochs=average \
    --no-epoch-checkpoints=average
  [ "$opt_average" -le "$opt_epochs" ] || opt_average=$opt_epochs
}

# Makes paths absolute, since the recipe works in the repository's root: what the user names is meant from where the user
# is, the default folders from the root.
set_paths() {
  opt_data=$(absolute "$opt_data" "$PWD")
  case $opt_work in
    work/g2p | work/g2p_smoke) WORK=$ROOT/$opt_work ;;
    *) WORK=$(absolute "$opt_work" "$PWD") ;;
  esac
  case $WORK in *:*) die "--work $WORK: must not hold a colon, which fairseq takes for the end of a path" ;; esac
  mkdir -p "$WORK/stamps" "$WORK/logs" 2>/dev/null || die "--work $WORK: cannot be written to"
  if [ "$opt_threads" -gt 0 ]; then export OMP_NUM_THREADS=$opt_threads; fi
}

# Not a stage that is skipped: it takes no time, and what follows depends on the text and not on the date of a file.
text_stage() {
  local arguments=() splits=(train dev) said
  if [ "$opt_any_data" = 0 ]; then arguments=(--sums scripts/g2p/sigmorphon2020.sha256); fi
  if [ "$opt_test" = 1 ]; then splits+=(test); fi
  # shellcheck disable=SC2086  # a list
  said=$("$PY" scripts/g2p/prepare.py text --data "$opt_data" --output "$WORK" --languages $opt_languages \
    --splits "${splits[@]}" --split-marks $opt_split_marks ${arguments[@]+"${arguments[@]}"})
  while IFS= read -r line; do say data "$line"; done <<<"$said"
}

corpus_line() { # text-file...
  printf 'corpus=%s\n' "$(cat "$@" | cksum)"
}

preprocess() { # language destination argument...
  local language=$1 destination=$2
  shift 2
  rm -rf "$destination.new"
  logged "preprocess-$language" fairseq-preprocess --source-lang word --target-lang phoneme \
    --destdir "$destination.new" --workers 1 "$@"
  rm -rf "$destination"
  mv "$destination.new" "$destination"
}

data_stage() { # language
  local text=$WORK/$1/text settings
  settings=$(corpus_line "$text"/{train,dev}.{word,phoneme})
  if stage_due "data-$1" "$settings"; then
    preprocess "$1" "$WORK/$1/data-bin" --trainpref "$text/train" --validpref "$text/dev"
    stage_done "data-$1" "$settings"
  fi
}

# The test words in a folder of their own: what the models are trained with stays as it is.
test_data_stage() { # language
  local text=$WORK/$1/text data=$WORK/$1/data-bin settings
  settings=$(
    input_stamp "data-$1"
    corpus_line "$text"/test.{word,phoneme}
  )
  if stage_due "data-test-$1" "$settings"; then
    preprocess "$1" "$data-test" --testpref "$text/test" \
      --srcdict "$data/dict.word.txt" --tgtdict "$data/dict.phoneme.txt"
    stage_done "data-test-$1" "$settings"
  fi
}

train_stage() { # language seed
  local name=train-$1-$2 run=$WORK/$1/seed-$2 settings former
  settings=$(
    input_stamp "data-$1"
    # shellcheck disable=SC2086  # a list
    settings_of $MODEL_SETTINGS
    printf 'arguments=%s\n' "${EXTRA[*]-}"
  )
  if [ -f "$WORK/stamps/$name" ] && [ "$(cat "$WORK/stamps/$name")" = "$settings" ]; then
    rm -rf "$run/checkpoints" # a break may have left some
    say "$name" "done before"
    return 0
  fi
  former=$(cat "$run/settings" 2>/dev/null || true)
  if [ -n "$former" ] && [ "$former" != "$settings" ]; then
    set_aside stamps/{"train-$1-$2","dev-$1-$2","test-$1-$2"} "$1/seed-$2" "logs/$name.log"
    say "$name" "from the start, for a change of: $(describe_change "$former" "$settings"); the former model is now in $ASIDE"
  fi
  # The log goes on with the training; that of a model that was made before would count twice.
  [ -e "$run/checkpoints/checkpoint_last.pt" ] || rm -f "$WORK/logs/$name.log"
  mkdir -p "$run/checkpoints"
  replace_file "$run/settings" "$settings"
  "$PY" scripts/repair_checkpoints.py "$run/checkpoints"
  say "$name" "$opt_arch, epochs: $opt_epochs; full log: $WORK/logs/$name.log"
  logged "$name" --epochs "$opt_epochs" fairseq-train "$WORK/$1/data-bin" --user-dir s2s_plugin "${TRAIN_ARGS[@]}" \
    --seed "$2" --save-dir "$run/checkpoints" --log-format json --log-interval 20
  average_checkpoints "$1" "$run"
  stage_done "$name" "$settings"
  # Leaves model.pt alone: with the optimizer's state the checkpoints are many times as large. After the stamp: a mean of
  # those that a break would leave is another model.
  rm -rf "$run/checkpoints"
}

average_checkpoints() { # language run
  rm -f "$2/SHA256SUMS"
  # Fewer than --average where an argument of fairseq-train such as --patience ended the training.
  find_last_epochs "$2/checkpoints" "$opt_average"
  logged "average-$1" "$PY" scripts/average_checkpoints.py --output "$2/model.pt" "${CHECKPOINTS[@]}"
  # What `python -m s2s_plugin translate --model` wants beside it.
  copy_into "$2" "$WORK/$1/data-bin"/dict.{word,phoneme}.txt
  replace_file "$2/languages" $'src_lang=word\ntgt_lang=phoneme'
}

measure_stage() { # language seed dev|test
  local name=$3-$1-$2 run=$WORK/$1/seed-$2 data=$WORK/$1/data-bin input=data-$1 subset=valid settings
  if [ "$3" = test ]; then data=$WORK/$1/data-bin-test input=data-test-$1 subset="test"; fi
  settings=$(
    input_stamp "train-$1-$2"
    input_stamp "$input"
    settings_of beam lenpen
  )
  rm -f "$run/SHA256SUMS"
  replace_file "$run/search" "--beam $opt_beam --lenpen $opt_lenpen"
  write_sums "$run"
  stage_due "$name" "$settings" || return 0
  logged "$name" fairseq-generate "$data" --user-dir s2s_plugin --task attn_translation --cpu --num-workers 0 \
    --source-lang word --target-lang phoneme --path "$run/model.pt" --gen-subset "$subset" --batch-size 128 \
    --beam "$opt_beam" --lenpen "$opt_lenpen" --scoring error_rate --results-path "$run"
  say "$name" "$(tail -n 1 "$run/generate-$subset.txt" | sed 's/^.*: //')"
  stage_done "$name" "$settings"
}

finish() {
  local split splits=(dev)
  if [ "$opt_test" = 1 ]; then splits+=(test); fi
  for split in "${splits[@]}"; do
    echo
    echo "$split, seeds $opt_seeds"
    # shellcheck disable=SC2086  # lists
    "$PY" scripts/g2p/report.py --work "$WORK" --split "$split" --languages $opt_languages --seeds $opt_seeds |
      tee "$WORK/$split.txt"
  done
  echo
  if [ "$opt_smoke" = 1 ]; then echo "A smoke run: it trained too little for these numbers to mean anything."; fi
  echo "Models:  $WORK/LANGUAGE/seed-N/model.pt"
}
