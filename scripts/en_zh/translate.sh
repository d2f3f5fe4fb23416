#!/usr/bin/env bash
# Translates raw text with a model that run.sh or train_large.sh made.
# shellcheck disable=SC2034,SC2154  # opt_* are set and read by name, from the table
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib.sh
source "$ROOT/scripts/lib.sh"

OPTIONS='
Options
  model  | path | work/en_zh/model | folder of the model, as the recipes leave it
  beam   | int  | | width of the beam search (default: as the folder says)
  lenpen | number | | above 1 favours longer translations, below 1 shorter ones (default: as the folder says)
  json   | flag | 0 | a JSON object for each line: its pieces, and the translation with score, pieces and alignment
  device | choice:auto,cpu,gpu | cpu | where to compute; auto: a GPU if PyTorch sees one
'

if has_flag --help "$@" || has_flag -h "$@"; then
  cat <<'END'
usage: bash scripts/en_zh/translate.sh [options] <text >translation

Translates line by line: what you type, or what comes through a pipe. Nothing else goes to the standard output.
END
  print_options "$OPTIONS" ""
  exit 0
fi
parse_options "$OPTIONS" "" "$@"
[ "${#EXTRA[@]}" -eq 0 ] || die "unexpected argument '${EXTRA[0]}'"
model=$opt_model
if [ "$model" = work/en_zh/model ] && [ ! -d "$model" ]; then model=$ROOT/$model; fi
if [ ! -f "$model/model.pt" ] || [ ! -f "$model/languages" ]; then
  die "--model $model: no model there; bash scripts/en_zh/run.sh makes one"
fi

# shellcheck source=scripts/setup.sh
source "$ROOT/scripts/setup.sh" >&2
if [ ! -f "$model/search" ]; then opt_lenpen=${opt_lenpen:-1.4}; fi # a folder of version 0.1
args=(--model "$model" --device "$opt_device")
if [ -n "$opt_beam" ]; then args+=(--beam "$opt_beam"); fi
if [ -n "$opt_lenpen" ]; then args+=(--lenpen "$opt_lenpen"); fi
if [ "$opt_json" = 1 ]; then args+=(--json); fi
exec "$PY" -P -m s2s_plugin translate "${args[@]}"
