"""The demo: runs every role on this machine over a year of real baskets.

Promises: its summary counts the events sent, the decisions made and kept, and what was lost.
"""

from .accounting import format_report
from .run import run_demo

__all__ = ["format_report", "run_demo"]
