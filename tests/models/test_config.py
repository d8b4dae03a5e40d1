"""models/config.py: what is read, and the one line that an error gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.config import Feature, Learning, ModelSpec, load_models
from streams.errors import ConfigError

GOOD = """\
features:
  - {view: pages_1h}
  - {view: last_visit, missing: 2000}
  - {view: sentiment_1w, transform: identity}
  - {transform: hour_sin}
models:
  purchase:
    open: [order]
    proof: [order, quote]
    within: 3d
    positive: proof
"""


def read(tmp_path: Path, text: str) -> str:
    path = tmp_path / "models.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_models(path)
    return str(caught.value).removeprefix(f"{path}:")


def test_reads_features_and_models(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(GOOD, encoding="utf-8")
    config = load_models(path)
    assert config.features == (
        Feature("pages_1h", "log1p", 0.0, "pages_1h"),
        Feature("last_visit", "log1p", 2000.0, "last_visit"),
        Feature("sentiment_1w", "identity", 0.0, "sentiment_1w"),
        Feature(None, "hour_sin", 0.0, "hour_sin"),
    )
    assert config.models == (ModelSpec("purchase", ("order",), ("order", "quote"), 259_200_000.0, "proof"),)
    assert config.names == ("pages_1h", "last_visit missing=2000", "sentiment_1w identity", "hour_sin")


def test_the_shipped_file_is_good() -> None:
    config = load_models(Path(__file__).parents[2] / "config" / "models.yaml")
    assert {model.name for model in config.models} == {"purchase", "churn", "response", "lead", "value"}
    assert len(config.features) >= 30


def test_reads_amounts_and_what_opens_and_proves(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    rest = "    same: product\n    if: order_count = 0\n    amount: value\n"
    path.write_text(GOOD.replace("    positive: proof\n", rest), encoding="utf-8")
    (model,) = load_models(path).models
    assert (model.positive, model.amount, model.same, model.condition) == (
        None,
        "value",
        "product",
        "order_count = 0",
    )
    assert model.kept == ("sum:value", "same:product")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("models:", "model:", "6: unknown key 'model'; expected one of ['features', 'models']"),
        (
            "  - {view: pages_1h}",
            "  - pages_1h",
            "1: features: expected {view: NAME} or {transform: NAME}, got 'pages_1h'",
        ),
        (
            "view: pages_1h",
            "vew: pages_1h",
            "2: unknown key 'vew'; expected one of ['missing', 'transform', 'view']",
        ),
        ("view: pages_1h", "missing: 1", "2: view: expected the name of a view for log1p, got None"),
        ("view: pages_1h", "view: 7", "2: view: expected the name of a view for log1p, got 7"),
        ("view: pages_1h", "view: last_visit", "3: feature 'last_visit' appears twice; expected each once"),
        (
            "transform: identity",
            "transform: sqrt",
            "4: transform: expected one of log1p, identity, hashed, hour_sin, hour_cos, weekday_sin, weekday_cos,"
            " got 'sqrt'",
        ),
        ("missing: 2000", "missing: often", "3: missing: expected a finite number, got 'often'"),
        ("missing: 2000", "missing: .inf", "3: missing: expected a finite number, got inf"),
        ("missing: 2000", "missing: true", "3: missing: expected a finite number, got True"),
        (
            "transform: hour_sin",
            "transform: hour_sin, view: x",
            "5: view: expected none, hour_sin reads the clock",
        ),
        (
            "transform: hour_sin",
            "transform: hour_sin, missing: 1",
            "5: missing: expected none, hour_sin reads the clock",
        ),
        ("  purchase:", "  pur-chase:", "7: model 'pur-chase': expected letters, digits and underscores"),
        ("    within: 3d\n", "", "8: missing key 'within'"),
        (
            "    within: 3d",
            "    horizon: 3d",
            "10: unknown key 'horizon'; expected one of ['amount', 'challengers', 'if', 'learning', 'open', 'positive',"
            " 'proof', 'same', 'within']",
        ),
        (
            "within: 3d",
            "within: soon",
            "10: within: expected a duration such as 90s, 30m, 1h, 3d or 1w, got 'soon'",
        ),
        (
            "within: 3d",
            "within: 0d",
            "10: within: expected a duration such as 90s, 30m, 1h, 3d or 1w, got '0d'",
        ),
        (
            "    positive: proof\n",
            "",
            "8: purchase: expected either positive (yes or no) or amount (a field to sum up)",
        ),
        (
            "positive: proof",
            "positive: proof\n    amount: amount",
            "8: purchase: expected either positive (yes or no) or amount (a field to sum up)",
        ),
        ("positive: proof", "amount: 5", "11: amount: expected the name of a field of events, got 5"),
        (
            "positive: proof",
            "positive: proof\n    same: []",
            "12: same: expected the name of a field of events, got []",
        ),
        (
            "positive: proof",
            "positive: proof\n    if: 1",
            "12: if: expected a condition such as order_count = 0, got 1",
        ),
        ("positive: proof", "positive: yes", "11: positive: expected proof or deadline, got True"),
        (
            "open: [order]",
            "open: order",
            "8: open: expected a list of event kinds such as [order], got 'order'",
        ),
        ("open: [order]", "open: []", "8: open: expected a list of event kinds such as [order], got []"),
        (
            "proof: [order, quote]",
            "proof: [order, order]",
            "9: proof: expected each kind once, got ['order', 'order']",
        ),
        (
            "positive: proof",
            "positive: proof\n    challengers: [quick]",
            "12: challengers: expected names with how each learns, got ['quick']",
        ),
        (
            "positive: proof",
            "positive: proof\n    challengers:\n      main: {linear_memory: 1000}",
            "13: main: expected letters, digits and underscores, and not main",
        ),
        (
            "positive: proof",
            "positive: proof\n    learning: {linear_memory: 7}",
            "12: linear_memory: expected a number of examples from 100 to 1e+09, got 7",
        ),
        (
            "positive: proof",
            "positive: proof\n    learning: {experts: [forest]}",
            "12: experts: expected some of linear, additive, trees, got ['forest']",
        ),
    ],
)
def test_an_error_names_the_line_and_what_was_expected(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert read(tmp_path, GOOD.replace(old, new, 1)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("features: []\nmodels: {}\n", "1: features: expected a list of {view, transform, missing}"),
        (
            "features: [{view: a}]\nmodels: {}\n",
            "2: models: expected a mapping of names to {open, proof, within, positive}",
        ),
        (
            "features: [{view: a}]\nmodels:\n  churn: 28d\n",
            "3: churn: expected a mapping with open, proof, within and positive",
        ),
        ("features: [{view: a}]\n", "1: missing key 'models'"),
    ],
)
def test_an_empty_part_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    assert read(tmp_path, text) == said


def test_a_model_may_say_how_it_learns_and_who_challenges_it(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        GOOD + "    learning: {additive_rate: 0.2}\n    challengers:\n      plain: {experts: [linear]}\n",
        encoding="utf-8",
    )
    (model,) = load_models(path).models
    assert model.learners == {
        "main": Learning(additive_rate=0.2),
        "plain": Learning(experts=("linear",)),
    }


def test_a_hashed_view_is_eight_features(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("features: [{view: offer, transform: hashed}]\nmodels: " + GOOD.partition("models:")[2])
    assert load_models(path).names == tuple(f"offer#{number}" for number in range(8))
    path.write_text(path.read_text().replace("hashed", "hashed, missing: 1"))
    with pytest.raises(ConfigError, match="missing: expected none, a NaN view falls into no bucket"):
        load_models(path)
