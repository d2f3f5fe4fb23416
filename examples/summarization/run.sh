#!/usr/bin/env bash
# Trains an attention RNN to summarize descriptions of software in a line: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/en_zh/settings.sh
source "$ROOT/scripts/en_zh/settings.sh"
# shellcheck source=scripts/en_zh/stages.sh
source "$ROOT/scripts/en_zh/stages.sh"
# shellcheck source=scripts/summarization/settings.sh
source "$ROOT/scripts/summarization/settings.sh"
# shellcheck source=scripts/summarization/stages.sh
source "$ROOT/scripts/summarization/stages.sh"

usage() {
  cat <<'END'
usage: bash examples/summarization/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Trains an attention RNN on descriptions of Debian's packages and their one-line synopses, writes synopses of the validation
descriptions (with --test, of the test descriptions) and scores them: ROUGE, and what they repeat and copy. Sets up its own
Python environment. Safe to stop and to start again: what is done is skipped, an interrupted training goes on, a changed
setting redoes only what depends on it.

With --smoke and without --data, the sample in examples/summarization/data stands in for the corpus.
END
  print_options "$OPTIONS" "$DIFFERENCES"
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/summarization/README.md.
END
}

read_options "$DIFFERENCES" "$SMOKE_DIFFERENCES" "$@"
if [ "$opt_test" = 1 ]; then opt_score_on="test"; fi
if [ "$opt_smoke" = 1 ] && [ -z "$opt_data" ]; then
  opt_data=$ROOT/examples/summarization/data opt_any_data=1
fi
[ -n "$opt_data" ] || die "--data FOLDER is needed: tables {train,valid,test}.tsv, as examples/summarization/README.md says"
opt_data=$(absolute "$opt_data" "$PWD")
find_tables
set_system
# Their folder is known as soon as --work is settled.
set_text_files documents
start_recipe "$differences"
set_text_files "$WORK/documents"
[ "$opt_any_data" = 1 ] || "$PY" scripts/check_files.py examples/summarization/checksums.sha256 "${TABLES[@]}"
documents_stage
test_text_stage
text_stage
vocabulary_stage
train_stage
model_stage
summary_stage
finish_summaries
