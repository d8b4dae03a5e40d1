"""The models topic as roles that score read it: snapshots verified one by one, and followed as they come (step 6).

Promises: a snapshot that cannot be trusted is refused with its reason, and nobody scores with it.
"""

from .snapshot_feed import SnapshotFeed, check_key, read_snapshot, snapshot_key

__all__ = ["SnapshotFeed", "check_key", "read_snapshot", "snapshot_key"]
