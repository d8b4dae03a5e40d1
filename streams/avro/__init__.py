"""Compiles Avro schemas to programs that kernels run over raw bodies (step 3), and encodes outputs.

Promises: a body that does not fit its schema gives a reason, never a wrong value.
"""

from .compiler import (
    KIND,
    MAX_DEPTH,
    MESSAGE_ID,
    MODES,
    TIME,
    AvroProgram,
    Capture,
    check_paths,
    compile_program,
)
from .decoder import AHEAD_MS, LATEST_MS, REASONS, DecodedArrays, decode
from .encoder import digits, put_decimal, put_double, put_doubles, put_frame, put_long, put_raw

__all__ = [
    "AHEAD_MS",
    "KIND",
    "LATEST_MS",
    "MAX_DEPTH",
    "MESSAGE_ID",
    "MODES",
    "REASONS",
    "TIME",
    "AvroProgram",
    "Capture",
    "DecodedArrays",
    "check_paths",
    "compile_program",
    "decode",
    "digits",
    "put_decimal",
    "put_double",
    "put_doubles",
    "put_frame",
    "put_long",
    "put_raw",
]
