"""SQL conditions: parsed, checked, compiled to programs of a small machine (step 7).

Promises: three-valued logic as in SQL; a mistake is one line with a hint.
"""

from . import machine
from .compiler import Condition, compile_condition
from .machine import evaluate
from .names import Input, Names, suggestion

__all__ = ["Condition", "Input", "Names", "compile_condition", "evaluate", "machine", "suggestion"]
