"""Which numbers of a file lead its target: what they were tells what it will be (`forecast add`).

`find_leading` asks it of a linear map of the target's own lags, its seasons and the time of the
week, fitted on the train rows of an entry that `add` writes: a number leads where the map that also
reads its lags has a mean absolute error on the validation rows that is lower by a tenth. Most
numbers tell nothing that the target does not tell itself, and harm where they leave the range that
they were fitted in (docs/research/quarter-hour.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.config.transforms import Formula

MIN_GAIN = 0.1
"""By which share of the error the map with a number has to be better."""
LAGS, STEPS = 25, 8
"""The newest rows that a map reads, and how many steps of the horizon it forecasts, at most."""
TRAIN_SHARE, FITTED_SHARE = 0.6, 0.75
"""Of the rows of a series: where its validation rows begin and end."""
MIN_HORIZONS, MAX_CUTOFFS = 20, 5_000
"""Of a series whose validation rows hold fewer horizons nothing is known to lead; of more than so
many cutoffs of a file an even share is looked at.
"""
PENALTY = 1e-3
"""Of the mean square of an input."""


class Spans(NamedTuple):
    """Of an entry, in steps."""

    horizon: int
    lookback: int
    season: int


class Cutoffs(NamedTuple):
    """What maps read and forecast, of the cutoffs of a block of all series."""

    own: np.ndarray
    """(n, features): of the target itself."""
    others: np.ndarray
    """(n, columns, lags)."""
    change: np.ndarray
    """(n, steps): of the target, from its newest value."""


def find_leading(
    observed: pd.DataFrame, target: Any, columns: list[Any], spans: Spans, to_units: Formula
) -> list[Any]:
    """Those of the numeric `columns` that lead `target`; `to_units`: its scale."""
    if not columns:
        return []
    every = -(-len(observed) // MAX_CUTOFFS)
    blocks = [
        block
        for _, rows in observed.groupby("unique_id")
        if (block := _read_series(rows, target, columns, spans, to_units, every)) is not None
    ]
    if not blocks:
        return []
    train, validation = (
        Cutoffs(*map(np.concatenate, zip(*part, strict=True))) for part in zip(*blocks, strict=True)
    )
    limit = (1 - MIN_GAIN) * _error(train, validation, None)
    return [
        name for number, name in enumerate(columns) if _error(train, validation, number) <= limit
    ]


def _read_series(
    rows: pd.DataFrame, target: Any, columns: list[Any], spans: Spans, to_units: Formula, every: int
) -> tuple[Cutoffs, Cutoffs] | None:
    """The train and the validation cutoffs of a series, every number in deviations of its train
    rows from their mean; None of one that is too short.
    """
    horizon, lookback, season = spans
    filled = rows[[target, *columns]].astype(float).ffill()
    filled[target] = to_units(filled[target].to_numpy())
    n_train, n_fitted = int(TRAIN_SHARE * len(rows)), int(FITTED_SHARE * len(rows))
    cutoffs = np.arange(max(lookback, season) - 1, n_fitted - horizon, every)
    is_train = cutoffs < n_train - horizon
    if n_fitted - n_train < MIN_HORIZONS * horizon or is_train.sum() < 2:
        return None
    train_rows = filled[:n_train]
    values = ((filled - train_rows.mean()) / train_rows.std().replace(0, 1)).to_numpy()
    past = values[cutoffs[:, None] - np.arange(min(lookback, LAGS))]
    newest = past[:, :1, 0]
    steps = np.unique(np.linspace(1, horizon, min(horizon, STEPS)).round().astype(int))
    goal = cutoffs[:, None] + steps
    seasons = [-(-steps // season) * season]
    if 7 * season <= lookback:
        seasons.append(np.maximum(seasons[0], 7 * season))
    before = [values[np.maximum(goal - each, 0), 0] - newest for each in seasons]
    clock = pd.DatetimeIndex(rows["ds"])[cutoffs]
    week = np.asarray(clock.day_of_week + clock.hour / 24) / 7
    turns = [np.outer(week, (1, 2, 3)), np.outer(cutoffs / season, (1, 2))]
    angles = 2 * np.pi * np.hstack(turns)
    own = np.hstack([newest, past[:, 1:, 0] - newest, *before, np.sin(angles), np.cos(angles)])
    others = np.nan_to_num(past[:, :, 1:].swapaxes(1, 2))
    change = values[goal, 0] - newest
    known = np.isfinite(own).all(axis=1) & np.isfinite(change).all(axis=1)
    train, validation = (
        Cutoffs(own[chosen], others[chosen], change[chosen])
        for chosen in (known & is_train, known & (cutoffs >= n_train))
    )
    return train, validation


def _error(train: Cutoffs, validation: Cutoffs, number: int | None) -> float:
    """Mean absolute error on `validation` of the ridge that reads this one of the columns too."""
    x, asked = (
        each.own if number is None else np.hstack([each.own, each.others[:, number]])
        for each in (train, validation)
    )
    mean, mean_change = x.mean(axis=0), train.change.mean(axis=0)
    centred = x - mean
    gram = centred.T @ centred
    gram.flat[:: len(gram) + 1] += PENALTY * np.trace(gram) / len(gram) + np.finfo(float).tiny
    slopes = np.linalg.solve(gram, centred.T @ (train.change - mean_change))
    return float(np.abs(validation.change - mean_change - (asked - mean) @ slopes).mean())
