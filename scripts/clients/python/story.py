"""What a client of Python does, and how it tells what came of it: a JSON object a line, {"step", "held", "note"}.

The variables STORY_* name its table and the statements that make it: see run.py.
"""
import datetime
import inspect
import json
import os
import traceback
import uuid
from asyncio import new_event_loop, set_event_loop
from contextvars import copy_context
from decimal import Decimal

ENDPOINT, PORT, REGION, CA = (os.environ[name] for name in ("DSQL_ENDPOINT", "DSQL_PORT", "AWS_REGION", "DSQL_CA_FILE"))
TABLE, CREATE, INDEX = (os.environ[f"STORY_{name}"] for name in ("TABLE", "CREATE", "INDEX"))
ROW = {
    "id": uuid.uuid4(), "t": "naïve ✓ 'quoted'", "i": -5, "b": 2**53 + 1, "n": Decimal("1234567.8900"), "f": True,
    "at": datetime.datetime(2026, 11, 30, 12, 34, 56, 789012, datetime.timezone.utc), "j": {"a": [1, None, "ü"]},
    "raw": b"\x00\xff\\", "nothing": None,
}


class Limit(Exception):
    """DSQL has no such thing, or the client lacks it; the text says which."""


def insert(mark):
    """An INSERT of the columns of ROW, with a driver's own mark for each parameter, counted from 1."""
    marks = (mark.format(n) for n in range(1, len(ROW) + 1))
    return f"INSERT INTO {TABLE} ({', '.join(ROW)}) VALUES ({', '.join(marks)})"


def same(found, expected=None):
    expected = ROW if expected is None else expected
    wrong = {name: (found[name], value) for name, value in expected.items() if found[name] != value}
    assert not wrong, f"other than was written: {wrong}"


def refused(code, expected):
    """Whatever names an error's kind has to name the expected one."""
    assert code == expected, f"{code}, not {expected}"


def play(**steps):
    """Does every step and tells what came of each: a step returns a note or nothing, and may be a coroutine."""
    loop = new_event_loop()
    set_event_loop(loop)
    context = copy_context()
    for step, does in steps.items():
        held, note = True, None
        try:
            note = does()
            if inspect.isawaitable(note):
                note = loop.run_until_complete(loop.create_task(note, context=context))
        except Limit as limit:
            held, note = None, str(limit)
        except Exception as error:
            held, note = False, f"{type(error).__name__}: {' '.join(str(error).split())}"
            if os.environ.get("STORY_VERBOSE"):
                traceback.print_exc()
        print(json.dumps({"step": step, "held": held, "note": note if isinstance(note, str) else None}), flush=True)
