"""`streamwise models`: lists champions and challengers, shows each change and why, promotes and rolls back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Producer

import schemas
from agents.learner import ModelSnapshots, partition_of, read_published
from config.settings import Settings
from models.scoring import Snapshot
from models.selection import Standing
from schemas.topics import EXAMPLES, MODELS
from streams.errors import ConfigError, Fatal, Retryable
from streams.kafka import librdkafka_settings

WAIT_S = 20.0
_FIGURES = ("auc", "log_loss", "ece")


def list_models(settings: Settings) -> dict[str, Any]:
    """Return the report of `models list`: each model by name."""
    published = read_published(settings.access, MODELS)
    return {"models": {name: _summary(name, published) for name in sorted(published) if "@" not in name}}


def show_model(settings: Settings, model: str) -> dict[str, Any]:
    """Return the report of `models show`."""
    return _shown(model, read_published(settings.access, MODELS))


def _shown(model: str, published: Mapping[str, ModelSnapshots]) -> dict[str, Any]:
    newest = _newest(model, published)
    standing = Standing.of(newest.contest)
    changes = [
        {"at": _text(c.at), "from": c.out, "to": c.to, "why": c.why, "evidence": c.evidence,
         "examples": c.examples, "gain": c.gain}
        for c in standing.changes
    ]  # fmt: skip
    return {"model": model, **_summary(model, published), "metrics": dict(newest.metrics), "changes": changes}


def change_champion(settings: Settings, model: str, to: str | None) -> dict[str, Any]:
    """Make `to` the champion, or undo the latest change if it is None; wait until the learner has done so."""
    standing = Standing.of(_newest(model, read_published(settings.access, MODELS)).contest)
    if to is not None and to not in standing.contests:
        known = ", ".join(standing.contests) or "it has none"
        raise ConfigError(
            "models promote", None, f"{model} has no challenger {to!r}; expected one of: {known}"
        )
    if to is None and not (standing.changes and standing.changes[-1].out in standing.contests):
        raise ConfigError("models rollback", None, f"{model} has no former champion to go back to")
    order = str(uuid.uuid4())
    _send(settings, model, {"id": order, "model": model, "to": to or "", "time": int(time.time() * 1000)})
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        published = read_published(settings.access, MODELS)
        if any(change.order == order for change in Standing.of(_newest(model, published).contest).changes):
            return _shown(model, published)
        time.sleep(0.2)
    raise Retryable(
        f"no learner has made the change in {WAIT_S:.0f} s; the request waits in {EXAMPLES}: start one"
    )


def _send(settings: Settings, model: str, wish: dict[str, Any]) -> None:
    producer = Producer({**librdkafka_settings(settings.access), "log_level": 0, "enable.idempotence": True})
    failed: list[str] = []
    partition = partition_of(model, settings.partitions)
    producer.produce(
        EXAMPLES, schemas.encode("model_change", wish), model.encode(), partition=partition,
        on_delivery=lambda error, _: failed.append(str(error)) if error else None,
    )  # fmt: skip
    if producer.flush(WAIT_S) or failed:
        raise Fatal(f"{EXAMPLES}: {failed[0] if failed else 'not acknowledged'}")


def _newest(model: str, published: Mapping[str, ModelSnapshots]) -> Snapshot:
    found = published.get(model)
    if found is None or not found.snapshots or "@" in model:
        known = ", ".join(sorted(name for name in published if "@" not in name)) or "none yet"
        raise ConfigError("models", None, f"no snapshot of a model {model!r}; there are: {known}")
    return found.snapshots[max(found.snapshots)]


def _summary(model: str, published: Mapping[str, ModelSnapshots]) -> dict[str, Any]:
    newest = _newest(model, published)
    standing = Standing.of(newest.contest)
    challengers: dict[str, dict[str, Any]] = {}
    for name, (examples, gain, evidence) in standing.contests.items():
        challengers[name] = {"examples": examples, "gain": gain, "evidence": evidence}
        own = published.get(f"{model}@{name}")
        if own is not None and own.snapshots:
            challengers[name] |= _figures(own.snapshots[max(own.snapshots)])
    return {
        "version": newest.version,
        "created": _text(newest.created),
        "examples": newest.examples,
        "champion": standing.champion,
        **_figures(newest),
        "drifts": int(newest.metrics.get("drifts", 0)),
        "challengers": challengers,
    }


def _figures(snapshot: Snapshot) -> dict[str, float | None]:
    return {name: snapshot.metrics.get(name) for name in _FIGURES}


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def list_lines(report: Mapping[str, Any]) -> list[str]:
    """Format the report of `list_models` for people."""
    found = []
    for name, model in report["models"].items():
        found.append(
            f"{name}: version {model['version']} of {model['created']}, champion {model['champion']}, "
            f"{model['examples']:,} examples; {_numbers(model)}"
        )
        found += [f"  {line}" for line in _challenger_lines(model)]
    return found or ["no model has been published yet; a learner publishes with its first examples"]


def show_lines(report: Mapping[str, Any]) -> list[str]:
    """Format the report of `show_model` for people."""
    found = list_lines({"models": {report["model"]: report}})
    weights = [
        f"{k.partition('.')[2]} {v:.2f}" for k, v in report["metrics"].items() if k.startswith("weight.")
    ]
    found.append(f"  weights of the experts: {', '.join(weights)}; drifts found: {report['drifts']}")
    for change in report["changes"]:
        found.append(
            f"  {change['at']} {change['from']} -> {change['to']}: {change['why']} (evidence "
            f"{change['evidence']:.3g}, {change['gain']:+.4f} nats an example over {change['examples']:,})"
        )
    return found


def _challenger_lines(model: Mapping[str, Any]) -> list[str]:
    return [
        f"challenger {name}: {each['gain']:+.4f} nats an example over {each['examples']:,}, evidence "
        f"{each['evidence']:.3g} of 1000; {_numbers(each)}"
        for name, each in model["challengers"].items()
    ]


def _numbers(model: Mapping[str, Any]) -> str:
    numbers = [f"{name} {model[name]:.4f}" for name in _FIGURES if model.get(name) is not None]
    return ", ".join(numbers) or "no figures yet"
