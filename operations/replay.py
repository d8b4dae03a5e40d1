"""`streamwise replay`: sends recorded events to their topics, with back pressure from workers that answer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.processes import stop_on_signals
from agents.runtime import enter
from config.settings import Settings
from ingest.open_source import source
from ingest.replay import parse_speed, progress_bar, replay
from schemas.topics import DEAD_LETTERS, OUTCOMES
from serving.monitoring import poll_roles
from streams.errors import ConfigError

MAX_AHEAD = 100_000


def replay_source(
    settings: Settings,
    name: str,
    *,
    mapping: Path | None,
    speed: str | None,
    limit: int | None,
    until: str | None,
    resume: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Replay a source; return a report."""
    events = source(name, mapping, settings.phrases)
    pace = None if speed is None else parse_speed(speed)
    until_ms = None if until is None else parse_date_ms(until, "--until")
    enter(settings, "replay", [topic for topic in events.topics if topic not in (OUTCOMES, DEAD_LETTERS)])
    worker = {role: at for role, at in settings.role_addresses.items() if role.startswith("worker")}
    bar = nullcontext(None) if quiet else progress_bar(events.name)
    with stop_on_signals() as stop, bar as on_progress:
        done = replay(
            events, settings.access, speed=pace, limit=limit, until_ms=until_ms, stop=stop,
            lag=(lambda: _lag(worker)) if _lag(worker) is not None else None, max_ahead=MAX_AHEAD,
            state_dir=settings.state / "replays", resume=resume, on_progress=on_progress,
        )  # fmt: skip
    return asdict(done)


def format_report(done: dict[str, Any]) -> list[str]:
    """Format the report for people."""
    end = "the source is at its end" if done["complete"] else "run it again to continue from here"
    return [
        f"{done['events']:,} events ({done['dead_letters']:,} dead letters) in {done['seconds']:.1f} s; {end}"
    ]


def parse_date_ms(text: str, option: str) -> int:
    """Parse a date or a time (UTC unless it has an offset) as milliseconds since 1970."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(option, None, f"expected a date such as 2017-07-01, got {text!r}") from error
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def _lag(workers: dict[str, str]) -> int | None:
    """Return the number of events not folded yet; None if no worker answers."""
    lags = [report["status"].get("lag", {}) for report in poll_roles(workers).values() if report["reachable"]]
    return sum(sum(lag.values()) for lag in lags) if lags else None
