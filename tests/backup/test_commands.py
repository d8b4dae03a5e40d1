"""Promise: a backup or restore that is not possible is one line and a status, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from agents.processes.supervisor import environment
from backup.file.archive import ArchiveWriter
from backup.file.key import new_key, read_key
from backup.file.summary import FULL, INCREMENT, Header, Summary
from backup.make.backup import Backup
from config.settings import load_settings
from operations.backup import installation
from streams.errors import Fatal

NO_BROKER = "no Kafka broker answers at 127.0.0.1:1; start one with `make kafka`, or set STREAMWISE_KAFKA"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, in a folder of its own, without a broker: status and the error's line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMWISE_KAFKA", "127.0.0.1:1")

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments])
        captured = capsys.readouterr()
        assert captured.err.count("\n") <= 1
        return int(ended.value.code or 0), captured.err.removeprefix("streamwise: ").rstrip("\n")

    return call


def made(path: Path, *, key: bytes | None = None, parent: str = "") -> Path:
    with ArchiveWriter(path, Header(path.stem, INCREMENT if parent else FULL, 1, parent), key) as archive:
        archive.begin("files")
        archive.add(b"")
        archive.finish(Summary(partitions=12))
    return path


def test_a_backup_without_a_broker(run: Run, tmp_path: Path) -> None:
    assert run("backup", "a.backup", "--json") == (1, NO_BROKER)
    assert not (tmp_path / "a.backup").exists()


def test_what_is_missing_on_the_command_line(run: Run) -> None:
    assert run("backup") == (2, "backup: expected the name of the file to make, got none")
    line = "settings: STREAMWISE_BACKUP_DIR: name a folder for scheduled backups"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.runtime.prepare", lambda *given, **named: {})
        assert run("backup", "--watch") == (2, line)


def test_what_cannot_be_restored_is_said_before_a_broker_is_asked(run: Run, tmp_path: Path) -> None:
    new_key(tmp_path / "key")
    new_key(tmp_path / "other")
    whole = made(tmp_path / "whole.backup", key=read_key(tmp_path / "key"))
    made(tmp_path / "more.backup", parent="lost")
    (tmp_path / "short.backup").write_bytes(whole.read_bytes()[:-1])
    (tmp_path / "text.backup").write_text("no backup at all", encoding="utf-8")
    for arguments, line in (
        (["nowhere.backup"], "nowhere.backup cannot be read: No such file or directory"),
        (["text.backup"], "text.backup is no backup"),
        (
            ["short.backup", "--key", "key"],
            "short.backup is damaged: it is cut short; take another copy of it",
        ),
        (["more.backup"], "more.backup builds on backup lost, which is not beside it"),
        (["whole.backup"], "whole.backup is encrypted: name its key file (--key)"),
        (["whole.backup", "--key", "other"], "whole.backup was encrypted with key "),
        (["whole.backup", "--key", "gone"], "the key file gone cannot be read"),
    ):
        status, said = run("restore", *arguments, "--json")
        assert (status, said[: len(line)]) == (1, line)
    assert run("restore", "whole.backup", "--key", "key", "--json") == (1, NO_BROKER)


def test_the_key_may_come_from_the_settings(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_key(tmp_path / "key")
    made(tmp_path / "whole.backup", key=read_key(tmp_path / "key"))
    monkeypatch.setenv("STREAMWISE_BACKUP_KEY", "key")
    assert run("restore", "whole.backup", "--json") == (1, NO_BROKER)


def test_a_ledger_elsewhere_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = Backup(installation(load_settings(kafka="127.0.0.1:1", state=tmp_path)))
    monkeypatch.setattr("backup.topic_log.Cluster.committed", lambda *given: {})
    assert backup._ledger() is None
    monkeypatch.setattr("backup.topic_log.Cluster.committed", lambda *given: {"alerts": {"0": 5}})
    with pytest.raises(Fatal, match="make the backup where it is, or name it"):
        backup._ledger()


def test_a_role_in_another_folder_is_given_whole_paths(tmp_path: Path) -> None:
    given = environment(load_settings(backup_dir="backups", backup_key="backup.key", state=tmp_path), True)
    assert given["STREAMWISE_BACKUP_DIR"] == str(Path("backups").resolve())
    assert given["STREAMWISE_BACKUP_KEY"] == str(Path("backup.key").resolve())
    assert environment(load_settings(), False)["STREAMWISE_BACKUP_DIR"] == ""
