"""Opens a SQL database by its URL and classifies its errors (step 9).

Promises: a transient error is Retryable; any other error is reported at once.
"""

from .database import (
    REFUSED,
    WAITS,
    address_of,
    cause_of,
    is_poison,
    make_folder,
    may_pass,
    open_engine,
    usable,
)

__all__ = [
    "REFUSED",
    "WAITS",
    "address_of",
    "cause_of",
    "is_poison",
    "make_folder",
    "may_pass",
    "open_engine",
    "usable",
]
