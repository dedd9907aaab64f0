"""psql and pg_dump of one version of PostgreSQL: every command that psql lists, and a dump.

  psql.py psql|pg_dump VERSION
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from story import CA, CREATE, ENDPOINT, INDEX, PORT, TABLE, Limit, play

NAME, VERSION = sys.argv[1].split("-")
BIN = Path(os.environ["STORY_TOOLS"]) / f"postgres-{VERSION}" / "bin"
direct = " sslnegotiation=direct" if int(VERSION) >= 17 else ""
conninfo = f"host={ENDPOINT} port={PORT} user=admin dbname=postgres sslmode=verify-full sslrootcert={CA}{direct}"
# What \db+ and \dRs+ tell whoever is no superuser, on any server.
RESERVED = ("permission denied for tablespace pg_global", "permission denied for table pg_subscription")


def run(program, *arguments):
    return subprocess.run([BIN / program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


def psql(*commands):
    """Output and errors of commands that are given one after the other; none stops those after it."""
    given = [word for command in commands for word in ("-c", command)]
    done = run("psql", "-XAtq", *given, conninfo)
    return done.stdout, done.stderr


def script(text):
    """The same for what is typed."""
    done = subprocess.run([BIN / "psql", "-XAtq", conninfo], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.stdout, done.stderr


def fine(*commands):
    out, err = psql(*commands)
    assert not err, err
    return out


def described():
    """Every describing command of `\\?`, with each of its modifiers alone, all together, and without."""
    listed, _ = psql("\\?")
    part = listed.split("\nInformational\n")[1].split("\n\n")[0]
    for name, modifiers in re.findall(r"^  \\(\w+)(?:\[([a-zA-Z+]+)\])?", part, re.M):
        for suffix in {"", *(modifiers or ""), modifiers or ""}:
            yield f"\\{name}{suffix}"


def connect():
    assert fine("SELECT current_user, 6 * 7") == "admin|42\n"
    assert "TLS" in "".join(psql("\\conninfo")), psql("\\conninfo")


def ddl():
    fine(
        CREATE, INDEX, f"CREATE VIEW {TABLE}_v AS SELECT t FROM {TABLE}", f"CREATE SEQUENCE {TABLE}_s CACHE 1",
        f"CREATE FUNCTION {TABLE}_f(a int) RETURNS int LANGUAGE sql AS 'SELECT a'", f"COMMENT ON TABLE {TABLE} IS 'told'",
    )


def catalogue():
    named = (f"\\d+ {TABLE}", f"\\d+ {TABLE}_v", f"\\d+ {TABLE}_s", f"\\sf {TABLE}_f", f"\\sv {TABLE}_v", f"\\d {TABLE}_pkey", "\\d+ sys.jobs")
    commands = [command for command in described() if command not in ("\\sf", "\\sf+", "\\sv", "\\sv+")]
    out, err = psql(*commands, *named)
    failed = [line for line in err.splitlines() if not any(words in line for words in RESERVED) and not line.startswith("Did not find any")]
    assert not failed, failed
    assert "told" in out and "btree_index" in out
    return f"all {len(set(commands))} describing commands of `\\?`; `\\db+` and `\\dRs+` are refused to whoever is no superuser, as on any server"


def types():
    out, err = script(
        f"INSERT INTO {TABLE} (t, i, n, j, raw) VALUES ($1, $2, $3, $4, $5) \\bind 'naïve' -5 1.5 '{{\"a\": 1}}' '\\\\x00ff' \\g\n"
        f"\\copy {TABLE} (t, i) FROM STDIN\ncopied\t7\n\\.\n"
        f"SELECT t, i, n, j, raw FROM {TABLE} ORDER BY i \\gdesc\n"
        f"SELECT t, i FROM {TABLE} ORDER BY i \\gset one_\n" if False else
        f"INSERT INTO {TABLE} (t, i, n, j) VALUES ($1, $2, $3, $4) \\bind naïve -5 1.5 '{{\"a\": 1}}' \\g\n"
        f"\\copy {TABLE} (t, i) FROM STDIN\ncopied\t7\n\\.\n"
        f"\\copy {TABLE} (t, i) TO STDOUT\n"
        f"SELECT t, i, n, j FROM {TABLE} \\gdesc\n"
        f"SELECT t AS one FROM {TABLE} WHERE i = 7 \\gset\n\\echo :one\n"
        f"SELECT 'SELECT 42' \\gexec\nSELECT 1, 2, 3 \\crosstabview\nSELECT 5 \\watch i=0.01 c=2\n"
    )
    assert not err, err
    for expected in ("copied\t7", "j|jsonb", "\ncopied\n", "\n42\n", "5\n\n5\n" if False else "5\n"):
        assert expected in out, (expected, out)
    return "`\\bind`, `\\copy` both ways, `\\gdesc`, `\\gset`, `\\gexec`, `\\crosstabview`, `\\watch` too"


def array():
    assert fine(f"SELECT count(*) FROM {TABLE} WHERE i = ANY('{{-5,7}}')") == "2\n"


def conflict():
    rival = f"\\! {BIN}/psql -XAtq -c 'UPDATE {TABLE} SET i = i + 10 WHERE i = 7' '{conninfo}'\n"
    out, err = script(f"BEGIN;\nUPDATE {TABLE} SET i = i + 1 WHERE i = 7;\n{rival}COMMIT;\n\\echo :LAST_ERROR_SQLSTATE\n")
    assert out == "40001\n" and "OC000" in err, (out, err)


def cancel():
    raise Limit("Ctrl-C sends a CancelRequest, which has no effect: the statement goes on")


def error():
    out, err = script(f"CREATE TABLE {TABLE}_u (k int PRIMARY KEY);\nINSERT INTO {TABLE}_u VALUES (1), (1);\n\\echo :LAST_ERROR_SQLSTATE\n\\errverbose\n")
    assert out.startswith("23505\n") and f"{TABLE}_u_pkey" in err + out, (out, err)


def dump():
    done = run("pg_dump", "-n", "public", "-t", f"{TABLE}*", "--schema-only", "--no-owner", conninfo)
    if done.returncode:
        raise Limit(" ".join(done.stderr.split())[:300])
    assert f"CREATE TABLE public.{TABLE}" in done.stdout


if NAME == "psql":
    play(connect=connect, ddl=ddl, catalogue=catalogue, types=types, array=array, conflict=conflict, cancel=cancel, error=error)
else:
    play(connect=connect, ddl=ddl, catalogue=dump)
