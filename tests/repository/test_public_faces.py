"""Promise: a room is entered by the front door, and no room outgrows a newcomer's eye.

A sub-package is a folder of Python files below a room. Its face is its `__init__.py`: a docstring that says what it is
for, what it promises and which step it belongs to, and `__all__`.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Final

import pytest

from tests.repository.test_imports import OURS, ROOT, file_of, imports

LONGEST_FILE: Final = 450  # lines
MOST_FILES: Final = 15  # Python files of a folder's own
PRODUCT: Final = sorted(OURS - {"tests"})
FILES: Final = sorted(path for room in PRODUCT for path in (ROOT / room).rglob("*.py"))
FACES: Final = sorted(path for path in FILES if path.name == "__init__.py" and path.parent.parent != ROOT)
# What runs as a program of its own, in an environment of its own, and has nothing to offer to others.
PROGRAMS: Final = {"bench.peers"}
STEPS: Final = re.compile(r"\(steps? \d+((, \d+)*( and| to) \d+)?\)")
STEPLESS: Final = {
    "agents.processes",
    "agents.runtime",
    "agents.topology",
    "streams.kernels",
    "streams.supervision",
    "streams.kafka",
}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def of_a_sub_package(path: Path) -> bool:
    return len(path.relative_to(ROOT).parts) > 2


@pytest.mark.parametrize("face", FACES, ids=dotted)
def test_a_sub_package_says_what_it_is_for_and_what_it_offers(face: Path) -> None:
    name = dotted(face)
    if name in PROGRAMS:
        return
    text = face.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text)) or ""
    assert re.search(r"^Promises: ", said, re.MULTILINE), f"{name}: its docstring has no line 'Promises: ...'"
    if not name.startswith(("bench.", "backup.", "operations.")) and name not in STEPLESS:
        assert STEPS.search(said), f"{name}: its docstring names no step of docs/ARCHITECTURE.md"
    module = importlib.import_module(name)
    assert module.__all__
    assert [each for each in module.__all__ if not hasattr(module, each)] == []
    defined = {
        alias.asname or alias.name
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } - {"annotations"}
    assert defined <= {*module.__all__}, "imported and not offered"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_others_come_in_through_the_face(path: Path) -> None:
    """A file of a sub-package is imported by its siblings alone; names with an underscore stay in their file."""
    wrong = []
    for line, name in imports(path):
        found = file_of(name) if name.split(".")[0] in OURS else None
        if found is None or found.parent == path.parent:
            continue
        if of_a_sub_package(found) and found.name != "__init__.py":
            own = dotted(found) == name  # the module itself, which the face may offer as a whole
            face = importlib.import_module(dotted(found.parent / "__init__.py"))
            if not (own and found.stem in getattr(face, "__all__", ())):
                wrong.append(
                    f"{path.relative_to(ROOT)}:{line}: {name}: import it from {dotted(found.parent)}"
                )
        elif name.rpartition(".")[2].startswith("_"):
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {name} is private")
    assert wrong == []


def test_no_folder_holds_too_many_files_and_no_file_too_many_lines() -> None:
    folders: dict[Path, int] = {}
    for path in FILES:
        folders[path.parent] = folders.get(path.parent, 0) + 1
    crowded = [f"{folder.relative_to(ROOT)}: {n} files" for folder, n in folders.items() if n > MOST_FILES]
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in FILES}
    long = [f"{path.relative_to(ROOT)}: {n} lines" for path, n in lines.items() if n > LONGEST_FILE]
    assert (crowded, long) == ([], [])


def test_no_circle_of_imports_between_files() -> None:
    """Imports that importing a file makes; a face counts as what it imports, not as a file of its own kind."""
    edges = {
        path: {found for _, name in imports(path, lazy=False) if (found := file_of(name)) and found != path}
        for path in FILES
    }
    done: set[Path] = set()
    trail: list[Path] = []

    def follow(path: Path) -> None:
        assert path not in trail, "a circle: " + " -> ".join(map(dotted, [*trail[trail.index(path) :], path]))
        if path in done:
            return
        trail.append(path)
        for after in sorted(edges.get(path, ())):
            follow(after)
        trail.pop()
        done.add(path)

    for path in FILES:
        follow(path)
