"""`streamwise backup` and `streamwise restore`: make an `Installation` of the settings, show progress, report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agents.runtime import prepare, source_topics
from agents.topology import groups
from backup.chain import Chain, open_chain
from backup.file import ArchiveReader, new_key, read_key
from backup.installation import Installation
from backup.make import Backup
from backup.restore import Restore, put_config
from config.settings import Settings
from schemas.topics import (
    ALERTS,
    ANALYST_CHANGELOG,
    CHANGELOG,
    CORRECTIONS,
    EXAMPLES,
    MESSAGES,
    MODELS,
    OFFERS,
    OUTCOMES,
)
from streams.errors import Retryable
from streams.kafka import librdkafka_settings, reach

__all__ = ["key_of", "make_backup", "new_key", "restore_backup"]

Show = Callable[[int, int], None]


def installation(settings: Settings) -> Installation:
    """Return the installation that the settings describe. Raises `ConfigError` if a config file is wrong."""
    return Installation(
        client={**librdkafka_settings(settings.access), "log_level": 0},
        partitions=settings.partitions,
        changelog=CHANGELOG,
        models=MODELS,
        sources=source_topics(settings),
        consumers={
            ALERTS: groups.LEDGER,
            OFFERS: groups.LEDGER,
            OUTCOMES: groups.LEDGER,
            EXAMPLES: groups.LEARNER,
            MESSAGES: groups.READER,
            CORRECTIONS: groups.CORRECTIONS,  # this group commits nothing, so a backup holds every correction
        },
        decisions=frozenset({ALERTS, OFFERS}),
        worker=groups.WORKER,
        learner=groups.LEARNER,
        ledger=groups.LEDGER,
        analyst=groups.ANALYST,
        analyst_changelog=ANALYST_CHANGELOG,
        ledger_url=settings.ledger_url,
        config=settings.config,
    )


def key_of(settings: Settings, given: Path | None) -> bytes | None:
    """Return the key in the given key file or that of the settings; None without a key file."""
    path = given or (Path(settings.backup_key) if settings.backup_key else None)
    return read_key(path) if path else None


def make_backup(
    settings: Settings,
    path: Path,
    *,
    since: Path | None = None,
    key: bytes | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make one backup; return a report of what it holds."""
    began = time.perf_counter()
    at = installation(settings)
    reach(settings.access)
    prepare(settings, patience_s=0, create=False)
    base = ArchiveReader(since) if since else None
    try:
        if base is not None:
            base.unlock(key)
        with bar("reading", quiet) as show:
            backup = Backup(at, since=base, progress=show)
            header, size = backup.write(path, key)
    finally:
        if base is not None:
            base.close()
    summary = backup.summary
    return {
        "file": str(path),
        "id": header.id,
        "kind": header.kind,
        "parent": header.parent,
        "encrypted": key is not None,
        "bytes": size,
        "rows": sum(part.rows for part in summary.changelog.values()),
        "deleted": sum(part.deleted for part in summary.changelog.values()),
        "snapshots": summary.snapshots,
        "outputs": sum(
            found.end - found.begin for topic in summary.outputs.values() for found in topic.values()
        ),
        "tables": summary.tables,
        "seconds": round(time.perf_counter() - began, 2),
    }


def backup_lines(done: dict[str, Any]) -> list[str]:
    """Format the report of a backup for people."""
    tables = ", ".join(f"{count:,} {name}" for name, count in done["tables"].items())
    form = "encrypted" if done["encrypted"] else "NOT encrypted"
    return [
        f"{done['file']}: {done['kind']}, {done['bytes'] / 1e6:,.1f} MB, {form}, in {done['seconds']:.1f} s",
        f"{done['rows']:,} customers ({done['deleted']:,} deleted), {done['snapshots']} snapshots, "
        f"{done['outputs']:,} unread outputs; ledger: {tables or 'no tables of its own'}",
    ]


def restore_backup(
    settings: Settings, paths: Sequence[Path], *, key: bytes | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Restore a backup into an empty cluster; return a report of what was restored."""
    began = time.perf_counter()
    at = installation(settings)
    with open_chain(paths, key) as chain:
        with bar("checking", quiet) as show:
            chain.verify(show)
        reach(settings.access)
        prepare(settings, patience_s=0)
        with bar("restoring", quiet) as show:
            done = Restore(at, chain, show).run()
        folder = settings.state / f"config-of-{chain.id}"
        done["config_changed"] = put_config(chain.files(), settings.config, folder)
        done["config_folder"] = str(folder) if done["config_changed"] else ""
    return {**done, "seconds": round(time.perf_counter() - began, 2)}


def restore_lines(done: dict[str, Any]) -> list[str]:
    """Format the report of a restore for people."""
    tables = ", ".join(f"{count:,} {name}" for name, count in done["tables"].items())
    found = [
        f"{done['rows']:,} rows, {done['snapshots']} snapshots, {done['outputs']:,} unread outputs, in "
        f"{done['seconds']:.1f} s; ledger: {tables}"
    ]
    if done["new_sources"]:
        found.append(
            f"{done['new_sources']} source partitions are new and continue at the offsets of the old ones"
        )
    if done["kept_sources"]:
        found.append(
            f"{done['kept_sources']} source partitions already hold events; the workers read on in them"
        )
    if done["config_changed"]:
        names = ", ".join(done["config_changed"])
        found.append(f"the config differs from that of the backup ({names}): see {done['config_folder']}")
    return found


def drill(
    settings: Settings, path: Path | None, *, key: bytes | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Restore a backup to a scratch place and compare; make it first if there is no such file."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="streamwise-backup-") as folder:
        made = path is None or not path.exists()
        path = path or Path(folder) / "drill.backup"
        if made:
            make_backup(settings, path, key=key, quiet=quiet)
        with open_chain([path], key) as chain:
            found = _compared(settings, chain, made, quiet)
    return {"file": str(path), **found, "seconds": round(time.perf_counter() - began, 2)}


def _compared(settings: Settings, chain: Chain, made: bool, quiet: bool) -> dict[str, Any]:
    from backup.restore import Drill, Findings, compare_live

    findings = Findings()
    rows = sum(
        s.records for reader in chain.readers for s in reader.summary.sections if s.name == "changelog"
    )
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        show(min(done, rows), rows)

    with bar("checking", quiet) as show:
        chain.verify(show)
    with bar("restoring to a scratch place", quiet) as show:
        Drill(chain, findings, advance).run()
    skipped = ""
    try:
        if not made:
            reach(settings.access)
        with bar("comparing with the cluster", quiet) as show:
            skipped = compare_live(installation(settings), chain, findings, advance)
    except Retryable as error:
        skipped = str(error)
    return {**findings.report(), "not_compared_with_cluster": skipped}


def drill_lines(done: dict[str, Any]) -> list[str]:
    """Format the findings of a drill for people."""
    found = [f"{count:>12,} {kind}" for kind, count in done["compared"].items()]
    found += [f"differs: {line}" for line in done["differences"]]
    if done["not_compared_with_cluster"]:
        found.append(f"not compared with the cluster: {done['not_compared_with_cluster']}")
    end = "everything matches" if done["ok"] else f"{done['different']:,} differ"
    return [*found, f"{done['file']}: {end}, in {done['seconds']:.1f} s"]


@contextmanager
def bar(name: str, quiet: bool) -> Iterator[Show]:
    """Show a progress bar on standard error."""
    if quiet:
        yield lambda done, of: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(name, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of or None)
