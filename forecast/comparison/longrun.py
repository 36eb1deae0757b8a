"""The variance of the mean of a dependent series, and the t distribution its ratio follows.

Losses at neighbouring origins are dependent: horizons overlap and hard weather lasts for days. Every choice below was
made by simulation (docs/decisions/0007-variance-of-a-loss-difference.md): runs of overlapping origins are averaged
first, then AR(1) pre-whitening and Bartlett weights with a long lag, and a t distribution whose degrees of freedom
shrink as the lag grows, because a long lag makes the estimate itself uncertain.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CAP = 0.97  # Andrews & Monahan (1992): a coefficient nearer to 1 would make 1 / (1 - phi)^2 explode by chance
RUNS = 8  # fewer averages than this say nothing about a variance


@dataclass(frozen=True)
class Dependence:
    """How origins depend: `run` neighbours share targets and are averaged; `lag` is counted in such runs."""

    run: int
    lag: int

    @property
    def origins(self) -> int:
        """The furthest pair of origins whose dependence is counted."""
        return (self.lag + 1) * self.run - 1


@dataclass(frozen=True)
class MeanError:
    """Standard error of a mean, degrees of freedom of its t ratio, the lag in origins and how it was estimated."""

    value: float
    dof: float
    lag: int
    method: str


def dependence(n: int, *, horizon: int, season_length: int, step_size: int) -> Dependence:
    """What to allow for among n origins `step_size` steps apart; `horizon` and `season_length` in time steps.

    A run holds the origins whose horizons overlap, less when that would leave under 8 runs. The lag reaches at least
    horizon - 1 and one season, and at least 1.3 sqrt(number of runs): the rule of Lazarus, Lewis, Stock & Watson
    (2018), long enough to keep the size where dependence outlasts the horizon, paid for in degrees of freedom.
    """
    run = max(1, min(math.ceil(horizon / step_size), n // RUNS))
    runs = n // run
    reach = max(math.ceil((horizon - 1) / step_size), math.ceil(season_length / step_size))
    lag = max(math.ceil(reach / run), math.ceil(1.3 * math.sqrt(runs)))
    return Dependence(run, max(0, min(lag, runs - 3)))


def mean_error(values: Array, allowed: Dependence) -> MeanError:
    """Standard error of the mean of `values` (n,), equally spaced in time.

    Batch means over runs (Flegal & Jones 2010) take out the overlap, which an AR(1) would mistake for persistence;
    then Andrews & Monahan (1992): pre-whitened by an AR(1), the Bartlett estimate of the residuals coloured back.
    Fallbacks when that is not above zero: Bartlett without pre-whitening, then the plain variance; a series without
    any variance has standard error 0 and method "none".
    """
    means = batch_means(values, allowed.run)
    centred = means - means.mean()
    floor = (1e-12 * float(np.max(np.abs(values), initial=0.0))) ** 2
    left_over = math.sqrt(len(means) * allowed.run / len(values))  # the oldest origins fill no run of their own
    for method in (_prewhitened, _bartlett, _independent):
        error = method(centred, allowed.lag)
        if math.isfinite(error.value) and error.value**2 * len(means) > floor:
            return MeanError(error.value * left_over, error.dof, allowed.origins, error.method)
    return MeanError(0.0, float(len(means) - 1), 0, "none")


def batch_means(values: Array, run: int) -> Array:
    """Means of consecutive runs, counted from the end; what does not fill a run at the start is left out."""
    count = len(values) // run
    return values[len(values) - count * run :].reshape(count, run).mean(axis=1)


def _prewhitened(centred: Array, lag: int) -> MeanError:
    n = len(centred)
    energy = float(centred[:-1] @ centred[:-1])
    slope = float(centred[1:] @ centred[:-1]) / energy if energy > 0 else 0.0
    slope += (1 + 3 * slope) / n  # least squares is biased towards zero by this much (Kendall 1954)
    slope = min(max(slope, -CAP), CAP)
    residuals = centred[1:] - slope * centred[:-1]
    inner = _bartlett(residuals - residuals.mean(), min(lag, n - 3))
    return MeanError(inner.value * math.sqrt((n - 1) / n) / (1 - slope), inner.dof, lag, "pre-whitened Bartlett")


def _bartlett(centred: Array, lag: int) -> MeanError:
    n = len(centred)
    expected, dof = bartlett_moments(n, lag)
    # the sum of Bartlett-weighted autocovariances is the mean square of moving sums over lag + 1, zeros at both ends
    padded = np.cumsum(np.concatenate([np.zeros(lag + 1), centred, np.zeros(lag)]))
    moving = padded[lag + 1 :] - padded[: -lag - 1]
    variance = float(moving @ moving) / (lag + 1) / n
    return MeanError(math.sqrt(variance / n / expected), dof, lag, "Bartlett")


def _independent(centred: Array, lag: int) -> MeanError:
    n = len(centred)
    return MeanError(math.sqrt(float(centred @ centred) / (n - 1) / n), n - 1.0, 0, "plain variance")


@functools.lru_cache(maxsize=256)
def bartlett_moments(n: int, lag: int) -> tuple[float, float]:
    """Expectation (relative to the truth) and degrees of freedom of the Bartlett estimate on n independent values.

    The expectation is the correction of Harvey, Leybourne & Newbold (1997) with Bartlett weights: with equal weights
    and lag h - 1 it is their (n + 1 - 2h + h(h - 1)/n) / n. The degrees of freedom match the estimate's first two
    moments (Satterthwaite), the t approximation to fixed-b asymptotics (Kiefer & Vogelsang 2005; Sun 2014); at lag 0
    they are n - 1, as in Harvey, Leybourne & Newbold.
    """
    weights = 1 - np.arange(lag + 1) / (lag + 1)
    pairs = n - np.arange(lag + 1)
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    position = np.arange(n)
    rows = sums[np.minimum(position, lag) + 1] + sums[np.minimum(n - 1 - position, lag) + 1] - 1.0
    total = float(rows.sum())
    squares = float(n + 2 * (weights[1:] ** 2 @ pairs[1:]))
    # trace of C K C and of its square, C the centring and K the weight matrix, without building either
    trace = n - total / n
    trace_of_square = squares - 2 * float(rows @ rows) / n + (total / n) ** 2
    return trace / n, trace**2 / trace_of_square
