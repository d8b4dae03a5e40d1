"""`streamwise backup --watch`: makes scheduled backups, retries failed ones and removes old ones.

It runs beside the roles and is not one of them: nothing depends on it.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from agents.processes import say_ready
from agents.runtime import HttpPort
from backup.make import HOUR_MS, Schedule
from config.settings import Settings
from serving.monitoring import RoleStatus
from streams.errors import ConfigError, Fatal, StreamwiseError

from .backup import key_of, make_backup

log = logging.getLogger(__name__)

LOOK_S = 1.0
TRY_AGAIN_S = 60.0


class BackupWatch:
    """Makes scheduled backups until stopped. `ready`: whether the last attempt succeeded."""

    def __init__(self, settings: Settings) -> None:
        if not settings.backup_dir:
            raise ConfigError("settings", None, "STREAMWISE_BACKUP_DIR: name a folder for scheduled backups")
        folder = Path(settings.backup_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Fatal(f"the folder of backups {folder} cannot be made: {error.strerror}") from error
        self._settings, self._key = settings, key_of(settings, None)
        self.schedule = Schedule(
            folder, settings.backup_every, settings.backup_full_every, settings.backup_keep
        )
        self._failure = ""
        self._failures = self._made = 0
        self._newest_ms = self.schedule.newest_ms()
        self._started_ms = time.time() * 1000
        self.http = HttpPort("backup", settings.host, settings.backup_port, self.status, self.ready)

    def ready(self) -> tuple[bool, str]:
        """Whether the last attempt succeeded, and why not."""
        return not self._failure, self._failure

    def status(self) -> RoleStatus:
        """Return the figures for /status and /metrics."""
        now_ms = time.time() * 1000
        age_ms = now_ms - (self._newest_ms or self._started_ms)
        overdue_ms = age_ms - self.schedule.every_h * HOUR_MS
        return {
            "role": "backup",
            "backups": self._made,
            "backup_failures": self._failures,
            "backup_age_s": age_ms / 1000,
            "backup_overdue_s": max(0.0, overdue_ms / 1000),
        }

    def run(self, stop: threading.Event) -> None:
        """Make backups until `stop` is set."""
        self.http.start()
        say_ready("backup", f"{self._settings.host}:{self.http.server.port}")
        try:
            while not stop.wait(LOOK_S):
                if self.schedule.wait_s(int(time.time() * 1000)):
                    continue
                try:
                    self.once()
                    self._failure = ""
                except StreamwiseError as error:
                    self._failures += 1
                    self._failure = str(error)
                    log.error("the backup failed, next attempt in %.0f s: %s", TRY_AGAIN_S, error)
                    stop.wait(TRY_AGAIN_S)
        finally:
            self.http.stop()

    def once(self) -> Path:
        """Make the backup that is due, a full one if an increment is impossible; then remove old backups."""
        self.schedule.tidy()
        base = self.schedule.base(self.schedule.kept())
        try:
            path = self._make(base)
        except Fatal as error:
            if base is None:
                raise
            log.warning("making a full backup instead of an increment: %s", error)
            path = self._make(None)
        self._made += 1
        self._newest_ms = self.schedule.newest_ms()
        for gone in self.schedule.tidy():
            log.info("%s was removed", gone)
        return path

    def _make(self, base: Path | None) -> Path:
        path = self.schedule.path(int(time.time() * 1000), base)
        done = make_backup(self._settings, path, since=base, key=self._key, quiet=True)
        log.info("%s: %d customers, %d bytes", path, done["rows"], done["bytes"])
        return path
