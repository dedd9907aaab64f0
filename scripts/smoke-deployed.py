#!/usr/bin/env python3
"""Does with a deployed stack what its users will do, once, and says for each step that fails what to do.

  make smoke-deployed STACK=dsql-chat
  smoke-deployed.py NAME [REGION] [--without STEP]...

It acts as a visitor and with a login of its own, whose data it erases. Exit 0: every step succeeded.
"""
import json
import secrets
import sys
import time

from stack import Refused, Stack, put

# A schedule relays jobs each minute; a deployment is not slower than a few of these.
ERASURE_LIMIT_S = 240
STEPS = {}


class NotYet(Exception):
    """Nothing is wrong so far: the step has to be repeated later."""


def step(name, advice):
    """Registers a step: a function from the stack and what earlier steps left to what was found."""

    def register(function):
        STEPS[name] = (function, advice)
        return function

    return register


@step("stack", "look at the stack's events in the CloudFormation console; docs/guide.md, \"When something fails\"")
def _(stack, state):
    found = stack.description()
    if found is None:
        raise Refused(f"there is no stack {stack.name} in {stack.region}")
    if not found["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in found["StackStatus"]:
        raise Refused(f"its state is {found['StackStatus']}")
    return f"{found['StackStatus']}, schema {stack.outputs['SchemaVersion']}"


@step("health", "the API's name does not resolve yet (a new domain takes minutes), or the function's log group says why")
def _(stack, state):
    stack.call("GET", "/api/health")
    return stack.api_url


@step("doctor", "each fault above comes with its remedy")
def _(stack, state):
    report = stack.admin("doctor")
    faults = [f"{check['check']}: {check['found']} ({check['fix']})" for check in report["checks"] if not check["ok"]]
    if faults:
        raise Refused("; ".join(faults))
    return f"{len(report['checks'])} checks"


@step("token", "AuthJwks is not the public half of deploy-key.pem, or issuer and audience differ: run make deploy")
def _(stack, state):
    state["visitor"] = f"smoke-{secrets.token_hex(4)}"
    state["token"] = stack.token(state["visitor"])
    stack.call("GET", "/api/chats", token=state["token"])
    return f"accepted for {state['visitor']}"


@step("reply", "the model: is it offered in this Region, and may this account use it (ModelId, BedrockRegion, docs/guide.md)?")
def _(stack, state):
    state["chat"] = f"smoke-{secrets.token_hex(8)}"
    begin = time.monotonic()
    words, first = stack.say(state["token"], state["chat"], [{"type": "text", "text": "Say hello in five words."}])
    return f"first byte after {first:.2f} s, {len(words)} characters in {time.monotonic() - begin:.2f} s"


@step("upload", "the bucket, or a model that takes no text files: docs/operations.md, \"Uploads\"")
def _(stack, state):
    if "UploadsBucket" not in stack.outputs:
        return "Uploads is off"
    data = b"Here is a word to begin with: hello."
    made = stack.announce(state["token"], "text/plain", data)
    put(made, data)
    file = {"type": "file", "mediaType": "text/plain", "filename": "note.txt", "url": made["url"]}
    stack.say(state["token"], state["chat"], [{"type": "text", "text": "Which word is in the file?"}, file])
    if stack.uploaded(state["token"], made["url"]) != data:
        raise Refused("other bytes are read than were uploaded")
    return f"{len(data)} bytes put, shown to the model, read again"


@step("login", "the message says which step of the login failed; the log groups of admin and sql say why")
def _(stack, state):
    name = f"smoke_{secrets.token_hex(4)}"

    def who(connection):
        headers = {"Neon-Connection-String": connection}
        return stack.call("POST", "/sql", {"query": "SELECT current_user"}, headers=headers)["rows"][0]["current_user"]

    def is_refused(connection):
        try:
            who(connection)
        except Refused:
            return True
        return False

    old = stack.admin("create-login", name=name, access="owner")["connectionString"]
    try:
        if who(old) != name:
            raise Refused("the login is somebody else")
        new = stack.admin("rotate-login", name=name, graceSeconds=0)["connectionString"]
        if who(new) != name or not is_refused(old):
            raise Refused("the new password is refused, or the old one is still valid")
    finally:
        stack.admin("drop-login", name=name, data="delete")
    if not is_refused(new):
        raise Refused("a dropped login still opens a session")
    return "made, used, rotated, dropped"


@step("erasure", "schedules, queue or the jobs function: docs/operations.md, \"Alarms\"")
def _(stack, state):
    job = stack.call("DELETE", "/api/me", token=state["token"])["jobId"]
    deadline = time.monotonic() + ERASURE_LIMIT_S
    while time.monotonic() < deadline:
        try:
            receipt = stack.call("GET", f"/api/me/erasure/{job}", token=state["token"])
        except Refused as refused:
            if ": 503 " not in str(refused):
                raise
            receipt = {"status": "not known just now"}  # which says itself that it is to be asked again
        if receipt["status"] == "done":
            return f"receipt {json.dumps(receipt['deleted'])}"
        time.sleep(1)
    raise Refused(f"no receipt after {ERASURE_LIMIT_S} s")


@step("logs", "the function's role may not write to its log group: update the stack")
def _(stack, state):
    logs = stack.client("logs")
    for group in ("AdminLogs", "ChatLogs", "ChatsLogs", "SqlLogs", "JobsLogs", "MaintenanceLogs"):
        if not logs.describe_log_streams(logGroupName=stack.resource(group), limit=1)["logStreams"]:
            raise Refused(f"{group} is empty")
    return "every function has written"


@step("metrics", "they come minutes after the first request: run this again")
def _(stack, state):
    dimensions = [{"Name": "stack", "Value": stack.name}]
    found = stack.client("cloudwatch").list_metrics(Namespace="DsqlChat", Dimensions=dimensions)["Metrics"]
    if not found:
        raise NotYet("none of this stack yet")
    return f"{len(found)} of this stack"


def main(arguments):
    without = [arguments.pop(at + 1) for at, word in reversed(list(enumerate(arguments))) if word == "--without"]
    arguments = [word for word in arguments if word != "--without"]
    if len(arguments) not in (1, 2) or not set(without) <= set(STEPS):
        print(__doc__, file=sys.stderr)
        return 2
    failed, state = [], {}
    try:
        stack = Stack(*[word or None for word in arguments])
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    for name, (function, advice) in STEPS.items():
        if name in without:
            print(f"  –   {name:8}  left out")
            continue
        begin = time.monotonic()
        try:
            mark, found = "ok", function(stack, state)
        except NotYet as error:
            mark, found = "–", f"{error}: {advice}"
        except Exception as error:  # what a step meets is what it reports
            mark, found = "FAIL", f"{error}\n{'':16}→ {advice}"
            failed.append(name)
        print(f"{mark:>4}  {name:8}  {found}  ({time.monotonic() - begin:.1f} s)", flush=True)
        if name == "stack" and failed:
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
