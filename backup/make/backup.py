"""Makes a backup while the cluster keeps running.

The order of reading makes it consistent: first the committed offsets, next the end offsets of the changelog and of the
models, then the ledger in one transaction, last the output topics. So the rows hold every event before the offsets
that the backup records for them. Every output of these events is in the ledger, or among the outputs that it has not
consumed yet.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from backup.analyst_state import PARTITION, newest
from backup.file import (
    ANALYST,
    CHANGELOG,
    FILES,
    FULL,
    INCREMENT,
    MODELS,
    OUTPUT,
    ArchiveReader,
    ArchiveWriter,
    Header,
    Range,
    Slice,
    Summary,
    encode,
    piece,
)
from backup.installation import Installation
from backup.ledger_tables import applied, read_tables
from backup.topic_log import Cluster, Log
from serving.ledger import Ledger
from streams.errors import Fatal

from .changelog_cut import find_cut, latest_offsets, write_cut

CONFIG_FILES = "*.yaml"
Progress = Callable[[int, int], None]  # (steps done, steps in all)


class Backup:
    """Makes one backup. `since`: the unlocked backup that an increment builds on; None for a full backup."""

    def __init__(
        self,
        installation: Installation,
        *,
        since: ArchiveReader | None = None,
        progress: Progress = lambda done, of: None,
    ) -> None:
        self._at, self._since, self._progress = installation, since, progress
        self._cluster = Cluster(installation.client)
        self.summary = Summary(partitions=installation.partitions)
        self._done = self._steps = 0

    def write(self, path: Path, key: bytes | None) -> tuple[Header, int]:
        """Make the file. Returns its header and its size in bytes."""
        since = self._since
        header = Header(
            secrets.token_hex(8),
            INCREMENT if since else FULL,
            int(time.time() * 1000),
            since.header.id if since else "",
        )
        self._check_base(header)
        ledger = self._ledger()
        try:
            with Log(self._at.client) as log, ArchiveWriter(path, header, key) as archive:
                self._collect(log, ledger, archive)
                return header, archive.finish(self.summary)
        finally:
            if ledger is not None:
                ledger.close()

    def _check_base(self, header: Header) -> None:
        """Check that the topics are those of the previous backup and still hold every tombstone since then."""
        at = self._at
        topics = [at.changelog, *at.consumers]
        self.summary.topic_ids = self._cluster.topic_ids(topics)
        if self._since is None:
            return
        base = self._since.summary
        for topic in topics:
            if base.topic_ids.get(topic) != self.summary.topic_ids[topic]:
                raise Fatal(f"topic {topic} was recreated since {self._since.path}: make a full backup")
        kept_ms = self._cluster.deletions_kept_ms(at.changelog)
        if header.created_ms - self._since.header.created_ms > kept_ms:
            raise Fatal(
                f"{self._since.path} is older than the {kept_ms / 3_600_000:g} hours for which {at.changelog} keeps "
                "the marks of deleted keys: make a full backup"
            )

    def _ledger(self) -> Ledger | None:
        """The ledger; None if no ledger role ever ran."""
        at = self._at
        if at.ledger_url.startswith("sqlite") and not Path(at.ledger_url.partition("///")[2]).exists():
            if self._cluster.committed(at.ledger, list(at.consumers)):
                raise Fatal(
                    f"the ledger is not at {at.ledger_url}: make the backup where it is, or name it (STREAMWISE_LEDGER)"
                )
            return None
        return Ledger(at.ledger_url).open()

    def _collect(self, log: Log, ledger: Ledger | None, archive: ArchiveWriter) -> None:
        at = self._at
        self._analyst(log, archive)
        groups = {group: self._cluster.committed(group, topics) for group, topics in at.groups.items()}
        self.summary.groups = groups
        changelog = {n: log.bounds(at.changelog, n) for n in range(at.partitions)}
        models = {n: log.bounds(at.models, n) for n in range(at.partitions)}
        begins = {n: self._begin(n, *bounds) for n, bounds in changelog.items()}
        self._steps = 2 * sum(changelog[n][1] - begins[n] for n in begins)
        self._files(archive)
        positions: dict[tuple[str, int], int] = {}
        if ledger is not None:
            with ledger.reading() as connection:
                positions = applied(connection)
                self.summary.tables = read_tables(connection, archive, whole=self._since is None)
        self._models(log, archive, models)
        for number, (_, end) in changelog.items():
            self._partition(log, archive, number, begins[number], end)
        # Last: the outputs of a row are written before the row, so those of every row read above are there now.
        for topic, number in [(t, n) for t in at.consumers for n in range(at.partitions)]:
            bounds = log.bounds(topic, number)
            begin = self._output_begin(topic, number, bounds, positions)
            self._output(log, archive, topic, number, begin, max(begin, bounds[1]))

    def _begin(self, number: int, low: int, high: int) -> int:
        if self._since is None:
            return low
        begin = self._since.summary.changelog[str(number)].cut
        if not low <= begin <= high:
            raise Fatal(
                f"{self._at.changelog}[{number}] does not reach back to {self._since.path}: make a full backup"
            )
        return begin

    def _files(self, archive: ArchiveWriter) -> None:
        archive.begin(FILES)
        for path in sorted(self._at.config.glob(CONFIG_FILES)):
            archive.add(piece([path.name, path.read_bytes()]))
            self.summary.files.append(path.name)

    def _models(self, log: Log, archive: ArchiveWriter, bounds: dict[int, tuple[int, int]]) -> None:
        """Write every snapshot, in an increment too: they are few and small."""
        for number, (low, high) in bounds.items():
            newest: dict[bytes, bytes | None] = {}
            for record in log.read(self._at.models, number, low, high):
                newest.pop(record.key or b"", None)  # so that the dict keeps the order of offsets
                newest[record.key or b""] = record.value
            archive.begin(MODELS, number)
            for key, value in newest.items():
                if value is not None:
                    archive.add(encode(key, value))
                    self.summary.snapshots += 1

    def _analyst(self, log: Log, archive: ArchiveWriter) -> None:
        """Write the analyst's whole state, in an increment too. Read first, it is hardly ever ahead of the rows."""
        archive.begin(ANALYST, PARTITION)
        for key, value in newest(log, self._at.analyst_changelog).items():
            archive.add(encode(key, value))
            self.summary.analyst += 1

    def _output_begin(
        self, topic: str, number: int, bounds: tuple[int, int], positions: dict[tuple[str, int], int]
    ) -> int:
        """The first offset not yet consumed, by the ledger's own positions or by another group's committed offsets."""
        low = bounds[0]
        if self._since is not None:
            begin = self._since.summary.outputs[topic][str(number)].end
            if low > begin:
                raise Fatal(
                    f"{topic}[{number}] does not reach back to {self._since.path}: make a full backup"
                )
            return begin
        group = self._at.consumers[topic]
        if group == self._at.ledger:
            taken = positions.get((topic, number), -1) + 1
        else:
            taken = self.summary.groups[group].get(topic, {}).get(str(number), 0)
        if topic in self._at.sources:
            taken = min(taken, self.summary.sources[topic][str(number)])
        return max(low, taken)

    def _output(
        self, log: Log, archive: ArchiveWriter, topic: str, number: int, begin: int, end: int
    ) -> None:
        archive.begin(OUTPUT + topic, number)
        at = begin
        for record in log.read(topic, number, begin, end):
            # Repeat the record for offsets without one (transaction markers), as positions are counted in offsets;
            # the consumers of these topics drop duplicates.
            for _ in range(at, record.offset + 1):
                archive.add(encode(record.key or b"", record.value))
            at = record.offset + 1
        self.summary.outputs.setdefault(topic, {})[str(number)] = Range(begin, at)

    def _partition(self, log: Log, archive: ArchiveWriter, number: int, begin: int, end: int) -> None:
        at, summary = self._at, self.summary
        cut = find_cut(log, at.changelog, number, begin, end, self._advance)
        part = Slice(begin, cut.offset, marks=self._since is not None, layout=cut.layout)
        archive.begin(CHANGELOG, number)
        committed = {t: o[str(number)] for t, o in summary.groups[at.worker].items() if str(number) in o}
        if self._since is not None:
            for topic, offsets in self._since.summary.sources.items():
                committed[topic] = max(committed.get(topic, 0), offsets.get(str(number), 0))
            part.layout = part.layout or self._since.summary.changelog[str(number)].layout
        offsets = latest_offsets(committed, cut)
        for topic in at.sources:
            if part.layout and topic not in offsets and log.bounds(topic, number)[1]:
                raise Fatal(
                    f"group {at.worker} has no offset of {topic}[{number}]: start a worker once, then back up"
                )
            summary.sources.setdefault(topic, {})[str(number)] = offsets.get(topic, 0)
        write_cut(log, at.changelog, number, cut, part, archive.add, self._advance)
        if part.ahead:
            for topic in at.sources:
                summary.reached.setdefault(topic, {})[str(number)] = log.bounds(topic, number)[1]
        elif self._since is not None and self._since.summary.changelog[str(number)].tail > part.cut:
            part.tail = self._since.summary.changelog[
                str(number)
            ].tail  # rows of the previous backup are still ahead
            for topic, reached in self._since.summary.reached.items():
                if str(number) in reached:
                    summary.reached.setdefault(topic, {})[str(number)] = reached[str(number)]
        self._advance(end - cut.offset)
        summary.changelog[str(number)] = part

    def _advance(self, offsets: int) -> None:
        self._done += offsets
        self._progress(self._done, self._steps)
