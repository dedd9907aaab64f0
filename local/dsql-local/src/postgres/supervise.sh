# Runs PostgreSQL for dsql-local. Standard input is the life line: when it ends, because dsql-local stopped or was
# killed, PostgreSQL is stopped and the scratch directory removed. Standard output may be the cluster's directory,
# opened by an account that may reach it (then "$2" is /proc/self/fd/3).
# Arguments: bin directory, cluster directory, scratch directory, superuser, server options...
exec 3<&1 1>&2 4<&0 0</dev/null
trap '' HUP INT
bin=$1 data=$2 scratch=$3 super=$4
shift 4
finish() {
    rm -rf -- "$scratch"
    exit "$1"
}
# An initdb that was cut off leaves no mark: start again.
if [ ! -e "$data/dsql-local.made" ]; then
    rm -rf -- "$data"/* "$data"/.[!.]*
    "$bin/initdb" -D "$data" -A trust -U "$super" -E UTF8 --locale=C --no-sync || finish 1
    echo "$super" >"$data/dsql-local.made" || finish 1
elif ! grep -q . "$data/dsql-local.made"; then
    # Made when the superuser had another name.
    echo "UPDATE pg_authid SET rolname = '$super' WHERE oid = 10" |
        "$bin/postgres" --single -D "$data" postgres >/dev/null || finish 1
    echo "$super" >"$data/dsql-local.made" || finish 1
fi
"$bin/postgres" -D "$data" "$@" &
server=$!
(
    trap - HUP INT
    read -r _ <&4
    kill -INT "$server"
    tries=0
    while kill -0 "$server" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -ne 100 ] || kill -QUIT "$server"
        sleep 0.05
    done
) 2>/dev/null &
watcher=$!
wait "$server"
code=$?
kill "$watcher" 2>/dev/null
finish "$code"
