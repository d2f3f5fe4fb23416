#!/usr/bin/env bash
# Trains an attention RNN to write down what is read in LibriSpeech: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/speech/stages.sh
source "$ROOT/scripts/speech/stages.sh"

OPTIONS="
What to do
  data   | folder | | the folder LibriSpeech, which holds train-clean-100, dev-clean, test-clean and test-other
  hours  | choice:100,460,960 | 100 | of the training: train-clean-100, then train-clean-360 and train-other-500 too
  test   | flag   | 0 | measure on test-clean and test-other: for the end, when all settings stand
  work   | path   | work/librispeech | folder for everything that is made
  vocab-size | int | 1000 | sentencepiece pieces
  specaugment | choice:none,ld,small | ld | masks of SpecAugment in training
  bad-files | choice:fail,skip | fail | what a recording that cannot be read does
$SPEECH_OPTIONS
"
DIFFERENCES='layers=4 hidden-size=320 embed-dim=256 decoder-size=512 attn-dim=256 epochs=60 lr=1e-3 warmup=4000
  max-tokens=40000 average=10 max-len-b=200'
SMOKE_DIFFERENCES="$SPEECH_SMOKE work=work/librispeech_smoke vocab-size=24 specaugment=small"

usage() {
  cat <<'END'
usage: bash examples/librispeech/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Trains an attention RNN on the 100 hours of LibriSpeech's train-clean-100, from log-mel filterbanks to sentencepiece pieces,
and prints the word error rate on dev-clean; with --test, on test-clean and test-other instead. Wants a GPU. Sets up its own
Python environment. Safe to stop and to start again: what is done is skipped, an interrupted training goes on, a changed
setting redoes only what depends on it.
END
  print_options "$OPTIONS" "$DIFFERENCES"
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/librispeech/README.md.
END
}

make_features() { # folder
  "$PY" scripts/speech/librispeech.py --data "$opt_data" --output "$WORK/tables" --train "${PARTS[@]}" >&2 &&
    "$PY" scripts/speech/prepare.py --train "$WORK/tables/train.tsv" --valid "$WORK/tables/valid.tsv" \
      --audio-root "$opt_data" --test "$WORK/tables"/test-{clean,other}.tsv --units piece --vocab-size "$opt_vocab_size" \
      --specaugment "$opt_specaugment" --bad-files "$opt_bad_files" --output "$1"
}

read_options "$DIFFERENCES" "$SMOKE_DIFFERENCES" "$@"
start_speech librispeech "the folder LibriSpeech of https://www.openslr.org/12"
case $opt_hours in
  100) PARTS=(train-clean-100) ;;
  460) PARTS=(train-clean-100 train-clean-360) ;;
  960) PARTS=(train-clean-100 train-clean-360 train-other-500) ;;
esac
FEATURE_SETTINGS=$(
  settings_of hours vocab-size specaugment
  printf 'corpus=%s\n' "$(find "$opt_data" -name '*.trans.txt' | sort | tr '\n' '\0' | xargs -0 cat | cksum)"
)
FEATURE_COMMAND=(make_features)
TEST_SPLITS=(test-clean test-other)
ATTENTION_ARGS=(--limit 200)
speech_stages
