"""Turns the rows of a file into events, by a mapping (step 1).

Promises: a row that cannot become an event becomes a dead letter with its row number; no row is lost silently.
"""

from .file_source import FileSource
from .mapping import Mapping, read_mapping

__all__ = ["FileSource", "Mapping", "read_mapping"]
