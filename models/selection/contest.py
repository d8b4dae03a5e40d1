"""Tests whether a challenger is better than the champion: a bet on it that is fair as long as it is not.

A gambler stakes a share of his capital on the challenger. Each example pays him by the difference of the two losses
(see `models.learning.task`; a fourth of it, so within -1 and 1). While the challenger is no better on average, given
the past, no strategy gains. By Ville's inequality the capital then ever reaches 1/a with a chance of at most a,
however often it is looked at (Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting).
The capital is split over several stakes and several starting times, because a challenger is slow at first.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.learning import LARGEST_LOSS

# A challenger that is no better gets here in at most one contest of a thousand.
BEYOND_DOUBT: Final = 1000.0

_STAKES: Final = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
_STARTS: Final = 24  # at 0, 500, 1000, 2000 … examples
_FIRST: Final = 500
# 1 / (k (k + 1)) for k from 1 on, which sum up to less than 1
_SHARES: Final = 1.0 / (np.arange(1.0, _STARTS + 1) * np.arange(2.0, _STARTS + 2))
_LARGEST_CAPITAL: Final = 1e6  # its logarithm


class ContestState(msgspec.Struct, forbid_unknown_fields=True):
    """The state of a contest. `capital`: the logarithms of the capital by start and stake, row after row."""

    examples: int
    gain: float
    capital: list[float]


class Contest:
    """One challenger against the champion. `gain`: the sum of the differences of their losses."""

    def __init__(self) -> None:
        self.examples = 0
        self.gain = 0.0
        self._capital = np.zeros((_STARTS, len(_STAKES)))

    def add(self, champion: float, challenger: float) -> None:
        """Add the losses of both on one example, each from 0 to LARGEST_LOSS."""
        difference = champion - challenger
        begun = 1 if self.examples < _FIRST else 2 + int(math.log2(self.examples // _FIRST))
        self._capital[: min(begun, _STARTS)] += np.log1p(_STAKES * (difference / LARGEST_LOSS))
        self.examples += 1
        self.gain += difference

    @property
    def evidence(self) -> float:
        """Return the capital, 1 at first: the evidence (an e-value) that the challenger is better."""
        each: NDArray[np.float64] = np.exp(np.minimum(self._capital, 700.0)).mean(axis=1)
        return float((_SHARES * each).sum() + 1.0 - _SHARES.sum())

    @property
    def won(self) -> bool:
        """Return whether the challenger is better beyond doubt."""
        return self.evidence >= BEYOND_DOUBT

    def state(self) -> ContestState:
        """Return plain data from which `restore` continues bit for bit."""
        return ContestState(self.examples, self.gain, self._capital.ravel().tolist())

    @classmethod
    def restore(cls, known: ContestState) -> Contest:
        """Continue from a state; raise ValueError if `known` is not valid."""
        contest = cls()
        numbers = np.array([known.gain, *known.capital])
        if len(known.capital) != contest._capital.size or known.examples < 0:
            raise ValueError(f"a contest of {len(known.capital)} numbers; expected {contest._capital.size}")
        if not (np.abs(numbers) <= _LARGEST_CAPITAL * (1 + known.examples)).all():
            raise ValueError("a figure of a contest is too large or not a number")
        contest.examples, contest.gain = known.examples, known.gain
        contest._capital[:] = numbers[1:].reshape(contest._capital.shape)
        return contest
