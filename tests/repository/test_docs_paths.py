"""Promise: the docs show the house as it stands: its rooms, its files, its names, its column kinds, its decisions."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
STEPS = ("arrive", "fetch", "decode", "resolve", "fold", "score", "decide", "deliver", "serve", "mature")
STEP_PAGES = [ROOT / "docs" / "steps" / f"{number:02}-{name}.md" for number, name in enumerate(STEPS, 1)]
DECISION_PAGES = sorted(ROOT.glob("docs/decisions/*.md"))
DOCS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
# A path in backticks: folders, then a file of a kind that is tracked or a closing slash. NAME and ROOM stand for any.
A_PATH = re.compile(
    r"`((?:[\w-][\w.-]*/)+(?:[\w.-]+\.(?:py|ya?ml|md|avsc|html|js|css|svg|json|properties|txt|toml))?)`"
)
A_DOCS_PATH = re.compile(r"(?<![\w/.])docs/[\w/-]+\.md")
ANY_NAME = re.compile(r"NAME|ROOM")
# `Name` in `path.py`, `Name` of `path.py`, **`path.py`**, `Name`, room.module:Name
NAME_THEN_PATH = re.compile(r"`([A-Za-z_][\w.]*)`\s+(?:in|of)\s+`((?:[\w-]+/)+\w+\.py)`")
PATH_THEN_NAME = re.compile(r"\*\*`((?:[\w-]+/)+\w+\.py)`\*\*, `([A-Za-z_]\w*)`")
MODULE_AND_NAME = re.compile(r"`((?:[a-z_]+\.)+[a-z_]+):([A-Za-z_][\w.]*)`")
QUOTED = re.compile(r'(docs/[\w/-]+\.md), "([^"]+)"')


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def titles(path: Path) -> list[str]:
    """The headings of a page, without their number signs."""
    return re.findall(r"^#+ (.*)$", text(path), re.MULTILINE)


@cache
def names(path: Path) -> set[str]:
    """All that a module defines: classes, functions, constants, fields, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def lacking(path: Path, name: str) -> set[str]:
    """The parts of a dotted name that a module does not define."""
    return set(name.split(".")) - names(path) if path.is_file() else {f"{path.name} itself"}


def named(page: str) -> list[tuple[str, str]]:
    """(path, name) of what a page says that a module has."""
    found = [(path, name) for name, path in NAME_THEN_PATH.findall(page)] + PATH_THEN_NAME.findall(page)
    return found + [
        (f"{module.replace('.', '/')}.py", name) for module, name in MODULE_AND_NAME.findall(page)
    ]


def table(page: str, head: str) -> list[list[str]]:
    """The cells of the table that begins with `head`, row by row."""
    rows = page.partition(head)[2].partition("\n\n")[0].strip().splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("path", DOCS, ids=[str(path.relative_to(ROOT)) for path in DOCS])
def test_every_path_in_the_docs_exists(path: Path) -> None:
    told = set(A_PATH.findall(text(path))) | set(A_DOCS_PATH.findall(text(path)))
    assert {one for one in told if not ANY_NAME.search(one) and not (ROOT / one).exists()} == set()


@pytest.mark.parametrize("path", DOCS, ids=[str(path.relative_to(ROOT)) for path in DOCS])
def test_every_name_that_the_docs_place_in_a_module_is_there(path: Path) -> None:
    wrong = {f"{file}: {name}" for file, name in named(text(path)) if lacking(ROOT / file, name)}
    assert wrong == set()


def test_the_pages_name_things_in_modules_and_paths_at_all() -> None:
    every = "\n".join(map(text, DOCS))
    assert len(named(every)) > 10
    assert len(set(A_PATH.findall(every))) > 150


def test_the_picture_has_every_room_and_no_other() -> None:
    (picture,) = re.findall(r"^## Rooms\n.*?^```\n(.*?)^```$", text(ARCHITECTURE), re.MULTILINE | re.DOTALL)
    drawn = re.findall(r"^ ([a-z]+)/ +\S", picture, re.MULTILINE)
    assert len(picture.splitlines()) == len(drawn)
    assert Counter(drawn) == Counter(ROOMS)


def test_every_sub_package_is_in_the_table_of_its_room_and_no_other() -> None:
    told = [
        one for row in table(text(ARCHITECTURE), "| sub-package | for |\n") for one in A_PATH.findall(row[0])
    ]
    packages = {
        path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).glob("*/__init__.py")
    }
    assert Counter(told) == Counter(f"{package.as_posix()}/" for package in packages)


def test_each_step_has_a_page_that_the_ten_steps_link_and_that_names_modules() -> None:
    assert sorted(ROOT.glob("docs/steps/*")) == STEP_PAGES
    steps = text(ARCHITECTURE).partition("\n## The ten steps\n")[2]
    linked = re.findall(r"^\d+\. \[(\w+)\]\((steps/[\w-]+\.md)\)", steps, re.MULTILINE)
    assert linked == [
        (name.capitalize(), f"steps/{page.name}") for name, page in zip(STEPS, STEP_PAGES, strict=True)
    ]
    for number, (name, page) in enumerate(zip(STEPS, STEP_PAGES, strict=True), 1):
        assert text(page).startswith(f"# Step {number}: {name}\n")
        modules = [A_PATH.findall(row[0]) for row in table(text(page), "| module | what it does here |\n")]
        assert modules
        assert all(len(found) == 1 and (ROOT / found[0]).is_file() for found in modules), modules


def test_the_table_of_column_kinds_is_that_of_the_code() -> None:
    from customers.row.columns import KINDS  # here, so that the other tests need no room

    head = "| kind | words | default | fold | views |\n"
    told = {}
    for kinds, words, _default, _fold, views in table(text(STEP_PAGES[4]), head):
        plain, _, options = kinds.partition("(")
        for kind in re.findall(r"`(\w+)`", plain):
            told[kind] = (
                set(re.findall(r"`(\w+)`", options)),
                len(words.partition(", then ")[0].split(", ")),
                {"", *re.findall(r"`name(\.\w+)`", views)},
            )
    assert told == {
        kind: (set(spec.options), len(spec.defaults), {suffix for suffix, _, _ in spec.views})
        for kind, spec in KINDS.items()
    }
    assert f"({len(KINDS)} kinds, [listed here]" in text(ROOT / "README.md")


def test_every_page_of_decisions_is_of_a_room_and_in_the_index() -> None:
    index = table(text(ROOT / "docs" / "DECISIONS.md"), "| page | on it |\n")
    linked = [re.findall(r"\[(\w+)\]\((decisions/\w+\.md)\)", row[0]) for row in index]
    assert Counter(linked[0] for linked in linked) == Counter(
        (page.stem, f"decisions/{page.name}") for page in DECISION_PAGES
    )
    assert {page.stem for page in DECISION_PAGES} <= ROOMS


@pytest.mark.parametrize("page", DECISION_PAGES, ids=[page.stem for page in DECISION_PAGES])
def test_a_decision_has_a_date_a_topic_and_a_text(page: Path) -> None:
    parts = re.split(r"^(#+ .*)$", text(page), flags=re.MULTILINE)[1:]
    headings, bodies = parts[::2], parts[1::2]
    assert headings[0] == f"# Decisions: {page.stem}"
    assert headings[1].startswith("## ")
    entries = [
        (heading, body) for heading, body in zip(headings, bodies, strict=True) if heading.startswith("### ")
    ]
    assert entries
    assert [h for h, _ in entries if not re.match(r"### \d{4}-\d\d-\d\d: \S", h)] == []
    assert [h for h, body in entries if len(body.split()) < 10] == []
    assert len({h for h, _ in entries}) == len(entries)


def test_what_the_code_says_of_the_docs_is_there() -> None:
    """A comment that names a page, or a part of it in quotation marks, leads somewhere."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.yaml", "*.yml", "Makefile", "CHANGELOG.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    wrong = []
    for name in listed:
        path = ROOT / name
        if not path.is_file():
            continue
        for page in A_DOCS_PATH.findall(text(path)):
            if not (ROOT / page).is_file():
                wrong.append(f"{name}: {page}")
        for page, title in QUOTED.findall(text(path)):
            found = titles(ROOT / page) if (ROOT / page).is_file() else []
            if not any(title in (one, one.partition(": ")[2]) for one in found):
                wrong.append(f"{name}: {page}, {title!r}")
    assert wrong == []
