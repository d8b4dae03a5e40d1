"""A worker as a process of its own, slowed down so that it can be killed in the middle of a replay.

python -m tests.doubles.worker_process BOOTSTRAP GROUP PARTITIONS PAUSE_S [newer]

PAUSE_S: before each batch; or the name of a file that holds it, so that a test sets the pace.
`newer`: a later build, which knows one more version of a schema (`tests.doubles.newer_schema`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from agents.runtime.role import run_role, set_up_logging
from agents.worker.role import Worker
from config.settings import load_settings
from streams.batches.record_batch import RawBatch
from streams.transport import app
from tests.doubles import newer_schema

FETCH_BYTES = 4096  # or all of a short log would come at once, and be folded between two commits
SMALL_FETCH_BYTES = 256  # a batch of each partition: the loop soon gets its turn, however long the pauses


def main(bootstrap: str, group: str, partitions: int, pause: str, state: str) -> int:
    set_up_logging()
    pace = Path(pause)
    app.FETCH_BYTES = SMALL_FETCH_BYTES if pace.exists() else FETCH_BYTES
    settings = load_settings(
        kafka=bootstrap,
        partitions=partitions,
        worker_port=0,
        redis="memory://",
        state=Path(state),
        commit_interval=1.0,
    )
    worker = Worker(settings, group=group)
    receive = worker.engine.receive

    def slowly(topic: str, number: int, batch: RawBatch) -> int:
        time.sleep(float(pace.read_text() if pace.exists() else pause))
        return receive(topic, number, batch)

    worker.engine.receive = slowly  # type: ignore[method-assign]
    return run_role(worker.run)


if __name__ == "__main__":
    if "newer" in sys.argv[5:]:
        newer_schema.install()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], folder))
