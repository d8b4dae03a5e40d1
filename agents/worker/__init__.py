"""The worker role: folds events into customers' rows, scores and decides (steps 2 to 8).

Promises: every accepted event changes its row exactly once; the worker imports nothing that only learning needs.
"""

from . import role
from .role import Worker

__all__ = ["Worker", "role"]
