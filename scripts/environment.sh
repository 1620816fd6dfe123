# Sourced by the scripts beside it: finds a Python, prepares .venv, and sets `root` and `python`.
# shellcheck shell=bash
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
python=$root/.venv/bin/python

# The name of the first Python that is new enough.
find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  echo 'refold: Python 3.11 or later is needed, and none was found on PATH.' >&2
  return 1
}

# prepare run|test|check: leave an environment that is up to date.
prepare() {
  local base
  base=$(find_python) || exit 1
  "$base" "$root/scripts/prepare_environment.py" "$1" || exit 1
}
