"""From the long frame to arrays: a `Panel` holds one `Series` for each `unique_id`.

`from_frame` makes the panel for training, forecast and audit; from a history in order
`forecaster.serving.read_ordered_panel` makes one of the newest rows faster. A frame has only the
rows of the data; a `Series` has a row for every step of the calendar, NaN where the frame has none.
Columns are in the order of `Task.columns`, targets first. An array that all models should see is a
field of `Series`, which these two fill, and `comparison.explaining` cuts and joins. Plans, holidays
and a provider's forecasts are columns of `values`, one for each step ahead (`Task.future_steps`);
`future` has calendar features, static inputs and their products alone.
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
    the order of `Task.columns` (targets first); future (T + H, F) the inputs of `future_features`,
    for the steps of the series and the H steps after it.
    """

    unique_id: str
    ds: np.ndarray
    values: np.ndarray
    future: np.ndarray
    gathered: dict[tuple[Task, bytes, bytes, int], Any] | None = None
    """A cache of windows that the forecasters of one request share, by task, scaling, rows and
    batch size. None: no cache.
    """

    def __len__(self) -> int:
        """The number of steps, including those without an observation."""
        return len(self.ds)


@dataclass(frozen=True)
class Panel:
    """All series of one dataset. They share columns, calendar and horizon, not their lengths."""

    name: str
    task: Task
    series: tuple[Series, ...]

    def with_shared_windows(self) -> Panel:
        """The same panel with a cache of windows, for several forecasters that are asked one after
        the other. Gathering windows takes a tenth of a request.
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
        """The sorted distinct times of all series."""
        # `np.unique` takes eight times as long for millions of steps
        return np.sort(pd.unique(np.concatenate([series.ds for series in self.series])))

    @property
    def outputs(self) -> int:
        """The number of targets of each series."""
        return len(self.task.target)


def series_name(unique_id: object, target: str, targets: Sequence[object]) -> str:
    """The name of a forecast series in tables and messages: the unique_id, followed by the target
    (`shop/sales`) where there are several targets.
    """
    return f"{unique_id}/{target}" if len(targets) > 1 else str(unique_id)


def target_number(series: str, targets: Sequence[str]) -> int:
    """The index in `targets` of the target that is part of a `series_name`. The name of a target
    may itself contain a slash, such as `wind m/s`.
    """
    names = [target for target in targets if series.endswith(f"/{target}")]
    return targets.index(max(names, key=len, default=targets[0]))


def add_series_names(forecasts: pd.DataFrame) -> pd.DataFrame:
    """A long frame of forecasts, with columns `unique_id` and `output`, and a new column `series`
    with the `series_name` of each row.
    """
    several = forecasts["output"].nunique() > 1 if "output" in forecasts else False
    ids = forecasts["unique_id"].astype(str)
    return forecasts.assign(series=ids + "/" + forecasts["output"].astype(str) if several else ids)


def from_frame(frame: pd.DataFrame, name: str, task: Task) -> Panel:
    """The panel of a checked long frame: `unique_id, ds` and the columns of `task`. `InputError`
    where a column is missing, or the frame has no rows.
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
    # the rows of a series are apart
    if sum(rows.stop - rows.start for rows in slices.values()) < len(frame):
        frame = frame.sort_values("unique_id", kind="stable")
        slices = rows_by_series(frame)
    values = frame[columns].to_numpy(dtype=np.float64)
    static = frame[task.static_names].to_numpy(dtype=np.float64)
    times = frame["ds"].to_numpy().astype("datetime64[ns]")
    # series with the same first and last time share these arrays: with thousands of series they
    # take as much memory as the values
    steps_of: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
    series = []
    for uid, rows in sorted(slices.items()):
        series_times = times[rows]
        key = (series_times[0], series_times[-1], static[rows.start].tobytes())
        if key not in steps_of:
            grid = calendars.grid(task.calendar, series_times[0], series_times[-1])
            steps = grid.to_numpy().astype("datetime64[ns]")
            steps_of[key] = steps, future_features(task, grid, static[rows.start])
        ds, future = steps_of[key]
        # column-major as in pandas: the rounding of sums over rows depends on it
        on_grid = np.asfortranarray(_on_grid(ds, series_times, values[rows]))
        series.append(Series(uid, ds, on_grid, future))
    if not series:
        raise InputError(f"Dataset {name!r} has no rows. Check its source and its date range.")
    return Panel(name=name, task=task, series=tuple(series))


def _on_grid(grid: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The `values` (n, C) at rising `times` (n,) as one row for each step of `grid`; NaN where a
    step has no row.
    """
    if np.array_equal(times, grid):
        return values
    return pd.DataFrame(values, index=times).reindex(grid).to_numpy()


def future_features(task: Task, grid: pd.DatetimeIndex, static: np.ndarray) -> np.ndarray:
    """(T + H, F): the inputs that are known for all times, for the steps of `grid` (T,) and the H
    steps after it. They are the calendar features, the series' static inputs (S,), and the products
    of the two, which let each kind of series have its own season.
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
