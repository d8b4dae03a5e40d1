"""Recorded events sent to their topics: paced, resumed, counted (step 1).

Promises: a run that was ended goes on where it stopped, each event is sent once.
"""

from .pace import parse_speed
from .progress_bar import progress_bar
from .run import Progress, replay

__all__ = ["Progress", "parse_speed", "progress_bar", "replay"]
