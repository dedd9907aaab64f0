"""MiniStack, with what it lacks for template.yaml put into it: see the modules beside this one. scripts/rehearsal/rehearse.py
starts it; the variables REHEARSAL_* say where its state, its address and dsql-local are."""
import signal
import sys

from ministack import app

import clusters
import differences
import recorder
import streams

if __name__ == "__main__":
    for part in (clusters, differences, recorder, streams):
        part.install()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        app.main()
    finally:
        clusters.stop_all()
