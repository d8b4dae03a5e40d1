"""The learner of one model: experts, their mixture, drift, cohorts, the buffer of examples (step 10).

Promises: score first, then learn; the same examples give the same weights. No worker loads this.
"""

from .boosted import fit
from .learner import DEFAULT, Learned, Learner
from .replay_buffer import Item
from .task import LARGEST_LOSS, Binary
from .warmup import warm

__all__ = ["DEFAULT", "LARGEST_LOSS", "Binary", "Item", "Learned", "Learner", "fit", "warm"]
