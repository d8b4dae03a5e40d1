"""Customers' views in Redis: written by workers, read by pages and others (step 9).

Promises: the newest state of a row arrives, whatever failed before; a view names the layout it is of.
"""

from .layouts import Layouts, entry
from .publisher import Taken, ViewPublisher
from .reader import ReadCustomer, view_reader
from .store import MemoryViews, RedisViews, ViewStore

__all__ = [
    "Layouts",
    "MemoryViews",
    "ReadCustomer",
    "RedisViews",
    "Taken",
    "ViewPublisher",
    "ViewStore",
    "entry",
    "view_reader",
]
