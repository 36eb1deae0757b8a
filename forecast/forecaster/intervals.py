"""Prediction intervals around any forecaster: split conformal per horizon step, from the newest
known errors, and wider after a volatile lookback.

    conformal = SplitConformal.of_blocks(blocks, task, target)
    conformal = SplitConformal.calibrate(y, y_hat, difficulty)        # or by block: of calibration
    conformal = conformal.resized(y, y_hat, difficulty)               # of the validation block
    conformal = conformal.followed_by(y, y_hat, difficulty)           # of the test block
    conformal.bounds_in_turn(y_hat, difficulty, [0.8, 0.95])          # of the test block
    conformal.newest.bounds(y_hat, difficulty, 0.8)                   # at any later cutoff

Every table and metric of intervals uses `bounds_in_turn` or `bounds`, which give both ends
(`Bounds`). Three words have one meaning each in this module:

    error     |y - y_hat| in model units, those after the target's transform
    score     an error divided by the difficulty of its forecast; scores are ranked
    margin    half the width of an interval in model units: a quantile of scores x difficulty

Difficulty has two factors (locally weighted: Papadopoulos, Gammerman & Vovk 2008; Lei et al. 2018,
section 5.2): the volatility of the lookback, and the size of calibration errors at the same hour or
weekday. A position of the season with errors far below the usual (a closed day, solar power at
night) is quiet; scores at quiet positions are ranked apart (Mondrian: Vovk, Gammerman & Shafer
2005, section 4.5). The margin of a step is drawn towards that of all steps (`lean_on_steps`), and
large errors of the validation block raise those of calibration (`resized`): neither keeps the
guarantee of ranks alone, but both bring the coverage of simulated series closer to the nominal one
(docs/research/interval-widths.md). Many series with short calibration blocks rank their errors
together (`put_in_pool`). A coverage for which there are too few errors is refused
(`require_enough_errors`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecast.config.task import Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data.calendars import season_positions
from forecast.data.panel import Series
from forecast.data.scaling import Scaling
from forecast.models.problem import record_calibration
from forecast.system.errors import InputError, plural

Array = NDArray[np.float64]
Times = NDArray[np.datetime64]
NO_TIMES = np.empty((0, 0), dtype="datetime64[ns]")
Limits = tuple[float, float]
"""The lowest and the highest value that a target can have."""
UNBOUNDED: Limits = (-math.inf, math.inf)
POWER = 0.75
"""Exponent of the ratio of volatilities in a width (docs/research/interval-widths.md)."""
PRIOR_ROWS = 5
"""Rows of the usual volatility that are added to those of a lookback, whose own volatility is an
uncertain estimate.
"""
PRIOR_ERRORS = 60
"""Errors of the usual size that are added to those of a position of the season
(docs/research/interval-widths.md).
"""
QUIET = 1 / 3
"""A position of the season is quiet where its mean error is below this share of the usual error,
and it has at least PRIOR_ERRORS errors.
"""
SHORT_BLOCK = 19
"""A calibration block of fewer origins supports no 95 % interval and is not `resized`."""
FEW_ZEROS = 8
"""Fewer errors that are all zero are weak evidence: a product that is bought in a third of the
months is bought in none of eight one time in 25. Nights and closed days have more zeros.
"""
POOLED_BLOCK = 39
"""Series with calibration blocks of fewer origins rank their errors together."""
MIN_POOLED_SERIES = 10
"""The least number of such series of one target; where there are fewer, each ranks its own."""
POOLED_HORIZONS = 3
"""From how many of the newest horizons a pool takes errors (docs/research/interval-widths.md)."""
RENEWALS = 40
"""Margins are computed anew so many times while all their errors are replaced by newer ones."""
LEANING = 0.3
"""The weight of all steps together in the margin of each (docs/research/interval-widths.md)."""
RESIZING = 8
"""Calibration scores are resized to the power mean of this order of both blocks' mean scores, which
is near the larger one.
"""
MAX_RESIZED = 2.0
"""The largest factor by which `resized` enlarges calibration scores."""
CEILING = 4.0
"""Upper ends of a target whose transform has a lowest value (`log`, `log1p`, `logdiff`, `logit`)
are at most this many times its highest value: one day of zero sales among a hundred of 150 is an
error of five logarithms, and its upper end would be twenty thousand.
"""


NO_CALIBRATION = (
    "The blocks leave no cutoff to calibrate on, or no value behind one: wait for more rows, or"
    " begin anew with a shorter horizon."
)
"""Advice where there is no calibration error at all, and the other blocks have no rows to spare."""


def conformal_ranks(n: NDArray[Any] | int, coverage: Array | float) -> NDArray[np.int64]:
    """The rank (from 1) of the score among n sorted calibration scores that sets the margin of an
    interval of `coverage`, a share: ceil((n + 1) coverage). It covers the next score with
    probability at least `coverage`. A rank above n: there are too few scores.
    """
    exact = (n + 1) * coverage
    return np.ceil(np.round(exact, 9)).astype(np.int64)  # in floats 25 * 0.28 is just above 7


@lru_cache(maxsize=1024)
def require_enough_errors(n: int, coverage: float) -> None:
    """`InputError` where n calibration errors of a step are too few for an interval of `coverage`;
    it names the number needed. `InputError` also for a coverage outside (0, 1).
    """
    if not 0 < coverage < 1:
        raise InputError(f"Coverage {coverage}; wanted strictly between 0 and 1 (0.95 = 95 %).")
    if conformal_ranks(n, coverage) > n:
        needed = min_calibration_size(coverage)
        advice = "Lengthen the calibration block or ask for a lower level." if n else NO_CALIBRATION
        raise InputError(
            f"{plural(n, 'calibration error')} found for a step; an interval of"
            f" {100 * coverage:g} % takes at least {needed}. {advice}"
        )


def min_calibration_size(coverage: float) -> int:
    """The smallest calibration set that supports `coverage`: ceil(coverage / (1 - coverage))."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def volatility(values: Array, rows: ArrayLike, task: Task) -> Array:
    """(n, O): the volatility of each target of `values` (T, C) in the lookback that ends at each of
    `rows` (n,).

    It is the root mean square of the seasonal differences in model units, or of the differences
    between neighbouring rows where the lookback is no longer than a season. NaN without any.
    """
    season = task.season_length
    if season >= task.lookback:
        season = 1
    lookback_rows = np.asarray(rows, dtype=np.int64)[:, None] - np.arange(task.lookback - season)
    volatilities = []
    for column, target_values in zip(task.target, values.T, strict=False):
        y = TRANSFORMS[column.transform].to_model_units(target_values)
        change = np.full(len(y), np.nan)
        change[season:] = y[season:] - y[:-season]
        changes = np.where(lookback_rows >= 0, change[np.maximum(lookback_rows, 0)], np.nan)
        volatilities.append(root_mean(changes.T**2))
    return np.stack(volatilities, axis=1)


def visible_volatility(scaling: Scaling, series: Series, rows: ArrayLike, task: Task) -> Array:
    """The `volatility` of a series without its wild values, which models do not see either."""
    return volatility(scaling.hide_wild(series), rows, task)


def root_mean(squares: Array) -> Array:
    """The root of the mean of the finite `squares` over the first axis; NaN without any."""
    return np.sqrt(mean_known(squares))


def mean_known(values: Array) -> Array:
    """The mean of the finite `values` over the first axis; NaN where none is finite."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def divide_known(numerator: ArrayLike, denominator: Array) -> Array:
    """`numerator` / `denominator`; 1 where the numerator is not finite or the denominator is not
    above zero.
    """
    is_known = np.isfinite(numerator) & (denominator > 0)
    return np.where(is_known, numerator, 1.0) / np.where(is_known, denominator, 1.0)


def widths(volatility: ArrayLike, typical: Array, lookback: int) -> Array:
    """The width of an interval after this `volatility`, as a multiple of the usual one; 1 where the
    volatility is not known, or `typical`, that of the calibration block, is not above zero.
    """
    ratio = divide_known(volatility, typical)
    share = lookback / (lookback + PRIOR_ROWS)
    return (share * ratio**2 + 1 - share) ** (POWER / 2)


def split_series(values: ArrayLike, n_series: int) -> NDArray[Any]:
    """(n, S, H): `values` (n, S * H) of S series side by side."""
    columns = np.asarray(values)
    return columns.reshape(len(columns), n_series, columns.shape[1] // n_series)


class Difficulty(NamedTuple):
    """What says how large the errors of n forecasts may be: of one series, or of S side by side."""

    volatility: Array
    """(n,) or (n, S): that of the lookback, in model units; NaN where it is not known."""
    positions: NDArray[np.int64] | None = None
    """(n, S * H): the position in the season of every forecast time
    (`calendars.season_positions`).
    """
    ds: Times = NO_TIMES
    """(n, S * H): every forecast time."""

    @classmethod
    def of_targets(cls, volatility: Array, ds: NDArray[np.datetime64], task: Task) -> Difficulty:
        """The difficulty of forecasts for the times `ds` (n, S * H)."""
        return cls(volatility, season_positions(task.calendar, ds, task.season_length), ds)


BlockErrors = tuple[Array, Array, Difficulty]
"""Actuals and forecasts (n, H) of one block, or (n, S * H) of S series, and their difficulty."""


class Season(NamedTuple):
    """The size of calibration errors by position in the season: arrays (P, S), or (n, S, H) with
    one value per forecast.
    """

    factors: Array
    """The square root of the ratio of their mean to the mean of all errors."""
    is_quiet: NDArray[np.bool_]
    """Whether they are far below the usual, so that scores at these positions are ranked apart."""

    def at(self, positions: NDArray[np.int64]) -> Season:
        """The values (n, S, H) at `positions` (n, S, H), from those by position (P, S). A position
        that the calibration block lacks has the factor 1 and is not quiet.
        """
        n_positions, n_series = self.factors.shape
        places = np.minimum(positions, n_positions), np.arange(n_series)[:, None]
        factors = np.vstack([self.factors, np.ones(n_series)])
        is_quiet = np.vstack([self.is_quiet, np.zeros(n_series, dtype=bool)])
        return Season(factors[places], is_quiet[places])


NO_SEASON = Season(np.ones((0, 1)), np.ones((0, 1), dtype=bool))


def compare_positions(scores: Array, positions: NDArray[np.int64]) -> Season:
    """The size of the scores (n, S, H) at each position of a season, relative to the mean score of
    their step. `PRIOR_ERRORS` of the usual size are added, for short blocks.
    """
    is_known = np.isfinite(scores)
    means = mean_known(scores)
    n_series = scores.shape[1]
    series = np.arange(n_series)[:, None]
    of_known = positions[is_known], np.broadcast_to(series, scores.shape)[is_known]
    sums = np.zeros((positions.max() + 1, n_series))
    counts = sums.copy()
    np.add.at(sums, of_known, (scores / np.where(means > 0, means, 1.0))[is_known])
    np.add.at(counts, of_known, 1.0)
    is_quiet = (sums < QUIET * counts) & (counts >= PRIOR_ERRORS)
    return Season(np.sqrt((sums + PRIOR_ERRORS) / (counts + PRIOR_ERRORS)), is_quiet)


class Bounds(NamedTuple):
    """Both ends of intervals, in the target's unit."""

    low: Array
    high: Array


def newest_places(scores: Array, n_newest: int, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n_newest, S, H): the row numbers of the newest known scores of each step, oldest first;
    missing scores (NaN) come only where a step has fewer. `ends` (S, H): the row after the last
    score of each step.
    """
    if (np.isfinite(scores).sum(axis=0) == ends).all():
        return ends - n_newest + np.arange(n_newest)[:, None, None]
    order = np.argsort(np.isfinite(scores), axis=0, kind="stable")
    return order[len(scores) - n_newest :]


@dataclass(frozen=True)
class RankedScores:
    """Sorted scores of each step of S series; sorted once for all coverages and forecasts."""

    of_steps: Array
    """(n, S, H): those of each step in rising order, NaN last."""

    @cached_property
    def means(self) -> Array:
        """(S, H): the mean score of each step."""
        return mean_known(self.of_steps)

    @cached_property
    def relative(self) -> Array:
        """(n * H, S): the scores of all steps of a series together, each divided by the mean of its
        step; each column in rising order, NaN last.
        """
        scores = self.of_steps / np.where(self.means > 0, self.means, 1.0)
        return np.sort(join_steps(scores), axis=0)


class RankedPool(NamedTuple):
    """The pooled errors that hold at one cutoff, (N, H): each divided by the usual error of its
    series; each column in rising order, NaN last.
    """

    calibration: Array
    newest: Array

    def quantiles(self, coverage: ArrayLike) -> Array:
        """(..., H): the quantiles of the newest errors. Where these are too few for a coverage, the
        larger of the largest newest error and the quantile of the calibration block.
        """
        of_calibration = quantile_of_each(self.calibration, coverage)
        if not len(self.newest):
            return of_calibration
        of_newest = quantile_of_each(self.newest, coverage)
        largest = np.fmax.reduce(self.newest, axis=0, initial=0.0)
        return np.where(np.isnan(of_newest), np.maximum(largest, of_calibration), of_newest)


@dataclass(frozen=True, eq=False)
class Pool:
    """The errors of all series that rank theirs together, at all times."""

    calibration: Array
    """(N, H): as in `RankedPool`."""
    errors: Array
    """(n, H): of the calibration and test blocks, unsorted, each divided by the usual error of its
    series.
    """
    ds: Times
    """(n, H): the forecast times of `errors`."""
    ranked_before: dict[np.datetime64, RankedPool] = field(default_factory=dict)

    def known_before(self, ds: np.datetime64) -> RankedPool:
        """The pooled errors for a forecast whose first step is at `ds`: the newest errors are those
        of the `POOLED_HORIZONS` horizons before it.
        """
        if ds not in self.ranked_before:
            first = np.searchsorted(self.steps, ds) - POOLED_HORIZONS * self.ds.shape[1]
            is_newest = (self.ds < ds) & (self.ds >= self.steps[max(first, 0)])
            errors = np.where(is_newest, self.errors, np.nan)
            ranked = np.sort(errors[is_newest.any(axis=1)], axis=0)
            self.ranked_before[ds] = RankedPool(self.calibration, ranked)
        return self.ranked_before[ds]

    @cached_property
    def steps(self) -> Times:
        """The forecast times in rising order, without duplicates."""
        return np.unique(self.ds)


@dataclass(frozen=True)
class SplitConformal:
    """The scores of one target that intervals are made of, and what turns them into intervals:
    symmetric in model units (Vovk, Gammerman & Shafer 2005; Lei et al. 2018).

    Made by `of_blocks` or `calibrate`, for one series or for S series side by side, or read by
    `forecaster.ensemble`.
    """

    scores: Array
    """(n, S, H): the scores that are ranked, in the order of time: those of the calibration block,
    or after `known_after` the newest. NaN where the actual is missing.
    """
    is_quiet: NDArray[np.bool_]
    """(n, S, H): which of them are at quiet positions."""
    typical: Array
    """Volatility in the calibration block: (), or (S,) of S series; not above 0 where unknown."""
    test_scores: Array
    """(m, S, H): the scores of the test block, set by `followed_by`; no rows without it."""
    test_is_quiet: NDArray[np.bool_]
    """(m, S, H): which of them are at quiet positions."""
    lookback: int = 1
    season: Season = NO_SEASON
    transform: str = "none"
    """The transform of the target, which gives the model units (`TRANSFORMS`)."""
    limits: Limits = UNBOUNDED
    """The limits of the target, in its unit: no end of an interval lies outside."""
    step_size: int = 1
    """The rows between two origins of the test block."""
    ranked_pool: RankedPool | None = None
    """For short blocks the pooled errors, which are used instead of the scores (`put_in_pool`)."""
    pool: Pool | None = None
    """The pool from which `ranked_pool` is made at every cutoff."""
    ds: Times = field(default_factory=NO_TIMES.copy)
    """(n, S * H): the forecast times of the calibration block."""
    test_ds: Times = field(default_factory=NO_TIMES.copy)
    """(m, S * H): the forecast times of the test block."""
    usual_errors: Array = field(default_factory=lambda: np.ones(1))
    """(S,): the `usual_error` of each series, by which its pooled scores are divided."""
    highest: Array = field(default_factory=lambda: np.full(1, np.inf))
    """(S,): the highest actual known before the test block, in the target's unit; infinite where
    none is known.
    """
    test_highest: Array = field(default_factory=lambda: np.empty((0, 1)))
    """(m, S): the highest actual of the test block up to each origin."""

    @classmethod
    def of_blocks(
        cls, blocks: Mapping[str, BlockErrors], task: Task, target: TaskColumn
    ) -> SplitConformal:
        """Intervals of `target` from the errors by block: `calibration`; if they are there also
        `validation`, which resizes them where calibration is not short, and `test`.
        """
        conformal = cls.calibrate(
            *blocks["calibration"],
            lookback=task.lookback,
            transform=target.transform,
            limits=target.limits,
        )
        if "validation" in blocks and len(conformal.scores) >= SHORT_BLOCK:
            conformal = conformal.resized(*blocks["validation"])
        if "test" in blocks:
            conformal = conformal.followed_by(*blocks["test"], step_size=task.step_size)
        return conformal

    @classmethod
    def calibrate(
        cls,
        y: ArrayLike,
        y_hat: ArrayLike,
        difficulty: Difficulty | None = None,
        *,
        lookback: int = 1,
        transform: str = "none",
        limits: Limits = UNBOUNDED,
    ) -> SplitConformal:
        """Intervals from actuals and forecasts (n, H) of the calibration block, or (n, S * H) for S
        series side by side. Without `difficulty` a score is the error itself. A missing actual is
        left out of the scores of its step.
        """
        to_model_units = TRANSFORMS[transform].to_model_units
        actual = to_model_units(np.asarray(y, dtype=float))
        forecast = to_model_units(np.asarray(y_hat, dtype=float))
        if difficulty is None:
            difficulty = Difficulty(np.full(len(actual), np.nan))
        before = np.asarray(difficulty.volatility, dtype=float)
        n_series = before[0].size
        actual = split_series(actual, n_series)
        forecast = split_series(forecast, n_series)
        for series in range(n_series):
            record_calibration(actual[:, series], forecast[:, series])
        scores = absolute_errors(actual, forecast)
        typical = root_mean(before**2)
        highest = highest_by_origin(y, n_series).max(axis=0, initial=-np.inf)
        scores /= widths(before, typical, lookback).reshape(-1, n_series, 1)
        season = NO_SEASON
        is_quiet = np.zeros(scores.shape, dtype=bool)
        if difficulty.positions is not None:
            positions = split_series(difficulty.positions, n_series)
            season = compare_positions(scores, positions)
            factors, is_quiet = season.at(positions)
            scores /= factors
        return cls(
            scores,
            is_quiet,
            typical,
            scores[:0],
            is_quiet[:0],
            lookback,
            season,
            transform,
            limits,
            highest=np.where(np.isfinite(highest), highest, np.inf),
            ds=difficulty.ds,
        )

    def followed_by(
        self, y: ArrayLike, y_hat: ArrayLike, difficulty: Difficulty, *, step_size: int = 1
    ) -> SplitConformal:
        """These intervals with the errors of the test block, whose arguments are shaped as in
        `calibrate`; its origins are in the order of time, `step_size` rows apart.
        """
        scores, is_quiet = self.score_errors(y, y_hat, difficulty)
        return replace(
            self,
            test_scores=scores,
            test_is_quiet=is_quiet,
            step_size=step_size,
            test_highest=np.maximum.accumulate(highest_by_origin(y, self.typical.size)),
            test_ds=difficulty.ds,
        )

    def resized(self, y: ArrayLike, y_hat: ArrayLike, difficulty: Difficulty) -> SplitConformal:
        """These intervals with larger calibration scores where the errors of the validation block
        are larger, since a calm calibration block may precede a restless test block. Smaller errors
        there make them hardly smaller. The arguments are those of the validation block, shaped as
        in `calibrate`.
        """
        scores, _ = self.score_errors(y, y_hat, difficulty)
        sizes = mean_known(join_steps(self.scores))
        earlier = mean_known(join_steps(scores))
        ratio = np.minimum(divide_known(earlier, sizes), 2 * MAX_RESIZED)  # its power is finite
        factors = np.minimum(((1 + ratio**RESIZING) / 2) ** (1 / RESIZING), MAX_RESIZED)
        highest = highest_by_origin(y, self.typical.size).max(axis=0, initial=-np.inf)
        return replace(
            self,
            scores=self.scores * factors[:, None],
            highest=np.maximum(self.highest, highest),
        )

    def score_errors(
        self, y: ArrayLike, y_hat: ArrayLike, difficulty: Difficulty
    ) -> tuple[Array, NDArray[np.bool_]]:
        """(n, S, H) each: the scores of forecasts, which are their errors divided by difficulty,
        and whether their positions are quiet.
        """
        errors = split_series(errors_in_model_units(y, y_hat, self.transform), self.typical.size)
        factors, is_quiet = self._find_scales(difficulty)
        return errors / factors, np.broadcast_to(is_quiet, errors.shape)

    def _find_scales(self, difficulty: Difficulty) -> tuple[Array, NDArray[np.bool_]]:
        """The factor by which difficulty makes each error larger than usual, and whether its
        position is quiet: (n, S, H) each, or (n, S, 1) without positions.
        """
        n_series = self.typical.size
        of_windows = widths(difficulty.volatility, self.typical, self.lookback)
        factors = of_windows.reshape(-1, n_series, 1)
        if difficulty.positions is None:
            return factors, np.zeros(factors.shape, dtype=bool)
        of_season = self.season.at(split_series(difficulty.positions, n_series))
        return factors * of_season.factors, of_season.is_quiet

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(S * H,): how many known errors the margin of each step is made of; of a pool those of
        calibration, which decide whether a coverage is supported.
        """
        if self.ranked_pool is not None:
            n_errors = np.isfinite(self.ranked_pool.calibration).sum(axis=0)
            return np.tile(n_errors, len(self.usual_errors))
        return np.isfinite(self.scores).sum(axis=0).ravel()

    @cached_property
    def newest(self) -> SplitConformal:
        """These intervals once all of the test block is known."""
        known = self.known_after(len(self.test_scores))
        if self.pool is None:
            return known
        after_all = self.pool.steps[-1] + np.timedelta64(1, "ns")
        return replace(known, ranked_pool=self.pool.known_before(after_all), pool=None)

    @cached_property
    def ranked(self) -> RankedScores:
        """The sorted scores of each step, at quiet and other positions together."""
        return RankedScores(np.sort(self.scores, axis=0))

    @cached_property
    def ranked_by_quietness(self) -> tuple[RankedScores, Array]:
        """The sorted scores of each step at positions that are not quiet; and those at quiet
        positions (n * H, S), which are few, so all steps of a series are sorted together.
        """
        others = np.where(self.is_quiet, np.nan, self.scores)
        quiet = join_steps(np.where(self.is_quiet, self.scores, np.nan))
        return RankedScores(np.sort(others, axis=0)), np.sort(quiet, axis=0)

    def known_at(self, origin: int) -> SplitConformal:
        """These intervals at the cutoff of test origin number `origin` (from 0), from the errors of
        forecasts whose actual is known by then.
        """
        steps = np.arange(1, self.scores.shape[2] + 1)
        origins_later = -(-steps // self.step_size)
        known = self.known_after(np.maximum(origin + 1 - origins_later, 0))
        if self.pool is None:
            return known
        return replace(known, ranked_pool=self.pool.known_before(self.test_ds[origin, 0]))

    def known_after(self, n_later: ArrayLike) -> SplitConformal:
        """These intervals once the first `n_later` origins of the test block are known, one number
        or one for each step (H,). The scores of each step are then the newest ones, as many as
        the calibration block has.
        """
        n_later = np.broadcast_to(n_later, self.scores.shape[1:])
        test_scores = self.test_scores[: n_later.max(initial=0)]
        is_known = np.arange(len(test_scores))[:, None, None] < n_later
        errors = np.concatenate([self.scores, np.where(is_known, test_scores, np.nan)])
        is_quiet = np.concatenate([self.is_quiet, self.test_is_quiet[: len(test_scores)]])
        places = newest_places(errors, len(self.scores), len(self.scores) + n_later)
        known_highest = self.test_highest[: n_later.min()]
        return replace(
            self,
            scores=np.take_along_axis(errors, places, axis=0),
            is_quiet=np.take_along_axis(is_quiet, places, axis=0),
            test_scores=self.test_scores[:0],
            test_is_quiet=self.test_is_quiet[:0],
            highest=np.maximum(self.highest, known_highest.max(axis=0, initial=-np.inf)),
            test_highest=self.test_highest[:0],
        )

    def require(self, coverage: float) -> None:
        """`InputError` where there are too few errors for intervals of `coverage`."""
        require_enough_errors(int(self.counts.min()), coverage)

    def bounds_in_turn(
        self, y_hat: Array, difficulty: Difficulty, coverages: Sequence[float]
    ) -> Bounds:
        """The intervals of L coverages around the forecasts of the test block (m, S * H), in the
        order of time: each end is (L, m, S * H). Each interval is made from the errors known at its
        cutoff, or at one up to n / `RENEWALS` origins before. `InputError` as in `bounds`.
        """
        for coverage in coverages:
            self.require(coverage)
        every = max(1, len(self.scores) // RENEWALS)
        quantiles = np.empty((2, len(coverages), len(y_hat), *self.scores.shape[1:]))
        for origin in range(0, len(y_hat), every):
            renewed = self.known_at(origin).quantiles(coverages)
            quantiles[:, :, origin : origin + every] = renewed[:, :, None]
        return self._bounds_of_quantiles(y_hat, difficulty, quantiles)

    def bounds(self, y_hat: ArrayLike, difficulty: Difficulty, coverage: float) -> Bounds:
        """The intervals of `coverage` around the forecasts `y_hat` (n, H) or (n, S * H), in the
        target's unit. `InputError` where there are too few errors for `coverage`.

        The forecasts of a single series may have another horizon: the margins of further steps grow
        from that of the last calibrated one as those of a random walk do.
        """
        self.require(coverage)
        forecasts = np.asarray(y_hat, dtype=float)
        n_calibrated = self.scores.shape[2]
        steps = np.arange(1, forecasts.shape[1] // self.typical.size + 1)
        growth = np.sqrt(np.maximum(steps / n_calibrated, 1))
        quantiles = self.quantiles(coverage)[..., np.minimum(steps, n_calibrated) - 1] * growth
        return self._bounds_of_quantiles(forecasts, difficulty, quantiles[:, None], growth)

    def _bounds_of_quantiles(
        self, y_hat: Array, difficulty: Difficulty, quantiles: Array, growth: Array | float = 1.0
    ) -> Bounds:
        """The intervals of `quantiles` (2, ..., n, S, H), those of the scores at other positions
        and at quiet ones; n may be 1. growth (H,): the factor of the ceiling at each step.
        """
        transform = TRANSFORMS[self.transform]
        forecasts = split_series(y_hat, self.typical.size)
        centre = transform.to_model_units(forecasts)
        factors, is_quiet = self._find_scales(difficulty)
        others, quiet = quantiles
        margins = factors * np.where(is_quiet, quiet, others)
        low = transform.to_raw(centre - margins)
        high = transform.to_raw(centre + margins)
        if np.isfinite(transform.lower):
            highest = self.highest[:, None]
            ceilings = CEILING * np.maximum(highest, forecasts) * growth
            high = np.where(highest > 0, np.minimum(high, ceilings), high)
        shape = (*low.shape[:-2], y_hat.shape[1])
        return Bounds(*(np.clip(end, *self.limits).reshape(shape) for end in (low, high)))

    def quantiles(self, coverage: ArrayLike) -> Array:
        """(2, ..., S, H): by coverage, the quantiles of the absolute scores at other positions and
        at quiet ones, not of the two ends of an interval. Both are the quantile of all scores of
        the step where either has too few scores, or where errors are pooled.

        With fewer than `FEW_ZEROS` scores, a step whose quantile is zero has the quantile of all
        steps of its series: a product that nobody bought in any of four months may be bought in the
        next.
        """
        if self.ranked_pool is not None:
            of_step = self.ranked_pool.quantiles(coverage)[..., None, :]
            margins = self.usual_errors[:, None] * of_step
            return np.stack([margins, margins])
        together = quantile_of_each(self.ranked.of_steps, coverage)
        if len(self.scores) < FEW_ZEROS:
            all_steps = np.sort(join_steps(self.scores), axis=0)
            of_all_steps = quantile_of_each(all_steps, coverage)[..., None]
            together = np.where(together == 0, of_all_steps, together)
        together = lean_on_steps(together, self.ranked, coverage)
        if not self.is_quiet.any():
            return np.stack([together, together])
        ranked_others, ranked_quiet = self.ranked_by_quietness
        others = quantile_of_each(ranked_others.of_steps, coverage)
        others = lean_on_steps(others, ranked_others, coverage)
        quiet = quantile_of_each(ranked_quiet, coverage)[..., None]
        is_apart = np.isfinite(others) & np.isfinite(quiet)
        return np.where(is_apart, np.broadcast_arrays(others, quiet), together)


def join_steps(scores: Array) -> Array:
    """(n * H, S): the scores (n, S, H) of all steps of each series in one column."""
    return np.swapaxes(scores, 1, 2).reshape(-1, scores.shape[1])


def lean_on_steps(margins: Array, scores: RankedScores, coverage: ArrayLike) -> Array:
    """The margins (..., S, H) of each step, drawn towards that of all steps together, because the
    largest of twenty errors is an uncertain estimate. A margin of zero stays, and so does that of a
    single step.
    """
    if margins.shape[-1] == 1:
        return margins
    of_all = scores.means * quantile_of_each(scores.relative, coverage)[..., None]
    positive = np.where(of_all > 0, of_all, np.nan)  # no margin is drawn to zero
    return margins * divide_known(positive, margins) ** LEANING


def quantile_of_each(ranked: Array, coverage: ArrayLike) -> Array:
    """(..., C): by coverage, the score of rank `conformal_ranks` in each column of `ranked` (n, C),
    which is in rising order, NaN last. NaN where a column has fewer scores than that rank. Columns
    may have several axes.
    """
    columns = ranked.reshape(len(ranked), -1)
    counts = np.isfinite(columns).sum(axis=0)
    ranks = conformal_ranks(counts, np.asarray(coverage)[..., None])
    last = np.minimum(ranks, len(columns)) - 1
    quantiles = np.where(ranks <= counts, columns[last, np.arange(len(counts))], np.nan)
    return quantiles.reshape(*np.shape(coverage), *ranked.shape[1:])


def select_pooled(
    values: Mapping[str, ArrayLike], usual_error_of: Callable[[str], float]
) -> list[str]:
    """The series of one target that rank their errors together: those with fewer than
    `POOLED_BLOCK` calibration origins, a known value at every step, and a usual error above zero.
    An empty list where these are fewer than `MIN_POOLED_SERIES`.

    values: by series (n, H), scores, errors or actuals, NaN where missing. usual_error_of: gives
    the `usual_error` of a series.
    """
    short = []
    for series, of_series in values.items():
        is_known = np.isfinite(of_series)
        if (
            len(is_known) < POOLED_BLOCK
            and is_known.any(axis=0).all()
            and usual_error_of(series) > 0
        ):
            short.append(series)
    return short if len(short) >= MIN_POOLED_SERIES else []


def pool_short_series(
    calibrated: Mapping[str, SplitConformal], *, are_numbered: bool = False
) -> dict[str, SplitConformal]:
    """`calibrated`, by series of one target, where those with short blocks share a pool
    (`select_pooled`, `put_in_pool`).
    """
    scores = {name: conformal.scores for name, conformal in calibrated.items()}
    names = select_pooled(scores, lambda name: calibrated[name].usual_errors[0])
    pooled = put_in_pool([calibrated[name] for name in names], are_numbered=are_numbered)
    return {**calibrated, **dict(zip(names, pooled, strict=True))}


def put_in_pool(
    conformals: Sequence[SplitConformal], *, are_numbered: bool = False
) -> list[SplitConformal]:
    """Copies of `conformals` that share one pool: the scores of every series, each divided by the
    usual error of its own series, which is above zero.

    are_numbered: rows are numbered instead of dated, so equal numbers in two series are not the
    same time; they are then counted from the first row of each test block.
    """
    if not conformals:
        return []
    if are_numbered:
        begins = [(each.test_ds if len(each.test_ds) else each.ds)[0, 0] for each in conformals]
        conformals = [
            replace(each, ds=each.ds - shift, test_ds=each.test_ds - shift)
            for each, shift in zip(conformals, np.array(begins) - begins[0], strict=True)
        ]
    horizon = conformals[0].scores.shape[2]
    calibration = [_divide_by_usual(each, each.scores) for each in conformals]
    test = [_divide_by_usual(each, each.test_scores) for each in conformals]
    ds = [each.ds.reshape(-1, horizon) for each in conformals]
    ds += [each.test_ds.reshape(-1, horizon) for each in conformals]
    ranked = np.sort(np.concatenate(calibration), axis=0)
    pool = Pool(ranked, np.concatenate([*calibration, *test]), np.concatenate(ds))
    before_test = RankedPool(ranked, ranked[:0])
    return [replace(each, ranked_pool=before_test, pool=pool) for each in conformals]


def _divide_by_usual(conformal: SplitConformal, scores: Array) -> Array:
    """(n * S, H): the scores (n, S, H), each divided by the usual error of its series."""
    return (scores / conformal.usual_errors[:, None]).reshape(-1, scores.shape[2])


def usual_error(blocks: Iterable[tuple[ArrayLike, ArrayLike]], transform: str) -> float:
    """The mean absolute error in model units over the actuals and forecasts of several blocks; NaN
    where none is known.
    """
    errors = [errors_in_model_units(y, y_hat, transform) for y, y_hat in blocks]
    known = [of_block[np.isfinite(of_block)] for of_block in errors]
    together = np.concatenate([np.empty(0), *known])
    return float(together.mean()) if len(together) else math.nan


def errors_in_model_units(y: ArrayLike, y_hat: ArrayLike, transform: str) -> Array:
    """The `absolute_errors` in model units, those after the transform of the target."""
    to_model_units = TRANSFORMS[transform].to_model_units
    return absolute_errors(
        to_model_units(np.asarray(y, dtype=float)), to_model_units(np.asarray(y_hat, dtype=float))
    )


def highest_by_origin(y: ArrayLike, n_series: int) -> Array:
    """(n, S): the highest known actual of each series in (n, S * H); minus infinity for none."""
    values = split_series(np.asarray(y, dtype=float), n_series)
    return np.where(np.isfinite(values), values, -np.inf).max(axis=2)


def absolute_errors(y: Array, y_hat: Array) -> Array:
    """The absolute errors (n, H), NaN where the actual is missing; `InputError` for a forecast that
    is not finite.
    """
    if not np.isfinite(y_hat).all():
        raise InputError("A forecast is not finite. Its model has failed; leave it out.")
    return np.abs(y - y_hat)
