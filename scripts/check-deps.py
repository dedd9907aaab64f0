#!/usr/bin/env python3
"""Rejects dependencies by licence, source and name, from what Cargo itself resolved.

Works offline with what `install-tools.sh cloud` installs. `make audit` adds the advisory database,
which needs the network. Exit 0: all good. Exit 1: one line for each fault.
"""
import json
import subprocess
import sys

from license_expression import ExpressionError, get_spdx_licensing

ALLOWED_LICENCES = {
    "MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unicode-3.0",
    "CDLA-Permissive-2.0",  # the web's root certificates
    "MIT-0", "0BSD", "BSL-1.0", "Unlicense", "CC0-1.0",
    "Apache-2.0 WITH LLVM-exception",
}
# name, refused version prefix ("" for all), reason
BANNED = [
    ("aws-lc-rs", "", "24 to 290 ms of entropy collection at the first handshake"),
    ("aws-lc-sys", "", "as aws-lc-rs"),
    ("openssl-sys", "", "rustls with ring is the one TLS stack"),
    ("native-tls", "", "rustls with ring is the one TLS stack"),
    ("hyper", "0.14.", "the AWS SDK's legacy stack: switch default features off"),
    ("rustls", "0.21.", "the AWS SDK's legacy stack: switch default features off"),
]


SPDX = get_spdx_licensing()


def allowed(expression):
    """Whether an SPDX expression can be met with allowed licences. Cargo once took a stroke for OR, and old crates have it."""
    try:
        parsed = SPDX.parse(expression.replace("/", " OR "), validate=True)
    except ExpressionError:
        return False
    met = {licence: SPDX.TRUE if str(licence) in ALLOWED_LICENCES else SPDX.FALSE for licence in parsed.symbols}
    return parsed.subs(met, simplify=True) == SPDX.TRUE


def main():
    out = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"],
        check=True, stdout=subprocess.PIPE,
    ).stdout
    packages = json.loads(out)["packages"]
    faults = []
    for package in packages:
        name, version = package["name"], package["version"]
        source, licence = package["source"], package["license"]
        if source is not None and not source.startswith("registry+"):
            faults.append(f"{name} {version}: source {source} is not the public registry")
        if source is not None and not (licence and allowed(licence)):
            faults.append(f"{name} {version}: licence {licence!r} is not on the list")
        for banned, prefix, reason in BANNED:
            if name == banned and version.startswith(prefix):
                faults.append(f"{name} {version} is banned: {reason}")
    if len(packages) < 50:
        faults.append(f"only {len(packages)} packages seen: this check did not see the workspace")
    print("\n".join(faults) if faults else f"{len(packages)} packages: licences, sources and bans are fine")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
