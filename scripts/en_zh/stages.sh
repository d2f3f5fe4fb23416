#!/usr/bin/env bash
# The stages of the recipes, in their order. Sourced by run.sh and train_large.sh, after scripts/lib.sh and settings.sh.
# shellcheck disable=SC2154  # opt_* are set by name, from the table

# What can be known wrong before anything is installed or read.
check_options() {
  [ "$opt_src_lang" != "$opt_tgt_lang" ] || die "--src-lang and --tgt-lang are both $opt_src_lang"
  local split src tgt
  for split in train valid test; do
    src=opt_${split}_src tgt=opt_${split}_tgt
    if [ -n "${!src}" ] && [ -z "${!tgt}" ]; then die "--$split-src needs --$split-tgt, its translation"; fi
    if [ -z "${!src}" ] && [ -n "${!tgt}" ]; then die "--$split-tgt needs --$split-src, its original"; fi
  done
  if [ -z "$opt_train_src" ]; then
    [ -z "$opt_valid_src$opt_test_src" ] || die "--valid-src and --test-src go with --train-src and --train-tgt"
    case $opt_src_lang-$opt_tgt_lang in
      en-zh | zh-en) ;;
      *) die "--src-lang $opt_src_lang --tgt-lang $opt_tgt_lang: the corpus that comes with this recipe is English (en)" \
        "and Chinese (zh); for other languages give your own with --train-src and --train-tgt" ;;
    esac
  fi
  [ "$opt_max_length" -lt "$opt_max_tokens" ] ||
    die "--max-length $opt_max_length does not fit --max-tokens $opt_max_tokens: the longest sentence must fit a batch"
  local argument
  for argument in ${EXTRA[@]+"${EXTRA[@]}"}; do
    case ${argument%%=*} in
      --max-epoch) die "$argument after --: say --epochs before it" ;;
      --save-dir) die "$argument after --: say --work before it" ;;
      --keep-last-epochs | --no-epoch-checkpoints) die "$argument after --: say --average before it" ;;
    esac
  done
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

set_default() {
  local variable=opt_$1
  [ -n "${!variable}" ] || printf -v "$variable" '%s' "$2"
}

absolute() { case $1 in '' | /*) printf '%s' "$1" ;; *) printf '%s/%s' "$2" "$1" ;; esac }

# Makes paths absolute, since the recipe works in the repository's root: files are looked up from where the user is, the
# default work folder from the root.
set_paths() { # differences
  local split side variable default="" pair
  for split in train valid test; do
    for side in src tgt; do
      variable=opt_${split}_${side}
      printf -v "$variable" '%s' "$(absolute "${!variable}" "$PWD")"
    done
  done
  find_option "$OPTIONS" work
  for pair in $1; do
    [ "${pair%%=*}" != work ] || default=${pair#*=}
  done
  if [ "$opt_work" = "$default" ]; then WORK=$ROOT/$opt_work; else WORK=$(absolute "$opt_work" "$PWD"); fi
  case $WORK in *:*) die "--work $WORK: must not hold a colon, which fairseq takes for the end of a path" ;; esac
  mkdir -p "$WORK/stamps" "$WORK/logs" 2>/dev/null || die "--work $WORK: cannot be written to"
}

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

prepare() { # step argument...
  local step=$1
  shift
  "$PY" "$ROOT/scripts/en_zh/prepare.py" "$step" --work "$WORK" --src-lang "$opt_src_lang" --tgt-lang "$opt_tgt_lang" \
    --threads "$WORKERS" "$@"
}

# fairseq-train reads its arguments only when all is prepared; a mistake in them should show now.
check_train_args() {
  local settings
  settings=$(printf 'arguments=%s\n' "${TRAIN_ARGS[*]}")
  if [ ! -f "$WORK/stamps/arguments" ] || [ "$(cat "$WORK/stamps/arguments")" != "$settings" ]; then
    logged arguments "$PY" scripts/check_train_args.py "$WORK/data-bin" --user-dir s2s_plugin "${TRAIN_ARGS[@]}"
    stage_done arguments "$settings"
  fi
}

checksum_of_files() { # file...
  local file
  for file in "$@"; do cksum <"$file"; done | cksum
}

text_stage() {
  local settings files=() arguments=() split src tgt said
  if [ -z "$opt_train_src" ]; then
    arguments=(--corpus examples/en_zh/data)
    files=(examples/en_zh/data/*.tsv.gz)
  else
    for split in train valid test; do
      src=opt_${split}_src tgt=opt_${split}_tgt
      [ -n "${!src}" ] || continue
      arguments+=("--$split-src" "${!src}" "--$split-tgt" "${!tgt}")
      files+=("${!src}" "${!tgt}")
    done
  fi
  # Contents and not dates: copying a corpus must not cost a training.
  settings=$(
    settings_of src-lang tgt-lang limit
    printf 'corpus=%s %s\n' "${#files[@]}" "$(checksum_of_files "${files[@]}")"
  )
  if stage_due text "$settings"; then
    said=$(prepare text "${arguments[@]}" --limit "$opt_limit")
    say text "$said"
    stage_done text "$settings"
  fi
}

vocabulary_stage() {
  local settings arguments=() said
  settings=$(
    input_stamp text
    settings_of vocab-src vocab-tgt sp-type char max-length
  )
  if stage_due vocabulary "$settings"; then
    if [ "$opt_char" = 1 ]; then arguments=(--char); fi
    said=$(prepare vocabulary --vocab-src "$opt_vocab_src" --vocab-tgt "$opt_vocab_tgt" --sp-type "$opt_sp_type" \
      ${arguments[@]+"${arguments[@]}"})
    say vocabulary "$said"
    said=$(prepare encode --max-length "$opt_max_length")
    [ -z "$said" ] || say "" "$said"
    rm -rf "$WORK/data-bin.new"
    logged preprocess fairseq-preprocess --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang" \
      --trainpref "$WORK/encoded/train" --validpref "$WORK/encoded/valid" --testpref "$WORK/encoded/test" \
      --destdir "$WORK/data-bin.new" --workers "$WORKERS"
    rm -rf "$WORK/data-bin"
    mv "$WORK/data-bin.new" "$WORK/data-bin"
    stage_done vocabulary "$settings"
  fi
}

# The last epoch that was finished, from the names of the checkpoints; 0 if none was.
epochs_done() {
  local file number best=0
  for file in "$WORK"/checkpoints/checkpoint[0-9]*.pt; do
    [ -e "$file" ] || continue
    number=${file##*/checkpoint} number=${number%.pt}
    if [ "$number" -gt "$best" ]; then best=$number; fi
  done
  echo "$best"
}

# Moves a training and its model aside; nothing is ever deleted.
set_training_aside() { # reason
  local number=1 name
  while [ -e "$WORK/old-$number" ]; do number=$((number + 1)); done
  mkdir "$WORK/old-$number"
  for name in checkpoints model output logs/train.log; do
    if [ -e "$WORK/$name" ]; then mv "$WORK/$name" "$WORK/old-$number/"; fi
  done
  rm -f "$WORK/stamps/training" "$WORK/stamps/model" "$WORK/stamps/test"
  say training "from the start, for a change of: $1; the former model is now in $WORK/old-$number"
}

# Readies the folder of the checkpoints: what a training with other settings left there is moved aside, what one with the
# same settings left is gone on from. Sets TRAINING, the stamp of this training but for its epochs.
ready_training() {
  local former done_before said
  TRAINING=$(
    input_stamp vocabulary
    # shellcheck disable=SC2086  # a list
    settings_of $MODEL_SETTINGS
    printf 'arguments=%s\n' "${TRAIN_ARGS[*]}"
  )
  if ls "$WORK"/checkpoints/*.pt >/dev/null 2>&1; then
    former=$(cat "$WORK/checkpoints/settings" 2>/dev/null || true)
    done_before=$(epochs_done)
    if [ "$former" != "$TRAINING" ]; then
      set_training_aside "$(describe_change "$former" "$TRAINING")"
    elif [ "$done_before" -gt "$opt_epochs" ]; then
      set_training_aside "epochs, of which $done_before are done and $opt_epochs are wanted"
    fi
  fi
  # The folder of the model says from the start how its texts are encoded, so that no checkpoint is ever without.
  mkdir -p "$WORK/checkpoints" "$WORK/model"
  cp "$WORK/spm/"*.model "$WORK/data-bin/"dict.*.txt "$WORK/model/"
  printf 'src_lang=%s\ntgt_lang=%s\n' "$opt_src_lang" "$opt_tgt_lang" >"$WORK/model/languages"
  printf '%s\n' "$TRAINING" >"$WORK/checkpoints/settings"
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
  done_before=$(epochs_done)
  if [ "$done_before" -lt "$opt_epochs" ]; then
    say training "$opt_arch, epochs: $opt_epochs, on $(device_name)$([ "$done_before" -eq 0 ] ||
      echo ", going on after epoch $done_before"); full log: $WORK/logs/train.log"
    train_model
  else
    say training "done elsewhere: $done_before epochs"
  fi
  stage_done training "$settings"
}

device_name() {
  if [ "$GPUS" -gt 0 ]; then
    echo "$GPUS GPU$([ "$GPUS" -eq 1 ] || echo s)"
  elif [ "$opt_cpu_processes" -gt 1 ]; then
    echo "the CPU in $opt_cpu_processes processes"
  else
    echo "the CPU"
  fi
}

# Sets TRAIN_COMMAND: the whole fairseq-train command but for where its processes run.
set_train_command() {
  set_schedule_args
  TRAIN_COMMAND=(
    fairseq-train "$WORK/data-bin" --user-dir s2s_plugin --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang"
    "${TRAIN_ARGS[@]}" "${SCHEDULE_ARGS[@]}"
    --max-epoch "$opt_epochs" --save-dir "$WORK/checkpoints"
    --keep-last-epochs "$((opt_average > 1 ? opt_average : 1))"
    --log-format json --log-interval 20
  )
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
  set_train_command
  if [ "$GPUS" -gt 0 ]; then
    TRAIN_COMMAND+=(--distributed-world-size "$GPUS")
  elif [ "$opt_cpu_processes" -gt 1 ]; then
    launcher=("$PY" scripts/launch_processes.py "$opt_cpu_processes")
  fi
  logged train --epochs "$opt_epochs" ${launcher[@]+"${launcher[@]}"} \
    "${TRAIN_COMMAND[0]}" ${device[@]+"${device[@]}"} "${TRAIN_COMMAND[@]:1}"
}

model_stage() {
  local settings file number last checkpoints=() said
  settings=$(
    input_stamp training
    settings_of average
  )
  if stage_due model "$settings"; then
    if [ "$opt_average" -gt 0 ]; then
      # Fewer than --epochs where an argument of fairseq-train such as --patience ended the training.
      last=$(epochs_done)
      for ((number = last - opt_average + 1; number <= last; number++)); do
        file=$WORK/checkpoints/checkpoint$number.pt
        # An earlier run may have kept fewer epochs than are wanted now.
        if [ "$number" -gt 0 ] && [ -f "$file" ]; then checkpoints+=("$file"); fi
      done
      said="mean of the last ${#checkpoints[@]} epochs"
      case ${#checkpoints[@]} in
        0) checkpoints=("$WORK/checkpoints/checkpoint_last.pt") said="the last checkpoint" ;;
        1) said="the last epoch" ;;
      esac
    else
      checkpoints=("$WORK/checkpoints/checkpoint_best.pt")
      said="the epoch with the best validation BLEU"
    fi
    logged average "$PY" scripts/average_checkpoints.py --output "$WORK/model/model.pt" "${checkpoints[@]}"
    say model "$said"
    stage_done model "$settings"
  fi
}

test_stage() {
  local settings
  settings=$(
    input_stamp model
    settings_of beam lenpen
    printf 'bleu-tokenizer=%s\n' "$BLEU_TOKENIZER"
  )
  if stage_due test "$settings"; then
    say test "translating the test sentences, beam $opt_beam"
    mkdir -p "$WORK/output"
    logged generate fairseq-generate "$WORK/data-bin" --user-dir s2s_plugin --task attn_translation \
      --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang" --path "$WORK/model/model.pt" --gen-subset test \
      --max-tokens 4000 --remove-bpe sentencepiece --skip-invalid-size-inputs-valid-test --results-path "$WORK/output" \
      "${SEARCH_ARGS[@]}" ${DEVICE_ARGS[@]+"${DEVICE_ARGS[@]}"}
    "$PY" scripts/en_zh/score.py --generated "$WORK/output/generate-test.txt" --references "$WORK/text/test.$opt_tgt_lang" \
      --hypotheses "$WORK/output/test.$opt_tgt_lang" --tokenizer "$BLEU_TOKENIZER" >"$WORK/output/score.new"
    show_samples >"$WORK/output/samples.txt"
    mv "$WORK/output/score.new" "$WORK/output/score.txt"
    stage_done test "$settings"
  fi
}

# Translates a few sentences through fairseq-interactive, as translate.sh does for anybody's.
show_samples() {
  local sentences="$WORK/text/test.$opt_src_lang"
  if [ "$opt_src_lang-$opt_tgt_lang" = en-zh ] && [ -z "$opt_train_src" ]; then sentences=examples/en_zh/sentences.en; fi
  head -n 5 "$sentences" >"$WORK/output/samples.src"
  bash scripts/en_zh/translate.sh --model "$WORK/model" --beam "$opt_beam" --lenpen "$opt_lenpen" --device "$opt_device" \
    <"$WORK/output/samples.src" >"$WORK/output/samples.tgt"
  paste "$WORK/output/samples.src" "$WORK/output/samples.tgt" | while IFS=$'\t' read -r source target; do
    printf '  %s\n    %s\n' "$source" "$target"
  done
}

finish() {
  local model=$WORK/model
  echo
  cat "$WORK/output/samples.txt"
  echo
  if [ "$opt_smoke" = 1 ]; then echo "A smoke run: it trained too little for these numbers to mean anything."; fi
  cat "$WORK/output/score.txt"
  echo
  echo "Model:                $model"
  echo "Translate your text:  bash scripts/en_zh/translate.sh$([ "$WORK" = "$ROOT/work/en_zh" ] || echo " --model $model") <your.txt"
}
