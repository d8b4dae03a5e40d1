"""The progress bar of a replay: events, events a second, the date that the stream has reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .run import Progress


@contextmanager
def progress_bar(name: str, console: Console | None = None) -> Iterator[Callable[[Progress], None]]:
    """Show a bar on standard error (or `console`); yields the callback for `replay`'s `on_progress`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>9,.0f} events/s"),
        TextColumn("{task.fields[date]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console or Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None, rate=0.0, date="")

        def show(now: Progress) -> None:
            date = datetime.fromtimestamp(now.time_ms / 1000, UTC).strftime("%Y-%m-%d") if now.time_ms else ""
            bar.update(task, completed=now.position, total=now.total, rate=now.events_per_s, date=date)

        yield show
