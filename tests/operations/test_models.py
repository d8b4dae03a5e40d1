"""operations/models.py against a real broker: who leads, and a change by hand that a restart keeps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.learner.published import read_published
from config.settings import ROOT, Settings
from operations.models import change_champion, list_lines, list_models, show_lines, show_model
from streams.errors import ConfigError

CHALLENGERS = """
    challengers:
      slow: {experts: [additive], additive_rate: 0.001}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped config with a challenger of the first model."""
    folder = tmp_path / "config"
    folder.mkdir()
    for name in ("features", "models", "policies"):
        text = (ROOT / "config" / f"{name}.yaml").read_text()
        if name == "models":
            head, churn, tail = text.partition("  churn:")
            text = head.rstrip() + CHALLENGERS + churn + tail
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_change_by_hand_is_made_recorded_and_kept_through_a_kill(
    broker: Any,
    settings: Settings,
    start: Any,
    until: Any,
    config: Path,
    example: Callable[..., dict[str, Any]],
    encode: Callable[[str, Sequence[dict[str, Any]]], list[bytes]],
) -> None:
    with pytest.raises(ConfigError, match="there are: none yet"):
        show_model(settings, "purchase")
    first = start("learner", "--config", str(config))
    broker.send("training.examples", encode("training_example", [example(n) for n in range(300)]))
    until(lambda: (m := list_models(settings)["models"].get("purchase")) and m["examples"] == 300)
    found = list_models(settings)["models"]["purchase"]
    assert (found["champion"], list(found["challengers"])) == ("main", ["slow"])
    assert found["challengers"]["slow"]["gain"] < 0
    assert found["challengers"]["slow"]["auc"] < found["auc"]

    with pytest.raises(ConfigError, match="purchase has no challenger 'x'; expected one of: slow"):
        change_champion(settings, "purchase", "x")
    with pytest.raises(ConfigError, match="no former champion"):
        change_champion(settings, "purchase", None)
    assert change_champion(settings, "purchase", "slow")["champion"] == "slow"

    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    start("learner", "--config", str(config))
    report = change_champion(settings, "purchase", None)
    assert report["champion"] == "main"
    assert [(c["to"], c["why"]) for c in report["changes"]] == [
        ("slow", "promoted by hand"),
        ("main", "rolled back by hand"),
    ]
    versions = read_published(settings.access, "models")
    assert max(versions["purchase"].versions) == report["version"]
    assert any("purchase" in line for line in list_lines(list_models(settings)))
    assert any("rolled back by hand" in line for line in show_lines(report))
