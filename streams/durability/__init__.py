"""The commit cycle, the changelog and the rows restored from it (step 8).

Promises: a cycle commits offsets only after outputs are acknowledged and rows stand in a fenced transaction; after any
kill the restored rows are those that the log gives.
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
