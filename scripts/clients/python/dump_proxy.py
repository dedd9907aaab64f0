"""What AWS's pgdump-proxy does for pg_dump: answers what it asks for and DSQL refuses, and hands everything else on.

That is settings that DSQL does not take, LOCK TABLE, and statements prepared in SQL. On loopback, without TLS, for one client.
"""
import re
import socket
import ssl
import threading

from story import CA, ENDPOINT, PORT

TAKEN = {"client_encoding", "datestyle", "extra_float_digits", "intervalstyle", "timezone", "search_path"}


def read(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def message(stream, kind=True):
    """A message: its type, where it has one, and its body."""
    name = read(stream, 1) if kind else b""
    return name, read(stream, int.from_bytes(read(stream, 4), "big") - 4)


def written(name, body):
    return name + (len(body) + 4).to_bytes(4, "big") + body


class Proxy:
    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.prepared, self.status = {}, b"I"
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def serve(self):
        client, _ = self.listener.accept()
        plain = socket.create_connection((ENDPOINT, int(PORT)))
        plain.sendall(written(b"", (80877103).to_bytes(4, "big")))  # SSLRequest
        assert plain.recv(1) == b"S"
        server = ssl.create_default_context(cafile=CA).wrap_socket(plain, server_hostname=ENDPOINT)
        asks, answers = client.makefile("rb"), server.makefile("rb")
        server.sendall(written(*message(asks, kind=False)))
        threading.Thread(target=self.hand_back, args=(answers, client), daemon=True).start()
        try:
            while True:
                name, body = message(asks)
                tag, sql = self.judged(body[:-1].decode()) if name == b"Q" else (None, None)
                if tag:
                    client.sendall(written(b"C", tag.encode() + b"\0") + written(b"Z", self.status))
                else:
                    server.sendall(written(name, sql.encode() + b"\0" if sql else body))
        except EOFError:
            server.close()

    def hand_back(self, answers, client):
        try:
            while True:
                name, body = message(answers)
                self.status = body if name == b"Z" else self.status
                client.sendall(written(name, body))
        except (EOFError, OSError):
            client.close()

    def judged(self, sql):
        """The tag to answer with at once, or what to send instead."""
        words = sql.split()
        if words[0] == "SET" and words[1].lower() not in TAKEN:
            return "SET", None
        if words[:2] == ["LOCK", "TABLE"]:
            return "LOCK TABLE", None
        if "set_config(" in sql:
            return None, "SELECT NULL::text"
        made = re.match(r"PREPARE (\w+)\(([\w., \[\]]+)\) AS\s+(.*)", sql, re.S)
        if made:
            self.prepared[made[1]] = made[3], made[2].split(", ")
            return "PREPARE", None
        run = re.match(r"EXECUTE (\w+)\((.*)\)", sql, re.S)
        if run:
            text, types = self.prepared[run[1]]
            given = re.findall(r"'(?:[^']|'')*'", run[2])
            return None, re.sub(r"\$(\d)", lambda mark: f"{given[int(mark[1]) - 1]}::{types[int(mark[1]) - 1]}", text)
        return None, None
