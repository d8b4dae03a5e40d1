"""Topics, consumer groups and permissions of an installation, each declared once.

Promises: what a role may do at the broker is what it does.
"""

from . import groups
from .acls import commands, permissions
from .groups import WORKER
from .topics import topics

__all__ = ["WORKER", "commands", "groups", "permissions", "topics"]
