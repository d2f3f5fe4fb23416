#!/usr/bin/env bash
# Trains on a large corpus that you bring, on several GPUs or machines: see --help.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"
# shellcheck source=scripts/en_zh/settings.sh
source "$ROOT/scripts/en_zh/settings.sh"
# shellcheck source=scripts/en_zh/stages.sh
source "$ROOT/scripts/en_zh/stages.sh"

OPTIONS="$OPTIONS
Several machines
  prepare-only | flag | 0 | stop before the training and say how to start it with torchrun or Slurm
"

usage() {
  cat <<'END'
usage: bash scripts/en_zh/train_large.sh --train-src FILE --train-tgt FILE [options] [-- further arguments of fairseq-train]

Trains on any parallel text, plain or gzipped, with all GPUs of this machine, and tests the model. As run.sh, it skips
what is done and goes on with an interrupted training. Validation and test sentences are split off unless you give them.

On several machines that share a file system: run it once with --prepare-only, start the training on all of them as it
says, then run it again without, to test the model.
END
  print_options "$OPTIONS" "$LARGE_DIFFERENCES"
  cat <<'END'

Every option is also an environment variable: --max-tokens is S2S_MAX_TOKENS. The page is examples/en_zh/README.md.
END
}

# Unpacks a little of the corpus in examples/ into two gzipped files, as a user would bring them.
make_smoke_corpus() {
  local folder=$ROOT/work/large_smoke/corpus
  mkdir -p "$folder"
  # awk reads to the end, where head would stop gzip with an error.
  gzip -dc "$ROOT/examples/en_zh/data/train.tsv.gz" | awk 'NR <= 1500' >"$folder/pairs.tsv"
  cut -f 1 "$folder/pairs.tsv" | gzip -n >"$folder/train.en.gz"
  cut -f 2 "$folder/pairs.tsv" | gzip -n >"$folder/train.zh.gz"
  opt_train_src=$folder/train.en.gz opt_train_tgt=$folder/train.zh.gz
}

# Writes the training as a script that every machine can start, and says how.
explain_launch() {
  local script=$WORK/fairseq_train.sh
  set_train_command
  {
    echo '#!/usr/bin/env bash'
    # shellcheck disable=SC2016  # these variables are for the script that is written
    printf 'cd %q && PATH=%q:$PATH exec' "$ROOT" "$VENV/bin"
    printf ' %q' "${TRAIN_COMMAND[@]}"
    # shellcheck disable=SC2016
    echo ' "$@"'
  } >"$script"
  chmod +x "$script"
  cat <<END

Ready to train. --distributed-world-size is the number of GPUs of all machines together; with 2 machines of 8:

  torchrun, on each machine, with --node-rank 0 on the first and 1 on the second:
    $VENV/bin/torchrun --no-python --nnodes 2 --nproc-per-node 8 --node-rank 0 --master-addr FIRST_MACHINE \\
      --master-port 29500 $script --distributed-world-size 16

  Slurm, one task a GPU:
    srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 \\
      $script --distributed-world-size 16 --distributed-port 29500

Then test the model: run this again without --prepare-only.
END
}

read_options "$LARGE_DIFFERENCES" "$LARGE_SMOKE_DIFFERENCES" "$@"
if [ "$opt_smoke" = 1 ] && [ -z "$opt_train_src" ]; then make_smoke_corpus; fi
[ -n "$opt_train_src" ] || die "--train-src and --train-tgt are needed: two files of parallel text, plain or .gz"
if [ "$opt_prepare_only" = 1 ]; then opt_device=cpu opt_gpus=0; fi
start_recipe "$differences"
test_text_stage
text_stage
teacher_stage
vocabulary_stage
if [ "$opt_prepare_only" = 1 ]; then
  ready_training
  explain_launch
  exit 0
fi
train_stage
model_stage
test_stage
finish
