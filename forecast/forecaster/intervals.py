"""Prediction intervals around any forecaster: split conformal per horizon step, as wide as the
series was restless.

The score of a calibration origin is the absolute error of its point forecast, so intervals are
symmetric around it, divided by a width that the lookback before it gives (locally weighted:
Papadopoulos, Gammerman & Vovk 2008; Lei et al. 2018, section 5.2): margins set in a calm season are
wider after a restless week.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.config.task import Task
from forecast.models.problem import record_calibration
from forecast.system.errors import InputError

Array = NDArray[np.float64]
Scale = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
RAW: Scale = (np.asarray, np.asarray)
SCALES: dict[str, Scale] = {
    "log": (np.log, np.exp),
    "logdiff": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
}
"""Transform of the target to the units its errors are taken in, there and back; any other leaves
the raw ones.
"""
POWER, PRIOR_ROWS = 0.75, 5
"""Of the volatility in a width, and how many rows of the calibration block's one are put to those
of a lookback: both decided on short histories (docs/protocol.md, section 7).
"""


@lru_cache(maxsize=1024)
def rank_of(n: int, level: float) -> int:
    """ceil((n + 1) level): which of n sorted scores covers the next one with probability at least
    `level`.

    `InputError` naming the number needed when n is too small, since the rank would lie beyond the
    largest score.
    """
    if not 0 < level < 1:
        raise InputError(f"Interval level {level}; wanted strictly between 0 and 1 (0.95 = 95 %).")
    rank = math.ceil(round((n + 1) * level, 9))  # 20 * 0.95 is a hair above 19 in binary
    if rank > n:
        raise InputError(
            f"{n} calibration origins cannot support a {100 * level:g} % interval; at least"
            f" {needed(level)} are needed. Lengthen the calibration block, shorten its"
            " `calibration_step_size` or ask for a lower level."
        )
    return rank


def needed(level: float) -> int:
    """The smallest calibration set that supports `level`: ceil(level / (1 - level))."""
    return math.ceil(round(level / (1 - level), 9))


def volatility(values: Array, rows: ArrayLike, task: Task) -> Array:
    """(n, O): how much each target of `values` (T, C) changed over a season inside the lookback up
    to each of `rows`.

    The root mean square of the seasonal differences, in the units errors are taken in; of those of
    one row where the lookback is no longer than a season. NaN where none is known.
    """
    season = task.season_length if task.season_length < task.lookback else 1
    at = np.asarray(rows, dtype=np.int64)[:, None] - np.arange(task.lookback - season)
    found = []
    for column, own in zip(task.target, values.T, strict=False):
        y = SCALES.get(column.transform, RAW)[0](own)
        change = np.full(len(y), np.nan)
        change[season:] = y[season:] - y[:-season]
        found.append(root_mean(np.where(at >= 0, change[np.maximum(at, 0)], np.nan).T ** 2))
    return np.stack(found, axis=1)


def root_mean(squares: Array) -> Array:
    """The root of the mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(squares)
    count = known.sum(axis=0)
    mean = np.where(known, squares, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, np.sqrt(mean), np.nan))


def widths(volatility: ArrayLike, typical: ArrayLike, lookback: int) -> Array:
    """How many times as wide as usual an interval is after this `volatility`; 1 where it is not
    known, or where `typical`, that of the calibration block, is not above zero.
    """
    now, usual = np.asarray(volatility, dtype=float), np.asarray(typical, dtype=float)
    known = np.isfinite(now) & (usual > 0)
    ratio = np.where(known, now, 1.0) / np.where(known, usual, 1.0)
    share = lookback / (lookback + PRIOR_ROWS)
    return np.asarray((share * ratio**2 + 1 - share) ** (POWER / 2))


@dataclass(frozen=True)
class SplitConformal:
    """Sorted scores per step (H arrays), from the calibration block only, and the `typical`
    volatility there (0 where it is not known).
    """

    scores: tuple[Array, ...]
    typical: float = 0.0

    @classmethod
    def fit(
        cls, y: ArrayLike, y_hat: ArrayLike, *, widths: ArrayLike = 1.0, horizon: int | None = None
    ) -> SplitConformal:
        """Actuals and forecasts (n, H) of the calibration block, and the `widths` (n, 1 or H) of
        its origins.

        Vovk, Gammerman & Shafer (2005); Lei et al. (2018). A missing actual is left out of its
        step. With `horizon` the columns are the steps of several series side by side.
        """
        actual, forecast = np.asarray(y), np.asarray(y_hat)
        steps = horizon or actual.shape[-1]
        for first in range(0, actual.shape[-1], steps):
            record_calibration(
                actual[..., first : first + steps], forecast[..., first : first + steps]
            )
        scores = scores_of(y, y_hat) / np.asarray(widths)
        return cls(tuple(np.sort(column[np.isfinite(column)]) for column in scores.T))

    def margin(self, level: float) -> Array:
        """(H,): what to add at both ends, at a width of 1, so that the next actual is covered with
        `level`.
        """
        return np.array([column[rank_of(len(column), level) - 1] for column in self.scores])

    def interval(
        self, level: float, y_hat: Array, *, widths: ArrayLike = 1.0
    ) -> tuple[Array, Array]:
        """Both ends of the intervals of `level` around the forecasts (..., H)."""
        margin = self.margin(level) * np.asarray(widths)
        return y_hat - margin, y_hat + margin


def scores_of(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """The absolute errors (n, H), NaN where the actual is missing."""
    actual, forecast = np.asarray(y, dtype=float), np.asarray(y_hat, dtype=float)
    if actual.ndim != 2 or actual.shape != forecast.shape:
        raise InputError(
            f"Actuals {actual.shape}, forecasts {forecast.shape}; wanted (n, H) twice."
        )
    if not np.isfinite(forecast).all():
        raise InputError(
            "A forecast of the calibration block is not finite. Its model has failed; leave it out."
        )
    return np.abs(actual - forecast)
