#!/usr/bin/env python3
"""A deployment's whole life, on an emulator that others wrote: with `sam deploy`, the functions as real processes, and a
dsql-local for each cluster. `make test-deploy` runs it.

  rehearse.py [--profile release|dev]     of which build target/ has the programs
              [--from COMMIT|nothing]     the version before; else the newest tag, or the commit before the last that changed
                                          the template or a migration

 1  three questions, a stack of the version before, with a chat and jobs under way, and its update to this version: the chat is
    there, the jobs are done, its smoke test succeeds
 2  Uploads is turned on in it: a bucket is made and used; each function has called what its role allows, and nothing else
 3  a second stack in the same account, with Uploads from the start
 4  changes in shared/, migrations/, roles.rs and Cargo.lock reach the first one, and nothing else does; Uploads is turned off
    in it, and its bucket stays
 5  the same update of the second fails, and is rolled back: the old functions work on the new schema
 6  both are deleted; a third adopts the first one's cluster, and finds its chats, and their uploads in a copy of the bucket
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from uploads import Uploads, allowed
from workplace import FUNCTIONS, ROOT, Build, Emulator, Sources, check, run, say

sys.path.insert(0, str(ROOT / "scripts"))
BROKEN = """
  Broken:
    Type: Custom::Broken
    DependsOn: [SqlFunction, ChatsFunction, ChatFunction, JobsFunction, MaintenanceFunction]
    Properties: { ServiceToken: !Sub 'arn:aws:lambda:${AWS::Region}:${AWS::AccountId}:function:nobody' }

Outputs:
"""
VISITOR = "visitor-1"
# Visitors whose erasure, and whose deletion of all chats, is asked of the version before and done by this one.
LEAVING = {"visitor-2": "/api/me", "visitor-3": "/api/chats"}
UPLOADING = "visitor-4"
# What Lambda does with a function's role by itself: it reads the queue, and writes logs and traces.
BY_LAMBDA = {
    "logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords",
    "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
}
# What no function has done within the hour: an upload ends after a day, or an hour after its owner has gone.
LATER = {"maintenance": {"s3:DeleteObject"}}
# What lets a function take a login's role is that role's policy of trust, not a policy of its own.
BY_TRUST = {"sts:AssumeRole"}
# A crate that few others stand on, in another version than Cargo.lock has.
OTHER_VERSION = ("lru", "0.19.0")
JOBS_LIMIT_S = 120
SCHEDULES = (ROOT / "template.yaml").read_text().count("Type: ScheduleV2")
CALLS = "calls.jsonl"  # which recorder.py writes


class Rehearsal:
    def __init__(self, folder, profile):
        self.folder, self.profile = folder, profile
        self.programs = ROOT / "target" / ("release" if profile == "release" else "debug")
        self.settings = folder / "deploy.toml"
        self.build = Build(folder / "build", ROOT, self.programs, profile)

    def deploy(self, name="", answers="", build=None, *options):
        command = [sys.executable, str(ROOT / "scripts" / "deploy.py"), *([name] if name else [])]
        command += ["--settings", str(self.settings), "--build", str((build or self.build).folder), *options]
        return subprocess.run(command, cwd=ROOT, input=answers, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def before(self, commit):
        """A build of an earlier commit."""
        sources = Sources(self.folder / "before", self.profile, commit)
        sources.cargo("build", *[word for name in FUNCTIONS for word in ("-p", name)])
        return Build(self.folder / "build-before", sources.folder, self.programs, self.profile)

    def check_calls(self, stack):
        """Whether each function has made every call that its role allows; what it does not allow the emulator has refused."""
        lines = (self.folder / CALLS).read_text().splitlines()
        calls = {(call["role"], call["action"]) for call in map(json.loads, lines)}
        connected = set()
        for log in self.folder.glob(f"{stack.name}-*/log"):
            connected |= set(re.findall(r"opened a connection dsql\.role=(\w+)", log.read_text()))
        for name in FUNCTIONS:
            role = stack.resource(f"{name.capitalize()}Role")
            may = allowed(stack, name) - BY_LAMBDA - LATER.get(name, set())
            made = {action for of, action in calls if of == role} - BY_TRUST
            database_role = {"sql": "sql_function"}.get(name, name)
            if database_role in connected:
                made.add("dsql:DbConnectAdmin" if name == "admin" else "dsql:DbConnect")
            if made != may:
                sys.exit(f"{name} has called {sorted(made)}, and its role allows {sorted(may)}")
        sql = stack.resource("SqlRole")
        return (sql, "sts:AssumeRole") in calls

    def set_uploads(self, value):
        """The parameter of the first stack, in deploy.toml: added at its end, or changed where it stands first."""
        text = self.settings.read_text()
        line = f'Uploads = "{value}"\n'
        self.settings.write_text(text.replace('Uploads = "on"\n', line, 1) if "Uploads" in text else text + line)

    def must_deploy(self, *arguments):
        done = self.deploy(*arguments)
        if done.returncode:
            sys.exit(f"the deployment failed:\n{done.stdout[-6000:]}")
        return done.stdout

    def hashes(self, stack):
        client = stack.client("lambda")
        names = {name: stack.resource(f"{name.capitalize()}Function") for name in FUNCTIONS}
        return {name: client.get_function_configuration(FunctionName=physical)["CodeSha256"] for name, physical in names.items()}

    def changed(self):
        """A build from sources that were changed in the places that a deployment has to notice: `admin` and `sql` from those of
        ours, `chats` from another Cargo.lock alone."""
        sources = Sources(self.folder / "sources", self.profile)
        sources.edit("shared/dsql/src/lib.rs", "\nmod ", '\n#[used]\nstatic REHEARSAL: [u8; 9] = *b"rehearsal";\nmod ')
        sources.edit("functions/admin/src/roles.rs", '("sql_logins", "SELECT")', '("sql_logins", "SELECT"), ("shares", "SELECT")')
        migrations = sorted((sources.folder / "migrations").glob("*.sql"))
        number = int(migrations[-1].name[:4]) + 1
        name = f"{number:04}_create_rehearsal"
        (sources.folder / "migrations" / f"{name}.sql").write_text("CREATE TABLE IF NOT EXISTS chats.rehearsal (id text PRIMARY KEY)\n")
        last = f'    {number - 1} "{migrations[-1].stem}",\n'
        sources.edit("functions/admin/src/migrations.rs", last, f'{last}    {number} "{name}",\n')
        sources.cargo("run", "-p", "admin", "--example", "fingerprint", "--", "template.yaml")
        sources.cargo("build", "-p", "admin", "-p", "sql")
        locked = Sources(self.folder / "locked", self.profile)
        locked.lock(*OTHER_VERSION)
        locked.cargo("build", "-p", "chats")
        build = self.build.copy(self.folder / "changed")
        for function in ("admin", "sql", "chats"):
            build.put(function, self.programs / function, self.profile)
        check("-".join(OTHER_VERSION).encode() in (self.programs / "chats").read_bytes(), "chats is built from another Cargo.lock")
        build.write((sources.folder / "template.yaml").read_text())
        return build, number


def version_before():
    """The newest tag, or the commit before the last one that changed what a stack is made of."""
    tag = subprocess.run(["git", "describe", "--tags", "--abbrev=0", "HEAD^"], cwd=ROOT, capture_output=True, text=True)
    if tag.returncode == 0:
        return tag.stdout.strip()
    last = run("git", "log", "-1", "--format=%H", "--", "template.yaml", "migrations").strip()
    return f"{last}^"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=["release", "dev"], default="release")
    parser.add_argument("--from", dest="before", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        folder = Path(folder)
        folder.chmod(0o755)  # PostgreSQL runs as another account than root
        rehearsal = Rehearsal(folder, options.profile)
        say(f"programs of the profile {options.profile}")
        emulator = Emulator(folder)
        try:
            say("emulator")
            play(rehearsal, options.before or version_before())
        except SystemExit:
            print(f"the emulator's last words:\n{emulator.log.read_text()[-3000:]}", file=sys.stderr)
            raise
        finally:
            emulator.stop()


def play(rehearsal, before):
    from stack import Stack  # boto3 reads the emulator's variables

    answers = "one\nus-east-1\nhttp://localhost:3000\n"
    if before != "nothing":
        old = rehearsal.before(before)
        say(f"the version before is built, {before}")
        rehearsal.must_deploy("", answers, old, "--no-smoke")
        answers = ""
        one = Stack("one", "us-east-1")
        schema = int(one.outputs["SchemaVersion"])
        older = one.call("POST", "/api/chats", {"title": "older"}, token=one.token(VISITOR))["id"]
        jobs = {}
        for visitor, path in LEAVING.items():
            one.call("POST", "/api/chats", {"title": "to be deleted"}, token=one.token(visitor))
            jobs[visitor] = one.call("DELETE", path, token=one.token(visitor))["jobId"]
    said = rehearsal.must_deploy("", answers, None)
    print("".join(f"          {line}\n" for line in said.splitlines() if line.startswith(("  ok", "FAIL"))), end="")
    one = Stack("one", "us-east-1")
    check(said.count("  make ") + said.count("  node ") == 3, "a stack by three questions, its smoke test, three commands to go on")
    if before != "nothing":
        found = one.call("GET", f"/api/chats/{older}", token=one.token(VISITOR))
        check(found["title"] == "older" and int(one.outputs["SchemaVersion"]) >= schema, f"updated from {before}, schema {schema}, with the chat in it")
        for visitor, job in jobs.items():
            wait_for_receipt(one, visitor, job)
        say("jobs of the version before are done by this one")
    rehearsal.set_uploads("on")
    rehearsal.must_deploy("one", "", None, "--no-smoke")
    one = Stack("one", "us-east-1")
    uploads = Uploads(one)
    uploads.check_made()
    chat = one.call("POST", "/api/chats", {"title": "kept"}, token=one.token(VISITOR))["id"]
    upload = uploads.check_used(VISITOR, chat)
    uploads.check_used(UPLOADING, one.call("POST", "/api/chats", {"title": "to go"}, token=one.token(UPLOADING))["id"])
    wait_for_receipt(one, UPLOADING, one.call("DELETE", "/api/me", token=one.token(UPLOADING))["jobId"])
    check(uploads.keys() == [upload.rsplit("/", 1)[-1]], "with its owner's receipt an upload has gone, and no other")
    login = one.admin("create-login", name="calls", access="owner")["connectionString"]
    one.call("POST", "/token", headers={"Neon-Connection-String": login})
    one.admin("drop-login", name="calls", data="delete")
    check(rehearsal.check_calls(one), "each function has called all that its role allows, and sql has taken a login's role")

    before = rehearsal.hashes(one)
    rehearsal.must_deploy("one", "", None, "--no-smoke")
    check(rehearsal.hashes(one) == before, "deployed again, the functions are the same")

    with rehearsal.settings.open("a") as file:
        file.write('[two]\nregion = "us-east-1"\n\n[two.parameters]\nAuthIssuer = "http://localhost:3000"\nModelProvider = "echo"\nUploads = "on"\n')
    rehearsal.must_deploy("two")
    two = Stack("two", "us-east-1")
    schedules = one.client("scheduler").list_schedules()["Schedules"]
    names = {schedule["Name"] for schedule in schedules}
    check(len(schedules) == len(names) == 2 * SCHEDULES, f"a second stack beside it, {len(names)} schedules")

    changed, version = rehearsal.changed()
    say("built again from changed sources")
    before, template = rehearsal.hashes(one), (changed.folder / "template.yaml").read_text()
    rehearsal.set_uploads("off")
    rehearsal.must_deploy("one", "", changed)
    after = rehearsal.hashes(one)
    differing = {name for name in FUNCTIONS if before[name] != after[name]}
    check(differing == {"admin", "sql", "chats"}, "changes in shared/ and in Cargo.lock are deployed, and what was not built again is not")
    one = Stack("one", "us-east-1")
    check(one.outputs["SchemaVersion"] == str(version), f"a new migration is applied: schema {version}")
    report = one.admin("doctor")
    check(report["healthy"], "a new privilege is granted: the doctor of the new build misses none")

    uploads.check_off(one, VISITOR, chat)

    before = rehearsal.hashes(two)
    (changed.folder / "template.yaml").write_text(template.replace("\nOutputs:\n", BROKEN, 1))
    done = rehearsal.deploy("two", "", changed, "--no-smoke")
    check(done.returncode and two.description()["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE", "an update that fails is rolled back")
    check(rehearsal.hashes(two) == before, "to the code that was there")
    status = two.admin("status")
    check(status["schemaVersion"] == version > status["latestVersion"], f"it stands on the newer schema {version}")
    smoke = [sys.executable, ROOT / "scripts" / "smoke-deployed.py", "two", "us-east-1", "--without", "metrics", "--without", "stack", "--without", "erasure"]
    run(*smoke)
    say("and does all that it did")

    cluster, buckets = one.outputs["ClusterArn"].rsplit("/", 1)[-1], {uploads.bucket, two.outputs["UploadsBucket"]}
    cloudformation = one.client("cloudformation")
    for name in ("one", "two"):
        cloudformation.delete_stack(StackName=name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    left = one.client("dsql").list_clusters()["clusters"]
    check(len(left) == 2 and not one.client("scheduler").list_schedules()["Schedules"], "both are deleted, their clusters are not")
    left = {found["Name"] for found in uploads.s3.list_buckets()["Buckets"]}
    check(buckets <= left and uploads.keys(), "nor are their buckets of uploads")

    with rehearsal.settings.open("a") as file:
        parameters = {"AuthIssuer": "http://localhost:3000", "ClusterId": cluster, "Uploads": "on"}
        file.write('[three]\nregion = "us-east-1"\n\n[three.parameters]\n')
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in parameters.items())
    rehearsal.must_deploy("three", "", changed_without_break(changed, template))
    three = Stack("three", "us-east-1")
    found = three.call("GET", f"/api/chats/{chat}", token=three.token(VISITOR))
    check(found["title"] == "kept", "a third adopts a cluster by its id, with the chats in it")
    uploads.check_adopted(three, VISITOR, upload)
    say("done")


def wait_for_receipt(stack, visitor, job):
    deadline = time.monotonic() + JOBS_LIMIT_S
    while stack.call("GET", f"/api/me/erasure/{job}", token=stack.token(visitor))["status"] != "done":
        if time.monotonic() > deadline:
            sys.exit(f"the job {job} of {visitor} is not done after {JOBS_LIMIT_S} s")
        time.sleep(1)


def changed_without_break(build, template):
    (build.folder / "template.yaml").write_text(template)
    return build


if __name__ == "__main__":
    sys.exit(main())
