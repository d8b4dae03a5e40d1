"""How well models predict, beside peers that fit the same question.

Promises: a peer sees what the model saw, not more.
"""

from . import recommend, sentiment

__all__ = ["recommend", "sentiment"]
