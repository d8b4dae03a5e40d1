"""The hash of strings, message ids and keys."""

from __future__ import annotations

_WORD = 2**64 - 1


def hash64(data: bytes) -> int:
    """The 64-bit hash of `data`, unsigned."""
    h = 0x9E3779B97F4A7C15 ^ (len(data) * 0xC2B2AE3D27D4EB4F & _WORD)
    for start in range(0, len(data), 8):
        word = int.from_bytes(data[start : start + 8].ljust(8, b"\0"), "little")
        h = (h ^ word) * 0xFF51AFD7ED558CCD & _WORD
        h ^= h >> 32
    h = h * 0xC4CEB9FE1A85EC53 & _WORD
    return h ^ (h >> 29)


def signed(h: int) -> int:
    """The same 64 bits read as a signed number, as rows keep message ids."""
    return h - 2**64 if h >= 2**63 else h


def hash52(text: str) -> float:
    """What a string field is as a number: 52 bits, so that a float64 holds it exactly."""
    return float(hash64(text.encode()) & (2**52 - 1))


def bit_of(number: float) -> int:
    """The bit that one value sets in a `distinct` bitmap."""
    return 1 << (int(number) % 64)
