#!/usr/bin/env bash
# Makes a virtual environment and installs into it what building and running need.
#
# Usage: [PYTHON=python3] scripts/environment.sh <venv>                      the build tools alone
#        [PYTHON=python3] scripts/environment.sh <venv> <TensorFlow version>   TensorFlow too
# A TensorFlow of that version that is there already, tensorflow or tensorflow-cpu, is kept.
set -euo pipefail

venv="$1"
tensorflow="${2:-}"
python="${PYTHON:-python3}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The newest Python that the wheels of a TensorFlow minor exist for.
newest_python() {
  case "$1" in
    2.15.*) echo 11 ;;
    2.16.* | 2.17.* | 2.18.* | 2.19.*) echo 12 ;;
    *) echo 13 ;;
  esac
}

check_python() {
  local minor newest
  minor="$("$1" -c 'import sys; print(sys.version_info.minor)')"
  newest="$(newest_python "$tensorflow")"
  if [ "$minor" -gt "$newest" ]; then
    echo "TensorFlow $tensorflow has wheels up to Python 3.$newest, but $1 is Python 3.$minor:" \
      "pass another one, e.g. PYTHON=python3.$newest" >&2
    exit 1
  fi
}

installed_tensorflow() {
  "$venv/bin/python" - <<'PYTHON'
from importlib.metadata import PackageNotFoundError, version
for name in ("tensorflow", "tensorflow-cpu"):
  try:
    print(version(name))
    break
  except PackageNotFoundError:
    pass
PYTHON
}

if [ ! -x "$venv/bin/pip" ]; then
  [ -z "$tensorflow" ] || check_python "$python"
  "$python" -m venv "$venv"
fi
"$venv/bin/pip" install -q "setuptools>=77.0.3,<81" "cmake>=3.21" ninja "pybind11>=2.12"

if [ -n "$tensorflow" ] && [ "$(installed_tensorflow)" != "$tensorflow" ]; then
  check_python "$venv/bin/python"
  requirements=("tensorflow-cpu==$tensorflow")
  case "$tensorflow" in
    # These hold NumPy below 2, and newer Arrows want NumPy 2 without saying so.
    2.15.* | 2.16.* | 2.17.*) requirements+=("pyarrow<22") ;;
    # protobuf 7 dropped an argument that 2.20.0 still passes: Estimators and MonitoredSession fail.
    2.20.*) requirements+=("protobuf>=6.31,<7") ;;
  esac
  echo "Installing ${requirements[*]} into $venv: about 250 MB"
  "$venv/bin/pip" install -q "${requirements[@]}"
fi
