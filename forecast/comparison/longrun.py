"""The standard error of the mean of dependent losses, and the degrees of freedom of its t ratio.

Losses at neighbouring origins are dependent: horizons overlap, and hard periods last. The variance
of their mean is estimated from the low frequencies of the series (equal-weighted cosines; Lazarus,
Lewis, Stock & Watson 2018):

    1. The losses are averaged over runs of neighbouring origins, whose horizons overlap.
    2. Known cycles (the day, the year) are regressed out if the origins cover whole periods: a
       season that returns is no dependence.
    3. The rest is pre-whitened by an AR(1) (Andrews & Monahan 1992; its slope without the
       small-sample bias, Kendall 1954), as far as the overlap alone does not explain the slope.
    4. The variance is the mean square of the products with the first cosines, times the inflation
       by the AR(1); each cosine is one degree of freedom.

`dependence` finds what to allow for (`Dependence`) from how the origins lie (`Spacing`);
`standard_error` computes the `StandardError` of at least 4 losses. docs/research/paired-tests.md
has the size and power of this design and of others.
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
"""Largest slope of the AR(1) (Andrews & Monahan 1992): near 1 the inflation explodes by chance."""
FEWEST_RUNS = 12
"""Runs are shorter than the overlap if there would be fewer runs than this."""
FEWEST_COSINES = 4
"""Fewest cosines, unless the overlap allows fewer."""
COSINES = 0.8
"""The number of cosines is this times (number of runs)^(2/3)."""
MANY_HORIZONS = 50
"""With fewer separate horizons no cycle is removed: it takes too many degrees of freedom."""
LEFT_OVER = 0.05
"""Share of a cycle's amplitude that may be left in the mean over a block of "whole" periods."""
NO_CYCLES: Mapping[str, float] = MappingProxyType({})


class Spacing(TypedDict):
    """How origins lie in time: each has a `horizon`, and they are `step_size` steps apart (on
    average, if series have origins of their own).

    `cycles`: the period of each known cycle, such as the year, by name. All are in time steps.
    """

    horizon: int
    step_size: NotRequired[float]
    cycles: NotRequired[Mapping[str, float]]


@dataclass(frozen=True)
class Dependence:
    """What a standard error allows for among the losses of neighbouring origins."""

    run: int
    """The number of neighbouring origins that are averaged."""
    cosines: int
    """The number of cosines: the degrees of freedom of the variance."""
    overlap_correlation: float
    """The correlation of neighbouring runs that comes from the overlap of horizons alone."""
    cycles: tuple[float, ...] = ()
    """The periods, in runs, of the cycles that are removed."""


@dataclass(frozen=True)
class StandardError:
    """The standard error of a mean and the degrees of freedom of its t ratio."""

    value: float
    """0 if the series has no variance."""
    dof: float
    is_like_random_walk: bool = False
    """Whether neighbouring runs depend on each other as in a random walk. A drift needs more
    (`paired_tests.diebold_mariano`).
    """


def count_overlapping(**spacing: Unpack[Spacing]) -> int:
    """How many neighbouring origins have a target in common with one origin, including itself: the
    horizon over the step size, rounded up.
    """
    return math.ceil(spacing["horizon"] / spacing.get("step_size", 1))


def dependence(
    n: int, *, horizon: int, step_size: float = 1, cycles: Mapping[str, float] = NO_CYCLES
) -> Dependence:
    """What to allow for among n origins; the other arguments as in `Spacing`."""
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
    """`cosines`, or the fewer that are no faster than a quarter of the frequency at which the
    overlap of horizons repeats: up to there the spectrum of a mean over the horizon has hardly
    fallen. Few separate horizons leave few degrees of freedom, two of them leave one.
    """
    return max(1, round(min(cosines, n / (2 * count_overlapping(**spacing)))))


def removable_cycles(
    n: int, cycles: Mapping[str, float], *, horizon: int, step_size: float
) -> list[str]:
    """The names of the cycles of which n origins cover whole periods; none with fewer than
    `MANY_HORIZONS` horizons that do not overlap.
    """
    if n // count_overlapping(horizon=horizon, step_size=step_size) < MANY_HORIZONS:
        return []
    covered = {name: n * step_size / period for name, period in cycles.items()}
    return [
        name
        for name, share in covered.items()
        if share >= 1 - LEFT_OVER and abs(np.sinc(share)) <= LEFT_OVER
    ]


def asymptotic_inflation(slope: float, n: int) -> float:
    """The limit of `exact_inflation` for many values, which is too large for few: for tests that
    are repeated as data arrive.
    """
    return 1 / (1 - slope) ** 2


def exact_inflation(slope: float, n: int) -> float:
    """n times the variance of the mean of n values of a stationary AR(1), over the variance of its
    innovations. It tends to 1 / (1 - slope)^2 for many values and is smaller for few.
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
    """The standard error of the mean of `values` (n,), equally spaced in time, n at least 4; NaN if
    one of them is NaN.

    inflation: (slope, number of runs) -> the factor by which an AR(1) raises the variance
    level: (n,), if `values` are the residuals of a ratio of means, the sum of the two losses.
        Residuals are smaller than the errors that they estimate, most of all where few seasons have
        most of the losses; the variance is raised for that (`_share_left_by_ratio`).
    """
    means = _means_of_runs(values, allowed.run)
    cycles = _orthonormal_waves(len(means), allowed.cycles)
    residuals = means - cycles @ (cycles.T @ means)
    earlier = residuals[:-1]
    slope = 0.0
    energy = float(earlier @ earlier)
    if energy > 0:
        correlation = float(residuals[1:] @ earlier) / energy
        correlation += (1 + 3 * correlation) / len(means)  # the bias of least squares
        excess = (correlation - allowed.overlap_correlation) / (1 - allowed.overlap_correlation)
        slope = min(max(excess, 0.0), MAX_SLOPE)
    whitened = residuals[1:] - slope * earlier
    cosines = _orthonormal_cosines(len(whitened), allowed.cosines, allowed.cycles)
    variance = float(np.mean((cosines.T @ whitened) ** 2)) * inflation(slope, len(means))
    # if the losses are in proportion, the residuals are rounding errors
    largest = float(np.max(np.abs(values if level is None else level), initial=0.0))
    if variance <= (1e-12 * largest) ** 2:
        return StandardError(0.0, float(cosines.shape[1]))
    if level is not None:
        share = _share_left_by_ratio(_means_of_runs(level, allowed.run)[1:], cosines)
        variance = variance / share**2 if share > 0 else math.inf
    # not len(means): the oldest origins may not fill a run
    n_means = len(values) / allowed.run
    dof = float(cosines.shape[1])
    return StandardError(math.sqrt(variance / n_means), dof, slope >= MAX_SLOPE)


def _means_of_runs(values: Array, run: int) -> Array:
    """The means of consecutive runs, counted from the newest origin; the oldest origins that do not
    fill a run are left out.
    """
    count = len(values) // run
    return values[len(values) - count * run :].reshape(count, run).mean(axis=1)


def _share_left_by_ratio(level: Array, cosines: Array) -> float:
    """The share of its variance that a residual of a ratio of means keeps, at most 1, if the noise
    of a loss is in proportion to its `level` (n,). The variance is divided by the square of this
    share, as in HC3 (MacKinnon & White 1985).
    """
    if not level.any():
        return 1.0
    weights = level**2 / float(level @ level)
    remainders = cosines - (level @ cosines) / float(level.sum())
    return min(1.0, len(level) * float(np.mean(weights @ remainders**2)))


@functools.cache
def _overlap_correlation(overlap: int, run: int) -> float:
    """The correlation of neighbouring means of `run` values, each of which is a sum of `overlap`
    independent values.
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
    """(n, columns): an orthonormal basis of the constant and a cosine and sine of every period;
    fewer columns if some of these nearly depend on others.
    """
    columns = [np.ones(n)]
    for period in cycles:
        angles = 2 * np.pi * np.arange(n) / period
        columns += [np.cos(angles), np.sin(angles)]
    return _orthonormal(np.column_stack(columns))


@functools.lru_cache(maxsize=64)
def _orthonormal_cosines(n: int, count: int, cycles: tuple[float, ...]) -> Array:
    """(n, columns): an orthonormal basis of the first `count` half-cosines without the constant and
    the waves of `cycles`; fewer columns if n is small or the cycles span some of them.
    """
    positions = (np.arange(n) + 0.5) / n
    cosines = np.cos(np.pi * np.outer(positions, np.arange(1, min(count, n - 1) + 1)))
    waves = _orthonormal_waves(n, cycles)
    return _orthonormal(cosines - waves @ (waves.T @ cosines))


def _orthonormal(columns: Array) -> Array:
    """An orthonormal basis of the span of `columns`."""
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return vectors[:, sizes > 1e-3 * sizes[0]]
