"""The analyst role: forecasts of sums and products recommended to each customer (step 10).

Promises: one analyst at a time; what it learned is in its changelog, and after a restart it goes on as if undisturbed.
"""

from .role import AnalystRole, analysis_maker

__all__ = ["AnalystRole", "analysis_maker"]
