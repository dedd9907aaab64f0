#!/usr/bin/env python3
"""Rejects Python packages that are not pinned by hash: what `pip` installs here is what was looked at.

Every requirements*.in has its requirements*.txt, made by scripts/pin-python.sh, in which each package has one version for a
system, the hashes of its files, and no address; and every call of pip asks for them.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = re.compile(r"([a-z0-9][a-z0-9.-]*)(\[[a-z0-9, -]+\])?==[^\s;*]+( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+")


def tracked(*patterns):
    out = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ).stdout
    return [ROOT / name for name in out.split("\0") if name and (ROOT / name).exists()]


def names(text):
    """The packages that lines of requirements begin with."""
    lines = (line.strip() for line in text.splitlines())
    words = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if not line.startswith(("#", "-")))
    return {re.sub(r"[._-]+", "-", word.group()).lower() for word in words if word}


def faults_of(file):
    text = re.sub(r"\\\n\s*", "", file.read_text())
    for line in text.splitlines():
        if line and not line.startswith("#") and not PINNED.fullmatch(re.sub(r"\s+", " ", line.strip())):
            yield f"not pinned by hash: {line[:80]}"
    wanted = file.with_suffix(".in")
    if not wanted.exists():
        yield f"{wanted.name} is missing"
    else:
        for name in names(wanted.read_text()) - names(text):
            yield f"{name} of {wanted.name} is not in it: run scripts/pin-python.sh"


def main():
    pinned = tracked("*requirements*.txt")
    faults = [f"{file.relative_to(ROOT)}: {fault}" for file in pinned for fault in faults_of(file)]
    for wanted in tracked("*requirements*.in"):
        if wanted.with_suffix(".txt") not in pinned:
            faults.append(f"{wanted.relative_to(ROOT)}: it has no pins: run scripts/pin-python.sh")
    for script in tracked("scripts/*.sh", "Makefile", ".github/*", ".ci/*"):
        for call in re.findall(r"pip install(?:[^\n]*\\\n)*[^\n]*", script.read_text()):
            if call.count("-r ") and "--require-hashes" not in call:
                faults.append(f"{script.relative_to(ROOT)}: pip is not asked for hashes")
    if not pinned:
        faults.append("there is no requirements*.txt")
    print("\n".join(faults) or f"{len(pinned)} files of Python packages are pinned by hash", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
