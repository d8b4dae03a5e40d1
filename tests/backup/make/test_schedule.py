"""Promise: backups are made when they are due, and only whole chains are removed, never the newest full backup."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from backup.file.archive import ArchiveWriter
from backup.file.summary import FULL, INCREMENT, Header, Summary
from backup.make.schedule import HOUR_MS, Schedule
from config.settings import Settings, load_settings
from operations import backup_schedule as scheduled
from operations.backup_schedule import BackupWatch
from streams.errors import ConfigError, Fatal, Retryable

NOW_MS = 1_800_000_000_000


def put(folder: Path, name: str, at_h: float, parent: str = "") -> Path:
    path = folder / f"{name}.backup"
    header = Header(name, INCREMENT if parent else FULL, int(NOW_MS + at_h * HOUR_MS), parent)
    with ArchiveWriter(path, header, None) as archive:
        archive.finish(Summary())
    return path


def names(paths: list[Path]) -> list[str]:
    return [path.name.removesuffix(".backup") for path in paths]


def test_the_next_one_is_due_so_many_hours_after_the_newest(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, every_h=6, full_every=3, keep=2)
    assert schedule.wait_s(NOW_MS) == 0
    put(tmp_path, "a", 0)
    put(tmp_path, "b", 1, parent="a")
    assert schedule.wait_s(NOW_MS) == 7 * 3600
    assert schedule.wait_s(NOW_MS + 8 * HOUR_MS) == 0


def test_one_in_so_many_is_full_and_the_others_build_on_the_one_before(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, every_h=6, full_every=3, keep=2)
    assert schedule.base(schedule.kept()) is None
    a = put(tmp_path, "a", 0)
    assert schedule.base(schedule.kept()) == a
    b = put(tmp_path, "b", 1, parent="a")
    assert schedule.base(schedule.kept()) == b
    put(tmp_path, "c", 2, parent="b")
    assert schedule.base(schedule.kept()) is None
    assert Schedule(tmp_path, 6, 1, 2).base(schedule.kept()) is None


def test_old_chains_go_as_a_whole_the_newest_file_first(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path, every_h=6, full_every=3, keep=2)
    for number, name in enumerate("abc"):
        put(tmp_path, name, 10 * number)
        put(tmp_path, f"{name}1", 10 * number + 1, parent=name)
        put(tmp_path, f"{name}2", 10 * number + 2, parent=f"{name}1")
    put(tmp_path, "lost", 3, parent="gone")
    part = tmp_path / "d.backup.part"
    part.write_bytes(b"cut short")
    other = tmp_path / "notes.backup"
    other.write_text("not one of ours", encoding="utf-8")
    assert names(schedule.superfluous(schedule.kept())) == ["lost", "a2", "a1", "a"]
    schedule.tidy()
    assert names(sorted(tmp_path.glob("*.backup"))) == ["b", "b1", "b2", "c", "c1", "c2", "notes"]
    assert not part.exists()
    put(tmp_path, "e", 40)
    assert names(Schedule(tmp_path, 6, 3, 1).superfluous(schedule.kept())) == [
        "c2",
        "c1",
        "c",
        "b2",
        "b1",
        "b",
    ]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        backup_dir=str(tmp_path / "backups"),
        backup_port=0,
        backup_every=6,
        backup_full_every=3,
        backup_keep=1,
    )


def test_a_watch_without_a_folder_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="STREAMWISE_BACKUP_DIR: name a folder"):
        BackupWatch(load_settings())


def test_the_watch_makes_full_backups_where_increments_are_not_possible(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def make(_: Any, path: Path, *, since: Path | None, **__: Any) -> dict[str, int]:
        tried.append(INCREMENT if since else FULL)
        if since is not None and len(tried) == 3:
            raise Fatal("topic customers-changelog was made anew")
        parent = since.name.removesuffix(".backup") if since else ""
        put(path.parent, f"made{len(tried)}", len(tried), parent)
        return {"rows": 0, "bytes": 0}

    monkeypatch.setattr(scheduled, "make_backup", make)
    watch = BackupWatch(settings)
    try:
        for _ in range(3):
            watch.once()
        assert tried == [FULL, INCREMENT, INCREMENT, FULL]
        kept = [path.name for path, _ in watch.schedule.kept()]
        assert kept == ["made4.backup"]  # one chain is kept
        assert watch.status()["backups"] == 3
    finally:
        watch.http.server.stop()


def test_a_backup_that_fails_is_told_and_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, stop = threading.Event(), threading.Event()

    def make(*_: Any, **__: Any) -> dict[str, int]:
        failed.set()
        raise Retryable("no Kafka broker answers")

    monkeypatch.setattr(scheduled, "make_backup", make)
    monkeypatch.setattr(scheduled, "LOOK_S", 0.01)
    watch = BackupWatch(settings)
    running = threading.Thread(target=watch.run, args=(stop,))
    running.start()
    try:
        assert failed.wait(10)
        while watch.ready()[0]:
            pass
        answer = httpx.get(f"http://127.0.0.1:{watch.http.server.port}/readyz")
        assert (answer.status_code, answer.text) == (503, "no Kafka broker answers\n")
        assert watch.status()["backup_failures"] == 1
    finally:
        stop.set()
        running.join(10)
    assert not running.is_alive()


def test_how_long_a_backup_has_been_due(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(settings.backup_dir)
    folder.mkdir()
    put(folder, "a", 0)
    watch = BackupWatch(settings)
    try:
        for hours, overdue_s in ((5, 0), (8, 7200)):
            now_s = (NOW_MS + hours * HOUR_MS) / 1000
            monkeypatch.setattr("operations.backup_schedule.time.time", partial(float, now_s))
            status = watch.status()
            assert (status["backup_age_s"], status["backup_overdue_s"]) == (hours * 3600, overdue_s)
    finally:
        watch.http.server.stop()
