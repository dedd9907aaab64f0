"""What the functions ask of AWS, as the emulator authorises it: a line for each call that it allows, with the role and the action."""
import json
import os
from pathlib import Path

from ministack.core import iam_evaluator

import clusters

FILE = "calls.jsonl"


def install():
    enforce = iam_evaluator.enforce
    calls = (Path(os.environ["REHEARSAL_STATE"]) / FILE).open("a", buffering=1)

    def recorded(access_key_id, iam_action, *arguments, **options):
        denied = enforce(access_key_id, iam_action, *arguments, **options)
        session = clusters.sessions.get(access_key_id)
        if session and denied is None:
            calls.write(json.dumps({"role": session["role"].rsplit("/", 1)[-1], "action": iam_action}) + "\n")
        return denied

    iam_evaluator.enforce = recorded
