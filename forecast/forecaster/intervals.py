"""Prediction intervals around any forecaster: split conformal per horizon step, and a variant that adapts to drift.

Both wrap a band [lower, upper]; a point forecast is the band with both ends equal. The score of a calibration origin
is how far the actual lies outside its band (negative inside), so quantile heads are widened or narrowed as a whole
(conformalised quantile regression, Romano, Patterson & Candes 2019) and point forecasts get symmetric intervals.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Callable, Sequence
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
    def fit(cls, y: ArrayLike, lower: ArrayLike, upper: ArrayLike | None = None) -> SplitConformal:
        """`y`, `lower`, `upper` (n, H) of the calibration block; without `upper`, `lower` is the point forecast.

        Vovk, Gammerman & Shafer (2005); Lei et al. (2018). A missing actual is left out of its step.
        """
        tell_of_calibration(y, lower)
        outside = scores_of(y, lower, upper)
        return cls(tuple(np.sort(column[np.isfinite(column)]) for column in outside.T))

    def margin(self, level: float) -> Array:
        """(H,): what to add at both ends so that the next actual is covered with probability at least `level`."""
        return np.array([column[rank_of(len(column), level) - 1] for column in self.scores])

    def interval(self, level: float, lower: ArrayLike, upper: ArrayLike | None = None) -> tuple[Array, Array]:
        """The band (..., H) widened to `level`; never turned inside out."""
        return widened(lower, upper, self.margin(level))


def scores_of(y: ArrayLike, lower: ArrayLike, upper: ArrayLike | None = None) -> Array:
    """How far each actual lies outside its band, negative inside; (n, H), NaN where the actual is missing."""
    actual, low = np.asarray(y, dtype=float), np.asarray(lower, dtype=float)
    high = low if upper is None else np.asarray(upper, dtype=float)
    if actual.ndim != 2 or not actual.shape == low.shape == high.shape:
        raise InputError(
            f"Actuals {actual.shape}, lower ends {low.shape}, upper ends {high.shape}; wanted (n, H) three times."
        )
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError("A forecast of the calibration block is not finite. Its model has failed; leave it out.")
    return np.asarray(np.maximum(low - actual, actual - high))


def widened(lower: ArrayLike, upper: ArrayLike | None, margin: Array) -> tuple[Array, Array]:
    """Both ends moved out by `margin`; where a negative margin would cross them, both become the middle."""
    low = np.asarray(lower, dtype=float)
    high = low if upper is None else np.asarray(upper, dtype=float)
    middle = (low + high) / 2
    return np.minimum(low - margin, middle), np.maximum(high + margin, middle)


@dataclass
class AdaptiveConformal:
    """Adaptive conformal inference (Gibbs & Candes 2021), one state per step, fed one origin at a time.

    After each outcome the working miscoverage moves by `gamma` (target - missed): too many misses widen what follows.
    Scores come from a sliding window of the newest outcomes, so a drift in the errors' size is followed too. A working
    miscoverage at or below zero would mean an infinite interval; the largest score of the window is used instead.
    """

    level: float
    window: list[deque[tuple[float, float]]]  # per step, newest last: a score and the time it stands for
    ranked: list[list[float]]  # the same scores in rising order, so that a margin is one look-up
    alpha: Array
    gamma: float = GAMMA
    spacing: float = 1.0
    held: list[float] = field(default_factory=list)
    """Per step the time of the window, in spacings of the calibration origins; `reach` is the most it may be."""
    reach: float = 0.0

    @classmethod
    def fit(
        cls,
        y: ArrayLike,
        lower: ArrayLike,
        upper: ArrayLike | None = None,
        *,
        level: float,
        gamma: float = GAMMA,
        spacing: float = 1.0,
    ) -> AdaptiveConformal:
        """Start from the calibration block (n, H), whose length in time is also that of the window: what is observed
        later lies `spacing` times as far apart."""
        tell_of_calibration(y, lower)
        outside = scores_of(y, lower, upper)
        known = [column[np.isfinite(column)].tolist() for column in outside.T]
        for column in known:
            rank_of(len(column), level)
        window = [deque((score, 1.0) for score in column) for column in known]
        alpha, held = np.full(len(window), 1 - level), [float(len(column)) for column in known]
        return cls(level, window, [sorted(c) for c in known], alpha, gamma, spacing, held, float(len(outside)))

    def margin(self) -> Array:
        """(H,): the margin for an origin now."""
        return np.array([_quantile(column, 1 - a) for column, a in zip(self.ranked, self.alpha, strict=True)])

    def observe(self, step: int, score: float, margin: float) -> None:
        """The outcome of one earlier forecast became known: its score, and the margin it was given."""
        if not math.isfinite(score):
            return
        self.alpha[step] += self.gamma * ((1 - self.level) - (score > margin))
        window, ranked = self.window[step], self.ranked[step]
        window.append((score, self.spacing))
        bisect.insort(ranked, score)
        self.held[step] += self.spacing
        while self.held[step] > self.reach and len(window) > 1:
            oldest, time = window.popleft()
            del ranked[bisect.bisect_left(ranked, oldest)]
            self.held[step] -= time


def adaptive_intervals(
    start: AdaptiveConformal,
    y: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike | None = None,
    *,
    step_size: int = 1,
) -> tuple[Array, Array]:
    """Intervals (n, H) of consecutive origins, `step_size` steps apart, each using only outcomes known at its cutoff.

    The target of step h of origin i is known at origin i + ceil(h / step_size), not before. `start` is advanced.
    """
    outside = scores_of(y, lower, upper)
    n, horizon = outside.shape
    margins = np.empty((n, horizon))
    for origin in range(n):
        for step in range(horizon):
            known = origin - math.ceil((step + 1) / step_size)
            if known >= 0:
                start.observe(step, float(outside[known, step]), float(margins[known, step]))
        margins[origin] = start.margin()
    return widened(lower, upper, margins)


def _quantile(ranked: Sequence[float], level: float) -> float:
    """The conformal quantile of rising scores; the largest where the level asks for more than they can tell."""
    rank = math.ceil(round((len(ranked) + 1) * level, 9))
    return ranked[min(max(rank, 1), len(ranked)) - 1]
