"""The program: all policies as arrays mean what each policy means alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from config import located_yaml as lines
from decisions.conditions.compiler import Condition
from decisions.conditions.machine import evaluate
from decisions.conditions.names import Input, Names
from decisions.policies.policy import Policy, load_policies
from decisions.policies.program import FIELD, KIND, SCORE, VIEW, PolicyProgram

CONFIG = Path(__file__).parents[3] / "config"
NAMES = Names(
    views=("a", "b"),
    scores=("churn", "purchase"),
    fields=("amount", "rating"),
    kinds=("page", "order", "ticket"),
    deadlines=("silence", "trial"),
)
TEXT = """
policies:
  first:  {kind: alert, on: [order, deadline.trial], when: b > 1 AND churn > 0.5, exit: a + churn < 1, %s}
  second: {kind: offer, on: [ticket, order], when: event.rating < 3 OR event.kind = 'ticket', %s}
  third:  {kind: offer, on: [deadline.trial], when: "TRUE", cooldown: 2h, message: Yes.}
"""


def built(tmp_path: Path, text: str) -> PolicyProgram:
    path = tmp_path / "policies.yaml"
    path.write_text(text.replace("%s", "cooldown: 1h, message: Yes."), encoding="utf-8")
    return PolicyProgram.build(load_policies(path, NAMES, lambda found: float(len(found))), NAMES)


def alone(condition: Condition, values: dict[Input, float]) -> float:
    inputs = np.array([values[read] for read in condition.inputs], np.float64)
    stack = np.empty(condition.depth)
    return float(evaluate(condition.code, 0, len(condition.code), condition.constants, inputs, stack))


def in_program(program: PolicyProgram, start: int, stop: int, q: int, values: dict[Input, float]) -> float:
    inputs = np.full(program.width, math.nan)
    for j, read in enumerate(program.inputs[q]):
        inputs[j] = values[read]
    stack = np.empty(program.depth)
    return float(evaluate(program.code, start, stop, program.constants, inputs, stack))


def same_as_alone(program: PolicyProgram, policies: tuple[Policy, ...], values: dict[Input, float]) -> None:
    for q, policy in enumerate(policies):
        found = in_program(program, program.when_start[q], program.when_stop[q], q, values)
        np.testing.assert_equal(found, alone(policy.when, values))
        if policy.exit is not None:
            found = in_program(program, program.exit_start[q], program.exit_stop[q], q, values)
            np.testing.assert_equal(found, alone(policy.exit, values))


def test_each_kind_and_deadline_lists_its_policies_in_the_order_of_the_file(tmp_path: Path) -> None:
    program = built(tmp_path, TEXT)
    assert program.kind_start.tolist() == [0, 0, 2, 3]
    assert program.kind_policy.tolist() == [0, 1, 1]
    assert program.deadline_start.tolist() == [0, 0, 2]
    assert program.deadline_policy.tolist() == [0, 2]


def test_a_policy_reads_each_input_once_for_both_conditions(tmp_path: Path) -> None:
    program = built(tmp_path, TEXT)
    assert program.inputs[0] == (Input("view", "b"), Input("score", "churn"), Input("view", "a"))
    assert program.inputs[1] == (Input("field", "rating"), Input("kind", "kind"))
    assert program.input_start.tolist() == [0, 3, 5, 5]
    assert program.input_type.tolist() == [VIEW, SCORE, VIEW, FIELD, KIND]
    assert program.input_index.tolist() == [1, 0, 0, 1, 0]
    assert program.scored.tolist() == [1, 0, 0]
    assert program.asks_null.tolist() == [0, 0, 0]
    assert (program.width, program.cooldown_ms.tolist()) == (3, [3.6e6, 3.6e6, 7.2e6])


def test_a_policy_without_exit_has_an_empty_one(tmp_path: Path) -> None:
    program = built(tmp_path, TEXT)
    assert (program.exit_start < program.exit_stop).tolist() == [True, False, False]
    assert (program.when_start < program.when_stop).all()


def test_the_arrays_have_the_types_the_kernels_are_compiled_for(tmp_path: Path) -> None:
    for program in (built(tmp_path, TEXT), built(tmp_path, "policies: {}")):
        assert program.code.dtype == np.int32
        assert program.code.shape[1] == 2
        assert program.constants.dtype == program.cooldown_ms.dtype == np.float64
        for name in ("when_start", "exit_stop", "input_start", "input_type", "kind_start", "deadline_policy"):
            array = getattr(program, name)
            assert array.dtype == np.int32, name
            assert array.ndim == 1, name
            assert array.flags.c_contiguous, name
        assert program.depth >= 1
        assert program.width >= 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_property_the_shipped_policies_mean_together_what_they_mean_alone(data: st.DataObject) -> None:
    values = {read: data.draw(VALUES) for found in SHIPPED.inputs for read in found}
    same_as_alone(SHIPPED, SHIPPED.policies, values)


VALUES = st.one_of(st.just(math.nan), st.floats(-10, 10), st.sampled_from([0.0, 0.5, 1.0, 3.0, 150.0]))


def shipped() -> PolicyProgram:
    """The policies we ship, against names read straight from the config files."""
    features, models = lines.load(CONFIG / "features.yaml"), lines.load(CONFIG / "models.yaml")
    views, kinds = [], []
    for name, column in features["columns"].items():
        halves = column.get("half_life", [])
        views += [f"{name}_{half}" for half in halves] if halves else [name]
        kinds += [kind for kind in column["on"] if kind not in kinds]
    deadlines = [name for name, column in features["columns"].items() if column["kind"] == "deadline"]
    names = Names(views, tuple(models["models"]), tuple(features["fields"]), kinds, deadlines)
    return PolicyProgram.build(
        load_policies(CONFIG / "policies.yaml", names, lambda text: float(len(text))), names
    )


SHIPPED = shipped()
