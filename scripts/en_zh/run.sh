#!/usr/bin/env bash
# Trains an attention RNN to translate English into Chinese and tests it, from nothing: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/en_zh/settings.sh
source "$ROOT/scripts/en_zh/settings.sh"
# shellcheck source=scripts/en_zh/stages.sh
source "$ROOT/scripts/en_zh/stages.sh"

usage() {
  cat <<'END'
usage: bash scripts/en_zh/run.sh [options] [-- further arguments of fairseq-train]

Trains an attention RNN to translate English into Chinese on the corpus in examples/en_zh/data, tests it, and leaves a
model that scripts/en_zh/translate.sh translates with. Sets up its own Python environment. Safe to stop and to start
again: what is done is skipped, an interrupted training goes on, a changed setting redoes only what depends on it.

On your own text:  bash scripts/en_zh/run.sh --work work/mine --src-lang de --tgt-lang en --train-src a.de --train-tgt a.en
END
  print_options "$OPTIONS" ""
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/en_zh/README.md.
END
}

read_options 'work=work/en_zh' "$SMOKE_DIFFERENCES" "$@"
start_recipe "$differences"
test_text_stage
text_stage
teacher_stage
vocabulary_stage
train_stage
model_stage
test_stage
finish
