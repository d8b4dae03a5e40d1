"""What has time runs only while a processor has nothing else to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

THREADS = """
import os, threading
from agents.processes.priority import give_way
give_way()
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
print(os.sched_getscheduler(0), *found)
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="a scheduler of Linux")
def test_threads_begun_later_give_way_too() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(os.SCHED_IDLE)] * 2
