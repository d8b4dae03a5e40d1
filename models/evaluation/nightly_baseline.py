"""The baseline: LightGBM refitted at every midnight (UTC) on all examples due by then, as with a data warehouse.

It scores the examples that open until the next midnight, with the same features as the models of the stream and no
look ahead either. An example whose proof came early is left out until it is due, as one without a proof is: otherwise
the newest examples would all be of one class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DAY_MS: Final = 86_400_000

PARAMETERS: Final[dict[str, Any]] = {
    "learning_rate": 0.05,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbose": -1,
}
ROUNDS: Final = 100


def nightly_scores(
    x: NDArray[np.float32],
    labels: NDArray[np.float64],
    opened: NDArray[np.int64],
    due: NDArray[np.int64],
    start_ms: float,
    on_day: Callable[[], None] = lambda: None,
    *,
    amounts: bool = False,
) -> NDArray[np.float64]:
    """Return float64[n], the scores of the examples that opened at `start_ms` or later, NaN for the others.

    x: float32[n, F]; labels: 0 or 1, or `amounts` of 0 or more; opened, due: ms since the epoch. While all labels are
    equal, the score is a half, or the mean amount. It calls `on_day` after each day.
    """
    import lightgbm

    objective = {"objective": "tweedie" if amounts else "binary"}
    labels = np.maximum(labels, 0.0)
    scores = np.full(len(labels), np.nan)
    days = opened // DAY_MS
    for day in np.unique(days[opened >= start_ms]):
        wanted = (days == day) & (opened >= start_ms)
        known = due <= day * DAY_MS
        if len(np.unique(labels[known])) < 2:
            scores[wanted] = np.mean(labels[known]) if amounts and known.any() else 0.0 if amounts else 0.5
        else:
            model = lightgbm.train(
                {**PARAMETERS, **objective}, lightgbm.Dataset(x[known], labels[known]), ROUNDS
            )
            scores[wanted] = model.predict(x[wanted])
        on_day()
    return scores
