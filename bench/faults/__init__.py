"""Injects faults of every kind under load and measures what they cost: `streamwise bench faults`.

Promises: a run names each fault that could not be carried out, and fails; the oracle shares no code with the delivery
of the roles.
"""

from .command import main

__all__ = ["main"]
