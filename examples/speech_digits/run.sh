#!/usr/bin/env bash
# Trains an attention RNN to write down strings of spoken digits: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/speech/stages.sh
source "$ROOT/scripts/speech/stages.sh"

OPTIONS="
What to do
  data    | folder | | recordings of the Free Spoken Digit Dataset, {digit}_{speaker}_{index}.wav
  unseen  | word   | | speaker whose recordings are the test alone; without, the recordings 0 to 4 of all speakers are
  test    | flag   | 0 | measure on the test recordings: for the end, when all settings stand
  work    | path   | work/speech_digits | folder for everything that is made
  strings | int    | 4000 | strings of the training
$SPEECH_OPTIONS
"
DIFFERENCES='conv-channels=32,32 layers=2 hidden-size=128 embed-dim=32 decoder-size=128 epochs=36 max-len-b=12'
SMOKE_DIFFERENCES="$SPEECH_SMOKE work=work/speech_digits_smoke strings=40"

usage() {
  cat <<'END'
usage: bash examples/speech_digits/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Makes strings of one to seven digits from recordings of single ones, trains an attention RNN on them, from log-mel
filterbanks to words, and prints the word error rate on strings of recordings that are set aside; with --test, on those of
the test instead. Sets up its own Python environment. Safe to stop and to start again: what is done is skipped, an
interrupted training goes on, a changed setting redoes only what depends on it.
END
  print_options "$OPTIONS" "$DIFFERENCES"
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/speech_digits/README.md.
END
}

read_options "$DIFFERENCES" "$SMOKE_DIFFERENCES" "$@"
start_speech speech_digits "the folder recordings of https://github.com/Jakobovski/free-spoken-digit-dataset"
FEATURE_SETTINGS=$(
  settings_of unseen strings
  printf 'corpus=%s\n' "$(find "$opt_data" -name '*.wav' -print | sort | while IFS= read -r file; do echo "${file##*/} $(cksum <"$file")"; done | cksum)"
)
FEATURE_COMMAND=("$PY" scripts/speech/digits.py --data "$opt_data" --strings "$opt_strings")
if [ -n "$opt_unseen" ]; then FEATURE_COMMAND+=(--unseen "$opt_unseen"); fi
if [ "$opt_smoke" = 1 ]; then FEATURE_COMMAND+=(--valid-strings 10); fi
FEATURE_COMMAND+=(--output)
speech_stages
