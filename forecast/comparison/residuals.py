"""What the errors of a model still contain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecast.system.errors import InputError

LAGS = 10
MOST = 48
LEAST = 30
"""Residuals below which nothing is said."""
BAND = 1.96
LOGS = {"log": np.log, "logdiff": np.log, "log1p": np.log1p}


@dataclass(frozen=True)
class LjungBox:
    """`autocorrelation` (lags,), the statistic and its p; NaN p when the residuals do not vary.

    `band` (lags,) is where 95 % of the autocorrelations of uncorrelated residuals lie, and `p_robust` the p of the
    same question, both without assuming a constant variance (Diebold 1986).
    """

    statistic: float
    p: float
    lags: int
    n: int
    autocorrelation: NDArray[np.float64]
    band: NDArray[np.float64]
    p_robust: float

    def to_json(self) -> dict[str, Any]:
        """Six significant digits; what does not exist is null."""
        numbers = {"statistic": self.statistic, "p": self.p, "p_robust": self.p_robust}
        arrays = {"autocorrelation": self.autocorrelation, "band": self.band}
        return {
            **{key: float(f"{value:.6g}") if math.isfinite(value) else None for key, value in numbers.items()},
            **{key: [float(f"{value:.6g}") for value in values] for key, values in arrays.items()},
            "lags": self.lags,
            "n": self.n,
        }


def ljung_box(residuals: ArrayLike, *, lags: int, fitted: int = 0) -> LjungBox:
    """Are one-step residuals (n,) free of autocorrelation up to `lags`? (Ljung & Box 1978)

    Only for one-step errors at consecutive steps: errors of overlapping horizons are autocorrelated however good the
    model is. `fitted` ARMA coefficients cost degrees of freedom. `p` assumes a constant variance; on returns, whose
    variance comes in clusters, read `p_robust`. Missing residuals are left out of the sums.
    """
    values = np.asarray(residuals, dtype=float)
    known = np.isfinite(values)
    n = int(known.sum())
    if not 0 <= fitted < lags < n:
        raise InputError(f"{lags} lags with {n} residuals and {fitted} fitted coefficients; wanted fitted < lags < n.")
    centred = np.where(known, values - values[known].mean(), 0.0)
    energy = float(centred @ centred)
    if energy <= (1e-12 * float(np.abs(values[known]).max())) ** 2 * n:
        return LjungBox(0.0, math.nan, lags, n, np.zeros(lags), np.zeros(lags), math.nan)
    shifts = range(1, lags + 1)
    correlation = np.array([float(centred[j:] @ centred[:-j]) / energy for j in shifts])
    statistic = n * (n + 2) * float(np.sum(correlation**2 / (n - np.arange(1, lags + 1))))
    # the variance of an autocorrelation of values that are uncorrelated, however their squares depend on each other
    variance = np.array([float(centred[j:] ** 2 @ centred[:-j] ** 2) for j in shifts]) / energy**2
    robust = float(np.sum(correlation**2 / np.where(variance > 0, variance, 1 / n)))
    return LjungBox(
        statistic,
        float(special.chdtrc(lags - fitted, statistic)),
        lags,
        n,
        correlation,
        BAND * np.sqrt(variance),
        float(special.chdtrc(lags - fitted, robust)),
    )


def one_step(
    y: ArrayLike, y_hat: ArrayLike, *, transform: str, season: int, stride: int, lags: int = LAGS
) -> dict[str, Any] | None:
    """The one-step residuals (n,) of one series, `stride` steps apart, as plain numbers; None with too few of them.

    In the units that the target was modelled in, so that prices give errors of returns. `mean` is their mean with its
    standard error of independent values; lags count residuals, at least two seasons of them (Hyndman &
    Athanasopoulos, Forecasting: Principles and Practice, 5.4), at most a fifth of what there is.
    """
    undo = LOGS.get(transform, np.asarray)
    residuals = np.asarray(undo(np.asarray(y, float)) - undo(np.asarray(y_hat, float)))
    known = residuals[np.isfinite(residuals)]
    wanted = min(max(lags, 2 * math.ceil(season / stride) if season > 1 else 0), MOST, len(known) // 5)
    if wanted < 1 or len(known) < LEAST:
        return None
    found = ljung_box(residuals, lags=wanted).to_json()
    error = float(known.std(ddof=1)) / math.sqrt(len(known))
    return {**found, "spacing": stride, "mean": float(f"{known.mean():.6g}"), "mean_error": float(f"{error:.6g}")}
