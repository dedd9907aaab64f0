#!/usr/bin/env python3
"""Runs docs/guide.md: every `sh` block, as typed and in order, in one shell in a fresh clone, against the emulator.
`make test-guide` runs it.

  guide.py [--profile release|dev]     of which build target/ has the programs

A block after a line that begins with "*Not rehearsed" is left out. A `text` block after an `sh` block shows a dialogue: what
stands there after the default in brackets is typed.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workplace import ROOT, Build, Emulator, run

BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"^\d\. .*\[.*\]: ?(.*)$", re.MULTILINE)


def blocks(page):
    """Each `sh` block: its line, its text, what is typed into it, and whether it is left out."""
    found = []
    for match in BLOCK.finditer(page):
        kind, text = match.groups()
        if kind == "text":
            found[-1][2].extend(ANSWER.findall(text))
            continue
        before = page[: match.start()].rstrip().rsplit("\n\n", 1)[-1]
        line = page.count("\n", 0, match.start()) + 2
        found.append((line, text, [], before.startswith("*Not rehearsed")))
    return found


def clone(folder, profile):
    """What a user has after `git clone`, with what is not committed yet; built and installed already."""
    place = folder / "clone"
    run("git", "clone", "--quiet", ROOT, place)
    changed = run("git", "diff", "--name-only", "HEAD") + run("git", "ls-files", "--others", "--exclude-standard")
    for name in changed.splitlines():
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes((ROOT / name).read_bytes())
            (place / name).chmod((ROOT / name).stat().st_mode)
    (place / ".tools").symlink_to(ROOT / ".tools")
    programs = ROOT / "target" / ("release" if profile == "release" else "debug")
    Build(place / ".aws-sam" / "build", place, programs, profile)
    return place


def shell_environment(folder):
    """`make deploy` without the build, which was done; the AWS CLI; nothing of whoever runs this."""
    programs = folder / "bin"
    programs.mkdir()
    aws = programs / "aws"
    aws.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/.tools/emulator exec {sys.executable} -m awscli "$@"\n')
    aws.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")}
    return environment | {"PATH": f"{programs}:{environment['PATH']}", "BUILT": "1", "AWS_PAGER": ""}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=["release", "dev"], default="release")
    options = parser.parse_args()
    page = (ROOT / "docs" / "guide.md").read_text()
    with tempfile.TemporaryDirectory(prefix="guide-") as folder:
        folder = Path(folder)
        folder.chmod(0o755)  # PostgreSQL runs as another account than root
        place = clone(folder, options.profile)
        emulator = Emulator(folder)
        try:
            play(blocks(page), place, folder)
        finally:
            emulator.stop()


def play(all_blocks, place, folder):
    # Variables and the folder outlive a block, as in a terminal.
    state, environment = folder / "state.sh", shell_environment(folder)
    state.write_text("")
    for line, text, answers, is_left_out in all_blocks:
        title = f"guide.md:{line}  {text.splitlines()[0][:70]}"
        if is_left_out:
            print(f"   –     {title}")
            continue
        script = f". {state}\nset -euo pipefail\n{text}\n{{ set +x; declare -p | grep -v '^declare -[a-z]*r'; }} >{state} 2>/dev/null\n"
        begin = time.monotonic()
        typed = "".join(f"{answer}\n" for answer in answers)
        done = subprocess.run(
            ["bash", "-c", script], cwd=place, env=environment, input=typed, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        print(f"{time.monotonic() - begin:5.1f} s  {title}", flush=True)
        if done.returncode:
            sys.exit(f"guide.md:{line} ends with {done.returncode}:\n{text}\n{done.stdout[-6000:]}")
        if os.environ.get("SHOW"):
            print(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
