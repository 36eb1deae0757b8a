"""Which numeric columns of a file lead its target: their past helps to forecast it (`forecast
add`).

`find_leading` fits a linear map of the target's own lags, its seasons and the time of the week on
the train rows of an entry that `add` writes. A column leads where the map that also reads its lags
has a mean absolute error on the validation rows that is lower by a tenth. Most columns tell nothing
that the target does not tell itself, and harm where they leave the range that they were fitted in
(docs/research/quarter-hour.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.config.transforms import Formula
from forecast.data.guesses.spans import Spans

MIN_GAIN = 0.1
"""The share of its error by which a map has to be better with the column than without it."""
LAGS = 25
"""At most so many of the newest rows are read."""
STEPS = 8
"""At most so many steps of the horizon are forecast."""
TRAIN_SHARE = 0.6
"""Of the rows of a series: where its validation rows begin."""
FITTED_SHARE = 0.75
"""Of the rows of an entry that `add` writes: those of its train and validation blocks, unless
intervals need more.
"""
MIN_HORIZONS = 12
"""A series with fewer validation rows than so many horizons have is not looked at."""
MAX_CUTOFFS = 5_000
"""Of a file of more rows only every second one, or third, ... is a cutoff."""
PENALTY = 1e-3
"""The ridge's penalty as a share of the mean square of an input."""


class Cutoffs(NamedTuple):
    """What maps read and forecast at the n cutoffs of a block, of all series."""

    target_features: np.ndarray
    """(n, features): the target's own lags and seasons, and the time."""
    column_lags: np.ndarray
    """(n, columns, lags): the newest values of every column that may lead."""
    change: np.ndarray
    """(n, steps): the change of the target from its newest value."""

    def choose(self, is_chosen: np.ndarray) -> Cutoffs:
        """The cutoffs where `is_chosen` (n,) holds."""
        return Cutoffs(*(array[is_chosen] for array in self))


def find_leading(
    observed: pd.DataFrame, target: Any, columns: list[Any], spans: Spans, to_model_units: Formula
) -> list[Any]:
    """The numeric `columns` that lead `target`, whose transform is `to_model_units`."""
    spacing = -(-len(observed) // MAX_CUTOFFS)
    train_blocks, validation_blocks = [], []
    if columns:
        for _, rows in observed.groupby("unique_id"):
            blocks = _read_series(rows, target, columns, spans, to_model_units, spacing)
            if blocks is not None:
                train_blocks.append(blocks[0])
                validation_blocks.append(blocks[1])
    if not train_blocks:
        return []
    train, validation = _join_blocks(train_blocks), _join_blocks(validation_blocks)
    limit = (1 - MIN_GAIN) * _validation_error(train, validation, None)
    return [
        name
        for index, name in enumerate(columns)
        if _validation_error(train, validation, index) <= limit
    ]


def _join_blocks(blocks: list[Cutoffs]) -> Cutoffs:
    """The cutoffs of several series as one."""
    return Cutoffs(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))


def _read_series(
    rows: pd.DataFrame,
    target: Any,
    columns: list[Any],
    spans: Spans,
    to_model_units: Formula,
    spacing: int,
) -> tuple[Cutoffs, Cutoffs] | None:
    """The train and the validation cutoffs of a series, one in every `spacing` rows; None for a
    series that is too short. Every column is centred and divided as its train rows say.
    """
    season, horizon, lookback = spans
    n_train, n_fitted = int(TRAIN_SHARE * len(rows)), int(FITTED_SHARE * len(rows))
    cutoffs = np.arange(max(lookback, season) - 1, n_fitted - horizon, spacing)
    is_train = cutoffs < n_train - horizon
    if n_fitted - n_train < MIN_HORIZONS * horizon or is_train.sum() < 2:
        return None
    filled = rows[[target, *columns]].astype(float).ffill()
    filled[target] = to_model_units(filled[target].to_numpy())
    train_rows = filled[:n_train]
    values = ((filled - train_rows.mean()) / train_rows.std().replace(0, 1)).to_numpy()
    times = pd.DatetimeIndex(rows["ds"])[cutoffs]
    lags = values[cutoffs[:, None] - np.arange(min(lookback, LAGS))]
    steps = np.unique(np.linspace(1, horizon, min(horizon, STEPS)).round().astype(int))
    whole = Cutoffs(
        _describe_target(values[:, 0], lags[:, :, 0], cutoffs, times, steps, spans),
        np.nan_to_num(lags[:, :, 1:].swapaxes(1, 2)),
        values[cutoffs[:, None] + steps, 0] - lags[:, :1, 0],
    )
    is_known = np.isfinite(whole.target_features).all(axis=1)
    is_known &= np.isfinite(whole.change).all(axis=1)
    return whole.choose(is_known & is_train), whole.choose(is_known & (cutoffs >= n_train))


def _describe_target(
    values: np.ndarray,
    lags: np.ndarray,
    cutoffs: np.ndarray,
    times: pd.DatetimeIndex,
    steps: np.ndarray,
    spans: Spans,
) -> np.ndarray:
    """(n, features): the newest value, and as changes from it the other `lags` (n, lags) and the
    same step of the last season, and of the last seven where the lookback holds them; the time of
    the week and of the season as waves.
    """
    newest = lags[:, :1]
    season_ago = -(-steps // spans.season) * spans.season
    delays = [season_ago]
    if 7 * spans.season <= spans.lookback:
        delays.append(np.maximum(season_ago, 7 * spans.season))
    targets = cutoffs[:, None] + steps
    seasonal = [values[np.maximum(targets - delay, 0)] - newest for delay in delays]
    week = np.asarray(times.day_of_week + times.hour / 24) / 7
    turns = np.hstack([np.outer(week, (1, 2, 3)), np.outer(cutoffs / spans.season, (1, 2))])
    waves = [np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)]
    return np.hstack([newest, lags[:, 1:] - newest, *seasonal, *waves])


def _validation_error(train: Cutoffs, validation: Cutoffs, index: int | None) -> float:
    """Mean absolute error on `validation` of the ridge that also reads the lags of column `index`;
    None: of no column.
    """
    x, x_validation = train.target_features, validation.target_features
    if index is not None:
        x = np.hstack([x, train.column_lags[:, index]])
        x_validation = np.hstack([x_validation, validation.column_lags[:, index]])
    mean, mean_change = x.mean(axis=0), train.change.mean(axis=0)
    centred = x - mean
    products = centred.T @ centred
    penalty = PENALTY * np.trace(products) / len(products) + np.finfo(float).tiny
    products += penalty * np.eye(len(products))
    slopes = np.linalg.solve(products, centred.T @ (train.change - mean_change))
    expected = mean_change + (x_validation - mean) @ slopes
    return float(np.abs(validation.change - expected).mean())
