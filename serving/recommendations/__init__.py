"""Recommendations where pages and others find them: written and read (step 9).

Promises: while the store is away they wait, and events go on.
"""

from .store import RecommendationWriter, recommendation_reader, recommendation_writer

__all__ = ["RecommendationWriter", "recommendation_reader", "recommendation_writer"]
