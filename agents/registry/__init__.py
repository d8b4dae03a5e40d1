"""The models topic: snapshots of models and who is champion, written and read (steps 6 and 10).

Promises: a snapshot that cannot be trusted is refused with its reason, and nobody scores with it.
"""

from .published import ModelSnapshots, partition_of, read_published, restore_family, snapshot_key
from .snapshot_feed import SnapshotFeed

__all__ = [
    "ModelSnapshots",
    "SnapshotFeed",
    "partition_of",
    "read_published",
    "restore_family",
    "snapshot_key",
]
