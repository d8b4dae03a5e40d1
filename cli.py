"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.errors import ConfigError, StreamwiseError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Real-time processing of customer events: live offers, churn alerts, models that learn on the stream.",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of standard output.")]
Kafka = Annotated[str | None, typer.Option(help="host:port of a Kafka broker. [STREAMWISE_KAFKA]")]
ConfigFolder = Annotated[
    Path | None, typer.Option("--config", help="Folder of features.yaml, models.yaml, policies.yaml. [STREAMWISE_CONFIG]")
]
Tied = Annotated[bool, typer.Option("--tied", hidden=True)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what goes wrong.")]


@app.command()
def demo(
    json_: Json = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the live page.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Serve the page until Ctrl-C, and keep ledger and logs.")] = False,
    config: ConfigFolder = None,
) -> None:
    """A year of real baskets through every role, on this machine, with nothing but Python.

    Example: streamwise demo --no-browser
    """
    from rich.console import Console

    from agents.embed import run_demo

    settings = _settings(config=config)
    console = Console(stderr=json_)
    summary = run_demo(settings, limit=limit, browser=not (no_browser or json_), keep=keep, console=console)
    _report(summary, json_, _demo_lines)
    if not summary["complete"]:
        return
    raise typer.Exit(1 if summary["lost"] or summary["dead_letters"] else 0)


@app.command()
def worker(tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None) -> None:
    """Fold events into customers' rows, score them, decide (steps 2 to 8).

    Example: streamwise worker --kafka 127.0.0.1:9092
    """
    settings = _role(tied, verbose, kafka=kafka, config=config)
    from agents.worker import Worker

    _run_role(Worker(settings))


@app.command()
def learner(
    tied: Tied = False,
    verbose: Verbose = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
    figures_from: Annotated[
        int | None, typer.Option(help="Figures also over examples opened from this time on (ms since 1970).")
    ] = None,
    figures_to: Annotated[int | None, typer.Option(help="… and due by this time (ms since 1970).")] = None,
) -> None:
    """Learn from matured examples and publish model snapshots (step 10).

    Example: streamwise learner --kafka 127.0.0.1:9092
    """
    settings = _role(tied, verbose, kafka=kafka, config=config)
    from agents.learner import LearnerRole
    from agents.period import Period

    everything = Period()
    period = Period(
        everything.start_ms if figures_from is None else figures_from,
        everything.end_ms if figures_to is None else figures_to,
    )
    _run_role(LearnerRole(settings, period=period))


@app.command()
def ledger(tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None) -> None:
    """Keep alerts, offers and what became of them in SQL (step 9).

    Example: STREAMWISE_LEDGER=postgresql://me:secret@127.0.0.1:5432/streamwise streamwise ledger
    """
    settings = _role(tied, verbose, kafka=kafka)
    from agents.ledger import LedgerRole

    _run_role(LedgerRole(settings))


@app.command()
def server(tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None) -> None:
    """Serve the live page (step 9).

    Example: streamwise server --kafka 127.0.0.1:9092
    """
    settings = _role(tied, verbose, kafka=kafka, config=config)
    from agents.server import ServerRole

    _run_role(ServerRole(settings))


def _settings(**given: Any) -> Any:
    from config.settings import load_settings

    return load_settings(**given)


def _role(tied: bool, verbose: bool, **given: Any) -> Any:
    """What every role does first: settings, logging, topics; waits for a broker within bounds."""
    import logging

    from agents.role import set_up_logging
    from agents.start import prepare
    from agents.tied import end_with_parent

    if tied:
        end_with_parent()
    set_up_logging(logging.INFO if verbose else logging.WARNING)
    settings = _settings(**given)
    prepare(settings)
    return settings


def _run_role(role: Any) -> None:
    from agents.role import run_role

    raise typer.Exit(run_role(role.run))


def _report(result: dict[str, Any], as_json: bool, lines: Any) -> None:
    if as_json:
        print(json.dumps(result), flush=True)
    else:
        for line in lines(result):
            print(line)


def _demo_lines(summary: dict[str, Any]) -> list[str]:
    if "events" not in summary:
        return ["stopped"]
    models = [
        f"  {name}: AUC {figures['auc']:.3f} over {figures['examples']:,} examples of the last half"
        for name, figures in summary["models"].items()
        if figures["auc"] is not None
    ]
    counts = ", ".join(f"{summary[key]:,} {key.replace('_', ' ')}" for key in ("events", "alerts", "offers", "dead_letters", "lost"))
    return [f"{counts} in {summary['seconds']} s", *models]


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with 0 (ok), 1 (failed) or 2 (wrong use or wrong config)."""
    try:
        app(arguments)
    except ConfigError as error:
        _end(str(error), 2)
    except StreamwiseError as error:
        _end(str(error), 1)
    except ModuleNotFoundError as error:
        _end(f"the package {error.name} is missing; install Streamwise with its extras (`make setup`)", 1)


def _end(line: str, status: int) -> None:
    sys.stderr.write(f"streamwise: {line}\n")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
