"""The server role: feeds the pages and serves them (step 9).

Promises: a page shows what is known even while a store is away, and says so.
"""

from .role import ServerRole, open_decision_feed

__all__ = ["ServerRole", "open_decision_feed"]
