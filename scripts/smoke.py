#!/usr/bin/env python3
"""Does what a new user does, in a fresh clone, and fails where they would: `make dev` until it is ready, every sh block of
README.md pasted as it stands, what `make dev` prints, the page, 200 requests at once, a title and an erasure by themselves,
Ctrl-C, and a second start. Then the same functions under `cargo lambda watch`.

It runs as an unprivileged user, with no PostgreSQL and no cargo-lambda on the PATH. As root it becomes `nobody`; the Rust
toolchain is lent to that user by hard links. Whatever is committed is tested, and nothing else.

    scripts/smoke.py [--keep]        --keep leaves the clone where it is
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORT = int(os.environ.get("SMOKE_PORT", "9300"))
READY_LIMIT_S = 540  # a fresh clone on two cores, compiling included: six minutes are promised of a quiet machine, and this may not be one
AGAIN_LIMIT_S = 5
WATCH_LIMIT_S = 300  # cargo-lambda builds by itself where it likes to
MINUTES = 150  # what a schedule of one minute may take, twice, and some
NOBODY = 65534
# Programs that a fresh machine does not have.
ABSENT = re.compile(r"^(postgres|postmaster|psql|pg_.*|initdb|createdb|cargo-lambda|docker|sudo|apt|apt-get|dnf|apk)$")


def say(text):
    print(f"smoke: {text}", flush=True)


class Failed(Exception):
    """What a user would have met."""


def free_port(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Failed(f"port {port} is taken: set SMOKE_PORT") from error


class Machine:
    """A folder that stands for a fresh machine: a home, a PATH, a clone."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.clone = folder / "clone"
        self.as_root = os.geteuid() == 0
        self.home.mkdir()
        path = self.make_path()
        kept = {key: value for key, value in os.environ.items() if not re.match(r"(PG|DSQL_|AWS_|TEST_|CARGO|MAKE|MFLAGS|DEV_|MODEL_|OPENAI_)", key)}
        self.env = kept | {"HOME": str(self.home), "PATH": path, "TMPDIR": str(folder / "tmp"), "DEV_PORT": str(PORT)}
        (folder / "tmp").mkdir()
        self.lend_rust()
        subprocess.run(["git", "clone", "--quiet", "--no-local", str(ROOT), str(self.clone)], check=True)
        self.hand_over(self.home, self.clone, folder / "tmp")

    def make_path(self):
        """A folder of links to every program of the system but those that a fresh machine lacks."""
        links = self.folder / "bin"
        links.mkdir()
        for directory in ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]:
            for program in sorted(pathlib.Path(directory).iterdir()) if os.path.isdir(directory) else []:
                link = links / program.name
                if not ABSENT.match(program.name) and not link.is_symlink():
                    link.symlink_to(program)
        return f"{self.home}/.cargo/bin:{links}"

    def lend_rust(self):
        """rustup's folders, which another user may not enter: hard links where that can be, else a copy."""
        cargo = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
        rustup = pathlib.Path(os.environ.get("RUSTUP_HOME", pathlib.Path.home() / ".rustup"))
        if not (cargo / "bin/cargo").exists():
            raise Failed(f"no rustup in {cargo}")
        if self.as_root:
            lend(rustup, self.home / ".rustup")
            self.env["RUSTUP_HOME"] = str(self.home / ".rustup")
        else:
            self.env["RUSTUP_HOME"] = str(rustup)
        target = self.home / ".cargo"
        target.mkdir()
        shutil.copytree(cargo / "bin", target / "bin", symlinks=True)
        # What was downloaded once need not be again; unpacking is part of the build.
        for part in ["registry/index", "registry/cache"]:
            if (cargo / part).is_dir():
                shutil.copytree(cargo / part, target / part)
        if (cargo / "config.toml").exists():
            shutil.copy(cargo / "config.toml", target)
        self.env["CARGO_HOME"] = str(target)

    def hand_over(self, *folders):
        if not self.as_root:
            return
        os.chown(self.folder, NOBODY, NOBODY)
        for folder in folders:
            # The lent toolchain stays root's: the user may read it, and hard links share their owner.
            subprocess.run(["find", str(folder), "-path", str(self.home / ".rustup"), "-prune", "-o",
                            "-exec", "chown", "-h", f"{NOBODY}:{NOBODY}", "{}", "+"], check=True)

    def user(self):
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"] if self.as_root else []

    def start(self, command, **options):
        return subprocess.Popen(self.user() + command, cwd=self.clone, env=self.env, start_new_session=True, **options)

    def run(self, script, limit_s=120, env=None):
        """A block, pasted into a shell."""
        command = self.user() + ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.clone, env=self.env | (env or {}), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=limit_s, check=False)
        if done.returncode:
            raise Failed(f"this failed with {done.returncode}:\n{script}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def processes(self):
        """Processes whose program or arguments lie in this folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                program = os.readlink(entry / "exe")
            except OSError:
                continue
            if str(self.folder) in line or str(self.folder) in program:
                found.append(f"{entry.name} {line}")
        return found


def lend(source, target):
    for options in (["-al"], ["-a"]):
        shutil.rmtree(target, ignore_errors=True)
        if subprocess.run(["cp", *options, str(source), str(target)], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return
    raise Failed(f"{source} cannot be copied")


class Dev:
    """A running `make dev`."""

    def __init__(self, machine, limit_s):
        self.machine = machine
        self.log = machine.folder / "dev.log"
        begun = time.monotonic()
        with self.log.open("wb") as log:
            self.process = machine.start(["make", "dev"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        while "Ready" not in self.text():
            if self.process.poll() is not None:
                raise Failed(f"make dev ended with {self.process.returncode}:\n{self.text()}")
            if time.monotonic() - begun > limit_s:
                raise Failed(f"make dev was not ready within {limit_s} s:\n{self.text()}")
            time.sleep(0.1)
        self.seconds = time.monotonic() - begun
        # "Ready" begins the text that says what to try.
        self.until(lambda: "Ctrl-C" in self.text().split("Ready", 1)[1], "the text after Ready")

    def text(self):
        return self.log.read_text(errors="replace")

    def until(self, condition, what, limit_s=30):
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise Failed(f"{what} did not happen within {limit_s} s:\n{self.text()[-4000:]}")
            time.sleep(0.2)

    def interrupt(self):
        """Ctrl-C in a terminal reaches the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"make dev does not end:\n{self.text()[-4000:]}") from error


def variables(machine):
    lines = (machine.clone / ".local/dev.env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("'") for name, value in pairs}


def ask(url, method="GET", body=None, headers=None, limit_s=60):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = ({"content-type": "application/json"} if data is not None else {}) | (headers or {})
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=limit_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def expect(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: {got!r}, not {wanted!r}")


def readme_blocks():
    """Every sh block but those that this script itself is a run of."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M)
    return [block for block in blocks if not re.search(r"^make (dev|test)\b", block, re.M)]


def paste_readme(machine):
    for block in readme_blocks():
        say(f"README.md: {block.splitlines()[0]}")
        # A reader's shell keeps its variables from block to block.
        output = machine.run(f"set -a; . .local/dev.env; set +a\n{block}")
        if "errorMessage" in output or '"code":"' in output.replace('"code":""', ""):
            raise Failed(f"README.md's block answered an error:\n{block}\n{output}")


def paste_driver(machine, dev):
    """The Node and the Worker lines that were printed, with the unmodified driver from the registry."""
    blocks = re.findall(r"^((?:  import \{ neon.*\n)(?:(?:  .*)?\n)*?)(?=^\S)", dev.text(), re.M)
    expect("blocks of the driver's lines", len(blocks), 2)
    node, worker = ("\n".join(line[2:] for line in block.splitlines()) for block in blocks)
    clients = "tests/clients/sql"
    machine.run(f"mkdir tmp-driver && cp {clients}/package.json {clients}/package-lock.json {clients}/.npmrc tmp-driver/ && "
                "cd tmp-driver && npm ci --ignore-scripts --no-progress --silent", 300)
    for name, script in {"hello.mjs": node, "worker.mjs": worker, "run.mjs": IN_WORKERD}.items():
        machine.run(f"cat > tmp-driver/{name} <<'LINES'\n{script}\nLINES")
    for name in ["hello.mjs", "run.mjs"]:
        output = machine.run(f"set -a; . .local/dev.env; set +a; cd tmp-driver && node {name}")
        if "👍" not in output:
            raise Failed(f"{name} printed {output!r}")
        say(f"{name}: {' '.join(output.split())}")
    machine.run("rm -rf tmp-driver")


# Bundles the Worker as wrangler does, and calls it in workerd.
IN_WORKERD = """
import { Miniflare } from 'miniflare';
import { build } from 'esbuild';
const { outputFiles } = await build({ entryPoints: ['worker.mjs'], bundle: true, format: 'esm', write: false, conditions: ['workerd', 'worker'] });
const worker = new Miniflare({ modules: true, script: outputFiles[0].text, compatibilityDate: '2025-01-01', bindings: { DATABASE_URL: process.env.DATABASE_URL } });
const answer = await worker.dispatchFetch('http://worker/');
console.log(await answer.text());
await worker.dispose();
"""


def check_page(api):
    status, page = ask(api + "/")
    expect("the page", status, 200)
    assets = re.findall(r'(?:src|href)="([^"#]+\.(?:js|css))"', page.decode())
    if not assets:
        raise Failed("the page loads nothing")
    for asset in assets:
        expect(asset, ask(f"{api}/{asset.lstrip('/')}")[0], 200)
    status, token = ask(api + "/token", "POST", b"")
    expect("the page's token", status, 200)
    expect("a token for a rebound name", ask(api + "/token", "POST", b"", {"host": "elsewhere.example.com"})[0], 403)
    return json.loads(token)["token"]


def check_crowd(api, token):
    """200 requests at once, then one more."""
    bearer = {"authorization": f"Bearer {token}"}
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: ask(api + "/api/chats", headers=bearer)[0], range(200)))
    expect("200 requests at once", set(answers), {200})
    expect("one more", ask(api + "/api/chats", headers=bearer)[0], 200)
    say(f"200 requests at once: {time.monotonic() - begun:.1f} s")


def check_time_passes(dev, api):
    """A title and an erasure happen because schedules and queue run."""
    token = json.loads(ask(api + "/token", "POST", b"")[1])["token"]
    bearer = {"authorization": f"Bearer {token}"}
    words = "please explain snapshot isolation to me"
    turn = {"id": "titled", "message": {"id": "m1", "role": "user", "parts": [{"type": "text", "text": words}]}}
    status, stream = ask(api + "/api/chat", "POST", turn, bearer)
    expect("a turn", (status, b"[DONE]" in stream), (200, True))
    chat = lambda: json.loads(ask(f"{api}/api/chats/titled", headers=bearer)[1])
    begun = time.monotonic()
    dev.until(lambda: chat()["title"] != words, "a title by the model", MINUTES)
    say(f"title {chat()['title']!r} after {time.monotonic() - begun:.0f} s")
    status, receipt = ask(api + "/api/me", "DELETE", headers=bearer)
    expect("an erasure", status, 202)
    job = json.loads(receipt)["jobId"]
    state = lambda: json.loads(ask(f"{api}/api/me/erasure/{job}", headers=bearer)[1])["status"]
    begun = time.monotonic()
    dev.until(lambda: state() == "done", "an erasure's receipt", MINUTES)
    say(f"erasure done after {time.monotonic() - begun:.0f} s")


def check_invoke(env):
    """The Invoke API, as the AWS CLI and cargo-lambda call it."""
    url = env["LAMBDA_URL"] + "/2015-03-31/functions/admin/invocations"
    status, answer = ask(url, "POST", {"command": "status"})
    expect("status", (status, "errorMessage" in json.loads(answer)), (200, False))


def check_nothing_left(machine):
    left = machine.processes()
    if left:
        raise Failed("still running:\n" + "\n".join(left))
    scratch = [entry.name for entry in (machine.folder / "tmp").iterdir() if not entry.name.startswith("node-compile-cache")]
    expect("left in the temporary folder", scratch, [])
    changed = machine.run("git status --porcelain")
    expect("files beside the ignored ones", changed, "")


def check_cargo_lambda(machine):
    """One request to each function under `cargo lambda watch`, beside a `make dev` that has the database."""
    log = machine.folder / "watch.log"
    with log.open("wb") as output:
        process = machine.start(["make", "watch", f"WATCH_PORT={PORT + 20}"], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    text = lambda: log.read_text(errors="replace")
    try:
        deadline = time.monotonic() + WATCH_LIMIT_S
        while not is_open(PORT + 20):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed("make watch did not come up")
            time.sleep(0.2)
        env = variables(machine)
        bearer = {"authorization": f"Bearer {env['TOKEN']}"}
        watch = f"http://127.0.0.1:{PORT + 20}"
        turn = {"id": "watched", "message": {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}}
        login = {"neon-connection-string": env["DATABASE_URL"]}
        expect("chats", ask(watch + "/api/chats", headers=bearer, limit_s=WATCH_LIMIT_S)[0], 200)
        expect("chat", ask(watch + "/api/chat", "POST", turn, bearer, WATCH_LIMIT_S)[0], 200)
        expect("sql", ask(watch + "/sql", "POST", {"query": "SELECT 1 AS one"}, login, WATCH_LIMIT_S)[0], 200)
        for function, event in {"admin": {"command": "status"}, "jobs": {"run": "due"}, "maintenance": {"task": "reap"}}.items():
            url = f"{watch}/2015-03-31/functions/{function}/invocations"
            status, answer = ask(url, "POST", event, limit_s=WATCH_LIMIT_S)
            expect(function, (status, b"errorMessage" in answer), (200, False))
    except Failed as error:
        raise Failed(f"{error}\n{text()[-6000:]}") from error
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def smoke(machine):
    free_port(PORT)
    say("make dev in a fresh clone")
    dev = Dev(machine, READY_LIMIT_S)
    say(f"ready after {dev.seconds:.0f} s")
    try:
        env = variables(machine)
        api = env["API_URL"]
        paste_readme(machine)
        paste_driver(machine, dev)
        token = check_page(api)
        check_crowd(api, token)
        check_invoke(env)
        check_time_passes(dev, api)
    finally:
        dev.interrupt()
    check_nothing_left(machine)
    again = Dev(machine, AGAIN_LIMIT_S)
    say(f"ready again after {again.seconds:.1f} s")
    try:
        say("the same functions under cargo lambda watch")
        check_cargo_lambda(machine)
    finally:
        again.interrupt()
    check_nothing_left(machine)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the clone where it is")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="smoke-"))
    os.chmod(folder, 0o755)
    begun = time.monotonic()
    failed = True
    try:
        smoke(Machine(folder))
        failed = False
    except Failed as error:
        print(f"smoke: FAILED: {error}", file=sys.stderr)
    finally:
        if arguments.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    say(f"{'failed' if failed else 'passed'} after {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
