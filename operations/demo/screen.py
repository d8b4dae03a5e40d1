"""Shows the demo in a terminal: speed, lag, the newest decisions and the quality of the models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from console.format import count, day, share, stamp

from .accounting import Demo

PERIOD_S = 0.25
DECISIONS = 5  # of each kind


@contextmanager
def screen(demo: Demo, url: str, console: Console) -> Iterator[None]:
    """Show `demo` while it runs, then leave the last picture in the terminal."""
    halt = threading.Event()
    with Live(picture(demo, url), console=console, auto_refresh=False, redirect_stderr=False) as live:

        def refresh() -> None:
            while not halt.wait(PERIOD_S):
                live.update(picture(demo, url), refresh=True)

        thread = threading.Thread(target=refresh, name="screen", daemon=True)
        thread.start()
        try:
            yield
        finally:
            halt.set()
            thread.join()
            live.update(picture(demo, url), refresh=True)


def picture(demo: Demo, url: str) -> Group:
    """Draw the current state of the demo."""
    shown = demo.board.snapshot()
    return Group(
        _headline(demo, shown, url),
        _models(demo),
        *(_decisions(shown, kind) for kind in ("alerts", "offers")),
    )


def _headline(demo: Demo, shown: dict[str, Any], url: str) -> Group:
    progress, counts = demo.progress, demo.counts
    done, total = (progress.position, progress.total or 0) if progress else (0, 0)
    bar = Table.grid(padding=(0, 2))
    bar.add_row(
        ProgressBar(total=total or 1, completed=done, width=40),
        f"{count(done)} of {count(total)} events",
        day(progress.time_ms) if progress and progress.time_ms else "",
        f"{demo.seconds:.0f} s",
    )
    figures = Table.grid(padding=(0, 3))
    rate = f"{count(progress.events_per_s if progress else 0)} events/s"
    figures.add_row(
        Text(rate, style="bold"),
        f"lag {count(max(0, *demo.waiting().values()))}",
        f"{count(counts.alerts)} alerts",
        f"{count(counts.offers)} offers",
        f"{count(counts.dead_letters)} dead letters",
        f"{count(shown['totals']['customers'])} customers",
    )
    return Group(Text(f"Streamwise · live page: {url}", style="bold cyan"), bar, figures)


def _models(demo: Demo) -> Table:
    table = Table(
        title="Models (prequential: each example is scored before it is learned)",
        title_justify="left",
        box=None,
    )
    columns = ("model", "examples learned", "AUC of the latest 4,096", "AUC of the last half", "its examples")
    for name in columns:
        table.add_column(name, justify="left" if name == "model" else "right")
    latest = demo.board.snapshot()["models"]
    for name, status in latest.items():
        half = demo.counts.models.get(name, {})
        table.add_row(
            name, count(status.get("examples")), share(status.get("auc")), share(half.get("auc")),
            count(half.get("examples", 0)),
        )  # fmt: skip
    return table


def _decisions(shown: dict[str, Any], kind: str) -> Table:
    table = Table(title=f"Newest {kind}", title_justify="left", box=None)
    for name in ("time", "customer", "policy", "message"):
        table.add_column(name, no_wrap=name != "message")
    for decision in shown[kind][:DECISIONS]:
        texts = (stamp(decision["time"]), decision["customer"], decision["policy"], decision["message"])
        table.add_row(*(Text(text) for text in texts))
    return table
