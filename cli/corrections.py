"""Commands about what people say of messages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import ConfigFolder, Json, Kafka, report, settings_with

if TYPE_CHECKING:
    pass


corrections = typer.Typer(
    no_args_is_help=True,
    help="What people say of messages that were read: the reader learns from it.\n\n"
    "Example: streamwise corrections send corrections.jsonl",
)


@corrections.callback()
def _corrections() -> None:
    """A group, however many commands there are."""


@corrections.command("send")
def send_corrections(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON lines: text, and sentiment or labels; id, message_id, language, by, time."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Instead of a file: the text …")] = None,
    sentiment: Annotated[float | None, typer.Option(help="… its sentiment, from -1 to 1 …")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="… and what it is or is not: complaint, churn_intent=no, billing."),
    ] = None,
    message_id: Annotated[str | None, typer.Option(help="The message that it is of.")] = None,
    language: Annotated[str | None, typer.Option(help="Its language, such as en.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Send corrections; each is learned once, however often it is sent.

    Example: streamwise corrections send corrections.jsonl
    Example: streamwise corrections send --text "Well, that was quick" --sentiment=-0.4 --label complaint
    """
    from operations import corrections as correcting

    settings = settings_with(kafka=kafka, config=config)
    one = {"text": text, "sentiment": sentiment, "labels": correcting.labels_of(label or [])}
    given = {**one, "message_id": message_id, "language": language, "by": by}
    done = correcting.send(settings, correcting.gather(file, given))
    report(done, json_, correcting.format_report)
