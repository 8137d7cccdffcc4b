#!/usr/bin/env bash
# Builds ev_tf and installs it into a virtual environment.  A second call compiles only what changed.
#
# Usage: scripts/install.sh <venv> editable|copy
#   editable  the environment uses python/ of this tree: an edited .py counts at once.  For one environment at a time, as
#             the libraries lie in python/ev_tf beside it.
#   copy      as a user's pip install does.
set -euo pipefail

venv="$1"
mode="$2"
extras="test,cli,examples,bench"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export PATH="$PWD/$venv/bin:$PATH"  # cmake and ninja of the environment

# The packages that ev_tf asks for are looked up only when it may have begun to ask for others.
stamp="$venv/.ev_tf-$mode"
dependencies=()
if [ "$stamp" -nt pyproject.toml ]; then dependencies=(--no-deps); fi

if [ "$mode" = editable ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt setup.py ]; then
  "$venv/bin/python" setup.py -q build_ext --inplace
else
  target=".[$extras]"
  if [ "$mode" = editable ]; then target="--editable=$target"; fi
  "$venv/bin/pip" install -q --no-build-isolation "${dependencies[@]}" "$target"
  touch "$stamp"
fi
