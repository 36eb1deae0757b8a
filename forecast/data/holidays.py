"""Public holidays as inputs over the horizon: columns that follow from the date alone.

For `data.columns`, which puts them beside the plans of the data, wherever a frame becomes what a
model reads: prepared data, a request to a served model, a frame of Python. The rule is a
`config.task.Holidays`; the days are those of the library `holidays`. A step of less than a day has
the value of its day by the clock of the rule; a longer one the number of such days it lasts.
Half days, school holidays and what was never law are not in it: those are columns of the data.

An unknown country is refused when the entry is read (`config.task.Holidays`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from forecast.config.task import Holidays, RegularCalendar, YearWeekCalendar
from forecast.data.calendars import Calendar, fixed_step, known_from

SATURDAY = 5
DAY = pd.Timedelta(1, "D")


def holiday_columns(rule: Holidays, calendar: Calendar, times: pd.DatetimeIndex) -> pd.DataFrame:
    """(T, columns of the rule) float64, indexed by `times`: rising steps of `calendar`, in UTC.

    A weekend day that is a holiday counts as one.
    """
    first_days, last_days = times.normalize(), times.normalize()
    step = fixed_step(calendar)
    if step is not None and step < DAY:
        local = times.tz_localize("UTC").tz_convert(rule.time_zone or "UTC").tz_localize(None)
        first_days = last_days = local.normalize()
    elif isinstance(calendar, RegularCalendar | YearWeekCalendar):
        last_days = (known_from(calendar, times) - DAY).normalize()
    margin = max(rule.days_before, rule.days_after, 1) + 1
    days = pd.date_range(first_days[0] - margin * DAY, last_days[-1] + margin * DAY)
    by_day = _daily_columns(rule, days)
    totals = by_day.cumsum()
    counts = totals.loc[last_days].to_numpy() - totals.loc[first_days - DAY].to_numpy()
    return pd.DataFrame(counts.round(9), index=times, columns=list(rule.columns))


def _daily_columns(rule: Holidays, days: pd.DatetimeIndex) -> pd.DataFrame:
    """The columns of the rule for unbroken `days`; what lies outside of them is no holiday."""
    holiday = pd.Series(_holiday_shares(rule, days), index=days)
    columns = {"holiday": holiday}
    for n_days in range(1, rule.days_before + 1):
        columns[f"holiday_in_{n_days}"] = holiday.shift(-n_days, fill_value=0.0)
    for n_days in range(1, rule.days_after + 1):
        columns[f"holiday_{n_days}_ago"] = holiday.shift(n_days, fill_value=0.0)
    if rule.bridge_days:
        is_free = (holiday > 0) | (days.day_of_week >= SATURDAY)
        is_between = is_free.shift(1, fill_value=False) & is_free.shift(-1, fill_value=False)
        columns["bridge_day"] = (is_between & ~is_free).astype(float)
    return pd.DataFrame(columns)


def _holiday_shares(rule: Holidays, days: pd.DatetimeIndex) -> np.ndarray:
    """(T,) of 1 where the country has a day off; of several states the share that has."""
    from holidays import country_holidays

    years = range(days[0].year, days[-1].year + 1)
    free_days = [
        days.isin(pd.DatetimeIndex(list(country_holidays(rule.country, subdiv=state, years=years))))
        for state in rule.states or (None,)
    ]
    return np.mean(free_days, axis=0)
