"""Champion and challengers: who scores, by what evidence (step 10).

Promises: a change takes effect at one example, however often the log is read.
"""

from .champion import Champion, Change, Standing, champion_of

__all__ = ["Champion", "Change", "Standing", "champion_of"]
