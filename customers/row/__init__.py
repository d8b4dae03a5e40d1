"""A customer's row: its columns, their layout in words, and how an event changes them (step 5).

Promises: a layout's description is enough to read its rows; rows move to a new layout by name.
"""

from .columns import DECAY, PLAIN, Features, FieldSpec, load_features
from .fold import ABSENT_BITS, FoldProgram, decay, fold, fold_program, look_at, view
from .layout import EXAMPLE, EXAMPLE_HEAD, POLICY, Described, Group, Layout, Migration

__all__ = [
    "ABSENT_BITS",
    "DECAY",
    "EXAMPLE",
    "EXAMPLE_HEAD",
    "PLAIN",
    "POLICY",
    "Described",
    "Features",
    "FieldSpec",
    "FoldProgram",
    "Group",
    "Layout",
    "Migration",
    "decay",
    "fold",
    "fold_program",
    "load_features",
    "look_at",
    "view",
]
