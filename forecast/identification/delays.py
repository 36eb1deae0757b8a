"""Correlations over lags, and what linear (ARX) models tell of a record: delays, dead times, drift.

For users `autocorrelation`, `cross_correlation` and `choose_delays`; for `identify` orders of ARX
models, dead times and drift. The band of a correlation is that of white noise, 1.96 / sqrt(n) (Box,
Jenkins, Reinsel & Ljung 2015, 2.1.6); `performance` draws it, with "95 %" in the legend. It holds
for one-step errors alone: errors over several steps are correlated however good the net is.

`identify` looks for the dead time of every input (`find_held_back_rows`) up to
`SearchSettings.longest_dead_time` and a quarter of the shortest record that it searches, which has
`SEARCH_ROWS` rows in all at most. A dead time that is known cannot be stated, but u can be shifted
by it before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    count_columns,
    delay_inputs,
    require_equal_rows,
    require_whole,
    single_column,
)
from forecast.identification.narx import Narx
from forecast.system.errors import InputError
from forecast.system.workers import limit_to_one_thread

MIN_DEAD_TIME = 3  # rows
LONGEST_DEAD_TIME = 100  # rows
CLEAR_GAIN = 3.0  # times the gain that Schwarz's criterion asks for: less shows no dead time
COMPARED_DELAYS = 6  # neighbouring delays of an input, whose gains tell its dead time
DEAD_TIME_Y_DELAYS = 6  # delays of y in the ARX model that finds dead times
MAX_ARX_ROWS = 10_000  # enough to choose delays
DRIFT_ORDER = 5  # delays of u and y in the ARX model beside which a line is fitted
DRIFT_GAIN = 4.0  # as `CLEAR_GAIN`, of a drift: slow and nonlinear systems without one reach 3
MOST_DRIFT = 3.5  # deviations of y: a steeper line is the motion of the system
NORMAL_QUANTILE = 1.959963984540054  # at 97.5 %


@dataclass(frozen=True)
class Correlation:
    """Correlations `values` at `lags`; those within `band` of 0 are not significant at 5 %."""

    lags: npt.NDArray[np.int64]
    values: Array
    band: float


def autocorrelation(series: npt.ArrayLike, longest: int = 20) -> Correlation:
    """The autocorrelation of a series (T,) at lags 0 to `longest`, of the values that are observed;
    0 at a lag without such pairs.
    """
    require_whole(0, longest=longest)
    centred = _centre(series)
    return _correlate(centred, centred, range(longest + 1))


def cross_correlation(u: npt.ArrayLike, error: npt.ArrayLike, longest: int = 20) -> Correlation:
    """The correlation of u[t - lag] with error[t] at lags from -longest to longest. A significant
    one at a positive lag shows error that earlier rows of u could explain. `InputError` for unequal
    rows.
    """
    require_whole(0, longest=longest)
    centred_u = _centre(u)
    centred_error = _centre(error)
    require_equal_rows(u=centred_u, error=centred_error)
    return _correlate(centred_u, centred_error, range(-longest, longest + 1))


def _centre(series: npt.ArrayLike) -> Array:
    """The series (T,) less its mean; `InputError` without any observed value, and for several
    columns.
    """
    column = single_column("series", series)
    if not np.isfinite(column).any():
        raise InputError("No observed value to correlate. Give the errors of a run.")
    return column - np.nanmean(column)


def _correlate(first: Array, second: Array, lags: range) -> Correlation:
    """The correlation of first[t - lag] with second[t]; both (T,) have mean 0 and may have missing
    values. The band is that of independent values of `second`, where they are known.
    """
    values = []
    for lag in lags:
        rows = np.arange(max(lag, 0), len(second) + min(lag, 0))
        products = first[rows - lag] * second[rows]
        is_known = np.isfinite(products)
        # divided by all rows, as usual, however few pairs there are at this lag
        share = len(products) / len(second)
        values.append(share * products[is_known].mean() if is_known.any() else 0.0)
    scale = np.sqrt(np.nanmean(first**2) * np.nanmean(second**2))
    correlations = np.array(values) / scale if scale > 0 else np.zeros(len(values))
    band = NORMAL_QUANTILE / np.sqrt(np.isfinite(second).sum())
    return Correlation(np.array(lags), correlations, band)


def choose_delays(
    *experiments: Experiment, longest: int = 10, longest_dead_time: int = LONGEST_DEAD_TIME
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(input delays, feedback delays) of the linear ARX model with the least Schwarz criterion
    (BIC), with which trying nets can begin.

    All models with 1 to `longest` delays of y and of u are fitted to the same rows. Delays of u
    begin one row before the shortest dead time, where it is clear that these rows tell nothing; it
    is found up to `longest_dead_time` rows.
    `InputError` for too few rows.
    """
    require_whole(1, longest=longest)
    require_whole(0, longest_dead_time=longest_dead_time)
    inputs, _ = count_columns(experiments)
    scaling = Standardization.fit(experiments)
    scaled = [scaling.scale(e) for e in experiments]
    with limit_to_one_thread():
        by_input = find_held_back_rows(scaled, longest_dead_time, min(longest, COMPARED_DELAYS))
        held_back = min(map(min, by_input), default=0)
        delayed = [e.with_arrays(u=delay_inputs(e.u, [held_back] * inputs)) for e in scaled]
        u_delays, y_delays = count_arx_delays(delayed, longest)
    return tuple(range(held_back, held_back + u_delays)), tuple(range(1, y_delays + 1))


def count_arx_delays(experiments: Sequence[Experiment], longest: int) -> tuple[int, int]:
    """(n_u, n_y) of the ARX model with the least Schwarz criterion: u at delays 0 ... n_u - 1 and y
    at delays 1 ... n_y, each number from 1 to `longest`; n_u is 0 without inputs. `InputError` for
    too few rows.
    """
    inputs, outputs = count_columns(experiments)
    x, y = arx_regressors(experiments, longest, longest)
    if len(y) <= x.shape[1]:
        raise InputError(
            f"{len(y)} whole rows for ARX models of {x.shape[1]} weights; wanted more. Lower"
            " `longest`."
        )
    scores = {}
    first_u = longest * outputs
    for y_delays in range(1, longest + 1):
        past = [-1, *range(y_delays * outputs)]  # the ones are the last column of x
        regressors = x[:, [*past, *range(first_u, first_u + longest * inputs)]]
        deviances = nested_deviances(regressors, y).sum(axis=1)
        for u_delays in range(1, longest + 1) if inputs else (0,):
            columns = len(past) + u_delays * inputs
            scores[u_delays, y_delays] = deviances[columns] + np.log(len(y)) * outputs * columns
    return min(scores, key=scores.__getitem__)


def find_held_back_rows(
    experiments: Sequence[Experiment], longest_dead_time: int, compared: int = COMPARED_DELAYS
) -> tuple[tuple[int, ...], ...]:
    """For each input the rows by which to hold it back: its dead time, `longest_dead_time` and a
    quarter of the shortest experiment at most, less one; several where outputs answer it after
    different dead times. (0,) where none is found or too few rows are whole.

    For every output, groups of `compared` neighbouring delays of the input are compared by what
    they explain beside past y and the other inputs. The dead time ends before the last group that
    explains as much as any, if that is clearly more than the group from delay 0 explains.
    """
    last = min(longest_dead_time, min(map(len, experiments)) // 4)
    inputs, outputs = count_columns(experiments)
    longest = last + compared
    x, y = arx_regressors(experiments, longest)
    n_past = DEAD_TIME_Y_DELAYS * outputs
    if last < MIN_DEAD_TIME or len(y) <= n_past + compared:
        return ((0,),) * inputs
    by_input = []
    for column in range(inputs):
        lags = n_past + column + inputs * np.arange(longest + 1)
        others = np.delete(np.arange(x.shape[1]), lags)
        # what the other columns do not explain, in as few rows as there are columns left
        left = triangulate(x[:, [*others, *lags]], y)[len(others) :, len(others) :]
        gains = []
        for first in range(longest + 1):
            delays = left[:, first : min(first + compared, longest + 1)]
            deviances = nested_deviances(delays, left[:, longest + 1 :], len(y))
            gains.append(deviances[0] - deviances[-1])
        by_input.append(_hold_back(np.array(gains), compared, np.log(len(y))))
    return tuple(by_input)


def _hold_back(gains: Array, compared: int, cost: float) -> tuple[int, ...]:
    """The rows by which to hold an input back (delay it as a whole), in rising order and not near
    each other.

    `gains` (steps, O): by how much the deviance (-2 log likelihood) falls by `compared` delays from
    each step on; `cost`: what each delay costs in Schwarz's criterion. Outputs that the input does
    not move do not count.
    """
    last = len(gains) - 1 - compared  # later groups are not whole
    steps = set()
    for gain in gains.T[gains.max(axis=0) > compared * cost]:
        # of the groups that explain equally much the last: others begin with delays that do not
        first = int(np.flatnonzero(gain >= gain.max() - cost)[-1])
        is_clear = gain[first] - gain[0] > CLEAR_GAIN * compared * cost
        steps.add(first - 1 if MIN_DEAD_TIME <= first <= last and is_clear else 0)
    is_near = [any(step - MIN_DEAD_TIME < other < step for other in steps) for step in steps]
    return tuple(sorted(compress(steps, np.logical_not(is_near)))) or (0,)


def measure_drift(experiment: Experiment) -> Array:
    """(O,): by how much each output rises over the record, as a sensor drifts, beside what a linear
    model of the inputs explains.

    0 where a line does not clearly lower the error of this model or rises by more than
    `MOST_DRIFT`, without inputs, and in records of too few rows, or more, to fit an ARX model to. A
    strongly nonlinear system can hide a drift.
    """
    scaling = Standardization.fit([experiment])
    scaled = scaling.scale(experiment)
    rows, outputs = scaled.y.shape
    order = min(DRIFT_ORDER, max(rows // 20, 2))
    line = np.linspace(-0.5, 0.5, rows)[:, None]
    x, y = arx_regressors([scaled], order, order)
    line_of_rows = arx_regressors([scaled.with_arrays(u=line)], 0, order)[0][:, -2:-1]
    x = np.hstack([x, line_of_rows])
    if not scaled.u.size or rows > MAX_ARX_ROWS or len(y) <= x.shape[1]:
        return np.zeros(outputs)
    without, with_line = nested_deviances(x, y)[-2:].sum(axis=1)
    is_clear = without - with_line > DRIFT_GAIN * outputs * np.log(len(y))
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    feedback = weights[: order * outputs].reshape(order, outputs, outputs).sum(axis=0)
    rise = np.linalg.lstsq(np.eye(outputs) - feedback.T, weights[-1], rcond=None)[0]
    return scaling.y_scale * np.where(is_clear & (np.abs(rise) < MOST_DRIFT), rise, 0.0)


def arx_regressors(
    experiments: Sequence[Experiment], last: int, y_delays: int = DEAD_TIME_Y_DELAYS
) -> tuple[Array, Array]:
    """Regressors (rows, y_delays * O + (last + 1) * I + 1) and y (rows, O) of the first
    `MAX_ARX_ROWS` whole rows.

    The columns are y at delays 1 ... y_delays, all inputs at delays 0 ... last, and a one.
    """
    inputs, outputs = count_columns(experiments)
    delays = tuple(range(1, y_delays + 1)), tuple(range(last + 1))
    net = Narx(inputs, outputs, *delays, hidden=0)
    first = max(last, y_delays)
    z = np.concatenate([net.open_loop_regressors(e, first) for e in experiments])
    y = np.concatenate([e.y[first:] for e in experiments])
    is_observed = np.isfinite(np.hstack([z, y])).all(axis=1)
    x = np.hstack([z, np.ones((len(z), 1))])
    return x[is_observed][:MAX_ARX_ROWS], y[is_observed][:MAX_ARX_ROWS]


def nested_deviances(x: Array, y: Array, rows: int = 0) -> Array:
    """(columns + 1, O): -2 log likelihood, up to a constant, of the least-squares fit of each
    output to the first 0, 1, ... all columns of x. rows: the number of rows of the data, where x
    and y are their triangular factor (`triangulate`); 0: that of y.
    """
    columns = x.shape[1]
    rows = rows or len(y)
    triangle = triangulate(x, y)
    squares = np.cumsum(triangle[::-1, columns:] ** 2, axis=0)[::-1][: columns + 1]
    return rows * np.log(squares / rows + 1e-300)


def triangulate(x: Array, y: Array) -> Array:
    """(columns, columns): the triangular factor R of x beside y, with the same sums of products."""
    columns = x.shape[1]
    # a tiny ridge, so that a column that is a sum of others explains nothing
    ridge = 1e-8 * np.sqrt(len(x)) * np.eye(columns, columns + y.shape[1])
    return np.asarray(np.linalg.qr(np.vstack([np.hstack([x, y]), ridge]), mode="r"))


def take_out_drift(
    experiments: Sequence[Experiment],
) -> tuple[Sequence[Experiment], list[str]]:
    """The experiment less its drift (`measure_drift`), which is 0 in its middle, and a note;
    several experiments as they are.
    """
    experiment, *others = experiments
    if others or not (rise := measure_drift(experiment)).any():
        return experiments, []
    line = np.linspace(-0.5, 0.5, len(experiment))[:, None] * rise
    listed = ", ".join(f"{value:.3g}" for value in rise)
    note = (
        f"Over the record y drifts by {listed} beside what the inputs explain. This line was taken"
        " out, and the errors told here are those without it; a free run has y's level in the"
        " middle of the record, so its error on a record that drifts is larger."
    )
    return [experiment.with_arrays(y=experiment.y - line)], [note]
