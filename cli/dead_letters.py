"""Commands that list, show and replay dead letters: records that could not be processed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import ConfigFolder, Json, Kafka, Limit, report, settings_with

if TYPE_CHECKING:
    from config.settings import Settings


dead_letters = typer.Typer(
    no_args_is_help=True,
    help="List, show or replay records that could not be processed.\n\nExample: streamwise dead-letters list",
)

Reason = Annotated[str, typer.Option(help="Only dead letters whose reason contains this text.")]

Topic = Annotated[str, typer.Option(help="Only dead letters from this source topic.")]

Since = Annotated[str | None, typer.Option(help="Only records appended from this date or time on.")]

Until = Annotated[str | None, typer.Option(help="Only records appended before this date or time.")]


@dead_letters.command("list")
def list_letters(
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    until: Until = None,
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Count dead letters by topic and reason.

    Example: streamwise dead-letters list --topic sales.events
    """
    from operations.dead_letters import summary, summary_lines

    choice = _choice(reason, topic, since, until)
    report(summary(_letterbox(settings_with(kafka=kafka)), choice), json_, summary_lines)


@dead_letters.command("show")
def show_letter(
    letter: Annotated[str, typer.Argument(help="TOPIC:PARTITION:OFFSET, as `list` shows it.")],
    json_: Json = False,
    kafka: Kafka = None,
) -> None:
    """Show one dead letter and its record.

    Example: streamwise dead-letters show sales.events:3:1207
    """
    from operations.dead_letters import detail, detail_lines

    report(detail(_letterbox(settings_with(kafka=kafka)), letter), json_, detail_lines)


@dead_letters.command("replay")
def replay_letters(
    reason: Reason = "",
    topic: Topic = "",
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Send nothing; say how many would be sent and why the others would not."
        ),
    ] = False,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Send dead letters to their topics again, each once.

    Key, value, headers and time stay as they were.

    Example: streamwise dead-letters replay --reason "schema id"
    """
    from agents.runtime import source_topics
    from operations.redeliver import format_report, redeliver, told
    from streams.kafka import reach

    settings, choice = settings_with(kafka=kafka, config=config), _choice(reason, topic, since, until)
    sources = source_topics(settings)
    reach(settings.access)
    report(told(redeliver(settings.access, sources, choice, limit=limit, dry=dry_run)), json_, format_report)


def _choice(reason: str, topic: str, since: str | None, until: str | None) -> Any:
    from operations.dead_letters import DeadLetterFilter
    from operations.replay import parse_date_ms

    times = {}
    if since is not None:
        times["since_ms"] = parse_date_ms(since, "--since")
    if until is not None:
        times["until_ms"] = parse_date_ms(until, "--until")
    return DeadLetterFilter(reason, topic, **times)


def _letterbox(settings: Settings) -> Any:
    from operations.dead_letters import read_letters
    from streams.kafka import reach

    reach(settings.access)
    return read_letters(settings.access)
