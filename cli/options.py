"""Options that several commands share, and what each does with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from config.settings import Settings


Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of standard output.")]

Kafka = Annotated[str | None, typer.Option(help="host:port of a Kafka broker (STREAMWISE_KAFKA).")]

ConfigFolder = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Folder of features.yaml, models.yaml and policies.yaml (STREAMWISE_CONFIG)."
    ),
]

Mapping = Annotated[Path | None, typer.Option(help="What the columns of a file mean (YAML).")]

Limit = Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")]

KeyFile = Annotated[
    Path | None, typer.Option("--key", help="The key file of encrypted backups (STREAMWISE_BACKUP_KEY).")
]

Tied = Annotated[bool, typer.Option("--tied", hidden=True)]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what goes wrong.")]


def settings_with(**given: Any) -> Settings:
    from config.settings import load_settings

    return load_settings(**given)


def report(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    print(json.dumps(result) if as_json else "\n".join(lines(result)), flush=True)
