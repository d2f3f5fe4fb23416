#!/usr/bin/env bash
# Runs a recipe once for each of several seeds and prints a table of the scores: see --help.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"

usage() {
  cat <<'END'
usage: bash scripts/seeds.sh "SEED ..." COMMAND [ARGUMENT ...]

Runs the command of a translation recipe once for each seed, one after the other, each in a folder of its own, and prints their scores
with mean and sample deviation. As the recipes, it can be stopped and started again: what is done is skipped.

  bash scripts/seeds.sh "1 2 3" bash scripts/en_zh/run.sh --score-on valid
  bash scripts/seeds.sh "1 2 3" bash examples/multi30k/run.sh --data FOLDER -- --encoder-cell gru

The folders are seed-1, seed-2, ... in the --work that the command names, or else in work/seeds/RECIPE, where RECIPE is the
folder of the script: name a --work for each group of settings that you want to keep.
END
}

if [ $# -eq 0 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
  usage
  exit 0
fi
seeds=$1
shift
fault=$(value_fault counts "$seeds")
[ -z "$fault" ] || die "seeds '$seeds': $fault"
[ -n "${seeds// /}" ] || die "the first argument is a list of seeds, such as \"1 2 3\""

# The recipe's own arguments end with `--`.
command=() work="" recipe=""
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --seed | --seed=*) die "$1: the seeds are the first argument" ;;
    --work=*) work=${1#--work=} ;;
    --work)
      [ $# -ge 2 ] || die "--work needs a value"
      work=$2
      shift
      ;;
    *)
      command+=("$1")
      case $1 in */*.sh) [ -n "$recipe" ] || recipe=$(basename "$(cd "$(dirname "$1")" && pwd)") ;; esac
      ;;
  esac
  shift
done
[ ${#command[@]} -gt 0 ] || die "which command? For example: bash scripts/seeds.sh \"1 2 3\" bash scripts/en_zh/run.sh"
[ -n "$work$recipe" ] || die "--work FOLDER is needed: the command names no recipe"
if [ -n "$work" ]; then work=$(absolute "$work" "$PWD"); else work=$ROOT/work/seeds/$recipe; fi

for seed in $seeds; do
  echo "=== seed $seed"
  "${command[@]}" --work "$work/seed-$seed" --seed "$seed" "$@"
done
# shellcheck source=scripts/setup.sh
source "$ROOT/scripts/setup.sh"
echo
# shellcheck disable=SC2086  # a list
"$PY" "$ROOT/scripts/seeds_table.py" "$work" $seeds
