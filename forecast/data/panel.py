"""From the long frame to arrays: a `Panel` of `Series`, each on its full calendar grid.

The frame keeps real rows only; on the grid a step without an observation is NaN, so a gap is
explicit without a row being invented. Columns stand in the order of `Task.columns`, targets first.
Whatever fits, forecasts or audits begins with `from_frame`. Beside the values a series has the
calendar features of its steps and of the horizon after them.

`Series` has values (T, columns) in the target's unit and the features of its steps; equal frames
give equal panels. Another array that every model shall see is a field of `Series`, filled in
`from_frame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.task import Task
from forecast.data import calendars
from forecast.data.schema import rows_by_series
from forecast.system.errors import InputError, quote_names


@dataclass(frozen=True)
class Series:
    """One series in raw units.

    ds (T,) datetime64[ns], UTC without zone; values (T, C) float64, NaN = not observed, columns in
    the order of `Task.columns` (targets first); future (T + H, F) `future_features`, H steps beyond
    the last row included.
    """

    unique_id: str
    ds: np.ndarray
    values: np.ndarray
    future: np.ndarray
    gathered: dict[tuple[Task, bytes, bytes, int], Any] | None = None
    """Windows that the forecasters of one request share, by what they depend on: task, scaling,
    rows and size of a batch. None: none are kept.
    """

    def __len__(self) -> int:
        """Its steps, those without an observation included."""
        return len(self.ds)

    def static(self, task: Task) -> np.ndarray:
        """(S,): its static inputs, the same at every step."""
        start = task.n_calendar_inputs
        return self.future[0, start : start + len(task.static_names)]


@dataclass(frozen=True)
class Panel:
    """All series of one dataset; they share columns, calendar and horizon, not their lengths."""

    name: str
    task: Task
    series: tuple[Series, ...]

    def with_shared_windows(self) -> Panel:
        """The same for forecasters that are asked one after the other: windows are gathered once,
        which else take a tenth of a request.
        """
        return replace(self, series=tuple(replace(series, gathered={}) for series in self.series))

    @cached_property
    def by_id(self) -> dict[str, Series]:
        """The series by `unique_id`."""
        return {s.unique_id: s for s in self.series}

    @cached_property
    def newest(self) -> np.datetime64:
        """The last time of any series."""
        return max(series.ds[-1] for series in self.series)

    @property
    def steps(self) -> np.ndarray:
        """The times of all series, rising, each once."""
        return np.unique(np.concatenate([series.ds for series in self.series]))

    @property
    def outputs(self) -> int:
        """How many targets each series has."""
        return len(self.task.target)


def series_name(unique_id: object, target: str, targets: Sequence[object]) -> str:
    """How errors and intervals are named: the unique_id, with the target after it where there are
    several.
    """
    return f"{unique_id}/{target}" if len(targets) > 1 else str(unique_id)


def target_number(series: str, targets: Sequence[str]) -> int:
    """Which of `targets` the series is that `series_name` named; a target may have a slash of its
    own, as `wind m/s`.
    """
    names = [target for target in targets if series.endswith(f"/{target}")]
    return targets.index(max(names, key=len, default=targets[0]))


def add_series_names(forecasts: pd.DataFrame) -> pd.DataFrame:
    """A column `series`, the `series_name` of every row of a long frame with columns `unique_id`
    and `output`.
    """
    several = forecasts["output"].nunique() > 1 if "output" in forecasts else False
    ids = forecasts["unique_id"].astype(str)
    return forecasts.assign(series=ids + "/" + forecasts["output"].astype(str) if several else ids)


def from_frame(frame: pd.DataFrame, name: str, task: Task) -> Panel:
    """The checked long frame (`unique_id, ds`, then the task's columns) as a panel; `InputError`
    for a column that is missing, and for no rows.
    """
    columns = task.frame_names
    required = ("unique_id", "ds", *columns, *task.static_names)
    missing = [c for c in required if c not in frame.columns]
    if missing:
        raise InputError(
            f"Dataset {name!r}: column {quote_names(missing)} not found; the frame has"
            f" {quote_names(frame.columns)}. Name the column in configs/datasets.yaml as it stands"
            " in the data, or map it under `source.columns`."
        )
    slices = rows_by_series(frame)
    if sum(rows.stop - rows.start for rows in slices.values()) < len(frame):  # out of order
        frame = frame.sort_values("unique_id", kind="stable")
        slices = rows_by_series(frame)
    values = frame[columns].to_numpy(dtype=np.float64)
    static = frame[task.static_names].to_numpy(dtype=np.float64)
    times = frame["ds"].to_numpy().astype("datetime64[ns]")
    # series of one span share their steps: of thousands they take as much memory as the values
    steps_of: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
    series = []
    for uid, rows in sorted(slices.items()):
        own_times = times[rows]
        key = (own_times[0], own_times[-1], static[rows.start].tobytes())
        if key not in steps_of:
            grid = calendars.grid(task.calendar, own_times[0], own_times[-1])
            steps = grid.to_numpy().astype("datetime64[ns]")
            steps_of[key] = steps, future_features(task, grid, static[rows.start])
        ds, future = steps_of[key]
        # a column in one piece, as pandas has it: sums over rows round by it
        on_grid = np.asfortranarray(_on_grid(ds, own_times, values[rows]))
        series.append(Series(uid, ds, on_grid, future))
    if not series:
        raise InputError(f"Dataset {name!r} has no rows. Check its source and its date range.")
    return Panel(name=name, task=task, series=tuple(series))


def _on_grid(grid: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` (n, C) at rising `times` (n,) as rows of the grid: a step without a row is NaN in
    every column.
    """
    if np.array_equal(times, grid):
        return values
    return pd.DataFrame(values, index=times).reindex(grid).to_numpy()


def future_features(task: Task, grid: pd.DatetimeIndex, static: np.ndarray) -> np.ndarray:
    """(T + H, F) for the steps of the grid and the `horizon` after it: the calendar features, the
    `static` inputs (S,) of the series, and their products, by which a season has another shape in
    shops of another kind.
    """
    calendar = np.empty((len(grid) + task.horizon, 0))
    if task.calendar_features:
        horizon_steps = calendars.next_steps(task.calendar, grid[-1], task.horizon)
        steps = np.concatenate([grid, horizon_steps])
        calendar = calendars.calendar_features(steps, task.calendar_features, task.time_zone)
    if not len(static):
        return calendar
    products = [calendar * value for value in static]
    return np.hstack([calendar, np.tile(static, (len(calendar), 1)), *products])
