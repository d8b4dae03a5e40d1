"""Commands that send people's corrections of what the reader found in messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFolder, Json, Kafka, report, settings_with

corrections = typer.Typer(
    no_args_is_help=True,
    help="Send people's ratings of messages to the reader. It learns from them.\n\n"
    "Example: streamwise corrections send corrections.jsonl",
)


@corrections.callback()
def _corrections() -> None:
    """Makes Typer keep this a group although it has one command."""


@corrections.command("send")
def send_corrections(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="JSON lines: text, and sentiment or labels; optional id, message_id, language, by, time."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text of one message, instead of a file.")] = None,
    sentiment: Annotated[
        float | None, typer.Option(help="The true sentiment of the text, from -1 to 1.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="A label that fits the text (complaint) or does not (churn_intent=no); repeatable."
        ),
    ] = None,
    message_id: Annotated[
        str | None, typer.Option(help="The id of the message that the text is from.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="The language of the text, such as en.")] = None,
    by: Annotated[str | None, typer.Option(help="The name of the person who made the correction.")] = None,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Send corrections to the reader.

    The reader learns each correction once, however often you send it.

    Example: streamwise corrections send corrections.jsonl

    Example: streamwise corrections send --text "Well, that was quick" --sentiment=-0.4 --label complaint
    """
    from operations import corrections as correcting

    settings = settings_with(kafka=kafka, config=config)
    one = {"text": text, "sentiment": sentiment, "labels": correcting.labels_of(label or [])}
    given = {**one, "message_id": message_id, "language": language, "by": by}
    done = correcting.send(settings, correcting.gather(file, given))
    report(done, json_, correcting.format_report)
