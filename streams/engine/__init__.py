"""The engine merges a partition's inbox by event time and hands it to a pass (steps 4 to 7).

Promises: the same logs give the same rows and outputs, however they are split into batches.
"""

from .engine import LETTER_BYTES, Engine, Pass
from .outbox import Outbox
from .partition import CHANGELOG, TAKEN, VIEWS, Cutover, Partition, keep_taken

__all__ = [
    "CHANGELOG",
    "LETTER_BYTES",
    "TAKEN",
    "VIEWS",
    "Cutover",
    "Engine",
    "Outbox",
    "Partition",
    "Pass",
    "keep_taken",
]
