"""Windows of scaled rows as input channels of a model, made the same way in training, backtest and
service.

Each column of the task has a channel with its value, or with `difference_inputs` with its change
from the row before. A column that may be missing (`max_missing` > 0) has two more: a mask (1 =
observed) and the time since the last observation, log(1 + steps). A missing value is replaced by
the last observed one of the window. The first change of a window is unknown, as the row before is
not in the window: zero for `difference_inputs`, missing where the transform takes differences.

`layout` gives the `Layout` of the channels, `task_windows` the `Windows` that end at given rows.
`require_rows` refuses a cutoff without a whole lookback, or without the values of a plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from operator import attrgetter

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike

from forecast.config.task import FutureStep, Task, format_time
from forecast.config.transforms import TRANSFORMS
from forecast.data.calendars import next_steps
from forecast.data.panel import Series
from forecast.system.errors import InputError, plural

MAX_BATCH = 512
"""The most windows that `task_windows` gathers at once; the last digits of sums depend on it."""


@dataclass(frozen=True)
class Layout:
    """The channels of a window's `past`, by column of `Task.columns`.

    value[i]: the channel with the values of column i. mask[i], since[i]: the channels of its mask
    and of the time since the last observation, or -1. step[i]: for a future input, how many rows
    later its value is; 0 for observed columns. A future input has no mask, as the newest row holds
    everything known of the horizon. difference_inputs[i]: the channel holds changes, taken in the
    window; differenced[i]: the column's transform has taken changes before. outputs: the number of
    targets, which are the first columns. n_step_inputs: the number of calendar and static inputs,
    which are no channels of `past`.
    """

    value: tuple[int, ...]
    mask: tuple[int, ...]
    since: tuple[int, ...]
    difference_inputs: tuple[bool, ...]
    differenced: tuple[bool, ...]
    outputs: int
    step: tuple[int, ...]
    n_step_inputs: int

    @cached_property
    def future_channels(self) -> list[int]:
        """The channels of the future inputs, column by column in the order of their steps."""
        return [value for value, step in zip(self.value, self.step, strict=True) if step]

    @cached_property
    def plan_channels(self) -> list[int]:
        """For each future input the channel of its first step, which at row k - 1 holds the input's
        value of row k.
        """
        return [value for value, step in zip(self.value, self.step, strict=True) if step == 1]

    @cached_property
    def past_channels(self) -> list[int]:
        """The channels with the values of the past exogenous columns."""
        columns = list(zip(self.value, self.step, strict=True))[self.outputs :]
        return [value for value, step in columns if not step]

    @cached_property
    def n_channels(self) -> int:
        """The number of channels."""
        return max(*self.value, *self.mask, *self.since) + 1

    @cached_property
    def target_channels(self) -> tuple[int, ...]:
        """The channels with the values of the targets."""
        return self.value[: self.outputs]

    @cached_property
    def change_channels(self) -> tuple[int, ...]:
        """The channels that hold changes; in the first row of a window a change is zero."""
        changes = zip(self.value, self.difference_inputs, self.differenced, strict=True)
        return tuple(
            channel
            for channel, is_difference, is_differenced in changes
            if is_difference or is_differenced
        )


@lru_cache(maxsize=16)
def layout(task: Task) -> Layout:
    """The channels of a task; cached, as every batch of windows needs it."""
    value, mask, since = [], [], []
    channel = 0
    for column in task.columns:
        value.append(channel)
        has_mask = column.may_be_missing and not isinstance(column, FutureStep)
        mask.append(channel + 1 if has_mask else -1)
        since.append(channel + 2 if has_mask else -1)
        channel += 3 if has_mask else 1
    difference_inputs = tuple(c.difference_inputs for c in task.columns)
    differenced = tuple(TRANSFORMS[c.transform].takes_changes for c in task.columns)
    n_observed = len(task.observed_names)
    step = (*[0] * n_observed, *(column.step for column in task.future_steps))
    return Layout(
        tuple(value),
        tuple(mask),
        tuple(since),
        difference_inputs,
        differenced,
        len(task.target),
        step,
        task.n_step_inputs,
    )


def fill_gaps(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, is_observed, steps since the last observation), each (B, L, C), of z (B, L, C). A
    missing value becomes the last observed one of the same window, or 0 before the first one: none
    after it is read, on which sums over whole series rely (`models.long_windows`).
    """
    observed = np.isfinite(z)
    steps = np.arange(z.shape[1])[None, :, None]
    if observed.all():
        return z, observed, np.zeros_like(z)
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    values = np.take_along_axis(np.where(observed, z, 0.0), np.maximum(last, 0), axis=1)
    return np.where(last >= 0, values, 0.0), observed, (steps - last).astype(z.dtype)


def input_channels(z: np.ndarray, channels: Layout, dtype: DTypeLike = np.float32) -> np.ndarray:
    """(B, L, n_channels) inputs of scaled values (B, L, C), NaN where missing."""
    return _input_channels(*fill_gaps(z), channels, dtype)


def _input_channels(
    values: np.ndarray,
    observed: np.ndarray,
    since: np.ndarray,
    channels: Layout,
    dtype: DTypeLike,
) -> np.ndarray:
    """(B, L, n_channels) inputs of the three arrays (B, L, C) of `fill_gaps`."""
    result = np.empty((*values.shape[:2], channels.n_channels), dtype)
    for i, channel in enumerate(channels.value):
        column = values[:, :, i]
        if channels.difference_inputs[i]:
            known = np.maximum.accumulate(observed[:, :-1, i], axis=1)
            result[:, 1:, channel] = np.where(known, np.diff(column, axis=1), 0.0)
        else:
            result[:, :, channel] = column
        if channels.mask[i] >= 0:
            result[:, :, channels.mask[i]] = observed[:, :, i]
            result[:, :, channels.since[i]] = np.log1p(since[:, :, i])
    clear_first_row(result, channels)
    return result


def clear_first_row(past: np.ndarray, channels: Layout) -> None:
    """Sets the changes in the first row of `past` (B, L, channels) to unknown, in place: they
    depend on a row before the window.
    """
    past[:, 0, list(channels.change_channels)] = 0.0
    for i, is_differenced in enumerate(channels.differenced):
        if is_differenced and channels.mask[i] >= 0:
            past[:, 0, channels.mask[i]] = 0.0
            past[:, 0, channels.since[i]] = np.log1p(1.0)  # as if last observed a row before


@dataclass(frozen=True)
class Windows:
    """A batch of windows, each of `lookback` rows up to its cutoff.

    z (B, L, C) scaled values, NaN where missing; past (B, L, channels) float32, the cutoff last;
    future (B, L + H, F) float32, the L rows of `past`, then the H rows after the cutoff; last
    (B, O) the last observed scaled targets; rows (B,) the row numbers of the cutoffs; series (B,)
    their `unique_id`.
    """

    z: np.ndarray
    past: np.ndarray
    future: np.ndarray
    last: np.ndarray
    rows: np.ndarray
    series: np.ndarray

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.rows)

    def future_exogenous(self, channels: Layout) -> np.ndarray:
        """(B, K, S) float32: the K future inputs over the next S steps, as known at the cutoff."""
        steps = max(channels.step, default=0) or 1
        newest = self.past[:, -1, channels.future_channels]
        return newest.reshape(len(newest), newest.shape[1] // steps, steps)

    def with_targets_moved(self, shift: np.ndarray, channels: Layout) -> Windows:
        """The windows with `shift` (B, O) added to the targets in `past`; targets with
        `difference_inputs` stay as they are.
        """
        past = self.past.copy()
        for output, channel in enumerate(channels.target_channels):
            if not channels.difference_inputs[output]:
                past[:, :, channel] += shift[:, [output]]
        return replace(self, past=past)

    def select(self, index: np.ndarray | slice) -> Windows:
        """The windows at `index`: numbers, a mask (B,) or a slice."""
        return Windows(*(part[index] for part in vars(self).values()))

    @classmethod
    def concatenate(cls, parts: Sequence[Windows]) -> Windows:
        """The windows of several batches, of one or more series, in one batch."""
        arrays_by_field = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, arrays_by_field))


def count_windows_within(rows: int, task: Task) -> int:
    """How many windows have at most `rows` rows together; at least one."""
    return max(rows // task.lookback, 1)


def first_cutoff(task: Task) -> int:
    """The first row of a series that has a whole lookback."""
    return task.lookback - 1


def gather_windows(
    z: np.ndarray,
    future: np.ndarray,
    rows: np.ndarray,
    channels: Layout,
    lookback: int,
    horizon: int,
    unique_id: str = "",
) -> Windows:
    """The windows of the series `unique_id` whose last rows are `rows` (n,), from z (T, C) and
    future (T + H, F).
    """
    first_rows = rows + 1 - lookback
    window = _copy_blocks(z, first_rows, lookback)
    window[:, 0, list(channels.differenced)] = np.nan
    values, observed, since = fill_gaps(window)
    past = _input_channels(values, observed, since, channels, np.float32)
    last = values[:, -1, : channels.outputs].copy()
    known_ahead = _copy_blocks(future, first_rows, lookback + horizon, np.float32)
    return Windows(window, past, known_ahead, last, rows, np.full(len(rows), unique_id))


def _copy_blocks(
    values: np.ndarray, first_rows: np.ndarray, length: int, dtype: type = np.float64
) -> np.ndarray:
    """(n, length, C): `length` rows of `values` (T, C) from each of `first_rows` (n,) on. Each
    window is copied as one block, which is faster than indexing every row.
    """
    columns = values.shape[1]
    if not columns or not len(first_rows):
        return np.empty((len(first_rows), length, columns), dtype)
    start = int(first_rows.min())
    flat: np.ndarray = values[start : int(first_rows.max()) + length].ravel().astype(dtype)
    size = length * columns
    # sliding_window_view would check its arguments for as long as one window takes to copy
    pieces = np.ndarray(
        (len(flat) - size + 1, size), dtype, flat, strides=(flat.itemsize, flat.itemsize)
    )
    return pieces[(first_rows - start) * columns].reshape(len(first_rows), length, columns)


def task_windows(
    task: Task,
    z: np.ndarray,
    future: np.ndarray,
    rows: np.ndarray,
    *,
    unique_id: str = "",
    horizon: int | None = None,
    size: int = MAX_BATCH,
) -> Iterator[Windows]:
    """Batches of at most `size` windows of one series, as a model of `task` sees them, so that the
    whole array (n, lookback, channels) never exists. horizon: by default that of the task.
    """
    channels, steps = layout(task), horizon or task.horizon
    for start in range(0, len(rows), size):
        yield gather_windows(
            z,
            future,
            rows[start : start + size],
            channels,
            lookback=task.lookback,
            horizon=steps,
            unique_id=unique_id,
        )


def require_rows(task: Task, series: Series, rows: np.ndarray) -> None:
    """`InputError` where a forecast at one of `rows` lacks rows of its lookback, or at the last row
    of the series values of its plan.
    """
    too_early = rows[rows < task.lookback - 1]
    if len(too_early):
        raise InputError(
            f"Series {series.unique_id!r}: a forecast at row {int(too_early[0])} has"
            f" {plural(too_early[0] + 1, 'row')} of history; lookback={task.lookback} are needed."
            " Give a longer history or a later cutoff."
        )
    if len(series) - 1 in rows and (hole := find_hole_of_plan(task, series)):
        raise InputError(f"Series {series.unique_id!r}: {hole[1]}")


def find_hole_of_plan(task: Task, series: Series) -> tuple[pd.Timestamp, str] | None:
    """The time of the first missing value of all plans and a sentence about it; None where none is
    missing.

    The plan is what the last row of the series holds of the inputs over the horizon. An input that
    may be missing has no hole. At earlier rows a missing value is an ordinary gap.
    """
    values = series.values[-1, len(task.observed_names) :]
    holes = [
        column
        for value, column in zip(values, task.future_steps, strict=True)
        if np.isnan(value) and not column.may_be_missing
    ]
    if not holes:
        return None
    first = min(holes, key=attrgetter("step"))
    missing_time = next_steps(task.calendar, series.ds[-1], first.step)[-1]
    shown_time = format_time(task.calendar.kind, missing_time.isoformat(), 16)
    return missing_time, (
        f"{first.name!r} has no value at {shown_time}, {plural(first.step, 'step')} after the last"
        f" observation and inside the horizon of {task.horizon}. Give its values of the whole"
        " horizon, in rows that hold it and no target (also as `forecast predict --future"
        " plan.csv`, in Python as `future_df`)."
    )


def target_windows(z: np.ndarray, rows: np.ndarray, *, horizon: int, outputs: int) -> np.ndarray:
    """(n, H, O) scaled targets: target[i, 0] is that of row rows[i] + 1; NaN where not observed."""
    return z[rows[:, None] + np.arange(1, horizon + 1)[None, :], :outputs]
