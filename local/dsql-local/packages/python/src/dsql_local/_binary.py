"""Where the program is."""

import os
import shutil
import sysconfig
from pathlib import Path

ENV_BIN = "DSQL_LOCAL_BIN"


def find_binary() -> str:
    """The program that ``DSQL_LOCAL_BIN`` names, else the one that came with this package, else that of the ``PATH``."""
    named = os.environ.get(ENV_BIN)
    if named:
        return named
    folders = [
        Path(sysconfig.get_path("scripts")),
        Path(sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user"))),
        # pip install --target
        Path(__file__).resolve().parent.parent / "bin",
    ]
    for folder in folders:
        binary = folder / "dsql-local"
        if binary.is_file():
            return str(binary)
    found = shutil.which("dsql-local")
    if found:
        return found
    raise FileNotFoundError(f"the program dsql-local is not in {', '.join(map(str, folders))} or on the PATH; {ENV_BIN} may name it")
