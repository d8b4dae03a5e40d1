"""models/mixing.py: experts are weighed by what they tell, whatever the examples of a wave have in common."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from models.mixing import Mixing, MixingState
from models.task import Binary

DAY = 86_400_000


def taught(waves: int, size: int, shared: float, seed: int = 5) -> Mixing:
    """After `waves` of examples, a day apart. All experts say z + u and the truth is z + v, where u and v belong to the
    wave and have the standard deviation `shared`."""
    draw, mixing = np.random.default_rng(seed), Mixing(Binary())
    for wave in range(waves):
        said, true = shared * draw.normal(size=2)
        for z in draw.normal(size=size):
            label = float(draw.random() < 1.0 / (1.0 + math.exp(-z - true)))
            mixing.learn(np.full(3, z + said), label, (wave + 1) * DAY, DAY)
    return mixing


def test_within_a_wave_experts_are_weighed_beside_what_it_has_in_common() -> None:
    """A regression over all waves alike would weigh them at a half: the variance of z against that of z + u."""
    mixing = taught(waves=40, size=300, shared=1.0)
    assert mixing.weights[1:].sum() == pytest.approx(1.0, abs=0.2)
    assert mixing.state().move > 0.3


def test_where_nothing_is_shared_the_bias_comes_to_rest() -> None:
    mixing = taught(waves=60, size=300, shared=0.0)
    assert abs(mixing.weights[0]) < 0.1
    assert mixing.state().move < 0.01
    assert mixing.weights[1:].sum() == pytest.approx(1.0, abs=0.05)


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    first, again = taught(waves=3, size=50, shared=1.0), Mixing(Binary())
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), type=MixingState))
    for mixing in (first, again):
        for number in range(100):
            mixing.learn(np.array([0.1, -0.3, 1.0]), float(number % 3 == 0), 4 * DAY + number * DAY // 9, DAY)
    assert first.state() == again.state()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"weights": [0.0] * 3},
        {"weights": [math.nan, 0.0, 0.0, 0.0]},
        {"spread": [-1.0, *[0.0] * 15]},
        {"move": math.inf},
        {"bias": 1e9},
        {"information": -1.0},
        {"error": math.nan},
        {"horizons": -1},
    ],
    ids=str,
)
def test_what_is_no_state_is_refused(spoilt: dict[str, Any]) -> None:
    good = taught(waves=1, size=5, shared=0.0).state()
    with pytest.raises(ValueError, match="of the mixture"):
        Mixing(Binary()).restore(msgspec.structs.replace(good, **spoilt))
