"""Reads policies from YAML, checks them, and lays them out as arrays for the pass (step 7).

Promises: the pass runs what the file declares; an error names file and line.
"""

from .policy import Policy, load_policies
from .program import FIELD, SCORE, VIEW, PolicyProgram

__all__ = ["FIELD", "SCORE", "VIEW", "Policy", "PolicyProgram", "load_policies"]
