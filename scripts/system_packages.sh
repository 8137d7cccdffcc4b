#!/usr/bin/env bash
# Installs the Debian packages that a step needs and this machine lacks.  Where nothing is missing it changes nothing and
# takes a fraction of a second; where it may not install, it says what to install and fails.
#
# Usage: [PYTHON=python3] scripts/system_packages.sh build|test|lint|bench...
set -euo pipefail

python="${PYTHON:-python3}"
missing=()

# need <package> <command...>: the package is missing unless the command succeeds.
need() {
  local package="$1"
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_program() { command -v "$1"; }
has_header() { echo "#include <$1>" | g++ -x c++ -std=c++17 -fsyntax-only -; }
has_library() { PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -F "$1"; }
has_venv() { "$python" -c 'import ensurepip, venv'; }
has_python_headers() {
  "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

for step in "$@"; do
  case "$step" in
    build)
      need g++ has_program g++
      need libc6-dev test -e /usr/include/stdlib.h
      need ccache has_program ccache
      need python3 has_program "$python"
      need python3-venv has_venv
      need python3-dev has_python_headers
      # Storage tiers: a build without these works and leaves the tier out.
      need libleveldb-dev has_header leveldb/db.h
      need libsnappy-dev has_header snappy.h
      need liburing-dev has_header liburing.h
      need libpmem1 has_library libpmem.so.1
      need libmemkind0 has_library libmemkind.so.0
      ;;
    test)
      need libgtest-dev has_header gtest/gtest.h
      need libgmock-dev has_header gmock/gmock.h
      ;;
    lint) need clang-tidy has_program clang-tidy ;;
    bench) need fio has_program fio ;;
    *) echo "system_packages.sh: expected build, test, lint or bench, received '$step'" >&2; exit 2 ;;
  esac
done

[ "${#missing[@]}" -gt 0 ] || exit 0

echo "Missing system packages: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "This is no Debian or Ubuntu: install what these packages hold with your package manager, then run again." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Not root, and no sudo: run as root:  apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
