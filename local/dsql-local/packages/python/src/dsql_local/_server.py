"""A running dsql-local: its start, where it is, and its end."""

import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ._binary import find_binary

STOP_PATIENCE_S = 30


class DsqlLocalError(Exception):
    """dsql-local did not start, or refused what it was asked."""


class DsqlLocal:
    """A local Aurora DSQL, started by ``with`` or ``start()``; it ends with the block, ``stop()``, or this process.

    ``data_dir`` keeps what is otherwise thrown away at the end. ``control_plane`` opens the API that makes further
    clusters. ``arguments`` are further ones of ``dsql-local serve``.
    """

    def __init__(self, *arguments: str, data_dir: "str | Path | None" = None, control_plane: bool = False):
        self._arguments = list(arguments)
        if data_dir is not None:
            self._arguments += ["--data-dir", str(data_dir)]
        if control_plane:
            self._arguments += ["--control-plane", "127.0.0.1:0"]
        self._process: "subprocess.Popen[str] | None" = None
        self._environment: "dict[str, str]" = {}

    def start(self) -> "DsqlLocal":
        """Starts it and waits until it accepts connections."""
        if self._process is not None:
            raise DsqlLocalError("it runs already")
        with tempfile.TemporaryDirectory(prefix="dsql-local-") as folder:
            env_file, log = Path(folder, "env"), Path(folder, "log")
            command = [find_binary(), "serve", "--stop-at-end-of-input", "--env-file", str(env_file), *self._arguments]
            with log.open("w") as stderr:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)
            if not process.stdout.readline():
                process.wait()
                raise DsqlLocalError(log.read_text().strip() or f"dsql-local ended with {process.returncode}")
            lines = env_file.read_text().splitlines()
        self._process = process
        self._environment = dict(line.split("=", 1) for line in lines)
        return self

    def stop(self) -> None:
        """Stops it and waits until PostgreSQL and what is to be thrown away are gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.stdin.close()
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> "DsqlLocal":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> "dict[str, str]":
        """The variables that configure a client, those of ``dsql.env``: for ``os.environ`` or ``subprocess``."""
        return dict(self._environment)

    @property
    def endpoint(self) -> str:
        """The cluster's host name: for SNI, certificate check and token."""
        return self._environment["DSQL_ENDPOINT"]

    @property
    def hostaddr(self) -> str:
        """The address to connect to instead of resolving that name."""
        return self._environment["DSQL_HOSTADDR"]

    @property
    def port(self) -> int:
        return int(self._environment["DSQL_PORT"])

    @property
    def websocket_port(self) -> int:
        """The port of PostgreSQL over WebSocket, which a cluster has at 443."""
        return int(self._environment["DSQL_WEBSOCKET_PORT"])

    @property
    def ca_file(self) -> str:
        """The certificate to trust."""
        return self._environment["DSQL_CA_FILE"]

    @property
    def region(self) -> str:
        return self._environment["AWS_REGION"]

    @property
    def principal_arn(self) -> str:
        """The principal of the credentials, for ``AWS IAM GRANT``."""
        return self._environment["DSQL_PRINCIPAL_ARN"]

    @property
    def credentials(self) -> "dict[str, str]":
        """The admin principal's keys, as arguments of ``boto3.client`` and ``boto3.Session``."""
        return {
            "aws_access_key_id": self._environment["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self._environment["AWS_SECRET_ACCESS_KEY"],
            "region_name": self.region,
        }

    @property
    def control_plane_url(self) -> "str | None":
        """The control plane, as ``endpoint_url`` of ``boto3.client("dsql")``; ``None`` without ``control_plane``."""
        return self._environment.get("AWS_ENDPOINT_URL_DSQL")

    def token(self, user: str = "admin", host: "str | None" = None) -> str:
        """A token for a user, of this cluster or the one at ``host``, by boto3 (the extra ``token``)."""
        import boto3

        client = boto3.client("dsql", **self.credentials)
        sign = client.generate_db_connect_auth_token
        if user == "admin":
            sign = client.generate_db_connect_admin_auth_token
        return sign(host or self.endpoint, self.region)

    def libpq(self, user: str = "admin", host: "str | None" = None) -> "dict[str, str]":
        """The parameters of a connection, for psycopg and whatever else stands on libpq."""
        return {
            "host": host or self.endpoint,
            "hostaddr": self.hostaddr,
            "port": str(self.port),
            "user": user,
            "dbname": "postgres",
            "password": self.token(user, host),
            "sslmode": "verify-full",
            "sslrootcert": self.ca_file,
        }

    def advance(self, seconds: int) -> None:
        """Moves the clock that token expiry, connection life and the connect rate go by.

        Signers go by the real one: their tokens are as much older then.
        """
        self._control("/clock", {"advance_s": seconds})

    def reset_clock(self) -> None:
        """Sets that clock to the real time."""
        self._control("/clock", {"set": int(time.time())})

    def set_faults(self, **faults: object) -> None:
        """Replaces all faults; without arguments there are none."""
        self._control("/faults", faults)

    def cut_connections(self) -> None:
        """Closes all connections, as at the end of their 60 minutes."""
        self._control("/connections/cut", {})

    def stats(self) -> "dict[str, object]":
        """Counters since the start."""
        return self._control("/stats")

    def _control(self, path: str, body: "dict[str, object] | None" = None) -> "dict[str, object]":
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._environment["DSQL_CONTROL_URL"] + path, data)
        # Loopback is never reached through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise DsqlLocalError(json.load(error)["message"]) from None
