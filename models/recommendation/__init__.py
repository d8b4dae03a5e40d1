"""Recommends next products to each customer, learned from all baskets, under rules (step 10).

Promises: memory is bounded; it never recommends what the rules forbid.
"""

from .assortment import Assortment, Recommendations
from .config import RecommendSpec, load_recommendations
from .item_table import Table, words
from .recent_items import HALF_LIFE_MS, RECENT, nothing
from .recommender import DAY_MS, POPULAR_HALF_LIFE_MS, Recommender
from .shop import NAME_BYTES, NOBODY, RecommendationState, Recommended, warm
from .shopper import CustomerItems
from .stock import Stock

__all__ = [
    "DAY_MS",
    "HALF_LIFE_MS",
    "NAME_BYTES",
    "NOBODY",
    "POPULAR_HALF_LIFE_MS",
    "RECENT",
    "Assortment",
    "CustomerItems",
    "RecommendSpec",
    "RecommendationState",
    "Recommendations",
    "Recommended",
    "Recommender",
    "Stock",
    "Table",
    "load_recommendations",
    "nothing",
    "warm",
    "words",
]
