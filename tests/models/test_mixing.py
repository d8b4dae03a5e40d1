"""models/mixing.py: experts are weighed by what they tell, and what they say is calibrated."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from models.mixing import Mixing, MixingState
from models.task import Binary


def taught(examples: int, *, loud: float = 1.0, shift: float = 0.0, seed: int = 5) -> Mixing:
    """After so many examples whose logit is z. The first expert says `loud` z + `shift`, the second z and noise as
    strong, the third nothing but noise."""
    draw, mixing = np.random.default_rng(seed), Mixing(Binary())
    for z, second, third in draw.normal(size=(examples, 3)):
        label = float(draw.random() < 1.0 / (1.0 + math.exp(-z)))
        mixing.learn(np.array([loud * z + shift, z + second, third]), label)
    return mixing


def test_who_knows_counts_and_who_does_not_is_left_out() -> None:
    weights = taught(60_000).weights[1:]
    assert weights[0] == pytest.approx(1.0, abs=0.1)
    assert weights[1] == pytest.approx(0.0, abs=0.1)
    assert weights[2] == pytest.approx(0.0, abs=0.1)


def test_an_expert_that_is_too_sure_and_off_is_calibrated() -> None:
    mixing = taught(60_000, loud=2.0, shift=1.0)
    for z in (-1.0, 0.0, 1.0):
        assert mixing.logit(np.array([2.0 * z + 1.0, z, 0.0])) == pytest.approx(z, abs=0.15)


def test_a_few_hundred_examples_turn_no_weights() -> None:
    """Who has been lucky for a short while is not believed more than the others."""
    assert np.abs(taught(300).weights[1:] - 1 / 3).max() < 0.05


def test_experts_that_are_not_wanted_never_count() -> None:
    mixing = Mixing(Binary(), ("linear",))
    for number in range(1000):
        mixing.learn(np.array([0.0, 1.0, -1.0]), float(number % 2))
    assert mixing.weights[2:].tolist() == [0.0, 0.0]


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    first, again = taught(150), Mixing(Binary())
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), type=MixingState))
    for mixing in (first, again):
        for number in range(100):
            mixing.learn(np.array([0.1, -0.3, 1.0]), float(number % 3 == 0))
    assert first.state() == again.state()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"weights": [0.0] * 3},
        {"weights": [math.nan, 0.0, 0.0, 0.0]},
        {"spread": [-1.0, *[0.0] * 15]},
        {"spread": [math.inf, *[0.0] * 15]},
    ],
    ids=str,
)
def test_what_is_no_state_is_refused(spoilt: dict[str, Any]) -> None:
    good = taught(5).state()
    with pytest.raises(ValueError, match="of the mixture"):
        Mixing(Binary()).restore(msgspec.structs.replace(good, **spoilt))
