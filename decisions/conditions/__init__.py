"""Parses and checks SQL conditions, and compiles them to programs of a small stack machine (step 7).

Promises: three-valued logic as in SQL; an error is one line with a hint.
"""

from . import machine
from .compiler import Condition, compile_condition
from .machine import evaluate
from .names import Input, Names, suggestion

__all__ = ["Condition", "Input", "Names", "compile_condition", "evaluate", "machine", "suggestion"]
