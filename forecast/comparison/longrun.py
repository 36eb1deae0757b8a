"""The variance of the mean of a dependent series, and the t distribution its ratio follows.

Losses at neighbouring origins are dependent: horizons overlap and hard weather lasts for days. The estimate here is
chosen by simulation (docs/decisions, docs/protocol.md): Bartlett weights, a long lag, AR(1) pre-whitening, and a t
distribution whose degrees of freedom shrink as the lag grows, because a long lag makes the estimate itself uncertain.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CAP = 0.97  # Andrews & Monahan (1992): a coefficient nearer to 1 would make 1 / (1 - phi)^2 explode by chance


@dataclass(frozen=True)
class MeanError:
    """Standard error of a mean, degrees of freedom of its t ratio, the lag used and how it was estimated."""

    value: float
    dof: float
    lag: int
    method: str


def bandwidth(n: int, *, horizon: int, season: int, stride: int) -> int:
    """Lag in origins: at least horizon - 1 and one season of time steps, and at least 1.3 sqrt(n), at most n - 2.

    The last part is the rule of Lazarus, Lewis, Stock & Watson (2018, eq. 4): long enough to keep the size where
    dependence outlasts the horizon, paid for with the degrees of freedom of `bartlett_moments`.
    """
    needed = max(math.ceil((horizon - 1) / stride), math.ceil(season / stride), math.ceil(1.3 * math.sqrt(n)))
    return max(0, min(needed, n - 2))


def mean_error(values: Array, *, lag: int) -> MeanError:
    """Standard error of the mean of `values` (n,), equally spaced in time.

    Andrews & Monahan (1992): the series is pre-whitened by an AR(1), the Bartlett estimate of the residuals coloured
    back. Fallbacks when that is not above zero: Bartlett without pre-whitening, then the plain variance; a series
    without any variance has standard error 0 and method "none".
    """
    centred = values - values.mean()
    floor = (1e-12 * float(np.max(np.abs(values), initial=0.0))) ** 2
    for method in (_prewhitened, _bartlett, _independent):
        error = method(centred, lag)
        if math.isfinite(error.value) and error.value**2 * len(values) > floor:
            return error
    return MeanError(0.0, float(len(values) - 1), 0, "none")


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
    variance = float(centred @ centred) / n
    for j in range(1, lag + 1):
        variance += 2 * (1 - j / (lag + 1)) * float(centred[j:] @ centred[:-j]) / n
    return MeanError(math.sqrt(max(variance, 0.0) / n / expected), dof, lag, "Bartlett")


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
