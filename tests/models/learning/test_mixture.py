"""models/learning/mixture.py: experts are weighed by what they tell, and what they say is calibrated."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from models.learning.cohorts import CohortsState
from models.learning.mixture import MixingState, Mixture
from models.learning.task import Amount, Binary
from tests.reference.levels import mean_chance


def taught(examples: int, *, loud: float = 1.0, shift: float = 0.0, seed: int = 5) -> Mixture:
    """After so many examples whose logit is z. The first expert says `loud` z + `shift`, the second z and noise as
    strong, the third nothing but noise."""
    draw, mixing = np.random.default_rng(seed), Mixture(Binary())
    for due, (z, second, third) in enumerate(draw.normal(size=(examples, 3))):
        label = float(draw.random() < 1.0 / (1.0 + math.exp(-z)))
        mixing.learn(np.array([loud * z + shift, z + second, third]), label, due, 800)
    return mixing


def waves(deviation: float, *, told: bool, seed: int) -> Mixture:
    """After 60 waves of 150 whose logits are z - 2 and a level of the wave, of which all experts say z - 2. Unless
    `told`, each example is due for itself."""
    draw, mixing = np.random.default_rng(seed), Mixture(Binary())
    for wave, level in enumerate(draw.normal(0.0, deviation, 60)):
        for at, z in enumerate(draw.normal(-2.0, 1.0, 150).tolist()):
            label = float(draw.random() < 1.0 / (1.0 + math.exp(-z - level)))
            due, horizon = (8_000 * wave, 8_000) if told else (8_000 * wave + at, 0)
            mixing.learn(np.full(3, z), label, due, horizon)
    return mixing


def off(mixing: Mixture, deviation: float) -> float:
    """By how much the chances that it gives are off, in the mean: the next wave's level is not known."""
    found = []
    for z in np.linspace(-4.0, 0.0, 9).tolist():
        said = 1.0 / (1.0 + math.exp(-mixing.logit(np.full(3, z))))
        found.append(abs(said - mean_chance(z, deviation)))
    return float(np.mean(found))


def test_who_knows_counts_and_who_does_not_is_left_out() -> None:
    weights = taught(60_000).weights[1:-1]
    assert weights[0] == pytest.approx(1.0, abs=0.1)
    assert weights[1] == pytest.approx(0.0, abs=0.1)
    assert weights[2] == pytest.approx(0.0, abs=0.1)


def test_an_expert_that_is_too_sure_and_off_is_calibrated() -> None:
    mixing = taught(60_000, loud=2.0, shift=1.0)
    for z in (-1.0, 0.0, 1.0):
        assert mixing.logit(np.array([2.0 * z + 1.0, z, 0.0])) == pytest.approx(z, abs=0.15)


def test_a_few_hundred_examples_turn_no_weights() -> None:
    """Who has been lucky for a short while is not believed more than the others."""
    assert np.abs(taught(300).weights[1:-1] - 1 / 3).max() < 0.05


def test_experts_that_are_not_wanted_never_count() -> None:
    mixing = Mixture(Binary(), ("linear",))
    for number in range(1000):
        mixing.learn(np.array([0.0, 1.0, -1.0]), float(number % 2), number, 100)
    assert mixing.weights[2:-1].tolist() == [0.0, 0.0]


def test_a_wave_of_which_nothing_is_known_is_scored_with_less_certainty() -> None:
    """Whoever takes every example for itself is too sure of the next wave."""
    alone = np.mean([off(waves(1.0, told=False, seed=seed), 1.0) for seed in range(8)])
    together = np.mean([off(waves(1.0, told=True, seed=seed), 1.0) for seed in range(8)])
    assert together < 0.6 * alone
    assert waves(1.0, told=True, seed=0).deviation == pytest.approx(1.0, abs=0.25)


def test_waves_that_share_nothing_leave_scores_as_they_are() -> None:
    assert max(off(waves(0.0, told=True, seed=seed), 0.0) for seed in range(8)) < 0.01


def test_the_level_of_a_cohort_is_in_no_score() -> None:
    mixing = Mixture(Binary())
    for wave in range(20):
        for _ in range(50):
            mixing.learn(np.zeros(3), float(wave % 2), wave * 8_000, 8_000)
    assert mixing.weights[-1] > 1.0  # the last wave was a good one
    assert abs(mixing.logit(np.zeros(3))) < 0.1
    assert len(mixing.published(True)) == 4


def test_amounts_have_no_cohorts() -> None:
    mixing = Mixture(Amount())
    for wave in range(20):
        for _ in range(50):
            mixing.learn(np.zeros(3), 1.0 + wave % 2, wave * 8_000, 8_000)
    assert mixing.deviation == mixing.weights[-1] == 0.0


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    first, again = taught(150), Mixture(Binary())
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), type=MixingState))
    for mixing in (first, again):
        for number in range(100):
            mixing.learn(np.array([0.1, -0.3, 1.0]), float(number % 3 == 0), 150 + number, 400)
    assert first.state() == again.state()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"weights": [0.0] * 3},
        {"weights": [math.nan, 0.0, 0.0, 0.0, 0.0]},
        {"spread": [-1.0, *[0.0] * 24]},
        {"spread": [math.inf, *[0.0] * 24]},
        {"cohorts": CohortsState(error=math.nan)},
    ],
    ids=str,
)
def test_what_is_no_state_is_refused(spoilt: dict[str, Any]) -> None:
    good = taught(5).state()
    with pytest.raises(ValueError, match="of the mixture"):
        Mixture(Binary()).restore(msgspec.structs.replace(good, **spoilt))
