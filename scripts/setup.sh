#!/usr/bin/env bash
# Makes the Python environment that everything else here runs in. Run it, or source it: it then sets PY (the
# environment's python) and puts its folder first in PATH. Written for bash 3.2 and newer.

setup_usage() {
  cat <<'END'
usage: bash scripts/setup.sh [--help]

Finds a Python 3.11 or 3.12, makes an environment in .venv and installs the package and all it needs there. Takes a few
minutes the first time and no time afterwards. The other scripts call it themselves.

Environment variables:
  PYTHON           the Python to use (default: the first fit one of python3, python3.12, python3.11, python, uv's)
  VENV             folder of the environment (default: .venv in the repository)
  TORCH_INDEX_URL  package index to take PyTorch from, instead of the one pip is set to. On a Linux machine without an
                   NVIDIA GPU this one saves a download of several GB:
                   TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
END
}

# Prints why the command "$@" cannot be used as our Python; prints nothing if it can.
# Each candidate is run: version managers leave commands behind that exist and fail.
python_fault() {
  "$@" - 2>/dev/null <<'END' || echo "does not run"
import sys
version = "%d.%d" % sys.version_info[:2]
if version not in ("3.11", "3.12"):
    print("is Python " + version)
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("is Python %s without venv (on Debian and Ubuntu: apt install python%s-venv)" % (version, version))
END
}

# Sets BASE_PYTHON.
find_python() {
  local candidate fault tried=""
  if [ -n "${PYTHON:-}" ]; then
    fault=$(python_fault "$PYTHON")
    if [ -n "$fault" ]; then
      echo "error: PYTHON=$PYTHON $fault; Python 3.11 or 3.12 with venv is needed" >&2
      return 1
    fi
    BASE_PYTHON=$PYTHON
    return 0
  fi
  # All of a name that are in PATH: a broken one may stand before a good one.
  while IFS= read -r candidate; do
    fault=$(python_fault "$candidate")
    if [ -z "$fault" ]; then
      BASE_PYTHON=$candidate
      return 0
    fi
    tried="$tried
    $candidate $fault"
  done < <(type -aP python3 python3.12 python3.11 python 2>/dev/null)
  if command -v uv >/dev/null 2>&1; then
    for candidate in 3.12 3.11; do
      BASE_PYTHON=$(uv python find "$candidate" 2>/dev/null) || continue
      [ -z "$(python_fault "$BASE_PYTHON")" ] && return 0
    done
    echo "No Python 3.11 or 3.12 here: asking uv for one."
    if uv python install --quiet 3.12 && BASE_PYTHON=$(uv python find 3.12) && [ -z "$(python_fault "$BASE_PYTHON")" ]; then
      return 0
    fi
    tried="$tried
    uv could not install Python 3.12"
  fi
  cat >&2 <<END
error: no usable Python 3.11 or 3.12 was found.${tried:+ Tried:$tried}
  Install one, then run this again:
    Debian, Ubuntu:  sudo apt install python3.12 python3.12-venv     (or python3.11 python3.11-venv)
    macOS:           brew install python@3.12
    anywhere:        curl -LsSf https://astral.sh/uv/install.sh | sh && uv python install 3.12
  or say where it is: PYTHON=/path/to/python3.12 bash scripts/setup.sh
END
  return 1
}

# Changes whenever the environment has to be brought up to date.
setup_fingerprint() {
  echo "root $SETUP_ROOT"
  "$VENV/bin/python" --version || return 1
  cat "$SETUP_ROOT/setup.py" "$SETUP_ROOT/pyproject.toml" "$SETUP_ROOT/scripts/constraints.txt" | cksum
}

setup_pip() {
  "$VENV/bin/python" -m pip install --disable-pip-version-check --constraint "$SETUP_ROOT/scripts/constraints.txt" \
    "$@" >>"$SETUP_LOG" 2>&1
}

setup_install() {
  if [ -n "${TORCH_INDEX_URL:-}" ]; then
    setup_pip --index-url "$TORCH_INDEX_URL" torch || return 1
  fi
  setup_pip --editable "${SETUP_ROOT}[test]"
}

setup_environment() {
  local marker="$VENV/made-by-setup.sh" stamp="$VENV/up-to-date" started=$SECONDS
  SETUP_LOG="$VENV/setup.log"
  if [ -f "$stamp" ] && [ "$(setup_fingerprint 2>/dev/null)" = "$(cat "$stamp")" ]; then
    return 0
  fi
  if [ -e "$VENV" ] && [ ! -f "$marker" ] && [ -n "$(ls -A "$VENV" 2>/dev/null)" ]; then
    echo "error: $VENV exists and was not made by this script: remove it, or name another folder in VENV" >&2
    return 1
  fi
  # A stamp of other settings, in an environment that still runs, needs an update; anything else was left half-made.
  if [ ! -f "$stamp" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    find_python || return 1
    rm -rf "$VENV"
    mkdir -p "$VENV" && : >"$marker" || return 1
    echo "Setting up $("$BASE_PYTHON" --version) in $VENV: takes a few minutes the first time."
    if ! "$BASE_PYTHON" -m venv "$VENV" >"$SETUP_LOG" 2>&1; then
      echo "error: $BASE_PYTHON -m venv $VENV failed:" >&2
      tail -n 5 "$SETUP_LOG" >&2
      return 1
    fi
  else
    echo "Bringing $VENV up to date."
  fi
  rm -f "$stamp"
  if [ -z "${TORCH_INDEX_URL:-}" ] && [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
    echo "No NVIDIA GPU is seen here: if this takes long, pip is fetching GPU libraries; see scripts/setup.sh --help."
  fi
  if ! setup_install; then
    echo "error: the installation failed; the end of $SETUP_LOG:" >&2
    tail -n 15 "$SETUP_LOG" >&2
    if [ "$(uname -s)/$(uname -m)" != Linux/x86_64 ]; then
      echo "ve-fairseq comes ready-made for Linux on x86-64 only; elsewhere pip has to build it with a C++ compiler." >&2
    fi
    return 1
  fi
  setup_fingerprint >"$stamp.new" && mv "$stamp.new" "$stamp" || return 1
  echo "Installed in $((SECONDS - started)) s."
}

setup_main() {
  SETUP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || return 1
  VENV=${VENV:-$SETUP_ROOT/.venv}
  case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
  # One at a time: a second script that starts meanwhile waits instead of taking the environment for half-made.
  if command -v flock >/dev/null 2>&1; then
    mkdir -p "$(dirname "$VENV")" || return 1
    { flock 8 && setup_environment 8>&-; } 8>"$VENV.lock" || return 1
  else
    setup_environment || return 1
  fi
  PY="$VENV/bin/python"
  PATH="$VENV/bin:$PATH"
  export VENV PATH
}

if [ "${BASH_SOURCE[0]}" != "$0" ]; then
  setup_main
elif [ $# -eq 0 ]; then
  setup_main && echo "Ready: $PY"
elif [ "$1" = --help ] || [ "$1" = -h ]; then
  setup_usage
else
  echo "error: unknown argument $1; only --help is known" >&2
  exit 2
fi
