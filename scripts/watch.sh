#!/usr/bin/env bash
# `make watch`: the same functions under `cargo lambda watch`, for whoever prefers it, with the database of a `make dev` that
# runs in another terminal. It lets the admin principal act as every function. Ctrl-C stops it.
set -euo pipefail
cd "$(dirname "$0")/.."

PORT=${WATCH_PORT:-9020}
fail() { printf '%s\n' "$*" >&2; exit 1; }

[ -s .local/dev.env ] || fail "run 'make dev' in another terminal first"
scripts/install-tools.sh tools
set -a
# shellcheck source=/dev/null
. .local/dev.env
set +a
export MODEL_PROVIDER=${MODEL_PROVIDER:-echo}

ask_admin() { # command
  local answer
  answer=$(curl --silent --show-error --fail-with-body --max-time 300 --data "$1" \
    "$LAMBDA_URL/2015-03-31/functions/admin/invocations") || fail "make dev does not answer at $LAMBDA_URL: is it running?"
  case $answer in
    *errorMessage*) fail "$answer" ;;
  esac
}

roles=
for role in chat chats jobs maintenance sql_function; do roles+=",\"$role\":\"$DSQL_PRINCIPAL_ARN\""; done
ask_admin "{\"command\":\"migrate\",\"roles\":{${roles#,}}}"
ask_admin '{"command":"create-login","name":"blog","access":"owner"}'

echo "The functions: http://127.0.0.1:$PORT/ (started at their first request)"
exec cargo lambda watch --invoke-address 127.0.0.1 --invoke-port "$PORT" --ignore-changes --disable-cors
