"""Prediction intervals around any forecaster: split conformal per horizon step, and a variant that adapts to drift.

The score of a calibration origin is the absolute error of its point forecast, so intervals are symmetric around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.models.problem import tell_of_calibration
from forecast.system.errors import InputError

Array = NDArray[np.float64]
Scale = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
RAW: Scale = (np.asarray, np.asarray)
SCALES: dict[str, Scale] = {"log": (np.log, np.exp), "logdiff": (np.log, np.exp), "log1p": (np.log1p, np.expm1)}
"""Transform of the target to the units its errors are taken in, there and back; any other leaves the raw ones."""
GAMMA = 0.005  # the step size of Gibbs & Candes (2021, section 4)


def rank_of(n: int, level: float) -> int:
    """ceil((n + 1) level): which of n sorted scores covers the next one with probability at least `level`.

    `InputError` naming the number needed when n is too small, since the rank would lie beyond the largest score.
    """
    if not 0 < level < 1:
        raise InputError(f"Interval level {level}; wanted strictly between 0 and 1 (0.95 = 95 %).")
    rank = math.ceil(round((n + 1) * level, 9))  # 20 * 0.95 is a hair above 19 in binary
    if rank > n:
        raise InputError(
            f"{n} calibration origins cannot support a {100 * level:g} % interval; "
            f"at least {needed(level)} are needed. "
            "Lengthen the calibration block, shorten its `calibration_step_size` or ask for a lower level."
        )
    return rank


def needed(level: float) -> int:
    """The smallest calibration set that supports `level`: ceil(level / (1 - level))."""
    return math.ceil(round(level / (1 - level), 9))


@dataclass(frozen=True)
class SplitConformal:
    """Sorted scores per step (H arrays), from the calibration block only."""

    scores: tuple[Array, ...]

    @classmethod
    def fit(cls, y: ArrayLike, y_hat: ArrayLike, *, horizon: int | None = None) -> SplitConformal:
        """Actuals and forecasts (n, H) of the calibration block.

        Vovk, Gammerman & Shafer (2005); Lei et al. (2018). A missing actual is left out of its step. With `horizon`
        the columns are the steps of several series side by side.
        """
        _tell(y, y_hat, horizon)
        return cls(tuple(np.sort(column[np.isfinite(column)]) for column in scores_of(y, y_hat).T))

    def margin(self, level: float) -> Array:
        """(H,): what to add at both ends so that the next actual is covered with probability at least `level`."""
        return np.array([column[rank_of(len(column), level) - 1] for column in self.scores])

    def interval(self, level: float, y_hat: Array) -> tuple[Array, Array]:
        """Both ends of the intervals of `level` around the forecasts (..., H)."""
        margin = self.margin(level)
        return y_hat - margin, y_hat + margin


def _tell(y: ArrayLike, y_hat: ArrayLike, horizon: int | None) -> None:
    """Of each series on its own."""
    actual, forecast = np.asarray(y), np.asarray(y_hat)
    width = horizon or actual.shape[-1]
    for first in range(0, actual.shape[-1], width):
        tell_of_calibration(actual[..., first : first + width], forecast[..., first : first + width])


def scores_of(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """The absolute errors (n, H), NaN where the actual is missing."""
    actual, forecast = np.asarray(y, dtype=float), np.asarray(y_hat, dtype=float)
    if actual.ndim != 2 or actual.shape != forecast.shape:
        raise InputError(f"Actuals {actual.shape}, forecasts {forecast.shape}; wanted (n, H) twice.")
    if not np.isfinite(forecast).all():
        raise InputError("A forecast of the calibration block is not finite. Its model has failed; leave it out.")
    return np.abs(actual - forecast)


@dataclass
class AdaptiveConformal:
    """Adaptive conformal inference (Gibbs & Candes 2021), one state per column, fed one origin at a time.

    After each outcome the working miscoverage moves by `gamma` (target - missed): too many misses widen what follows.
    Scores come from a sliding window of the newest outcomes, so a drift in the errors' size is followed too. A working
    miscoverage at or below zero would mean an infinite interval; the largest score of the window is used instead.
    """

    level: Array  # () or (L, 1): several levels share the windows
    scores: Array  # (C, room): those of column c from `first[c]` to `end[c]`, newest last
    first: NDArray[np.int64]
    end: NDArray[np.int64]
    fitted: NDArray[np.int64]  # (C,): where the scores of the calibration block end
    alpha: Array  # (C,) or (L, C)
    gamma: float = GAMMA
    spacing: float = 1.0
    held: Array = field(default_factory=lambda: np.empty(0))
    """Per column the time of the window, in spacings of the calibration origins; `reach` is the most it may be."""
    reach: float = 0.0

    @classmethod
    def fit(
        cls,
        y: ArrayLike,
        y_hat: ArrayLike,
        *,
        level: ArrayLike,
        horizon: int | None = None,
        gamma: float = GAMMA,
        spacing: float = 1.0,
    ) -> AdaptiveConformal:
        """Start from the calibration block (n, C), whose length in time is also that of the window: what is observed
        later lies `spacing` times as far apart. `level` () or (L,); `horizon` as in `SplitConformal.fit`."""
        _tell(y, y_hat, horizon)
        outside = scores_of(y, y_hat).T
        known = np.isfinite(outside)
        counts = known.sum(axis=1)
        wanted = np.asarray(level, dtype=float)
        for count in dict.fromkeys(counts.tolist()):
            for one in wanted.flat:
                rank_of(count, float(one))
        wanted = wanted[:, None] if wanted.ndim else wanted
        together = np.take_along_axis(outside, np.argsort(~known, axis=1, kind="stable"), axis=1)
        room = np.full((len(together), together.shape[1] + 64), np.nan)
        room[:, : together.shape[1]] = together
        alpha = 1 - wanted + np.zeros(len(together))
        state = np.zeros_like(counts), counts.copy(), counts.copy()
        return cls(wanted, room, *state, alpha, gamma, spacing, counts.astype(float), float(outside.shape[1]))

    def margin(self) -> Array:
        """(C,) or (L, C): the margins for an origin now."""
        low, high = int(self.first.min()), int(self.end.max())
        at = np.arange(low, high)
        inside = (at >= self.first[:, None]) & (at < self.end[:, None])
        ranked = np.sort(np.where(inside, self.scores[:, low:high], np.inf), axis=1)
        count = self.end - self.first
        rank = np.ceil(np.round((count + 1) * (1 - self.alpha), 9))  # the largest score where more is asked for
        place = np.minimum(np.maximum(rank, 1), count).astype(np.int64) - 1
        found = np.take_along_axis(ranked, place.reshape(-1, len(count)).T, axis=1).T
        return np.asarray(found.reshape(self.alpha.shape))

    def observe(self, columns: NDArray[np.int64], scores: Array, margins: Array) -> None:
        """The outcomes of earlier forecasts became known, one for each of `columns` (k,): their scores (k,), NaN where
        missing, and the margins (k,) or (L, k) they were given."""
        known = np.isfinite(scores)
        columns, scores, margins = columns[known], scores[known], margins[..., known]
        self.alpha[..., columns] += self.gamma * ((1 - self.level) - (scores > margins))
        if len(columns) and int(self.end.max()) == self.scores.shape[1]:
            self._move()
        self.scores[columns, self.end[columns]] = scores
        self.end[columns] += 1
        self.held[columns] += self.spacing
        while (over := (self.held > self.reach) & (self.end - self.first > 1)).any():
            self.held -= np.where(over, np.where(self.first < self.fitted, 1.0, self.spacing), 0.0)
            self.first += over

    def _move(self) -> None:
        """The windows to the front of `scores`, with room for as many scores again."""
        width = int((self.end - self.first).max())
        places = np.minimum(self.first[:, None] + np.arange(2 * width + 64), self.scores.shape[1] - 1)
        self.scores = np.take_along_axis(self.scores, places, axis=1)
        self.fitted, self.end, self.first = self.fitted - self.first, self.end - self.first, np.zeros_like(self.first)


def adaptive_intervals(
    start: AdaptiveConformal, y: Array, y_hat: Array, *, step_size: int = 1, horizon: int | None = None
) -> tuple[Array, Array]:
    """Intervals (n, C), or (L, n, C) of several levels, of consecutive origins, `step_size` steps apart, each using
    only outcomes known at its cutoff.

    The target of step h of origin i is known at origin i + ceil(h / step_size), not before. Columns are the steps of
    one series, or with `horizon` those of several side by side. `start` is advanced.
    """
    outside = scores_of(y, y_hat)
    n, width = outside.shape
    later = -(-(np.arange(width) % (horizon or width) + 1) // step_size)
    margins = np.empty((n, *start.alpha.shape))
    for origin in range(n):
        columns = np.flatnonzero(later <= origin)
        known = origin - later[columns]
        start.observe(columns, outside[known, columns], margins[known, ..., columns].T)
        margins[origin] = start.margin()
    margin = np.moveaxis(margins, 0, -2)
    return y_hat - margin, y_hat + margin
