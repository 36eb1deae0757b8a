"""The alarms of the report: forecasts that copy the last value (`describe_copy`), and results that
are too good to be true for daily closes (`describe_leaks`). They warn; no ranking depends on them.

Each function takes actuals and forecasts (n, H) in the unit of the target with the last known
values (n,), and returns a sentence, or an empty text without an alarm. Values that are not finite
are left out; with too few values there is no alarm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecast.comparison import metrics
from forecast.comparison.longrun import Array, dependence, standard_error
from forecast.comparison.paired_tests import MINIMUM

MIN_VARIANCE_SHARE = 0.02
"""A forecast whose changes have a smaller share of the variance of the actual changes is still."""
NEAR_NAIVE = 0.1
"""Only models whose error is within this share of that of naive are looked at as copies."""
MOST_BELIEVED_GAIN = 0.05
"""For daily closes, a MAE below that of naive by a larger share raises an alarm."""
ALARM_LEVEL = 0.001
"""Level of the test of the direction in `describe_leaks`. At 5 %, that of the test in
`describe_copy`, ten honest models would raise a false alarm in four of ten runs (1 - 0.95^10).
"""


def describe_copy(
    y: ArrayLike, y_hat: ArrayLike, last: ArrayLike, *, horizon: int, step_size: int = 1
) -> str:
    """Why the forecast is nearly the last value or does not move with the series; empty if neither.

    `y`, `y_hat` (n, H); `last` (n,): the value at each origin; origins in time order.

    At each step the actual change y - last is regressed on the forecast change y_hat - last (Mincer
    & Zarnowitz 1969, in changes). A step is flagged if the forecast changes have less than 2 % of
    the variance of the actual changes (or these have none) or the slope is not above zero; steps
    with fewer than `MINIMUM` actuals are not judged. The model is a copy if more than half of its
    steps are flagged, or if over all steps the forecast changes are not positively related to the
    actual changes (one-sided test at 5 %, dependence as in `longrun`): a delayed copy moves much,
    but not with the series.
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
    # the covariance of the changes, summed over the steps of an origin, is tested
    p_value = _p_above_zero((actual * forecast).sum(axis=1), horizon, step_size)
    if not p_value < 0.05:
        return f"its changes are not related to the actual ones (one-sided p = {p_value:.2f})"
    return ""


def _regressions(actual: Array, forecast: Array) -> tuple[Array, Array]:
    """(H,) each: the slope of the actual changes on the forecast changes (both (n, H), of mean 0),
    and the variance of the forecast changes over that of the actual changes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = (actual**2).sum(axis=0)
        called = (forecast**2).sum(axis=0)
        share = np.where(moved > 0, called / moved, np.nan)
        slope = (actual * forecast).sum(axis=0) / called
    # a copy that went through log and exp changes by rounding noise, whose slope means nothing
    return np.where(share >= 1e-12, slope, np.nan), share


def _centre(changes: Array, keep: NDArray[np.bool_]) -> Array:
    """(n, H): the changes to `keep` minus their mean at each step; 0 for the others."""
    known = np.where(keep, changes, 0.0)
    return np.where(keep, known - known.sum(axis=0) / np.maximum(keep.sum(axis=0), 1), 0.0)


def describe_leaks(
    y: ArrayLike, y_hat: ArrayLike, last: ArrayLike, *, horizon: int, step_size: int = 1
) -> str:
    """Why the forecast is too good to be true; empty if it is not. For daily closing prices only;
    arguments as in `describe_copy`.

    There is an alarm if the MAE is more than 5 % below that of naive on the same origins, or if the
    direction is right significantly more often than by always forecasting the commoner sign
    (one-sided test at level 0.001, dependence as in `longrun`). No known method forecasts closes
    that well, so a leak is likely.
    """
    actual, forecast = _changes(y, y_hat, last)
    naive = metrics.mae(actual, np.zeros_like(actual))
    gain = metrics.skill(metrics.mae(actual, forecast), naive)
    start = np.asarray(last, dtype=float)[:, None]
    hits, commoner = metrics.direction_hits(y, y_hat, start)
    hits_gained = np.nansum(hits - commoner, axis=1)
    p = 1.0
    if len(hits_gained) >= MINIMUM and np.any(hits_gained):
        p = _p_above_zero(hits_gained, horizon, step_size)
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
    """The p of the one-sided test that the mean of `values` (n,), one per origin, is above zero."""
    std_error = standard_error(
        values, dependence(len(values), horizon=horizon, step_size=step_size)
    )
    if std_error.value <= 0:
        return 1.0
    return float(special.stdtr(std_error.dof, -values.mean() / std_error.value))


def _changes(y: ArrayLike, y_hat: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """(n, H) each: the actual and the forecast changes from the last value at each origin."""
    start = np.asarray(last, dtype=float)[:, None]
    return np.asarray(y, dtype=float) - start, np.asarray(y_hat, dtype=float) - start
