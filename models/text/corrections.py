"""Step 10 for messages: a linear model reads a message, then learns from the correction of the reading.

The sentiment and each label have a `Head`. It has a few dense inputs (the result of the lexicon or the phrases, whose
weight is 1 at first, and others), and one hashed weight for each word and each pair of neighbours (Weinberger et al.
2009, Feature Hashing for Large Scale Multitask Learning). Each weight has its own variance and learns by a Kalman
filter with a diagonal covariance; that is AROW's update (Crammer, Kulesza and Dredze 2009) for squared loss. So early
corrections move weights more than later ones, and there is no learning rate to choose.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec

# With 46,000 words and pairs from a thousand e-mails, one slot in six is shared.
SLOTS: Final = 1 << 18
_PAIR: Final = 0x9E3779B1  # 2^32 over the golden ratio (Knuth, The Art of Computer Programming 6.4)

# A weight never stops learning, because language changes.
_LEAST_SHARE: Final = 1e-3  # of its first variance

# Far above what learning reaches, with targets from -1 to 1.
_LARGEST_WEIGHT: Final = 1e3
_LARGEST_COUNT: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Correction:
    """A person's correction of a reading; None or left out: not corrected.

    `sentiment` from -1 to 1; `labels`: a topic, `complaint` or `churn_intent` -> whether it applies.
    """

    text: str
    sentiment: float | None = None
    labels: Mapping[str, bool] = field(default_factory=dict)
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Prior:
    """The prior of a head. All but `weights` are variances, in squared units of the prediction."""

    weights: tuple[float, ...]  # of the dense inputs
    dense: tuple[float, ...]
    words: float  # of the sum over all words of a message
    noise: float  # of people's corrections of one message


class HeadState(msgspec.Struct, forbid_unknown_fields=True):
    """`slots`: uint32[n], ascending; `means`, `variances`: float64[n]; all little-endian."""

    count: int
    weights: list[float]
    dense: list[float]
    slots: bytes
    means: bytes
    variances: bytes


class Head:
    """Predicts a number near [-1, 1] from dense inputs and the slots of a message's words."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self.count = 0
        self._weights = list(prior.weights)
        self._dense = list(prior.dense)
        self._means: dict[int, float] = {}
        self._variances: dict[int, float] = {}

    def predict(self, dense: Sequence[float], slots: Sequence[int]) -> float:
        """Return the prediction; before any correction it is the first dense input."""
        known = self._means
        words = math.fsum([known[slot] for slot in slots if slot in known])
        inputs = math.fsum([weight * x for weight, x in zip(self._weights, dense, strict=True)])
        return inputs + words / math.sqrt(len(slots) or 1)

    def learn(self, dense: Sequence[float], slots: Sequence[int], target: float) -> None:
        """Take one step towards `target`; the most uncertain weights of the inputs and words move most."""
        prior, x = self.prior, 1.0 / math.sqrt(len(slots) or 1)
        error = target - self.predict(dense, slots)
        times: dict[int, float] = {}  # a word that occurs twice counts twice
        for slot in slots:
            times[slot] = times.get(slot, 0.0) + x
        variances = {slot: self._variances.get(slot, prior.words) for slot in times}
        spread = prior.noise
        spread += math.fsum([variance * x * x for variance, x in zip(self._dense, dense, strict=True)])
        spread += math.fsum([variances[slot] * x * x for slot, x in times.items()])
        for place, x in enumerate(dense):
            gain = self._dense[place] * x / spread
            self._weights[place] += gain * error
            self._dense[place] = _narrowed(self._dense[place], gain * x, prior.dense[place])
        for slot, x in times.items():
            gain = variances[slot] * x / spread
            self._means[slot] = self._means.get(slot, 0.0) + gain * error
            self._variances[slot] = _narrowed(variances[slot], gain * x, prior.words)
        self.count += 1

    def state(self) -> HeadState:
        slots = sorted(self._means)
        return HeadState(
            count=self.count,
            weights=list(self._weights),
            dense=list(self._dense),
            slots=struct.pack(f"<{len(slots)}I", *slots),
            means=struct.pack(f"<{len(slots)}d", *[self._means[slot] for slot in slots]),
            variances=struct.pack(f"<{len(slots)}d", *[self._variances[slot] for slot in slots]),
        )

    @classmethod
    def restore(cls, known: HeadState, prior: Prior) -> Head:
        """Continue from `known` bit for bit; raise ValueError if learning cannot have reached it."""
        count, odd = divmod(len(known.slots), 4)
        if odd or len(known.means) != 8 * count or len(known.variances) != 8 * count:
            raise ValueError(f"{len(known.slots)} bytes of slots, {len(known.means)} of means")
        slots = struct.unpack(f"<{count}I", known.slots)
        means = struct.unpack(f"<{count}d", known.means)
        variances = struct.unpack(f"<{count}d", known.variances)
        if not 0 <= known.count <= _LARGEST_COUNT:
            raise ValueError(f"{known.count} corrections")
        if len(known.weights) != len(prior.weights) or len(known.dense) != len(prior.dense):
            raise ValueError(f"{len(known.weights)} inputs; expected {len(prior.weights)}")
        if list(slots) != sorted(set(slots)) or (slots and slots[-1] >= SLOTS):
            raise ValueError("slots out of order or range")
        # The comparisons are false for NaN.
        if not all(abs(weight) <= _LARGEST_WEIGHT for weight in (*known.weights, *means)):
            raise ValueError("a weight is too large or not a number")
        first = zip(known.dense, prior.dense, strict=True)
        if not all(0.0 < variance <= prior.words for variance in variances):
            raise ValueError("a variance of a word is not above 0, too large or not a number")
        if not all(0.0 < variance <= most for variance, most in first):
            raise ValueError("a variance is not above 0, too large or not a number")
        head = cls(prior)
        head.count, head._weights, head._dense = known.count, list(known.weights), list(known.dense)
        head._means = dict(zip(slots, means, strict=True))
        head._variances = dict(zip(slots, variances, strict=True))
        return head


def slots_of(hashes: Sequence[int]) -> list[int]:
    """Return the slots of the words with these hashes, and of each pair of neighbours."""
    mask = SLOTS - 1
    slots = [one & mask for one in hashes]
    slots += [(one * _PAIR + other) >> 7 & mask for one, other in pairwise(hashes)]
    return slots


def _narrowed(variance: float, known: float, first: float) -> float:
    """Return a variance after a step that reduced it by the share `known`, which is below 1."""
    return max(variance - variance * known, first * _LEAST_SHARE)
