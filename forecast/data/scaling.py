"""Transforms and scales values to what a model sees, and forecasts back to raw units.

`z = (transform(value) - centre) / scale`. Centre and scale are the mean and standard deviation of
the train rows of a series; with `difference_inputs` the scale is the standard deviation of the
one-step changes, so that one-step errors are of order one however far the level has wandered.

A `Scaling` is fitted once per problem and saved with every model. It also hides wild values, such
as a reading without its decimal point, from models (`hide_wild`, by its `wild_limits`; scores use
all values), and clips inputs that are far outside of their train range (`ranges`) to that range
extended by its width (`input_bounds`), since a linear model extrapolates without limit.

The bounds `minimum` and `maximum` of a target cut off forecasts here (`invert_transform`), interval
ends in `forecaster.intervals` and forecasts of the mean in `forecaster.reconciliation`; values of
the data outside of them are refused (`check_transforms`, `forecaster.serving`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.task import Task, TaskColumn
from forecast.config.transforms import TRANSFORMS
from forecast.data.calendars import format_times
from forecast.data.panel import Panel, Series
from forecast.data.schema import first_true
from forecast.data.splits import Blocks
from forecast.system import files
from forecast.system.errors import InputError

WILD_SPANS = 30
"""A value is wild where it is below the 5 % or above the 95 % quantile of the train rows by more
than this many times the distance of the two quantiles. Real values of the panels are within 22 of
it: docs/research/quarter-hour.md.
"""
MIN_ROWS_FOR_LIMITS = 20
"""A column with fewer observed train rows has neither wild limits nor a range."""


def transform_column(values: np.ndarray, column: TaskColumn, unique_id: str = "") -> np.ndarray:
    """(T,) raw values of a column in model units. NaN stays NaN, and the change after a NaN is NaN.
    `InputError` for a value that the transform cannot take.
    """
    transform = TRANSFORMS[column.transform]
    is_wrong = (values <= transform.lower) | (values >= transform.upper)
    if np.isfinite(transform.lower) and is_wrong.any():
        row = first_true(is_wrong)
        raise InputError(
            f"Column {column.frame_name!r} of series {unique_id!r} has {values[row]:g} at row"
            f" {row}; `transform: {column.transform}` needs values above {transform.lower:g} and"
            f" below {transform.upper:g}. Use `none` or `diff`, or correct the data."
        )
    units = transform.to_model_units(values)
    return np.diff(units, prepend=np.nan) if transform.takes_changes else units


def transform_columns(values: np.ndarray, task: Task, unique_id: str) -> np.ndarray:
    """(T, C): the values of all columns in model units, see `transform_column`."""
    columns = [
        transform_column(column_values, column, unique_id)
        for column_values, column in zip(values.T, task.columns, strict=True)
    ]
    return np.stack(columns, axis=1)


def check_transforms(frame: pd.DataFrame, task: Task) -> None:
    """`InputError` for the first value of a prepared frame that the transform of its column cannot
    take, or that is outside of the `minimum` and `maximum` of its target.
    """
    columns = [
        column
        for column in task.columns
        if column.transform != "none" or np.isfinite(column.limits).any()
    ]
    for unique_id, rows in frame.groupby("unique_id", sort=True) if columns else ():
        for column in columns:
            values = rows[column.frame_name].to_numpy(dtype=np.float64)
            low, high = column.limits
            is_outside = (values < low) | (values > high)
            if is_outside.any():
                row = first_true(is_outside)
                time = format_times(rows["ds"].iloc[[row]], task.calendar)
                raise InputError(
                    f"Target {column.name!r} of series {unique_id!r} has {values[row]:g} at {time},"
                    f" outside of its bounds {low:g} to {high:g}. Correct the value, or `minimum`"
                    " and `maximum` of the target."
                )
            transform_column(values, column, str(unique_id))


def invert_transform(units: np.ndarray, column: TaskColumn, last_raw: np.ndarray) -> np.ndarray:
    """(n, H) forecasts of a target from model units to raw units, clipped to the target's `minimum`
    and `maximum`. last_raw (n,): the last observed raw value.
    """
    transform = TRANSFORMS[column.transform]
    if transform.takes_changes:
        units = transform.to_model_units(last_raw)[:, None] + np.cumsum(units, axis=1)
    return np.clip(transform.to_raw(units), *column.limits)


@dataclass(frozen=True)
class Scaling:
    """Centre and scale of every column (C,) by `unique_id`, and further statistics."""

    centre: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]
    wild_limits: dict[str, np.ndarray]
    """By series (2, C): the lowest and highest raw value that is not wild; NaN where no value
    counts as wild.
    """
    ranges: dict[str, np.ndarray]
    """By series (2, C): minimum and maximum of the train rows, of the values that `judged_units`
    gives. The steps of one plan have a common range. NaN where the rows are too few.
    """

    @classmethod
    def fit(cls, panel: Panel, blocks: dict[str, Blocks]) -> Scaling:
        """The scaling of the train rows of every series; `blocks` by `unique_id`."""
        scaling = cls({}, {}, {}, {})
        for series in panel.series:
            uid = series.unique_id
            train = slice(*blocks[uid].train)
            limits = [_find_wild_limits(values) for values in series.values[train].T]
            scaling.wild_limits[uid] = np.transpose(limits)
            units = transform_columns(scaling.hide_wild(series)[train], panel.task, uid)
            statistics = [
                _centre_and_scale(values, column)
                for values, column in zip(units.T, panel.task.columns, strict=True)
            ]
            scaling.centre[uid], scaling.scale[uid] = np.array(statistics).T
        return scaling.with_ranges_of(
            panel, {uid: of_series.train for uid, of_series in blocks.items()}
        )

    def with_ranges_of(self, panel: Panel, rows: Mapping[str, tuple[int, int]]) -> Scaling:
        """The same scaling with the ranges of other rows: `rows` gives [start, stop) by
        `unique_id`, such as all rows that a model is fitted on.

        A column that is constant in a series gets the range over all series: a model may have
        learnt from the others what another value does, such as the first promotion of a shop.
        """
        ranges = np.stack(
            [
                _find_ranges(self.hide_wild(series)[slice(*rows[uid])], panel.task, uid)
                for uid, series in panel.by_id.items()
            ]
        )
        range_of_all = np.stack([np.fmin.reduce(ranges[:, 0]), np.fmax.reduce(ranges[:, 1])])
        ranges = np.where(ranges[:, :1] == ranges[:, 1:], range_of_all, ranges)
        return replace(self, ranges=dict(zip(panel.by_id, ranges, strict=True)))

    def of_series(self, unique_ids: Collection[str]) -> Scaling:
        """The scaling of some of the series alone, unchanged."""
        return Scaling(
            *({uid: by_series[uid] for uid in unique_ids} for by_series in vars(self).values())
        )

    @classmethod
    def join(cls, parts: Iterable[Scaling]) -> Scaling:
        """One scaling of the series of all `parts`."""
        joined = cls({}, {}, {}, {})
        for part in parts:
            for name, statistics in vars(part).items():
                getattr(joined, name).update(statistics)
        return joined

    def hide_wild(self, series: Series) -> np.ndarray:
        """(T, C) raw values, with NaN for a wild value that follows one which is not wild. Of
        several wild values in a row only the first is hidden: the others show that the level has
        moved.
        """
        low, high = self._statistics_of(series, self.wild_limits)
        is_wild = (series.values < low) | (series.values > high)
        is_wild[1:] &= ~is_wild[:-1]
        return np.where(is_wild, np.nan, series.values)

    def input_bounds(self, unique_id: str) -> np.ndarray:
        """(2, C) in `judged_units`, of targets too: the range of a series, extended by its width on
        both sides; infinite where there is no range.
        """
        low, high = self.ranges[unique_id]
        bounds = np.stack([low - (high - low), high + (high - low)])
        return np.where(np.isnan(bounds), [[-np.inf], [np.inf]], bounds)

    def scale_series(self, series: Series, task: Task) -> np.ndarray:
        """(T, C) float64 in scaled units, NaN where missing; inputs are clipped to
        `input_bounds`.
        """
        units = transform_columns(self.hide_wild(series), task, series.unique_id)
        if len(task.columns) > len(task.target):
            self._clip_inputs(units, task, series.unique_id)
        return (units - self._statistics_of(series, self.centre)) / self._statistics_of(
            series, self.scale
        )

    def _clip_inputs(self, units: np.ndarray, task: Task, unique_id: str) -> None:
        """Clips the inputs in `units` (T, C) to `input_bounds`, in place; of one that is read as
        changes these, so that its later level moves too.
        """
        inputs = slice(len(task.target), None)
        values = judged_units(units, task)[:, inputs]
        clipped = np.clip(values, *self.input_bounds(unique_id)[:, inputs])
        excess = np.nancumsum(values - clipped, axis=0)
        is_change = reads_changes(task)[inputs]
        units[:, inputs] = np.where(is_change, units[:, inputs] - excess, clipped)

    def hold_to_range(self, forecasts: np.ndarray, last: np.ndarray, unique_id: str) -> np.ndarray:
        """Scaled forecasts (n, H, O), held to `input_bounds`; behind rows that left them, to the
        width of the range around the last value, `last` (n, O). What multiplies has no end; what is
        infinite stays, as a sign that a model diverged.
        """
        targets = slice(last.shape[1])
        bounds = self.input_bounds(unique_id)[:, targets] - self.centre[unique_id][targets]
        low, high = bounds / self.scale[unique_id][targets]
        width = (high - low) / 3
        limited = np.clip(
            forecasts, np.fmin(low, last - width)[:, None], np.fmax(high, last + width)[:, None]
        )
        return np.where(np.isinf(forecasts), forecasts, limited)

    def unscale(self, z: np.ndarray, unique_id: str, output: int) -> np.ndarray:
        """Scaled values of one target in model units."""
        return z * self.scale[unique_id][output] + self.centre[unique_id][output]

    def bytes_of(self, series: Series) -> bytes:
        """The statistics of one series as bytes: equal bytes scale a series equally."""
        parts = [self._statistics_of(series, by_series) for by_series in vars(self).values()]
        return b"".join(part.tobytes() for part in parts)

    def to_json(self) -> dict[str, dict[str, list[Any]]]:
        """By series, every field as a list (centre, scale, wild_limits, ranges)."""
        return {
            uid: {name: files.json_number(by_series[uid]) for name, by_series in vars(self).items()}
            for uid in sorted(self.centre)
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Mapping[str, list[Any]]]) -> Scaling:
        """The scaling that `to_json` wrote."""
        return cls(
            *(
                {uid: np.array(entry[name], dtype=float) for uid, entry in content.items()}
                for name in cls.__dataclass_fields__
            )
        )

    def _statistics_of(self, series: Series, statistics: dict[str, np.ndarray]) -> np.ndarray:
        """One field's values for one series; `InputError` for a series that was not trained on."""
        if series.unique_id not in statistics:
            raise InputError(
                f"Series {series.unique_id!r} was not in the training data; known:"
                f" {sorted(statistics)}. Retrain with that series, or ask for a known one."
            )
        return statistics[series.unique_id]


def _find_wild_limits(values: np.ndarray) -> tuple[float, float]:
    """The lowest and highest value that is not wild, from the train rows (T,) of a column. NaN with
    fewer than `MIN_ROWS_FOR_LIMITS` observed rows, or equal quartiles, as for rain or rare sales.
    """
    observed = values[np.isfinite(values)]
    if len(observed) < MIN_ROWS_FOR_LIMITS:
        return np.nan, np.nan
    low, first_quarter, third_quarter, high = np.quantile(observed, (0.05, 0.25, 0.75, 0.95))
    margin = WILD_SPANS * (high - low) if third_quarter > first_quarter else np.nan
    return low - margin, high + margin


def judged_units(units: np.ndarray, task: Task) -> np.ndarray:
    """(T, C): the values that are compared with the range of each column, from `units` (T, C). They
    are the model units; for an input with `difference_inputs`, whose level may wander, the changes
    since the last observed value.
    """
    judged = units.copy()
    for column in np.flatnonzero(reads_changes(task)):
        rows = np.flatnonzero(np.isfinite(units[:, column]))
        judged[rows, column] = np.diff(units[rows, column], prepend=np.nan)
    return judged


def reads_changes(task: Task) -> np.ndarray:
    """(C,): whether each column is an input with `difference_inputs`."""
    inputs = task.columns[len(task.target) :]
    return np.array([False for _ in task.target] + [column.difference_inputs for column in inputs])


def _find_ranges(values: np.ndarray, task: Task, unique_id: str) -> np.ndarray:
    """(2, C): minimum and maximum of the `judged_units` of each column, from its raw values (T, C);
    the steps of one plan have a common range. NaN with fewer than `MIN_ROWS_FOR_LIMITS` observed
    rows, and for inputs that are computed from the date and so cannot be mistyped.
    """
    judged = judged_units(transform_columns(values, task, unique_id), task)
    ranges = np.stack([np.fmin.reduce(judged), np.fmax.reduce(judged)])
    ranges[:, np.isfinite(judged).sum(axis=0) < MIN_ROWS_FOR_LIMITS] = np.nan
    typed_ranges = ranges.copy()
    typed_ranges[:, len(task.observed_names) :] = np.nan
    for steps in task.plan_columns.values():
        low, high = ranges[:, steps]
        typed_ranges[:, steps] = [[np.fmin.reduce(low)], [np.fmax.reduce(high)]]
    return typed_ranges


def _centre_and_scale(values: np.ndarray, column: TaskColumn) -> tuple[float, float]:
    """Centre and scale of one column from its train rows (T,) in model units; (0, 1) without
    values. With `difference_inputs` the scale is that of the changes, which may span missing rows.
    Where the values or these changes are constant it is one, so that they become zeros rather than
    infinities.
    """
    observed = values[np.isfinite(values)]
    if len(observed) == 0:
        return 0.0, 1.0
    spreading = np.diff(observed) if column.difference_inputs else observed
    spread = float(np.std(spreading)) if len(spreading) else 0.0
    centre = float(np.mean(observed))
    return centre, spread if spread > 1e-12 * abs(centre) else 1.0
