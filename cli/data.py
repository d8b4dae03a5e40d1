"""Commands that work with recorded events: demo, replay, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .options import ConfigFolder, Json, Kafka, Limit, Mapping, report, settings_with


@app.command()
def demo(
    json_: Json = False,
    limit: Limit = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the live page.")] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep the page up until Ctrl-C, and keep the ledger and the logs."),
    ] = False,
    config: ConfigFolder = None,
) -> None:
    """Run a year of real shopping baskets through every role.

    It runs on this machine and needs only Python.

    Example: streamwise demo --no-browser
    """
    from rich.console import Console

    from operations.demo import format_report, run_demo

    console = Console(stderr=json_)
    browser = not (no_browser or json_) and console.is_terminal
    summary = run_demo(settings_with(config=config), limit=limit, browser=browser, keep=keep, console=console)
    report(summary, json_, format_report)
    if summary.get("lost") or summary.get("dead_letters"):
        raise typer.Exit(1)


@app.command()
def replay(
    source: Annotated[
        str, typer.Argument(help="complete-journey, cdnow, or a CSV, Parquet or JSON-lines file.")
    ],
    mapping: Mapping = None,
    speed: Annotated[
        str | None, typer.Option(help="Stream time per second, such as 1d/s; default: full speed.")
    ] = None,
    limit: Limit = None,
    until: Annotated[str | None, typer.Option(help="Stop before this date.")] = None,
    no_resume: Annotated[
        bool,
        typer.Option("--no-resume", help="Start again from the first event."),
    ] = False,
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Send recorded events to their topics.

    A replay that you stop goes on from there next time.

    Example: streamwise replay complete-journey --speed 1d/s
    """
    from operations.replay import format_report, replay_source

    done = replay_source(
        settings_with(kafka=kafka), source, mapping=mapping, speed=speed, limit=limit, until=until, resume=not
        no_resume, quiet=json_,
    )  # fmt: skip
    report(done, json_, format_report)


@app.command()
def evaluate(
    source: Annotated[
        str, typer.Argument(help="complete-journey, cdnow, or a CSV, Parquet or JSON-lines file.")
    ],
    mapping: Mapping = None,
    examples: Annotated[
        Path | None, typer.Option(help="Write every matured example to this Parquet file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Evaluate only this model.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Compute figures from this date on; default: the last half.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="nightly-lightgbm: compare with LightGBM refitted at every midnight of the stream."
        ),
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(help="Replace `within` of the model given by --model, such as 30d.")
    ] = None,
    limit: Limit = None,
    json_: Json = False,
    config: ConfigFolder = None,
) -> None:
    """Report how well the models predict recorded events.

    It replays the events in order of time and needs no broker.

    Example: streamwise evaluate complete-journey --examples examples.parquet
    """
    from operations.evaluate import evaluate as run
    from operations.evaluate import format_report

    done = run(
        settings_with(config=config), source, mapping=mapping, examples=examples, model=model, start=start, limit=limit,
        baseline=baseline, horizon=horizon, quiet=json_,
    )  # fmt: skip
    report(done, json_, format_report)
