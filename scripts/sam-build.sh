#!/usr/bin/env bash
# `sam build` of every function for one architecture. x86_64 is linked by this machine's own toolchain; another one by
# zig, and needs its Rust target, which rustup has to fetch.
set -euo pipefail
cd "$(dirname "$0")/.."

arch=${1:?usage: sam-build.sh arm64|x86_64}
export PYTHONPATH=$PWD/.tools/cloud PATH=$PWD/.tools/cloud/bin:$PWD/.tools/python/bin:$PATH
export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1} SAM_CLI_TELEMETRY=0
if [ "$arch" = x86_64 ]; then
  export CARGO_LAMBDA_COMPILER=cargo
else
  command -v zig >/dev/null || {
    echo "zig is missing: python3 -m pip install ziglang, and put it on the PATH (or build with ARCH=x86_64)" >&2
    exit 1
  }
  rustup target list --installed | grep -q '^aarch64-unknown-linux-gnu$' || {
    echo "the Rust target is missing: rustup target add aarch64-unknown-linux-gnu" >&2
    exit 1
  }
fi
sam build --parameter-overrides "Architecture=$arch"
