"""Step 10, second half: a model that predicts each matured example, then learns from it (prequential).

It is a mixture of three experts: a linear and an additive one, which take a step with every example, and trees, which
are refitted on the latest examples. Only the learner role imports this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.array_bytes import to_bytes
from models.config import EXPERTS, Learning
from models.example import Example
from models.metrics import Window
from models.scoring import AMOUNT, LARGEST_VERSION, MIXTURE, Snapshot, Trees, cut
from streams.errors import Poison

from .additive import Additive
from .boosted import fit
from .drift import Drift, DriftState
from .lagged_experts import CopyState, LaggedExperts
from .linear import Linear, LinearState
from .mixture import MixingState, Mixture
from .replay_buffer import Item, Replay, Waiting
from .task import Amount, Binary, Task, TaskState, restore_state

# The first fit of trees comes after so many examples; each later one after a fifth of all since the last drift.
_FIRST_FIT: Final = 500
_FIT_SHARE: Final = 5
_LONGEST_FIT: Final = 10_000

# The mixture can learn nothing from experts that have seen fewer examples.
_FIRST_COPY: Final = 25

# After a drift, trees learn from so many of the latest examples: about as many as it takes to detect one.
_AFTER_DRIFT: Final = 500

_FORMAT: Final = 6
DEFAULT: Final = Learning()
_LARGEST_WINDOW: Final = 1 << 20
_LATEST_MS: Final = 7_258_118_400_000  # 2200


class Learned(NamedTuple):
    """An example that was just learned, and the score that the model gave it before."""

    example: Item
    score: float


class _WindowState(msgspec.Struct):
    count: int
    size: int
    scores: bytes
    labels: bytes


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """All that a learner needs to continue as if undisturbed, besides its snapshot and the examples it reads again.

    Those are the examples from `earliest` on.
    """

    format: int
    model: str
    version: int
    taken: int
    examples: int
    positives: int
    linear: LinearState
    additive_squares: bytes
    mixing: MixingState
    lag: list[CopyState]
    drift: DriftState
    drifts: int
    clock: int
    halvings: int
    left_out: int
    cut: tuple[int, int]
    fresh: int
    next_fit: int
    task: TaskState
    window: _WindowState
    earliest: dict[int, int]


class Learner:
    """Learns one model, deterministically: the same examples give the same bits."""

    def __init__(
        self, model: str, features: Sequence[str], learning: Learning = DEFAULT, *, amounts: bool = False
    ) -> None:
        self.model = model
        self.task: Task = Amount() if amounts else Binary()
        self.features = tuple(features)
        self.learning = learning
        self.version = 0
        self.taken = 0  # examples received; those that are not due yet are not learned
        self.examples = 0
        self.positives = 0
        self.window = Window()
        self.earliest: dict[int, int] = {}  # partition -> where a restored learner begins to `recall`
        self._linear = Linear(
            self.features, memory=learning.linear_memory, largest=self.task.largest, amounts=amounts
        )
        self._additive = Additive(self.features, rate=learning.additive_rate or self.task.additive_rate)
        self._trees = Trees.none()
        self._mixing = Mixture(self.task, learning.experts)
        self._lag = LaggedExperts()
        self._drift = Drift()
        self._waiting = Waiting()
        self._replay = Replay(len(self.features) if "trees" in learning.experts else 0)
        self._fresh = 0  # examples since the last drift
        self._next_fit = _FIRST_FIT

    @property
    def ignored(self) -> int:
        """Return how many values of features were NaN, infinite or too large."""
        return self._linear.ignored

    @property
    def waiting(self) -> int:
        """Return how many examples are known but not settled."""
        return len(self._waiting)

    @property
    def clock(self) -> int:
        """Return the latest time at which an example became known, ms since the epoch."""
        return self._waiting.clock

    @property
    def drifts(self) -> int:
        """Return how many drifts there were."""
        return self._drift.found

    def learn(self, example: Example, partition: int = 0, offset: int = 0) -> list[Learned]:
        """Take one example, known at its `label_time`, and learn those that are settled by then, in order of deadline.

        `partition` and `offset` are its place in the topic. Raise Poison if it is an example of another model.
        """
        item = self._item(example, partition, offset)
        self.taken += 1
        halvings = self._waiting.halvings
        self._waiting.put(item, example.label_time)
        if self._waiting.halvings > halvings:
            self._replay.choose(self._waiting)
        return [Learned(item, self._learn(item)) for item in self._waiting.due()]

    def recall(self, example: Example, partition: int, offset: int) -> None:
        """Take again an example that came before the snapshot from which this learner was restored."""
        item = self._item(example, partition, offset)
        if not self._waiting.chosen(item.key):
            return
        if not self._waiting.settled(item):
            self._waiting.put(item, 0)
        elif "trees" in self.learning.experts:
            self._replay.add(item)

    def snapshot(self, created: int, applied: Mapping[str, int] | None = None) -> Snapshot:
        """Return the next version: weights with the scaling folded in, and the state to continue from.

        `created` in milliseconds since the epoch; `applied`: partition -> the last offset taken.
        """
        self.version += 1
        bias, weights = self._linear.folded()
        bias_of_all, *weights_of_all = self._mixing.published(len(self._trees) > 0)
        return Snapshot(
            model=self.model,
            version=self.version,
            created=created,
            kind=AMOUNT if self.task.amounts else MIXTURE,
            features=self.features,
            bias=bias,
            weights=weights,
            examples=self.examples,
            metrics=self.metrics(),
            state=self._state(),
            applied=dict(applied or {}),
            mixing=(bias_of_all + self._offset(), *weights_of_all),
            table=to_bytes(self._additive.table),
            trees=self._trees.packed(),
            typical=self._linear.means(),
        )

    def metrics(self) -> dict[str, float]:
        """Return prequential figures over the window of the latest examples, counts, and weights of the experts."""
        counts = {
            "taken": self.taken,
            "positives": self.positives,
            "ignored": self.ignored,
            "waiting": self.waiting,
            "left_out": self._waiting.left_out,
            "drifts": self.drifts,
        }
        weights = zip(EXPERTS, self._mixing.weights[1:-1].tolist(), strict=True)
        return {
            **self.task.figures(*self.window.kept()),
            **{name: float(count) for name, count in counts.items()},
            **{f"weight.{name}": weight for name, weight in weights},
            "cohort_deviation": self._mixing.deviation,
        }

    @classmethod
    def restore(
        cls,
        snapshot: Snapshot,
        features: Sequence[str],
        learning: Learning = DEFAULT,
        *,
        amounts: bool = False,
    ) -> Learner:
        """Restore from a snapshot; the caller then has to `recall` the examples from `earliest` up to those applied.

        Features are matched by name: a new one starts untrained, a removed one is dropped. Raise Poison if the state
        is not valid.
        """
        try:
            known = msgspec.msgpack.decode(snapshot.state, type=_State)
            if known.format != _FORMAT:
                raise ValueError(f"expected format {_FORMAT}, got {known.format}")
            if (snapshot.kind == AMOUNT) != amounts:
                raise ValueError(f"it is of the kind {snapshot.kind!r}")
            learner = cls(known.model, features, learning, amounts=amounts)
            learner._restore(known, snapshot)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise Poison(f"not the state of a learner: {error}") from error
        return learner

    def _learn(self, item: Item) -> float:
        task, x = self.task, item.x.astype(np.float64)
        logit = self._linear.logit(x.tolist())
        logits = self._logits(x, logit)
        mixed = self._mixing.logit(logits)
        score = task.prediction(mixed)
        self.window.add(item.label, score)
        self.examples += 1
        self.positives += item.label > 0

        target, mean = task.target(item.label), task.mean(mixed)
        slope = task.mean(logits[1]) - target
        task.update(item.label, mean)
        self._mix(item, x, logits, target)
        self._linear.learn(target, task.dispersion)
        self._additive.learn(x, slope)
        if "trees" in self.learning.experts:
            self._replay.add(item)
            self._refit()
        if self._drift.add(task.surprise(score, item.label), item.due):
            self._on_drift()
        return score

    def _mix(self, item: Item, x: NDArray[np.float64], logits: NDArray[np.float64], target: float) -> None:
        """Learn the weights of the mixture.

        If the task is `lagged`, learn from what the experts would have said when the example opened, and nothing if
        no copy is as old.
        """
        horizon = item.due - item.opened
        if self.task.lagged:
            then = self._lag.logits(x, self._additive.seeds, item.opened, self.task.largest)
            if self.examples > _FIRST_COPY and self._lag.wanted(item.due, horizon):
                self._lag.copy(item.due, *self._linear.folded(), self._additive.table[0])
            if then is None:
                return
            logits = self._together(*then, float(logits[2]))
        self._mixing.learn(logits, target, item.due, horizon)

    def _logits(self, x: NDArray[np.float64], first: float) -> NDArray[np.float64]:
        """Return the logit of each expert, float64[3]; `first`: that of the linear one."""
        found = (first, self._additive.correction(x), self._trees.logit(x) if len(self._trees) else 0.0)
        return self._together(*(float(cut(one, self.task.largest)) for one in found))

    def _together(self, linear: float, table: float, trees: float) -> NDArray[np.float64]:
        """Return the logit of each expert, float64[3], from the terms of `models.scoring.scorer.logit`.

        The table corrects the linear expert, except for amounts. Until there are trees, the mean of the other two
        stands for them.
        """
        additive = table if self.task.amounts else linear + table
        return np.array([linear, additive, trees if len(self._trees) else 0.5 * (linear + additive)])

    def _refit(self) -> None:
        self._fresh += 1
        if self._fresh >= self._next_fit:
            self._next_fit = self._fresh + min(max(_FIRST_FIT, self._fresh // _FIT_SHARE), _LONGEST_FIT)
            x, labels = self._replay.sample()
            targets = np.array([self.task.target(label) for label in labels.tolist()], np.float32)
            self._trees = fit(x, targets, self.task.objective)

    def _offset(self) -> float:
        """Return what to add to a logit of the experts for that of a prediction: the log of the unit of amounts."""
        return math.log(self.task.state.unit) if self.task.amounts else 0.0

    def _on_drift(self) -> None:
        """After a drift: learn fast, and only from the latest examples."""
        self._linear.reset_step_size()
        self._additive.reset_step_size()
        self._mixing.reset_step_size()
        self._lag.clear()
        self._trees = Trees.none()
        self._replay.shrink(_AFTER_DRIFT)
        self._fresh, self._next_fit = 0, _FIRST_FIT

    def _item(self, example: Example, partition: int, offset: int) -> Item:
        if example.model != self.model:
            raise Poison(f"example {example.id} is for {example.model}, not for {self.model}")
        self.task.check(example)
        if len(example.features) != len(self.features):
            have, want = len(example.features), len(self.features)
            raise Poison(f"example {example.id} has {have} features; expected {want}")
        if not all(0 <= time <= _LATEST_MS for time in (example.opened, example.due, example.label_time)):
            raise Poison(f"example {example.id}: a time is before 1970 or after 2200")
        return Item.of(example, partition, offset)

    def _state(self) -> bytes:
        """Return plain data (MessagePack)."""
        waiting = self._waiting
        state = _State(
            format=_FORMAT,
            model=self.model,
            version=self.version,
            taken=self.taken,
            examples=self.examples,
            positives=self.positives,
            linear=self._linear.state(),
            additive_squares=to_bytes(self._additive.squares),
            mixing=self._mixing.state(),
            lag=self._lag.state(),
            drift=self._drift.state(),
            drifts=self._drift.found,
            clock=waiting.clock,
            halvings=waiting.halvings,
            left_out=waiting.left_out,
            cut=self._replay.cut,
            fresh=self._fresh,
            next_fit=self._next_fit,
            task=self.task.state,
            window=msgspec.convert(self.window.state(), _WindowState),
            earliest=self._replay.earliest(waiting),
        )
        return msgspec.msgpack.encode(state)

    def _restore(self, known: _State, snapshot: Snapshot) -> None:
        """Raise ValueError if learning from this state would fail, or make a snapshot that is refused."""
        _check_numbers(known)
        same = snapshot.features == self.features
        snapshot = snapshot.aligned(self.features)
        self.version, self.taken = known.version, known.taken
        self.examples, self.positives = known.examples, known.positives
        self._linear.restore(known.linear)
        squares = np.frombuffer(known.additive_squares, "<f4").astype(np.float32)
        self._additive.restore(np.frombuffer(snapshot.table, "<f4").astype(np.float32), squares)
        restore_state(self.task, known.task)
        self._mixing.restore(known.mixing)
        self._trees = Trees.unpacked(snapshot.trees, len(self.features))
        if same:
            self._lag.restore(known.lag, len(self.features))
        self._drift.restore(known.drift)
        self._drift.found = known.drifts
        self._waiting.clock, self._waiting.halvings = known.clock, known.halvings
        self._waiting.left_out = known.left_out
        self._replay.cut = known.cut
        self._fresh, self._next_fit = known.fresh, known.next_fit
        self.window = Window.restore(**msgspec.structs.asdict(known.window))
        if not self.task.are_valid(*self.window.kept()):
            raise ValueError("a label or a score of the window is not valid")
        self.earliest = known.earliest


def _check_numbers(known: _State) -> None:
    counts: tuple[Any, ...] = (
        known.version, known.taken, known.examples, known.positives, known.drifts, known.clock, known.left_out,
        known.fresh, known.next_fit, known.window.count, *known.earliest, *known.earliest.values(),
    )  # fmt: skip
    if not all(0 <= count <= LARGEST_VERSION for count in counts):
        raise ValueError("a count is negative or too large")
    if not 0 <= known.halvings <= 52 or not all(abs(part) <= LARGEST_VERSION for part in known.cut):
        raise ValueError("the figures of the examples that wait are not valid")
    if not 0 < known.window.size <= _LARGEST_WINDOW:
        raise ValueError(f"a window of {known.window.size} examples")
