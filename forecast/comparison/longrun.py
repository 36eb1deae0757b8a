"""The variance of the mean of a dependent series, and the t distribution its ratio follows.

Losses at neighbouring origins are dependent: horizons overlap and hard weather lasts for days.
Every choice below was made by simulation (docs/decisions/0007-variance-of-a-loss-difference.md):
runs of overlapping origins are averaged first, then AR(1) pre-whitening and Bartlett weights with a
long lag, and a t distribution whose degrees of freedom shrink as the lag grows, because a long lag
makes the estimate itself uncertain. A known cycle (the year, the day) is no dependence: its
harmonic is regressed out where the origins cover whole periods of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

Array = NDArray[np.float64]

# Andrews & Monahan (1992): a coefficient nearer to 1 would make 1 / (1 - phi)^2 explode by chance
CAP = 0.97
RUNS = 8  # fewer averages than this say nothing about a variance
# from so many on, runs may be twice as long and harmonics taken out; with 12 a harmonic makes 5 %
# to 15 %
MANY = 50
# the most of a cycle's amplitude that may stay in the mean over a block of "whole" periods
LEFT_OVER = 0.05
NO_CYCLES: Mapping[str, float] = MappingProxyType({})


class Spacing(TypedDict):
    """How origins lie: `step_size` steps apart, with what else makes neighbours alike, all in time
    steps.

    `cycles`: name to period of what comes round by the calendar, such as the year; their harmonics
    are no dependence.
    """

    horizon: int
    season_length: int
    step_size: NotRequired[int]
    cycles: NotRequired[Mapping[str, float]]


@dataclass(frozen=True)
class Dependence:
    """How origins depend: `run` neighbours share targets and are averaged; `lag` is counted in such
    runs.

    `cycles`: the periods, in runs, whose harmonic is taken out.
    """

    run: int
    lag: int
    cycles: tuple[float, ...] = ()

    @property
    def origins(self) -> int:
        """The furthest pair of origins whose dependence is counted."""
        return (self.lag + 1) * self.run - 1


@dataclass(frozen=True)
class MeanError:
    """Standard error of a mean, degrees of freedom of its t ratio, the lag in origins and how it
    was estimated.
    """

    value: float
    dof: float
    lag: int
    method: str


def dependence(
    n: int,
    *,
    horizon: int,
    season_length: int,
    step_size: int = 1,
    cycles: Mapping[str, float] = NO_CYCLES,
) -> Dependence:
    """What to allow for among n origins that lie as `Spacing` says.

    A run holds twice the origins whose horizons overlap where 50 runs are left, else those origins,
    and less when that would leave under 8 runs. The lag reaches at least horizon - 1 and one
    season, and at least 1.3 sqrt(number of runs): the rule of Lazarus, Lewis, Stock & Watson
    (2018), long enough to keep the size where dependence outlasts the horizon, paid for in degrees
    of freedom. `cycles`: name to period; those that `removable_cycles` names are regressed out.
    """
    overlap = math.ceil(horizon / step_size)
    twice = overlap > 1 and n // (2 * overlap) >= MANY
    run = max(1, min(2 * overlap if twice else overlap, n // RUNS))
    runs = n // run
    reach = max(math.ceil((horizon - 1) / step_size), math.ceil(season_length / step_size))
    lag = max(math.ceil(reach / run), math.ceil(1.3 * math.sqrt(runs)))
    known = removable_cycles(n, cycles, horizon=horizon, step_size=step_size)
    periods = [cycles[name] / step_size for name in known]
    periods_left = tuple(period / run for period in periods if not _averaged_away(period, run))
    return Dependence(run, max(0, min(lag, runs - 3)), periods_left)


def removable_cycles(
    n: int, cycles: Mapping[str, float], *, horizon: int, step_size: int
) -> list[str]:
    """The cycles of which n origins cover whole periods: at most 5 % of an amplitude is left in the
    mean over them.

    None of less than 50 runs: there the harmonic itself takes too many of the degrees of freedom.
    """
    if n // math.ceil(horizon / step_size) < MANY:
        return []
    covered = {name: n * step_size / period for name, period in cycles.items()}
    return [
        name
        for name, share in covered.items()
        if share >= 1 - LEFT_OVER and abs(np.sinc(share)) <= LEFT_OVER
    ]


def _averaged_away(period: float, run: int) -> bool:
    """Of a cycle whose period the runs cover whole, nothing is left in their means."""
    return abs(float(np.sinc(run / period) / np.sinc(1 / period))) < 0.01 if period > 1 else True


def mean_error(values: Array, allowed: Dependence) -> MeanError:
    """Standard error of the mean of `values` (n,), equally spaced in time.

    Batch means over runs (Flegal & Jones 2010) take out the overlap, which an AR(1) would mistake
    for persistence; cycles are regressed out; then Andrews & Monahan (1992): pre-whitened by an
    AR(1), the Bartlett estimate of the residuals coloured back. Fallbacks when that is not above
    zero: Bartlett without pre-whitening, then the plain variance; a series without any variance has
    standard error 0 and method "none".
    """
    means = batch_means(values, allowed.run)
    left = remove_cycles(means, allowed.cycles)
    floor = (1e-12 * float(np.max(np.abs(values), initial=0.0))) ** 2
    # the oldest origins fill no run of their own
    left_over = math.sqrt(len(means) * allowed.run / len(values))
    for method in (_prewhitened, _bartlett, _independent):
        error = method(left, allowed.lag, allowed.cycles)
        if math.isfinite(error.value) and error.value**2 * len(means) > floor:
            return MeanError(error.value * left_over, error.dof, allowed.origins, error.method)
    return MeanError(0.0, float(len(means) - 1), 0, "none")


def remove_cycles(values: Array, cycles: tuple[float, ...]) -> Array:
    """Residuals of `values` (n, ...) on a constant and one sine and cosine of every period."""
    basis = _basis(len(values), cycles)
    return np.asarray(values - basis @ (basis.T @ values))


@functools.lru_cache(maxsize=64)
def _basis(n: int, cycles: tuple[float, ...]) -> Array:
    """(n, columns): orthonormal, the constant first; a column that the others already span is left
    out.
    """
    angles = [2 * np.pi * np.arange(n) / period for period in cycles]
    waves = [wave(angle) for angle in angles for wave in (np.cos, np.sin)]
    orthonormal, triangle = np.linalg.qr(np.column_stack([np.ones(n), *waves]))
    return np.asarray(orthonormal[:, np.abs(np.diag(triangle)) > 1e-6 * math.sqrt(n)])


def batch_means(values: Array, run: int) -> Array:
    """Means of consecutive runs, counted from the end; what does not fill a run at the start is
    left out.
    """
    count = len(values) // run
    return values[len(values) - count * run :].reshape(count, run).mean(axis=1)


def _prewhitened(centred: Array, lag: int, cycles: tuple[float, ...]) -> MeanError:
    n = len(centred)
    energy = float(centred[:-1] @ centred[:-1])
    slope = float(centred[1:] @ centred[:-1]) / energy if energy > 0 else 0.0
    slope += (1 + 3 * slope) / n  # least squares is biased towards zero by this much (Kendall 1954)
    slope = min(max(slope, -CAP), CAP)
    residuals = centred[1:] - slope * centred[:-1]
    inner = _bartlett(remove_cycles(residuals, cycles), min(lag, n - 3), cycles)
    return MeanError(
        inner.value * math.sqrt((n - 1) / n) / (1 - slope), inner.dof, lag, "pre-whitened Bartlett"
    )


def _bartlett(centred: Array, lag: int, cycles: tuple[float, ...]) -> MeanError:
    n = len(centred)
    expected, dof = bartlett_moments(n, lag, cycles)
    # the sum of Bartlett-weighted autocovariances is the mean square of moving sums over lag + 1,
    # zeros at both ends
    padded = np.cumsum(np.concatenate([np.zeros(lag + 1), centred, np.zeros(lag)]))
    moving = padded[lag + 1 :] - padded[: -lag - 1]
    variance = float(moving @ moving) / (lag + 1) / n
    return MeanError(math.sqrt(variance / n / expected), dof, lag, "Bartlett")


def _independent(centred: Array, lag: int, cycles: tuple[float, ...]) -> MeanError:
    dof = float(len(centred) - _basis(len(centred), cycles).shape[1])
    return MeanError(
        math.sqrt(float(centred @ centred) / dof / len(centred)), dof, 0, "plain variance"
    )


@functools.lru_cache(maxsize=256)
def bartlett_moments(n: int, lag: int, cycles: tuple[float, ...] = ()) -> tuple[float, float]:
    """Expectation (relative to the truth) and degrees of freedom of the Bartlett estimate on n
    independent values.

    The expectation is the correction of Harvey, Leybourne & Newbold (1997) with Bartlett weights:
    with equal weights and lag h - 1 it is their (n + 1 - 2h + h(h - 1)/n) / n. The degrees of
    freedom match the estimate's first two moments (Satterthwaite), the t approximation to fixed-b
    asymptotics (Kiefer & Vogelsang 2005; Sun 2014); at lag 0 they are n - 1, as in Harvey,
    Leybourne & Newbold. Regressing `cycles` out lowers both, and is counted.
    """
    weights = 1 - np.arange(lag + 1) / (lag + 1)
    pairs = n - np.arange(lag + 1)
    basis = _basis(n, cycles)
    weighted = fftconvolve(
        basis, np.concatenate([weights[:0:-1], weights])[:, None], mode="same", axes=0
    )
    squares = float(n + 2 * (weights[1:] ** 2 @ pairs[1:]))
    # trace of M K M and of its square, M the projection off the basis and K the weight matrix,
    # without building either
    trace = n - float(np.sum(basis * weighted))
    trace_of_square = (
        squares - 2 * float(np.sum(weighted**2)) + float(np.sum((basis.T @ weighted) ** 2))
    )
    return trace / n, trace**2 / trace_of_square
