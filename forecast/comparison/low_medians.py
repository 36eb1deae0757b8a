"""Warns of forecasts that are medians where a mean is needed: a median is zero if at least half of
the values are, and sums of medians are too low if high values lie further from the median than low
ones.

`describe_low_medians` judges the test block of a model, for the page and the terminal;
`is_zero_median` and `describe_zero_forecasts` serve other forecasts, such as those of a champion.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from forecast.comparison.intervals import target_of
from forecast.config.task import Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data.panel import add_series_names
from forecast.data.results import Results
from forecast.system.errors import quote

LEAST_SHARE = 0.05
"""Forecasts whose mean is a smaller share of the mean actual count as zero."""
LEAST_SHORTFALL = 0.05
"""A sum of forecasts that is too low by a smaller share of the actuals is not reported."""
MEDIAN_SHARES = (0.35, 0.55)
"""The share of actuals above their forecasts if these are medians: one half, or near it in a short
test block. With a higher share forecasts are too low at most steps, which a mean would not mend.
"""


def is_zero_median(y: ArrayLike, y_hat: ArrayLike) -> bool:
    """Whether the forecasts `y_hat` are about zero though the mean of the actuals `y` is not,
    because the median of `y` is zero. NaN in `y` is left out, its forecast is not.
    """
    values = np.asarray(y, dtype=float)
    known = values[np.isfinite(values)]
    if not len(known) or known.min() < 0 or np.median(known) > 0:
        return False
    return bool(np.mean(np.asarray(y_hat, dtype=float)) < LEAST_SHARE * known.mean())


def sum_shortfall(y: ArrayLike, y_hat: ArrayLike) -> float:
    """By which share of the sum of the actuals `y` the sum of their forecasts `y_hat` is too low
    because these are medians.

    Zero if the sum is not too low, if the share of actuals above their forecasts is outside of
    `MEDIAN_SHARES`, or if an actual is below zero.
    """
    actuals, forecasts = np.asarray(y, dtype=float), np.asarray(y_hat, dtype=float)
    lowest_share, highest_share = MEDIAN_SHARES
    is_like_a_median = lowest_share <= np.mean(actuals > forecasts) <= highest_share
    if not is_like_a_median or actuals.min() < 0 or actuals.sum() == 0:
        return 0.0
    return max(0.0, 1.0 - float(forecasts.sum() / actuals.sum()))


def describe_zero_forecasts(
    subject: str, zero_series: Mapping[str, TaskColumn], n_series: int
) -> str:
    """A sentence that `subject`, such as a model, forecasts zero because its forecasts are medians,
    and which keys give the mean; empty if no series of `zero_series` is forecast by a median.

    zero_series: the target of each series that is forecast as zero, by name of the series
    n_series: how many series are forecast
    """
    medians = _select_medians(zero_series)
    if not medians:
        return ""
    return (
        f"{subject} forecasts zero at every step, or nearly so{_name_series(medians, n_series)}: at"
        " least half of the values are zero, and the forecast is their median. For the mean, which"
        f" a stock is planned by, {_name_keys(medians)}."
    )


def describe_low_medians(results: Results, model: str, task: Task) -> str:
    """A sentence on `model` as shipped if its forecasts of the test block are zero, or their sum is
    too low there and half as much too low in the earlier blocks, because they are medians, and
    which keys give the mean; else empty. Series with another `point` than the median are left out;
    the percentage told is of all series without values below zero.
    """
    candidate = results.candidate(model, "shipped")
    if candidate is None:
        return ""
    forecasts = add_series_names(results.forecasts(candidate)).dropna(subset="y")
    is_test = forecasts["block"] == "test"
    earlier = dict(list(forecasts[~is_test].groupby("series", observed=True)))
    groups = forecasts[is_test].groupby("series", observed=True)
    by_series = {str(name): rows for name, rows in groups}
    targets = {name: target_of(name, task) for name in by_series}
    zero_series = {
        name: targets[name]
        for name, rows in by_series.items()
        if is_zero_median(rows["y"], rows["y_hat"])
    }
    if zero := describe_zero_forecasts(model, zero_series, len(by_series)):
        return zero
    low_series = {
        name: targets[name]
        for name, rows in by_series.items()
        if sum_shortfall(rows["y"], rows["y_hat"]) >= LEAST_SHORTFALL
        # if only the test block is low, the model follows a rise too late, as a mean would
        if name in earlier
        and sum_shortfall(earlier[name]["y"], earlier[name]["y_hat"]) >= LEAST_SHORTFALL / 2
    }
    medians = _select_medians(low_series)
    if not medians:
        return ""
    # the sums of all series without values below zero, whatever the reason that they are low
    values = groups[["y", "y_hat"]]
    sums = values.sum()[values.min()["y"] >= 0]
    share = 1.0 - sums["y_hat"].sum() / sums["y"].sum()
    n_low = (sums["y"] - sums["y_hat"] >= LEAST_SHORTFALL * sums["y"]).sum()
    scope = ""
    if len(by_series) > 1:
        scope = (
            f", over all {len(sums)} series, and to {100 * LEAST_SHORTFALL:.0f} % less or lower for"
            f" {n_low} of them"
        )
    if names := _name_series(medians, len(by_series)):
        scope += f". The reason, at least{names}"
    return (
        f"In the test block the forecasts of {model} add up to {abs(100 * share):.0f} %"
        f" {'less' if share >= 0 else 'more'} than what came{scope}: each is a median, and high"
        " values lie further from it than low ones. For the mean, which a sum is planned by,"
        f" {_name_keys(medians)}."
    )


def _select_medians(series: Mapping[str, TaskColumn]) -> dict[str, TaskColumn]:
    """Those of the series that are forecast by a median."""
    return {name: column for name, column in series.items() if column.point == "median"}


def _name_series(medians: Mapping[str, TaskColumn], n_series: int) -> str:
    """For how many of `n_series` a sentence holds; empty if for all."""
    if len(medians) == n_series:
        return ""
    return f" for {len(medians)} of {n_series} series, such as {quote(next(iter(medians)))}"


def _name_keys(medians: Mapping[str, TaskColumn]) -> str:
    """Which keys to set for a mean, as for the first of the series."""
    column = next(iter(medians.values()))
    transform = "`transform: log1p` and " if TRANSFORMS[column.transform].has_raw_units else ""
    return (
        f"set {transform}`point: mean` (in configs/datasets.yaml under `target`, in Python options)"
    )
