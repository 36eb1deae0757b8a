"""Finds the country whose public holidays move a series, from its values alone, for `forecast add`.

`find_holiday_effects` compares each day with the same weekday of the surrounding weeks, and tests
for every country of the library `holidays` whether its holidays deviate. The rule was written
before its figures were seen: docs/research/calendar-inputs.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from forecast.data.calendars import DAY, GUESSED_ZONES, local_times
from forecast.data.guesses.spans import FITTED_SHARE

MOST_SERIES = 20
"""The number of longest series that are examined; holidays are the same for all."""
WEEKS_AROUND = 9
MOST_DEPARTURE = 5.0
"""Departures, in units of the usual one, are clipped here, so that one wild value counts no
more.
"""
UNUSUAL = 2.0
MIN_HOLIDAYS = 6
MIN_T = 6.0
"""With noise, 200 countries reach 4.1 in one of a hundred files."""
MIN_UNUSUAL_SHARE = 2 / 3
"""The share of holidays that have to be unusual; fewer are where a country has some days of
another.
"""
TIED = 9.0
"""Countries are tied within this difference of explained squares: three standard errors,
squared.
"""


class HolidayEffects(NamedTuple):
    """The `country` whose holidays move a series: `n_unusual` of its `n_days` holidays on working
    days depart from their weekday.
    """

    country: str
    n_unusual: int
    n_days: int


class CountryDays(NamedTuple):
    """How well a country's holidays explain the departures. departures: (n,) those of its holidays
    on working days; explained: the sum of squares that their mean explains; t: its robust t
    statistic; n_others: the number of other holidays; n_parts: the number of states and the like.
    """

    country: str
    departures: np.ndarray
    explained: float
    t: float
    n_others: int
    n_parts: int


def find_holiday_effects(
    frame: pd.DataFrame, target: str, step: pd.Timedelta, zone: str | None
) -> HolidayEffects | None:
    """The country whose holidays move `target` in `frame`, None without one.

    frame: in UTC, rows of a series in order of time. step: at most a day; shorter steps are grouped
    to days of `zone` (None: UTC). Only the first `FITTED_SHARE` of each series' rows are used.
    """
    departures = _daily_departures(frame, target, step, zone)
    if (departures.abs() > UNUSUAL).sum() < MIN_HOLIDAYS / 2:
        return None  # building all countries' holidays takes a third of a second
    countries = list(_test_countries(departures))
    max_explained = max((days.explained for days in countries), default=0.0)
    tied = [days for days in countries if days.explained >= max_explained - TIED]
    if not tied:
        return None
    country_of_zone = GUESSED_ZONES.get(zone or "")
    chosen = min(
        tied,
        key=lambda days: (
            days.country != country_of_zone,
            -days.n_parts,
            -days.explained,
            days.n_others,
        ),
    )
    sign = np.sign(chosen.departures.mean())
    n_unusual = int((sign * chosen.departures > UNUSUAL).sum())
    n_days = len(chosen.departures)
    if not _are_significant(chosen.departures, chosen.t) or n_unusual < MIN_UNUSUAL_SHARE * n_days:
        return None
    return HolidayEffects(chosen.country, n_unusual, n_days)


def _daily_departures(
    frame: pd.DataFrame, target: str, step: pd.Timedelta, zone: str | None
) -> pd.Series:
    """By day, the difference of the day's mean from the usual one of its weekday, in robust units,
    averaged over series; without days that have no value.
    """
    by_series = frame.groupby("unique_id")[target]
    sizes = by_series.transform("size")
    longest = frame["unique_id"].value_counts().index[:MOST_SERIES]
    is_read = by_series.cumcount() < FITTED_SHARE * sizes
    rows = frame[is_read & frame["unique_id"].isin(longest)]
    times = pd.DatetimeIndex(rows["ds"])
    days = local_times(times, zone or "UTC") if step < DAY else times
    grouped = rows.groupby([days.normalize(), rows["unique_id"].to_numpy()])[target]
    counts = grouped.count().unstack()
    means = grouped.mean().unstack()
    means = means.where(counts >= counts[counts > 0].median() / 2).asfreq("D")
    parts = []
    for _, weeks in means.groupby(pd.DatetimeIndex(means.index).day_of_week):
        usual = weeks.rolling(WEEKS_AROUND, center=True, min_periods=WEEKS_AROUND // 2 + 1).median()
        # values that are never negative depart in proportion to their level
        levels = usual.where(usual > 0) if (rows[target].dropna() >= 0).all() else 1.0
        parts.append((weeks - usual) / levels)
    departures = _in_robust_units(pd.concat(parts).sort_index())
    if departures.shape[1] > 1:
        departures = _in_robust_units(departures.mean(axis=1).to_frame())
    return departures.iloc[:, 0].dropna()


def _in_robust_units(departures: pd.DataFrame) -> pd.DataFrame:
    """The columns divided by their usual size, clipped at `MOST_DEPARTURE`."""
    usual = 1.4826 * departures.abs().median()
    return (departures / usual.where(usual > 0)).clip(-MOST_DEPARTURE, MOST_DEPARTURE)


class CountryCalendar(NamedTuple):
    """A country's holidays (`datetime64[D]`), its weekend as weekdays from Monday = 0, and the
    number of its states and the like.
    """

    country: str
    off: np.ndarray
    weekend: list[int]
    n_parts: int


def _test_countries(departures: pd.Series) -> Iterator[CountryDays]:
    """How well the holidays of each country explain the departures, for countries that have one on
    a working day.
    """
    index = pd.DatetimeIndex(departures.index)
    days, weekdays = index.to_numpy().astype("datetime64[D]"), index.day_of_week.to_numpy()
    values = departures.to_numpy()
    for calendar in _calendars(index[0].year, index[-1].year):
        is_working = ~np.isin(weekdays, calendar.weekend)
        is_holiday = is_working & np.isin(days, calendar.off)
        holiday_departures = values[is_holiday]
        usual_departure = np.sqrt(np.mean(values[is_working & ~is_holiday] ** 2))
        if len(holiday_departures) and usual_departure > 0:
            explained = len(holiday_departures) * holiday_departures.mean() ** 2
            yield CountryDays(
                calendar.country,
                departures=holiday_departures,
                explained=explained,
                t=float(np.sqrt(explained) / usual_departure),
                n_others=len(calendar.off) - len(holiday_departures),
                n_parts=calendar.n_parts,
            )


@lru_cache(maxsize=4)  # a third of a second for three years
def _calendars(first: int, last: int) -> list[CountryCalendar]:
    """The calendars of all countries that the library knows, for the years `first` to `last`."""
    from holidays import country_holidays, list_supported_countries

    calendars = []
    for country, parts in list_supported_countries(include_aliases=False).items():
        with warnings.catch_warnings(action="ignore"):  # about years that the library lacks
            days = country_holidays(country, years=range(first, last + 1))
        off = np.array(list(days), dtype="datetime64[D]")
        calendars.append(CountryCalendar(country, off, list(days.weekend), len(parts)))
    return calendars


def _are_significant(departures: np.ndarray, t: float) -> bool:
    """Whether the `departures` of the holidays (n,) exceed chance, and the means of every second
    one and of the others agree in sign, and within a factor of two.
    """
    if len(departures) < MIN_HOLIDAYS or t < MIN_T:
        return False
    even, odd = departures[::2].mean(), departures[1::2].mean()
    return bool(min(even * (2 * odd - even), odd * (2 * even - odd)) > 0)
