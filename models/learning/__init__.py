"""The learner of one model: experts, their mixture, drift, cohorts and the replay buffer (step 10).

Promises: it scores each example, then learns it; the same examples give the same weights. No worker imports it.
"""

from .boosted import fit
from .learner import DEFAULT, Learned, Learner
from .replay_buffer import Item
from .task import LARGEST_LOSS, Binary
from .warmup import warm

__all__ = ["DEFAULT", "LARGEST_LOSS", "Binary", "Item", "Learned", "Learner", "fit", "warm"]
