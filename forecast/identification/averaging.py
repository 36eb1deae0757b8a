"""Means of several rows, on which the search of `identify` works where a long record moves slowly.

The search trains on some thousand rows, too few of a record with time constants of hundreds of
rows. `count_rows_per_mean` finds over how many rows means lose nothing, `average_rows` takes them,
and `spread_over_rows` turns a model of the means into one of the rows, which is trained further.

Means are tried for a record with inputs, little noise and more than `search_settings.SEARCH_ROWS`
rows. Only models with states can be spread (`SPREAD_KINDS`), so on means `search` leaves the
candidates "arx", "delays" and "polynomial" out; without a candidate that can be spread, nothing is
averaged. No other option forbids it: one would be a field of `SearchSettings`, asked where `search`
calls `count_rows_per_mean`. Any searched rows, averaged or not, are then cut to the stretches in
which y moves most (`search_settings.limit_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from forecast.identification.experiment import (
    Array,
    Experiment,
    Standardization,
    begin_where_measured,
)
from forecast.identification.member import Member
from forecast.identification.search_settings import SEARCH_ROWS, Kind
from forecast.training.one_layer import OneLayer

SPREAD_KINDS: tuple[Kind, ...] = ("states", "linear states", "one signal")
LEAST_MEANS = 1_000  # of each experiment
LEAST_ROWS = 4  # in a mean: fewer save nothing
MOST_LOST_Y = 1e-4  # of the variance of y within the rows of a mean, less its noise
MOST_LOST_U = 0.01  # the same of an input, whose noise counts, since it acts, too
MOST_NOISE = 0.1  # of the variance of y: more is motion from row to row
NOISE_ERRORS = 5.0  # standard errors, about, by which the noise may be underestimated


def count_rows_per_mean(experiments: Sequence[Experiment], start: int) -> int:
    """The most rows, 1 or a power of two, whose means lose next to nothing of the motion of u and
    y; 1 for records that can be searched whole, and without inputs.

    The motion of y from row to row against both neighbours counts as noise.
    """
    if sum(map(len, experiments)) <= SEARCH_ROWS or not experiments[0].u.size:
        return 1
    scaling = Standardization.fit(experiments)
    scaled = [scaling.scale(e) for e in experiments]
    noise = _mean_square([np.diff(e.y, 2, axis=0) for e in scaled]) / 6
    if (noise > MOST_NOISE).any():
        return 1
    rows = 1
    while 2 * rows * LEAST_MEANS <= min(map(len, scaled)):
        wider = 2 * rows
        lost_u = _mean_square([_within(e.u, wider) for e in scaled])
        y = np.concatenate([_within(e.y, wider) for e in scaled])
        # the noise is only estimated from the rows
        most_noise = noise * (1 - 1 / wider + NOISE_ERRORS / np.sqrt(len(y)))
        lost_y = _mean_square([y]) - most_noise
        if (lost_u > MOST_LOST_U).any() or (lost_y > MOST_LOST_Y).any():
            break
        rows = wider
    means = begin_where_measured(average_rows(experiments, rows), start)
    return rows if rows >= LEAST_ROWS and len(means) == len(experiments) else 1


def average_rows(experiments: Sequence[Experiment], rows: int) -> list[Experiment]:
    """The experiments as means of `rows` rows, without last rows that fill no mean; y is the mean
    of its measured values, weighted by their share of the rows.
    """
    means = []
    for e in experiments:
        u, y, weight = (_split(table, rows) for table in (e.u, e.y, e.error_weights))
        means.append(
            e.with_arrays(u=u.mean(axis=1), y=_mean_measured(y), weight=weight.mean(axis=1))
        )
    return means


def spread_over_rows(member: Member, rows: int) -> Member:
    """The member, a net with states on means of `rows` rows, as a net on the rows themselves: in
    each row it takes 1 / `rows` of its step, and so has the same static gain.

    On means its linear path sees u of the mean before, `rows` rows ago, and now u of the row
    before. So this input becomes u_t - rows * (u_t - u_{t-1}): without it an answer to the change
    of u, such as a direct path from u to y, would be `rows` times too small. The tanh units see the
    row before, since the difference enlarges the noise of u.
    """
    net, weights = member.net, member.weights.copy()
    layer = OneLayer(net.regressors, net.hidden, net.outputs, net.linear)
    _, _, w2, b2, w3 = layer.split(weights)
    _, of_u, of_past_u = np.split(w3, [net.outputs, net.outputs + net.inputs], axis=1)
    of_u += (1 - rows) * of_past_u
    of_past_u *= rows
    stay = np.eye(net.outputs)
    w3[:, : net.outputs] -= stay
    for part in (w2, b2, w3):
        part /= rows
    w3[:, : net.outputs] += stay
    return replace(member, weights=weights, run=None)


def _split(table: Array, rows: int) -> Array:
    """(means, rows, columns) of a table (T, columns), without last rows that fill no mean."""
    means = len(table) // rows
    return table[: means * rows].reshape(means, rows, table.shape[1])


def _within(table: Array, rows: int) -> Array:
    """(T', columns): the rows less the mean that they belong to."""
    parts = _split(table, rows)
    return (parts - _mean_measured(parts)[:, None]).reshape(-1, table.shape[1])


def _mean_measured(parts: Array) -> Array:
    """(means, columns): the mean of the measured values, NaN where none is measured."""
    n_measured = np.isfinite(parts).sum(axis=1)
    return np.where(n_measured, np.nansum(parts, axis=1) / np.maximum(n_measured, 1), np.nan)


def _mean_square(tables: Sequence[Array]) -> Array:
    """(columns,): the mean square of the measured values of all tables (T, columns)."""
    return np.asarray(np.nanmean(np.concatenate(tables) ** 2, axis=0))
