"""The learner role: learns from matured examples and publishes model snapshots (step 10).

Promises: each example is learned once, scored first; a snapshot names the offsets it has learned.
"""

from . import role
from .role import LearnerRole

__all__ = ["LearnerRole", "role"]
