#!/usr/bin/env bash
# The recipe lives in scripts/g2p; this passes its arguments on.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../scripts/g2p/run.sh" "$@"
