#!/usr/bin/env bash
# Trains an attention RNN to write down what is read in AISHELL-1: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/speech/stages.sh
source "$ROOT/scripts/speech/stages.sh"

OPTIONS="
What to do
  data   | folder | | the folder data_aishell, its archives by speaker unpacked: wav/train/S0002/*.wav and so on
  test   | flag   | 0 | measure on the test recordings: for the end, when all settings stand
  work   | path   | work/aishell | folder for everything that is made
  specaugment | choice:none,ld,small | ld | masks of SpecAugment in training
  bad-files | choice:fail,skip | fail | what a recording that cannot be read does
$SPEECH_OPTIONS
"
DIFFERENCES='layers=4 hidden-size=320 embed-dim=256 decoder-size=512 attn-dim=256 epochs=60 lr=1e-3 warmup=4000
  max-tokens=40000 average=10 max-len-b=80'
SMOKE_DIFFERENCES="$SPEECH_SMOKE work=work/aishell_smoke specaugment=small"

usage() {
  cat <<'END'
usage: bash examples/aishell/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Trains an attention RNN on the 150 hours of Mandarin of AISHELL-1, from log-mel filterbanks to characters, and prints the
character error rate on its dev set; with --test, on its test set instead. Wants a GPU. Sets up its own Python environment.
Safe to stop and to start again: what is done is skipped, an interrupted training goes on, a changed setting redoes only
what depends on it.
END
  print_options "$OPTIONS" "$DIFFERENCES"
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/aishell/README.md.
END
}

make_features() { # folder
  "$PY" scripts/speech/aishell.py --data "$opt_data" --output "$WORK/tables" >&2 &&
    "$PY" scripts/speech/prepare.py --train "$WORK/tables/train.tsv" --valid "$WORK/tables/valid.tsv" \
      --audio-root "$opt_data" --test "$WORK/tables/test.tsv" --units char --specaugment "$opt_specaugment" --bad-files "$opt_bad_files" --output "$1"
}

read_options "$DIFFERENCES" "$SMOKE_DIFFERENCES" "$@"
start_speech aishell "the folder data_aishell of https://www.openslr.org/33"
FEATURE_SETTINGS=$(
  settings_of specaugment
  corpus_sum "$opt_data/transcript/aishell_transcript_v0.8.txt"
)
FEATURE_COMMAND=(make_features)
ERROR_RATE="character error rate" ERROR_ARGS=(--wer-char-level)
ATTENTION_ARGS=(--limit 200)
speech_stages
