"""`streamwise evaluate`: passes a source's events in order of time through the kernels and the learner.

It needs no broker. The learner learns examples in order as they mature. Every `ADOPT_EVENTS` events the pass adopts
the new snapshots, as workers do at their commit cycles. So each score comes from a model that knows only what had
matured before (prequential). The same source gives the same figures, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import schemas
from config.located_yaml import milliseconds
from config.settings import Settings
from ingest.open_source import source
from ingest.replay import Progress, progress_bar
from ingest.source import Event, EventSource
from models.evaluation import AmountFigures, Evaluation, Figures
from models.example import Example
from models.selection import Champion
from pipeline.config import Config, load_config
from pipeline.live_pass import LivePass
from schemas.topics import EXAMPLES
from streams.batches import raw_batch
from streams.engine import Engine
from streams.errors import ConfigError, Fatal, Poison

from .replay import parse_date_ms

ADOPT_EVENTS = 100  # a quarter of a day of the Complete Journey
NIGHTLY = "nightly-lightgbm"
_COMPARED = ("auc", "log_loss", "ece", "mae", "rmse", "spearman")


class Captured:
    """Replaces `streams.kafka.producer.Outputs`: keeps the examples and drops the rest."""

    def __init__(self) -> None:
        self.examples: list[bytes] = []

    def send(self, topic: str, messages: Sequence[dict[str, Any]], partition: int = -1) -> None:
        """Receive what the engine emits."""
        if topic == EXAMPLES:
            self.examples += [message["value"] for message in messages]


class Trial:
    """One pass over a source. `evaluation` holds all matured examples, `families` the learners."""

    def __init__(self, config: Config, source: EventSource) -> None:
        self._source = source
        self._work = LivePass(config)
        self._captured = Captured()
        self._engine = Engine(self._work.layout.topics, self._work, self._captured)  # type: ignore[arg-type]
        self._partition = self._engine.partition(0)
        self._partition.activate()
        self._offsets = dict.fromkeys(self._work.layout.topics, 0)
        names = config.models.names
        self.models = config.models.models
        self.families = {spec.name: Champion.of(spec, names) for spec in self.models}
        amounts = [spec.name for spec in self.models if spec.amount is not None]
        self.evaluation = Evaluation(names, amounts)
        self.events = self.examples = 0
        self.first_ms, self.last_ms = 0, 0
        self.poison = 0  # examples that could not be learned
        self.seconds = 0.0

    @property
    def dead_letters(self) -> int:
        """The number of events that could not be processed."""
        return self._engine.counters.dead_letters

    def run(self, limit: int | None = None, on_progress: Callable[[Progress], None] | None = None) -> None:
        """Process the whole source, or its first `limit` events."""
        began = time.perf_counter()
        events = self._events(limit)
        while chunk := list(islice(events, ADOPT_EVENTS)):
            self.first_ms = self.first_ms or self._source.begins_ms or chunk[0][2]
            self.last_ms = max(self.last_ms, chunk[-1][2])
            self._fold(chunk)
            self._learn()
            self._adopt()
            if on_progress is not None:
                on_progress(self._progress(time.perf_counter() - began))
        self.seconds = time.perf_counter() - began
        if not self.last_ms:
            raise Fatal(f"{self._source.name}: no event for any of {', '.join(self._offsets)}")

    def middle_ms(self) -> int:
        """The middle of the stream's time."""
        return (self.first_ms + self.last_ms) // 2

    def report(
        self,
        start_ms: float,
        models: Sequence[str] | None = None,
        *,
        baseline: bool = False,
        on_day: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Return figures of the scores at decision time: from `start_ms` on, and over `all` of the stream.

        `baseline`: add the figures of a model refitted every night, over the same examples from `start_ms` on.
        """
        chosen = list(models or self._work.models)
        late = self.evaluation.figures(start_ms, self.last_ms)
        whole = self.evaluation.figures(end_ms=self.last_ms)
        found = {name: self._plain(late, name) for name in chosen}
        if baseline:
            nightly = self.evaluation.nightly(start_ms, chosen, on_day)
            theirs = self.evaluation.figures(start_ms, self.last_ms, other=nightly)
            for name in chosen:
                figures = self._plain(theirs, name)
                found[name]["baseline"] = {key: figures[key] for key in figures if key in _COMPARED}
        return {
            "models": found,
            "all": {name: self._plain(whole, name) for name in chosen},
            "events": self.events,
            "dead_letters": self.dead_letters,
            "from_ms": int(start_ms),
            "to_ms": self.last_ms,
            "seconds": round(self.seconds, 1),
        }

    def _plain(self, figures: Mapping[str, Figures | AmountFigures], name: str) -> dict[str, Any]:
        return (figures.get(name) or self.evaluation.nothing(name)).to_dict()

    def _events(self, limit: int | None) -> Iterator[Event]:
        """Yield the events of the pass; count all events, and leave out those of other topics."""
        for event in islice(self._source.events(), limit):
            self.events += 1
            if event[0] in self._offsets:
                yield event

    def _progress(self, seconds: float) -> Progress:
        rate = self.events / max(1e-9, seconds)
        return Progress(
            self.events, self._source.total, self.events, self.dead_letters, rate, self.last_ms, None
        )

    def _fold(self, chunk: list[Event]) -> None:
        for topic in self._offsets:
            found = [(key, value) for of, key, _, value in chunk if of == topic]
            if found:
                self._engine.receive(topic, 0, raw_batch(self._offsets[topic], found))
                self._offsets[topic] += len(found)
        self._engine.fold(self._partition)

    def _learn(self) -> None:
        for value in self._captured.examples:
            example = Example.from_record(schemas.decode(value)[1])
            self.evaluation.add(example)
            self.examples += 1
            family = self.families.get(example.model)
            if family is None:
                continue
            try:
                family.compare({name: one.learn(example) for name, one in family.learners.items()})
            except Poison:
                self.poison += 1
        self._captured.examples.clear()

    def _adopt(self) -> None:
        work = self._work
        for name, family in self.families.items():
            learner = family.leader
            newest = work.snapshots[name].get(learner.version)
            if learner.examples and (newest is None or newest.examples != learner.examples):
                work.snapshots[name].clear()  # nothing is replayed here, so only the newest is needed
                work.offer(learner.snapshot(created=self.last_ms))
        work.adopt(self._partition, work.offered(self._partition))


def evaluate(
    settings: Settings,
    name: str,
    *,
    mapping: Path | None,
    examples: Path | None,
    model: str | None,
    start: str | None,
    limit: int | None,
    baseline: str | None = None,
    horizon: str | None = None,
    quiet: bool,
) -> dict[str, Any]:
    """Return the report of `streamwise evaluate`."""
    if baseline not in (None, NIGHTLY):
        raise ConfigError("--baseline", None, f"expected {NIGHTLY}, got {baseline!r}")
    config = load_config(settings.config)
    known = [each.name for each in config.models.models]
    if model is not None and model not in known:
        raise ConfigError("--model", None, f"expected one of {', '.join(known)}, got {model!r}")
    if horizon is not None:
        config = _within(config, model, horizon)
    start_ms = None if start is None else parse_date_ms(start, "--from")
    if examples is not None and not examples.absolute().parent.is_dir():
        raise ConfigError("--examples", None, f"there is no folder {examples.absolute().parent}")
    trial = Trial(config, source(name, mapping, settings.phrases))
    with nullcontext(None) if quiet else progress_bar(name) as on_progress:
        trial.run(limit, on_progress)
    if examples is not None:
        _write(trial, examples)
    start_ms = trial.middle_ms() if start_ms is None else start_ms
    return trial.report(start_ms, [model] if model else None, baseline=baseline is not None)


def _within(config: Config, model: str | None, horizon: str) -> Config:
    """Return the config with another horizon for one model."""
    if model is None:
        raise ConfigError("--horizon", None, "expected --model too: each model has its own horizon")
    try:
        within_ms = milliseconds(horizon)
    except ValueError as error:
        raise ConfigError("--horizon", None, str(error)) from None
    if within_ms >= config.features.expire_after_ms:
        raise ConfigError("--horizon", None, "expected less than expire_after of features.yaml")
    specs = [replace(one, within_ms=within_ms) if one.name == model else one for one in config.models.models]
    return replace(config, models=replace(config.models, models=tuple(specs)))


def format_report(result: dict[str, Any]) -> list[str]:
    """Format the figures for people."""
    found = [
        f"{result['events']:,} events in {result['seconds']} s; scores at decision time, last half of the stream:"
    ]
    for name, figures in result["models"].items():
        positives = f", {figures['positives']:,} positive" if "positives" in figures else ""
        numbers = _numbers(figures) or f"{figures['unscored']:,} without a score"
        found.append(f"  {name}: {figures['examples']:,} examples{positives}; {numbers}")
        if "baseline" in figures:
            found.append(f"    refitted every night: {_numbers(figures['baseline'])}")
    return found


def _numbers(figures: dict[str, Any]) -> str:
    keys = ("auc", "log_loss", "ece", "ece_by_chance", "mean", "mae", "rmse", "spearman")
    return ", ".join(f"{key} {figures[key]:.4f}" for key in keys if figures.get(key) is not None)


def _write(trial: Trial, path: Path) -> None:
    try:
        trial.evaluation.write_parquet(path)
    except OSError as error:
        raise Fatal(f"{path}: cannot be written: {error.strerror or error}") from error
