"""Commands that back up an installation and restore it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import ConfigError

from .app import app
from .options import ConfigFolder, Json, Kafka, KeyFile, Tied, Verbose, report, settings_with
from .roles import prepare_role

if TYPE_CHECKING:
    from config.settings import Settings


@app.command()
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="The backup file to write, or with --drill to test.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="The previous backup: write only the changes since then.")
    ] = None,
    key: KeyFile = None,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Test FILE: restore it to a scratch place and compare every row. Without FILE, back up first.",
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Make scheduled backups in STREAMWISE_BACKUP_DIR until Ctrl-C.")
    ] = False,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", help="Write a new key to this file and stop.")
    ] = None,
    json_: Json = False,
    tied: Tied = False,
    verbose: Verbose = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Back up an installation into one file while the roles run.

    The file holds customers, models, config, ledger and offsets.

    Example: streamwise backup monday.backup --key backup.key
    """
    from agents.processes import give_way

    give_way()  # before the imports, which take a second of CPU
    from operations import backup as backups

    settings = settings_with(kafka=kafka, config=config)
    if new_key is not None:
        report({"key": backups.new_key(new_key)}, json_, lambda done: [f"{new_key} holds key {done['key']}"])
        return
    if watch:
        _watch(prepare_role("", tied, verbose, kafka=kafka, config=config))
        return
    if drill:
        found = backups.drill(settings, file, key=backups.key_of(settings, key), quiet=json_)
        report(found, json_, backups.drill_lines)
        raise typer.Exit(0 if found["ok"] else 1)
    if file is None:
        raise ConfigError("backup", None, "expected the name of the file to make, got none")
    done = backups.make_backup(settings, file, since=since, key=backups.key_of(settings, key), quiet=json_)
    report(done, json_, backups.backup_lines)


@app.command()
def restore(
    files: Annotated[
        list[Path],
        typer.Argument(help="One backup with its ancestors in the same folder, or all files in order."),
    ],
    key: KeyFile = None,
    json_: Json = False,
    kafka: Kafka = None,
    config: ConfigFolder = None,
) -> None:
    """Restore a backup into an empty cluster.

    Restore before you start any role there.

    Example: streamwise restore monday.backup --key backup.key
    """
    from operations import backup as backups

    settings = settings_with(kafka=kafka, config=config)
    done = backups.restore_backup(settings, files, key=backups.key_of(settings, key), quiet=json_)
    report(done, json_, backups.restore_lines)


def _watch(settings: Settings) -> None:
    from agents.processes import stop_on_signals
    from operations.backup_schedule import BackupWatch

    with stop_on_signals() as stop:
        BackupWatch(settings).run(stop)
