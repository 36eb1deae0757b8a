"""Forecasts of zero where there is demand: half of the values and more are zero, so their median
is, which has the lowest absolute error and is of no use to who plans a stock.

`describe_zero_test` judges the test block of a model, for the page and the terminal;
`is_zero_median` and `describe_zero_forecasts` are for any other forecast, such as a champion's.
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
"""Of the mean of the actuals: a forecast with a lower mean is as good as zero."""


def is_zero_median(y: ArrayLike, y_hat: ArrayLike) -> bool:
    """Whether the forecasts `y_hat` are as good as zero though `y`, actuals of the same target, are
    not, and have zero as their median. NaN among `y` is left out.
    """
    values = np.asarray(y, dtype=float)
    known = values[np.isfinite(values)]
    if not len(known) or known.min() < 0 or np.median(known) > 0:
        return False
    return bool(np.mean(np.asarray(y_hat, dtype=float)) < LEAST_SHARE * known.mean())


def describe_zero_forecasts(
    subject: str, zero_series: Mapping[str, TaskColumn], n_series: int
) -> str:
    """That `subject`, such as a model, forecasts zero for `zero_series`, by their name the target
    of each, of `n_series`, why, and which keys give the mean; empty for none, and where all are
    means already.
    """
    medians = {name: column for name, column in zero_series.items() if column.point == "median"}
    if not medians:
        return ""
    first, column = next(iter(medians.items()))
    keys = "`point: mean`"
    if TRANSFORMS[column.transform].is_identity:
        keys = f"`transform: log1p` and {keys}"
    where = ""
    if n_series > 1:
        where = f" for {len(medians)} of {n_series} series, such as {quote(first)}"
    return (
        f"{subject} forecasts zero at every step, or nearly so{where}: at least half of the values"
        " are zero, and the forecast is their median. For the mean, which a stock is planned by,"
        f" add {keys} to the dataset's `target`."
    )


def describe_zero_test(results: Results, model: str, task: Task) -> str:
    """`describe_zero_forecasts` of the test block of `model` as shipped; empty where it has no
    forecasts.
    """
    candidate = results.candidate(model, "shipped")
    if candidate is None:
        return ""
    known = add_series_names(results.forecasts(candidate, "test")).dropna(subset="y")
    by_series = known.groupby("series", sort=True, observed=True)
    zero_series = {
        str(name): target_of(str(name), task)
        for name, rows in by_series
        if is_zero_median(rows["y"], rows["y_hat"])
    }
    return describe_zero_forecasts(model, zero_series, by_series.ngroups)
