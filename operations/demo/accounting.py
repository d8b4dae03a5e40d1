"""`streamwise demo`: runs the whole product on one machine, over a year of real baskets; needs only Python.

The broker is embedded in this process and drops records that are not read in time, so the replay waits for
its slowest consumer. The demo counts events produced and folded, and outputs emitted, learned and kept, each on
its own; at the end the counts must agree.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from agents.processes import Supervisor
from agents.server import open_decision_feed
from config.settings import Settings
from console.board import Board
from ingest.replay import Progress, replay
from ingest.source import Event, EventSource
from pipeline.config import Config
from schemas.topics import OUTCOMES
from serving.ledger import Ledger
from serving.monitoring import RolePoller, RoleReport, poll_roles
from streams.errors import Fatal

MAX_AHEAD = 12_000  # waiting events or examples: far fewer than the embedded broker keeps
POLL_S = 0.05
SETTLE_TIMEOUT_S = 60.0
STALL_S = 60.0


class Counted:
    """Yields the first `limit` events of a source and counts them by topic."""

    def __init__(self, source: EventSource, limit: int | None) -> None:
        self._source, self._limit = source, limit
        self.by_topic: dict[str, int] = dict.fromkeys(source.topics, 0)
        self.name, self.topics, self.begins_ms = source.name, source.topics, source.begins_ms
        self.total = source.total if limit is None or source.total is None else min(limit, source.total)
        self.fingerprint = source.fingerprint

    def events(self, start: int = 0) -> Iterator[Event]:
        """Yield the events and count each."""
        for event in islice(self._source.events(start), self._limit):
            self.by_topic[event[0]] += 1
            yield event


@dataclass(slots=True)
class Counts:
    """What became of the events so far, from the status of the roles."""

    folded: int = 0  # events folded into rows, or dead-lettered by the worker
    dead_letters: int = 0
    decisions: int = 0  # alerts and offers emitted
    alerts: int = 0
    offers: int = 0
    examples: int = 0  # examples emitted
    learned: int = 0  # examples learned, waiting for their label, or dead-lettered by the learner
    kept: int = 0  # records in the ledger, or dead-lettered by it
    missed: int = 0  # records that the broker dropped before a role read them
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, reports: Mapping[str, RoleReport]) -> Counts:
        """Make the counts from one round of reports."""
        worker, learner, ledger = (_status(reports, role) for role in ("worker", "learner", "ledger"))
        dead = {role: sum(_status(reports, role).get("dead_letters", {}).values()) for role in reports}
        return cls(
            folded=worker.get("events", 0) + dead.get("worker", 0),
            dead_letters=sum(dead.values()),
            decisions=worker.get("alerts", 0) + worker.get("offers", 0),
            alerts=worker.get("alerts", 0),
            offers=worker.get("offers", 0),
            examples=sum(worker.get("examples", {}).values()),
            learned=learner.get("taken", 0) + dead.get("learner", 0),
            kept=ledger.get("ledger_inserted", 0) + ledger.get("ledger_repeated", 0) + dead.get("ledger", 0),
            missed=learner.get("missed", 0) + ledger.get("missed", 0),
            models=learner.get("period", {}),
        )


class Demo:
    """One run of the demo. A screen may read `counts` and `board` while it runs."""

    def __init__(
        self, settings: Settings, config: Config, source: EventSource, roles: Supervisor, *, limit: int | None
    ) -> None:
        self.settings, self.roles = settings, roles
        self.source = Counted(source, limit)
        self.board = Board()
        self.counts = Counts()
        self.progress: Progress | None = None
        self.first_decision_s: float | None = None
        self.stop = threading.Event()
        self._sources = {each.topic for each in config.features.sources}
        self._began = time.monotonic()
        self._moved = (self._began, Counts())
        self._halt = threading.Event()
        self._failure: Fatal | None = None
        self._poller = RolePoller(_Addresses(roles), self.board.update)
        self._watcher = threading.Thread(target=self._watch, name="counts", daemon=True)
        self._feed = open_decision_feed(settings.access, self.board, config, seen=self._on_decision)

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began

    def begun(self, at: float) -> None:
        """Set when the command began (monotonic seconds)."""
        self._began = at

    def run(self) -> None:
        """Replay everything, then wait until every role has processed all of it. Returns early if stopped."""
        self._feed.start()
        self._poller.start()
        self._watcher.start()
        try:
            replay(
                self.source, self.settings.access, lag=self.lag, max_ahead=MAX_AHEAD,
                on_progress=self._on_progress, stop=self.stop,
            )  # fmt: skip
            self._settle()
        finally:
            self._halt.set()
            self._watcher.join()
            self._feed.stop()
            self._poller.stop()
        self._raise_failure()

    def lag(self) -> int:
        """Return the longest queue: events to fold, examples to learn or decisions to keep."""
        self._raise_failure()
        return max(self.waiting().values())

    def waiting(self) -> dict[str, int]:
        """Return the number of records that wait for each role."""
        counts = self.counts
        return {
            "worker": self._produced(self._sources) - counts.folded,
            "learner": counts.examples - counts.learned,
            "ledger": counts.decisions + self._produced({OUTCOMES}) - counts.kept,
        }

    def _produced(self, topics: set[str]) -> int:
        return sum(count for topic, count in self.source.by_topic.items() if topic in topics)

    def _settle(self) -> None:
        """Wait until no role has a queue or no count changes any more; what waits then counts as lost."""
        until = time.monotonic() + SETTLE_TIMEOUT_S
        while not self.stop.is_set() and max(self.waiting().values()) > 0 and time.monotonic() < until:
            self._raise_failure()
            if time.monotonic() - self._moved[0] > SETTLE_TIMEOUT_S / 4:
                return
            self._halt.wait(POLL_S)

    def summary(self) -> dict[str, Any]:
        """Return the summary for JSON. It reads the row counts from the ledger itself."""
        ledger = Ledger(self.settings.ledger_url)
        rows = ledger.counts()
        ledger.close()
        counts, produced, outcomes = self.counts, self._produced(self._sources), self._produced({OUTCOMES})
        kept = rows["alerts"] + rows["offers"] + rows["outcomes"]
        lost = {
            "events": max(0, produced - counts.folded),
            "alerts": max(0, counts.alerts - rows["alerts"]),
            "offers": max(0, counts.offers - rows["offers"]),
            "outcomes": max(0, outcomes - rows["outcomes"]),
            "examples": max(0, counts.examples - counts.learned),
        }
        return {
            "events": self._produced({*self._sources, OUTCOMES}),
            "alerts": rows["alerts"],
            "offers": rows["offers"],
            "outcomes": rows["outcomes"],
            "dead_letters": counts.dead_letters,
            "lost": None
            if self.stop.is_set()
            else sum(lost.values()),  # after a stop, records in transit are not lost
            "lost_by": lost,
            "missed": counts.missed,
            "models": counts.models,
            "seconds": round(self.seconds, 1),
            "first_decision_s": self.first_decision_s,
            "emitted": counts.decisions,
            "kept": kept,
            "complete": not self.stop.is_set(),
        }

    def _on_progress(self, progress: Progress) -> None:
        self.progress = progress

    def _on_decision(self, decision: Mapping[str, Any]) -> None:
        if self.first_decision_s is None:
            self.first_decision_s = round(self.seconds, 1)

    def _watch(self) -> None:
        """Poll the roles; fail if one has ended or no count changes."""
        reports: dict[str, RoleReport] = {}
        while not self._halt.wait(POLL_S):
            try:
                self.roles.check()
            except Fatal as error:
                self._failure = error
                return
            reports = poll_roles(self.roles.addresses, reports)
            counts = Counts.of(reports)
            now = time.monotonic()
            if _moves(counts) != _moves(self._moved[1]):
                self._moved = (now, counts)
            self.counts = counts
            if now - self._moved[0] > STALL_S and max(self.waiting().values()) > 0:
                self._failure = Fatal(
                    f"no progress for {STALL_S:.0f} s; see the roles' logs in {self.settings.state}"
                )
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class _Addresses(Mapping[str, str]):
    """The current addresses of the roles; the poller reads them in each round."""

    def __init__(self, roles: Supervisor) -> None:
        self._roles = roles

    def __getitem__(self, role: str) -> str:
        return self._roles.addresses[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._roles.addresses)

    def __len__(self) -> int:
        return len(self._roles.addresses)


def format_report(summary: dict[str, Any]) -> list[str]:
    """Format the summary for people."""
    if "events" not in summary:
        return ["stopped"]
    lost = "stopped early" if summary["lost"] is None else f"{summary['lost']:,} lost"
    counts = [
        f"{summary[key]:,} {key.replace('_', ' ')}" for key in ("events", "alerts", "offers", "dead_letters")
    ]
    found = [f"{', '.join(counts)}, {lost} in {summary['seconds']} s"]
    for name, figures in summary["models"].items():
        if figures["auc"] is not None:
            examples = f"{figures['examples']:,} examples of the last half of the stream"
            found.append(
                f"  {name}: AUC {figures['auc']:.3f} over {examples}, each predicted before it was learned"
            )
    return found if summary["ledger"] is None else [*found, f"  the ledger is {summary['ledger']}"]


def second_half_ms(source: EventSource, limit: int | None) -> tuple[int, int]:
    """Return the middle and the end of the stream's time, in ms; the figures cover this half."""
    total = source.total
    if total is None:
        raise Fatal(f"{source.name}: its length is unknown, so its second half is too")
    last = total if limit is None else min(limit, total)
    end_ms = next((time_ms for _, _, time_ms, _ in islice(source.events(last - 1), 1)), 0)
    start_ms = source.begins_ms or next((time_ms for _, _, time_ms, _ in islice(source.events(0), 1)), 0)
    return (start_ms + end_ms) // 2, end_ms


def _status(reports: Mapping[str, RoleReport], role: str) -> dict[str, Any]:
    return dict(reports[role]["status"]) if role in reports else {}


def _moves(counts: Counts) -> tuple[int, ...]:
    return counts.folded, counts.examples, counts.learned, counts.decisions, counts.kept
