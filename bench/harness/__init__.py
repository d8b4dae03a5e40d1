"""Shared parts of the benches: environments of peers, clocks, measured processes, the page of figures.

Promises: every figure in docs/BENCHMARKS.md comes from a run, and the page says when and where it ran.
"""

from . import environments
from .environments import ROOT, peers_python
from .product_worker import SETTLED, resident_bytes
from .report import keep, say

__all__ = ["ROOT", "SETTLED", "environments", "keep", "peers_python", "resident_bytes", "say"]
