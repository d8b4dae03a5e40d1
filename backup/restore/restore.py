"""Restores a backup into an empty cluster. It checks everything before it writes anything.

Writing is idempotent, so an interrupted restore can start again. Rows and snapshots remain the newest of their keys
however often they are sent, the end of a topic shows how far it was filled, and the ledger is one transaction. The
restore records that it began in the committed offsets of its own group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

import schemas
from backup.analyst_state import PARTITION, clamped
from backup.chain import Chain
from backup.installation import Installation
from backup.ledger_tables import filled, write_table
from backup.topic_log import TIMEOUT_S, Cluster, Log
from serving.ledger import APPLIED, Ledger
from streams.durability import CONTROL_KEY
from streams.errors import Fatal, Retryable
from streams.kafka import committed

from .target_topics import Sink, TargetPartition, fill, look_at

GROUP = "streamwise-restore"
BEGUN, DONE = "begun", "done"
AT_ONCE = 1000
Progress = Callable[[int, int], None]


class Restore:
    """One restore. `run` checks that it is possible and then does it."""

    def __init__(self, installation: Installation, chain: Chain, progress: Progress) -> None:
        self._at, self._chain, self._progress = installation, chain, progress
        self._cluster = Cluster(installation.client)
        self._ledger = Ledger(installation.ledger_url)
        self._sources: list[TargetPartition] = []
        self._outputs: list[TargetPartition] = []
        self._resumed = False
        self._filled: list[str] = []
        self._done = self._steps = 0

    def run(self) -> dict[str, Any]:
        """Check, then write. Returns a report of what was restored."""
        summary = self._chain.summary
        self._ledger.open()
        try:
            with Log(self._at.client) as log:
                self._check(log)
            self._mark(BEGUN)
            sink = Sink(self._at.client)
            changelog = [section for r in self._chain.readers for section in r.summary.sections]
            self._steps = sum(s.records for s in changelog) + sum(p.missing for p in self._places)
            tables = self._write_ledger()
            fill(sink, self._cluster, self._places, self._advance)
            outputs = self._write_outputs(sink)
            rows = self._write_logs(sink)
            self._commit_offsets()
            self._mark(DONE)
        finally:
            self._ledger.close()
        self._progress(self._steps, self._steps)
        return {
            "backup": self._chain.id,
            "files": [str(reader.path) for reader in self._chain.readers],
            "rows": rows,
            "snapshots": summary.snapshots,
            "outputs": outputs,
            "tables": tables,
            "new_sources": sum(place.fresh for place in self._sources),
            "kept_sources": sum(not place.fresh for place in self._sources),
            "filled": sum(place.missing for place in self._places),
        }

    @property
    def _places(self) -> list[TargetPartition]:
        return [*self._sources, *self._outputs]

    # -- checks ------------------------------------------------------------------------------------------

    def _check(self, log: Log) -> None:
        at, summary = self._at, self._chain.summary
        if summary.partitions != at.partitions:
            raise Fatal(
                f"the backup has {summary.partitions} partitions, not {at.partitions}: "
                f"set STREAMWISE_PARTITIONS={summary.partitions}, and make the topics with that many"
            )
        state, backup = self._marked()
        for group in (*at.groups, at.analyst):
            if self._cluster.members(group):
                raise Fatal(
                    f"group {group} has members: stop the roles first, and start them after the restore"
                )
        self._resumed = (state, backup) == (BEGUN, self._chain.id)
        self._filled = filled(self._ledger)
        if not self._resumed:
            self._check_empty(log, state, backup)
        for topic in at.sources:
            if topic in at.consumers:  # the backup holds its events, from the offset of the rows on
                continue
            for number in range(at.partitions):
                wanted = summary.sources.get(topic, {}).get(str(number), 0)
                reached = summary.reached.get(topic, {}).get(str(number), wanted)
                place = look_at(log, topic, number, reached)
                if not place.fresh:
                    place = replace(place, wanted=wanted)
                self._sources.append(self._source(place))
        for topic in at.consumers:
            for number in range(at.partitions):
                begin = self._chain.output_range(topic, number).begin
                self._outputs.append(self._output(look_at(log, topic, number, begin)))

    def _check_empty(self, log: Log, state: str, backup: str) -> None:
        at = self._at
        for topic in (at.changelog, at.models, at.analyst_changelog):
            for number in range(at.partitions):
                low, high = log.bounds(topic, number)
                if low < high:
                    what = f", as a restore of backup {backup} was {state} here" if state else ""
                    raise Fatal(
                        f"{topic}[{number}] is not empty{what}: restore into a new cluster, or delete "
                        f"{at.changelog}, {at.models} and {at.analyst_changelog}, run `streamwise topics` and start "
                        "again"
                    )
        if self._filled:
            raise Fatal(
                f"the ledger at {self._ledger.address} is not empty ({', '.join(self._filled)}): name a new one "
                "(STREAMWISE_LEDGER)"
            )

    def _source(self, place: TargetPartition) -> TargetPartition:
        if not place.fresh and place.high < place.wanted:
            raise Fatal(
                f"{place.topic}[{place.number}] has events up to offset {place.high}, but the rows hold those before "
                f"{place.wanted}: copy it whole, or delete the topic, run `streamwise topics` and start again"
            )
        return place

    def _output(self, place: TargetPartition) -> TargetPartition:
        found = self._chain.output_range(place.topic, place.number)
        lost = place.fresh and place.high > place.wanted and found.begin < found.end
        short = not place.fresh and place.high < found.end and not self._resumed
        if lost or short:
            raise Fatal(
                f"{place.topic}[{place.number}] is at offset {place.high}, but the backup has records "
                f"{found.begin} to {found.end - 1} for it: delete the topic, run `streamwise topics` and start again"
            )
        return place

    # -- writing -----------------------------------------------------------------------------------------

    def _undone(self, topic: str, number: int, offset: int) -> bool:
        """Whether the restore must leave out what this source event caused.

        It must if the restored rows do not hold the event and the source topic is new: another event will then take
        its offset, and with it the same ids.
        """
        for place in self._sources:
            if (place.topic, place.number) == (topic, number):
                return place.fresh and place.high <= place.wanted <= offset
        return False

    def _write_ledger(self) -> dict[str, int]:
        tables = self._chain.tables()
        if not self._filled:
            with self._ledger.writing() as connection:
                return {
                    name: write_table(connection, name, rows, self._wanted(name))
                    for name, rows in tables.items()
                }
        return dict.fromkeys(tables, 0)  # already complete: the ledger is written in one transaction

    def _wanted(self, table: str) -> Callable[[Mapping[str, Any]], bool]:
        if table == APPLIED.name:
            return lambda row: True

        def wanted(row: Mapping[str, Any]) -> bool:
            return "partition" not in row or not self._undone(row["topic"], row["partition"], row["offset"])

        return wanted

    def _write_outputs(self, sink: Sink) -> int:
        """Write the outputs that the ledger and the learner had not consumed, unless the topic has them."""
        count = 0
        for place in self._outputs:
            found = self._chain.output_range(place.topic, place.number)
            if not place.fresh and place.high >= found.end:
                continue
            there = max(0, place.high - found.begin)  # records that an interrupted restore wrote
            waiting: list[tuple[bytes, bytes | None]] = []
            for key, value in self._kept(place):
                if there:
                    there -= 1
                    continue
                waiting.append((key, value))
                if len(waiting) == AT_ONCE:
                    count += self._send(sink, place.topic, place.number, waiting)
                    waiting = []
            count += self._send(sink, place.topic, place.number, waiting)
        sink.flush()
        return count

    def _kept(self, place: TargetPartition) -> Iterator[tuple[bytes, bytes | None]]:
        for key, value in self._chain.output(place.topic, place.number):
            if place.topic in self._at.decisions and value is not None:
                try:
                    decision = schemas.decode(value)[1]
                except schemas.SchemaError:  # the ledger will report it
                    decision = {"topic": "", "partition": -1, "offset": -1}
                if self._undone(decision["topic"], decision["partition"], decision["offset"]):
                    continue
            yield key, value

    def _write_logs(self, sink: Sink) -> int:
        """Write snapshots first, then rows: a worker that starts too early then finds no complete rows."""
        rows = 0
        for number in range(self._at.partitions):
            self._send(sink, self._at.models, number, list(self._chain.models(number)))
        self._write_analyst(sink)
        for number in range(self._at.partitions):
            for records in self._chain.changelog(number):
                rows += self._send(sink, self._at.changelog, number, records)
        sink.flush()
        return rows

    def _write_analyst(self, sink: Sink) -> None:
        """Write the analyst's state.

        In a new source topic other events follow after the rows' offset: the analyst's offset is capped there.
        """
        ends = {(place.topic, place.number): place.wanted for place in self._sources if place.fresh}
        waiting: list[tuple[bytes, bytes | None]] = []
        for key, value in self._chain.analyst():
            if key == CONTROL_KEY and value is not None:
                value = clamped(value, lambda topic, number, at: min(at, ends.get((topic, number), at)))
            waiting.append((key, value))
            if len(waiting) == AT_ONCE:
                sink.send(self._at.analyst_changelog, PARTITION, waiting)
                waiting = []
        sink.send(self._at.analyst_changelog, PARTITION, waiting)

    def _send(self, sink: Sink, topic: str, number: int, records: list[tuple[bytes, bytes | None]]) -> int:
        if records:
            sink.send(topic, number, records)
            self._advance(len(records))
        return len(records)

    def _advance(self, steps: int) -> None:
        self._done += steps
        self._progress(min(self._done, self._steps), self._steps)

    # -- offsets -----------------------------------------------------------------------------------------

    def _commit_offsets(self) -> None:
        """Commit where each group goes on; the ledger role uses the positions in its own tables instead."""
        at, summary = self._at, self._chain.summary
        found: dict[str, list[TopicPartition]] = {group: [] for group in at.groups}
        for place in self._sources:
            found[at.worker].append(TopicPartition(place.topic, place.number, place.wanted))
        for place in self._outputs:
            if place.topic in at.sources:
                held = summary.sources.get(place.topic, {}).get(str(place.number), 0)
                found[at.worker].append(TopicPartition(place.topic, place.number, held))
            group = at.consumers[place.topic]
            taken = summary.groups.get(group, {}).get(place.topic, {}).get(str(place.number), 0)
            offset = place.wanted if group == at.ledger else max(place.wanted, taken)
            found[group].append(TopicPartition(place.topic, place.number, offset))
        for group, offsets in found.items():
            _commit(at.client, group, offsets)

    def _mark(self, state: str) -> None:
        place = TopicPartition(self._at.changelog, 0, 0, f"{state} {self._chain.id}")
        _commit(self._at.client, GROUP, [place])

    def _marked(self) -> tuple[str, str]:
        consumer = Consumer({**self._at.client, "group.id": GROUP})
        try:
            (found,) = committed(consumer, [TopicPartition(self._at.changelog, 0)], TIMEOUT_S)
        except KafkaException as error:
            raise Retryable(f"the broker refused: {error.args[0].str()}") from error
        finally:
            consumer.close()
        state, _, backup = str(found.metadata or "").partition(" ")
        return state, backup


def _commit(client: Mapping[str, Any], group: str, offsets: list[TopicPartition]) -> None:
    consumer = Consumer({**client, "group.id": group, "enable.auto.commit": False})
    try:
        for at in consumer.commit(offsets=offsets, asynchronous=False) or []:
            if at.error is not None:
                raise Retryable(f"offsets of group {group} could not be committed: {at.error.str()}")
    except KafkaException as error:
        raise Retryable(f"offsets of group {group} could not be committed: {error.args[0].str()}") from error
    finally:
        consumer.close()


def put_config(files: Mapping[str, bytes], config: Path, folder: Path) -> list[str]:
    """Write the backup's version of each config file that differs into `folder`. Returns their names."""
    changed = [
        n for n, data in files.items() if not (config / n).is_file() or (config / n).read_bytes() != data
    ]
    for name in changed:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files[name])
    return changed
