"""Metrics of forecasts: formulas on arrays.

A metric takes arrays of equal shape and averages over all elements, unless its docstring gives
shapes. A missing actual (NaN) is left out; a missing forecast of a known actual makes the metric
NaN, since skipping it would flatter a model that failed.

METRICS has the metrics of every candidate; a new one is a further row there. Two tables have their
own lists of columns: that of the terminal (`SCORES` in report/leaderboard.py) and that of a printed
Board (`SHOWN_COLUMNS` in api/board.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
STEP_BAND = 0.06
"""Least half-width of the band around a nominal coverage at one step."""
ALL_STEPS_BAND = 0.03
"""Least half-width of the band for all steps together: the tolerance of the protocol."""


def mae(y: ArrayLike, y_hat: ArrayLike) -> float:
    """Mean absolute error, in the unit of `y`."""
    return average(absolute_errors(y, y_hat))


def rmse(y: ArrayLike, y_hat: ArrayLike) -> float:
    """Root mean squared error, in the unit of `y`."""
    return float(np.sqrt(average(absolute_errors(y, y_hat) ** 2)))


def errors_by_step(y: Array, y_hat: Array) -> tuple[list[float], list[float]]:
    """The MAE and the RMSE of each of the H columns of `y` and `y_hat` (n, H)."""
    errors = np.abs(y - y_hat).T
    known = np.isfinite(y).T
    return row_means(errors, known).tolist(), np.sqrt(row_means(errors**2, known)).tolist()


def insample_scale(insample: ArrayLike, *, season_length: int, squared: bool = False) -> float:
    """The denominator of MASE, or with `squared` of RMSSE (Hyndman & Koehler 2006): the mean
    absolute, or root mean squared, seasonal difference of the train rows `insample` (T,).

    Differences with a missing end (NaN) are left out. The scale is NaN, never zero, where there is
    no difference and where all are zero but for rounding, as of constant rows.
    """
    values = np.asarray(insample, dtype=float)
    change = values[season_length:] - values[:-season_length]
    change = change[np.isfinite(change)]
    if change.size == 0:
        return math.nan
    scale = float(np.sqrt(np.mean(change**2)) if squared else np.mean(np.abs(change)))
    # the differences of a constant series may be rounding noise, such as 0.1 + 0.2 - 0.3
    return scale if scale > 1e-12 * float(np.nanmax(np.abs(values))) else math.nan


def smape(y: ArrayLike, y_hat: ArrayLike) -> float | None:
    """Symmetric MAPE on the 0-200 scale of M4: the mean of 200 |y - y_hat| / (|y| + |y_hat|).

    None without actuals and if they touch or cross zero: near zero the ratio is close to 200
    however small the error is.
    """
    actual, forecast = pair(y, y_hat)
    if actual.size == 0 or not (np.all(actual > 0) or np.all(actual < 0)):
        return None
    return average(200.0 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast)))


def qlike(y: ArrayLike, y_hat: ArrayLike) -> float | None:
    """Mean of y / y_hat - ln(y / y_hat) - 1, the loss of volatility forecasts (Patton 2011); None
    unless every value is above zero.

    Zero for a perfect forecast; too low a forecast costs more than one that is too high by the same
    factor.

    >>> round(qlike([1.0, 2.0], [2.0, 2.0]), 4)
    0.0966
    """
    actual, forecast = pair(y, y_hat)
    if actual.size == 0 or not (np.all(actual > 0) and np.all(forecast > 0)):
        return None
    ratio = actual / forecast
    return average(ratio - np.log(ratio) - 1.0)


def skill(loss: float, loss_naive: float) -> float:
    """1 - loss / loss of naive on the same origins: 0 = no better, 1 = perfect; NaN when naive
    makes no error.
    """
    return 1.0 - loss / loss_naive if loss_naive > 0 else float("nan")


def directional_accuracy(y: ArrayLike, y_hat: ArrayLike, last: ArrayLike) -> tuple[float, float]:
    """The share of changes from `last` whose sign was forecast, and the share that a rule reaches
    which always forecasts the commoner sign (the base rate).

    `y`, `y_hat` (n, H); `last` broadcasts to them (give `last[:, None]`). Actuals without a change
    are left out; a forecast without a change counts as half a hit, so that naive scores 0.5. The
    commoner sign is taken from the scored actuals of each step, so that no rule which always
    forecasts one sign beats the base rate.
    """
    hits, base = direction_hits(y, y_hat, last)
    moved = ~np.isnan(base)
    return average(hits[moved]), average(base[moved])


def direction_hits(y: ArrayLike, y_hat: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """(n, H) each: whether the forecast, and whether the commoner sign of the step, has the sign of
    the change of y from `last`: 1 for a hit, 0 for a miss, NaN where y did not change. A forecast
    without a change is 0.5.
    """
    actual, forecast, start = np.broadcast_arrays(
        *(np.asarray(a, dtype=float) for a in (y, y_hat, last))
    )
    # a forecast that went through log and exp has rounding noise, which is no change
    noise = 1e-9 * np.abs(start)
    moved = np.where(np.abs(actual - start) > noise, np.sign(actual - start), np.nan)
    called = np.where(np.abs(forecast - start) <= noise, 0.0, np.sign(forecast - start))
    commoner = np.where(np.nansum(moved, axis=0, keepdims=True) >= 0, 1.0, -1.0)
    return 0.5 + 0.5 * moved * called, 0.5 + 0.5 * moved * commoner


def absolute_errors(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """(n,): |y - y_hat| of the n known actuals; NaN where the forecast is missing."""
    actual, forecast = pair(y, y_hat)
    return np.abs(actual - forecast)


def pair(y: ArrayLike, y_hat: ArrayLike) -> tuple[Array, Array]:
    """(n,) each: the n known actuals and their forecasts, as float64."""
    actual = np.asarray(y, dtype=float)
    forecast = np.asarray(y_hat, dtype=float)
    known = np.isfinite(actual)
    return actual[known], forecast[known]


def average(values: Array) -> float:
    """The mean; NaN, without a warning, of an empty array."""
    return float(np.mean(values)) if values.size else float("nan")


def pinball(y: ArrayLike, quantile: ArrayLike, probability: float) -> float:
    """Mean quantile loss at `probability` in (0, 1) (Koenker & Bassett 1978), in `y`'s unit."""
    actual, forecast = pair(y, quantile)
    error = actual - forecast
    return average(np.maximum(probability * error, (probability - 1) * error))


def crps_quantiles(y: ArrayLike, quantiles: ArrayLike, probabilities: ArrayLike) -> float:
    """The continuous ranked probability score (CRPS), estimated from quantiles: twice the mean
    pinball loss over the `probabilities` (Q,).

    `y` (...), `quantiles` (..., Q). It tends to the CRPS as the probabilities fill (0, 1) evenly
    (Gneiting & Ranjan 2011).
    """
    grid = np.moveaxis(np.asarray(quantiles, dtype=float), -1, 0)
    columns = zip(grid, np.asarray(probabilities), strict=True)
    losses = [pinball(y, column, float(probability)) for column, probability in columns]
    return 2.0 * average(np.asarray(losses))


def brier(happened: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared distance of the probability of an event from 1 (it happened) or 0 (Brier
    1950).
    """
    return average((np.asarray(probability, dtype=float) - np.asarray(happened, dtype=float)) ** 2)


def coverage_by_step(
    y: Array, lower: Array, upper: Array, *, nominal: float
) -> dict[str, NDArray[Any]]:
    """Coverage and width of the intervals from `lower` to `upper` for the actuals `y`, all
    (S, n, H) for S series: arrays (S, H + 1) by name, with step 0 for all steps together.

        step, n         the step and the number of actuals
        coverage        the share of actuals in their interval, ends included
        low, high       the binomial 95 % band around `nominal`, at least STEP_BAND wide on each
                        side (ALL_STEPS_BAND for all steps), because origins are dependent
        inside          whether the coverage is in the band
        width           the mean width
        winkler         the mean interval score (Winkler 1972; Gneiting & Raftery 2007, eq. 43): the
                        width plus 2 / (1 - nominal) times the distance of an actual outside
    """
    known = np.isfinite(y)
    has_interval = ~np.isnan(lower + upper)
    is_inside = np.where(has_interval, (lower <= y) & (y <= upper), np.nan)
    coverage = _average_by_step(is_inside, known)
    distance = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
    by_step = known.sum(axis=1)
    n = np.concatenate([by_step.sum(axis=1, keepdims=True), by_step], axis=1)
    least_band = np.full(n.shape[1], STEP_BAND)
    least_band[0] = ALL_STEPS_BAND
    low, high = binomial_band(nominal, n, least_band)
    return {
        "step": np.broadcast_to(np.arange(n.shape[1]), n.shape),
        "n": n,
        "coverage": coverage,
        "low": low,
        "high": high,
        "inside": (low <= coverage) & (coverage <= high),
        "width": _average_by_step(upper - lower, np.ones(y.shape, dtype=bool)),
        "winkler": _average_by_step(upper - lower + 2 / (1 - nominal) * distance, known),
    }


def binomial_band(nominal: float, n: ArrayLike, least: ArrayLike) -> tuple[Array, Array]:
    """The band `nominal` plus and minus 1.96 sqrt(nominal (1 - nominal) / n), but at least `least`,
    within [0, 1]; from 0 to 1 for n = 0.
    """
    with np.errstate(divide="ignore"):
        half = np.maximum(least, 1.96 * np.sqrt(nominal * (1 - nominal) / np.asarray(n)))
    return np.maximum(0.0, nominal - half), np.minimum(1.0, nominal + half)


def _average_by_step(values: Array, known: NDArray[np.bool_]) -> Array:
    """(S, H + 1): the mean of the known `values` (S, n, H) over all steps, then of each step."""
    series, n, horizon = values.shape
    all_steps = row_means(values.reshape(series, -1), known.reshape(series, -1))
    steps = row_means(values.swapaxes(1, 2).reshape(-1, n), known.swapaxes(1, 2).reshape(-1, n))
    return np.concatenate([all_steps[:, None], steps.reshape(series, horizon)], axis=1)


def row_means(values: Array, known: NDArray[np.bool_]) -> Array:
    """(R,): the mean of the known values in each row of `values` (R, n); NaN without any.

    Rows with equal counts are averaged together, because then each mean has exactly the bits of
    `average` of that row; a sum with zeros for missing values has not.
    """
    counts = known.sum(axis=1)
    means = np.full(len(values), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows = counts == count
        means[rows] = values[rows][known[rows]].reshape(-1, count).mean(axis=1)
    return means


@dataclass(frozen=True)
class Sample:
    """The arguments of a metric: forecasts of one series over the whole horizon or at one step.

    `y`, `y_hat` (n, H) or (n,); `last`, the values at the cutoffs, broadcasts to them. `scale`,
    `squared_scale`: the `insample_scale` of the series. `naive_error`: the MAE of naive on the same
    actuals. `mae`, `rmse`: those of these forecasts.
    """

    y: Array
    y_hat: Array
    last: Array
    scale: float
    squared_scale: float
    naive_error: float
    mae: float
    rmse: float

    @cached_property
    def direction(self) -> tuple[float, float]:
        """The share of signs forecast right, and the base rate (`directional_accuracy`)."""
        return directional_accuracy(self.y, self.y_hat, self.last)


@dataclass(frozen=True)
class Metric:
    """One row of METRICS; the report shows `title` and `explanation`.

    in_units: it has the unit of its series, so it is never averaged over series
    by_step: it is also computed at each step
    own_column: it has a column of its own in the leaderboard of the report
    """

    name: str
    of: Callable[[Sample], float | None]
    title: str
    explanation: str
    in_units: bool = False
    by_step: bool = False
    own_column: bool = True


METRICS = (
    Metric(
        "mae",
        lambda sample: sample.mae,
        "MAE",
        "Mean absolute error over all test origins and steps",
        in_units=True,
        by_step=True,
    ),
    Metric(
        "rmse",
        lambda sample: sample.rmse,
        "RMSE",
        "Root mean squared error, in units of the target",
        in_units=True,
        by_step=True,
    ),
    Metric(
        "mase",
        lambda sample: sample.mae / sample.scale,
        "MASE",
        "Mean absolute error as a multiple of the seasonal naive forecast's error on the train"
        " block",
        by_step=True,
    ),
    Metric(
        "rmsse",
        lambda sample: sample.rmse / sample.squared_scale,
        "RMSSE",
        "Root mean squared error, scaled like MASE",
    ),
    Metric(
        "smape",
        lambda sample: smape(sample.y, sample.y_hat),
        "sMAPE",
        "Symmetric mean absolute percentage error, 0 to 200; empty where values cross zero",
    ),
    Metric(
        "qlike",
        lambda sample: qlike(sample.y, sample.y_hat),
        "QLIKE",
        "The loss of volatility forecasts (Patton 2011): y / forecast - ln(y / forecast) - 1; empty"
        " where a value is not above zero",
    ),
    Metric(
        "direction",
        lambda sample: sample.direction[0],
        "Direction",
        "Share of moves whose sign was forecast right",
        own_column=False,
    ),
    Metric(
        "direction_base",
        lambda sample: sample.direction[1],
        "Base rate",
        "Share of the commoner sign",
        own_column=False,
    ),
    Metric(
        "skill",
        lambda sample: skill(sample.mae, sample.naive_error),
        "Skill",
        "1 - MAE / MAE of the naive forecast on the same origins",
        by_step=True,
        own_column=False,
    ),
)
"""The metrics of every candidate.

Each is a column of leaderboard.csv and by_series.csv, with `by_step` also of by_step.csv, and a
metric of the MLflow runs. After a new one stage `compare` has to run again; the audit computes
only MAE, skill and origins a second time.
"""


def leaderboard_columns() -> list[str]:
    """The columns of leaderboard.csv: labels, the metrics, other facts."""
    names = (metric.name for metric in METRICS)
    facts = ("n_params", "n_origins", "validation_mase", "chosen")
    return ["dataset", "model", "ranking", "skip", "seed", "status", *names, *facts]
