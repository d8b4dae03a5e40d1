"""Promises about the files: nothing of one machine in them, docs that name every command, pinned parts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

ROOT = Path(__file__).parents[2]
# Written so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(
    r"(?<![\w.~$}/-])/(?:" + "|".join(["work", "home/[a-z]+", "root", "Users"]) + r")/"
)
REGISTRIES = re.compile(
    "|".join(
        [
            r"pypi\." + "org",
            r"python" + r"hosted\.org",
            r"registry\." + "npmjs",
            r"--(?:extra-)?index" + "-url",
        ]
    )
)
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def tracked() -> list[tuple[Path, str]]:
    """Every text file that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in data:
            found.append((Path(name), data.decode("utf-8", "replace")))
    return found


@pytest.mark.parametrize(
    ("pattern", "what"), [(MACHINE_PATHS, "a path of one machine"), (REGISTRIES, "a registry's address")]
)
def test_no_tracked_file_holds_what_only_one_machine_has(pattern: re.Pattern[str], what: str) -> None:
    wrong = [
        f"{name}:{number}: {what}: {line.strip()[:120]}"
        for name, text in tracked()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert wrong == []


def test_the_docs_name_every_command() -> None:
    from cli.app import app

    group: Any = typer.main.get_command(app)
    docs = "\n".join(
        path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    )
    missing = [
        name
        for name, command in group.commands.items()
        if not command.hidden and not re.search(rf"streamwise {re.escape(name)}(?![\w-])", docs)
    ]
    assert missing == []


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_locked_requirements_are_exact_hashed_and_without_addresses(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements
    wrong = [
        line[:80] for line in requirements if not re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^\s;]+", line)
    ]
    wrong += [line[:80] for line in requirements if "--hash=sha256:" not in line]
    wrong += [line[:80] for line in lines if "://" in line]
    assert wrong == []


def test_only_the_settings_know_the_folder_of_the_config() -> None:
    """What reads a file of it is told which: STREAMWISE_CONFIG holds for all."""
    benches = ("bench", "tests")  # these run on the shipped config, or one that they write
    wrong = [
        f"{name}:{number}: {line.strip()}"
        for name, text in tracked()
        if name.suffix == ".py" and name.parts[0] not in benches and name != Path("config/settings.py")
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"/ *[\"']config\b|[\"']config/[\w/]+\.yaml[\"']|[\"']topics\.yaml", line)
    ]
    assert wrong == []
