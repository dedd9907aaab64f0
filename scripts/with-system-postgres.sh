#!/usr/bin/env bash
# Runs a command with the system's PostgreSQL behind dsql-local, or says that there is none.
#   with-system-postgres.sh command…
set -euo pipefail

found=
for candidate in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql@*/bin \
  "$(dirname "$(command -v postgres || true)")"; do
  if [ -x "$candidate/postgres" ] && [ -x "$candidate/initdb" ]; then found=$candidate; fi
done
if [ -z "$found" ]; then
  echo "SKIPPED: no PostgreSQL server is installed on this system: $*"
  exit 0
fi
echo "with $("$found/postgres" --version): $*"
DSQL_LOCAL_POSTGRES_BIN=$found exec "$@"
