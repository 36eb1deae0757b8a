"""What a model sees: scaled rows become input channels, the same way in training, backtest and
service.

Channels, in this order for each column of the task: the value, or with `difference_inputs` its
change since the row before; and, for a column that may be missing (`max_missing` > 0), a mask (1 =
observed) and the time since the last observation, log(1 + steps). A missing step repeats the last
observed value; what lies under the mask is never read. A change whose earlier end the window does
not hold is unknown: zero where it is an input alone, a missing step where the transform itself
takes differences.

`layout` gives the `Layout` of the channels, `task_windows` the `Windows` that end at given rows.
`require_rows` refuses rows without a whole lookback, and a forecast whose known-ahead inputs are
missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from forecast.config.task import FutureStep, Task, format_time
from forecast.config.transforms import TRANSFORMS
from forecast.data.calendars import next_steps
from forecast.data.panel import Series
from forecast.system.errors import InputError, plural

MAX_BATCH = 512
"""Windows that `task_windows` gathers at once; the last digits of sums depend on it."""


@dataclass(frozen=True)
class Layout:
    """Which channel of a window's `past` carries what, by column of `Task.columns`.

    value[i]: the channel of column i. mask[i], since[i]: those beside it, or -1. step[i]: of a
    future input how many rows later, 0 of what is observed. A future input has no mask: the newest
    row holds all that is known of the horizon. difference_inputs[i]: the channel holds changes;
    differenced[i]: the transform of the column takes differences itself. outputs: how many targets,
    which are the first columns.
    """

    value: tuple[int, ...]
    mask: tuple[int, ...]
    since: tuple[int, ...]
    difference_inputs: tuple[bool, ...]
    differenced: tuple[bool, ...]
    outputs: int
    step: tuple[int, ...]

    @cached_property
    def future_channels(self) -> list[int]:
        """The channels of the future inputs, column by column in the order of their steps."""
        return [value for value, step in zip(self.value, self.step, strict=True) if step]

    @cached_property
    def plan_channels(self) -> list[int]:
        """The channel of each future input that holds its next row: row k - 1 of it speaks of row
        k.
        """
        return [value for value, step in zip(self.value, self.step, strict=True) if step == 1]

    @cached_property
    def past_channels(self) -> list[int]:
        """The channels of the past exogenous columns' values."""
        columns = list(zip(self.value, self.step, strict=True))[self.outputs :]
        return [value for value, step in columns if not step]

    @cached_property
    def channels(self) -> int:
        """How many channels a window's `past` has."""
        return max(*self.value, *self.mask, *self.since) + 1

    @cached_property
    def target_channels(self) -> tuple[int, ...]:
        """The channels of the targets' values."""
        return self.value[: self.outputs]

    @cached_property
    def change_channels(self) -> tuple[int, ...]:
        """Channels that hold a change: they are zero at a window's first row, whose predecessor is
        not seen.
        """
        changes = zip(self.value, self.difference_inputs, self.differenced, strict=True)
        return tuple(v for v, drifts, differs in changes if drifts or differs)


@lru_cache(maxsize=16)
def layout(task: Task) -> Layout:
    """The channels of a task, in the order of its columns; asked for by every batch of windows."""
    value, mask, since = [], [], []
    channel = 0
    for column in task.columns:
        value.append(channel)
        gaps = column.may_be_missing and not isinstance(column, FutureStep)
        mask.append(channel + 1 if gaps else -1)
        since.append(channel + 2 if gaps else -1)
        channel += 3 if gaps else 1
    difference_inputs = tuple(c.difference_inputs for c in task.columns)
    differenced = tuple(TRANSFORMS[c.transform].takes_changes for c in task.columns)
    observed = len(task.observed_names)
    step = (*[0] * observed, *(column.step for column in task.future_steps))
    return Layout(
        tuple(value),
        tuple(mask),
        tuple(since),
        difference_inputs,
        differenced,
        len(task.target),
        step,
    )


def fill_gaps(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, L, C) with NaN → last observed value (0 before the first), observed (bool), steps since
    observed.

    Works inside each window alone, so a forecast depends on its own `lookback` rows and on nothing
    before them.
    """
    observed = np.isfinite(z)
    steps = np.arange(z.shape[1])[None, :, None]
    if observed.all():
        return z, observed, np.zeros_like(z)
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    values = np.take_along_axis(np.where(observed, z, 0.0), np.maximum(last, 0), axis=1)
    return np.where(last >= 0, values, 0.0), observed, (steps - last).astype(z.dtype)


def input_channels(z: np.ndarray, channels: Layout) -> np.ndarray:
    """(B, L, C) scaled values with NaN → (B, L, channels) float32 network inputs."""
    return _input_channels(*fill_gaps(z), channels)


def _input_channels(
    values: np.ndarray, observed: np.ndarray, since: np.ndarray, channels: Layout
) -> np.ndarray:
    """`input_channels` of what `fill_gaps` gives."""
    result = np.empty((*values.shape[:2], channels.channels), dtype=np.float32)
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
    """Takes from the first row of `past` (B, L, channels), in place, what only the row before it
    could tell.
    """
    past[:, 0, list(channels.change_channels)] = 0.0
    for i, differs in enumerate(channels.differenced):
        if differs and channels.mask[i] >= 0:
            past[:, 0, channels.mask[i]] = 0.0
            past[:, 0, channels.since[i]] = np.log(2.0)


@dataclass(frozen=True)
class Windows:
    """A batch of origins, each with exactly its `lookback` rows.

    z (B, L, C) scaled with NaN; past (B, L, channels) float32; future (B, L + H, F) float32, row s
    of `future` belongs to row s of `past`; last (B, O) the last observed scaled target; rows (B,)
    the origins; series (B,) the names of the series they are of.
    """

    z: np.ndarray
    past: np.ndarray
    future: np.ndarray
    last: np.ndarray
    rows: np.ndarray
    series: np.ndarray

    def __len__(self) -> int:
        """How many windows."""
        return len(self.rows)

    def future_exogenous(self, channels: Layout) -> np.ndarray:
        """(B, K, S) float32: the K future inputs over the next S steps, known at the newest row."""
        steps = max(channels.step, default=0) or 1
        newest = self.past[:, -1, channels.future_channels]
        return newest.reshape(len(newest), newest.shape[1] // steps, steps)

    def with_targets_moved(self, shift: np.ndarray, channels: Layout) -> Windows:
        """With `shift` (B, O) added to the targets in `past`; to none of `difference_inputs`."""
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
        """The windows of several batches as one, of several series too: `rows` are then those of
        each.
        """
        arrays_by_field = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, arrays_by_field))


def count_windows_within(rows: int, task: Task) -> int:
    """How many windows have together so many rows; at least one."""
    return max(rows // task.lookback, 1)


def first_cutoff(task: Task) -> int:
    """The first row of a series that has a whole window behind it."""
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
    """The windows that end at `rows` (row t included) of the series `unique_id`: z (T, C), future
    (T + H, F).
    """
    first_rows = rows + 1 - lookback
    window = _stretches(z, first_rows, lookback)
    window[:, 0, list(channels.differenced)] = np.nan
    values, observed, since = fill_gaps(window)
    past = _input_channels(values, observed, since, channels)
    last = values[:, -1, : channels.outputs].copy()
    known_ahead = _stretches(future, first_rows, lookback + horizon, np.float32)
    return Windows(window, past, known_ahead, last, rows, np.full(len(rows), unique_id))


def _stretches(
    values: np.ndarray, first_rows: np.ndarray, length: int, dtype: type = np.float64
) -> np.ndarray:
    """(n, length, C): of values (T, C) so many rows from each of `first_rows` on. Each is copied in
    one piece, which is quicker than an index of every row.
    """
    columns = values.shape[1]
    if not columns or not len(first_rows):
        return np.empty((len(first_rows), length, columns), dtype)
    start = int(first_rows.min())
    flat: np.ndarray = values[start : int(first_rows.max()) + length].ravel().astype(dtype)
    size = length * columns
    # sliding_window_view would check its arguments for as long as one window takes to copy
    pieces = np.ndarray((len(flat) - size + 1, size), dtype, flat, strides=2 * flat.strides)
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
    """`gather_windows` as a model of `task` sees one series, in slices of `size`, so that no (n,
    lookback, channels) copy ever exists whole; `horizon` by default the task's.
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
    """`InputError` for rows at which a forecast does not have its lookback, or not its plan."""
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
    """The time of the first hole in the plan and a sentence about it; None where it has none.

    The plan is what the last row knows of the inputs over the horizon: their values at the steps
    after it, in the order of `task.future_steps`. A hole is a step without a value that a forecast
    needs. At earlier rows a missing value is a gap like any other.
    """
    values = series.values[-1, len(task.observed_names) :]
    for value, column in zip(values, task.future_steps, strict=True):
        if np.isnan(value) and not column.may_be_missing:
            missed = next_steps(task.calendar, series.ds[-1], column.step)[-1]
            moment = format_time(task.calendar.kind, missed.isoformat(), 16)
            return missed, (
                f"{column.name!r} has no value at {moment}, {plural(column.step, 'step')} after"
                f" the last observation and inside the horizon of {task.horizon}. Give its values"
                " of the whole horizon, in rows that hold it and no target (also as `forecast"
                " predict --future plan.csv`, in Python as `future_df`)."
            )
    return None


def target_windows(z: np.ndarray, rows: np.ndarray, *, horizon: int, outputs: int) -> np.ndarray:
    """(n, H, O) scaled targets; target[i, 0] directly follows row rows[i]; NaN where not
    observed.
    """
    return z[rows[:, None] + np.arange(1, horizon + 1)[None, :], :outputs]
