"""A SQL database by URL: opened, waited for, its errors told apart (step 9).

Promises: what may pass is tried again; what may not is told at once.
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
