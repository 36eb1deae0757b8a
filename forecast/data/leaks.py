"""Which numeric columns hold a later value of the target: shifted, or in a centred mean.

`find_leaks` names those that tell a later value nearly exactly: rather that value itself than
something known before it. `forecast add` offers no such column, the rule `leaks` of stage
`prepare` warns of it; the audit looks for leaks in its own way (`audit.data_checks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MOST_LAGS = 24
"""Rows of the past, and steps ahead, among which a leak is looked for."""
LEAK_SERIES = 3
"""So many of the longest series show a leak: it is in all."""
LEAK_ROWS = 2_000
"""So many of their newest rows are looked at."""


class Leak(NamedTuple):
    """`column` of `series` tells the target `steps` later."""

    series: str
    column: str
    steps: int


def find_leaks(
    frame: pd.DataFrame, target: Any, columns: list[Any], horizon: int, limit: float
) -> Iterator[Leak]:
    """Which numeric `columns` tell a later `target` up to `limit` in the longest series of `frame`,
    whose rows of a series stand in the order of time.
    """
    sizes = frame["unique_id"].value_counts()
    for series in sizes.index[:LEAK_SERIES]:
        rows = frame[frame["unique_id"] == series][[target, *columns]].tail(LEAK_ROWS)
        rows = rows.astype(float)
        values = (rows / rows.abs().max()).to_numpy()  # the squares of 1e200 are infinite
        for name, column in zip(columns, values.T[1:], strict=True):
            explained = explain_later_target(values[:, 0], column, min(horizon, MOST_LAGS), limit)
            if explained is not None:
                yield Leak(str(series), str(name), explained[0])


def explain_later_target(
    target: np.ndarray, column: np.ndarray, steps: int, limit: float
) -> tuple[int, float] | None:
    """The step ahead (1 to `steps`) at which the column, beside the past of both, leaves least of
    what the target's past alone leaves unexplained, and that share; None from `limit` on or of too
    few rows. `target` and `column` are (T,).
    """
    lags = min(MOST_LAGS, max(2, len(target) // 20))
    usable = np.arange(lags, len(target) - steps)
    if len(usable) < 4 * lags:
        return None
    past_rows = usable[:, None] - np.arange(lags)
    target_lags = target[past_rows]
    all_lags = np.concatenate([target_lags, column[past_rows]], axis=1)
    later_targets = target[usable[:, None] + np.arange(1, steps + 1)]
    is_known = np.isfinite(all_lags).all(axis=1) & np.isfinite(later_targets).all(axis=1)
    if is_known.sum() < 4 * lags:
        return None
    alone = residual_variance(target_lags[is_known], later_targets[is_known])
    with_column = residual_variance(all_lags[is_known], later_targets[is_known])
    # a target that its own past gives nearly exactly leaves nothing for a column to tell
    is_open = alone > 1e-6 * np.var(later_targets[is_known], axis=0)
    share = np.where(is_open, with_column / np.where(alone > 0, alone, 1.0), 1.0)
    step = int(np.argmin(share))
    return (step + 1, float(share[step])) if share[step] < limit else None


def residual_variance(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Residual variance of each output on all inputs."""
    x = inputs - inputs.mean(axis=0)
    spread = x.std(axis=0)
    x = x / np.where(spread > 0, spread, 1.0)
    y = outputs - outputs.mean(axis=0)
    coefficients = np.linalg.lstsq(x, y, rcond=1e-10)[0]
    return np.asarray(np.var(y - x @ coefficients, axis=0))
