"""Reads the models topic for roles that score: follows new snapshots and verifies each (step 6).

Promises: a snapshot that does not verify is refused with a reason, and no role scores with it.
"""

from .snapshot_feed import SnapshotFeed, check_key, read_snapshot, snapshot_key

__all__ = ["SnapshotFeed", "check_key", "read_snapshot", "snapshot_key"]
