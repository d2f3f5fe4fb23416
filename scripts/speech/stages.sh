#!/usr/bin/env bash
# The stages of the recipes of speech, in their order, with all that they build on. Sourced by their run.sh. A
# recipe sets FEATURE_SETTINGS and FEATURE_COMMAND, which makes its features in the folder that is given last, and may
# change what stands next.
# shellcheck disable=SC2034,SC2154  # opt_* are set by name, from the table

# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/speech/settings.sh
source "$ROOT/scripts/speech/settings.sh"

TEST_SPLITS=("test") # manifests that --test measures on
ERROR_RATE="word error rate" ERROR_ARGS=()
ATTENTION_ARGS=()

# What comes before the stages: mistakes show before anything is installed. With --smoke and without --data, made-up sound
# stands in for the corpus.
start_speech() { # recipe what-the-data-is
  local default=work/$1 stand_in=0
  if [ "$opt_smoke" = 1 ]; then default=work/$1_smoke; fi
  if [ "$opt_smoke" = 1 ] && [ -z "$opt_data" ]; then
    stand_in=1
  else
    [ -n "$opt_data" ] || die "--data FOLDER is needed: $2"
    opt_data=$(absolute "$opt_data" "$PWD")
  fi
  refuse_extra --max-epoch=epochs --max-update=epochs --save-dir=work --seed=seed --keep-last-epochs=average \
    --no-epoch-checkpoints=average
  [ "$opt_average" -le "$opt_epochs" ] || opt_average=$opt_epochs
  if [ "$opt_work" = "$default" ]; then WORK=$ROOT/$opt_work; else WORK=$(absolute "$opt_work" "$PWD"); fi
  case $WORK in *:*) die "--work $WORK: must not hold a colon, which fairseq takes for the end of a path" ;; esac
  mkdir -p "$WORK/stamps" "$WORK/logs" 2>/dev/null || die "--work $WORK: cannot be written to"
  set_train_args
  lock_work
  cd "$ROOT" || die "$ROOT is gone"
  # shellcheck source=scripts/setup.sh
  source scripts/setup.sh
  find_device
  check_train_args ""
  if [ "$stand_in" = 1 ]; then
    opt_data=$WORK/stand-in
    "$PY" scripts/speech/stand_in.py "$1" "$opt_data"
  fi
}

# Contents and not dates: copying a corpus must not cost a training.
corpus_sum() { # file...
  printf 'corpus=%s\n' "$(cat "$@" | cksum)"
}

features_stage() {
  local said
  if stage_due features "$FEATURE_SETTINGS"; then
    say features "into $WORK/data"
    said=$("${FEATURE_COMMAND[@]}" "$WORK/data")
    say features "$said"
    stage_done features "$FEATURE_SETTINGS"
  fi
}

train_stage() {
  local settings former dtype=() machine
  settings=$(
    input_stamp features
    # shellcheck disable=SC2086  # a list
    settings_of $MODEL_SETTINGS
    changed_settings_of precision
    printf 'arguments=%s\n' "${EXTRA[*]-}"
  )
  if [ -f "$WORK/stamps/training" ] && [ "$(cat "$WORK/stamps/training")" = "$settings" ]; then
    say training "done before"
    return 0
  fi
  former=$(cat "$WORK/checkpoints/settings" 2>/dev/null || true)
  if [ -n "$former" ] && [ "$former" != "$settings" ]; then
    rm -f "$WORK/SHA256SUMS"
    set_aside stamps/training checkpoints model.pt logs/train.log
    say training "from the start, for a change of: $(describe_change "$former" "$settings"); the former one is now in $ASIDE"
  fi
  [ -e "$WORK/checkpoints/checkpoint_last.pt" ] || rm -f "$WORK/logs/train.log"
  mkdir -p "$WORK/checkpoints"
  replace_file "$WORK/checkpoints/settings" "$settings"
  "$PY" scripts/repair_checkpoints.py "$WORK/checkpoints"
  case $opt_compute_dtype in
    bfloat16) dtype=(--compute-dtype bfloat16) ;;
    auto) if [ "$GPUS" -eq 0 ] && bfloat16_is_faster; then dtype=(--compute-dtype bfloat16); fi ;;
  esac
  # On the CPU a process that only loads data takes more than it gives.
  machine=(--cpu --num-workers 0)
  if [ "$GPUS" -gt 0 ]; then machine=(--distributed-world-size "$GPUS"); fi
  say training "epochs: $opt_epochs, on $(device_name)${dtype[1]:+ in ${dtype[1]}}; full log: $WORK/logs/train.log"
  logged train --epochs "$opt_epochs" fairseq-train "$WORK/data" --user-dir s2s_plugin "${TRAIN_ARGS[@]}" "${machine[@]}" \
    ${dtype[@]+"${dtype[@]}"} --save-dir "$WORK/checkpoints" --log-format json --log-interval 20
  # Fewer than --average where an argument of fairseq-train such as --patience ended the training.
  find_last_epochs "$WORK/checkpoints" "$opt_average"
  logged average "$PY" scripts/average_checkpoints.py --output "$WORK/model.pt" "${CHECKPOINTS[@]}"
  write_sums "$WORK"
  stage_done training "$settings"
}

score_stage() { # split
  local settings device=(${DEVICE_ARGS[@]+"${DEVICE_ARGS[@]}"})
  settings=$(
    input_stamp training
    settings_of beam lenpen max-len-b
  )
  stage_due "$1" "$settings" || return 0
  logged "generate-$1" fairseq-generate "$WORK/data" --user-dir s2s_plugin --task speech_to_text --num-workers 0 \
    ${device[@]+"${device[@]}"} \
    --path "$WORK/model.pt" --gen-subset "$1" --max-tokens 20000 --required-batch-size-multiple 1 --beam "$opt_beam" --lenpen "$opt_lenpen" \
    --max-len-b "$opt_max_len_b" --scoring wer ${ERROR_ARGS[@]+"${ERROR_ARGS[@]}"} --results-path "$WORK"
  say "$1" "$ERROR_RATE $(sed -n 's/^.*WER: \([0-9.]*\).*$/\1/p' "$WORK/generate-$1.txt" | tail -n 1) %"
  stage_done "$1" "$settings"
}

attention_stage() { # split
  local settings
  settings=$(
    input_stamp training
    settings_of beam lenpen max-len-b
  )
  stage_due "attention-$1" "$settings" || return 0
  logged "attention-$1" "$PY" scripts/speech/attention.py "$WORK/data" --path "$WORK/model.pt" --split "$1" \
    --beam "$opt_beam" --lenpen "$opt_lenpen" --max-len-b "$opt_max_len_b" --picture "$WORK/attention-$1.png" \
    ${ATTENTION_ARGS[@]+"${ATTENTION_ARGS[@]}"}
  grep '^warning:' "$WORK/logs/attention-$1.log" >&2 || true
  say "attention" "$(tail -n 1 "$WORK/logs/attention-$1.log"); picture: $WORK/attention-$1.png"
  stage_done "attention-$1" "$settings"
}

speech_stages() {
  local splits=(valid) split
  if [ "$opt_test" = 1 ]; then splits=("${TEST_SPLITS[@]}"); fi
  features_stage
  train_stage
  for split in "${splits[@]}"; do
    score_stage "$split"
    attention_stage "$split"
    printf '\nThe first recordings of %s, what is said and what was heard:\n' "$split"
    awk -F '\t' '/^T-/ { said[substr($1, 3)] = $2 } /^D-/ { heard[substr($1, 3)] = $3 }
      END { for (k = 0; k < 5 && k in said; k++) printf "  %s\n    %s\n", said[k], heard[k] }' "$WORK/generate-$split.txt"
    echo
    if [ "$opt_smoke" = 1 ]; then echo "A smoke run: it trained too little for these numbers to mean anything."; fi
    tail -n 1 "$WORK/generate-$split.txt"
  done
  echo "Model:  $WORK/model.pt"
}
