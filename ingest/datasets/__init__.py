"""Turns data sets that come with Python packages into events (step 1).

Promises: every run gives the same events with the same ids.
"""

from .cdnow import Cdnow
from .complete_journey import CompleteJourney

__all__ = ["Cdnow", "CompleteJourney"]
