"""The pass as the engine runs it: arrays of a partition in, `pipeline.step.run` over them, outputs in the outbox."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import schemas
from config.located_yaml import Located, duration_ms, load
from customers.row.columns import Features, load_features
from customers.row.fold import look_at, view
from customers.row.layout import Layout, Migration
from decisions.conditions.compiler import Condition, compile_condition
from decisions.conditions.names import Names, suggestion
from decisions.policies import policy as policy_files
from decisions.policies.program import Program as PolicyProgram
from models import config as model_config
from models.scoring.scorer import Weights
from models.scoring.snapshot import no_weights
from streams.avro.compiler import KIND, MESSAGE_ID, MODES, TIME, Capture, Program, compile_program
from streams.engine.partition import Partition
from streams.kafka.producer import Outbox
from streams.kernels.hashing import hash_text

from .plan import EXAMPLES, OUTPUT_TOPICS, build_plan
from .step import Events, Out, Room, Table, run
from .warmup import exercise


@dataclass(frozen=True, slots=True)
class Config:
    """The three files that say what is known, learned and done."""

    features: Features
    models: model_config.ModelConfig
    policies: tuple[policy_files.Policy, ...]
    layout: Layout
    names: Names
    opens: Mapping[str, Condition]  # by model: what must be true for it to open


def event_kinds() -> dict[str, tuple[str, ...]]:
    """The enum symbols of every event schema: what `on` may name."""
    return {
        name: next(tuple(m["type"]["symbols"]) for m in schemas.schema(name)["fields"] if m["name"] == "kind")
        for name in sorted(schemas.EVENTS)
    }


def load_config(folder: str | Path) -> Config:
    """Read and check `features.yaml`, `models.yaml` and `policies.yaml`. Raises `ConfigError`."""
    folder = Path(folder)
    features = load_features(folder / "features.yaml", event_kinds())
    models = model_config.load_models(folder / "models.yaml")
    seen = {model.name: models.names for model in models.models}
    bare = Layout(features, seen, [])
    names = Names(
        views=list(bare.view_index),
        scores=[model.name for model in models.models],
        fields=[field.name for field in features.fields],
        kinds=features.kinds,
        deadlines=bare.deadline_columns,
        strings=frozenset(_string_fields(features)),
    )
    opens = _check_models(folder / "models.yaml", names, features)
    policies = policy_files.load(folder / "policies.yaml", names, hash_text)
    kept = {model.name: model.kept for model in models.models}
    layout = Layout(features, seen, [policy.name for policy in policies], kept)
    return Config(features, models, policies, layout, names, opens)


def _check_models(path: Path, names: Names, features: Features) -> dict[str, Condition]:
    """The views, fields and event kinds that the models name must be known, and no row may go before its example.

    Returns what must be true for a model to open, of those that say so. It cannot ask for scores: what is learned
    would then depend on what was learned before.
    """
    top, views = load(path), names.views
    opens = {}
    for item in top["features"]:
        if "view" in item and item["view"] not in views:
            raise item.error(
                f"unknown view {item['view']!r}; {suggestion(item['view'], views, 'a view')}", "view"
            )
    for name, spec in top["models"].items():
        for key in ("open", "proof"):
            for kind in spec[key]:
                if kind not in features.kinds:
                    expected = ", ".join(features.kinds)
                    raise spec.error(f"{key}: unknown event kind {kind!r}; expected one of {expected}", key)
        if duration_ms(spec, "within") >= features.expire_after_ms:
            raise spec.error("within: expected less than expire_after of features.yaml", "within")
        for key in ("amount", "same"):
            if key in spec:
                _check_field(spec, key, names, features)
                _check_read(spec, key, features)
        if "if" in spec:
            opens[name] = _opening(spec, names)
    return opens


def _opening(spec: Located, names: Names) -> Condition:
    condition = compile_condition(
        spec["if"], names, lambda message: spec.error(f"if: {message}", "if"), hash_text
    )
    for read in condition.inputs:
        if read.type == "score":
            raise spec.error(f"if: {read} is a score; expected columns and fields of the event only", "if")
    return condition


def _check_read(spec: Located, key: str, features: Features) -> None:
    """The field is read from the events that need it, or the model would never have an example."""
    found = features.fields[features.field_index(spec[key])]
    kinds_of = event_kinds()
    for kind in [*spec["proof"], *(spec["open"] if key == "same" else [])]:
        topics = [source.topic for source in features.sources if kind in kinds_of[source.schema]]
        if not any(topic in found.paths for topic in topics):
            raise spec.error(
                f"{key}: {found.name} is not read from {kind} events; see fields of features.yaml", key
            )


def _check_field(spec: Located, key: str, names: Names, features: Features) -> None:
    """An amount is summed up, what is the same is compared: neither works with bits, and a string is no amount."""
    field = spec[key]
    if field not in names.fields:
        raise spec.error(f"{key}: unknown field {field!r}; {suggestion(field, names.fields, 'a field')}", key)
    if features.fields[features.field_index(field)].reduce == "bits":
        raise spec.error(f"{key}: expected a field that is one value, {field} is a set", key)
    if key == "amount" and f"event.{field}" in names.strings:
        raise spec.error(f"{key}: expected a number, {field} is a string", key)


def _string_fields(features: Features) -> list[str]:
    """Fields (and the columns that keep their value) whose number is the hash of a string."""
    found = []
    for field in features.fields:
        for source in features.sources:
            path = field.paths.get(source.topic)
            if path is None or field.reduce != "last":
                continue
            for member in schemas.schema(source.schema)["fields"]:
                kinds = member["type"] if isinstance(member["type"], list) else [member["type"]]
                if member["name"] == path and "string" in kinds:
                    found.append(field.name)
    columns = [column.name for column in features.columns if column.kind == "value" and column.field in found]
    return [f"event.{name}" for name in found] + columns


def decode_programs(features: Features) -> list[Program]:
    """One Avro program for each source topic."""
    kinds = {kind: number for number, kind in enumerate(features.kinds)}
    programs = []
    for source in features.sources:
        captures = {"time": Capture(TIME), "kind": Capture(KIND)}
        captures[schemas.EVENTS[source.schema]] = Capture(MESSAGE_ID)
        for number, field in enumerate(features.fields):
            if source.topic in field.paths:
                captures[field.paths[source.topic]] = Capture(
                    number, MODES[field.reduce], field.low, field.high
                )
        writers = {
            schemas.schema_id(source.schema, version): schemas.schema(source.schema, version)
            for version in schemas.versions(source.schema)
        }
        reader = schemas.schema(source.schema)
        programs.append(compile_program(writers, reader, captures, kinds, len(features.fields)))
    return programs


@dataclass(slots=True)
class State:
    """What a partition carries besides rows: the snapshots in force."""

    weights: Weights


class LivePass:
    """Implements `streams.engine.engine.Pass` and `streams.durability.commit_cycle.Adoption` for the customers' rows.

    `snapshots[model][version]` are those that the models topic gave, `newest[model]` the version to take up next.
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
        # 3 keys of at most 1024 bytes, the names, the numbers of the receipt
        self.largest_output_bytes = (
            4096 + 8 * longest + 8 * (views + self.fields + 4 * len(names)) + 4 * features
        )
        self._room = Room(
            np.full(features, np.nan), np.zeros(features), np.full(len(self.models), np.nan),
            np.zeros(len(self.models) + 1, np.uint8), np.zeros(self.policies.width),
            np.zeros(self.policies.depth + 1), np.zeros(views), np.full((1, max(1, self.fields)), np.nan),
            np.zeros(self.fields),
        )  # fmt: skip

    def new_state(self) -> State:
        """No snapshot in force: every score is NaN."""
        return State(no_weights(len(self.models), len(self.config.models.features)))

    def run(self, partition: Partition, first: int, count: int, outbox: Outbox) -> int:
        """See `streams.engine.engine.Pass.run`."""
        # one event may close an example of each model and fire every policy
        outbox.ensure(self.largest_output_bytes, len(self.models) + len(self.config.policies) + 1)
        inbox, index, store = partition.inbox, partition.index, partition.rows.store
        events = Events(
            inbox.times, inbox.kinds, inbox.topics, inbox.offsets, inbox.message_ids, inbox.slots, inbox.fields,
            inbox.order,
        )  # fmt: skip
        table = Table(
            partition.number, store.rows, store.bits, store.floats, store, index.hashes, index.spans,
            index.arena, partition.dirty, partition.changed, partition.seen, partition.counts, partition.wake,
            partition.heap_times, partition.heap_slots, partition.clocks,
        )  # fmt: skip
        out = Out(
            outbox.data, outbox.at, outbox.size, outbox.slot, outbox.topic, outbox.label, outbox.used, self.counters,
            self.largest_output_bytes,
        )  # fmt: skip
        return int(run(events, first, count, table, self.plan, partition.state.weights, out, self._room))

    def label(self, topic: int, label: int) -> str:
        """The model's or the policy's name."""
        return self.models[label] if topic == EXAMPLES else self.config.policies[label].name

    def dead_letter(
        self, topic: str, partition: int, offset: int, reason: str, key: bytes | None, value: bytes | None, time_ms: int
    ) -> bytes:  # fmt: skip
        """The encoded dead letter."""
        return schemas.encode(
            "dead_letter",
            {"topic": topic, "partition": partition, "offset": offset, "reason": reason, "key": key, "value": value,
             "time": max(0, time_ms)},
        )  # fmt: skip

    def migration(self, description: bytes) -> Migration:
        """How rows of an older layout become rows of this one."""
        return Migration(self.layout, description)

    # -- snapshots ---------------------------------------------------------------------------------------

    def offer(self, snapshot: Any) -> None:
        """A verified snapshot from the models topic; the newest is taken up at the next commit cycle."""
        self.snapshots.setdefault(snapshot.model, {})[snapshot.version] = snapshot
        if snapshot.version > self.newest.get(snapshot.model, 0):
            self.newest[snapshot.model] = snapshot.version

    def in_force(self, partition: Partition) -> dict[str, int]:
        """Model versions that score this partition's events now."""
        versions = partition.state.weights.version.tolist()
        return {name: version for name, version in zip(self.models, versions, strict=True) if version}

    def offered(self, partition: Partition) -> dict[str, int]:
        """Model versions that will after this cycle."""
        return {**self.in_force(partition), **{n: v for n, v in self.newest.items() if n in self.models}}

    def adopt(self, partition: Partition, offered: Mapping[str, int]) -> None:
        """Put these versions in force (a version that is not known is left)."""
        weights = partition.state.weights
        for number, name in enumerate(self.models):
            snapshot = self.snapshots[name].get(offered.get(name, 0))
            if snapshot is not None and weights.version[number] != snapshot.version:
                snapshot.put(weights, number)

    # -- views -------------------------------------------------------------------------------------------

    def view_values(self, partition: Partition, slot: int, now_ms: float | None = None) -> dict[str, float]:
        """All views of one row by name, as of `now_ms` (the row's own clock if not given)."""

        rows = partition.rows.copy(np.array([slot]))
        bits = rows.view(np.int64)
        now = max(rows[0, 0], now_ms or 0.0)
        return {
            v.name: float(view(rows, bits, 0, v.opcode, v.word, v.parameter, now)) for v in self.layout.views
        }

    def packed_views(self, partition: Partition, slots: Any) -> list[bytes]:
        """What is stored of each row for readers: layout id, clock, then all views (8 bytes each)."""
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
        """A stored view by name, with its `time` in ms; empty when it is of another layout."""
        words = np.frombuffer(blob)
        if len(words) != 2 + len(self.layout.views) or words[:1].view(np.int64)[0] != self.layout.layout_id:
            return {}
        names = ["time", *(view.name for view in self.layout.views)]
        return dict(zip(names, words[1:].tolist(), strict=True))

    def warm(self) -> float:
        """Compile every kernel, or load it from the cache; returns the seconds it took."""
        started = time.perf_counter()
        exercise(self)
        return time.perf_counter() - started
