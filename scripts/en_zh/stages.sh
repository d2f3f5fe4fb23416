#!/usr/bin/env bash
# The stages that make a model, in their order. Sourced by run.sh, train_large.sh and examples/multi30k/run.sh, after
# scripts/lib.sh and settings.sh.
# shellcheck disable=SC2154  # opt_* are set by name, from the table

# shellcheck source=scripts/en_zh/start.sh
source "$ROOT/scripts/en_zh/start.sh"
# shellcheck source=scripts/en_zh/scoring.sh
source "$ROOT/scripts/en_zh/scoring.sh"

prepare() { # step argument...
  local step=$1
  shift
  "$PY" "$ROOT/scripts/en_zh/prepare.py" "$step" --work "$WORK" --src-lang "$opt_src_lang" --tgt-lang "$opt_tgt_lang" \
    --threads "$WORKERS" "$@"
}

checksum_of_files() { # file...
  local file
  for file in "$@"; do cksum <"$file"; done | cksum
}

text_stage() {
  local settings files=() arguments=() held_out=() said
  if [ -z "$opt_train_src" ]; then
    arguments=(--corpus examples/en_zh/data)
    files=(examples/en_zh/data/*.tsv.gz)
  else
    arguments=(--train-src "$opt_train_src" --train-tgt "$opt_train_tgt")
    files=("$opt_train_src" "$opt_train_tgt")
    if [ -n "$opt_valid_src" ]; then
      arguments+=(--valid-src "$opt_valid_src" --valid-tgt "$opt_valid_tgt")
      files+=("$opt_valid_src" "$opt_valid_tgt")
    else
      held_out+=(valid)
    fi
    [ -n "$opt_test_src" ] || held_out+=(test)
    [ ${#held_out[@]} -eq 0 ] || arguments+=(--hold-out "${held_out[@]}")
  fi
  # Contents and not dates: copying a corpus must not cost a training.
  settings=$(
    settings_of src-lang tgt-lang limit
    printf 'corpus=%s %s\n' "${#files[@]}" "$(checksum_of_files "${files[@]}")"
    # What is in it is no matter: the training does not depend on it.
    [ -z "$opt_test_src" ] || echo test-text=given
    if [ -n "$opt_teacher" ]; then
      printf 'teacher=%s\n' "$(teacher_sum)"
      # Not said of a text in the references' place, as stamps of earlier versions do not.
      [ "$opt_teach" = instead ] || echo references=kept
    fi
  )
  # A teacher that was broken off has perhaps changed the text.
  if [ -n "$opt_teacher" ] && [ ! -f "$WORK/stamps/teacher" ]; then rm -f "$WORK/stamps/text"; fi
  if stage_due text "$settings"; then
    rm -f "$WORK/stamps/teacher" # the text is the references' again
    said=$(prepare text "${arguments[@]}" --limit "$opt_limit")
    say text "$said"
    stage_done text "$settings"
  fi
}

# Of the teacher's folder: its model, dictionaries and pieces, and how it searches.
teacher_sum() {
  local file files=()
  for file in "$opt_teacher"/*; do
    # Not the sums of the others, which folders of earlier versions lack.
    if [ -f "$file" ] && [ "${file##*/}" != SHA256SUMS ]; then files+=("$file"); fi
  done
  checksum_of_files "${files[@]}" | cut -d ' ' -f 1
}

# Its translations take the place of the training text's own, or come beside them.
teacher_stage() {
  local settings said text lang translations how=() device=cpu
  [ -n "$opt_teacher" ] || return 0
  if [ "$GPUS" -gt 0 ]; then device=cuda; fi
  settings=$(input_stamp text)
  if stage_due teacher "$settings"; then
    say teacher "$opt_teacher translates the training text"
    if [ "$opt_teach" = beside ]; then how=(--beside); fi
    # Kept: they serve for the other --teach, too, and after a break.
    text=$WORK/text/train
    translations=$WORK/taught/$(teacher_sum)-$(checksum_of_files "$text.$opt_src_lang" "$text.$opt_tgt_lang" | cut -d ' ' -f 1)
    mkdir -p "$WORK/taught"
    said=$("$PY" scripts/en_zh/teach.py --model "$opt_teacher" --source "$text.$opt_src_lang" --target "$text.$opt_tgt_lang" \
      --done "$translations" ${how[@]+"${how[@]}"} --device "$device")
    say teacher "$said"
    for lang in "$opt_src_lang" "$opt_tgt_lang"; do mv "$text.$lang.taught" "$text.$lang"; done
    stage_done teacher "$settings"
  fi
}

# The model that is trained on, without how it searches.
finetune_stamp() {
  printf 'finetune=%s\n' "$(checksum_of_files "${FINETUNE_FILES[@]/#/$opt_finetune/}" | cut -d ' ' -f 1)"
}

vocabulary_stage() {
  local settings vocabulary sizes dictionaries=() tests=() said
  settings=$(
    input_stamp text
    if [ -n "$opt_finetune" ]; then
      finetune_stamp
      settings_of max-length
    else
      settings_of vocab-src vocab-tgt sp-type char max-length
      changed_settings_of joint-vocab coverage
    fi
  )
  if stage_due vocabulary "$settings"; then
    if [ "$opt_joint_vocab" -gt 0 ]; then dictionaries=(--joined-dictionary); fi
    if [ -n "$opt_finetune" ]; then
      vocabulary=(pieces --model "$opt_finetune")
      dictionaries+=(--srcdict "$opt_finetune/dict.$opt_src_lang.txt")
      # fairseq wants one of them where both are the same.
      [ "$opt_joint_vocab" -gt 0 ] || dictionaries+=(--tgtdict "$opt_finetune/dict.$opt_tgt_lang.txt")
    else
      sizes=(--vocab-src "$opt_vocab_src" --vocab-tgt "$opt_vocab_tgt")
      if [ "$opt_char" = 1 ]; then sizes+=(--char); fi
      if [ "$opt_joint_vocab" -gt 0 ]; then sizes=(--joint-vocab "$opt_joint_vocab"); fi
      vocabulary=(vocabulary "${sizes[@]}" --sp-type "$opt_sp_type" --coverage "$opt_coverage")
    fi
    said=$(prepare "${vocabulary[@]}")
    say vocabulary "$said"
    said=$(prepare encode --max-length "$opt_max_length")
    [ -z "$said" ] || say "" "$said"
    if [ -f "$WORK/encoded/test.$opt_src_lang" ]; then tests=(--testpref "$WORK/encoded/test"); fi
    rm -rf "$WORK/data-bin.new"
    logged preprocess fairseq-preprocess --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang" \
      --trainpref "$WORK/encoded/train" --validpref "$WORK/encoded/valid" ${tests[@]+"${tests[@]}"} \
      ${dictionaries[@]+"${dictionaries[@]}"} --destdir "$WORK/data-bin.new" --workers "$WORKERS"
    rm -rf "$WORK/data-bin"
    mv "$WORK/data-bin.new" "$WORK/data-bin"
    stage_done vocabulary "$settings"
  fi
}

set_training_aside() { # reason
  set_aside stamps/{training,model,test} checkpoints model output logs/train.log
  say training "from the start, for a change of: $1; the former model is now in $ASIDE"
}

# Readies the folder of the checkpoints: what a training with other settings left there is moved aside, what one with the
# same settings left is gone on from. Sets TRAINING, the stamp of this training but for its epochs.
ready_training() {
  local former done_before said
  TRAINING=$(
    input_stamp vocabulary
    # shellcheck disable=SC2086  # a list
    settings_of $MODEL_SETTINGS
    # As it was asked for: what `auto` finds on another machine makes no different training.
    changed_settings_of compute-dtype
    printf 'arguments=%s\n' "${TRAIN_ARGS[*]}"
  )
  if ls "$WORK"/checkpoints/*.pt >/dev/null 2>&1; then
    former=$(cat "$WORK/checkpoints/settings" 2>/dev/null || true)
    done_before=$(epochs_done "$WORK/checkpoints")
    if [ "$former" != "$TRAINING" ]; then
      set_training_aside "$(describe_change "$former" "$TRAINING")"
    elif [ "$done_before" -gt "$opt_epochs" ]; then
      set_training_aside "epochs, of which $done_before are done and $opt_epochs are wanted"
    fi
  fi
  # The folder of the model says from the start how its texts are encoded, so that no checkpoint is ever without.
  mkdir -p "$WORK/checkpoints" "$WORK/model"
  rm -f "$WORK/model/SHA256SUMS"
  copy_into "$WORK/model" "$WORK/spm/"*.model "$WORK/data-bin/"dict.*.txt
  replace_file "$WORK/model/languages" "src_lang=$opt_src_lang"$'\n'"tgt_lang=$opt_tgt_lang"
  replace_file "$WORK/checkpoints/settings" "$TRAINING"
  said=$("$PY" scripts/repair_checkpoints.py "$WORK/checkpoints")
  [ -z "$said" ] || say training "$said"
}

train_stage() {
  local settings done_before
  ready_training
  settings=$(printf '%s\nepochs=%s\n' "$TRAINING" "$opt_epochs")
  if [ -f "$WORK/stamps/training" ] && [ "$(cat "$WORK/stamps/training")" = "$settings" ]; then
    say training "done before"
    return 0
  fi
  rm -f "$WORK/stamps/training"
  done_before=$(epochs_done "$WORK/checkpoints")
  # checkpoint_last.pt is written last.
  if [ "$done_before" -eq "$opt_epochs" ] && ! cmp -s "$WORK"/checkpoints/checkpoint{"$done_before",_last}.pt; then
    done_before=$((done_before - 1))
  fi
  if [ "$done_before" -lt "$opt_epochs" ]; then
    set_train_command
    say training "$opt_arch, epochs: $opt_epochs, on $(device_name)${DTYPE_ARGS[1]+ in ${DTYPE_ARGS[1]}}$([ "$done_before" -eq 0 ] ||
      echo ", going on after epoch $done_before"); full log: $WORK/logs/train.log"
    train_model
  else
    say training "done elsewhere: $done_before epochs"
  fi
  stage_done training "$settings"
}

# Sets DTYPE_ARGS: the model's arithmetic, where it is not float32.
set_dtype_args() {
  DTYPE_ARGS=()
  case $opt_compute_dtype-$opt_arch in
    bfloat16-*) DTYPE_ARGS=(--compute-dtype bfloat16) ;;
    auto-attn_rnn_s2s*) if [ "$GPUS" -eq 0 ] && bfloat16_is_faster; then DTYPE_ARGS=(--compute-dtype bfloat16); fi ;;
  esac
}

# Sets TRAIN_COMMAND: the whole fairseq-train command but for where its processes run.
set_train_command() {
  set_schedule_args
  set_dtype_args
  TRAIN_COMMAND=(
    fairseq-train "$WORK/data-bin" --user-dir s2s_plugin --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang"
    "${TRAIN_ARGS[@]}" "${SCHEDULE_ARGS[@]}" ${DTYPE_ARGS[@]+"${DTYPE_ARGS[@]}"}
    --max-epoch "$opt_epochs" --save-dir "$WORK/checkpoints"
    --keep-last-epochs "$((opt_average > 1 ? opt_average : 1))"
    --log-format json --log-interval 20
  )
  if [ -n "$opt_finetune" ]; then TRAIN_COMMAND+=(--finetune-from-model "$opt_finetune/model.pt"); fi
  # Beside the last ones, so that --average-of can be changed afterwards.
  if [ "$opt_average_of" = best ] && [ "$opt_average" -gt 0 ]; then
    TRAIN_COMMAND+=(--keep-best-checkpoints "$opt_average")
  fi
  if [ "$opt_save_updates" -gt 0 ]; then
    TRAIN_COMMAND+=(--save-interval-updates "$opt_save_updates" --keep-interval-updates 1)
  fi
  # Once more and last, so that the user's own arguments win.
  TRAIN_COMMAND+=(${EXTRA[@]+"${EXTRA[@]}"})
}

train_model() {
  local launcher=() device=(${DEVICE_ARGS[@]+"${DEVICE_ARGS[@]}"})
  # On the CPU a process that only loads data takes more than it gives.
  if [ "$GPUS" -eq 0 ]; then device+=(--num-workers 0); fi
  if [ "$GPUS" -gt 0 ]; then
    TRAIN_COMMAND+=(--distributed-world-size "$GPUS")
  elif [ "$opt_cpu_processes" -gt 1 ]; then
    launcher=("$PY" scripts/launch_processes.py "$opt_cpu_processes")
  fi
  logged train --epochs "$opt_epochs" ${launcher[@]+"${launcher[@]}"} \
    "${TRAIN_COMMAND[0]}" ${device[@]+"${device[@]}"} "${TRAIN_COMMAND[@]:1}"
}

model_stage() {
  local settings
  settings=$(
    input_stamp training
    settings_of average
    changed_settings_of average-of
  )
  if stage_due model "$settings"; then
    choose_checkpoints
    logged average "$PY" scripts/average_checkpoints.py --output "$WORK/model/model.pt" "${CHECKPOINTS[@]}"
    say model "$CHOICE"
    stage_done model "$settings"
  fi
  # How `python -m s2s_plugin translate` searches; what a recipe sets comes last and rules.
  replace_file "$WORK/model/search" "--max-len-a 2 --max-len-b 10 ${SEARCH_ARGS[*]}"
  write_sums "$WORK/model"
}

# Sets CHECKPOINTS, arguments of average_checkpoints.py, and CHOICE, which says in words what they are.
choose_checkpoints() {
  local file number
  CHECKPOINTS=()
  if [ "$opt_average" -eq 0 ]; then
    CHECKPOINTS=("$WORK/checkpoints/checkpoint_best.pt") CHOICE="the epoch with the best validation BLEU"
  elif [ "$opt_average_of" = best ]; then
    for file in "$WORK"/checkpoints/checkpoint.best_bleu_*.pt; do
      [ -f "$file" ] || die "--average-of best: this training did not keep its best epochs; it would have to be made" \
        "with it from the start, in another --work"
      CHECKPOINTS+=("$file")
    done
    number=${#CHECKPOINTS[@]}
    # More than are wanted where an earlier run wanted more.
    [ "$number" -le "$opt_average" ] || number=$opt_average
    CHECKPOINTS=(--best "$number" "${CHECKPOINTS[@]}") CHOICE="mean of the $number epochs with the best validation BLEU"
    if [ "$opt_save_updates" -gt 0 ]; then CHOICE=${CHOICE/epochs/checkpoints}; fi
    if [ "$number" -eq 1 ]; then CHOICE="the checkpoint with the best validation BLEU"; fi
  else
    # Fewer than --epochs where an argument of fairseq-train such as --patience ended the training.
    find_last_epochs "$WORK/checkpoints" "$opt_average"
    CHOICE="mean of the last ${#CHECKPOINTS[@]} epochs"
    if [ ${#CHECKPOINTS[@]} -eq 1 ]; then CHOICE="the last epoch"; fi
    case ${CHECKPOINTS[0]} in */checkpoint_last.pt) CHOICE="the last checkpoint" ;; esac
  fi
}
