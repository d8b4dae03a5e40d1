"""Bytes as kernels take them, and how many examples their tests draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings

many = settings(max_examples=150, deadline=None)


def array(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
