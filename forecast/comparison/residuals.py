"""What the errors of a model still contain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecast.errors import InputError


@dataclass(frozen=True)
class LjungBox:
    """`autocorrelation` (lags,), the statistic and its p; NaN p when the residuals do not vary."""

    statistic: float
    p: float
    lags: int
    n: int
    autocorrelation: NDArray[np.float64]


def ljung_box(residuals: ArrayLike, *, lags: int, fitted: int = 0) -> LjungBox:
    """Are one-step residuals (n,) free of autocorrelation up to `lags`? (Ljung & Box 1978)

    Only for one-step errors at consecutive steps: errors of overlapping horizons are autocorrelated however good the
    model is. `fitted` ARMA coefficients cost degrees of freedom. It assumes a constant variance, so on returns read
    the autocorrelations and not the p alone. Missing residuals are left out of the sums.
    """
    values = np.asarray(residuals, dtype=float)
    known = np.isfinite(values)
    n = int(known.sum())
    if not 0 <= fitted < lags < n:
        raise InputError(f"{lags} lags with {n} residuals and {fitted} fitted coefficients; wanted fitted < lags < n.")
    centred = np.where(known, values - values[known].mean(), 0.0)
    energy = float(centred @ centred)
    if energy == 0:
        return LjungBox(0.0, math.nan, lags, n, np.zeros(lags))
    correlation = np.array([float(centred[j:] @ centred[:-j]) / energy for j in range(1, lags + 1)])
    statistic = n * (n + 2) * float(np.sum(correlation**2 / (n - np.arange(1, lags + 1))))
    return LjungBox(statistic, float(special.chdtrc(lags - fitted, statistic)), lags, n, correlation)
