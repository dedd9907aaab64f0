#!/usr/bin/env bash
# Pins what pip installs: of each requirements*.in the versions of everything it needs, for all systems and Pythons, with the
# hashes of their files. A version that is pinned already stays, unless it is asked for by name:
#   pin-python.sh [--upgrade-package NAME…]
set -euo pipefail
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "uv is missing: pip install uv" >&2; exit 1; }

pin() { # file without .in, the oldest Python, options…
  local file=$1 python=$2
  shift 2
  uv pip compile --quiet --universal --python-version "$python" --generate-hashes --no-annotate --no-emit-index-url \
    --no-header "$@" "$file.in" -o "$file.txt"
  sed -i.old "1i # Made of $(basename "$file").in by scripts/pin-python.sh: what is installed, and the hashes of all files that are it." "$file.txt"
  rm "$file.txt.old"
}

pin scripts/requirements-tools 3.10 --no-deps "$@"
pin scripts/requirements-psql 3.10 --no-deps "$@"
pin scripts/requirements-zig 3.10 "$@"
pin scripts/requirements-cloud 3.10 "$@"
pin scripts/requirements-emulator 3.10 "$@"
pin scripts/requirements-tests 3.10 "$@"
pin scripts/requirements-packages 3.10 "$@"
pin scripts/requirements-schemathesis 3.11 "$@"
pin local/dsql-local/tests/connectors/python/requirements 3.10 "$@"
