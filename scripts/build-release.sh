#!/usr/bin/env bash
# Builds every function as it is deployed. By package and in groups, because Cargo unifies features within one command: beside a function
# with an HTTP/2 client, the others would carry its code too, which a deployment, building one by one, does not do.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --release -p admin -p chats -p sql
cargo build --locked --release -p maintenance -p chat -p jobs
