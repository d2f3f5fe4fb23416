#!/usr/bin/env bash
# What summarization adds to the stages of the translation recipe: the text from tables, and the scores of summaries.
# Sourced by examples/summarization/run.sh, after scripts/en_zh/stages.sh.
# shellcheck disable=SC2034,SC2154  # opt_* are set by name, from the table, or read by the translation recipe's stages

# Sets EXTRA: what a system is, as arguments of fairseq-train. The user's own come last, so that they win.
set_system() {
  local arguments=()
  if [ "$opt_system" != plain ]; then
    case $opt_arch in
      attn_rnn_s2s*) ;;
      *) die "--system $opt_system: only attn_rnn_s2s copies; --arch $opt_arch needs --system plain" ;;
    esac
    arguments=(--copy-attn)
  fi
  if [ "$opt_system" = coverage ]; then arguments+=(--coverage-attn --coverage-lambda "$opt_coverage_lambda"); fi
  EXTRA=(${arguments[@]+"${arguments[@]}"} ${EXTRA[@]+"${EXTRA[@]}"})
}

# In place of that of the translation recipe.
set_search_args() {
  SEARCH_ARGS=(
    --beam "$opt_beam" --lenpen "$opt_lenpen" --min-len "$opt_min_len" --max-len-a "$opt_max_len_a"
    --max-len-b "$opt_max_len_b" --no-repeat-ngram-size "$opt_no_repeat_ngram_size"
  )
}

# Sets the files that the stages read to those that documents_stage writes into a folder.
set_text_files() { # folder
  local split
  for split in train valid "test"; do
    printf -v "opt_${split}_src" '%s' "$1/$split.$opt_src_lang"
    printf -v "opt_${split}_tgt" '%s' "$1/$split.$opt_tgt_lang"
  done
  opt_test2_src="" opt_test2_tgt=""
}

# Sets TABLES, the files of the corpus that are read: the test documents only where they are scored.
find_tables() {
  local split file
  SPLITS=(train valid) TABLES=()
  if [ "$opt_score_on" = "test" ]; then SPLITS+=("test"); fi
  for split in "${SPLITS[@]}"; do
    file=$opt_data/$split.tsv
    [ -f "$file" ] || file=$file.gz
    [ -f "$file" ] || die "--data $opt_data: $split.tsv is not there, neither plain nor as .gz"
    TABLES+=("$file")
  done
}

documents_stage() {
  local settings said with_name=()
  settings=$(
    settings_of lead-words with-name score-on
    printf 'corpus=%s %s\n' "${#TABLES[@]}" "$(checksum_of_files "${TABLES[@]}")"
  )
  if stage_due documents "$settings"; then
    if [ "$opt_with_name" = 1 ]; then with_name=(--with-name); fi
    said=$("$PY" scripts/summarization/prepare.py --data "$opt_data" --output "$WORK/documents" \
      --splits "${SPLITS[@]}" --lead-words "$opt_lead_words" ${with_name[@]+"${with_name[@]}"})
    say documents "$said"
    stage_done documents "$settings"
  fi
}

# In place of the translation recipe's test_stage: other figures, and more that the search can be told.
summary_stage() {
  local settings name=$opt_score_on scores
  set_tests
  settings=$(
    input_stamp model
    [ "$TEST_DATA" = "$WORK/data-bin" ] || input_stamp test-text
    settings_of beam lenpen min-len max-len-a max-len-b no-repeat-ngram-size score-on
  )
  if stage_due "test" "$settings"; then
    say summaries "of the $name documents, beam $opt_beam"
    mkdir -p "$WORK/output"
    [ "$TEST_DATA" = "$WORK/data-bin" ] || make_test_data
    # Its BLEU is for the log: the summaries are wanted.
    score_set "$name" >"$WORK/logs/bleu.log"
    scores=$("$PY" scripts/summarization/score.py --summaries "$WORK/output/$name.$opt_tgt_lang" \
      --references "$TEST_TEXT/$name.$opt_tgt_lang" --sources "$TEST_TEXT/$name.$opt_src_lang")
    replace_file "$WORK/output/score.txt" "$scores"
    stage_done "test" "$settings"
  fi
}

finish_summaries() {
  local name=$opt_score_on source reference summary
  printf '\nThe first documents, their own summary, and the summary that was made:\n'
  paste "$TEST_TEXT/$name.$opt_src_lang" "$TEST_TEXT/$name.$opt_tgt_lang" "$WORK/output/$name.$opt_tgt_lang" |
    awk 'NR <= 5' | while IFS=$'\t' read -r source reference summary; do
    printf '  %.110s\n    %s\n    %s\n' "$source" "$reference" "$summary"
  done
  echo
  if [ "$opt_smoke" = 1 ]; then echo "A smoke run: it trained too little for these numbers to mean anything."; fi
  cat "$WORK/output/score.txt"
  printf '\nModel:                %s\n' "$WORK/model"
  echo "Summarize your text:  bash scripts/en_zh/translate.sh --model $WORK/model <your.txt"
}
