"""psql and pg_dump of one version of PostgreSQL: every command that psql lists, and a dump.

  psql.py psql|pg_dump VERSION
"""
import os
import re
import subprocess
import sys
from pathlib import Path

from dump_proxy import Proxy
from story import CA, CREATE, ENDPOINT, INDEX, PORT, TABLE, Limit, play

NAME, VERSION = sys.argv[1].split("-")
BIN = Path(os.environ["STORY_TOOLS"]) / f"postgres-{VERSION}" / "bin"
direct = " sslnegotiation=direct" if int(VERSION) >= 17 else ""
conninfo = f"host={ENDPOINT} port={PORT} user=admin dbname=postgres sslmode=verify-full sslrootcert={CA}{direct}"
# What \db+ and \dRs+ tell whoever is no superuser, on any server.
RESERVED = ("permission denied for tablespace pg_global", "permission denied for table pg_subscription")


def run(program, *arguments, **options):
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 60}
    return subprocess.run([BIN / program, *arguments], **pipe, **options)


def psql(*commands):
    """Output and errors of commands that are given one after the other; none stops those after it."""
    given = [word for command in commands for word in ("-c", command)]
    done = run("psql", "-XAtq", *given, conninfo)
    return done.stdout, done.stderr


def script(text):
    """The same for what is typed."""
    done = run("psql", "-XAtq", conninfo, input=text)
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
    named = [f"\\d+ {TABLE}{of}" for of in ("", "_v", "_s", "_pkey")]
    named += [f"\\sf {TABLE}_f", f"\\sv {TABLE}_v", "\\d+ sys.jobs"]
    commands = [command for command in described() if command not in ("\\sf", "\\sf+", "\\sv", "\\sv+")]
    out, err = psql(*commands, *named)
    failed = [line for line in err.splitlines() if not any(words in line for words in RESERVED + ("Did not find any",))]
    assert not failed, failed
    assert "told" in out and "btree_index" in out
    count = len(set(commands))
    return f"all {count} describing commands of `\\?`; `\\db+` and `\\dRs+` need a superuser, as on any server"


def types():
    out, err = script(
        f"INSERT INTO {TABLE} (t, i, n, j) VALUES ($1, $2, $3, $4) \\bind naïve -5 1.5 '{{\"a\": 1}}' \\g\n"
        f"\\copy {TABLE} (t, i) FROM STDIN\ncopied\t7\n\\.\n"
        f"\\copy {TABLE} (t, i) TO STDOUT\n"
        f"SELECT t, i, n, j FROM {TABLE} \\gdesc\n"
        f"SELECT t AS one FROM {TABLE} WHERE i = 7 \\gset\n\\echo :one\n"
        f"SELECT 'SELECT 42' \\gexec\nSELECT 1, 2, 3 \\crosstabview\nSELECT 5 \\watch i=0.01 c=2\n"
    )
    assert not err, err
    for expected in ("copied\t7", "j|jsonb", "\ncopied\n", "\n42\n", "5\n"):
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
    twice = f"CREATE TABLE {TABLE}_u (k int PRIMARY KEY);\nINSERT INTO {TABLE}_u VALUES (1), (1);\n"
    out, err = script(f"{twice}\\echo :LAST_ERROR_SQLSTATE\n\\errverbose\n")
    assert out.startswith("23505\n") and f"{TABLE}_u_pkey" in err + out, (out, err)


def dump():
    plain = run("pg_dump", "-n", "public", conninfo)
    assert 'parameter "synchronize_seqscans" not supported' in plain.stderr, plain.stderr
    with Proxy() as proxy:
        through = f"host=127.0.0.1 port={proxy.port} user=admin dbname=postgres sslmode=disable"
        done = run("pg_dump", "-n", "public", "--no-owner", through)
    assert not done.returncode and not done.stderr, done.stderr
    for part in ("CREATE TABLE public.{} (", "COPY public.{} ", "CREATE VIEW public.{}_v", "FUNCTION public.{}_f(a"):
        assert part.format(TABLE) in done.stdout, (part, done.stdout)
    return (
        "it starts with settings that DSQL refuses, `synchronize_seqscans` first. Through a proxy that answers those, LOCK "
        "and PREPARE, as AWS's `pgdump-proxy` does, it dumps tables with their rows, views, sequences and functions "
        "(`-n public`)"
    )


if NAME == "psql":
    play(connect=connect, ddl=ddl, catalogue=catalogue, types=types, array=array, conflict=conflict, cancel=cancel, error=error)
else:
    play(connect=connect, ddl=ddl, catalogue=dump)
