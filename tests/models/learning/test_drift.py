"""models/learning/drift.py: a loss that rises for good is found, and a wave that went badly is not taken for it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from models.learning.drift import Drift, DriftState


def losses(count: int, mean: float, seed: int) -> list[float]:
    found: list[float] = np.clip(np.random.default_rng(seed).exponential(mean, count), 0.0, 4.0).tolist()
    return found


def test_a_loss_that_rises_is_found_once_and_chance_is_not() -> None:
    drift = Drift()
    assert not any(drift.add(loss, due) for due, loss in enumerate(losses(50_000, 0.4, seed=1)))
    found = [due for due, loss in enumerate(losses(5000, 1.0, seed=2), 50_000) if drift.add(loss, due)]
    assert len(found) == 1
    assert found[0] < 50_000 + 300


def test_examples_that_fall_due_together_count_as_one() -> None:
    """Twenty waves of a thousand, of which every second one is four times as bad."""
    together, apart = Drift(), Drift()
    for number, loss in enumerate(losses(20_000, 0.25, seed=3)):
        loss = min(4.0 * loss, 4.0) if number // 1000 % 2 else loss
        assert not together.add(loss, number // 1000)
        apart.add(loss, number)
    assert apart.found > 0


@pytest.mark.parametrize("at", [1999, 2000])
def test_it_goes_on_from_its_state_bit_for_bit(at: int) -> None:
    first, again = Drift(), Drift()
    for number, loss in enumerate(losses(at, 0.4, seed=4)):
        first.add(loss, number // 3)
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state()), type=DriftState))
    for number, loss in enumerate(losses(3000, 1.2, seed=5), at):
        assert first.add(loss, number // 3) == again.add(loss, number // 3)
    assert first.state() == again.state()
    assert first.found == 1
