"""Finds numeric columns that contain later values of the target, by a shift or a centred mean.

A column leaks where it predicts a later target nearly exactly, so that it rather is that value than
something known before. `forecast add` does not offer such a column, the rule `leaks` of
`data.quality.checks` warns about a past input, and the audit tests columns with
`explain_later_target`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

MOST_LAGS = 24
"""The most lags that are examined, and the most steps ahead by `find_leaks`."""
LEAK_SERIES = 3
"""The number of longest series that are examined; a leak is in all series."""
LEAK_ROWS = 2_000
"""The number of newest rows that are examined."""


class Leak(NamedTuple):
    """`column` of `series` predicts the target `steps` later."""

    series: str
    column: str
    steps: int


def find_leaks(
    frame: pd.DataFrame, target: Any, columns: list[Any], horizon: int, limit: float
) -> Iterator[Leak]:
    """The leaks of the numeric `columns` in the longest series of `frame`, whose rows are in order
    of time within each series. limit: see `explain_later_target`.
    """
    sizes = frame["unique_id"].value_counts()
    for series in sizes.index[:LEAK_SERIES]:
        rows = frame[frame["unique_id"] == series][[target, *columns]].tail(LEAK_ROWS)
        rows = rows.astype(float)
        values = (rows / rows.abs().max()).to_numpy()  # so that squares of 1e200 are finite
        for name, column in zip(columns, values.T[1:], strict=True):
            explained = explain_later_target(values[:, 0], column, min(horizon, MOST_LAGS), limit)
            if explained is not None:
                yield Leak(str(series), str(name), explained[0])


def explain_later_target(
    target: np.ndarray, column: np.ndarray, steps: int, limit: float
) -> tuple[int, float] | None:
    """The step (1 to `steps`) whose target the column explains best, and how much it leaves
    unexplained: the residual variance of a regression on the lags of both, as a share of that on
    the target's lags alone. None where the share is not below `limit`, or rows are too few.
    `target` and `column` are (T,).
    """
    lags = min(MOST_LAGS, max(2, len(target) // 20))
    usable = np.arange(lags, len(target) - steps)
    past_rows = usable[:, None] - np.arange(lags)
    target_lags = target[past_rows]
    all_lags = np.concatenate([target_lags, column[past_rows]], axis=1)
    later_targets = target[usable[:, None] + np.arange(1, steps + 1)]
    is_known = np.isfinite(all_lags).all(axis=1) & np.isfinite(later_targets).all(axis=1)
    if is_known.sum() < 4 * lags:
        return None
    variance_alone = residual_variance(target_lags[is_known], later_targets[is_known])
    variance_with_column = residual_variance(all_lags[is_known], later_targets[is_known])
    # where the target's past explains it nearly exactly, a column has nothing to add
    is_open = variance_alone > 1e-6 * np.var(later_targets[is_known], axis=0)
    share = np.ones_like(variance_alone)
    np.divide(variance_with_column, variance_alone, out=share, where=is_open)
    step = int(np.argmin(share))
    return (step + 1, float(share[step])) if share[step] < limit else None


def residual_variance(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """(m,): the residual variance of each output (n, m) in a linear regression on all inputs (n,
    k).
    """
    x = inputs - inputs.mean(axis=0)
    spread = x.std(axis=0)
    x = x / np.where(spread > 0, spread, 1.0)
    y = outputs - outputs.mean(axis=0)
    coefficients = np.linalg.lstsq(x, y, rcond=1e-10)[0]
    return np.var(y - x @ coefficients, axis=0)
