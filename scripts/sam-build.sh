#!/usr/bin/env bash
# `sam build` of every function for one architecture. This machine's own toolchain links for its own processor; what comes of it
# is checked, and linked anew by zig, which knows every glibc, where it needs a newer glibc than Lambda has. Zig also links for
# other processors.
set -euo pipefail
cd "$(dirname "$0")/.."

arch=${1:?usage: sam-build.sh arm64|x86_64}
export PYTHONPATH=$PWD/.tools/cloud PATH=$PWD/.tools/cloud/bin:$PWD/.tools/python/bin:$PATH
export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1} SAM_CLI_TELEMETRY=0

case $arch in
  arm64) target=aarch64-unknown-linux-gnu ;;
  x86_64) target=x86_64-unknown-linux-gnu ;;
  *) echo "unknown architecture '$arch': arm64 or x86_64" >&2 && exit 2 ;;
esac
[ -d "$(rustc --print target-libdir --target "$target")" ] || {
  echo "the Rust target is missing: rustup target add $target" >&2
  exit 1
}
# What only some deployments use is built for those that ask for it: by FEATURES, or by a parameter in deploy.toml.
[ -n "${FEATURES:-}" ] || ! grep -qsE '^McpServers *=' deploy.toml || FEATURES=mcp
case ${FEATURES:-} in
  '') ;;
  mcp) export CARGO_LAMBDA_CONTEXT=mcp ;; # functions/chat/CargoLambda.toml
  *) echo "unknown feature '$FEATURES': mcp" >&2 && exit 2 ;;
esac
build() { sam build --parameter-overrides "Architecture=$arch"; }

if [ "$(uname -sm)" = "Linux ${target%%-*}" ]; then
  CARGO_LAMBDA_COMPILER=cargo build
  scripts/check-build.py && exit
  echo "linking with zig" >&2
fi
scripts/install-tools.sh zig
PATH=$PWD/.tools/zig/bin:$PATH build
scripts/check-build.py
