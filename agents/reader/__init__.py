"""The reader role: reads the text of messages and sends them on as events (step 1).

Promises: it sends each message on once, in order; all readers learn the same corrections.
"""

from .correction_feed import PARTITION, correction_of
from .role import ReaderRole

__all__ = ["PARTITION", "ReaderRole", "correction_of"]
