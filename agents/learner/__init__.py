"""The learner role: learns from matured examples and publishes model snapshots (step 10).

Promises: it scores each example before it learns it, once; a snapshot names the offsets it has learned.
"""

from . import role
from .published import ModelSnapshots, partition_of, read_published
from .role import LearnerRole

__all__ = ["LearnerRole", "ModelSnapshots", "partition_of", "read_published", "role"]
