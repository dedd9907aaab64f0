#!/usr/bin/env python3
"""Sends a command to the admin function of a deployed stack, and prints its report alone.

  make admin STACK=dsql-chat COMMAND=doctor
  make admin STACK=dsql-chat COMMAND='create-login name=blog access=owner'

A value that is JSON is sent as such: graceSeconds=0, schemas='["blog"]'. Exit 1: refused, or the doctor found a fault.
"""
import json
import sys

from stack import Refused, Stack


def fields(pairs):
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Refused(f"{pair}: NAME=VALUE is expected")
        try:
            yield name, json.loads(value)
        except ValueError:
            yield name, value


def main(arguments):
    if len(arguments) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    name, region, command, *pairs = arguments
    try:
        report = Stack(name, region or None).admin(command, **dict(fields(pairs)))
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2, ensure_ascii=False))
    return 1 if report.get("healthy") is False else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
