#!/usr/bin/env python3
"""Checks what `sam build` made: every function is there, its zip is small, and it runs on Amazon Linux 2023.

Exit 0: all good. Exit 1: one line for each fault.
"""
import re
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / ".aws-sam" / "build"
# Zipped bytes: downloading is flat up to a few MB.
BUDGETS = {
    "AdminFunction": 3_000_000,
    "ChatFunction": 4_500_000,
    "ChatsFunction": 3_000_000,
    "JobsFunction": 3_500_000,
    "MaintenanceFunction": 3_500_000,
    "SqlFunction": 2_500_000,
}
GLIBC = (2, 34)  # what al2023 has


def main():
    faults = []
    for name, budget in BUDGETS.items():
        bootstrap = BUILD / name / "bootstrap"
        if not bootstrap.exists():
            faults.append(f"{name}: not built")
            continue
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(bootstrap, "bootstrap")
        size = len(buffer.getvalue())
        if size > budget:
            faults.append(f"{name}: {size} bytes zipped, more than {budget}")
        # readelf, unlike objdump, reads the programs of any processor.
        command = ["readelf", "--wide", "--version-info", bootstrap]
        symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(\d+\.\d+)", symbols)}
        if not versions:
            faults.append(f"{name}: no glibc symbols seen, so nothing was checked")
        elif max(versions) > GLIBC:
            faults.append(f"{name}: needs glibc {'.'.join(map(str, max(versions)))}, al2023 has 2.34")
        print(f"{name}: {size} bytes zipped, glibc {'.'.join(map(str, max(versions, default=(0, 0))))}")
    print("\n".join(faults) if faults else f"{len(BUDGETS)} functions are fit for al2023")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
