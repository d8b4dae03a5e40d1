"""The engine as docs/steps/ defines it, one event at a time, in plain Python."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.reference import columns as kinds
from tests.reference import sql
from tests.reference.declared import Model, Policy, declare
from tests.reference.decode import DeadLetter, Decoder, Event
from tests.reference.hashing import hash64
from tests.reference.names import check_names
from tests.reference.record import Log, Record
from tests.reference.rows import Example, Fired, Moment, Output, Partition, Row
from tests.reference.scoring import Snapshot, float32, score, vector


class Reference:
    """Feed it records; read `outputs`, `dead_letters` and `dump()`."""

    def __init__(
        self,
        features_yaml: Any,
        models_yaml: Any,
        policies_yaml: Any,
        schemas: Mapping[int, Mapping[str, Any]],
        snapshots: Mapping[str, Snapshot] | None = None,
        layout: int = 0,
    ) -> None:
        self.declared = declare(features_yaml, models_yaml, policies_yaml)
        self.decoder = Decoder(self.declared, schemas)
        self.snapshots = dict(snapshots or {})
        self.layout = layout
        self.partitions: dict[int, Partition] = {}
        self.dead_letters: list[dict[str, Any]] = []
        self.conditions = {policy.name: sql.parse(policy.when) for policy in self.declared.policies}
        self.exits = {p.name: sql.parse(p.exit) for p in self.declared.policies if p.exit is not None}
        self.opens_if = {m.name: sql.parse(m.condition) for m in self.declared.models if m.condition}
        self.deadline_columns = [column for column in self.declared.columns if column.kind == "deadline"]
        check_names(self.declared)

    # --- in and out

    def feed(self, records: Log | Iterable[Record]) -> None:
        """Process records that all wait together, to the last one."""
        listed = (
            [r for part in records.values() for r in part] if isinstance(records, dict) else list(records)
        )
        for number in sorted({record.partition for record in listed}):
            partition = self.partitions.setdefault(number, Partition(number))
            queues = [self.decoded(listed, topic, number) for topic in self.declared.topics]
            for event in merged(queues):
                self._take(partition, event)

    def advance(self, number: int, watermark_ms: int) -> None:
        """Raise the watermark of a partition without an event, as an idle source does."""
        self._raise(self.partitions.setdefault(number, Partition(number)), watermark_ms)

    @property
    def outputs(self) -> list[Output]:
        """Partition by partition, in the order in which each of them put them out."""
        return [output for number in sorted(self.partitions) for output in self.partitions[number].outputs]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        return [output.fields for output in self.outputs if output.schema == "decision"]

    @property
    def examples(self) -> list[dict[str, Any]]:
        return [output.fields for output in self.outputs if output.schema == "training_example"]

    @property
    def view_names(self) -> list[str]:
        return [name for column in self.declared.columns for name in kinds.view_names(column)]

    def dump(self) -> dict[tuple[int, bytes], dict[str, Any]]:
        """Every row's words by name, in layout order, by (partition, key)."""
        return {
            (number, key): self.words(row)
            for number, partition in sorted(self.partitions.items())
            for key, row in sorted(partition.rows.items())
        }

    def words(self, row: Row) -> dict[str, Any]:
        words: dict[str, Any] = {"clock": row.clock}
        words |= {f"applied.{topic}": offset for topic, offset in row.applied.items()}
        words |= {"ids.count": row.id_count}
        words |= {f"ids[{index}]": number for index, number in enumerate(row.ids)}
        for name, column in row.columns.items():
            words |= {f"{name}.{word}": value for word, value in column.items()}
        for model in self.declared.models:
            example = vars(row.examples[model.name])
            without = {"sum": model.amount is None, "same": model.same is None}
            words |= {f"model.{model.name}.{word}": v for word, v in example.items() if not without.get(word)}
        for name, fired in row.policies.items():
            words |= {f"policy.{name}.{word}": value for word, value in vars(fired).items()}
        return words

    # --- one event

    def decoded(self, records: list[Record], topic: str, number: int) -> list[Event]:
        """The events of one topic of one partition; what does not decode joins the dead letters."""
        events = []
        for record in records:
            if record.topic == topic and record.partition == number:
                try:
                    events.append(self.decoder.decode(record))
                except DeadLetter as reason:
                    where = {"topic": topic, "partition": number, "offset": record.offset}
                    self.dead_letters.append({**where, "reason": str(reason)})
        return events

    def _take(self, partition: Partition, event: Event) -> None:
        """The nine steps of the contract."""
        # 1
        partition.highest = max(event.time, partition.highest or event.time)
        self._raise(partition, partition.highest - self.declared.lateness_ms)
        # 2
        row = partition.rows.setdefault(event.key, self._new_row(event.key))
        if event.offset <= row.applied[event.topic]:
            return
        row.applied[event.topic] = event.offset
        if row.clock and self._watermark(partition) - row.clock > self.declared.expire_after_ms:
            applied, row = row.applied, self._new_row(event.key)
            row.applied = applied
            partition.rows[event.key] = row
        # 3
        if event.message_id in row.ids[: row.id_count]:
            return
        row.ids[row.id_count % self.declared.message_ids] = event.message_id
        row.id_count += 1
        # 4
        previous = row.clock
        row.clock = max(row.clock, event.time)
        late = event.time < previous
        if previous and row.clock > previous:
            self._decay(row, row.clock - previous)
        # 5
        for model in self.declared.models:
            example = row.examples[model.name]
            if example.opened and event.kind in model.proof and event.time > example.opened:
                if model.same and event.fields[model.same] != example.same:
                    continue
                if model.amount:
                    amount = event.fields[model.amount]
                    if event.time <= example.due and not math.isnan(amount):
                        example.sum += amount
                elif event.time <= example.due:
                    self._close(partition, row, model, model.proof_label, event.time)
                else:
                    self._close(partition, row, model, 1 - model.proof_label, example.due)
        # 6
        self._fold(partition, row, event, late)
        # 7
        features = self.features(row, row.clock)
        scores = self.scores(features)
        # 8
        for index, model in enumerate(self.declared.models):
            due = event.time + model.within_ms
            closed = not row.examples[model.name].opened
            if event.kind in model.open and not late and closed and due > self._watermark(partition):
                same = event.fields[model.same] if model.same else 0.0
                if math.isnan(same) or not self._opens(model, row, event):
                    continue
                packed = tuple(float32(value) for value in features)
                version, score = self._version(model.name), scores[model.name]
                row.examples[model.name] = Example(event.time, due, score, version, packed, 0.0, same)
                self._set_deadline(partition, row, len(self.deadline_columns) + index, due)
        # 9
        policies = [policy for policy in self.declared.policies if event.kind in policy.on]
        if policies:
            stem = f"{event.topic}:{event.partition}:{event.offset}"
            views = self.views(row, row.clock)
            moment = Moment(row.clock, event.kind, partition.number, event, stem, views, scores)
            self._decide(partition, row, policies, moment)

    def _opens(self, model: Model, row: Row, event: Event) -> bool:
        """Whether the model's condition is true of the row with the event in it."""
        if model.name not in self.opens_if:
            return True
        known = self.views(row, row.clock) | {f"event.{name}": value for name, value in event.fields.items()}
        return sql.is_true(self.opens_if[model.name], known)

    def _new_row(self, key: bytes) -> Row:
        return Row(
            key,
            applied=dict.fromkeys(self.declared.topics, -1),
            columns={column.name: kinds.new_words(column) for column in self.declared.columns},
            examples={model.name: self._no_example() for model in self.declared.models},
            policies={policy.name: Fired() for policy in self.declared.policies},
            ids=[0] * self.declared.message_ids,
        )

    def _no_example(self) -> Example:
        return Example(features=(0.0,) * len(self.declared.features))

    def _decay(self, row: Row, elapsed_ms: int) -> None:
        for column in self.declared.columns:
            if column.kind == "decayed":
                words = row.columns[column.name]
                words["x"] = kinds.decay_row(words["x"], elapsed_ms, column.half_life_ms)

    def _fold(self, partition: Partition, row: Row, event: Event, late: bool) -> None:
        for column in self.declared.columns:
            if event.kind not in column.on | column.clear_on:
                continue
            words = row.columns[column.name]
            if column.kind == "distinct" and column.field is not None and column.field in event.bits:
                kinds.fold_bits(words, event.bits[column.field])
                continue
            value = event.fields[column.field] if column.field else 1.0
            watermark = self._watermark(partition)
            kinds.fold(column, words, event.kind, value, event.time, row.clock, late, watermark)
            if column.kind == "deadline" and words["due"]:
                index = self.deadline_columns.index(column)
                self._set_deadline(partition, row, index, int(words["due"]))

    # --- deadlines

    def _set_deadline(self, partition: Partition, row: Row, index: int, due: int) -> None:
        heapq.heappush(partition.deadlines, (due, hash64(row.key), index, row.key))

    def _watermark(self, partition: Partition) -> int:
        assert partition.watermark is not None  # an event has raised it
        return partition.watermark

    def _raise(self, partition: Partition, watermark: int) -> None:
        """Raise the watermark, then fire what is due."""
        partition.watermark = max(watermark, partition.watermark or watermark)
        while partition.deadlines and partition.deadlines[0][0] <= partition.watermark:
            due, _, index, key = heapq.heappop(partition.deadlines)
            self._fire(partition, partition.rows[key], index, due)

    def _fire(self, partition: Partition, row: Row, index: int, due: int) -> None:
        """Fire the deadline at `index` of the layout, if the row still holds it."""
        if index >= len(self.deadline_columns):
            model = self.declared.models[index - len(self.deadline_columns)]
            if row.examples[model.name].due == due:
                self._close(partition, row, model, 1 - model.proof_label, due)
            return
        column = self.deadline_columns[index]
        if row.columns[column.name]["due"] != due:
            return
        row.columns[column.name]["due"] = 0
        now = max(row.clock, due)
        cause = f"deadline.{column.name}"
        policies = [policy for policy in self.declared.policies if cause in policy.on]
        scores = self.scores(self.features(row, now))
        stem = f"{row.customer}:{column.name}:{due}"
        moment = Moment(now, cause, partition.number, None, stem, self.views(row, now), scores)
        self._decide(partition, row, policies, moment)

    def _close(self, partition: Partition, row: Row, model: Model, label: int, label_time: int) -> None:
        example = row.examples[model.name]
        fields = {
            "id": f"{row.customer}:{model.name}:{example.opened}",
            "customer": row.customer,
            "model": model.name,
            "label": 0 if model.amount else label,
            "opened": example.opened,
            "due": example.due,
            "label_time": label_time,
            "score": example.score,
            "snapshot": example.snapshot,
            "features": list(example.features),
            "amount": example.sum if model.amount else None,
        }
        partition.outputs.append(Output("training_example", fields))
        row.examples[model.name] = self._no_example()

    # --- what can be seen of a row

    def views(self, row: Row, now: int) -> dict[str, float]:
        seen: dict[str, float] = {}
        for column in self.declared.columns:
            seen |= kinds.views(column, row.columns[column.name], row.clock, now)
        return seen

    def features(self, row: Row, now: int) -> list[float]:
        """The shared feature vector in float64."""
        return vector(self.declared.features, self.views(row, now), now)

    def scores(self, features: Sequence[float]) -> dict[str, float]:
        return {m.name: score(self.snapshots.get(m.name), features) for m in self.declared.models}

    def _version(self, model: str) -> int:
        return self.snapshots[model].version if model in self.snapshots else 0

    # --- policies

    def _decide(self, partition: Partition, row: Row, policies: list[Policy], moment: Moment) -> None:
        event_fields = moment.event.fields if moment.event else {}
        every_field = {about.name: event_fields.get(about.name, math.nan) for about in self.declared.fields}
        known = moment.views | moment.scores | {f"event.{name}": v for name, v in every_field.items()}
        for policy in policies:
            fired = row.policies[policy.name]
            if policy.name in self.exits and sql.is_true(self.exits[policy.name], known):
                fired.inside = 0
            if not sql.is_true(self.conditions[policy.name], known) or fired.inside:
                continue
            if fired.last_fired and moment.now - fired.last_fired < policy.cooldown_ms:
                continue
            fired.last_fired = moment.now
            fired.inside = 1 if policy.name in self.exits else 0
            event = moment.event
            fields = {
                "id": f"{moment.id_stem}:{policy.name}",
                "customer": row.customer,
                "policy": policy.name,
                "kind": policy.kind,
                "time": moment.now,
                "cause": moment.cause,
                "topic": event.topic if event else "",
                "partition": moment.partition,
                "offset": event.offset if event else -1,
                "receipt": {
                    "layout": self.layout,
                    "snapshots": [self._version(model.name) for model in self.declared.models],
                    "scores": list(moment.scores.values()),
                    "fields": list(every_field.values()),
                    "values": list(moment.views.values()),
                },
            }
            partition.outputs.append(Output("decision", fields))


def merged(queues: list[list[Event]]) -> Iterator[Event]:
    """The earliest of the heads, ties by topic order, until all queues (one a topic) are empty."""
    taken = [0] * len(queues)
    while True:
        heads = [
            (queue[taken[topic]].time, topic)
            for topic, queue in enumerate(queues)
            if taken[topic] < len(queue)
        ]
        if not heads:
            return
        _, topic = min(heads)
        yield queues[topic][taken[topic]]
        taken[topic] += 1
