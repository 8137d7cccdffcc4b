#!/usr/bin/env bash
# Formats the C++ sources, or checks everything that pre-commit checks.
#
# Usage: scripts/lint.sh check|format <venv>      check needs build/dev/compile_commands.json for clang-tidy
set -euo pipefail

action="$1"
bin="$2/bin"
mapfile -t cpp < <(git ls-files '*.h' '*.cc')
mapfile -t engine < <(git ls-files 'ev_tf/*.cc')

case "$action" in
  format) "$bin/clang-format" -i "${cpp[@]}" ;;
  check)
    "$bin/clang-format" --dry-run -Werror "${cpp[@]}"
    "$bin/ruff" check .
    # Of each file alone, on all cores; "N warnings generated" is of headers that are not ours.
    printf '%s\n' "${engine[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy -p build/dev --quiet 2> >(grep -v 'warnings generated' >&2)
    ;;
  *) echo "lint.sh: expected check or format, received '$action'" >&2; exit 2 ;;
esac
