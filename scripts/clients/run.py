#!/usr/bin/env python3
"""Installs the newest version of every client, lets each do the same things with a dsql-local, and writes docs/clients.md.

  run.py [NAME]...    without a name: all of them, and the page is written
  run.py --keep [NAME]...    with what was installed before

Exit 0: every client did what DSQL and the client itself allow. What each does is in the programs beside this one, in
catalogue.py which there are.
"""
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import install
from catalogue import CLIENTS
from page import write

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
TARGET = ROOT / "target" / "clients"
START_LIMIT_S = 60
CLIENT_LIMIT_S = 180
COLUMNS = (
    "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), t text, i int, b bigint, n numeric(20,4), f boolean, at timestamptz, "
    "j jsonb, raw bytea, nothing text"
)


class Server:
    """A dsql-local of this tree, for one client."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "dsql.env"
        command = [ROOT / "target" / "debug" / "dsql-local", "serve", "--env-file", file, "--listen", "127.0.0.1:0"]
        command += ["--no-schema-conflicts", "--stop-at-end-of-input"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_LIMIT_S
        while not (file.exists() and file.stat().st_size):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("dsql-local did not start")
            time.sleep(0.02)
        lines = (line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and not line.startswith("#"))
        self.variables = {name: value.strip("'\"") for name, value in lines}
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(START_LIMIT_S)
        self.folder.cleanup()


def environment(server, client, hosts):
    """What a client's program finds: where the cluster is, who it is, and its table."""
    table = f"story_{client.key}"
    token = subprocess.run(
        [sys.executable, HERE / "python" / "mint.py"], check=True, stdout=subprocess.PIPE, text=True,
        env=os.environ | server.variables | {"PYTHONPATH": str(TARGET / "python")},
    ).stdout
    # PHP's libpq is loaded so that it finds no function of the hosts' library.
    address = {"PGHOSTADDR": server.variables["DSQL_HOSTADDR"]} if client.file.endswith(".php") else {}
    return os.environ | server.variables | address | {
        "STORY_TABLE": table, "STORY_CREATE": f"CREATE TABLE {table} ({COLUMNS})",
        "STORY_INDEX": f"CREATE INDEX ASYNC ON {table} (t, i)", "STORY_TOKEN": token, "PGPASSWORD": token,
        "PYTHONPATH": str(TARGET / "python"), "NODE_EXTRA_CA_CERTS": server.variables["DSQL_CA_FILE"],
        "LD_PRELOAD": str(hosts), "AWS_EC2_METADATA_DISABLED": "true", "STORY_TOOLS": str(TARGET),
    }


def tell(server, client, hosts):
    """What came of each of a client's steps."""
    command = [str(word) for word in client.command(HERE, TARGET)]
    try:
        done = subprocess.run(
            command, env=environment(server, client, hosts), cwd=TARGET, timeout=CLIENT_LIMIT_S, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        out, err = done.stdout, done.stderr
        failed = done.returncode != 0
    except subprocess.TimeoutExpired as late:
        out, err, failed = (late.stdout or b"").decode(), f"not done after {CLIENT_LIMIT_S} s", True
    steps = [json.loads(line) for line in out.splitlines() if line.startswith('{"step"')]
    if failed or not steps:
        steps.append({"step": "end", "held": False, "note": " ".join(err.split())[-300:]})
    if os.environ.get("STORY_VERBOSE"):
        print(err, file=sys.stderr)
    return steps


def main():
    arguments = sys.argv[1:]
    names = [name for name in arguments if not name.startswith("-")]
    unknown = set(names) - {client.key for client in CLIENTS}
    if unknown:
        raise SystemExit(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(c.key for c in CLIENTS)}")
    if "--keep" not in arguments:
        install.everything(ROOT, TARGET)
    hosts = install.hosts(ROOT, TARGET)
    results, failed = {}, False
    for client in CLIENTS:
        if names and client.key not in names:
            continue
        client.found = client.version(TARGET)
        if not client.found:
            print(f"{client.key:18} is not there")
            continue
        with Server() as server:
            results[client.key] = tell(server, client, hosts)
        for step in results[client.key]:
            mark = {True: "held", None: "no", False: "FAILED"}[step["held"]]
            failed |= step["held"] is False
            print(f"{client.key:18} {step['step']:10} {mark:7} {step['note'] or ''}", flush=True)
    if not names:
        node = subprocess.run(["node", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip("v\n")
        try:
            system = platform.freedesktop_os_release()["PRETTY_NAME"]
        except OSError:
            system = platform.platform(terse=True)
        facts = {"date": datetime.date.today(), "python": platform.python_version(), "node": node, "system": system}
        page = write(CLIENTS, results, HERE, facts)
        (ROOT / "docs" / "clients.md").write_text(page)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
