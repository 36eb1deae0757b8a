"""What an audited pipeline is fed: copies of a frame, changed after a moment.

A change (`shake`, `shrink`, `mirror`, `thin_out`, `nudge`) alters the rows after a moment and no
other. Single moments are audited with those in `audit.origins.ROW_CHANGES`, the whole pipeline
(`audit.__main__`) with `shake` and `nudge`. `restore_plans` puts back what was known ahead at the
moment; `reverse_order_of_test_errors` changes finished forecasts instead. With them the ends of the
blocks (`block_ends`, by the code of the stages), and when a step may be known (`times_known`),
which the audit works out, but for sessions, apart from the code that it examines.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from forecast.config.datasets import Dataset, FractionSplits
from forecast.config.task import RegularCalendar, WeekdayCalendar, YearWeekCalendar
from forecast.data import calendars
from forecast.data.calendars import Calendar
from forecast.data.columns import trim_to_observed
from forecast.data.schema import KEY_COLUMNS
from forecast.data.splits import BLOCKS, find_borders, panel_of_times

SHAKE_FACTOR = 0.93
"""Applied to what is shaken: a mean or a spread over all rows changes, bounds such as 0 or 100 %
hold.
"""
SHRINK_FACTOR = 0.1
DROPPED_ROWS = (1, 3, 4)
"""Which of the rows after a moment, counted from 0, `thin_out` drops: what reads a gap ahead of
time then changes.
"""
REVERSED_ERROR_RANGE = (0.05, 0.5)
"""Test errors of the best and the worst fit of the reversed order, in those of the best before: far
below the errors of the calibration block, so margins that adapt win as well.
"""
NUDGE_SHARE = 1e-7
"""Any sum over nudged rows changes its last bits, but hardly ever a choice between two losses: even
the errors of a nearly exact forecast are larger.
"""


def shake(
    frame: pd.DataFrame, after: pd.Timestamp, *, factor: float = SHAKE_FACTOR
) -> pd.DataFrame:
    """`frame` with the rows after `after` in reverse order within their series, times `factor`.

    Whole rows move, so what holds inside a row (low below high) still does; their times stay.
    """

    def reverse(rows: pd.DataFrame) -> np.ndarray:
        return np.asarray(factor * rows.to_numpy()[::-1])

    return _change_later_rows(frame, after, reverse)


def shrink(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`shake` with the rows at a tenth of their values: the jump after `after` triggers a leak that
    tests later values against a threshold.
    """
    return shake(frame, after, factor=SHRINK_FACTOR)


def restore_plans(
    changed: pd.DataFrame, frame: pd.DataFrame, dataset: Dataset, after: pd.Timestamp
) -> pd.DataFrame:
    """`changed` with what `frame` holds of `known_ahead` columns over the horizon after `after`,
    and no further.

    A row that `changed` lacks has none of its observations; of a plan it has zero, for a plan has
    no holes.
    """
    names = dataset.known_ahead
    if not names:
        return changed
    end = calendars.next_steps(dataset.calendar, after, dataset.horizon)[-1]
    original = frame.set_index(list(KEY_COLUMNS))
    times = original.index.get_level_values("ds")
    plans = original.loc[(times > after) & (times <= end), names]
    restored = changed.set_index(list(KEY_COLUMNS))
    dropped = original.index[times <= changed["ds"].max()].difference(restored.index)
    restored = restored.reindex(restored.index.union(plans.index).union(dropped))
    restored.loc[dropped, names] = 0.0
    restored.loc[plans.index, names] = plans
    return restored.reset_index()


def thin_out(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`shake`, without some of the rows that follow `after` at once."""
    shaken = shake(frame, after)
    later_rows = shaken[shaken["ds"] > after].groupby("unique_id", sort=False)
    return shaken.drop(index=later_rows.nth(list(DROPPED_ROWS)).index).reset_index(drop=True)


def mirror(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`frame` with the values after `after` turned upside down, within the range they have there: a
    rise is a fall.

    Per series and column. Even what reads no more of later values than the sign of their changes
    is then another; what holds inside a row (low below high) may hold no longer.
    """
    return _change_later_rows(frame, after, _flip)


def _flip(rows: pd.DataFrame) -> pd.DataFrame:
    """Each column upside down within its own range."""
    return rows.max() + rows.min() - rows


def nudge(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`frame` with the values after `after` moved by about a ten-millionth, each by its own amount:
    of themselves, or of the standard deviation of their series where that is less and not 0.
    """
    changed, names = _copy_as_float64(frame)
    is_later = (changed["ds"] > after).to_numpy()
    n_later = int(is_later.sum())
    rng = np.random.default_rng(0)
    size = rng.uniform(0.5, 1.0, (n_later, len(names)))
    sign = rng.choice([-1.0, 1.0], (n_later, 1))
    later_values = changed.loc[is_later, names].to_numpy()
    spread = changed.groupby("unique_id", sort=False)[names].transform("std")[is_later]
    # a constant is moved by a share of itself
    unit = np.fmin(np.abs(later_values), spread.replace(0.0, np.inf).to_numpy())
    changed.loc[is_later, names] = later_values + NUDGE_SHARE * unit * size * sign
    return changed


def reverse_order_of_test_errors(cache: Path) -> None:
    """The test forecasts of every finished fit in the folder `cache` moved towards the actuals, so
    far that the order of the fits by test error is reversed: of two of them the other is now the
    better one, for whoever looks at the test block.

    A forecast stays between what it was and the actual, so within any bound that both hold.
    """
    tables = {}
    errors = {}
    for path in sorted(cache.glob("*/forecasts.parquet")):
        tables[path] = pd.read_parquet(path)
        test = tables[path][tables[path]["block"] == "test"]
        errors[path] = float((test["y"] - test["y_hat"]).abs().mean())
    worst_first = sorted(tables, key=errors.__getitem__, reverse=True)
    new_errors = min(errors.values()) * np.linspace(*REVERSED_ERROR_RANGE, len(tables))
    for path, error in zip(worst_first, new_errors, strict=True):
        table = tables[path]
        share = (table["block"] == "test") * (1 - error / (errors[path] or 1.0))
        nearer = table["y_hat"] + share * (table["y"] - table["y_hat"])
        table.assign(y_hat=nearer.fillna(table["y_hat"])).to_parquet(path)


def cut_around_borders(
    frame: pd.DataFrame, dataset: Dataset, ends: dict[str, pd.Timestamp]
) -> pd.DataFrame:
    """Of each series the rows around the ends of its blocks (`block_ends`), enough to fit every
    family, so that a run on them costs less and goes through the same code as a run on all rows.

    All rows where `splits` are shares of the rows: fewer would move the ends.
    """
    if isinstance(dataset.splits, FractionSplits):
        return frame
    n_rows = max(12 * dataset.lookback, 16 * dataset.season_length, 400) + dataset.horizon
    parts = []
    for _, rows in frame.groupby("unique_id", sort=False):
        times = rows["ds"].to_numpy()
        first = max(0, count_rows_until(times, ends["train"]) - n_rows)
        last = count_rows_until(times, ends["calibration"]) + n_rows // 2
        parts.append(rows.iloc[first:last])
    return pd.concat(parts, ignore_index=True)


def block_ends(frame: pd.DataFrame, dataset: Dataset) -> dict[str, pd.Timestamp]:
    """The last moment of each block, of the rows up to each series' last observation."""
    observed = trim_to_observed(frame, dataset)
    borders, _ = find_borders(panel_of_times(observed, "audited", dataset.task), dataset.splits)
    return dict(zip(BLOCKS, borders.ends.values(), strict=True))


def count_rows_until(times: np.ndarray, moment: pd.Timestamp) -> int:
    """How many of the rising `times` are not after `moment`."""
    return int((times <= moment.to_datetime64()).sum())


def times_known(calendar: Calendar, times: Any) -> pd.DatetimeIndex:
    """When each step may be known (UTC), by the calendar's definition and, but for sessions, apart
    from the code that is audited.
    """
    steps = pd.DatetimeIndex(times)
    if isinstance(calendar, RegularCalendar):
        # MonthEnd, not MonthBegin
        is_last_day = type(to_offset(calendar.freq)).__name__.endswith("End")
        if is_last_day:
            return steps.floor("D") + pd.Timedelta("1D")
        return calendars.add_steps(steps, calendar.freq, 1)
    ends = steps + pd.Timedelta(1, "D")
    if isinstance(calendar, WeekdayCalendar) or not len(steps):
        return ends
    if isinstance(calendar, YearWeekCalendar):
        new_years = pd.to_datetime({"year": steps.year + 1, "month": 1, "day": 1})
        is_last = steps.day_of_year > 7 * (calendar.weeks - 1)
        return pd.DatetimeIndex(np.where(is_last, new_years, steps + pd.Timedelta(7, "D")))
    return calendars.known_from(calendar, steps)  # the library alone knows when a session closes


def _change_later_rows(
    frame: pd.DataFrame, after: pd.Timestamp, change: Callable[[pd.DataFrame], Any]
) -> pd.DataFrame:
    """`frame` with `change` of the values after `after`, series by series."""
    changed, names = _copy_as_float64(frame)
    for _, rows in changed[changed["ds"] > after].groupby("unique_id", sort=False):
        changed.loc[rows.index, names] = change(rows[names])
    return changed


def _copy_as_float64(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A copy whose values are float64, with a plain index; and the names of their columns."""
    names = frame.columns.drop(list(KEY_COLUMNS)).to_list()
    return frame.reset_index(drop=True).astype(dict.fromkeys(names, np.float64)), names
