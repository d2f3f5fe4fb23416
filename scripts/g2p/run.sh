#!/usr/bin/env bash
# Trains models that pronounce written words, one a language, and measures them: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/g2p/settings.sh
source "$ROOT/scripts/g2p/settings.sh"
# shellcheck source=scripts/g2p/stages.sh
source "$ROOT/scripts/g2p/stages.sh"

usage() {
  cat <<'END'
usage: bash examples/g2p/run.sh --data FOLDER [options] [-- further arguments of fairseq-train]

Trains an attention RNN to pronounce the words of a language, for each language and seed, with the data of the SIGMORPHON
2020 shared task, and prints the error rates on its development words; with --test, on its test words as well. Sets up
its own Python environment. Safe to stop and to start again: what is done is skipped, an interrupted training goes on, a
changed setting redoes only what depends on it.
END
  print_options "$OPTIONS" ""
  cat <<'END'

Every option is also an environment variable: --batch-size is S2S_BATCH_SIZE. The page is examples/g2p/README.md.
END
}

read_options '' "$SMOKE_DIFFERENCES" "$@"
check_options
set_train_args
set_paths
lock_work
cd "$ROOT"

# shellcheck source=scripts/setup.sh
source scripts/setup.sh
text_stage
check_train_args ""
for language in $opt_languages; do
  data_stage "$language"
  if [ "$opt_test" = 1 ]; then test_data_stage "$language"; fi
  for seed in $opt_seeds; do
    train_stage "$language" "$seed"
    measure_stage "$language" "$seed" dev
    if [ "$opt_test" = 1 ]; then measure_stage "$language" "$seed" test; fi
  done
done
finish
