"""Files with a mapping, as events (step 1).

Promises: a row that cannot be an event is a dead letter with its line; nothing is dropped in silence.
"""

from .file_source import FileSource

__all__ = ["FileSource"]
