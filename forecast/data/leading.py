"""Finds the numeric columns of a file that lead its target: their past helps to forecast it. For
`forecast add`.

`find_leading_columns` fits a ridge regression on the target's lags, its last seasons and the time
of the week, on the first 60 % of each series' rows, the train block of most entries that `add`
writes. A column leads where the column's lags lower the regression's mean absolute error on the
next 15 % of the rows by at least a tenth. Most columns add nothing to the target's own past, and
harm where they leave the range that they were fitted in (docs/research/quarter-hour.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.config.transforms import Formula
from forecast.data.guesses.spans import FITTED_SHARE, Spans

MIN_GAIN = 0.1
"""The least share by which a column has to lower the error."""
MOST_LAGS = 25
"""The most lags that the regression has, of the target and of a column."""
MOST_STEPS = 8
"""The most steps of the horizon that are compared."""
TRAIN_SHARE = 0.6
"""The share of a series' rows that are train rows here, whatever blocks its entry will have."""
MIN_HORIZONS = 12
"""A series is skipped where its validation rows hold fewer horizons."""
MAX_SERIES = 100
"""The most series that are looked at: of more, those at evenly spaced rows."""
MAX_CUTOFFS = 5_000
"""The most cutoffs: of a longer file only every second or third row is one, and so on."""
PENALTY = 1e-3
"""The ridge penalty as a share of the mean square of an input."""


class RegressionRows(NamedTuple):
    """What the regressions read and forecast at n cutoffs, of one series or of several."""

    target_features: np.ndarray
    """(n, features): the target's lags and seasons, and the time."""
    column_lags: np.ndarray
    """(n, columns, lags): the newest values of each of the other columns."""
    change: np.ndarray
    """(n, steps): the target's change from the cutoff to each step."""

    def choose(self, is_chosen: np.ndarray) -> RegressionRows:
        """The cutoffs for which `is_chosen` (n,) is true."""
        return RegressionRows(*(array[is_chosen] for array in self))


def find_leading_columns(
    observed: pd.DataFrame, target: Any, columns: list[Any], spans: Spans, to_model_units: Formula
) -> list[Any]:
    """The `columns` (numeric) that lead `target`.

    observed: long frame, rows of a series in order of time. to_model_units: the transform of the
    target.
    """
    names = observed["unique_id"]
    if names.nunique() > MAX_SERIES:
        rows_to_name = np.linspace(0, len(names) - 1, MAX_SERIES).astype(int)
        observed = observed[names.isin(names.iloc[rows_to_name])]
    spacing = -(-len(observed) // MAX_CUTOFFS)
    train_blocks, validation_blocks = [], []
    if columns:
        for _, rows in observed.groupby("unique_id"):
            blocks = _regression_rows(rows, target, columns, spans, to_model_units, spacing)
            if blocks is not None:
                train_blocks.append(blocks[0])
                validation_blocks.append(blocks[1])
    if not train_blocks:
        return []
    train, validation = _join_series(train_blocks), _join_series(validation_blocks)
    limit = (1 - MIN_GAIN) * _validation_error(train, validation, None)
    return [
        name
        for index, name in enumerate(columns)
        if _validation_error(train, validation, index) <= limit
    ]


def _join_series(blocks: list[RegressionRows]) -> RegressionRows:
    """The cutoffs of several series as one table."""
    return RegressionRows(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))


def _regression_rows(
    rows: pd.DataFrame,
    target: Any,
    columns: list[Any],
    spans: Spans,
    to_model_units: Formula,
    spacing: int,
) -> tuple[RegressionRows, RegressionRows] | None:
    """The train and the validation cutoffs of one series, every `spacing`-th row; None for a series
    that is too short. Columns are standardized by their train rows.
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
    lags = values[cutoffs[:, None] - np.arange(min(lookback, MOST_LAGS))]
    steps = np.unique(np.linspace(1, horizon, min(horizon, MOST_STEPS)).round().astype(int))
    all_rows = RegressionRows(
        target_features=_target_features(values[:, 0], lags[:, :, 0], cutoffs, times, steps, spans),
        column_lags=np.nan_to_num(lags[:, :, 1:].swapaxes(1, 2)),
        change=values[cutoffs[:, None] + steps, 0] - lags[:, :1, 0],
    )
    is_known = np.isfinite(all_rows.target_features).all(axis=1)
    is_known &= np.isfinite(all_rows.change).all(axis=1)
    return all_rows.choose(is_known & is_train), all_rows.choose(is_known & (cutoffs >= n_train))


def _target_features(
    values: np.ndarray,
    lags: np.ndarray,
    cutoffs: np.ndarray,
    times: pd.DatetimeIndex,
    steps: np.ndarray,
    spans: Spans,
) -> np.ndarray:
    """(n, features) of the target: its newest value; as differences from it, the other `lags` (n,
    lags) and the values one season before each step, and seven seasons before where the lookback
    holds them; sine and cosine of the time of the week and of the season.

    values: (T,) the target; cutoffs: (n,) row numbers; times: (n,) of the cutoffs; steps: rising,
    from 1 to the horizon, at most `MOST_STEPS` of them.
    """
    newest = lags[:, :1]
    season_ago = -(-steps // spans.season) * spans.season
    delays = [season_ago]
    if 7 * spans.season <= spans.lookback:
        delays.append(np.maximum(season_ago, 7 * spans.season))
    target_rows = cutoffs[:, None] + steps
    seasonal = [values[np.maximum(target_rows - delay, 0)] - newest for delay in delays]
    weeks = np.asarray(times.day_of_week + times.hour / 24) / 7
    turns = np.hstack([np.outer(weeks, (1, 2, 3)), np.outer(cutoffs / spans.season, (1, 2))])
    waves = [np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)]
    return np.hstack([newest, lags[:, 1:] - newest, *seasonal, *waves])


def _validation_error(
    train: RegressionRows, validation: RegressionRows, index: int | None
) -> float:
    """Mean absolute error on `validation` of a ridge regression fitted on `train`: on the target's
    features and, unless `index` is None, the lags of the column of that number.
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
