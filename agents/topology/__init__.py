"""Topics, consumer groups and permissions of an installation, each declared once.

Promises: a role's permissions at the broker are those it uses, and no more.
"""

from . import groups
from .acls import commands, permissions
from .groups import WORKER
from .topics import topics

__all__ = ["WORKER", "commands", "groups", "permissions", "topics"]
