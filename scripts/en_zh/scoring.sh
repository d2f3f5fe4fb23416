#!/usr/bin/env bash
# The stages that measure a model, and what is said at the end. Sourced by stages.sh.
# shellcheck disable=SC2154  # opt_* are set by name, from the table

# Sets TESTS, the names of the sets to score, and the folders TEST_TEXT and TEST_DATA that hold them.
set_tests() {
  TESTS=("$opt_score_on") TEST_TEXT=$WORK/text TEST_DATA=$WORK/data-bin
  if [ "$opt_score_on" = test ] && [ -n "$opt_test_src" ]; then
    TEST_TEXT=$WORK/tests TEST_DATA=$WORK/tests-bin
    if [ -n "$opt_test2_src" ]; then TESTS+=(test2); fi
  fi
}

# A test text that is given is checked before the training, so that its mistakes do not show hours later; but the training
# does not depend on it.
test_text_stage() {
  local settings files arguments said
  set_tests
  if [ "$TEST_DATA" = "$WORK/data-bin" ]; then return 0; fi
  files=("$opt_test_src" "$opt_test_tgt")
  arguments=(--test-src "$opt_test_src" --test-tgt "$opt_test_tgt")
  if [ -n "$opt_test2_src" ]; then
    files+=("$opt_test2_src" "$opt_test2_tgt")
    arguments+=(--test2-src "$opt_test2_src" --test2-tgt "$opt_test2_tgt")
  fi
  settings=$(
    settings_of src-lang tgt-lang
    printf 'corpus=%s %s\n' "${#files[@]}" "$(checksum_of_files "${files[@]}")"
  )
  if stage_due test-text "$settings"; then
    said=$(prepare tests "${arguments[@]}")
    say test-text "$said"
    stage_done test-text "$settings"
  fi
}

test_stage() {
  local settings name what scores samples
  set_tests
  settings=$(
    input_stamp model
    [ "$TEST_DATA" = "$WORK/data-bin" ] || input_stamp test-text
    settings_of beam lenpen
    printf 'bleu-tokenizer=%s\n' "$BLEU_TOKENIZER"
    changed_settings_of score-on
  )
  if stage_due test "$settings"; then
    what="test"
    if [ "$opt_score_on" = valid ]; then what=validation; fi
    say test "translating the $what sentences, beam $opt_beam"
    mkdir -p "$WORK/output"
    [ "$TEST_DATA" = "$WORK/data-bin" ] || make_test_data
    scores=$(
      set -e
      for name in "${TESTS[@]}"; do
        heading_of "$name"
        score_set "$name"
      done
    )
    samples=$(
      set -e
      show_samples
    )
    replace_file "$WORK/output/samples.txt" "$samples"
    replace_file "$WORK/output/score.txt" "$scores"
    stage_done test "$settings"
  fi
}

# A folder of its own: the one that the model was trained with stays as it was.
make_test_data() {
  local name prefixes=""
  prepare encode --folder tests
  for name in "${TESTS[@]}"; do prefixes=${prefixes:+$prefixes,}$WORK/tests-encoded/$name; done
  rm -rf "$TEST_DATA"
  logged preprocess-tests fairseq-preprocess --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang" \
    --testpref "$prefixes" --srcdict "$WORK/data-bin/dict.$opt_src_lang.txt" \
    --tgtdict "$WORK/data-bin/dict.$opt_tgt_lang.txt" --destdir "$TEST_DATA" --workers "$WORKERS"
}

# What stands above the scores of a set. A test set alone needs nothing.
heading_of() { # set
  local file=opt_${1}_src first=${opt_test_src##*/} second=${opt_test2_src##*/}
  if [ "$1" = valid ]; then
    echo "valid:"
  elif [ ${#TESTS[@]} -gt 1 ]; then
    file=${!file##*/} file=${file%%.*}
    if [ "${first%%.*}" = "${second%%.*}" ]; then file=$1; fi
    echo "$file:"
  fi
}

# Translates a set and prints its scores.
score_set() { # set
  # fairseq-preprocess calls the second test set so.
  local subset=${1/test2/test1}
  logged "generate-$1" fairseq-generate "$TEST_DATA" --user-dir s2s_plugin --task attn_translation \
    --source-lang "$opt_src_lang" --target-lang "$opt_tgt_lang" --path "$WORK/model/model.pt" --gen-subset "$subset" \
    --max-tokens 4000 --remove-bpe sentencepiece --skip-invalid-size-inputs-valid-test --results-path "$WORK/output" \
    "${SEARCH_ARGS[@]}" ${DEVICE_ARGS[@]+"${DEVICE_ARGS[@]}"}
  "$PY" scripts/en_zh/score.py --generated "$WORK/output/generate-$subset.txt" \
    --references "$TEST_TEXT/$1.$opt_tgt_lang" --hypotheses "$WORK/output/$1.$opt_tgt_lang" --tokenizer "$BLEU_TOKENIZER"
}

# Translates a few sentences as translate.sh does for anybody.
show_samples() {
  local sentences="$TEST_TEXT/${TESTS[0]}.$opt_src_lang"
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
