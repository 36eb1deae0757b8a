"""Long records that move slowly, searched on means of several rows and simulated row by row.

For the search of `identify`, which trains on some thousand rows: of a record with time constants of
hundreds of rows they show a few of these, and the noise of every row. `count_averaged_rows` says
over how many rows means lose nothing, `average_rows` takes them, and `spread_over_rows` makes of a
model of the means one of the rows themselves, where training on the free run goes on.
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
LEAST_MEANS = 1_000  # of each experiment: fewer tell too little
LEAST_ROWS = 4  # in a mean: fewer save nothing
MOST_LOST_Y = 1e-4  # of the variance of y without its noise, within the rows of a mean
MOST_LOST_U = 0.01  # the same of an input, whose noise acts as well
MOST_AT_ONCE = 0.05  # deviations of y for one of an input, within the rows of a mean
MOST_NOISE = 0.1  # of the variance of y: more is movement from row to row
NOISE_ERRORS = 5.0  # standard errors, about: so much noise may be more than it is taken for


def count_averaged_rows(experiments: Sequence[Experiment], start: int) -> int:
    """The rows, 1 or a power of two, whose means lose next to nothing of how u and y move; 1 of
    records that can be searched whole, and without inputs.

    What y moves from row to row against its neighbours counts as noise.
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
        u = np.concatenate([_within(e.u, wider) for e in scaled])
        y = np.concatenate([_within(e.y, wider) for e in scaled])
        lost_y = _mean_square([y]) - noise * (1 - 1 / wider)
        # noise is known as well as so many rows tell
        lost_y -= NOISE_ERRORS * noise / np.sqrt(len(y))
        at_once = u.T @ np.nan_to_num(y) / np.maximum((u**2).sum(axis=0), 1e-300)[:, None]
        if (
            (_mean_square([u]) > MOST_LOST_U).any()
            or (lost_y > MOST_LOST_Y).any()
            or (np.abs(at_once) > MOST_AT_ONCE).any()
        ):
            break
        rows = wider
    means = begin_where_measured(average_rows(experiments, rows), start)
    return rows if rows >= LEAST_ROWS and len(means) == len(experiments) else 1


def average_rows(experiments: Sequence[Experiment], rows: int) -> list[Experiment]:
    """Each as means of so many rows, without those that fill no mean; y is the mean of what is
    measured, and counts by its share of the rows.
    """
    if rows == 1:
        return list(experiments)
    means = []
    for e in experiments:
        u, y, weight = (_split(table, rows) for table in (e.u, e.y, e.error_weights))
        means.append(
            e.with_arrays(u=u.mean(axis=1), y=_mean_measured(y), weight=weight.mean(axis=1))
        )
    return means


def spread_over_rows(member: Member, rows: int) -> Member:
    """A net with states on means of so many rows as the net that takes this share of its step in
    every row, and so has the same static gain (Euler's method backwards).
    """
    net, weights = member.net, member.weights.copy()
    layer = OneLayer(net.regressors, net.hidden, net.outputs, net.linear)
    _, _, w2, b2, w3 = layer.split(weights)
    stay = np.eye(net.outputs)
    w3[:, : net.outputs] -= stay
    for part in (w2, b2, w3):
        part /= rows
    w3[:, : net.outputs] += stay
    return replace(member, weights=weights, run=None)


def _split(table: Array, rows: int) -> Array:
    """(means, rows, columns) of (T, columns), without the last rows that fill no mean."""
    return table[: len(table) // rows * rows].reshape(-1, rows, table.shape[1])


def _within(table: Array, rows: int) -> Array:
    """(T', columns): what is left of the rows beside their means."""
    parts = _split(table, rows)
    return (parts - _mean_measured(parts)[:, None]).reshape(-1, table.shape[1])


def _mean_measured(parts: Array) -> Array:
    """(means, columns): of the values that are measured, NaN where none is."""
    n_measured = np.isfinite(parts).sum(axis=1)
    return np.where(n_measured, np.nansum(parts, axis=1) / np.maximum(n_measured, 1), np.nan)


def _mean_square(tables: Sequence[Array]) -> Array:
    """(columns,): over the values of all tables (T, columns) that are measured."""
    return np.asarray(np.nanmean(np.concatenate(tables) ** 2, axis=0))
