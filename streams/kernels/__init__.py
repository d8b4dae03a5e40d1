"""Compiles and caches kernels, and holds what all of them use: hashes, memory, bits, varints, UTF-8.

Promises: kernels never allocate and count no references; a kernel is compiled again when any source of it changes.
"""

from .bits import bits_set
from .hashing import MASK52, hash64, hash_bytes, hash_text
from .jit import LINE_BYTES, inlined, inner, kept, kernel, prefetch
from .memory import Stretched, give_back, grown, keep_memory, zeros
from .utf8 import is_ascii, valid_utf8
from .varint import read_varint

__all__ = [
    "LINE_BYTES",
    "MASK52",
    "Stretched",
    "bits_set",
    "give_back",
    "grown",
    "hash64",
    "hash_bytes",
    "hash_text",
    "inlined",
    "inner",
    "is_ascii",
    "keep_memory",
    "kept",
    "kernel",
    "prefetch",
    "read_varint",
    "valid_utf8",
    "zeros",
]
