"""What the benches share: environments, clocks, processes under measurement, the page of figures.

Promises: figures in docs/BENCHMARKS.md come from a run and name it.
"""

from . import environments
from .environments import ROOT, peers_python
from .product_worker import SETTLED, resident_bytes
from .report import keep, say

__all__ = ["ROOT", "SETTLED", "environments", "keep", "peers_python", "resident_bytes", "say"]
