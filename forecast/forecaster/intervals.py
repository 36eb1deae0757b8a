"""Prediction intervals around any forecaster: split conformal per horizon step, as wide as the
series was restless.

    calibration = SplitConformal.calibrate(y, y_hat, volatility)      # of the calibration block
    low, high = calibration.bounds(y_hat, volatility, 0.8)            # at any later cutoff

Everybody who shows or scores an interval asks `bounds`, whose ends are numbers of their own. The
score of a calibration origin is the absolute error of its point forecast, so intervals are
symmetric around it, divided by a width that the lookback before it gives (locally weighted:
Papadopoulos, Gammerman & Vovk 2008; Lei et al. 2018, section 5.2): margins set in a calm season are
wider after a restless week. A level that too few calibration errors support is refused with the
number needed (`conformal_rank`). `Calibration` says what another kind of interval touches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.config.task import Task
from forecast.config.transforms import TRANSFORMS
from forecast.models.problem import record_calibration
from forecast.system.errors import InputError

Array = NDArray[np.float64]
Limits = tuple[float, float]
"""The lowest and the highest value that a target can have."""
UNBOUNDED: Limits = (-math.inf, math.inf)
POWER = 0.75
PRIOR_ROWS = 5
"""Of the volatility in a width, and how many rows of the calibration block's one are put to those
of a lookback: both decided on short histories (docs/research/interval-widths.md).
"""


@lru_cache(maxsize=1024)
def conformal_rank(n: int, level: float) -> int:
    """Which of n sorted calibration scores is the half width of an interval of `level`: number
    ceil((n + 1) level), counted from 1, covers the next score with probability at least `level`.

    `InputError` naming the number needed when n is too small, since the rank would lie beyond the
    largest score.
    """
    if not 0 < level < 1:
        raise InputError(f"Interval level {level}; wanted strictly between 0 and 1 (0.95 = 95 %).")
    rank = math.ceil(round((n + 1) * level, 9))  # 20 * 0.95 is a hair above 19 in binary
    if rank > n:
        raise InputError(
            f"{n} calibration origins cannot support a {100 * level:g} % interval; at least"
            f" {min_calibration_size(level)} are needed. Lengthen the calibration block, shorten"
            " its `calibration_step_size` or ask for a lower level."
        )
    return rank


def min_calibration_size(level: float) -> int:
    """The smallest calibration set that supports `level`: ceil(level / (1 - level))."""
    return math.ceil(round(level / (1 - level), 9))


def volatility(values: Array, rows: ArrayLike, task: Task) -> Array:
    """(n, O): how much each target of `values` (T, C) changed over a season inside the lookback up
    to each of `rows`.

    The root mean square of the seasonal differences, in the units errors are taken in; of those of
    one row where the lookback is no longer than a season. NaN where none is known.
    """
    season = task.season_length
    if season >= task.lookback:
        season = 1
    lookback_rows = np.asarray(rows, dtype=np.int64)[:, None] - np.arange(task.lookback - season)
    volatilities = []
    for column, target_values in zip(task.target, values.T, strict=False):
        y = TRANSFORMS[column.transform].to_units(target_values)
        change = np.full(len(y), np.nan)
        change[season:] = y[season:] - y[:-season]
        changes = np.where(lookback_rows >= 0, change[np.maximum(lookback_rows, 0)], np.nan)
        volatilities.append(root_mean(changes.T**2))
    return np.stack(volatilities, axis=1)


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
    now = np.asarray(volatility, dtype=float)
    usual = np.asarray(typical, dtype=float)
    known = np.isfinite(now) & (usual > 0)
    ratio = np.where(known, now, 1.0) / np.where(known, usual, 1.0)
    share = lookback / (lookback + PRIOR_ROWS)
    return np.asarray((share * ratio**2 + 1 - share) ** (POWER / 2))


class Bounds(NamedTuple):
    """Both ends of intervals, in the target's unit; each is a number of its own."""

    low: Array
    high: Array


class Calibration(Protocol):
    """What the calibration block tells of the errors of a forecaster, so that intervals can be
    put around its forecasts. Whoever shows an interval asks this alone.

    Another kind of interval, such as one with different tails, is another class with these methods,
    and a change of each place that knows `SplitConformal` by name or by its rules:

        forecaster.ensemble     makes it (`calibration_scores`), saves and loads it
        comparison.intervals    makes it (`_calibrate`), counts its scores (`n_calibration`),
                                refuses a level by its rank (`_refusal`)
        audit.rescored          works the symmetric interval out anew (`_score_intervals`)
        report                  calls it split conformal (templates/protocol.html.j2)
        tracking.runs           calls it "split" in the names of metrics

    It calls `models.problem.record_calibration`, or the leak audit does not see what it was given.
    """

    def require(self, level: float) -> None:
        """`InputError` naming the cutoffs needed where too few support intervals of `level`."""
        ...

    def bounds(
        self,
        y_hat: ArrayLike,
        volatility: ArrayLike,
        level: float,
        *,
        steps: ArrayLike | None = None,
    ) -> Bounds:
        """Both ends of the intervals of `level` around forecasts; see `SplitConformal.bounds`."""
        ...


@dataclass(frozen=True)
class SplitConformal:
    """Symmetric intervals in the units the target is modelled in (Vovk, Gammerman & Shafer 2005;
    Lei et al. 2018): the one kind of `Calibration` there is.

    Made by `calibrate`, of one series or of several side by side; by `forecaster.ensemble` when it
    is loaded.
    """

    scores: tuple[Array, ...]
    """By step, and series after series: the sorted errors of the calibration block, each over the
    width at its cutoff."""
    typical: Array
    """Volatility in the calibration block: (), or (S,) of S series; not above 0 where unknown."""
    lookback: int = 1
    transform: str = "none"
    """Of the target; it gives the units of the errors (`TRANSFORMS`)."""
    limits: Limits = UNBOUNDED
    """Of the target, in its unit: no end of an interval lies outside."""

    @classmethod
    def calibrate(
        cls,
        y: ArrayLike,
        y_hat: ArrayLike,
        volatility: ArrayLike | None = None,
        *,
        lookback: int = 1,
        transform: str = "none",
        limits: Limits = UNBOUNDED,
    ) -> SplitConformal:
        """From actuals and forecasts (n, H) of the calibration block and the volatility (n,) before
        its cutoffs; all widths are 1 without it.

        A missing actual is left out of its step. Several series stand side by side as (n, S * H)
        with volatility (n, S).
        """
        to_units = TRANSFORMS[transform].to_units
        actual = to_units(np.asarray(y, dtype=float))
        forecast = to_units(np.asarray(y_hat, dtype=float))
        before = np.full(len(actual), np.nan)
        if volatility is not None:
            before = np.asarray(volatility, dtype=float)
        horizon = actual.shape[-1] // before[0].size
        for first in range(0, actual.shape[-1], horizon):
            of_series = slice(first, first + horizon)
            record_calibration(actual[..., of_series], forecast[..., of_series])
        typical = root_mean(before**2)
        factors = _repeat_for_steps(widths(before, typical, lookback), horizon)
        scores = absolute_errors(actual, forecast) / factors
        sorted_scores = tuple(np.sort(column[np.isfinite(column)]) for column in scores.T)
        return cls(sorted_scores, typical, lookback, transform, limits)

    def require(self, level: float) -> None:
        """`InputError` naming the cutoffs needed where too few support intervals of `level`."""
        for column in self.scores:
            conformal_rank(len(column), level)

    def bounds(
        self,
        y_hat: ArrayLike,
        volatility: ArrayLike,
        level: float,
        *,
        steps: ArrayLike | None = None,
    ) -> Bounds:
        """Both ends of the intervals of `level` around forecasts in the target's unit.

        Either `y_hat` (n, H) with `volatility` (n,) before the cutoffs (S series side by side as in
        `calibrate`), or `y_hat` (n,) with the horizon step and the volatility of each forecast.
        NaN beyond the calibrated steps.

        Raises:
            InputError: the calibration block is too small for `level`; it names the number needed.
        """
        transform = TRANSFORMS[self.transform]
        centre = transform.to_units(np.asarray(y_hat, dtype=float))
        factors = widths(volatility, self.typical, self.lookback)
        if steps is None:
            n_columns = centre.shape[-1]
            steps = np.arange(1, n_columns + 1)
            factors = _repeat_for_steps(factors, n_columns // factors[0].size)
        quantiles = [column[conformal_rank(len(column), level) - 1] for column in self.scores]
        by_step = np.array([*quantiles, np.nan])
        half_width = by_step[np.minimum(steps, len(by_step)) - 1] * factors
        low = transform.to_raw(centre - half_width)
        high = transform.to_raw(centre + half_width)
        return Bounds(np.clip(low, *self.limits), np.clip(high, *self.limits))

    def one_step_scores(self, y: ArrayLike, y_hat: ArrayLike, volatility: ArrayLike) -> Array:
        """(n,): the errors of one-step forecasts as those of `scores[0]` are: in model units, over
        the width at their cutoff. NaN where the actual is missing.
        """
        to_units = TRANSFORMS[self.transform].to_units
        error = to_units(np.asarray(y, float)) - to_units(np.asarray(y_hat, float))
        return np.asarray(np.abs(error) / widths(volatility, self.typical, self.lookback))


def _repeat_for_steps(factors: Array, horizon: int) -> Array:
    """The widths (n,) or, of S series, (n, S) once for every step of the horizon: (n, S * H)."""
    return np.repeat(factors.reshape(len(factors), -1), horizon, axis=1)


def absolute_errors(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """The absolute errors (n, H), NaN where the actual is missing; `InputError` for a forecast that
    is not finite.
    """
    actual = np.asarray(y, dtype=float)
    forecast = np.asarray(y_hat, dtype=float)
    if not np.isfinite(forecast).all():
        raise InputError(
            "A forecast of the calibration block is not finite. Its model has failed; leave it out."
        )
    return np.abs(actual - forecast)
