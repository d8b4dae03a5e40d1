"""Commands that start roles: one, or all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import app
from .options import ConfigFolder, Kafka, Tied, Verbose, settings_with

if TYPE_CHECKING:
    from config.settings import Settings


@app.command()
def up(
    kafka: Kafka = None,
    config: ConfigFolder = None,
    apart: Annotated[
        bool, typer.Option("--apart", help="Run each role in its own process; takes more memory.")
    ] = False,
) -> None:
    """Run all roles together until Ctrl-C.

    The roles are worker, learner, ledger, analyst, server and, where messages can be read, reader.
    All but the worker share a process.

    Example: streamwise up --kafka 127.0.0.1:9092
    """
    from agents.processes import run_first, run_together, stop_on_signals

    settings = settings_with(kafka=kafka, config=config)
    with stop_on_signals() as stop:
        if status := run_first(settings, stop):  # it has logged the reason
            raise typer.Exit(status)
        if not stop.is_set():
            run_together(settings, stop, print, apart=apart)


@app.command(hidden=True)
def prepare(tied: Tied = False) -> None:
    """Wait for the broker, create missing topics and compile the kernels, before any role starts.

    Example: streamwise prepare
    """
    from agents.processes import end_with_parent
    from agents.runtime import prepare as prepare_broker
    from operations.kernels import fill_cache

    if tied:
        end_with_parent()
    settings = settings_with()
    prepare_broker(settings)
    fill_cache(
        settings.config, lambda done, count: print(f"compiling kernels: {done} of {count}", flush=True)
    )


@app.command(hidden=True)
def shared(
    roles: Annotated[list[str], typer.Argument(help="Any roles but the worker.")],
    tied: Tied = False,
    verbose: Verbose = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Run several roles in one process.

    Example: streamwise shared learner ledger
    """
    from agents.runtime import enter, run_shared, source_topics

    settings = prepare_role(roles[0], tied, verbose, shared=True, kafka=kafka, config=config)
    sources = source_topics(settings)
    for role in roles[1:]:
        enter(settings, role, sources)
    raise typer.Exit(run_shared(roles, settings))


@app.command()
def worker(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Run the worker: update, score and decide (steps 2 to 8).

    It folds events into customers' rows, scores the rows and decides on alerts and offers.

    Example: streamwise worker --kafka 127.0.0.1:9092
    """
    settings = prepare_role("worker", tied, verbose, kafka=kafka, config=config)
    from agents.worker import Worker

    _run(Worker(settings))


@app.command()
def learner(
    tied: Tied = False,
    verbose: Verbose = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
    figures_from: Annotated[
        int | None,
        typer.Option(help="In /status, count only examples opened from this time on (ms since 1970)."),
    ] = None,
    figures_to: Annotated[int | None, typer.Option(help="… and due by this time (ms since 1970).")] = None,
) -> None:
    """Run the learner: train the models online (step 10).

    It learns from matured examples and publishes model snapshots.

    Example: streamwise learner --kafka 127.0.0.1:9092
    """
    settings = prepare_role("learner", tied, verbose, kafka=kafka, config=config)
    from agents.learner import LearnerRole
    from models.evaluation import Period

    _run(LearnerRole(settings, period=Period.between(figures_from, figures_to)))


@app.command()
def ledger(tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None) -> None:
    """Run the ledger: keep alerts and offers in SQL (step 9).

    It also keeps their outcomes.

    Example: STREAMWISE_LEDGER=postgresql://me:secret@127.0.0.1:5432/streamwise streamwise ledger
    """
    settings = prepare_role("ledger", tied, verbose, kafka=kafka)
    from agents.ledger import LedgerRole

    _run(LedgerRole(settings))


@app.command()
def analyst(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Run the analyst: forecast and recommend (step 10).

    It forecasts sales and demand, and recommends products to each customer who changed.

    Example: streamwise analyst --kafka 127.0.0.1:9092
    """
    settings = prepare_role("analyst", tied, verbose, kafka=kafka, config=config)
    from agents.analyst import AnalystRole

    _run(AnalystRole(settings))


@app.command()
def reader(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Run the reader: rate the texts of messages (step 1).

    It reads social.messages and writes social.events.

    Example: streamwise reader --kafka 127.0.0.1:9092
    """
    settings = prepare_role("reader", tied, verbose, kafka=kafka, config=config)
    from agents.reader import ReaderRole

    _run(ReaderRole(settings))


@app.command()
def server(
    tied: Tied = False, verbose: Verbose = False, kafka: Kafka = None, config: ConfigFolder = None
) -> None:
    """Run the server: serve the live page (step 9).

    Example: streamwise server --kafka 127.0.0.1:9092
    """
    settings = prepare_role("server", tied, verbose, kafka=kafka, config=config)
    from agents.server import ServerRole

    _run(ServerRole(settings))


def prepare_role(role: str, tied: bool, verbose: bool, *, shared: bool = False, **given: Any) -> Settings:
    """Set up logging, settings and config for a role, and wait a bounded time for the broker."""
    import logging

    from agents.processes import end_with_parent
    from agents.runtime import prepare, set_up_logging

    if tied:
        end_with_parent()
    set_up_logging(logging.INFO if verbose else logging.WARNING, shared=shared)
    settings = settings_with(**given)
    prepare(settings, role)
    return settings


def _run(role: Any) -> None:
    from agents.runtime import run_role

    raise typer.Exit(run_role(role.run))
