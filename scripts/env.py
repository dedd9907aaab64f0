#!/usr/bin/env python3
"""Prints variables of a deployed stack for a shell, as .local/dev.env has them of `make dev`: API_URL, and the TOKEN of a
visitor, valid for a day.

  eval "$(make -s env STACK=dsql-chat)"
"""
import shlex
import sys

from stack import Refused, Stack


def main(arguments):
    name, region, visitor = arguments
    try:
        stack = Stack(name, region or None)
        variables = {"API_URL": stack.api_url, "TOKEN": stack.token(visitor or "visitor-1")}
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    for key, value in variables.items():
        print(f"{key}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
