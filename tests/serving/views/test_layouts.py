"""Promise: what a worker of another version wrote is read by its own names, or refused; never by wrong ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from customers.row.layout import Described
from pipeline.config import load_config
from schemas.topics import LAYOUTS
from serving.views.layouts import Layouts, entry
from serving.views.reader import view_reader
from serving.views.store import MemoryViews
from streams.errors import Retryable
from tests.doubles import Rig, shipped_config
from tests.doubles.configs import changed_config
from tests.reference import streams


@pytest.fixture
def other(tmp_path: Path) -> Rig:
    """The other version, some of whose views have other places."""
    rig = Rig(config=load_config(changed_config(tmp_path / "other")))
    rig.feed(streams.random_batches(streams.random_log(2, 200, partitions=1, bad=0.0), 2))
    return rig


def test_a_layout_that_another_version_wrote_is_found_in_the_topic(broker: Any, other: Rig) -> None:
    now = [0.0]
    layouts = Layouts(broker.bootstrap, shipped_config().layout, clock=lambda: now[0])
    theirs = other.work.layout
    assert layouts.get(shipped_config().layout.layout_id) is not None
    assert layouts.get(theirs.layout_id) is None
    broker.producer.produce(LAYOUTS, **entry(theirs))
    broker.producer.flush(10)
    assert layouts.get(theirs.layout_id) is None, "it is not looked for at every call"
    now[0] = 10.0
    found = layouts.get(theirs.layout_id)
    assert found == Described.of(theirs.description)
    assert found is not None
    assert found.views == tuple(theirs.view_index)
    assert found.fields == tuple(field.name for field in other.config.features.fields)
    assert found.models == dict.fromkeys(other.work.models, other.config.models.names)


def test_a_customer_of_the_other_version_is_shown_by_its_names(other: Rig) -> None:
    store = MemoryViews()
    partition = other.engine.partitions[0]
    slots = np.arange(partition.index.known)
    store.write(partition.index.keys(slots), other.work.packed_views(partition, slots))
    known = {other.work.layout.layout_id: Described.of(other.work.layout.description)}
    read = view_reader(store, SimpleNamespace(get=known.get))  # type: ignore[arg-type]
    expected = {**other.work.view_values(partition, 0), "time": partition.rows.copy(np.array([0]))[0, 0]}
    np.testing.assert_equal(read(partition.index.key(0)), expected)
    assert read(b"nobody") is None
    read = view_reader(store, SimpleNamespace(get={}.get))  # type: ignore[arg-type]
    with pytest.raises(Retryable, match="which topic layouts does not describe"):
        read(partition.index.key(0))
