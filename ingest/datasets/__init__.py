"""Data sets that packages bring along, as events (step 1).

Promises: the same events under the same ids at every run.
"""

from .cdnow import Cdnow
from .complete_journey import CompleteJourney

__all__ = ["Cdnow", "CompleteJourney"]
