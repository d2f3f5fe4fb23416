#!/usr/bin/env bash
# Sets the environment up and runs the tests, in as many processes as there are cores, at most four. Arguments go to
# pytest: bash scripts/test.sh -k attention -n 0     (-n 0: in this process, for --pdb and -s)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/setup.sh
source "$root/scripts/setup.sh"
cd "$root"
# Those that this process may use, where Python can tell.
processes=$("$PY" -c '
import os
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
print(min(4, cores))
')
# One thread each: the models are small, and the processes share the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$PY" -m pytest -n "$processes" --dist loadfile "$@"
