"""docs/clients.md: how to connect with each client, and what held."""
import re
import textwrap

LANGUAGES = {".py": "python", ".mjs": "js", ".java": "java", ".php": "php", ".rb": "ruby", ".sh": "sh"}
STEPS = {
    "connect": "connect", "ddl": "DDL", "catalogue": "catalogue", "types": "types", "array": "array", "conflict": "conflict",
    "cancel": "cancel", "error": "error", "pool": "pool",
}
MARKS = {True: "yes", None: "no", False: "**fails**"}
WIDTH = 120
OPENING = """# Clients

How to connect to Aurora DSQL, and so to `dsql-local`, with each of these clients, and what each of them can do there. Every
snippet is a part of a program that ran against `dsql-local` on {date}, with the newest version of the client that can be had
for Python {python} and Node {node}; `make clients` runs all of them again and writes this page.

Each client connects with TLS verified and a token as its password. The snippets have the cluster in `DSQL_ENDPOINT`,
`DSQL_PORT`, `AWS_REGION` and, for `dsql-local` alone, `DSQL_CA_FILE`, by these names or as `host`, `port`, `region` and `ca`:
what `dsql-local serve --env-file dsql.env` writes. A cluster has port 5432 and a certificate that systems trust, so port and
CA can be left out there or are the system's (`sslrootcert=system`). `dsql-local`'s name has to lead to this machine, by a
hosts entry, `127.0.0.1 <DSQL_ENDPOINT>`, or, for whatever stands on libpq, by `PGHOSTADDR=127.0.0.1`. A token lives 15
minutes and opens a connection; a connection lives 60 minutes. So a pool needs a function that gives it a new token for each
connection, and to end connections earlier than that. Roles other than `admin` take a token without `Admin` in its name.
"""
MEANING = """
| Column | What the client did |
|---|---|
| connect | TLS with the name verified, the token as password |
| DDL | a table without SERIAL, `CREATE INDEX ASYNC`, `sys.wait_for_job` |
| catalogue | what it reads of tables, columns, keys and indexes: inspection, metadata, psql's commands |
| types | uuid, text, int, bigint, numeric, boolean, timestamptz, jsonb, bytea and NULL, bound, written and read again |
| array | an array as a parameter: `= ANY($1)` |
| conflict | a transaction that loses to another session with 40001, and its repetition |
| cancel | ends a statement, or waiting for it, after a time |
| error | a unique violation is what the client calls it, or 23505 |
| pool | several sessions by its own pool |

"yes" is what held; "no" is what DSQL or the client does not have, as its section says; an empty cell is what was not tried.
`dsql-local` takes a CancelRequest and lets the statement go on; what a cluster does is not documented.
"""


def snippet(client, here):
    """The part of a client's program between its marks, without its indentation."""
    file = here / (client.shown or client.file)
    name = f" {client.tag}" if client.tag and not client.shown else r"[ \w]*"
    found = re.search(rf"^ *(?:#|//) snippet{name}\n(.*?)^ *(?:#|//) end$", file.read_text(), re.M | re.S)
    return LANGUAGES[file.suffix], textwrap.dedent(found.group(1)).rstrip()


def wrapped(text):
    return textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def section(clients, results, here):
    language, code = snippet(clients[0], here)
    versions = ", ".join(client.found for client in clients)
    lines = [f"## {clients[0].section}", "", f"Version {versions}{clients[0].about}.", "", f"```{language}", code, "```"]
    notes = []
    for client in clients:
        for step in results[client.key]:
            note = f"{STEPS.get(step['step'], step['step'])}: {step['note']}."
            if step["note"] and note not in notes:
                notes.append(note)
    return "\n".join(lines + ([""] + [wrapped(note) for note in notes] if notes else []))


def table(clients, results):
    head = "| Client | Version | " + " | ".join(STEPS.values()) + " |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for client in clients:
        held = {step["step"]: MARKS[step["held"]] for step in results[client.key]}
        cells = [held.get(step, "") for step in STEPS]
        lines.append(f"| {client.name} | {client.found} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(clients, results, here, date, python, node):
    found = [client for client in clients if client.found]
    sections = {}
    for client in found:
        sections.setdefault(client.section, []).append(client)
    parts = [OPENING.format(date=date, python=python, node=node) + MEANING, table(found, results)]
    return "\n\n".join(part.strip("\n") for part in parts + [section(those, results, here) for those in sections.values()]) + "\n"
