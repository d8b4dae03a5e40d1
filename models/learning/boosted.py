"""The gradient-boosted expert: LightGBM, refitted on the latest examples; a kernel scores its trees from arrays.

LightGBM runs in one thread and deterministically: the same examples give the same trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scoring import LEAF, TREES, Trees
from streams.errors import Fatal

_PARAMETERS: Final[dict[str, Any]] = {
    "num_leaves": 15,
    "learning_rate": 0.12,
    "min_data_in_leaf": 100,
    "lambda_l2": 30.0,
    "feature_fraction": 0.5,
    "max_bin": 63,
    "use_missing": False,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbose": -1,
}


def fit(x: NDArray[np.float32], labels: NDArray[np.float32], objective: Mapping[str, Any]) -> Trees:
    """Fit trees to these examples, x: float32[n, F]; return no trees if all labels are the same.

    >>> x = np.arange(400, dtype=np.float32).reshape(-1, 1)
    >>> trees = fit(x, (x[:, 0] > 200).astype(np.float32), {"objective": "binary"})
    >>> trees.logit(np.array([10.0])) < 0.0 < trees.logit(np.array([390.0]))
    True
    """
    lightgbm = _lightgbm()
    if len(labels) == 0 or labels.min() == labels.max():
        return Trees.none()
    finite = np.nan_to_num(x)
    model = lightgbm.train({**_PARAMETERS, **objective}, lightgbm.Dataset(finite, labels), TREES)
    return _flat(model.dump_model(num_iteration=-1)["tree_info"])


def _lightgbm() -> Any:
    try:
        import lightgbm  # takes a third of a second, which learners without trees do not need
    except OSError as error:
        raise Fatal(f"LightGBM cannot be loaded ({error}): apt-get install libgomp1") from error
    return lightgbm


def _flat(found: list[dict[str, Any]]) -> Trees:
    roots: list[int] = []
    feature: list[int] = []
    number: list[float] = []
    right: list[int] = []

    def add(node: dict[str, Any]) -> None:
        place = len(feature)
        feature.append(node.get("split_feature", LEAF))
        number.append(node["threshold"] if "split_feature" in node else node["leaf_value"])
        right.append(0)
        if "split_feature" in node:
            add(node["left_child"])
            right[place] = len(feature)
            add(node["right_child"])

    for tree in found:
        roots.append(len(feature))
        add(tree["tree_structure"])
    return Trees(
        np.array(roots, np.int32),
        np.array(feature, np.int16),
        np.array(number, np.float64),
        np.array(right, np.int32),
    )
