"""Views of customers in Redis: workers write them, the page and others read them (step 9).

Promises: the newest state of a row arrives, whatever failed before; each view names its layout.
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
