"""Faults of every kind under load, and what they cost: `streamwise bench faults`.

Promises: a fault that could not be carried out is named and fails the run; the oracle shares no code with the roles'
delivery.
"""

from .command import main

__all__ = ["main"]
