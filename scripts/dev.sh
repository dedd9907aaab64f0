#!/usr/bin/env bash
# `make dev`: a local DSQL with its data in .local/, migrated by the real admin function, the functions
# behind an emulator, a chat page before them on 127.0.0.1:9000, and a visitor token. Ctrl-C stops all of it.
set -euo pipefail
cd "$(dirname "$0")/.."

PORT=${DEV_PORT:-9000}
API_URL="http://127.0.0.1:$PORT"
LAMBDA_PORT=${DEV_LAMBDA_PORT:-$((PORT + 10))}
LAMBDA_URL="http://127.0.0.1:$LAMBDA_PORT"
local_dir=$PWD/.local
pids=()

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

stop() {
  trap - EXIT INT TERM
  local pid
  for pid in "${pids[@]}"; do kill -INT -- "-$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap stop EXIT
trap 'echo; exit 0' INT TERM

# In a process group of its own: Ctrl-C reaches it through stop(), once, in order.
start() { # log file, command…
  local log=$1
  shift
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  set +m
  pids+=($!)
}

wait_for() { # what, log, pid, seconds, command…
  local what=$1 log=$2 pid=$3 seconds=$4
  shift 4
  local tries=$((seconds * 10))
  until "$@" >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || fail "$what ended early; the end of $log: $(printf '\n'; tail -n 5 "$log")"
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "$what did not answer within $seconds s; see $log"
    sleep 0.1
  done
}

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

for port in "$PORT" "$LAMBDA_PORT"; do
  is_taken "$port" && fail "port $port is in use: stop what listens there, or run 'make dev DEV_PORT=9100'"
done
scripts/install-tools.sh python node postgres
mkdir -p "$local_dir"
chmod 700 "$local_dir"

say "building (the first time takes a few minutes)"
# Chosen by binary, as cargo lambda chooses them: by package, features would differ and all be built again.
cargo build --locked --bin dsql-local --bin admin --bin chats --bin chat --bin sql --bin jobs --bin maintenance

# 1. The database
rm -f "$local_dir/dsql.env"
start "$local_dir/dsql-local.log" target/debug/dsql-local serve \
  --data-dir "$local_dir/dsql" --env-file "$local_dir/dsql.env"
wait_for "dsql-local" "$local_dir/dsql-local.log" "${pids[0]}" 60 test -s "$local_dir/dsql.env"

# 2. The functions
export AUTH_ISSUER=http://localhost AUTH_AUDIENCE=chat
AUTH_JWKS=$(node scripts/mint-token.mjs jwks "$local_dir/jwt-key.pem")
TOKEN=$(node scripts/mint-token.mjs token "$local_dir/jwt-key.pem" visitor-1)
export AUTH_JWKS
# Without a model's address the reply is an echo; with Ollama: MODEL_PROVIDER=openai OPENAI_BASE_URL=http://127.0.0.1:11434/v1
export MODEL_PROVIDER=${MODEL_PROVIDER:-echo}
set -a
# shellcheck source=/dev/null
. "$local_dir/dsql.env"
set +a
start "$local_dir/functions.log" cargo lambda watch --invoke-address 127.0.0.1 --invoke-port "$LAMBDA_PORT" \
  --concurrency 4 --ignore-changes
watch_pid=${pids[1]}
wait_for "cargo lambda watch" "$local_dir/functions.log" "$watch_pid" 60 is_taken "$LAMBDA_PORT"

# 3. The schema, by the function that does it in the cloud
invoke() { # function, event
  curl --silent --show-error --fail-with-body --max-time 300 --data "$2" \
    "$LAMBDA_URL/2015-03-31/functions/$1/invocations"
}
say "migrating"
roles=
for role in chat chats jobs maintenance sql_function; do roles+=",\"$role\":\"$DSQL_PRINCIPAL_ARN\""; done
answer=$(invoke admin "{\"command\":\"migrate\",\"roles\":{${roles#,}}}") ||
  fail "the migration failed: $answer (see $local_dir/functions.log)"
case $answer in
  *errorMessage*) fail "the migration failed: $answer (see $local_dir/functions.log)" ;;
esac
wait_for "the chats function" "$local_dir/functions.log" "$watch_pid" 120 \
  curl --silent --fail --max-time 60 "$LAMBDA_URL/api/ready"

# 4. The page, and the way to the functions from the same origin
start "$local_dir/page.log" node scripts/dev-server.mjs --port "$PORT" --api "$LAMBDA_URL" \
  --key "$local_dir/jwt-key.pem"
wait_for "the page" "$local_dir/page.log" "${pids[2]}" 10 is_taken "$PORT"

# 5. A login of its own: the password is shown once, so it is kept beside the data it opens
umask 077
login_file=$local_dir/connection-string
create="{\"command\":\"create-login\",\"name\":\"blog\",\"access\":\"owner\",\"host\":\"localhost\"}"
answer=$(invoke admin "$create") || fail "the login failed: $answer (see $local_dir/functions.log)"
connection=$(node scripts/connection-string.mjs "$answer")
if [ -z "$connection" ] && [ ! -s "$login_file" ]; then
  rotate='{"command":"rotate-login","name":"blog","graceSeconds":0,"host":"localhost"}'
  answer=$(invoke admin "$rotate") || fail "the login failed: $answer (see $local_dir/functions.log)"
  connection=$(node scripts/connection-string.mjs "$answer")
fi
[ -z "$connection" ] || printf '%s\n' "$connection" >"$login_file"
connection=$(cat "$login_file")
wait_for "the sql function" "$local_dir/functions.log" "$watch_pid" 120 \
  curl --silent --fail --max-time 60 --header "Neon-Connection-String: $connection" --data '{"query":"SELECT 1"}' "$API_URL/sql"

{
  echo "API_URL=$API_URL"
  echo "TOKEN=$TOKEN"
  echo "DATABASE_URL=$connection"
  cat "$local_dir/dsql.env"
} >"$local_dir/dev.env"

cat <<TEXT

Ready. A chat page: $API_URL/

Ask something; the reply streams:

  . .local/dev.env
  curl -sN -H "Authorization: Bearer \$TOKEN" -H 'Content-Type: application/json' \\
    -d '{"id":"first","message":{"id":"m1","role":"user","parts":[{"type":"text","text":"Hello DSQL"}]}}' \\
    "\$API_URL/api/chat"

List the chats:

  curl -s -H "Authorization: Bearer \$TOKEN" "\$API_URL/api/chats"

The connection string, for the unmodified Neon driver:

  $connection

  curl -s -H "Neon-Connection-String: $connection" -d '{"query":"SELECT now()"}' "$API_URL/sql"

In Node: npm install @neondatabase/serverless, then save as hello.mjs and run
DATABASE_URL='$connection' node hello.mjs

  import { neon, neonConfig } from '@neondatabase/serverless';
  neonConfig.fetchEndpoint = '$API_URL/sql';
  const sql = neon(process.env.DATABASE_URL);
  await sql\`CREATE TABLE IF NOT EXISTS claps (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), post text, emoji text)\`;
  const add = (emoji) => sql\`INSERT INTO claps (post, emoji) VALUES (\${'hello'}, \${emoji})\`;
  await sql.transaction([add('👍'), add('🎉')]);
  console.log(await sql\`SELECT emoji, count(*) FROM claps GROUP BY emoji\`);

In a Worker: the same lines inside fetch(), with env.DATABASE_URL.

Work off jobs (erasures) without a queue, end what hangs, purge what has expired:

  curl -s -d '{"run":"due"}' $LAMBDA_URL/2015-03-31/functions/jobs/invocations
  curl -s -d '{"task":"reap"}' $LAMBDA_URL/2015-03-31/functions/maintenance/invocations
  curl -s -d '{"task":"purge"}' $LAMBDA_URL/2015-03-31/functions/maintenance/invocations

Look into the database server:  curl -s $DSQL_CONTROL_URL/stats
Variables: .local/dev.env · logs: .local/*.log · stop: Ctrl-C
TEXT

wait "$watch_pid" || fail "cargo lambda watch ended; see $local_dir/functions.log"
