#!/usr/bin/env bash
# The recipe lives in scripts/en_zh; this passes its arguments on.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../scripts/en_zh/run.sh" "$@"
