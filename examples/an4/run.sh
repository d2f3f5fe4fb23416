#!/usr/bin/env bash
# Trains an attention RNN to write down what is said in AN4: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/speech/stages.sh
source "$ROOT/scripts/speech/stages.sh"

OPTIONS="
What to do
  data   | folder | | the folder an4 of the corpus, with etc/ and feat/
  test   | flag   | 0 | measure on the test recordings: for the end, when all settings stand
  work   | path   | work/an4 | folder for everything that is made
  tempos | list   | 0.9,1.0,1.1 | tempos that the training's recordings are heard at
  warps  | list   | 1.0 | factors of the frequencies that they are heard with, each at each tempo
  specaugment | choice:none,ld,small | none | masks of SpecAugment in training
$SPEECH_OPTIONS
"
SMOKE_DIFFERENCES="$SPEECH_SMOKE work=work/an4_smoke tempos=1.0"

usage() {
  cat <<'END'
usage: bash examples/an4/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Trains an attention RNN on the utterances of AN4, from the corpus's features to characters, and prints the word error
rate on the six of its 74 speakers that are set aside; with --test, on the corpus's 130 test utterances instead. Sets up its own Python
environment. Safe to stop and to start again: what is done is skipped, an interrupted training goes on, a changed
setting redoes only what depends on it.
END
  print_options "$OPTIONS" ""
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/an4/README.md.
END
}

read_options '' "$SMOKE_DIFFERENCES" "$@"
start_speech an4 "the folder an4 of the corpus, with etc/ and feat/"
FEATURE_SETTINGS=$(
  settings_of tempos
  changed_settings_of warps specaugment
  corpus_sum "$opt_data"/etc/an4_{train,test}.{fileids,transcription}
)
# shellcheck disable=SC2206  # a list
FEATURE_COMMAND=("$PY" scripts/speech/an4.py --data "$opt_data" --tempos ${opt_tempos//,/ } --warps ${opt_warps//,/ }
  --specaugment "$opt_specaugment" --output)
speech_stages
