"""Scheduled backups: when the next is due, whether it is full, and which old ones to remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup.chain import SUFFIX, nearby
from backup.file import FULL, INCREMENT, PART, Header

HOUR_MS = 3_600_000
Kept = Sequence[tuple[Path, Header]]


@dataclass(frozen=True)
class Schedule:
    """Hours between backups (`every_h`); one in `full_every` is full; `keep` full ones stay, with their increments."""

    folder: Path
    every_h: float
    full_every: int
    keep: int

    def kept(self) -> Kept:
        """The backups in the folder, oldest first."""
        return nearby(self.folder)

    def wait_s(self, now_ms: int) -> float:
        """Seconds until the next backup is due; 0 if it is due."""
        newest = self.newest_ms()
        due_ms = newest + self.every_h * HOUR_MS if newest else now_ms
        return max(0.0, (due_ms - now_ms) / 1000)

    def newest_ms(self) -> int:
        """The time of the newest backup, in ms since 1970; 0 if there is none."""
        kept = self.kept()
        return kept[-1][1].created_ms if kept else 0

    def base(self, kept: Kept) -> Path | None:
        """The backup that the next one builds on; None if the next is full."""
        chain = _newest_chain(kept)
        if not chain or len(chain) >= self.full_every:
            return None
        return chain[-1][0]

    def path(self, now_ms: int, base: Path | None) -> Path:
        """The path of the next backup."""
        at = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")
        return self.folder / f"streamwise-{at}-{INCREMENT if base else FULL}{SUFFIX}"

    def superfluous(self, kept: Kept) -> list[Path]:
        """The files to remove: whole chains older than those kept, and increments whose base is missing.

        The newest file of a chain comes first, so that the rest can be restored if removal stops halfway. The newest
        full backup is never among them.
        """
        fulls = [header.id for _, header in kept if header.kind == FULL]
        root: dict[str, str] = {}
        for _, header in kept:
            root[header.id] = header.id if header.kind == FULL else root.get(header.parent, "")
        wanted = set(fulls[-self.keep :])
        return [path for path, header in reversed(kept) if fulls and root[header.id] not in wanted]

    def tidy(self) -> list[Path]:
        """Remove superfluous backups and the partial files of interrupted ones. Returns what was removed."""
        removed = [*self.superfluous(self.kept()), *self.folder.glob(f"*{SUFFIX}{PART}")]
        for path in removed:
            path.unlink(missing_ok=True)
        return removed


def _newest_chain(kept: Kept) -> Kept:
    """The newest full backup and its increments, in order."""
    chain: list[tuple[Path, Header]] = []
    for path, header in kept:
        if header.kind == FULL:
            chain = [(path, header)]
        elif chain and header.parent == chain[-1][1].id:
            chain.append((path, header))
    return chain
