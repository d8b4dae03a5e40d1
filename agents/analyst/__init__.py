"""The analyst role: forecasts of sums and products recommended to each customer (step 10).

Promises: one analyst works at a time; its changelog holds what it learned, and a restart changes no result.
"""

from .role import AnalystRole, analysis_maker

__all__ = ["AnalystRole", "analysis_maker"]
