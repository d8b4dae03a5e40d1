"""The pass that the engine runs: `pipeline.step.run` over the arrays of a partition, with outputs to the outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import schemas
from customers.row import Migration, look_at, view
from decisions.policies import PolicyProgram
from models.scoring import Weights, no_weights
from streams.engine import Outbox, Partition

from .arrays import InboxArrays, OutboxArrays, PartitionArrays, Scratch
from .config import Config
from .decode_programs import decode_programs
from .plan import EXAMPLES, OUTPUT_TOPICS, build_plan
from .step import run


@dataclass(slots=True)
class State:
    """State of a partition besides its rows: the snapshots in force."""

    weights: Weights


class LivePass:
    """Implements `streams.engine.engine.Pass` and `streams.durability.control_row.Adoption` for the customers' rows.

    `snapshots[model][version]` holds the snapshots that the models topic delivered, `newest[model]` the version to
    adopt next.
    """

    outputs: Sequence[str] = OUTPUT_TOPICS

    def __init__(self, config: Config) -> None:
        self.config = config
        self.layout = config.layout
        self.policies = PolicyProgram.build(config.policies, config.names, list(config.opens.values()))
        gates = [*config.opens]
        self.plan = build_plan(config.features, config.layout, config.models, self.policies, gates)
        self.programs = decode_programs(config.features)
        self.fields = len(config.features.fields)
        self.default_row = config.layout.default_row
        self.deadline_words = self.plan.deadline_words
        self.expire_after_ms = config.features.expire_after_ms
        self.counters = np.zeros(4, np.int64)
        self.models = [model.name for model in config.models.models]
        self.snapshots: dict[str, dict[int, Any]] = {name: {} for name in self.models}
        self.newest: dict[str, int] = {}
        features = len(config.models.features)
        views = len(self.layout.views)
        names = [*self.models, *(policy.name for policy in config.policies)]
        longest = max((len(name) for name in names), default=0)
        # 3 keys of at most 1024 bytes, the names, and the numbers of the receipt
        self.largest_output_bytes = (
            4096 + 8 * longest + 8 * (views + self.fields + 4 * len(names)) + 4 * features
        )
        self._room = Scratch(
            np.full(features, np.nan), np.zeros(features), np.full(len(self.models), np.nan),
            np.zeros(len(self.models) + 1, np.uint8), np.zeros(self.policies.width),
            np.zeros(self.policies.depth + 1), np.zeros(views), np.full((1, max(1, self.fields)), np.nan),
            np.zeros(self.fields),
        )  # fmt: skip

    def new_state(self) -> State:
        """Return a state without a snapshot in force: every score is NaN."""
        return State(no_weights(len(self.models), len(self.config.models.features)))

    def run(self, partition: Partition, first: int, count: int, outbox: Outbox) -> int:
        """See `streams.engine.engine.Pass.run`."""
        # one event can close an example of each model and fire every policy
        outbox.ensure(self.largest_output_bytes, len(self.models) + len(self.config.policies) + 1)
        inbox, index, store = partition.inbox, partition.index, partition.rows.store
        events = InboxArrays(
            inbox.times, inbox.kinds, inbox.topics, inbox.offsets, inbox.message_ids, inbox.slots, inbox.fields,
            inbox.order,
        )  # fmt: skip
        table = PartitionArrays(
            partition.number, store.rows, store.bits, store.floats, store, index.hashes, index.spans,
            index.arena, partition.dirty, partition.changed, partition.seen, partition.counts, partition.wake,
            partition.heap_times, partition.heap_slots, partition.clocks,
        )  # fmt: skip
        out = OutboxArrays(
            outbox.data, outbox.at, outbox.size, outbox.slot, outbox.topic, outbox.label, outbox.used, self.counters,
            self.largest_output_bytes,
        )  # fmt: skip
        return int(run(events, first, count, table, self.plan, partition.state.weights, out, self._room))

    def label(self, topic: int, label: int) -> str:
        """Return the name of an output's model or policy."""
        return self.models[label] if topic == EXAMPLES else self.config.policies[label].name

    def dead_letter(
        self, topic: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None, time_ms: int
    ) -> bytes:  # fmt: skip
        """Encode a dead letter."""
        return schemas.encode(
            "dead_letter",
            {"topic": topic, "partition": partition, "offset": offset, "reason": reason, "key": key, "value": value,
             "time": max(0, time_ms)},
        )  # fmt: skip

    def migration(self, description: bytes) -> Migration:
        """Return the migration of rows of an older layout to this one."""
        return Migration(self.layout, description)

    # -- snapshots ---------------------------------------------------------------------------------------

    def offer(self, snapshot: Any) -> None:
        """Store a verified snapshot of the models topic. The next commit cycle adopts the newest."""
        self.snapshots.setdefault(snapshot.model, {})[snapshot.version] = snapshot
        if snapshot.version > self.newest.get(snapshot.model, 0):
            self.newest[snapshot.model] = snapshot.version

    def in_force(self, partition: Partition) -> dict[str, int]:
        """Return the model versions that score this partition's events now."""
        versions = partition.state.weights.version.tolist()
        return {name: version for name, version in zip(self.models, versions, strict=True) if version}

    def offered(self, partition: Partition) -> dict[str, int]:
        """Return the model versions that will score them after this cycle."""
        return {**self.in_force(partition), **{n: v for n, v in self.newest.items() if n in self.models}}

    def adopt(self, partition: Partition, offered: Mapping[str, int]) -> None:
        """Put these versions in force; a version that is not known changes nothing."""
        weights = partition.state.weights
        for number, name in enumerate(self.models):
            snapshot = self.snapshots[name].get(offered.get(name, 0))
            if snapshot is not None and weights.version[number] != snapshot.version:
                snapshot.put(weights, number)

    # -- views -------------------------------------------------------------------------------------------

    def view_values(self, partition: Partition, slot: int, now_ms: float | None = None) -> dict[str, float]:
        """Return all views of one row by name, as of `now_ms` (by default the row's own clock)."""

        rows = partition.rows.copy(np.array([slot]))
        bits = rows.view(np.int64)
        now = max(rows[0, 0], now_ms or 0.0)
        return {
            v.name: float(view(rows, bits, 0, v.opcode, v.word, v.parameter, now)) for v in self.layout.views
        }

    def packed_views(self, partition: Partition, slots: Any) -> list[bytes]:
        """Pack each row for readers: layout id, clock, then all views (8 bytes each)."""
        views = self.plan.views
        rows = partition.rows.copy(slots)
        packed = np.empty((len(slots), 2 + len(views.opcode)))
        packed.view(np.int64)[:, 0] = self.layout.layout_id
        packed[:, 1] = rows[:, 0]
        values = np.empty((len(slots), len(views.opcode)))
        look_at(rows, rows.view(np.int64), views.opcode, views.word, views.parameter, values)
        packed[:, 2:] = values
        size = 8 * packed.shape[1]
        data = packed.tobytes()
        return [data[i * size : (i + 1) * size] for i in range(len(slots))]

    def unpack_view(self, blob: bytes) -> dict[str, float]:
        """Return packed views by name, with their `time` in ms; empty if they are of another layout."""
        words = np.frombuffer(blob)
        if len(words) != 2 + len(self.layout.views) or words[:1].view(np.int64)[0] != self.layout.layout_id:
            return {}
        names = ["time", *(view.name for view in self.layout.views)]
        return dict(zip(names, words[1:].tolist(), strict=True))
