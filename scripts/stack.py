"""A deployed stack, as the scripts here see it: its outputs, its functions, its API. Needs boto3, which SAM brings along."""
import json
import os
import secrets
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import botocore.config

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "deploy.toml"
KEY_FILE = ROOT / "deploy-key.pem"
# A function may take 15 minutes, and asking twice is not the same as waiting.
PATIENT = botocore.config.Config(read_timeout=910, retries={"max_attempts": 1})


class Refused(Exception):
    """The stack, a function or the API said no; the text says what it said."""


def mint_token(*arguments, issuer="", audience=""):
    """What scripts/mint-token.mjs prints for these arguments."""
    claims = {"AUTH_ISSUER": issuer, "AUTH_AUDIENCE": audience}
    environment = os.environ | {name: value for name, value in claims.items() if value}
    command = ["node", str(ROOT / "scripts" / "mint-token.mjs"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def settings():
    """What deploy.toml says of each stack."""
    return tomllib.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}


class Stack:
    def __init__(self, name, region=None):
        if not name:
            raise Refused("which stack? STACK=…")
        self.name = name
        self.session = boto3.Session(region_name=region or settings().get(name, {}).get("region"))
        self.region = self.session.region_name
        if self.region is None:
            raise Refused("no Region is set: give REGION=…, or set AWS_REGION")
        self._outputs = None

    def client(self, service, **options):
        return self.session.client(service, **options)

    def description(self):
        """What CloudFormation says of the stack; None where there is none."""
        cloudformation = self.client("cloudformation")
        try:
            return cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except cloudformation.exceptions.ClientError as error:
            if "does not exist" in str(error):
                return None
            raise

    @property
    def outputs(self):
        if self._outputs is None:
            found = self.description()
            if found is None:
                raise Refused(f"there is no stack {self.name} in {self.region}")
            self._outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        return self._outputs

    def resource(self, logical_id):
        """The physical id of a resource."""
        cloudformation = self.client("cloudformation")
        found = cloudformation.describe_stack_resource(StackName=self.name, LogicalResourceId=logical_id)
        return found["StackResourceDetail"]["PhysicalResourceId"]

    def invoke(self, logical_id, event):
        """A function's answer; Refused with its own words where it failed."""
        client = self.client("lambda", config=PATIENT)
        answer = client.invoke(FunctionName=self.resource(logical_id), Payload=json.dumps(event))
        result = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise Refused(result.get("errorMessage", result))
        return result

    def admin(self, command, **fields):
        if command in ("create-login", "rotate-login"):
            fields.setdefault("host", self.outputs["SqlHost"])
        return self.invoke("AdminFunction", {"command": command, **fields})

    @property
    def api_url(self):
        """Where the API is. An emulator has all of AWS at one address, APIs below a path."""
        emulator = os.environ.get("AWS_ENDPOINT_URL")
        if emulator:
            return f"{emulator}/_aws/execute-api/{self.resource('Api')}/v1"
        return self.outputs["ApiUrl"]

    def token(self, visitor):
        """A visitor's token, as the site's server mints it."""
        outputs = self.outputs
        claims = {"issuer": outputs["AuthIssuer"], "audience": outputs["AuthAudience"]}
        return mint_token("token", str(KEY_FILE), visitor, **claims)

    def open(self, method, path, body=None, token=None, headers=None):
        """The API's answer, to be read piece by piece. Refused where its status is no success."""
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        return send(method, self.api_url + path, headers, data, path)

    def call(self, method, path, body=None, token=None, headers=None):
        """The API's answer as JSON."""
        with self.open(method, path, body, token, headers) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def say(self, token, chat, parts):
        """A turn of a chat, to the end of its reply: its words, and the seconds to its first byte."""
        message = {"id": f"m-{secrets.token_hex(8)}", "role": "user", "parts": parts}
        begin, first, text = time.monotonic(), None, ""
        with self.open("POST", "/api/chat", {"id": chat, "messages": [message]}, token=token) as answer:
            for line in answer:
                first = first or time.monotonic() - begin
                text += line.decode()
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        errors = [event.get("errorText", "") for event in events if event["type"] == "error"]
        if errors or not text.rstrip().endswith("data: [DONE]"):
            raise Refused(errors[0] if errors else "the stream broke off")
        return "".join(event.get("delta", "") for event in events if event["type"] == "text-delta"), first

    def announce(self, token, media_type, data):
        """An upload that is to come, as POST /api/uploads answers it."""
        return self.call("POST", "/api/uploads", {"mediaType": media_type, "size": len(data)}, token=token)

    def uploaded(self, token, path):
        """The bytes of an upload, as its owner reads them."""
        found = self.call("GET", path, token=token, headers={"Accept": "application/json"})
        with send("GET", found["url"], {}, None, path) as answer:
            return answer.read()


def put(made, data):
    """Sends the bytes of an upload where its announcement says."""
    to = made["upload"]
    send(to["method"], to["url"], to["headers"], data, "the upload").close()


def send(method, url, headers, data, what):
    """An answer, to be read piece by piece. Refused where its status is no success."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url, method=method, data=data, headers=headers), timeout=120)
    except urllib.error.HTTPError as error:
        raise Refused(f"{method} {what}: {error.code} {error.read().decode(errors='replace')[:300]}") from error
    except urllib.error.URLError as error:
        raise Refused(f"{method} {what}: {error.reason}") from error
