"""What a candidate's errors show, for the alarms of the report.

Forecasts that copy the last value (`describe_copy`), and results too good to be true on daily
closes (`describe_leaks`). They warn; no ranking depends on them.

Each function is given arrays, actuals and forecasts (n, H) in the target's unit with the last known
value (n,), and returns a sentence, empty where there is nothing to say. Values that are
not finite are left out, and too few of them judge nothing. The next alarm is a function here,
called by `comparing`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecast.comparison import metrics
from forecast.comparison.longrun import Array, dependence, standard_error
from forecast.comparison.paired_tests import MINIMUM

MIN_VARIANCE_SHARE = 0.02
"""The variance of a forecast's changes over that of the actual ones: with less it does not move."""
NEAR_NAIVE = 0.1
"""The most that the error of a copy differs from naive's, as a share of it."""
MOST_BELIEVED_GAIN = 0.05
"""A MAE that is lower than naive's by a larger share is not believed of daily closes."""
ALARM_LEVEL = 0.001
"""An alarm accuses somebody: at 5 % ten honest models would raise one in four runs of ten (1 -
0.95^10 = 40 %).
"""


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
    flags = ~((share >= MIN_VARIANCE_SHARE) & (slope > 0))
    if flags.mean() > 0.5:
        still = 100 * float(np.nanmean(share)) if np.isfinite(share).any() else 0.0
        return (
            f"{flags.sum()} of {len(flags)} steps hardly move or not with the series (variance"
            f" share {still:.1f} %)"
        )
    # of the covariance of the changes, summed over the steps of an origin
    p_value = _p_above_zero((actual * forecast).sum(axis=1), horizon, step_size)
    if not p_value < 0.05:
        return f"its changes are not related to the actual ones (one-sided p = {p_value:.2f})"
    return ""


def _regressions(actual: Array, forecast: Array) -> tuple[Array, Array]:
    """(H,) each: the slope of the actual changes (n, H), which have mean 0, on the forecast ones,
    and the variance of the forecast changes over that of the actual ones.
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
    start = np.asarray(last, dtype=float)[:, None]
    hits, commoner = metrics.direction_hits(y, y_hat, start)
    ahead = np.where(np.isfinite(hits - commoner), hits - commoner, 0.0).sum(axis=1)
    p = 1.0
    if len(ahead) >= MINIMUM and np.any(ahead):
        p = _p_above_zero(ahead, horizon, step_size)
    reasons = []
    if len(actual) >= MINIMUM and gain > MOST_BELIEVED_GAIN:
        reasons.append(
            f"MAE {100 * gain:.1f} % below repeating the last value; more than 5 % is not believed"
            " of daily closes"
        )
    if p < ALARM_LEVEL:
        hit, base = metrics.directional_accuracy(y, y_hat, start)
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
