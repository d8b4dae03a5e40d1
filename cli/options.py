"""Options that several commands share, and how they load settings and print results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from config.settings import Settings


Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON, on the last line of output."),
]

Kafka = Annotated[str | None, typer.Option(help="Address of a Kafka broker, host:port (STREAMWISE_KAFKA).")]

ConfigFolder = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Folder of features.yaml, models.yaml and policies.yaml (STREAMWISE_CONFIG)."
    ),
]

Mapping = Annotated[
    Path | None, typer.Option(help="YAML file that says what the columns of the source mean.")
]

Limit = Annotated[int | None, typer.Option(min=1, help="Process at most this many events.")]

KeyFile = Annotated[
    Path | None, typer.Option("--key", help="The key file of encrypted backups (STREAMWISE_BACKUP_KEY).")
]

Tied = Annotated[bool, typer.Option("--tied", hidden=True)]

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log normal events too, not only warnings and errors.")
]


def settings_with(**given: Any) -> Settings:
    from config.settings import load_settings

    return load_settings(**given)


def report(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    print(json.dumps(result) if as_json else "\n".join(lines(result)), flush=True)
