"""Whatever is wrong in a file that a user wrote is one line: the file, the line to mend, what was expected there."""

from __future__ import annotations

import copy
import datetime
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from agents.analyst.analysis import Analysis
from ingest.files.mapping import read_mapping
from models.forecasting.config import load_forecasts
from models.recommendation.config import load_recommendations
from models.text.phrases import load_topics
from pipeline.config import load_config
from streams.errors import ConfigError

# Every option of every file, each once at least.
GOOD = {
    "features.yaml": """\
lateness: 5m
idle_after: 60s
expire_after: 730d
message_ids: 8
sources:
  - {topic: web.events, schema: web_event}
  - {topic: sales.events, schema: sales_event}
fields:
  value: {web.events: value, min: -10, max: 10.5}
  lines: {sales.events: "lines[]", reduce: count}
  product: {web.events: product}
columns:
  pages: {kind: decayed, on: [page, view], half_life: [1h, 1d]}
  seen: {kind: decayed, on: [page], field: value, half_life: 1d}
  orders: {kind: count, on: [order]}
  spent: {kind: sum, on: [order], field: lines}
  visits: {kind: session, on: [page], gap: 30m}
  last: {kind: ring, on: [view], field: value, size: 4}
  open: {kind: flag, on: [view], clear_on: [order]}
  silence: {kind: deadline, on: [order], after: 30d, clear_on: [return]}
""",
    "models.yaml": """\
features:
  - {view: orders}
  - {view: spent, transform: identity, missing: 20}
  - {view: last, transform: hashed}
  - {transform: hour_sin}
models:
  buys:
    open: [view]
    proof: [order]
    within: 3d
    positive: proof
    if: orders = 0
    learning: {experts: [linear], linear_memory: 500, additive_rate: 0.5}
    challengers:
      quick: {linear_memory: 200}
  worth:
    open: [page]
    proof: [view]
    within: 3d
    same: product
    amount: value
""",
    "policies.yaml": """\
policies:
  gone-quiet:
    kind: alert
    on: [order, deadline.silence]
    when: orders > 3 AND buys > 0.5
    exit: orders < 2
    cooldown: 30d
    message: Call.
""",
    "forecasts.yaml": """\
forecasts:
  sales:
    topic: sales.events
    kinds: [order]
    measure: {sum: amount}
    by: store
    series: 12
    step: 1d
    horizon: 7d
    coverage: 0.8
    lateness: 1h
    offset: 6h
    alarm: 400d
    quiet: 3d
  orders:
    topic: sales.events
    kinds: [order]
    measure: count
    step: 1h
    horizon: 24h
""",
    "recommendations.yaml": """\
baskets: {topic: sales.events, kinds: [order]}
top: 10
only: [a]
never: [b]
once: [c]
out_of_stock: ""
""",
    "topics.yaml": """\
negations: {en: [not], zh: [不]}
valences: {zh: {差: -2}}
topics:
  delivery: {en: [deliver*, lost parcel], zh: [快递]}
flags:
  complaint: {below: -0.4, en: [refund], zh: [投诉]}
  churn_intent: {en: [leave]}
""",
    "mapping.yaml": """\
topic: sales.events
schema: sales_event
format: csv
header: [who, at, what, id, total, item, sort]
separator: ";"
encoding: utf-8
customer: who
time: {column: at, format: "%d.%m.%Y", zone: Europe/Paris}
kind: {column: what, values: {buy: order}}
message_id: id
fields:
  order_id: id
  amount: {column: total}
  discount: {constant: 0.5}
  lines[].product: {constant: x}
  lines[].quantity: {constant: 1}
  lines[].amount: total
  lines[].discount: {constant: 0}
""",
}
WRONG: list[Any] = [
    None, True, -1, 0, 3, 1e300, float("nan"), float("inf"), "", "nonsense", "1d", [], ["nonsense"], [[]], [None],
    {}, {"nonsense": 1}, [{"nonsense": 1}], {"nonsense": []}, datetime.date(2020, 1, 1),
]  # fmt: skip
EXPECTED = re.compile(r"expected|did you mean|missing key|not valid YAML")
Place = tuple[str | int, ...]


def read(folder: Path, name: str) -> None:
    """As the product reads it, with what it is checked against."""
    if name in ("features.yaml", "models.yaml", "policies.yaml"):
        load_config(folder)
    elif name == "topics.yaml":
        load_topics(folder / name)
    elif name == "mapping.yaml":
        read_mapping(folder / name)
    else:
        sources = {"web.events": "web_event", "sales.events": "sales_event"}
        Analysis(
            load_forecasts(folder / "forecasts.yaml"),
            load_recommendations(folder / "recommendations.yaml"),
            sources,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config folder without a mistake."""
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture(params=GOOD)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the files."""
    return str(request.param)


Mistake = Callable[[str | bytes], ConfigError]


@pytest.fixture
def mistaken(folder: Path, name: str) -> Mistake:
    """The error about another content of the file."""

    def written(text: str | bytes) -> ConfigError:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigError) as caught:
            read(folder, name)
        return told(caught.value, folder, name)

    return written


def told(error: ConfigError, folder: Path, name: str) -> ConfigError:
    """It is one line, which names file, line and what was expected."""
    assert "\n" not in str(error)
    assert Path(error.path).parent == folder
    assert error.line is not None
    assert 1 <= error.line <= max(1, len(Path(error.path).read_bytes().split(b"\n")))
    assert str(error).startswith(f"{error.path}:{error.line}: ")
    assert EXPECTED.search(str(error)), str(error)
    return error


def test_the_files_without_a_mistake_are_read(folder: Path, name: str) -> None:
    read(folder, name)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "expected a mapping"),
        ("# nothing\n", 1, "expected a mapping"),
        ("- a\n- b\n", 1, "expected a mapping"),
        ("just a text", 1, "expected a mapping"),
        ("a: 1\nb: [1\nc: 2\n", 3, "not valid YAML"),
        ("a: 1\nb: 'text\n", 3, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 1\n", 2, "not valid YAML"),
        ("a: 1\nb: *nobody\n", 2, "not valid YAML"),
        ("a: 1\nb: !!python/name:os.system x\n", 2, "not valid YAML"),
        ("a: 1\nb: !!int text\n", 2, "expected a value that YAML can read"),
        ("a: 1\nb: 2020-13-45\n", 2, "expected a value that YAML can read"),
        ("a: 1\nb: <<\n", 2, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' appears twice; expected it once"),
        ("a: 1\n[b]: 2\n", 2, "expected a name before the colon"),
        ("a: &a [*a]\n", 1, "nothing within itself"),
        ("a: " + 1200 * "[" + 1200 * "]", 1, "expected fewer levels"),
        ("a: 1\nb: \x01\n", 2, "expected text, got the character 0x1"),
        (b"a: 1\nb: \xff\n", 2, "expected UTF-8"),
    ],
)
def test_what_is_no_such_file_at_all_is_named(
    mistaken: Mistake, text: str | bytes, line: int, said: str
) -> None:
    error = mistaken(text)
    assert (error.line, said in str(error)) == (line, True), str(error)


def test_a_file_that_is_not_there_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(folder, name)


def test_a_key_that_comes_twice_is_named_in_any_mapping(mistaken: Mistake, name: str) -> None:
    lines = dumped(plain(GOOD[name])).splitlines(keepends=True)
    twice = [number for number, line in enumerate(lines) if re.match(r" *[\w.'\[\]-]+: [^{\[\n]+\n", line)]
    assert twice
    for number in twice:
        error = mistaken("".join([*lines[: number + 1], lines[number], *lines[number + 1 :]]))
        assert error.line == number + 2
        assert "appears twice" in str(error)


class Change(NamedTuple):
    """One mistake: the changed content, where it is, and whether it can only be one."""

    content: Any
    place: Place
    what: str
    refused: bool


def changes(content: Any) -> Iterator[Change]:
    """A wrong value at every place, a key less and a key more in every mapping."""
    for place in list(places(content)):
        one_value = not isinstance(at(content, place), dict | list)
        for wrong in WRONG:
            many = isinstance(wrong, dict | list | datetime.date)
            yield Change(replaced(content, place, wrong), place, f"{wrong!r} at {place}", one_value and many)
        if isinstance(place[-1], str):
            changed = copy.deepcopy(content)
            del at(changed, place[:-1])[place[-1]]
            yield Change(changed, place, f"without {place}", refused=False)
    for place in [(), *places(content)]:
        if isinstance(at(content, place), dict):
            changed = copy.deepcopy(content)
            at(changed, place)["no such key"] = 1
            yield Change(changed, (*place, "no such key"), f"unknown key at {place}", refused=True)


def places(content: Any, place: Place = ()) -> Iterator[Place]:
    within = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in within:
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))


def at(content: Any, place: Place) -> Any:
    for key in place:
        content = content[key]
    return content


def replaced(content: Any, place: Place, value: Any) -> Any:
    changed = copy.deepcopy(content)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def plain(text: str) -> Any:
    """The content with its keys as they stand there (`on` is a truth value to YAML 1.1)."""
    found = yaml.safe_load(re.sub(r"(?<=[ {])on:", "'on':", text))
    assert isinstance(found, dict)
    return found


def dumped(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def test_no_mistake_ends_in_anything_but_its_line(folder: Path, name: str) -> None:
    """What may be left out may be, and a number may be another one: then the files are read."""
    for change in changes(plain(GOOD[name])):
        (folder / name).write_text(dumped(change.content), encoding="utf-8")
        try:
            read(folder, name)
        except ConfigError as error:
            told(error, folder, name)
        except Exception as error:  # whatever it is, it is the mistake's
            raise AssertionError(f"{name}: {change.what}: {type(error).__name__}: {error}") from error
        else:
            assert not change.refused, f"{name}: {change.what} is taken"
