"""Which tests may run beside each other: `make test` has two processes for them, one a core."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# They start no more than one server or role at a time, most of them none.
LIGHT = {
    "config",
    "customers",
    "decisions",
    "ingest",
    "models",
    "pipeline",
    "reference",
    "schemas",
    "streams",
}


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs whatever starts several roles and servers, so that no two such tests share the cores.

    The other one takes the rest, a file at a time, as the fixtures of a file are made once.
    """
    for item in items:
        path = item.path.relative_to(HERE)
        group = str(path) if path.parts[0] in LIGHT else "roles and servers"
        item.add_marker(pytest.mark.xdist_group(group))
