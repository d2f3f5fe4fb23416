#!/usr/bin/env bash
# Sets the environment up and runs the tests. Arguments go to pytest: bash scripts/test.sh -k attention -m "not slow"
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/setup.sh
source "$root/scripts/setup.sh"
cd "$root"
exec "$PY" -m pytest "$@"
