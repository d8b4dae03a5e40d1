"""Faust's transport, delivering whole fetches instead of single records (step 2).

Promises: Faust sees one message a fetch; back pressure bounds how much waits in memory.
"""

from .app import COMMIT_INTERVAL_S, SESSION_TIMEOUT_S, App, make_app
from .consumer import Consumer

__all__ = ["COMMIT_INTERVAL_S", "SESSION_TIMEOUT_S", "App", "Consumer", "make_app"]
