#!/usr/bin/env bash
# Builds what the benches measure: the functions as deployed, the floors, and the peer on the official SQLx connector, which
# is a workspace of its own. The shim resolves the database's name for it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build-release.sh
cargo build --locked --release -p floors
cargo build --locked --release --manifest-path benches/peers/sqlx/Cargo.toml --target-dir target/peers
cc -shared -fPIC -O1 -o target/peers/hosts.so local/dsql-local/tests/connectors/hosts_shim.c -ldl
