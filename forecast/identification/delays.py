"""Correlations over lags, and the delays of a linear ARX model, dead times included.

The bands of single correlations are those of white noise, 1.96 / sqrt(n) (Box, Jenkins, Reinsel &
Ljung 2015, 2.1.6): they hold for one-step errors alone, for errors over several steps are
correlated however good the net is.

`arx_order` takes, of all linear ARX models from 1 delay of each kind to `longest`, of the inputs
from their dead time on, the one with the least AIC or BIC, and so both kinds of delays at once. It
is where trying nets can begin: compare them on the validation rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import (
    LONGEST_DEAD_TIME,
    Array,
    Experiment,
    Standardization,
    arx_regressors,
    count_columns,
    dead_times,
    delay_inputs,
    error_columns,
    nested_deviances,
    require_whole,
    strongest_delays,
)
from forecast.system.errors import InputError
from forecast.system.workers import limit_to_one_thread

NORMAL_QUANTILE = 1.959963984540054  # at 97.5 %


@dataclass(frozen=True)
class Correlation:
    """`values[k]` belongs to `lags[k]`; values within `band` of zero are not significant at 5 %."""

    lags: npt.NDArray[np.int64]
    values: Array
    band: float


def autocorrelation(series: npt.ArrayLike, longest: int = 20) -> Correlation:
    """Of a series (T,); a lag is judged by the pairs that are observed, and 0 without any."""
    require_whole(0, longest=longest)
    centred = _centre(series)
    return _correlate(centred, centred, range(longest + 1))


def cross_correlation(u: npt.ArrayLike, error: npt.ArrayLike, longest: int = 20) -> Correlation:
    """The correlation of u[t - lag] with error[t] at lags from -longest to longest. What stands out
    at a positive lag is error that earlier rows of u could explain. `InputError` for unequal rows.
    """
    require_whole(0, longest=longest)
    centred_u = _centre(u)
    centred_error = _centre(error)
    if len(centred_u) != len(centred_error):
        raise InputError(
            "u and the errors have different numbers of rows; wanted one of each for every time."
        )
    return _correlate(centred_u, centred_error, range(-longest, longest + 1))


def _centre(series: npt.ArrayLike) -> Array:
    """(T,) without its mean; `InputError` without any observed value."""
    column = error_columns("series", series)[:, 0]
    if not np.isfinite(column).any():
        raise InputError("No observed value to correlate. Give the errors of a run.")
    return column - np.nanmean(column)


def _correlate(first: Array, second: Array, lags: range) -> Correlation:
    """Of first[t - lag] with second[t]."""
    values = []
    for lag in lags:
        rows = np.arange(max(lag, 0), len(second) + min(lag, 0))
        products = first[rows - lag] * second[rows]
        is_known = np.isfinite(products)
        # shrunk as without gaps: the sum over all pairs there could be, over all rows
        share = len(products) / len(second)
        values.append(share * products[is_known].mean() if is_known.any() else 0.0)
    scale = np.sqrt(np.nanmean(first**2) * np.nanmean(second**2))
    correlations = np.array(values) / scale if scale > 0 else np.zeros(len(values))
    band = NORMAL_QUANTILE / np.sqrt(np.isfinite(second).sum())
    return Correlation(np.array(lags), correlations, band)


def arx_order(
    *experiments: Experiment, longest: int = 10, criterion: Literal["aic", "bic"] = "bic"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(input delays, feedback delays) of the linear ARX model with the least Akaike or Schwarz
    criterion.

    All models up to `longest` past outputs and inputs are fitted to the same rows; inputs begin at
    their shortest dead time, looked for up to `LONGEST_DEAD_TIME` steps, or at the delays that
    explain most where the models would not reach these. `InputError` for too few rows, and for
    another criterion.
    """
    require_whole(1, longest=longest)
    if criterion not in ("aic", "bic"):
        raise InputError(f"`criterion` is {criterion!r}; wanted 'aic' or 'bic'.")
    inputs, _ = count_columns(experiments)
    Standardization.fit(experiments)  # refuses a constant y
    reach = min(LONGEST_DEAD_TIME, min(map(len, experiments)) // 4)
    with limit_to_one_thread():
        held_back = min(dead_times(experiments, reach), default=0)
        if held_back == 0 and reach >= longest:
            first = min(strongest_delays(experiments, reach), default=0)
            if first + 1 >= longest:  # none of the models from 0 on sees both delays
                held_back = first
        begun = [e.with_arrays(u=delay_inputs(e.u, [held_back] * inputs)) for e in experiments]
        u_delays, y_delays = count_arx_delays(begun, longest, criterion)
    return tuple(range(held_back, held_back + u_delays)), tuple(range(1, y_delays + 1))


def count_arx_delays(
    experiments: Sequence[Experiment], longest: int, criterion: str = "bic"
) -> tuple[int, int]:
    """How many delays of u, from 0 on, and of y the ARX model has that the criterion likes best;
    `InputError` for too few rows.
    """
    inputs, outputs = count_columns(experiments)
    x, y = arx_regressors(experiments, longest, longest)
    if len(y) <= x.shape[1]:
        raise InputError(
            f"{len(y)} whole rows for ARX models of {x.shape[1]} weights; wanted more. Lower"
            " `longest`."
        )
    penalty = float(np.log(len(y))) if criterion == "bic" else 2.0
    scores = {}
    first_u = longest * outputs
    for y_delays in range(1, longest + 1):
        past = [-1, *range(y_delays * outputs)]
        errors = nested_deviances(x[:, [*past, *range(first_u, first_u + longest * inputs)]], y)
        for u_delays in range(1, longest + 1) if inputs else (0,):
            columns = len(past) + u_delays * inputs
            scores[u_delays, y_delays] = errors[columns] + penalty * outputs * columns
    return min(scores, key=scores.__getitem__)
