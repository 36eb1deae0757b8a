"""What a candidate's errors show, for the alarms and the residual diagnostics of the report.

Forecasts that copy the last value (`describe_copy`), results too good to be true on daily closes
(`describe_leaks`), and autocorrelation and bias of one-step residuals (`diagnose_residuals`). They
warn; no ranking depends on them.

Each function is given arrays, actuals and forecasts (n, H) in the target's unit with the last known
value (n,), and returns a sentence, empty where there is nothing to say, or numbers. Values that are
not finite are left out, and too few of them judge nothing. The next alarm is a function here,
called by `comparing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecast.comparison import metrics
from forecast.comparison.longrun import Array, dependence, standard_error
from forecast.comparison.paired_tests import MINIMUM
from forecast.config.transforms import TRANSFORMS
from forecast.data.comparison_records import ResidualStatistics
from forecast.system import files

MOVES = 0.02  # least share of the actual variance that a forecast's own changes must have
NEAR_NAIVE = 0.1
"""The most that the error of a copy differs from naive's, as a share of it."""
GAIN = 0.05  # more than this below naive's MAE is not believed of daily closes
# An alarm accuses somebody. At 5 % ten honest models would raise one in four runs of ten (1 -
# 0.95^10 = 40 %).
ALARM_LEVEL = 0.001
LAGS = 10
MAX_LAGS = 48
MIN_RESIDUALS = 30
"""Fewest residuals of a diagnosis."""
BAND = 1.96


def describe_copy(
    y: ArrayLike, y_hat: ArrayLike, last: ArrayLike, *, horizon: int, step_size: int = 1
) -> str:
    """Why the forecast is nearly the last value or does not move with the series; empty where it is
    neither.

    `y`, `y_hat` (n, H), `last` (n,) the value at each origin, origins in time order. At each step
    the actual change y - last is regressed on the forecast change y_hat - last (Mincer & Zarnowitz
    1969 in changes); a step is flagged when the forecast change has under 2 % of the actual
    change's variance or the slope is not above zero. The model is a copy when more than half of its
    steps are flagged, or when over all steps together the forecast changes are not positively
    related to the actual ones (one-sided test at 5 %, dependence as in `longrun`): a delayed copy
    moves a lot, only not with the series. A step with fewer than `MINIMUM` actuals is not judged.
    """
    actual, forecast = _changes(y, y_hat, last)
    keep = np.isfinite(actual) & np.isfinite(forecast)
    is_judged = keep.sum(axis=0) >= MINIMUM
    if not is_judged.any():
        return ""
    actual, forecast = (_centre(changes, keep)[:, is_judged] for changes in (actual, forecast))
    slope, share = _regressions(actual, forecast)
    flags = ~((share >= MOVES) & (slope > 0))
    if flags.mean() > 0.5:
        still = 100 * float(np.nanmean(share)) if np.isfinite(share).any() else 0.0
        return (
            f"{flags.sum()} of {len(flags)} steps hardly move or not with the series (variance"
            f" share {still:.1f} %)"
        )
    # of the covariance of the changes, summed over the steps of an origin
    pooled = _p_above_zero((actual * forecast).sum(axis=1), horizon, step_size)
    if not pooled < 0.05:
        return f"its changes are not related to the actual ones (one-sided p = {pooled:.2f})"
    return ""


def _regressions(actual: Array, forecast: Array) -> tuple[Array, Array]:
    """Of every step (H,) the slope of the changes (n, H), which have mean 0, and the variance of
    the forecast change over that of the actual.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = (actual**2).sum(axis=0)
        called = (forecast**2).sum(axis=0)
        share = np.where(moved > 0, called / moved, np.nan)
        slope = (actual * forecast).sum(axis=0) / called
    # a copy that went through log and exp moves by rounding noise, and noise has a slope of its own
    return np.where(share >= 1e-12, slope, np.nan), share


def _centre(changes: Array, keep: NDArray[np.bool_]) -> Array:
    """(n, H) less the mean of what is kept of every step; 0 elsewhere."""
    known = np.where(keep, changes, 0.0)
    return np.where(keep, known - known.sum(axis=0) / np.maximum(keep.sum(axis=0), 1), 0.0)


def describe_leaks(
    y: ArrayLike, y_hat: ArrayLike, last: ArrayLike, *, horizon: int, step_size: int = 1
) -> str:
    """Why this is too good to be true; empty where it is not.

    Arguments as in `describe_copy`; for daily closing prices only.

    Raised when the MAE is more than 5 % below naive's on the same origins, or when the direction is
    called significantly more often than by always calling the commoner sign (one-sided, level
    0.001, dependence as in `longrun`). Nothing known forecasts closes that well, so a leak is the
    first thing to look for.
    """
    actual, forecast = _changes(y, y_hat, last)
    naive = metrics.mae(actual, np.zeros_like(actual))
    gain = metrics.skill(metrics.mae(actual, forecast), naive)
    hits, commoner = metrics.direction_hits(y, y_hat, np.asarray(last, dtype=float)[:, None])
    ahead = np.where(np.isfinite(hits - commoner), hits - commoner, 0.0).sum(axis=1)
    p = 1.0
    if len(ahead) >= MINIMUM and np.any(ahead):
        p = _p_above_zero(ahead, horizon, step_size)
    moved = np.isfinite(commoner)
    hit = metrics.average(hits[moved])
    base = metrics.average(commoner[moved])
    reasons = []
    if len(actual) >= MINIMUM and gain > GAIN:
        reasons.append(
            f"MAE {100 * gain:.1f} % below repeating the last value; more than 5 % is not believed"
            " of daily closes"
        )
    if p < ALARM_LEVEL:
        reasons.append(
            f"direction right in {100 * hit:.1f} % against a base rate of {100 * base:.1f} % (p ="
            f" {p:.1g})"
        )
    return "; ".join(reasons)


def _p_above_zero(values: Array, horizon: int, step_size: int) -> float:
    """One-sided p that the mean of `values`, one per origin, is above zero."""
    error = standard_error(values, dependence(len(values), horizon=horizon, step_size=step_size))
    if error.value <= 0:
        return 1.0
    return float(special.stdtr(error.dof, -values.mean() / error.value))


def _changes(y: ArrayLike, y_hat: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """Actual and forecast changes (n, H) from the last value at each origin."""
    start = np.asarray(last, dtype=float)[:, None]
    return np.asarray(y, dtype=float) - start, np.asarray(y_hat, dtype=float) - start


@dataclass(frozen=True)
class LjungBox:
    """`autocorrelation` (lags,), the statistic and its p; NaN p when the residuals do not vary.

    `band` (lags,) is where 95 % of the autocorrelations of uncorrelated residuals lie, and
    `p_robust` the p of the same question, both without assuming a constant variance (Diebold 1986).
    """

    statistic: float
    p: float
    lags: int
    n: int
    autocorrelation: Array
    band: Array
    p_robust: float


def ljung_box(residuals: ArrayLike, *, lags: int) -> LjungBox:
    """Are one-step residuals (n,) free of autocorrelation up to `lags`? (Ljung & Box 1978)

    Only for one-step errors at consecutive steps: errors of overlapping horizons are autocorrelated
    however good the model is. `p` assumes a constant variance; on returns, whose variance comes in
    clusters, read `p_robust`. Missing residuals are left out of the sums; `lags` are fewer than the
    others.
    """
    values = np.asarray(residuals, dtype=float)
    known = np.isfinite(values)
    n = int(known.sum())
    centred = np.where(known, values - values[known].mean(), 0.0)
    energy = float(centred @ centred)
    if energy <= (1e-12 * float(np.abs(values[known]).max())) ** 2 * n:
        return LjungBox(0.0, math.nan, lags, n, np.zeros(lags), np.zeros(lags), math.nan)
    shifts = range(1, lags + 1)
    correlation = np.array([float(centred[j:] @ centred[:-j]) / energy for j in shifts])
    statistic = n * (n + 2) * float(np.sum(correlation**2 / (n - np.arange(1, lags + 1))))
    # the variance of an autocorrelation of values that are uncorrelated, however their squares
    # depend on each other
    variance = np.array([float(centred[j:] ** 2 @ centred[:-j] ** 2) for j in shifts]) / energy**2
    robust = float(np.sum(correlation**2 / np.where(variance > 0, variance, 1 / n)))
    return LjungBox(
        statistic,
        p=float(special.chdtrc(lags, statistic)),
        lags=lags,
        n=n,
        autocorrelation=correlation,
        band=BAND * np.sqrt(variance),
        p_robust=float(special.chdtrc(lags, robust)),
    )


def diagnose_residuals(
    y: ArrayLike,
    y_hat: ArrayLike,
    *,
    transform: str,
    season_length: int,
    step_size: int,
) -> ResidualStatistics | None:
    """Statistics of the one-step residuals (n,) of one series, `step_size` steps apart; None with
    too few of them.

    In the units that the target was modelled in, so that prices give errors of returns. `mean` is
    their mean with its standard error of independent values; lags count residuals, at least two
    seasons of them (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.4), at most a
    fifth of what there is. Numbers have six significant digits.
    """
    to_units = TRANSFORMS[transform].to_units
    actual = to_units(np.asarray(y, float))
    forecast = to_units(np.asarray(y_hat, float))
    residuals = np.asarray(actual - forecast)
    known = residuals[np.isfinite(residuals)]
    seasons = 2 * math.ceil(season_length / step_size) if season_length > 1 else 0
    n_lags = min(max(LAGS, seasons), MAX_LAGS, len(known) // 5)
    if n_lags < 1 or len(known) < MIN_RESIDUALS:
        return None
    numbers = {
        **vars(ljung_box(residuals, lags=n_lags)),
        "mean": float(known.mean()),
        "mean_error": float(known.std(ddof=1)) / math.sqrt(len(known)),
    }
    return ResidualStatistics(**files.six_digits(numbers), spacing=step_size)
