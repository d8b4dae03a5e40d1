"""Recommendations for each customer: written to Redis, read by the page and others (step 9).

Promises: while Redis is unavailable, writes wait and event processing continues.
"""

from .store import RecommendationWriter, recommendation_reader, recommendation_writer

__all__ = ["RecommendationWriter", "recommendation_reader", "recommendation_writer"]
