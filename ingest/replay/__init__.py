"""Sends recorded events to their topics, with pace, resume and progress (step 1).

Promises: a run that was stopped continues where it ended, and sends each event once.
"""

from .pace import parse_speed
from .progress_bar import progress_bar
from .run import Progress, replay

__all__ = ["Progress", "parse_speed", "progress_bar", "replay"]
