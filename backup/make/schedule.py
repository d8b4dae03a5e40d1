"""Scheduled backups: when the next one is due, of which kind, and which old ones may go."""

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
    """`every_h`: hours between backups; one in `full_every` is full; `keep` full ones stay, with their increments."""

    folder: Path
    every_h: float
    full_every: int
    keep: int

    def kept(self) -> Kept:
        """What is in the folder, oldest first."""
        return nearby(self.folder)

    def wait_s(self, now_ms: int) -> float:
        """Until the next backup is due; 0 when it is."""
        newest = self.newest_ms()
        due_ms = newest + self.every_h * HOUR_MS if newest else now_ms
        return max(0.0, (due_ms - now_ms) / 1000)

    def newest_ms(self) -> int:
        """When the newest backup was made; 0 without any."""
        kept = self.kept()
        return kept[-1][1].created_ms if kept else 0

    def base(self, kept: Kept) -> Path | None:
        """What the next backup builds on; None: it is a full one."""
        chain = _newest_chain(kept)
        if not chain or len(chain) >= self.full_every:
            return None
        return chain[-1][0]

    def path(self, now_ms: int, base: Path | None) -> Path:
        """Where the next backup goes."""
        at = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")
        return self.folder / f"streamwise-{at}-{INCREMENT if base else FULL}{SUFFIX}"

    def superfluous(self, kept: Kept) -> list[Path]:
        """Older chains than are kept, whole, the newest file of each first: what is left of one can be restored.
        What builds on nothing that is there can not, and goes as well; the newest full backup never does."""
        fulls = [header.id for _, header in kept if header.kind == FULL]
        root: dict[str, str] = {}
        for _, header in kept:
            root[header.id] = header.id if header.kind == FULL else root.get(header.parent, "")
        wanted = set(fulls[-self.keep :])
        return [path for path, header in reversed(kept) if fulls and root[header.id] not in wanted]

    def tidy(self) -> list[Path]:
        """Remove what is superfluous, and the parts of backups that were ended; what was removed."""
        removed = [*self.superfluous(self.kept()), *self.folder.glob(f"*{SUFFIX}{PART}")]
        for path in removed:
            path.unlink(missing_ok=True)
        return removed


def _newest_chain(kept: Kept) -> Kept:
    """The newest full backup and what builds on it, in order."""
    chain: list[tuple[Path, Header]] = []
    for path, header in kept:
        if header.kind == FULL:
            chain = [(path, header)]
        elif chain and header.parent == chain[-1][1].id:
            chain.append((path, header))
    return chain
