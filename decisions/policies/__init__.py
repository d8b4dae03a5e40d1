"""Policies: read from YAML, checked, laid out as arrays for the pass (step 7).

Promises: what is declared is what runs; a mistake names file and line.
"""

from . import policy
from .program import FIELD, SCORE, VIEW, PolicyProgram

__all__ = ["FIELD", "SCORE", "VIEW", "PolicyProgram", "policy"]
