"""The shipped config as another release of it would be: columns come and go, and what is learned and done changes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.doubles.rig import CONFIG

FEATURES = (
    # a half-life changed: searches_1h goes on, searches_1w is new, searches_1d is gone
    ("on: [search], half_life: [1h, 1d]", "on: [search], half_life: [1h, 1w]"),
    ("  total_quantity: {kind: sum, on: [order], field: quantity}\n", ""),
    ("  tickets:  ", "  reviews:        {kind: count, on: [review]}\n  tickets:  "),
    ("  # sales\n", "  # sales\n  quiet:          {kind: deadline, on: [page], after: 7d}\n"),
)
MODELS = (
    ("  - {view: searches_1d}\n", "  - {view: searches_1w}\n"),
    ("  - {view: items_1w}\n", "  - {view: items_1w}\n  - {view: reviews}\n"),
)
GONE_FEATURES = ("searches_1d",)
POLICIES = (
    (
        "  ticket-storm:\n",
        "  any-review:\n    kind: alert\n    on: [review]\n    when: reviews >= 1\n    cooldown: 1ms\n"
        "    message: A review came.\n  ticket-storm:\n",
    ),
)


def changed_config(folder: Path, *, features: bool = True) -> Path:
    """The config in `folder`, changed; without `features` the models go on seeing what they see."""
    shutil.copytree(CONFIG, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "kafka", "grafana"))
    changes = {"features.yaml": FEATURES, "policies.yaml": POLICIES}
    if features:
        changes["models.yaml"] = MODELS
    for name, replacements in changes.items():
        text = (folder / name).read_text(encoding="utf-8")
        if name == "features.yaml" and not features:  # the models see searches_1d
            text = text.replace("on: [search], half_life: [1h, 1d]", "on: [search], half_life: [1d, 1w]")
        for old, new in replacements[1:] if name == "features.yaml" and not features else replacements:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
