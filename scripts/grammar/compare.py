#!/usr/bin/env python3
"""Asks dsql-local whether it takes the statements of dsql-lint's corpus, and compares with what AWS's grammar of DSQL and its
linter say of them: a table by group of statements. `make grammar` runs it.

  compare.py VERDICTS    what the program beside this script has printed

A group in which dsql-local and the grammar differ has to be decided in local/dsql-local/grammar.md, with its reason; one that is
not, or that is and differs no more, is an error.
"""
import collections
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DECISIONS = ROOT / "local" / "dsql-local" / "grammar.md"
sys.path.insert(0, str(ROOT / ".tools" / "connector-python"))
import aurora_dsql_psycopg as dsql  # noqa: E402
import psycopg  # noqa: E402

# What says that there is no such statement, whatever else it may need.
REFUSED = {"42601", "0A000"}
# What may stand between CREATE and what is created.
MODIFIERS = "or|replace|global|local|temporary|temp|unlogged|unique|recursive"
# Objects of two or three words.
OBJECTS = "access method|default privileges|event trigger|foreign data wrapper|foreign table|materialized view|text search \\w+|user mapping|\\w+"


class Server:
    """A dsql-local of its own, and a session with it that is replaced when a statement has cost it."""

    def __init__(self, folder):
        file = Path(folder) / "env"
        program = ROOT / "target" / "debug" / "dsql-local"
        self.process = subprocess.Popen([program, "serve", "--env-file", file, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        words = (shlex.split(line) for line in file.read_text().splitlines())
        self.env = dict(word.split("=", 1) for line in words for word in line if "=" in word)
        os.environ |= {name: value for name, value in self.env.items() if name.startswith("AWS_")}
        self.session = None

    def connect(self):
        env = self.env
        return dsql.connect(
            host=env["DSQL_ENDPOINT"], hostaddr=env["DSQL_HOSTADDR"], port=env["DSQL_PORT"], user="admin",
            sslmode="verify-full", sslrootcert=env["DSQL_CA_FILE"], autocommit=True,
        )

    def answer(self, sql):
        """The SQLSTATE and the message of a statement's error, if it has one."""
        if self.session is None or self.session.closed:
            self.session = self.connect()
        try:
            self.session.pgconn.exec_(b"ROLLBACK")
            result = self.session.pgconn.exec_(sql.encode())
            if result.status in (psycopg.pq.ExecStatus.COPY_IN, psycopg.pq.ExecStatus.COPY_OUT):
                self.session.close()
                return None
            if result.status != psycopg.pq.ExecStatus.FATAL_ERROR:
                return None
            field = psycopg.pq.DiagnosticField
            code = result.error_field(field.SQLSTATE)
            return (code or b"XX000").decode(), (result.error_field(field.MESSAGE_PRIMARY) or b"").decode()
        except psycopg.Error as error:
            self.session.close()
            return error.sqlstate or "08006", str(error)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def group(sql):
    """The words that say what a statement is."""
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", sql, flags=re.S)
    text = re.sub(r"\s+", " ", text).strip().lower().lstrip("( ")
    found = re.match(rf"(create|alter|drop) (?:(?:{MODIFIERS}) )*({OBJECTS})", text)
    if found:
        return f"{found[1]} {found[2]}".upper()
    return re.match(r"\w*", text)[0].upper()


def decided():
    """The groups that the page decides."""
    rows = re.findall(r"^\| `([^`]+)` \|", DECISIONS.read_text(), flags=re.M)
    return set(rows)


def main():
    statements = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    with tempfile.TemporaryDirectory(prefix="grammar-") as folder:
        Path(folder).chmod(0o755)
        server = Server(folder)
        try:
            groups = collections.defaultdict(list)
            for statement in statements:
                error = server.answer(statement["sql"])
                is_refused = error is not None and error[0] in REFUSED
                groups[group(statement["sql"])].append((statement, is_refused, error))
        finally:
            server.stop()
    print(f"{'':36}{'statements':>10}{'agree':>8}{'we refuse':>11}{'we accept':>11}{'lint objects':>14}")
    differing = set()
    for name, found in sorted(groups.items()):
        strict = [one for one in found if one[1] and one[0]["grammar"]]
        lenient = [one for one in found if not one[1] and not one[0]["grammar"]]
        linted = sum(bool(one[0]["lint"]) and not one[1] for one in found)
        print(f"{name:36}{len(found):>10}{len(found) - len(strict) - len(lenient):>8}{len(strict):>11}{len(lenient):>11}{linted:>14}")
        if strict or lenient:
            differing.add(name)
        for what, some in (("we refuse", strict), ("we accept", lenient)):
            for statement, _, error in some if "-v" in sys.argv else []:
                print(f"    {what}: {' '.join(statement['sql'].split())[:150]}   {error or ''}   {statement['lint'] or ''}")
    undecided, settled = differing - decided(), decided() - differing
    if undecided or settled:
        sys.exit(f"not decided in {DECISIONS.name}: {sorted(undecided)}; decided there, and no difference any more: {sorted(settled)}")


if __name__ == "__main__":
    main()
