"""The demo: every role on this machine over a year of real baskets.

Promises: its summary counts what was sent, decided, kept and lost.
"""

from .accounting import format_report
from .run import run_demo

__all__ = ["format_report", "run_demo"]
