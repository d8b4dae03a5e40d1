"""Measures how well models predict, beside peers that answer the same question.

Promises: a peer sees only what the model saw.
"""

from . import recommend, sentiment

__all__ = ["recommend", "sentiment"]
