"""The variance of the mean of a dependent series, and the t distribution its ratio follows.

Losses at neighbouring origins are dependent: horizons overlap, and hard periods last. The variance
of their mean is what the low frequencies of the series say (equal-weighted cosines; Lazarus, Lewis,
Stock & Watson 2018):

    1. means over runs of origins whose horizons overlap
    2. known cycles (the day, the year) regressed out where the origins cover whole periods: a
       season that comes back is no dependence
    3. pre-whitened by an AR(1) (Andrews & Monahan 1992; without the small-sample bias of its slope,
       Kendall 1954), but only for what is more than the overlap itself explains
    4. the mean square of the products with the first cosines, times what the AR(1) makes of it in a
       mean of so many runs; each cosine is one degree of freedom

docs/research/paired-tests.md has the size and the power of this and of other designs.

`dependence` says what to allow for (`Dependence`) among origins that lie as a `Spacing` says;
`standard_error` gives the `StandardError` of a series of losses, at least 4.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NotRequired, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_SLOPE = 0.97
"""Andrews & Monahan (1992): nearer to 1 the inflation would explode by chance."""
FEWEST_RUNS = 12
"""Runs are shorter than the overlap where fewer than these would be left."""
FEWEST_COSINES = 4
"""Unless the overlap allows fewer."""
COSINES = 0.8
"""Times (number of runs)^(2/3): how many cosines."""
MANY_RUNS = 50
"""Of fewer runs no cycle is taken out: it would take too many of the degrees of freedom."""
LEFT_OVER = 0.05
"""The most of a cycle's amplitude that may stay in the mean over a block of "whole" periods."""
NO_CYCLES: Mapping[str, float] = MappingProxyType({})


class Spacing(TypedDict):
    """How origins lie: `step_size` steps apart (on average, where series have origins of their
    own), each with a horizon, in time steps.

    `cycles`: name to period of what comes round by the calendar, such as the year.
    """

    horizon: int
    step_size: NotRequired[float]
    cycles: NotRequired[Mapping[str, float]]


@dataclass(frozen=True)
class Dependence:
    """What to allow for among the losses of neighbouring origins."""

    run: int
    """Neighbouring origins that are averaged."""
    cosines: int
    """Degrees of freedom of the variance."""
    overlap_correlation: float
    """Of neighbouring runs, where nothing but the overlap of horizons makes them alike."""
    cycles: tuple[float, ...] = ()
    """Periods, in runs, whose harmonic is taken out."""


@dataclass(frozen=True)
class StandardError:
    """Standard error of a mean and the degrees of freedom of its t ratio."""

    value: float
    """0 where the series has no variance."""
    dof: float
    is_drift: bool = False
    """Whether the runs depend on one another as those of a random walk do."""


def count_overlapping(**spacing: Unpack[Spacing]) -> int:
    """How many origins in a row have horizons that share a target with the first of them, which is
    counted: the horizon over the step size, rounded up.
    """
    return math.ceil(spacing["horizon"] / spacing.get("step_size", 1))


def dependence(
    n: int, *, horizon: int, step_size: float = 1, cycles: Mapping[str, float] = NO_CYCLES
) -> Dependence:
    """What to allow for among n origins that lie as `Spacing` says."""
    overlap = count_overlapping(horizon=horizon, step_size=step_size)
    run = max(1, min(overlap, n // FEWEST_RUNS))
    runs = n // run
    cosines = max(FEWEST_COSINES, COSINES * runs ** (2 / 3))
    known = removable_cycles(n, cycles, horizon=horizon, step_size=step_size)
    periods = [cycles[name] / step_size for name in known]
    return Dependence(
        run,
        limit_cosines(cosines, n, horizon=horizon, step_size=step_size),
        _overlap_correlation(overlap, run),
        tuple(period / run for period in periods if not _is_averaged_away(period, run)),
    )


def limit_cosines(cosines: float, n: int, **spacing: Unpack[Spacing]) -> int:
    """`cosines`, or fewer: none is faster than a quarter of the frequency at which the
    overlap of horizons repeats itself: there the spectrum of a mean over the horizon has hardly
    fallen. Few separate horizons leave few degrees of freedom, two of them one.
    """
    return max(1, round(min(cosines, n / (2 * count_overlapping(**spacing)))))


def removable_cycles(
    n: int, cycles: Mapping[str, float], *, horizon: int, step_size: float
) -> list[str]:
    """The cycles of which n origins cover whole periods, in at least 50 runs."""
    if n // count_overlapping(horizon=horizon, step_size=step_size) < MANY_RUNS:
        return []
    covered = {name: n * step_size / period for name, period in cycles.items()}
    return [
        name
        for name, share in covered.items()
        if share >= 1 - LEFT_OVER and abs(np.sinc(share)) <= LEFT_OVER
    ]


def many_runs_inflation(slope: float, n: int) -> float:
    """The limit of `exact_inflation` for many values: too much of few, for a test at every look."""
    return 1 / (1 - slope) ** 2


def exact_inflation(slope: float, n: int) -> float:
    """n times the variance of the mean of n values of a stationary AR(1), over the variance of its
    innovations: 1 / (1 - slope)^2 of many values, and less of as few as the dependence lasts.
    """
    lags = np.arange(1, n)
    return float(1 + 2 * np.sum((1 - lags / n) * slope**lags)) / (1 - slope**2)


def standard_error(
    values: Array,
    allowed: Dependence,
    inflation: Callable[[float, int], float] = exact_inflation,
    *,
    level: Array | None = None,
) -> StandardError:
    """Standard error of the mean of `values` (n,), equally spaced in time, n at least 4; NaN where
    one of them is. `inflation`: what an AR(1) of a slope makes of the variance of n runs.

    `level` (n,), where `values` are the residuals of a ratio of means: the losses whose ratio it
    is. Residuals are smaller than what they estimate, the more so where few seasons hold most of
    the losses (`_share_left_by_ratio`).
    """
    means = _means_of_runs(values, allowed.run)
    cycles = _orthonormal_waves(len(means), allowed.cycles)
    residuals = means - cycles @ (cycles.T @ means)
    earlier = residuals[:-1]
    slope = 0.0
    energy = float(earlier @ earlier)
    if energy > 0:
        correlation = float(residuals[1:] @ earlier) / energy
        correlation += (1 + 3 * correlation) / len(means)  # least squares is too low by this much
        excess = (correlation - allowed.overlap_correlation) / (1 - allowed.overlap_correlation)
        slope = min(max(excess, 0.0), MAX_SLOPE)
    whitened = residuals[1:] - slope * earlier
    cosines = _orthonormal_cosines(len(whitened), allowed.cosines, allowed.cycles)
    variance = float(np.mean((cosines.T @ whitened) ** 2)) * inflation(slope, len(means))
    # residuals of losses in proportion are rounding errors of the losses
    largest = float(np.max(np.abs(values if level is None else level), initial=0.0))
    if variance <= (1e-12 * largest) ** 2:
        return StandardError(0.0, float(cosines.shape[1]))
    if level is not None:
        share = _share_left_by_ratio(_means_of_runs(level, allowed.run)[1:], cosines)
        variance = variance / share**2 if share > 0 else math.inf
    # the oldest origins fill no run of their own
    n_means = len(values) / allowed.run
    dof = float(cosines.shape[1])
    return StandardError(math.sqrt(variance / n_means), dof, slope >= MAX_SLOPE)


def _means_of_runs(values: Array, run: int) -> Array:
    """Means of consecutive runs, counted from the newest origin; the oldest origins that fill no
    run are left out.
    """
    count = len(values) // run
    return values[len(values) - count * run :].reshape(count, run).mean(axis=1)


def _share_left_by_ratio(level: Array, cosines: Array) -> float:
    """The share of its variance that a residual of a ratio keeps, at most 1, where the noise of a
    loss is as large as its `level` (n,). The variance is divided by its square, as by HC3
    (MacKinnon & White 1985).
    """
    if not level.any():
        return 1.0
    weights = level**2 / float(level @ level)
    remainders = cosines - (level @ cosines) / float(level.sum())
    return min(1.0, len(level) * float(np.mean(weights @ remainders**2)))


def _overlap_correlation(overlap: int, run: int) -> float:
    """The correlation of neighbouring means of `run` values that are each a sum of `overlap`
    independent ones.
    """
    weights = np.convolve(np.ones(overlap), np.ones(run))
    if len(weights) <= run:
        return 0.0
    return float(weights[run:] @ weights[:-run]) / float(weights @ weights)


def _is_averaged_away(period: float, run: int) -> bool:
    """Whether means of `run` values keep less than a hundredth of a cycle of this period."""
    if period <= 1:
        return True
    return abs(float(np.sinc(run / period) / np.sinc(1 / period))) < 0.01


@functools.lru_cache(maxsize=64)
def _orthonormal_waves(n: int, cycles: tuple[float, ...]) -> Array:
    """(n, columns): an orthonormal basis of what the constant and a cosine and sine of every period
    span; fewer columns where some of them nearly depend on others.
    """
    columns = [np.ones(n)]
    for period in cycles:
        angles = 2 * np.pi * np.arange(n) / period
        columns += [np.cos(angles), np.sin(angles)]
    return _orthonormal(np.column_stack(columns))


@functools.lru_cache(maxsize=64)
def _orthonormal_cosines(n: int, count: int, cycles: tuple[float, ...]) -> Array:
    """(n, columns): the first `count` half-cosines, orthogonal to the constant and to the waves of
    `cycles`; fewer where `cycles` span some of them, or n has no more.
    """
    places = (np.arange(n) + 0.5) / n
    cosines = np.cos(np.pi * np.outer(places, np.arange(1, min(count, n - 1) + 1)))
    waves = _orthonormal_waves(n, cycles)
    return _orthonormal(cosines - waves @ (waves.T @ cosines))


def _orthonormal(columns: Array) -> Array:
    """An orthonormal basis of what `columns` span."""
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(vectors[:, sizes > 1e-3 * sizes[0]])
