"""Scores of forecasts: pure formulas on arrays, in the unit of the data unless the name says
otherwise.

A score takes arrays of any equal shape and averages over all of it, unless its docstring gives
shapes. A missing actual (NaN) is left out; a missing forecast where the actual is known makes the
score NaN: skipping it would flatter a model that failed. METRICS is the table of those that every
candidate is given.

A new metric of every candidate is one row of METRICS; scores of intervals and distributions are no
rows of it. Two tables name their columns themselves and do not follow: the terminal's (`SCORES`
in report/leaderboard.py) and that of a printed Board (`SHOWN_COLUMNS` in api/board.py).
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
BAND = 0.06  # least half-width of the band around a nominal coverage at one step
ALL_STEPS_BAND = 0.03  # the same for all steps together: the tolerance of the protocol


def mae(y: ArrayLike, y_hat: ArrayLike) -> float:
    """Mean absolute error, in the unit of `y`."""
    return average(absolute_errors(y, y_hat))


def rmse(y: ArrayLike, y_hat: ArrayLike) -> float:
    """Root mean squared error, in the unit of `y`."""
    return float(np.sqrt(average(absolute_errors(y, y_hat) ** 2)))


def errors_by_step(y: Array, y_hat: Array) -> tuple[list[float], list[float]]:
    """`mae` and `rmse` of every column of `y`, `y_hat` (n, H)."""
    errors = np.abs(y - y_hat).T
    known = np.isfinite(y).T
    return row_means(errors, known).tolist(), np.sqrt(row_means(errors**2, known)).tolist()


def insample_scale(insample: ArrayLike, *, season_length: int, squared: bool = False) -> float:
    """The denominator of MASE (mean absolute) or RMSSE (root mean squared; Hyndman & Koehler 2006):
    the seasonal difference of the training part.

    `insample` (T,), NaN = missing; a pair with a missing end is left out. Never zero: a constant
    training part, like one without such a pair, has no scale (NaN), and an error divided by it
    would be infinite rather than large. Asked by `scores.reference_of_block` for the tables, by
    `operations.evidence` for the gate.
    """
    values = np.asarray(insample, dtype=float)
    change = values[season_length:] - values[:-season_length]
    change = change[np.isfinite(change)]
    if change.size == 0:
        return math.nan
    scale = float(np.sqrt(np.mean(change**2)) if squared else np.mean(np.abs(change)))
    # rounding noise of a constant series is no scale either: 0.1 + 0.2 - 0.3 is not an error worth
    # dividing by
    return scale if scale > 1e-12 * float(np.nanmax(np.abs(values))) else math.nan


def smape(y: ArrayLike, y_hat: ArrayLike) -> float | None:
    """Symmetric MAPE on the 0-200 scale of M4: 200 |y - y_hat| / (|y| + |y_hat|); None where it
    says nothing.

    None when the actuals touch or cross zero: there the term is near 200 however small the error
    is.
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
    """Share of changes from `last` whose sign was forecast, and the base rate of always calling the
    commoner sign.

    `y`, `y_hat` (n, H); `last` broadcasts to them (give `last[:, None]`). An actual without a
    change is left out; a forecast without a change makes no call and counts as half a hit, so naive
    scores 0.5. The commoner sign is taken for each step from the scored actuals themselves, so the
    base rate is never easier than what a rule could reach.
    """
    hits, base = direction_hits(y, y_hat, last)
    moved = ~np.isnan(base)
    return average(hits[moved]), average(base[moved])


def direction_hits(y: ArrayLike, y_hat: ArrayLike, last: ArrayLike) -> tuple[Array, Array]:
    """Two (n, H) arrays of 1 for a hit, 0 for a miss, NaN where y did not move: whether the
    forecast has the sign of the change from `last` (0.5 where it forecasts none), and whether a
    rule has it that always calls the commoner sign of the step.
    """
    actual, forecast, start = np.broadcast_arrays(
        *(np.asarray(a, dtype=float) for a in (y, y_hat, last))
    )
    # a forecast that went through log and exp comes back with rounding noise, which is not a call
    noise = 1e-9 * np.abs(start)
    moved = np.where(np.abs(actual - start) > noise, np.sign(actual - start), np.nan)
    called = np.where(np.abs(forecast - start) <= noise, 0.0, np.sign(forecast - start))
    commoner = np.where(np.nansum(moved, axis=0, keepdims=True) >= 0, 1.0, -1.0)
    return 0.5 + 0.5 * moved * called, 0.5 + 0.5 * moved * commoner


def absolute_errors(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """|y - y_hat| of every known actual, flat; NaN where the forecast is missing."""
    actual, forecast = pair(y, y_hat)
    return np.abs(actual - forecast)


def pair(y: ArrayLike, y_hat: ArrayLike) -> tuple[Array, Array]:
    """Both as flat float64 arrays without the steps whose actual is missing."""
    actual = np.asarray(y, dtype=float)
    forecast = np.asarray(y_hat, dtype=float)
    known = np.isfinite(actual)
    return actual[known], forecast[known]


def average(values: Array) -> float:
    """The mean; NaN, without a warning, of nothing."""
    return float(np.mean(values)) if values.size else float("nan")


def pinball(y: ArrayLike, quantile: ArrayLike, probability: float) -> float:
    """Mean quantile loss at `probability` in (0, 1) (Koenker & Bassett 1978), in `y`'s unit."""
    actual, forecast = pair(y, quantile)
    error = actual - forecast
    return average(np.maximum(probability * error, (probability - 1) * error))


def crps_quantiles(y: ArrayLike, quantiles: ArrayLike, probabilities: ArrayLike) -> float:
    """Continuous ranked probability score from a quantile grid: twice the mean pinball loss over
    the probabilities.

    `y` (...), `quantiles` (..., Q), `probabilities` (Q,). It tends to the CRPS as these fill (0, 1)
    evenly (Gneiting & Ranjan 2011); with few of them it is a score of these quantiles only.
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
    """step, n, coverage, low, high, inside, width, winkler of `y`, `lower`, `upper` (S, n, H): each
    (S, H + 1), first step 0 for all steps together, then one per step.

    `coverage` is the share of the actuals inside, ends included; `low` and `high` are the binomial
    95 % band around `nominal`, at least 6 points wide on each side because origins are dependent (3
    points for all steps, where more actuals are behind it). `winkler` is the interval score
    (Winkler 1972; Gneiting & Raftery 2007, eq. 43): the width plus 2 / (1 - nominal) times the
    distance by which it missed.
    """
    known = np.isfinite(y)
    whole = np.ones(y.shape, dtype=bool)
    has_interval = ~np.isnan(lower + upper)
    covered = _average_by_step(np.where(has_interval, (lower <= y) & (y <= upper), np.nan), known)
    missed = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
    by_step = known.sum(axis=1)
    n = np.concatenate([by_step.sum(axis=1, keepdims=True), by_step], axis=1)
    least_band = np.full(n.shape[1], BAND)
    least_band[0] = ALL_STEPS_BAND
    least, most = binomial_band(nominal, n, least_band)
    return {
        "step": np.broadcast_to(np.arange(n.shape[1]), n.shape),
        "n": n,
        "coverage": covered,
        "low": least,
        "high": most,
        "inside": (least <= covered) & (covered <= most),
        "width": _average_by_step(upper - lower, whole),
        "winkler": _average_by_step(upper - lower + 2 / (1 - nominal) * missed, known),
    }


def binomial_band(nominal: float, n: ArrayLike, least: ArrayLike) -> tuple[Array, Array]:
    """The coverage `nominal` plus and minus 1.96 sqrt(nominal (1 - nominal) / n), at least `least`,
    inside [0, 1]; all of it for n = 0.
    """
    with np.errstate(divide="ignore"):
        half = np.maximum(least, 1.96 * np.sqrt(nominal * (1 - nominal) / np.asarray(n)))
    return np.maximum(0.0, nominal - half), np.minimum(1.0, nominal + half)


def _average_by_step(values: Array, known: NDArray[np.bool_]) -> Array:
    """(S, n, H) → (S, H + 1): the mean of what is known over all steps, then of each."""
    series, n, horizon = values.shape
    all_steps = row_means(values.reshape(series, -1), known.reshape(series, -1))
    steps = row_means(values.swapaxes(1, 2).reshape(-1, n), known.swapaxes(1, 2).reshape(-1, n))
    return np.concatenate([all_steps[:, None], steps.reshape(series, horizon)], axis=1)


def row_means(values: Array, known: NDArray[np.bool_]) -> Array:
    """(R,): the mean of what is known of every row of (R, n); NaN of nothing.

    Rows with equally many are averaged together: a sum over all rows, with zeros for what is not
    known, would not have the last bits that `average` gives of one row.
    """
    counts = known.sum(axis=1)
    means = np.full(len(values), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows = counts == count
        means[rows] = values[rows][known[rows]].reshape(-1, count).mean(axis=1)
    return means


@dataclass(frozen=True)
class Sample:
    """What a metric is computed of: forecasts of one series over the whole horizon, or at one of
    its steps.

    `y`, `y_hat` (n, H) or (n,); `last`, the values at the origins, broadcasts to them. `scale` and
    `squared_scale`: the series' `insample_scale`; `naive_error`: the MAE of the naive forecast on
    the same origins and steps; `mae`, `rmse`: of these.
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
        """The share of moves called right, and the base rate; see `directional_accuracy`."""
        return directional_accuracy(self.y, self.y_hat, self.last)


@dataclass(frozen=True)
class Metric:
    """One row of METRICS.

    `title` and `explanation` are the report's.

    `in_units`: it has the unit of its series, so several series are never averaged; `by_step`: it
    is scored at every horizon step as well; `own_column`: the report's leaderboard gives it a
    column of its own.
    """

    name: str
    of: Callable[[Sample], float | None]
    title: str
    explanation: str
    in_units: bool = False
    by_step: bool = False
    own_column: bool = True


# The terminal's table and a printed Board have lists of their own: see the module's docstring.
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
"""The metrics of every candidate; a new one is one more row.

It is then a column of leaderboard.csv and by_series.csv, with `by_step` of by_step.csv as well,
unless `own_column=False` a column of the report's leaderboard, and a metric of the MLflow runs.
Tables written before lack it (stage `compare` has to run again), and the audit makes MAE, skill and
origins anew alone.
"""


def leaderboard_columns() -> list[str]:
    """The columns of leaderboard.csv: whose row it is, the metrics, what else is known of it."""
    names = (metric.name for metric in METRICS)
    facts = ("n_params", "n_origins", "validation_mase", "chosen")
    return ["dataset", "model", "ranking", "skip", "seed", "status", *names, *facts]
