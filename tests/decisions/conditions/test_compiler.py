"""Conditions: compiled, they mean what SQL says. The property tests run compiled and with the JIT off."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from decisions.conditions.compiler import Condition, compile_condition
from decisions.conditions.machine import evaluate
from decisions.conditions.names import Input, Names
from streams.errors import ConfigError
from tests.decisions.sql_trees import COLUMNS, grid, rows, sql_of, trees, value_of

ROOT = Path(__file__).parents[3]
NAMES = Names(
    views=("a", "b", "gap.spread", "c", "last_category"),
    scores=("churn",),
    fields=("amount", "category"),
    kinds=("page", "order"),
    deadlines=("silence",),
    strings=frozenset({"event.category", "last_category"}),
)


def hash_string(text: str) -> float:
    return float(sum(text.encode()))


def compiled(sql: str) -> Condition:
    return compile_condition(sql, NAMES, lambda message: ConfigError("p.yaml", 1, message), hash_string)


def asked(condition: Condition, row: Mapping[str, float | None]) -> float | None:
    """The machine's value of a condition, None for NULL. Every array has a guard that must stay as it was."""
    values = [row.get(str(read)) for read in condition.inputs]
    inputs = np.array([math.nan if value is None else value for value in values], np.float64)
    stack = np.full(condition.depth + 1, -77.0)
    with np.errstate(all="ignore"):
        found = evaluate(condition.code, 0, len(condition.code), condition.constants, inputs, stack)
    assert stack[condition.depth] == -77.0
    return None if math.isnan(found) else float(found)


@settings(max_examples=int(os.environ.get("CONDITION_EXAMPLES", "600")), deadline=None)
@given(trees(), rows())
def test_property_a_condition_means_what_its_tree_means(tree: Any, row: dict[str, float | None]) -> None:
    assert asked(compiled(sql_of(tree)), row) == value_of(tree, row)


@settings(deadline=None)
@given(
    trees(), rows(), st.sampled_from(COLUMNS), st.lists(st.one_of(grid, st.none()), min_size=1, max_size=5)
)
def test_what_is_known_without_an_input_stays_whatever_it_is(
    tree: Any, row: dict[str, float | None], column: str, values: list[float | None]
) -> None:
    condition = compiled(sql_of(tree))
    known = asked(condition, {**row, column: None})
    if known is not None and not condition.asks_null:
        assert {asked(condition, {**row, column: value}) for value in values} == {known}


@pytest.mark.parametrize(
    "asking", ["a IS NULL", "COALESCE(a, 1) > 0", "CASE WHEN a > 1 THEN b > 1 ELSE b < 1 END"]
)
def test_a_condition_that_asks_for_null_says_so(asking: str) -> None:
    assert compiled(asking).asks_null
    assert not compiled("a > 1 AND (b < 2 OR NOT a BETWEEN 1 AND b)").asks_null


@settings(max_examples=int(os.environ.get("CONDITION_EXAMPLES", "600")), deadline=None)
@given(trees(only_sqlite=True), rows())
def test_property_a_condition_means_what_sqlite_means(tree: Any, row: dict[str, float | None]) -> None:
    sql = sql_of(tree)
    theirs = sql.replace("gap.spread", "c").replace("event.amount", "d")
    theirs = theirs.replace("LEAST(", "MIN(").replace("GREATEST(", "MAX(")
    database = sqlite3.connect(":memory:")
    try:
        found = database.execute(
            f"SELECT {theirs} FROM (SELECT ? AS a, ? AS b, ? AS c, ? AS d)", [row[name] for name in COLUMNS]
        ).fetchone()[0]
    finally:
        database.close()
    assert asked(compiled(sql), row) == found


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="this is the run without the JIT")
def test_the_properties_hold_without_the_jit() -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "CONDITION_EXAMPLES": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "property", "-p", "no:cacheprovider", __file__],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("sql", "row", "expected"),
    [
        ("event.category = 'GROCERY'", {"event.category": hash_string("GROCERY")}, 1),
        ("event.category = 'GROCERY'", {"event.category": hash_string("DRUG")}, 0),
        ("event.category <> 'GROCERY'", {"event.category": None}, None),
        ("event.category IN ('DRUG', 'GROCERY')", {"event.category": hash_string("GROCERY")}, 1),
        ("event.category NOT IN ('DRUG', 'MEAT')", {"event.category": hash_string("GROCERY")}, 1),
        ("event.category = last_category", {"event.category": 5.0, "last_category": 5.0}, 1),
        ("COALESCE(last_category, 'none') = 'none'", {"last_category": None}, 1),
        (
            "CASE WHEN a > 1 THEN 'x' ELSE 'y' END = event.category",
            {"a": 2, "event.category": hash_string("x")},
            1,
        ),
        ("event.kind = 'order'", {"event.kind": 1.0}, 1),
        ("event.kind IN ('page', 'order')", {"event.kind": 1.0}, 1),
        ("event.kind = 'page'", {"event.kind": 1.0}, 0),
        ("churn > 0.5", {"churn": 0.7}, 1),
        ("gap.spread > 2 AND NOT a IS NULL", {"gap.spread": 3.0, "a": 0.0}, 1),
        ('"gap.spread" > 2', {"gap.spread": 3.0}, 1),
        ("a IS NOT NULL", {"a": None}, 0),
        ("(a > 1) IS NOT TRUE", {"a": None}, 1),
        ("7 / 2 = 3.5", {}, 1),
        ("-7 % 4 = -3", {}, 1),
        ("a / 0 > 1", {"a": 1.0}, None),
        ("a % 0 > 1", {"a": 1.0}, None),
        ("LN(a) > 0", {"a": 0.0}, None),
        ("SQRT(a) > 0", {"a": -1.0}, None),
        ("POWER(a, 0.5) = 2", {"a": 4.0}, 1),
        ("POWER(a, 0) = 1", {"a": None}, None),
        ("LEAST(a, b, 3) = 1", {"a": 2.0, "b": 1.0}, 1),
        ("LEAST(a, b, 3) = 1", {"a": None, "b": 1.0}, None),
        ("ROUND(a) = -3", {"a": -2.5}, 1),
        ("ROUND(a) = 0", {"a": 0.49999999999999994}, 1),
        ("ROUND(a, 2) = 1.23", {"a": 1.2345}, 1),
        ("CASE a WHEN 1 THEN b WHEN 2 THEN c END > 0", {"a": 2.0, "b": -1.0, "c": 1.0}, 1),
        ("CASE a WHEN 1 THEN b END > 0", {"a": 3.0, "b": 1.0}, None),
        ("IF(a > 1, b, c) = 5", {"a": 2.0, "b": 5.0, "c": 0.0}, 1),
        ("(a + b) BETWEEN 1 AND 2", {"a": 1.0, "b": 0.5}, 1),
        ("(a + b) IN (1, 1.5, c)", {"a": 1.0, "b": 0.5, "c": 0.0}, 1),
        ("TRUE", {}, 1),
        ("a > 1 AND FALSE", {"a": None}, 0),
        ("a > 1 -- a remark", {"a": 2.0}, 1),
    ],
)
def test_what_a_condition_means(sql: str, row: dict[str, float | None], expected: float | None) -> None:
    assert asked(compiled(sql), row) == expected


def test_inputs_are_named_once_in_the_order_of_their_first_use() -> None:
    condition = compiled("churn > a AND event.amount > a OR event.kind = 'page' AND churn > 0.9")
    assert condition.inputs == (
        Input("score", "churn"),
        Input("view", "a"),
        Input("field", "amount"),
        Input("kind", "kind"),
    )


def test_what_reads_no_input_is_computed_once() -> None:
    assert len(compiled("a > 2 * POWER(3, 2) - 1").code) == 1
    assert compiled("a > 2 * POWER(3, 2) - 1").constants.tolist() == [17.0]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("", "is empty; expected a condition such as churn > 0.5"),
        (
            "a >",
            "not valid SQL at column 3, near '>': Required keyword: 'expression' missing for GT; expected a",
        ),
        ("a > 1 b", "not valid SQL at column 7, near 'b': Invalid expression / Unexpected token; expected a"),
        ("a > 'x", "not valid SQL: Missing ' from 1:4; expected a condition such as churn > 0.5"),
        (
            "SELECT 1",
            "not valid SQL at column 1, near 'SELECT': Invalid expression / Unexpected token; expected a",
        ),
        ("a > 1; b > 2", "a > 1; b > 2 is not supported; expected comparisons, AND, OR, NOT, "),
        ("chrun > 1", "unknown column 'chrun'; did you mean 'churn'?"),
        ("gap.sprad > 1", "unknown column 'gap.sprad'; did you mean 'gap.spread'?"),
        (
            "zzz > 1",
            "unknown column 'zzz'; expected a column of features.yaml, a model of models.yaml, event.",
        ),
        ("event.amont > 1", "unknown event field 'amont'; did you mean 'amount'?"),
        ("event.xyz > 1", "unknown event field 'xyz'; expected one of amount, category, kind"),
        ("event.kind = 'ordr'", "unknown event kind 'ordr'; did you mean 'order'?"),
        ("event.kind = 'xyz'", "unknown event kind 'xyz'; expected one of page, order"),
        ("a > 'x'", "mixes a number (a) with a string ('x'); expected values of one type"),
        ("a IN (1, 'x')", "mixes a number (a) with a string ('x'); expected values of one type"),
        (
            "a = event.category",
            "mixes a number (a) with a string (event.category); expected values of one type",
        ),
        (
            "event.kind = 1",
            "mixes the event's kind (event.kind) with a number (1); expected values of one type",
        ),
        ("1 < a < 5", "mixes a condition (an expression) with a number (5); expected values of one type"),
        ("event.category > 'a'", "orders a string; only numbers have an order, expected =, <> or IN"),
        ("a = NULL", "a comparison with NULL is never true; expected IS NULL or IS NOT NULL"),
        ("churn", "is a number; expected a condition such as churn > 0.5"),
        ("NOT a", "a is a number; expected a condition such as a > 0.5"),
        ("a + (b > 1) > 2", "(b > 1) is a condition; expected a number"),
        ("SUM(a) > 1", "SUM(a) is an aggregate, but a condition sees one customer; expected comparisons, "),
        ("a IN (SELECT 1)", "a IN (SELECT 1) is a query; expected comparisons, "),
        ("EXISTS(SELECT 1)", "EXISTS(SELECT 1) is not supported; expected comparisons, "),
        ("(SELECT 1) > 0", "(SELECT 1) is a query; expected comparisons, "),
        ("SQT(a) > 1", "unknown function 'SQT'; did you mean 'SQRT'?"),
        ("foo(a) > 1", "unknown function 'foo'; expected comparisons, "),
        ("LAG(a) OVER () > 1", "LAG(a) OVER () is not supported; expected comparisons, "),
        ("event.category LIKE 'x'", "event.category LIKE 'x' is not supported; expected comparisons, "),
        ("CAST(a AS INT) > 1", "CAST(a AS INT) is not supported; expected comparisons, "),
        ("a ^ 2 > 1", "a ^ 2 is not supported; expected comparisons, "),
        ("a IS DISTINCT FROM b", "a IS DISTINCT FROM b is not supported; expected comparisons, "),
        ("ROUND(a, b) > 1", "ROUND(a, b): expected a digit as the number of decimals"),
        ("a > 1e999", "the number 1e999 is too large; expected less than 1.8e308"),
        ("(" * 5000 + "a" + ")" * 5000 + " > 1", "nested too deeply; expected a condition a person can read"),
    ],
)
def test_a_wrong_condition_is_one_line(sql: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compiled(sql)
    assert str(caught.value).startswith(f"p.yaml:1: {error}")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_a_column_and_a_model_is_refused() -> None:
    names = Names(("churn",), ("churn",), (), (), ())
    with pytest.raises(ConfigError, match="'churn' is both a column and a model; expected names that differ"):
        compile_condition("churn > 1", names, lambda message: ConfigError("p.yaml", 1, message), hash_string)


@pytest.mark.skipif(bool(config.DISABLE_JIT), reason="reads compiled code")
def test_the_machine_counts_no_references() -> None:
    """Numba prunes the atomic counts of its four arrays only in small functions; they cost 40 ns a call."""
    machine = njit(nogil=True, error_model="numpy")(evaluate.py_func)
    condition = compiled("a > 1")
    machine(condition.code, 0, 1, condition.constants, np.zeros(1), np.zeros(1))
    assert all("call void @NRT_incref" not in text for text in machine.inspect_llvm().values())
