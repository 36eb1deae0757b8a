"""Calendars: at which times a series should have rows, and features of time alone.

A `Calendar` of the task has sessions of an exchange, weekdays, weeks from New Year, steps of a
pandas frequency in UTC (a fixed length, months; also within opening hours), or rows without dates.
`grid` and `next_steps` list its steps, `find_gaps` the steps without a row; `check_calendar`
refuses other times; `fit_calendar` guesses the calendar of given times. A fixed step counts from
the times of the series, so it may begin at any minute.

`known_from` says from which time on a step's value is surely known, `read_until` up to which time a
step may read other data: this keeps every look-up from seeing ahead. `calendar_features` are sine
and cosine of day, week, month and year.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from forecast.config.task import (
    WEEKDAYS,
    CalendarFeature,
    OpeningHours,
    RegularCalendar,
    SessionCalendar,
    WeekdayCalendar,
    YearWeekCalendar,
    format_time,
)
from forecast.data.entries import flow_yaml
from forecast.data.schema import describe_row, first_true, rows_by_series
from forecast.system.errors import (
    ForecastError,
    InputError,
    list_first,
    plural,
)

Calendar = SessionCalendar | WeekdayCalendar | YearWeekCalendar | RegularCalendar
Daily = SessionCalendar | WeekdayCalendar

DAY = pd.Timedelta(1, "D")
MAX_TIMES_SHOWN = 3
GUESSED_EXCHANGES = {
    "XNYS": "07-04",
    "XLON": "12-26",
    "XETR": "12-24",
    "XPAR": "05-01",
    "XMIL": "08-15",
    "XSWX": "08-01",
    "XSTO": "01-06",
    "XTSE": "07-01",
    "XTKS": "05-03",
    "XHKG": "12-26",
    "XSHG": "10-01",
    "XASX": "04-25",
    "XBOM": "08-15",
    "BVMF": "09-07",
}
"""Each stands for all exchanges with the same closed days, as Paris for Amsterdam and Lisbon. The
day of the year is one on which it is never open: where daily rows have that day, its calendar is
not built, which takes a quarter of a second.
"""
MAX_SHARE_WITHOUT_ROW = 0.1
"""A calendar that has all times fits where the steps without a row are at most this share of
them.
"""
MAX_SHARE_OFF = 0.05
"""Where no calendar fits and the usual step is below a week, the best is sought among the calendars
that at most this share of the times are off: days with an event are days, and no weeks with wrong
rows.
"""
MAX_SHARE_CLOSED_EARLY = 0.25
"""`MAX_SHARE_WITHOUT_ROW` for opening hours, as Saturdays may be shorter."""
MAX_SHARE_BY_GUESSED_CLOCK = 0.05
"""`MAX_SHARE_WITHOUT_ROW` for opening hours in a guessed time zone: night work in Berlin looks like
a day in New York.
"""
GUESSED_ZONES = {
    "Europe/Berlin": "DE",
    "Europe/London": "GB",
    "America/New_York": "US",
    "Australia/Sydney": "AU",
    "Pacific/Auckland": "NZ",
}
"""Time zones that a file's times may be in, with a country of each. Each stands for all zones whose
clocks change at the same times.
"""
UNEVEN_ADVICE = (
    "Of periods write the first day, such as 2024-01-01 for a month. Round times that are"
    " seconds off to their step, as by pandas `times.dt.round('1h')`. Of readings at odd times"
    " make even ones, as by `df.resample('1h', on='time').mean(numeric_only=True)`, of amounts by"
    " `sum`. Or leave the times out and count the rows: `calendar: {kind: index}`."
)
"""What to do with times that fit no calendar."""
MIN_EVEN_STEPS = 10
"""The fewest rows of a series that show its steps to be even."""
MIN_OPEN_DAYS = 10
"""The fewest days that show which hours of the day have no rows."""
MAX_GRID_STEPS = 100_000_000
"""For one series: three years of seconds."""
_CYCLES: dict[CalendarFeature, tuple[str, float, float]] = {
    "hour_of_day": ("day", 1.0, 24.0),
    "day_of_week": ("week", 7.0, 7.0),
    "day_of_month": ("month", 365.2425 / 12, 31.0),
    "day_to_month_end": ("month", 365.2425 / 12, 31.0),
    "day_of_year": ("year", 365.2425, 365.2425),
    "month_of_year": ("year", 365.2425, 12.0),
}
"""By calendar feature its cycle, the cycle's length in days, and its length in the
feature's unit.
"""
DEFAULT_FEATURES: tuple[CalendarFeature, ...] = ("hour_of_day", "day_of_year")
"""Features that `add` and `forecast.fit` use by default. The day of the week is used only where the
data show it, since for weather it is noise.
"""
MONTH_FEATURES: tuple[CalendarFeature, ...] = ("day_of_month", "day_to_month_end")


class DayLimits(NamedTuple):
    """When the day of the week or of the month is an input: where it explains at least `share` of
    the variance in at least `weeks` weeks, which are within the first `row_share` of a series' days
    (docs/research/calendar-inputs.md, docs/research/day-of-month.md).
    """

    share: float
    weeks: int
    row_share: float


WEEK_LIMITS = DayLimits(0.03, 8, 0.6)
FEW_WEEKS = DayLimits(0.3, 2, 0.75)
"""The limits for steps below a day where no series has that many weeks."""
MONTH_LIMITS = DayLimits(0.1, 52, 0.6)
"""One day of each year, such as Christmas, is a twelfth of the days of the month that are alike."""


def grid(calendar: Calendar, start: Any, end: Any) -> pd.DatetimeIndex:
    """All steps from `start` to `end`, both included; UTC without a zone, sessions as dates at
    midnight. Steps of a fixed length or of several months count from `start`, which should be a
    time of the series. `InputError` for more than `MAX_GRID_STEPS`.
    """
    start, end = pd.Timestamp(start), pd.Timestamp(end)
    closures: tuple[date, ...] = ()
    if isinstance(calendar, SessionCalendar):
        steps = _exchange_calendar(calendar.exchange, start.year, end.year).sessions
        closures = calendar.extra_closures
    elif isinstance(calendar, WeekdayCalendar):
        days = pd.date_range(start.ceil("D"), end, freq="D")
        steps = days[days.day_of_week.isin([WEEKDAYS.index(day) for day in calendar.days])]
        closures = calendar.closures
    elif isinstance(calendar, YearWeekCalendar):
        years = np.arange(start.year - 1970, end.year - 1969).astype("datetime64[Y]")
        weeks = years.astype("datetime64[D]")[:, None] + 7 * np.arange(calendar.weeks)
        steps = pd.DatetimeIndex(weeks.ravel())
    elif calendar.opening_hours:
        steps = _open_steps(calendar.freq, calendar.opening_hours, start, end)
    elif fixed_step(calendar) is None:
        steps = pd.date_range(start, end, freq=calendar.freq)
    else:
        return pd.DatetimeIndex(_fixed_grid(calendar, start.value, end.value))
    steps = steps.as_unit("ns")
    in_range = steps[(steps >= start) & (steps <= end)]
    return in_range.difference(pd.DatetimeIndex(list(closures)).as_unit("ns"))


def _open_steps(
    freq: str, hours: OpeningHours, start: pd.Timestamp, end: pd.Timestamp
) -> pd.DatetimeIndex:
    """(n,) in UTC: the steps within opening hours from the local day of `start` to that of `end`,
    both whole days. With an exchange, without its holidays and what follows its close.
    """
    first, last = local_times(pd.DatetimeIndex([start, end]), hours.time_zone).normalize()
    days = pd.date_range(first, last, freq="D")
    days = days[days.day_of_week.isin([WEEKDAYS.index(day) for day in hours.days])]
    times = hours.step_starts(freq)
    _require_few_steps(len(days) * len(times), freq, start, end)
    local = pd.DatetimeIndex((days.to_numpy()[:, None] + times).ravel())
    closes = np.datetime64("9999")
    if hours.exchange:
        sessions = _exchange_calendar(hours.exchange, first.year, last.year)
        # NaT for a holiday, so that no step is before it
        closes = sessions.closes.dt.tz_localize(None).reindex(days).to_numpy().repeat(len(times))
    steps = pd.DatetimeIndex([])
    for is_summer in (True, False):  # in autumn one hour is repeated
        is_dst = np.full(len(local), is_summer)
        zoned = local.tz_localize(hours.time_zone, ambiguous=is_dst, nonexistent="NaT")
        utc = zoned.tz_convert("UTC").tz_localize(None)
        steps = steps.union(utc[utc < closes])
    return steps


def _require_few_steps(n_steps: int, freq: str, start: Any, end: Any) -> None:
    """`InputError` for more than `MAX_GRID_STEPS`."""
    if n_steps > MAX_GRID_STEPS:
        raise InputError(
            f"From {pd.Timestamp(start)} to {pd.Timestamp(end)} are more than {MAX_GRID_STEPS:,}"
            f" steps of {freq}; no memory holds them. Correct the time that lies far from the"
            " others, or `calendar.freq`."
        )


def local_times(times: pd.DatetimeIndex, time_zone: str) -> pd.DatetimeIndex:
    """Times in UTC as the clock of `time_zone` shows them."""
    return times.tz_localize("UTC").tz_convert(time_zone).tz_localize(None)


def _fixed_grid(calendar: RegularCalendar, start: int, end: int) -> np.ndarray:
    """(n,) datetime64: steps of the calendar's fixed length; `start` and `end` in nanoseconds since
    1970.
    """
    step = fixed_step(calendar)
    assert step is not None
    n_steps = (end - start) // step.value + 1
    _require_few_steps(n_steps, calendar.freq, start, end)
    # beyond 292 years the products overflow, and the sums overflow back
    return (start + step.value * np.arange(n_steps)).view("datetime64[ns]")


def grids(calendar: Calendar, starts: np.ndarray, ends: np.ndarray) -> Iterator[np.ndarray]:
    """For each pair of `starts` and `ends` the `grid` between them, as datetime64[ns]."""
    starts, ends = starts.astype("datetime64[ns]"), ends.astype("datetime64[ns]")
    if isinstance(calendar, RegularCalendar) and fixed_step(calendar) is not None:
        for start, end in zip(starts.astype(np.int64), ends.astype(np.int64), strict=True):
            yield _fixed_grid(calendar, int(start), int(end))
        return
    grids_from: dict[np.datetime64, np.ndarray] = {}
    for start, end in zip(starts, ends, strict=True):
        # steps such as every second month count from the start of their own series
        first = starts.min() if skips_time(calendar) else start
        if first not in grids_from:
            grids_from[first] = grid(calendar, first, ends.max()).to_numpy()
        steps = grids_from[first]
        yield steps[steps.searchsorted(start) : steps.searchsorted(end, side="right")]


def grids_by_series(frame: pd.DataFrame, calendar: Calendar) -> Iterator[tuple[str, np.ndarray]]:
    """For each series, in the order of their names, its steps from the first row to the last."""
    spans = frame.groupby("unique_id", sort=True)["ds"].agg(["min", "max"])
    every_grid = grids(calendar, spans["min"].to_numpy(), spans["max"].to_numpy())
    return zip(map(str, spans.index), every_grid, strict=True)


def count_steps_by_series(frame: pd.DataFrame, calendar: Calendar) -> pd.Series:
    """By `unique_id`, the number of steps from the first row to the last, both and gaps counted."""
    lengths = {name: len(steps) for name, steps in grids_by_series(frame, calendar)}
    return pd.Series(lengths, dtype="int64")


def usual_length(lengths: pd.Series) -> int:
    """The series length for which spans and blocks are chosen; shorter series may be left out. It
    is the 10 % quantile of `lengths`, or, where that is larger, the shortest length of at least a
    tenth of the median (a quarter with fewer than ten series), so that a few short series do not
    shorten the blocks of all.
    """
    decile = lengths.quantile(0.1, interpolation="lower")
    min_length = lengths.median() / (10 if len(lengths) >= 10 else 4)
    return int(max(decile, lengths[lengths >= min_length].min()))


@cache
def fixed_step(calendar: Calendar) -> pd.Timedelta | None:
    """The length of every step; None where steps differ, as sessions, months or opening hours."""
    return None if skips_time(calendar) else step_length(calendar)


def skips_time(calendar: Calendar) -> bool:
    """Whether there may be time between the end of a step and the beginning of the next."""
    return not isinstance(calendar, RegularCalendar) or calendar.opening_hours is not None


def step_length(calendar: Calendar) -> pd.Timedelta | None:
    """The length of a step such as `1h`, also within opening hours; None for sessions, weekdays,
    months and the like.
    """
    offset = to_offset(calendar.freq) if isinstance(calendar, RegularCalendar) else None
    if isinstance(offset, pd.offsets.Day):
        return pd.Timedelta(offset.n, "D")
    return pd.Timedelta(offset) if isinstance(offset, pd.offsets.Tick) else None


def count_day_steps(calendar: Calendar) -> int:
    """The number of steps in a day; 0 where a step is not a whole part of one."""
    if isinstance(calendar, Daily):
        return 1
    if isinstance(calendar, RegularCalendar) and calendar.opening_hours:
        return len(calendar.opening_hours.step_starts(calendar.freq))
    step = step_length(calendar)
    return 0 if step is None or DAY % step else DAY // step


def next_steps(calendar: Calendar, after: Any, n: int) -> pd.DatetimeIndex:
    """The next `n` steps after the time `after`, from which steps of a fixed length count.
    `InputError` where the sessions of an exchange are not known that far ahead, or nanoseconds do
    not reach that far.
    """
    after = pd.Timestamp(after).as_unit("ns")
    try:
        return _next_steps(calendar, after, n)
    except (OverflowError, pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta):
        raise InputError(
            f"{plural(n, 'step')} after {after.date()} lead beyond {pd.Timestamp.max.date()}, the"
            " last day that a time can name. Shorten `horizon`."
        ) from None


def _next_steps(calendar: Calendar, after: pd.Timestamp, n: int) -> pd.DatetimeIndex:
    """`next_steps`, with pandas' errors where nanoseconds do not reach that far."""
    if (step := fixed_step(calendar)) is not None:  # half the time of `date_range`, for each series
        back = step.to_timedelta64() * np.arange(n - 1, -1, -1)
        return pd.DatetimeIndex((after + n * step).to_datetime64() - back)
    if isinstance(calendar, RegularCalendar) and not calendar.opening_hours:
        steps = pd.date_range(after, periods=n + 2, freq=calendar.freq).as_unit("ns")
        return steps[steps > after][:n]
    for days in (31, 400, 3_000, 23_000):
        steps = grid(calendar, after + pd.Timedelta(1, "ns"), after + days * DAY)
        if len(steps) >= n:
            return steps[:n]
    raise InputError(f"The calendar has no {n} sessions after {after.date()}. Shorten `horizon`.")


def season_positions(calendar: Calendar, times: np.ndarray, season_length: int) -> np.ndarray:
    """The position of each time in its season, from 0: the hour of the day, the day of the week,
    the month of the year. `times` is datetime64 of any shape.

    Fixed steps are counted from 1970, opening hours from a Monday on. All other steps have the
    share of the year that has passed; but sessions, weekdays and weeks from New Year the day of the
    week where the season has at most seven steps.
    """
    days = times.astype("datetime64[D]")
    if (step := fixed_step(calendar)) is not None:
        numbers = times.astype("datetime64[ns]").astype(np.int64) // step.value
    elif isinstance(calendar, RegularCalendar) and calendar.opening_hours:
        numbers = _number_open_steps(calendar.freq, calendar.opening_hours, times)
    elif season_length <= len(WEEKDAYS) and not isinstance(calendar, RegularCalendar):
        numbers = (days.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
    else:
        days_of_year = (days - times.astype("datetime64[Y]")).astype(np.int64)
        numbers = np.rint(days_of_year / 365 * season_length).astype(np.int64)
    return numbers % season_length


def _number_open_steps(freq: str, hours: OpeningHours, times: np.ndarray) -> np.ndarray:
    """The number of open steps from the first Monday of 1970 to each of `times`."""
    local = local_times(pd.DatetimeIndex(times.ravel()), hours.time_zone).to_numpy()
    days = local.astype("datetime64[D]")
    is_open = [day in hours.days for day in WEEKDAYS]
    n_days = np.busday_count(np.datetime64("1970-01-05"), days, weekmask=is_open)
    starts = hours.step_starts(freq)
    numbers = n_days * len(starts) + starts.searchsorted(local - days)
    return numbers.reshape(times.shape)


def calendar_features(
    ds: Any, names: Iterable[CalendarFeature], time_zone: str | None = None
) -> np.ndarray:
    """(T, 2 per name): sine and cosine of the position in each feature's cycle, for the times `ds`
    (T,). With a `time_zone`, `ds` is in UTC and the features follow the local clock.
    """
    index = pd.DatetimeIndex(ds)
    if time_zone is not None:
        index = local_times(index, time_zone)
    columns: list[np.ndarray] = []
    for name in names:
        angle = 2 * np.pi * _cycle_position(index, name) / _CYCLES[name][2]
        columns += [np.sin(angle), np.cos(angle)]
    return np.array(columns).T if columns else np.empty((len(index), 0))


def cycles(calendar: Calendar, names: Iterable[CalendarFeature]) -> dict[str, float]:
    """The cycles of the calendar features by name, with their length in steps; without cycles of
    fewer than three steps.
    """
    days = {_CYCLES[name][0]: _CYCLES[name][1] for name in names}
    if not days:
        return {}
    if isinstance(calendar, RegularCalendar) and (hours := calendar.opening_hours):
        day = count_day_steps(calendar)
        week = day * len(hours.days)
        lengths = {name: week * length / 7 for name, length in days.items()} | {"day": float(day)}
    else:
        steps = next_steps(
            calendar, pd.Timestamp(2001, 1, 1), 1000 if isinstance(calendar, Daily) else 60
        )
        spacing = (steps[-1] - steps[0]) / DAY / (len(steps) - 1)
        lengths = {name: length / spacing for name, length in days.items()}
    # rounded, so that 8 hours are a third of a day
    return {name: lengths[name] for name in days if round(lengths[name], 9) >= 3}


def default_features(calendar: Calendar, steps: int) -> list[CalendarFeature]:
    """The `DEFAULT_FEATURES` whose cycle has at least three steps and of which the `steps` of a
    series cover nine tenths (docs/research/calendar-inputs.md). Empty for sessions, weekdays,
    months and longer steps, and rows without dates.
    """
    if isinstance(calendar, Daily) or calendar.counts_rows:
        return []
    is_weekly = isinstance(calendar, YearWeekCalendar) or isinstance(
        to_offset(calendar.freq), pd.offsets.Week
    )
    if not is_weekly and step_length(calendar) is None:
        return []
    lengths = cycles(calendar, DEFAULT_FEATURES)
    longest = steps / 0.9
    return [n for n in DEFAULT_FEATURES if lengths.get(_CYCLES[n][0], np.inf) <= longest]


def shows_week(frame: pd.DataFrame, target: Any, calendar: Calendar) -> bool:
    """Whether the day of the week explains values of `target`, or the ranks of their changes from
    row to row (a stock that is drawn from on workdays shows no week in its level).

    False for steps longer than a day, for sessions of an exchange, and for fewer weeks than
    `WEEK_LIMITS` and `FEW_WEEKS` want.
    """
    step = DAY if isinstance(calendar, WeekdayCalendar) else step_length(calendar)
    if step is None or step > DAY or calendar.counts_rows:
        return False
    series = pd.factorize(frame["unique_id"])[0]
    days = frame["ds"].dt.floor("D")
    limits, is_read = WEEK_LIMITS, _is_read(series, days, WEEK_LIMITS)
    if step < DAY and not is_read.any():
        limits, is_read = FEW_WEEKS, _is_read(series, days, FEW_WEEKS)
    if not is_read.any():
        return False
    slots = frame.groupby([series, frame["ds"] - days]).ngroup()
    # ranks, because one delivery exceeds all that is drawn in a week
    ranks = frame[target].groupby(series).diff().groupby(series).rank(pct=True)
    columns = {"series": series, "slot": slots, "day": days, "level": frame[target], "rank": ranks}
    rows = pd.DataFrame(columns)[is_read].sort_values(["slot", "day"], kind="stable")
    return any(_tells_weekday(rows, rows[name], limits) for name in ("level", "rank"))


def find_month_feature(
    frame: pd.DataFrame, targets: Iterable[str], calendar: Calendar
) -> CalendarFeature | None:
    """Of `MONTH_FEATURES` the one that explains more of one of the `targets`; None where both
    explain less than `MONTH_LIMITS` want. Only for steps of a day or a working day, but not
    sessions of an exchange.
    """
    is_daily = isinstance(calendar, WeekdayCalendar) or step_length(calendar) == DAY
    if isinstance(calendar, RegularCalendar):
        is_daily |= to_offset(calendar.freq).freqstr in ("B", "C")
    if not is_daily:
        return None
    shares = dict.fromkeys(MONTH_FEATURES, 0.0)
    for target in targets:
        for name, share in _month_shares(frame, target, MONTH_LIMITS).items():
            shares[name] = max(shares[name], share)
    best = max(MONTH_FEATURES, key=lambda name: shares[name])
    return best if shares[best] >= MONTH_LIMITS.share else None


def _month_shares(
    frame: pd.DataFrame, target: str, limits: DayLimits
) -> dict[CalendarFeature, float]:
    """For each of `MONTH_FEATURES` the share of the variance of `target` around the mean of the 30
    days about it and of the weekday, over all series, that its days explain; 0 on too few rows.
    """
    rows = frame[_is_read(frame["unique_id"], frame["ds"].dt.floor("D"), limits)]
    rows = rows.sort_values(["unique_id", "ds"])
    values = rows[target].replace([np.inf, -np.inf], np.nan)
    series, times = rows["unique_id"], pd.DatetimeIndex(rows["ds"])
    by_series = values.set_axis(times).groupby(series.to_numpy())
    departures = values - by_series.rolling("30D", center=True).mean().to_numpy()
    departures -= departures.groupby([series, times.day_of_week]).transform("mean")
    departures /= values.groupby(series).transform("std").replace(0.0, 1.0)
    n_series = by_series.ngroups
    return {
        name: _adjusted_share(
            departures, [series, _cycle_position(times, name)], 7 * n_series, 37 * n_series
        )
        for name in MONTH_FEATURES
    }


def _is_read(series: Any, days: pd.Series, limits: DayLimits) -> pd.Series:
    """(n,): whether rows of these `series` (n,) and `days` (n,) are among those that `limits`
    want.
    """
    ages = (days - days.groupby(series).transform("min")).dt.days
    n_read = np.floor(limits.row_share * (ages.groupby(series).transform("max") + 1))
    return (ages < n_read) & (n_read >= 7 * limits.weeks)


def _adjusted_share(departures: pd.Series, groups: Any, n_means: int, n_all_means: int) -> float:
    """The share of the squares of `departures` that the means of `groups` explain, as adjusted R²:
    noise would seem to be explained by seven means, too. 0 without squares or too few values.

    n_means: how many means the departures are from; n_all_means: with those of the groups.
    """
    by_group = departures.groupby(groups)
    explained = (by_group.sum() ** 2 / by_group.count()).sum()
    total, n_values = (departures**2).sum(), departures.count()
    if total == 0.0 or n_values <= n_all_means:
        return 0.0
    return 1.0 - (total - explained) / total * (n_values - n_means) / (n_values - n_all_means)


def _tells_weekday(rows: pd.DataFrame, values: pd.Series, limits: DayLimits) -> bool:
    """Whether the weekday explains at least `limits.share` of the variance of `values` (one per
    row) around the mean of the same time of day in the surrounding week. Times of day are kept
    apart, since the sum of a day may be equal on all days.

    rows: sorted by `slot`, a time of day of one series, and by `day`.
    """
    values = values.replace([np.inf, -np.inf], np.nan)
    slots = rows["slot"]
    weekday = rows["day"].dt.day_of_week
    # weekdays with few rows, such as weekends of an office, do not count
    n_dates = values.groupby([slots, weekday]).count()
    is_usual_day = n_dates > n_dates.groupby("slot").transform("max") / 2
    days_a_week = int(is_usual_day.groupby("slot").sum().median())
    by_time_of_day = values.set_axis(rows["day"]).groupby(slots.to_numpy())
    week_means = by_time_of_day.rolling("7D", center=True, min_periods=days_a_week).mean()
    departures = values - week_means.to_numpy()
    departures -= departures.groupby(slots).transform("mean")
    departures /= values.groupby(rows["series"]).transform("std").replace(0.0, 1.0)
    n_times = by_time_of_day.ngroups
    share = _adjusted_share(departures, [slots, weekday], n_times, 7 * n_times)
    return bool(share >= limits.share)


def find_gaps(frame: pd.DataFrame, calendar: Calendar) -> pd.DataFrame:
    """The runs of steps without a row inside each series, one a row: `unique_id, first, last` (the
    first and last missing step) and their number `steps`. A weekend is no gap of an exchange.
    """
    series = rows_by_series(frame)
    times = frame["ds"].to_numpy("datetime64[ns]")
    gaps: list[tuple[str, np.datetime64, np.datetime64, int]] = []
    for name, steps in grids_by_series(frame, calendar):
        rows = series[name]
        if not np.array_equal(steps, times[rows]):
            absent = np.flatnonzero(~np.isin(steps, times[rows]))
            runs = np.split(absent, np.flatnonzero(np.diff(absent) > 1) + 1)
            gaps += [(name, steps[run[0]], steps[run[-1]], len(run)) for run in runs if len(run)]
    table = pd.DataFrame(gaps, columns=["unique_id", "first", "last", "steps"])
    return table.astype({"first": times.dtype, "last": times.dtype, "steps": "int64"})


def check_calendar(
    frame: pd.DataFrame, calendar: Calendar, *, where: str, error: type[ForecastError] = InputError
) -> None:
    """Raises `error` for the first row, in the order of the frame, whose time is not a step of the
    calendar.
    """
    times = frame["ds"].drop_duplicates()
    steps = grid(calendar, _grid_start(times, calendar), times.max())
    off_calendar = set(times[~times.isin(steps)])
    if not off_calendar:
        return
    position = first_true(frame["ds"].isin(off_calendar))
    fault = _describe_off_calendar(calendar, frame, sorted(off_calendar))
    raise error(f"{where}, {describe_row(frame, position)}: {fault}")


class CalendarFit(NamedTuple):
    """A calendar, the number of given times that are not steps of it, and of its steps without a
    row.
    """

    calendar: Calendar
    off_calendar: int
    without_row: int

    def count_misfits(self) -> int:
        """The sum of both numbers."""
        return self.off_calendar + self.without_row


def fit_calendar(times: Iterable[Any], time_zone: str | None = None) -> CalendarFit:
    """The calendar that fits the times (UTC) best; opening hours in `time_zone`. A calendar that
    has all times and few steps without a row goes before one that lacks some times, since those
    would be refused.
    """
    stamps = pd.DatetimeIndex(pd.Series(times).drop_duplicates().sort_values())
    candidates: list[Calendar] = [
        RegularCalendar(kind="regular", freq=name) for name in _candidate_steps(stamps)
    ]
    if (stamps == stamps.normalize()).all():
        rows_by_day = stamps.day_of_week.value_counts()
        working_days = rows_by_day.index[2 * rows_by_day > rows_by_day.max()].sort_values()
        days = tuple(WEEKDAYS[day] for day in working_days)
        candidates += [
            WeekdayCalendar(kind="weekdays", days=days),
            YearWeekCalendar(kind="year_weeks"),
            YearWeekCalendar(kind="year_weeks", weeks=53),
        ]
        with contextlib.suppress(ModuleNotFoundError):  # an installation without exchanges
            if len(days) == 5:
                days_of_year = set(stamps.strftime("%m-%d"))
                candidates += [
                    SessionCalendar(kind="sessions", exchange=name)
                    for name, closed_day in GUESSED_EXCHANGES.items()
                    if closed_day not in days_of_year
                ]
    fits: list[CalendarFit] = []
    for calendar in candidates:
        try:
            fits.append(_fit_steps(calendar, stamps))
        except InputError:  # an exchange whose sessions of these years are not known
            if calendar.kind != "sessions":
                raise
        if fits[-1].count_misfits() == 0:  # none fits better
            break
    complete_fits = [
        fit
        for fit in fits
        if fit.off_calendar == 0 and fit.without_row <= MAX_SHARE_WITHOUT_ROW * len(stamps)
    ]
    if not complete_fits and fits[0].off_calendar == 0:
        complete_fits = _fit_opening_hours(stamps, fits[0].calendar, time_zone)
    usable_fits = []
    if step_length(fits[0].calendar):  # a step of less than a week
        usable_fits = [fit for fit in fits if fit.off_calendar <= MAX_SHARE_OFF * len(stamps)]
    return min(complete_fits or usable_fits or fits, key=CalendarFit.count_misfits)


def describe_own_steps(frame: pd.DataFrame) -> str:
    """A message where two series of `frame` have even steps but share neither times nor a calendar,
    such as weeks that begin on different days; empty otherwise.
    """
    series, times = frame["unique_id"], frame["ds"]
    first_name = series.iloc[0]
    other_names = series[~series.isin(series[times.isin(times[series == first_name])].unique())]
    if other_names.empty:
        return ""
    names = (first_name, other_names.iloc[0])
    pair = [pd.DatetimeIndex(times[series == name].sort_values()).unique() for name in names]
    shared_calendar = fit_calendar(pair[0].append(pair[1])).calendar
    has_own_steps, examples = False, []
    for name, stamps in zip(names, pair, strict=True):
        fit = fit_calendar(stamps)
        max_misfits = MAX_SHARE_WITHOUT_ROW * len(stamps)
        if len(stamps) < MIN_EVEN_STEPS or fit.count_misfits() > max_misfits:
            return ""
        max_misfits = MAX_SHARE_CLOSED_EARLY * len(stamps)
        has_own_steps |= _fit_steps(shared_calendar, stamps).count_misfits() >= max_misfits
        begin = format_times([stamps[0]], shared_calendar)
        examples.append(f"{name!r} {calendar_yaml(fit.calendar)} from {begin}")
    if not has_own_steps:
        return ""
    return (
        f"The series have steps of their own, as {' and '.join(examples)}; wanted one calendar for"
        " all. Write the same times in all, such as full hours, or of a week its Monday: `t -"
        " pandas.to_timedelta(t.dt.day_of_week, 'D')` of the times `t`."
    )


def _fit_steps(calendar: Calendar, stamps: pd.DatetimeIndex) -> CalendarFit:
    """How well the calendar fits `stamps`, which strictly rise."""
    steps = grid(calendar, _grid_start(pd.Series(stamps), calendar), stamps[-1])
    n_found = int(stamps.isin(steps).sum())
    return CalendarFit(calendar, len(stamps) - n_found, len(steps) - n_found)


def _fit_opening_hours(
    stamps: pd.DatetimeIndex, calendar: Calendar, time_zone: str | None
) -> list[CalendarFit]:
    """Opening hours that contain all `stamps` (rising steps of `calendar`) and have few steps
    without a row; in UTC and each of the `GUESSED_ZONES` where `time_zone` is None, and with the
    closed days of exchanges.
    """
    day_steps = count_day_steps(calendar)
    if day_steps < 2:
        return []
    zones = (time_zone,) if time_zone else ("UTC", *GUESSED_ZONES)
    fits = []
    for zone in zones:
        hours = _hours_with_rows(stamps, DAY / day_steps, zone)
        is_known = zone in (time_zone, "UTC")
        # an office in Santiago works from Tuesday to Saturday from 01:00 by the clock of Auckland;
        # a museum that is closed on Mondays opens later
        if hours is None or not (is_known or WEEKDAYS[0] in hours.days or hours.first >= "06:00"):
            continue
        fit = _fit_steps(calendar.model_copy(update={"opening_hours": hours}), stamps)
        share = MAX_SHARE_CLOSED_EARLY if is_known else MAX_SHARE_BY_GUESSED_CLOCK
        if fit.off_calendar == 0 and fit.without_row <= share * len(stamps):
            fits.append(fit)
    if not fits:
        return []
    best = min(fits, key=CalendarFit.count_misfits)
    assert isinstance(best.calendar, RegularCalendar)
    hours = best.calendar.opening_hours
    if hours is None or not 0 < best.without_row <= MAX_SHARE_WITHOUT_ROW * len(stamps):
        return fits
    for exchange in GUESSED_EXCHANGES if hours.days == WEEKDAYS[:5] else ():
        # skipped where the library is not installed or does not know these years
        with contextlib.suppress(InputError, ModuleNotFoundError):
            of_exchange = hours.model_copy(update={"exchange": exchange})
            with_sessions = calendar.model_copy(update={"opening_hours": of_exchange})
            fits.append(_fit_steps(with_sessions, stamps))
    return [fit for fit in fits if fit.off_calendar == 0]


def _hours_with_rows(
    stamps: pd.DatetimeIndex, step: pd.Timedelta, time_zone: str
) -> OpeningHours | None:
    """The opening hours from the earliest to the latest clock time of `stamps`, the beginnings of
    steps of length `step`, on their days of the week, by the clock of `time_zone`. None where they
    span the whole day, or there are fewer than `MIN_OPEN_DAYS` days.
    """
    local = local_times(stamps, time_zone)
    clocks = local.strftime("%H:%M")
    times = local - local.normalize()
    if times.max() - times.min() + step == DAY or local.normalize().nunique() < MIN_OPEN_DAYS:
        return None
    days = tuple(WEEKDAYS[day] for day in sorted(set(local.day_of_week)))
    return OpeningHours(days=days, first=clocks.min(), last=clocks.max(), time_zone=time_zone)


def _candidate_steps(stamps: pd.DatetimeIndex) -> list[str]:
    """The pandas names of steps that `stamps` may have, the likeliest first: the most frequent
    distance of two times; where that is some days, then one day; where it is a week or longer,
    names of weeks, months, quarters and years before it, of half months too.
    """
    common = pd.Series(stamps[1:] - stamps[:-1]).mode().iloc[0] if len(stamps) > 1 else DAY
    common = max(common.round("s"), pd.Timedelta(1, "s"))
    if common < 7 * DAY and common == common.floor("D"):
        return [f"{common.days}D", "1D"]  # days with an event may most often be two days apart
    if common < 7 * DAY:
        step = to_offset(common)
        return [f"{step.n}{step.base.freqstr}"]
    weeks = [f"W-{day.upper()}" for day in WEEKDAYS]
    prefixes = ("1", "2", "1B")  # B: the first or last working day
    longer = [f"{p}{step}" for p in prefixes for step in ("MS", "ME", "QS", "QE", "YS", "YE")]
    if common < 28 * DAY:
        longer += ["SMS", "SMS-16", "SME"]  # the 1st and the 15th or 16th, or the 15th and the last
    return [*weeks, *longer, f"{common.days}D"]


def _label_side(calendar: RegularCalendar) -> Literal["start", "end", "either"]:
    """Which end of its interval a step is labelled by: `MS` the start, `ME` the end. Weeks, working
    days and other named steps may be labelled by either end: of a week a shop may write the Monday,
    an investor the Friday.
    """
    step = to_offset(calendar.freq)
    name = step.rule_code.partition("-")[0]
    if isinstance(step, pd.offsets.Day | pd.offsets.Tick) or name.endswith("S"):
        return "start"
    return "end" if name.endswith("E") else "either"


def add_steps(times: pd.DatetimeIndex, freq: str, n: int) -> pd.DatetimeIndex:
    """The times `n` steps of `freq` later, or earlier where `n` is negative."""
    with warnings.catch_warnings():
        # pandas adds steps such as `bh` and `WOM-3FRI` one by one, and warns that this takes longer
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        return times + n * to_offset(freq)


def known_from(calendar: Calendar, ds: Any) -> pd.DatetimeIndex:
    """The time (UTC, no zone) from which each step is certainly known: the close of the session,
    the end of the interval. A step that may be labelled by either end counts as ending a step after
    its label.
    """
    times = pd.DatetimeIndex(ds)
    if len(times) == 0:
        return times
    if isinstance(calendar, RegularCalendar):
        is_labelled_by_end = _label_side(calendar) == "end"
        ends = times.normalize() + DAY if is_labelled_by_end else add_steps(times, calendar.freq, 1)
        return ends.as_unit("ns")
    ends_of_days = (times + DAY).as_unit("ns")
    if isinstance(calendar, WeekdayCalendar):
        return ends_of_days
    if isinstance(calendar, YearWeekCalendar):
        steps = grid(calendar, times.min(), pd.Timestamp(times.max().year + 1, 1, 1))
        return steps[steps.searchsorted(times, side="right")]
    closes = _exchange_calendar(
        calendar.exchange, times.min().year, times.max().year
    ).closes.dt.tz_localize(None)
    # a time that is no session, in unchecked rows of a service, is known at the end of its day
    close_times = pd.DatetimeIndex(closes.reindex(times)).as_unit("ns")
    return close_times.where(close_times.notna(), ends_of_days)


def read_until(calendar: Calendar, ds: Any) -> pd.DatetimeIndex:
    """The time (UTC, no zone) up to which each step may read other data: `known_from`, but for a
    step that may be labelled by either end, the end of the label's day where that is earlier.
    """
    known_times = known_from(calendar, ds)
    if not isinstance(calendar, RegularCalendar) or _label_side(calendar) != "either":
        return known_times
    ends_of_days = (pd.DatetimeIndex(ds).normalize() + DAY).as_unit("ns")
    return known_times.where(known_times < ends_of_days, ends_of_days)


def step_days(calendar: Calendar, times: pd.DatetimeIndex) -> tuple[pd.DatetimeIndex, ...]:
    """The first and the last day of each step, for steps of a day or longer."""
    if not isinstance(calendar, RegularCalendar | YearWeekCalendar):
        return times.normalize(), times.normalize()
    first = times
    if isinstance(calendar, RegularCalendar) and _label_side(calendar) == "end":
        first = add_steps(times, calendar.freq, -1) + DAY
    return first.normalize(), (known_from(calendar, times) - DAY).normalize()


def _cycle_position(times: pd.DatetimeIndex, name: CalendarFeature) -> np.ndarray:
    """(T,): the position of each time in the cycle of feature `name`, in the feature's unit: hours
    of the day, days of the week from Monday, days of the month from its first or to its last, days
    or months of the year.
    """
    if name == "day_of_week":
        return times.day_of_week.to_numpy(float)
    if name == "day_of_month":
        return times.day.to_numpy(float) - 1
    if name == "day_to_month_end":
        return (times.days_in_month - times.day).to_numpy(float)
    if name == "month_of_year":
        return times.month.to_numpy(float) - 1
    share_of_day = ((times - times.normalize()) / DAY).to_numpy()
    if name == "hour_of_day":
        return share_of_day * 24.0
    return times.day_of_year.to_numpy() - 1 + share_of_day


def _grid_start(times: pd.Series, calendar: Calendar) -> pd.Timestamp:
    """The time from which `grid` should count. Of a fixed step it is the earliest time of the most
    frequent phase, so that a first row off the grid does not shift it; earlier times are then off
    the calendar.
    """
    if (step := fixed_step(calendar)) is None:
        return times.min()
    values = times.astype("datetime64[ns]").astype("int64")
    phase = values % step.value
    return pd.Timestamp(values[phase == phase.mode()[0]].min())


def _describe_off_calendar(
    calendar: Calendar, frame: pd.DataFrame, off_calendar: list[pd.Timestamp]
) -> str:
    """What is wrong with the first of the times `off_calendar`, what to do, and which calendar fits
    better.
    """
    times = frame["ds"].drop_duplicates()
    if isinstance(calendar, Daily):
        name = getattr(calendar, "exchange", "the configured weekdays")
        fault = f"this is no session of {name}"
    elif isinstance(calendar, YearWeekCalendar):
        fault = "this is no week counted from 1 January"
    elif calendar.opening_hours:
        fault = f"no step of {calendar.freq} begins then within the opening hours"
    else:
        fault = f"this time is off the {calendar.freq!r} grid of the other rows"
    if len(off_calendar) > 1:
        fault += f" ({len(off_calendar)} such times in all: {format_times(off_calendar, calendar)})"
    if isinstance(calendar, Daily) and all(time != time.normalize() for time in off_calendar):
        return f"{fault}. A session is named by its date. Write dates alone, without hours."
    advice = "Round or drop it, or correct `calendar`."
    best = fit_calendar(times)
    if own_steps := describe_own_steps(frame):
        advice = own_steps
    elif 2 * best.off_calendar > len(times):
        advice = UNEVEN_ADVICE
    elif best.off_calendar < len(off_calendar):
        n_off = plural(best.off_calendar, "time")
        n_steps = count_steps_by_series(frame, best.calendar).sum()
        advice += (
            f" Nearest calendar: {calendar_yaml(best.calendar)} ({n_off} off it, steps without a"
            f" row: {max(n_steps - len(frame) + best.off_calendar, 0)})."
        )
    is_day_or_longer = (step_length(calendar) or DAY) >= DAY
    if is_day_or_longer and times.dt.hour.nunique() == 2:
        advice += (
            " Midnights of a clock that changes are no days of UTC: write dates alone, such as"
            " 2024-01-31."
        )
    return f"{fault}. {advice}"


def format_times(times: Iterable[Any], calendar: Calendar) -> str:
    """The first few times for a message; midnights as dates, rows without dates by number."""

    def show(time: Any) -> str:
        stamp = pd.Timestamp(time)
        width = 10 if stamp == stamp.normalize() else 16
        return format_time(calendar.kind, str(stamp), width)

    return list_first(list(times), MAX_TIMES_SHOWN, show)


def row_numbers(moments: Any) -> np.ndarray:
    """The numbers of rows without dates, whose times are a minute apart."""
    return pd.DatetimeIndex(moments).as_unit("s").asi8 // 60


def calendar_entry(calendar: Calendar) -> dict[str, Any]:
    """The value of `calendar` in an entry of configs/datasets.yaml."""
    left_out = {"freq"} if calendar.counts_rows else None
    return calendar.model_dump(mode="json", exclude_defaults=True, exclude=left_out)


def calendar_yaml(calendar: Calendar) -> str:
    """A calendar as written in configs/datasets.yaml."""
    return flow_yaml(calendar_entry(calendar))


def _exchange_calendar(exchange: str, first_year: int, last_year: int) -> Any:
    """The exchange's calendar, for at least these years as far as the library knows them. It covers
    1970 to 2059 too, so that nearly all datasets share one. `InputError` for an exchange or years
    that the library does not know.
    """
    try:
        calendar = _build_exchange_calendar(exchange, min(first_year, 1970), max(last_year, 2059))
        first, last = calendar.first_session, calendar.last_session
        if last_year < first.year or first_year > last.year:
            raise ValueError(f"it knows those from {first:%Y} to {last:%Y}")
        return calendar
    except (ValueError, NotImplementedError) as fault:
        raise InputError(
            f"exchange_calendars has no sessions of {exchange} from {first_year} to {last_year}:"
            f" {fault}. Take other years, or list the days that were closed:"
            " `calendar: {kind: weekdays, closures: ['2024-12-25']}`."
        ) from None


@cache
def _build_exchange_calendar(exchange: str, first_year: int, last_year: int) -> Any:
    """The library's calendar of these years, or of those among them that it knows; cached, as it
    takes an eighth of a second.
    """
    import exchange_calendars

    start, end = pd.Timestamp(first_year, 1, 1), pd.Timestamp(last_year, 12, 31)
    with warnings.catch_warnings():
        # exchange_calendars 4.13 uses an accessor that pandas 3.1 deprecates
        warnings.simplefilter("ignore", category=DeprecationWarning)
        with contextlib.suppress(ValueError):
            return exchange_calendars.get_calendar(exchange, start=start, end=end)
        calendar_class = type(exchange_calendars.get_calendar(exchange))
        start, end = (
            max(start, calendar_class.bound_min() or start),
            min(end, calendar_class.bound_max() or end),
        )
        return exchange_calendars.get_calendar(exchange, start=start, end=end)
