"""Champion and challengers: which learner scores, and on what evidence (step 10).

Promises: a change of champion takes effect at the same example whenever the log is replayed.
"""

from .champion import Champion, Change, Standing, champion_of

__all__ = ["Champion", "Change", "Standing", "champion_of"]
