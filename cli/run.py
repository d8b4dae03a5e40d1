"""The entry point: puts the commands in order and turns errors into exit statuses."""

from __future__ import annotations

import sys

from streams.errors import ConfigError, StreamwiseError

from . import backups, bench, corrections, data, dead_letters, models, operations, roles
from .app import app

COMMANDS = (data, roles, operations, backups, bench)  # their import adds the commands to `app`
# `--help` lists what a newcomer needs first
ORDER = (
    "demo", "up", "warm", "worker", "learner", "ledger", "analyst", "reader", "server", "topics", "doctor", "changes",
    "backup", "restore", "replay", "evaluate", "bench", "prepare", "shared",
)  # fmt: skip
app.registered_commands.sort(key=lambda command: ORDER.index(command.callback.__name__))  # type: ignore[union-attr]
app.add_typer(dead_letters.dead_letters, name="dead-letters")
app.add_typer(models.models, name="models")
app.add_typer(corrections.corrections, name="corrections")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with 0 (ok), 1 (failed) or 2 (wrong use or wrong config)."""
    try:
        app(arguments, prog_name="streamwise")
    except ConfigError as error:
        _end(str(error), 2)
    except StreamwiseError as error:
        _end(str(error), 1)
    except ModuleNotFoundError as error:
        _end(f"the package {error.name} is missing; `make setup` installs everything", 1)
    except KeyboardInterrupt:
        _end("interrupted", 1)


def _end(line: str, status: int) -> None:
    sys.stderr.write(f"streamwise: {line}\n")
    raise SystemExit(status)
