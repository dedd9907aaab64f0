"""docs/clients.md: how to connect with each client, and what each can do."""
import re
import textwrap

from catalogue import NOWHERE

LANGUAGES = {".py": "python", ".mjs": "js", ".java": "java", ".php": "php", ".rb": "ruby", ".sh": "sh"}
STEPS = {
    "connect": "connect", "ddl": "DDL", "catalogue": "catalogue", "types": "types", "array": "array", "conflict": "conflict",
    "cancel": "cancel", "error": "error", "pool": "pool",
}
MARKS = {True: "yes", None: "no", False: "**fails**"}
WIDTH = 120
OPENING = """# Clients

How to connect to Aurora DSQL, and to `dsql-local`, with each of these clients, and what each can do there. Every
snippet is part of a program that ran against `dsql-local` on {date}, with the client's newest version for Python
{python} and Node {node}; those for Java, PHP and Ruby are of {system}.
`make clients` installs and runs all of them again and writes this page.

Each client connects with TLS verified and a token as its password. The snippets have the host, port, Region and CA file
that `dsql-local serve --env-file dsql.env` writes (`DSQL_ENDPOINT`, `DSQL_PORT`, `AWS_REGION`, `DSQL_CA_FILE`), as
`ENDPOINT` or `host` and so on. A `token` that a snippet does not make itself comes from the AWS CLI, as in psql's.

- **A cluster** has port 5432 and a certificate that systems trust, so the port can be left out, and the CA is the
  system's (`sslrootcert=system` with libpq).
- **`dsql-local`** needs its name to resolve to this machine: a hosts entry, `127.0.0.1 <DSQL_ENDPOINT>`, or
  `PGHOSTADDR=127.0.0.1` for whatever uses libpq.
- **A token** lives 15 minutes and only opens a connection, which then lives 60 minutes. So a pool has to make a new
  token for each connection, and to retire connections before an hour has passed.
- **Another role** than `admin` takes a token for `DbConnect`: the same function without `Admin` in its name.
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

"yes": it worked. "no": DSQL or the client does not have this, as its section says. Empty: not tested. `dsql-local`
accepts a CancelRequest and lets the statement go on; what a cluster does is not documented.
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
    versions = ", ".join(client.found for client in clients)
    install = f"`{clients[0].install}`, version" if clients[0].install else "Version"
    lines = [f"## {clients[0].section}", "", f"{install} {versions}{clients[0].about}."]
    if clients[0].shown != NOWHERE:
        language, code = snippet(clients[0], here)
        lines += ["", f"```{language}", code, "```"]
    notes = {}
    for client in clients:
        for step in results[client.key]:
            if step["note"]:
                notes.setdefault((STEPS.get(step["step"], step["step"]), step["note"]), []).append(client.found)
    if notes:
        lines.append("")
    for (step, note), which in notes.items():
        only = f" ({', '.join(which)})" if len(which) < len(clients) else ""
        lines.append(wrapped(f"{step}{only}: {note}."))
    return "\n".join(lines)


def table(clients, results):
    head = "| Client | Version | " + " | ".join(STEPS.values()) + " |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for client in clients:
        held = {step["step"]: MARKS[step["held"]] for step in results[client.key]}
        cells = [held.get(step, "") for step in STEPS]
        lines.append(f"| {client.name} | {client.found} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(clients, results, here, facts):
    found = [client for client in clients if client.found]
    sections = {}
    for client in found:
        sections.setdefault(client.section, []).append(client)
    parts = [OPENING.format(**facts) + MEANING, table(found, results)]
    return "\n\n".join(part.strip("\n") for part in parts + [section(those, results, here) for those in sections.values()]) + "\n"
