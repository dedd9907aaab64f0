#!/usr/bin/env bash
# Builds dsql-local's Python and npm packages around a program that was built before; nothing is uploaded.
#   build-packages.sh BINARY FOLDER [npm's PLATFORM, wheel's PLATFORM: for another machine than this]
set -euo pipefail
binary=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."
scripts/install-tools.sh packages node
# Its import of a sibling is not to leave bytecode in the sources.
(cd local/dsql-local/packages/python &&
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$OLDPWD/.tools/packages" DSQL_LOCAL_BINARY="$binary" DSQL_LOCAL_PLATFORM="${4:-}" \
    python3 -m hatchling build -t wheel -d "$folder")
node local/dsql-local/packages/node/pack.mjs "$binary" "$folder" ${3:+"$3"}
