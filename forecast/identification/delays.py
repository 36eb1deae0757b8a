"""Correlations over lags, and the delays of a net that they suggest, dead times included.

`choose_delays`, at most `most` (8) delays of each kind:

1. Feedback delays: those from 1 on, without a break, at which the partial autocorrelation of y
   leaves its band, and the later peaks of the autocorrelation that the partial one confirms (a
   season).
2. Input delays: u is made white by an autoregression and y passes the same filter (prewhitening;
   Box & Jenkins 1970, 11.1.2), for a smooth u correlates with y at every delay. The first
   cross-correlation beyond its band is the dead time; the delays reach from there to one beyond the
   highest peak. Where u shows none, its square is tested (Billings & Voon 1986): a system even in u
   has no correlation with u.

The bands of single correlations are those of white noise, 1.96 / sqrt(n) (Box, Jenkins, Reinsel &
Ljung 2015, 2.1.6): they hold for one-step errors alone, for errors over several steps are
correlated however good the net is. The choice of delays shares the 5 % among all lags (Bonferroni).
It is where trying nets can begin: compare them on the validation rows. A search (`identify`) tries
delays of its own, and only names these dead times in a note.

`arx_order` chooses otherwise: of all linear ARX models from 1 delay of each kind to `longest`, of
the inputs from their dead time on, it takes the one with the least AIC or BIC, and so both kinds of
delays at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import toeplitz
from scipy.special import ndtri

from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    arx_regressors,
    count_columns,
    dead_times,
    delay_inputs,
    error_columns,
    longest_stretch,
    nested_deviances,
    require_whole,
)
from forecast.system.errors import InputError
from forecast.system.workers import limit_to_one_thread

MOST_DELAYS = 8  # of a kind, as `choose_delays` takes
LONGEST_DEAD_TIME = 20  # steps, as `choose_delays` looks
NORMAL_QUANTILE = 1.959963984540054  # at 97.5 %


@dataclass(frozen=True)
class Correlation:
    """`values[k]` belongs to `lags[k]`; values within `band` of zero are not significant at 5 %."""

    lags: npt.NDArray[np.int64]
    values: Array
    band: float


def autocorrelation(series: npt.ArrayLike, longest: int = 20) -> Correlation:
    """Of a series (T,), or of several, none of whose lags reaches from one into the next; a lag is
    judged by the pairs that are observed, and 0 without any.
    """
    require_whole(0, longest=longest)
    parts = _centred_parts(series)
    return _correlate(parts, parts, range(longest + 1))


def cross_correlation(u: npt.ArrayLike, error: npt.ArrayLike, longest: int = 20) -> Correlation:
    """The correlation of u[t - lag] with error[t] at lags from -longest to longest. What stands out
    at a positive lag is error that earlier rows of u could explain. `InputError` for unequal rows.
    """
    require_whole(0, longest=longest)
    u_parts = _centred_parts(u)
    error_parts = _centred_parts(error)
    if list(map(len, u_parts)) != list(map(len, error_parts)):
        raise InputError(
            "u and the errors have different numbers of rows; wanted one of each for every time."
        )
    return _correlate(u_parts, error_parts, range(-longest, longest + 1))


def partial_autocorrelation(acf: Array) -> Array:
    """From the autocorrelations at lags 0, 1, ...: the last coefficient of each autoregression
    (Yule-Walker).
    """
    partial = [1.0]
    for k in range(1, len(acf)):
        matrix = toeplitz(acf[:k])
        partial.append(np.linalg.lstsq(matrix, acf[1 : k + 1], rcond=1e-10)[0][-1])
    return np.array(partial)


def _centred_parts(series: Any) -> list[Array]:
    """The series (T,), one or several, without their common mean; `InputError` without any observed
    value.
    """
    # else rows, or a frame
    is_several = isinstance(series, list | tuple) and all(np.size(part) > 1 for part in series)
    parts = [error_columns("series", part)[:, 0] for part in (series if is_several else [series])]
    if not parts or not any(np.isfinite(part).any() for part in parts):
        raise InputError("No observed value to correlate. Give the errors of at least one run.")
    mean = np.nanmean(np.concatenate(parts))
    return [part - mean for part in parts]


def _correlate(first: list[Array], second: list[Array], lags: range) -> Correlation:
    """Of first[t - lag] with second[t]; no lag reaches from one part into the next."""
    values = []
    for lag in lags:
        pairs = zip(first, second, strict=True)
        products = np.concatenate([_lagged_products(a, b, lag) for a, b in pairs])
        is_known = np.isfinite(products)
        # shrunk as without gaps: the sum over all pairs there could be, over all rows
        share = len(products) / sum(map(len, second))
        values.append(share * products[is_known].mean() if is_known.any() else 0.0)
    squares = [np.nanmean(np.concatenate(parts) ** 2) for parts in (first, second)]
    scale = np.sqrt(squares[0] * squares[1])
    count = sum(int(np.isfinite(part).sum()) for part in second)
    correlations = np.array(values) / scale if scale > 0 else np.zeros(len(values))
    return Correlation(np.array(lags), correlations, NORMAL_QUANTILE / np.sqrt(count))


def _lagged_products(first: Array, second: Array, lag: int) -> Array:
    """first[t - lag] * second[t], NaN where either is missing."""
    rows = np.arange(max(lag, 0), len(second) + min(lag, 0))
    return first[rows - lag] * second[rows]


@dataclass(frozen=True)
class DelayChoice:
    """`dead_times`: per input the first delay at which it acts, None where it acts at none.

    The correlations are of the first output: `acf` of y, `ccf` of each whitened input with y.
    """

    input_delays: tuple[int, ...]
    feedback_delays: tuple[int, ...]
    dead_times: tuple[int | None, ...]
    acf: Correlation
    ccf: tuple[Correlation, ...]


def choose_delays(
    *experiments: Experiment, longest: int = 20, most: int = MOST_DELAYS
) -> DelayChoice:
    """Delays up to `longest` steps from all outputs and inputs of the experiments, at most `most`
    of each kind.

    Where `experiment.dead_times`, by which `identify` holds inputs back, finds a dead time, the
    delays of that input begin there. Of more input delays the most correlated are taken: an input
    may act at once and again much later. Of more feedback delays the shortest are taken, so a
    season that was found may be lost: give a larger `most` then. `InputError` for an experiment of
    fewer than 4 * `longest` rows, and for an output without two observed rows in a row.
    """
    require_whole(1, longest=longest, most=most)
    _, outputs = count_columns(experiments)
    Standardization.fit(experiments)  # refuses a constant y
    rows = min(map(len, experiments))
    if rows < 4 * longest:
        raise InputError(
            f"Delays up to {longest} steps were asked of an experiment of {rows} rows; at least"
            f" {4 * longest} are needed. Lower `longest`, or leave short ones out."
        )
    acf = [autocorrelation([e.y[:, k] for e in experiments], longest) for k in range(outputs)]
    feedback_delays = {delay for each in acf for delay in _feedback_delays(each)}
    with limit_to_one_thread():
        held_back = dead_times(experiments, longest)
        input_delays, first_delays, ccf = _choose_input_delays(
            experiments, held_back, longest, most
        )
    return DelayChoice(
        input_delays=input_delays,
        feedback_delays=tuple(sorted(feedback_delays)[:most]) or (1,),
        dead_times=first_delays,
        acf=acf[0],
        ccf=ccf,
    )


def _choose_input_delays(
    experiments: Sequence[Experiment], held_back: Sequence[int], longest: int, most: int
) -> tuple[tuple[int, ...], tuple[int | None, ...], tuple[Correlation, ...]]:
    """The `most` strongest delays, and of every input, that begins to act after `held_back` steps,
    the first delay and the correlation with the first output.
    """
    _, outputs = count_columns(experiments)
    y_parts = [[e.y[:, output] for e in experiments] for output in range(outputs)]
    strength: dict[int, float] = {}
    first_delays: list[int | None] = []
    ccf = []
    for column, steps in enumerate(held_back):
        u = [e.u[:, column] for e in experiments]
        correlations = [_prewhitened_correlation(u, parts, longest) for parts in y_parts]
        ccf.append(correlations[0])
        if not any(map(_delay_span, correlations)):
            mean = float(np.mean(np.concatenate(u)))
            squares = [(part - mean) ** 2 for part in u]
            correlations = [_prewhitened_correlation(squares, parts, longest) for parts in y_parts]
        firsts = []
        for correlation in correlations:
            span = _delay_span(correlation)
            if span is None:
                continue
            first, last = span
            if steps:
                first = max(first, steps + 1)
                last = min(max(last, first + 1), longest)
            firsts.append(first)
            for delay in range(first, last + 1):
                value = float(abs(correlation.values[longest + delay]))
                strength[delay] = max(strength.get(delay, 0.0), value)
        first_delays.append(min(firsts, default=None))
    by_strength = sorted((-value, delay) for delay, value in strength.items())
    strongest = sorted(delay for _, delay in by_strength[:most])
    return tuple(strongest), tuple(first_delays), tuple(ccf)


def arx_order(
    *experiments: Experiment, longest: int = 10, criterion: Literal["aic", "bic"] = "bic"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(input delays, feedback delays) of the linear ARX model with the least Akaike or Schwarz
    criterion.

    All models up to `longest` past outputs and inputs are fitted to the same rows; inputs begin at
    their shortest dead time, looked for up to `LONGEST_DEAD_TIME` steps, also where only
    `choose_delays` finds one that the models would not reach. `InputError` for too few
    rows, and for another criterion.
    """
    require_whole(1, longest=longest)
    if criterion not in ("aic", "bic"):
        raise InputError(f"`criterion` is {criterion!r}; wanted 'aic' or 'bic'.")
    inputs, outputs = count_columns(experiments)
    Standardization.fit(experiments)  # refuses a constant y
    reach = min(LONGEST_DEAD_TIME, min(map(len, experiments)) // 4)
    with limit_to_one_thread():
        steps = dead_times(experiments, reach)
        held_back = min(steps, default=0)
        if held_back == 0 and reach >= longest:
            delays, *_ = _choose_input_delays(experiments, steps, reach, MOST_DELAYS)
            if min(delays, default=0) >= longest:  # none of the models from 0 on sees these
                held_back = min(delays) - 1
    begun = [e.with_arrays(u=delay_inputs(e.u, [held_back] * inputs)) for e in experiments]
    x, y = arx_regressors(begun, longest, longest)
    if len(y) <= x.shape[1]:
        raise InputError(
            f"{len(y)} whole rows for ARX models of {x.shape[1]} weights; wanted more. Lower"
            " `longest`."
        )
    penalty = float(np.log(len(y))) if criterion == "bic" else 2.0
    scores = {}
    first_u = longest * outputs
    with limit_to_one_thread():
        for y_delays in range(1, longest + 1):
            past = [-1, *range(y_delays * outputs)]
            errors = nested_deviances(x[:, [*past, *range(first_u, first_u + longest * inputs)]], y)
            for u_delays in range(1, longest + 1) if inputs else (0,):
                columns = len(past) + u_delays * inputs
                scores[u_delays, y_delays] = errors[columns] + penalty * outputs * columns
    u_delays, y_delays = min(scores, key=scores.__getitem__)
    return tuple(range(held_back, held_back + u_delays)), tuple(range(1, y_delays + 1))


def _feedback_delays(acf: Correlation) -> list[int]:
    """Delays of y from its autocorrelation: the first ones without a break, and the later peaks."""
    partial = np.abs(partial_autocorrelation(acf.values))
    is_significant = partial > _shared_band(acf, len(partial) - 1)
    last = int(np.argmin(np.append(is_significant[1:], False)))
    size = np.abs(acf.values)
    peaks = [
        k
        for k in range(last + 1, len(size) - 1)
        if size[k] >= size[k - 1] and size[k] > size[k + 1] and is_significant[k]
    ]
    return [*range(1, last + 1), *peaks]


def _delay_span(ccf: Correlation) -> tuple[int, int] | None:
    """(first delay beyond the band, one after the highest peak); None when all are within it."""
    size = np.where(ccf.lags >= 0, np.abs(ccf.values), 0.0)
    significant = ccf.lags[size > _shared_band(ccf, len(ccf.lags) // 2 + 1)]
    if not len(significant):
        return None
    peak = int(ccf.lags[np.argmax(size)])
    return int(significant[0]), min(peak + 1, int(ccf.lags[-1]))


def _shared_band(correlation: Correlation, lags: int) -> float:
    """The band with its 5 % shared among so many lags (Bonferroni)."""
    return correlation.band * float(ndtri(1 - 0.025 / lags) / ndtri(0.975))


def _prewhitened_correlation(u: list[Array], y: list[Array], longest: int) -> Correlation:
    """Cross-correlation after the filter that makes the input white, as far as y has rows without a
    gap for it.
    """
    u_mean = float(np.mean(np.concatenate(u)))
    y_mean = float(np.nanmean(np.concatenate(y)))
    stretch = longest_stretch([part[:, None] for part in y])
    if stretch < 2:
        raise InputError(
            "An output is never observed in two rows in a row, so it cannot pass the filter that"
            " makes the input white. Fill the gaps of y."
        )
    orders = range(1, min(longest, 10, stretch - 1) + 1)
    # a longer filter leaves few rows of an output with many gaps
    n_whole = [_count_whole(y, order) for order in orders]
    most = max(order for order, n in zip(orders, n_whole, strict=True) if 2 * n >= n_whole[0])
    taps = _autoregression([part - u_mean for part in u], most)
    order = len(taps) - 1
    white = [np.convolve(part - u_mean, taps)[order : len(part)] for part in u]
    filtered = [np.convolve(part - y_mean, taps)[order : len(part)] for part in y]
    return cross_correlation(white, filtered, longest)


def _count_whole(parts: list[Array], order: int) -> int:
    """The rows that are observed, and `order` rows before them."""
    long = [np.isfinite(part) for part in parts if len(part) > order]
    return sum(int(sliding_window_view(part, order + 1).all(axis=1).sum()) for part in long)


def _autoregression(parts: list[Array], longest: int) -> Array:
    """[1, -a_1, ..., -a_p]: least squares, the order by Schwarz's criterion."""
    x, y = arx_regressors([Experiment(None, part) for part in parts], 0, longest)
    x = x[:, :-1]  # no constant
    criteria = nested_deviances(x, y) + np.log(len(y)) * np.arange(longest + 1)
    order = int(np.argmin(criteria))
    return np.append(1.0, -np.linalg.lstsq(x[:, :order], y, rcond=None)[0])
