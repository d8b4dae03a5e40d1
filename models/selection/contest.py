"""Whether a challenger is better than the champion: a bet on it that is fair while it is not.

For each example the difference of their losses (see `models.learning.task`; a fourth of it, so within -1 and 1) pays a
gambler who stakes a share of what he has on the challenger. While the challenger is no better in the mean, given what
was before, no strategy gains, so that by Ville's inequality his capital ever reaches 1/a with a chance of a at most,
however often one looks (Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting). The
capital is spread over several stakes and over several times to begin at: a challenger is slow at first.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.learning import LARGEST_LOSS

# A worse challenger gets here in one contest of a thousand at most.
BEYOND_DOUBT: Final = 1000.0

_STAKES: Final = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
_STARTS: Final = 24  # at 0, 500, 1000, 2000 … examples
_FIRST: Final = 500
# 1 / (k (k + 1)) for k from 1 on, which sum up to less than 1
_SHARES: Final = 1.0 / (np.arange(1.0, _STARTS + 1) * np.arange(2.0, _STARTS + 2))
_LARGEST_CAPITAL: Final = 1e6  # its logarithm


class ContestState(msgspec.Struct, forbid_unknown_fields=True):
    """What a contest needs to go on: the logarithms of the capital by start and stake, row after row."""

    examples: int
    gain: float
    capital: list[float]


class Contest:
    """One challenger against the champion. `gain`: the sum of the differences."""

    def __init__(self) -> None:
        self.examples = 0
        self.gain = 0.0
        self._capital = np.zeros((_STARTS, len(_STAKES)))

    def add(self, champion: float, challenger: float) -> None:
        """What an example cost both, from 0 to LARGEST_LOSS."""
        difference = champion - challenger
        begun = 1 if self.examples < _FIRST else 2 + int(math.log2(self.examples // _FIRST))
        self._capital[: min(begun, _STARTS)] += np.log1p(_STAKES * (difference / LARGEST_LOSS))
        self.examples += 1
        self.gain += difference

    @property
    def evidence(self) -> float:
        """The capital: how much speaks for the challenger being better, 1 at first (an e-value)."""
        each: NDArray[np.float64] = np.exp(np.minimum(self._capital, 700.0)).mean(axis=1)
        return float((_SHARES * each).sum() + 1.0 - _SHARES.sum())

    @property
    def won(self) -> bool:
        """Whether the challenger is better beyond doubt."""
        return self.evidence >= BEYOND_DOUBT

    def state(self) -> ContestState:
        """Plain data from which `restore` goes on bit for bit."""
        return ContestState(self.examples, self.gain, self._capital.ravel().tolist())

    @classmethod
    def restore(cls, known: ContestState) -> Contest:
        """Go on; ValueError where `known` is none of ours."""
        contest = cls()
        numbers = np.array([known.gain, *known.capital])
        if len(known.capital) != contest._capital.size or known.examples < 0:
            raise ValueError(f"a contest of {len(known.capital)} numbers; expected {contest._capital.size}")
        if not (np.abs(numbers) <= _LARGEST_CAPITAL * (1 + known.examples)).all():
            raise ValueError("a figure of a contest is absurd or no number")
        contest.examples, contest.gain = known.examples, known.gain
        contest._capital[:] = numbers[1:].reshape(contest._capital.shape)
        return contest
