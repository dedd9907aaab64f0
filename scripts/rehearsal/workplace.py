"""Where a rehearsal works: the emulator and what ends with it, the functions as `sam build` would leave them, and a copy of
the sources to change."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ACCOUNT = "111122223333"
FUNCTIONS = ("admin", "chats", "chat", "jobs", "maintenance", "sql")
START_LIMIT_S = 60
BEGIN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGIN:6.1f} s  {text}", flush=True)


def check(holds, text):
    if not holds:
        sys.exit(f"not so: {text}")
    say(text)


def run(*command, cwd=ROOT, **options):
    """A command whose words are shown only if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-6000:]}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Emulator:
    """AWS on this machine, until `stop`. Its variables are put into this process's environment."""

    def __init__(self, state):
        port = free_port()
        self.endpoint = f"http://localhost:{port}"
        os.environ.update({
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "SAM_CLI_TELEMETRY": "0", "REHEARSAL_STATE": str(state), "REHEARSAL_ENDPOINT": self.endpoint,
            "REHEARSAL_DSQL_LOCAL": str(ROOT / "target" / "debug" / "dsql-local"),
        })
        # IAM is enforced; nothing listens elsewhere than on loopback.
        variables = {
            "AUTH": "true", "IOT_MTLS_ENABLED": "0", "MINISTACK_ACCOUNT_ID": ACCOUNT, "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "localhost", "PYTHONPATH": str(ROOT / ".tools" / "emulator"),
        }
        self.log = state / "emulator.log"
        program = Path(__file__).with_name("emulator.py")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(program)], env=os.environ | variables, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the emulator did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def is_up(self):
        try:
            return urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=2).status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self):
        """Ends it with everything that it started: functions outlive their stacks there."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Build:
    """A folder as `sam build` leaves it: the template, and beside it each function's program."""

    def __init__(self, folder, template, programs, profile):
        self.folder = folder
        for name in FUNCTIONS:
            self.put(name, programs / name, profile)
        self.write((template / "template.yaml").read_text())

    def put(self, function, program, profile):
        target = self.folder / f"{function.capitalize()}Function" / "bootstrap"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, target)
        if profile != "release":
            run("strip", target)  # with its debug information it is as large as all of them otherwise

    def write(self, template):
        template = re.sub(r"CodeUri: functions/(\w+)", lambda found: f"CodeUri: {found[1].capitalize()}Function", template)
        (self.folder / "template.yaml").write_text(template)

    def copy(self, folder):
        shutil.copytree(self.folder, folder)
        other = Build.__new__(Build)
        other.folder = folder
        return other


class Sources:
    """A copy of what git knows here, to change and to build from; third-party crates are built already. Of an earlier commit with
    `commit`."""

    def __init__(self, folder, profile, commit=None):
        self.folder, self.profile = folder, profile
        if commit:
            folder.mkdir()
            archive = subprocess.Popen(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)
            if archive.wait():
                sys.exit(f"there is no commit {commit} here: a clone with its history is needed")
            return
        names = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
        for name in names:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def edit(self, name, old, new):
        file = self.folder / name
        text = file.read_text()
        if old not in text:
            sys.exit(f"{name} has no {old!r} any more: the rehearsal changes it there")
        file.write_text(text.replace(old, new, 1))

    def lock(self, crate, version):
        """Another version of a crate in Cargo.lock."""
        run("cargo", "update", "--quiet", crate, "--precise", version, cwd=self.folder)

    def cargo(self, *words):
        release = ["--release"] if self.profile == "release" else []
        target = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target")}
        return run("cargo", words[0], "--locked", "--quiet", *release, *words[1:], cwd=self.folder, env=target)
