"""The commit cycle, the changelog and the rows restored from it (step 8).

Promises: outputs acknowledged, then rows in a fenced transaction, then offsets; after any kill the rows are those of
the log.
"""

from .changelog import FencedChangelog
from .commit_cycle import CommitCycle
from .control_row import CONTROL_KEY, LAYOUT_KEY, Adoption, RowFormat, read_control
from .local_rows import ChangelogIdentity
from .restorer import Mover, Restorer
from .row_table import RowTable

__all__ = [
    "CONTROL_KEY",
    "LAYOUT_KEY",
    "Adoption",
    "ChangelogIdentity",
    "CommitCycle",
    "FencedChangelog",
    "Mover",
    "Restorer",
    "RowFormat",
    "RowTable",
    "read_control",
]
