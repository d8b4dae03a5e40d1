"""Commands for operators: topics, checks, upgrades, kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .options import ConfigFolder, Json, Kafka, report, settings_with


@app.command()
def warm(json_: Json = False, config: ConfigFolder = None) -> None:
    """Compile the kernels into Numba's cache, so that no role has to when it starts.

    Example: streamwise warm
    """
    from operations.kernels import fill_cache

    def told(done: int, count: int) -> None:
        if not json_:
            print(f"compiling kernels: {done} of {count}", flush=True)

    seconds = fill_cache(settings_with(config=config).config, told)
    report({"seconds": round(seconds, 2)}, json_, lambda done: [f"kernels are ready ({done['seconds']} s)"])


@app.command()
def topics(
    json_: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Create no topic; fail if one is missing.")] = False,
    acls: Annotated[
        str | None,
        typer.Option(
            help="Print the commands that give each role its ACLs, for this principal; {role} becomes its name."
        ),
    ] = None,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Create missing topics and check the existing ones.

    Example: streamwise topics --kafka 127.0.0.1:9092

    Example: streamwise topics --acls User:streamwise-{role}
    """
    from agents.runtime import prepare, source_topics
    from agents.topology import commands

    settings = settings_with(kafka=kafka, config=config)
    if acls is not None:
        print("\n".join(commands(settings.kafka, acls, source_topics(settings))))
        return
    done = prepare(settings, "" if check else "topics", patience_s=0, create=not check)
    report(
        {"topics": done}, json_, lambda found: [f"{name}: {state}" for name, state in found["topics"].items()]
    )


@app.command()
def doctor(json_: Json = False, kafka: Kafka = None, config: ConfigFolder = None) -> None:
    """Check the installation for problems.

    It checks Python, packages, config, kernels, disk, broker, topics, Redis and SQL.

    Example: streamwise doctor
    """
    from operations.doctor import examine, format_report
    from operations.doctor import report as summary_of

    found = summary_of(examine(settings_with(kafka=kafka, config=config)))
    report(found, json_, format_report)
    raise typer.Exit(0 if found["ok"] else 1)


@app.command()
def changes(
    old: Annotated[Path, typer.Argument(help="The config folder that the workers use now.")],
    json_: Json = False,
    config: ConfigFolder = None,
) -> None:
    """Compare two configs: what an upgrade keeps in the rows.

    It also says what a downgrade keeps, and needs no broker.

    Example: streamwise changes /srv/streamwise/config --config config
    """
    from operations.compare_configs import compare, format_report
    from pipeline.config import load_config

    new = load_config(settings_with(config=config).config)
    report(compare(load_config(old), new), json_, format_report)
