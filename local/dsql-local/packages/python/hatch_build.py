"""Puts the program into the wheel, beside what starts it."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags


class Binary(BuildHookInterface):
    """DSQL_LOCAL_BINARY names the program, DSQL_LOCAL_PLATFORM the platform it is for, unless that is this machine's."""

    def initialize(self, version, build_data):
        if version == "editable":
            return
        binary = os.environ.get("DSQL_LOCAL_BINARY")
        if not binary:
            raise SystemExit("DSQL_LOCAL_BINARY does not name the program to pack: use `make packages`")
        platform = os.environ.get("DSQL_LOCAL_PLATFORM") or this_platform()
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["shared_scripts"] = {binary: "dsql-local"}


def this_platform():
    """On Linux with its glibc, on which the program was linked."""
    tags = list(platform_tags())
    return next((tag for tag in tags if tag.startswith("manylinux_")), tags[0])
