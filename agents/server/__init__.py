"""The server role: feeds the pages and serves them (step 9).

Promises: while a store is away, the pages still show what is known, and say so.
"""

from .role import ServerRole, open_decision_feed

__all__ = ["ServerRole", "open_decision_feed"]
