"""Guesses the target column of a file, and its transform and bounds. A telling name decides; else
it is the first number that is neither a switch nor a plan nor a count of time.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.typing import SeriesGroupBy

from forecast.data.calendars import (
    DAY,
    Calendar,
    count_day_steps,
    count_steps_by_series,
    step_length,
)
from forecast.data.guesses.cells import words_of
from forecast.data.guesses.spans import FITTED_SHARE
from forecast.system.errors import InputError, quote_names

TARGET_COLUMN_NAMES = ("y", "target", "value", "values", "wert", "close", "ot")
TARGET_WORDS = (
    "sales",
    "sold",
    "revenue",
    "demand",
    "load",
    "consumption",
    "orders",
    "quantity",
    "qty",
    "units",
    "kwh",
    "mwh",
    "menge",
    "anzahl",
    "bestellungen",
    "price",
    "visitors",
    "traffic",
    "rides",
    "trips",
    "cnt",
    "count",
    "calls",
    "power",
    "umsatz",
    "absatz",
    "verbrauch",
    "preis",
    "temp",
    "temperature",
    "temperatur",
)
"""Words of a target's name, such as `temp_c` or `daily sales`, the surest first."""
WEATHER_NAME = re.compile(
    "temp|hum|feucht|wind|gust|rain|regen|precip|niederschlag|snow|schnee|cloud|wolke|dew|sun|sonne"
    "|press|druck|radiation|strahlung|visib|sicht",
    re.IGNORECASE,
)
"""Matches names of weather. Where all other numbers are weather, a temperature may be the
target.
"""
MOST_CODES = 31
"""With at most so many distinct values, numbers may be codes, such as of a month or a day."""
FORECAST_WORDS = {"forecast", "fc", "fcst", "planned", "prognose", "vorhersage"}
"""Words in the name of a forecast of the target or an input."""
SHARE_WORDS = {"percent", "pct", "share", "humidity", "prozent", "anteil"}
"""Words in the name of a share, whose values are from 0 to 100 (or 1)."""
SIGNED_NAME = re.compile(
    "temp|°|celsius|degc|dew|^t(avg|min|max|mean|mk|mp|2m|_|$)"
    "|growth|(?<!ex)change|delta|inflation|profit|balance|wachstum|änderung|gewinn|saldo",
    re.IGNORECASE,
)
"""Matches names of temperatures and differences, which may fall below zero though they never
have.
"""
NEAR_ZERO = 0.1
"""The share of the highest value below which values are near zero."""
MIN_PRICE_DAYS = 100
"""With fewer days the variance over ten days is unknown."""
MIN_LATER_RATIO = 0.35
"""The least variance over twenty days, divided by twenty times that of one day: prices have at
least .47, stocks of goods that last a month at most .3 (docs/research/quarter-hour.md).
"""
MAX_ONE_WAY = 0.5
"""The most that `_measure_one_way` gives of a price: a tank or a stock has .7 to 1, a random walk
nearly always less than .3 (docs/research/unseen-files.md).
"""
LONG_LAG = 52
"""The steps after which a season or a level has returned, and a price has not
(docs/research/quarter-hour.md).
"""
PLANNED_WORDS = {"price", "preis", "temp", "temperature", "temperatur"}
"""The `TARGET_WORDS` that may be known ahead: a list price, a weather forecast."""
MAX_PLAN_SHARE = 0.15
"""The largest share of the times that may be missing at a column's end; beyond it, it was
given up.
"""
MIN_COUNTED_SHARE = 0.9
"""The share of rows one away from the row before that shows a counter, or days of a month."""
MIN_SEASONS = 7
MIN_LEVEL_SPREAD = 0.05
MIN_SLOPE = 0.8
"""A target has a log transform from `MIN_SEASONS` on, if their log means have at least the standard
deviation `MIN_LEVEL_SPREAD`, and the log spread at least the slope `MIN_SLOPE` on them
(docs/research/logarithm-of-a-target.md).
"""
MIN_SEASONS_FOR_MEDIANS = 10
"""With fewer seasons the median at one position of the season is unknown."""
NO_TARGET = math.inf
"""The rank of a name without a word of a target."""


def pick_target(
    rows: pd.DataFrame, times: pd.Series, numbers: list[str], target: str, where: str
) -> Any:
    """The column `target`, if given. Else, of the columns that change within a series and are
    neither forecasts, plans nor running totals, the one whose name has the lowest `_target_rank`;
    without such a name the first that is neither a switch nor `_counts_time`.

    A temperature is not the target where a number before it may be one, such as arrivals: it is
    rather their input. Neither is a change. `InputError` where there are no numbers, or none is
    called `target`.
    """
    if not numbers:
        raise InputError(
            f"{where}: no number in {quote_names(rows.columns)} beside times and series. Add a"
            " column with what is to be forecast."
        )
    if target and target not in numbers:
        raise InputError(
            f"{where}: no column of numbers called {target!r}; found {quote_names(numbers)}. Name"
            " one of them with --target."
        )
    if target:
        return target
    changes = rows.groupby("unique_id")[numbers].nunique().gt(1).any()
    numbers = [*changes.index[changes]] or numbers
    numbers = [c for c in numbers if FORECAST_WORDS.isdisjoint(words_of(c))] or numbers
    unplanned = _drop_plans(rows[numbers], times)
    numbers = [c for c in numbers if c in unplanned or _is_measured(c)]
    in_order = rows.loc[times.sort_values().index]
    read_numbers = [*rows[numbers].select_dtypes("number")]  # others have more digits than a float
    totals = [c for c in read_numbers if _is_running_total(c, in_order, read_numbers)]
    numbers = [c for c in numbers if c not in totals]
    surest = min(numbers, key=_target_rank)
    if _target_rank(surest) == NO_TARGET:
        likely = [c for c in numbers if rows[c].nunique() > 2]
    else:
        earlier_numbers = numbers[: numbers.index(surest)] if SIGNED_NAME.search(surest) else []
        likely = [c for c in earlier_numbers if _may_be_target(rows[c])]
    return next((c for c in likely if not _counts_time(rows[c], times)), surest)


def _drop_plans(values: pd.DataFrame, times: pd.Series) -> list[str]:
    """The number columns, without those that go on after the end of another and so are plans.

    A gap is no end where the column has a gap as long elsewhere, or where it is longer than
    `MAX_PLAN_SHARE` of the times. Weather, beside other columns, and switches do not count as
    ended: their values may come late.
    """
    has_value = values.notna().groupby(times).any().to_numpy()
    n_behind = has_value[::-1].argmax(axis=0)
    longest_gaps = [np.diff(np.flatnonzero(column)).max(initial=1) - 1 for column in has_value.T]
    is_end = (n_behind > longest_gaps) & (n_behind <= MAX_PLAN_SHARE * len(has_value))
    is_weather = values.columns.str.contains(WEATHER_NAME)
    is_end &= (is_weather.all() | ~is_weather) & (values.nunique() > 2)
    return list(values.columns[n_behind >= n_behind[is_end].max(initial=0)])


def _is_measured(column: str) -> bool:
    """Whether the name is that of a target which nobody knows ahead: sales, and not a list
    price.
    """
    return _target_rank(column) != NO_TARGET and PLANNED_WORDS.isdisjoint(words_of(column))


def _counts_time(values: pd.Series, times: pd.Series) -> bool:
    """Whether numbers count rows, as the key of a database does, are the times in years (1958.2),
    or tell no more than the hour, the day of the week or month, the week or the month: they are
    equal wherever that is.
    """
    if (values.diff().abs() == 1).mean() > MIN_COUNTED_SHARE:
        return True
    clocks = times.dt
    if (values - clocks.year - clocks.day_of_year / 366).abs().max() < 0.1:
        return True
    parts = (
        clocks.hour,
        clocks.day_of_week,
        clocks.day,
        clocks.isocalendar().week,
        clocks.month,
    )
    return any(
        values.groupby(part).nunique().max() == 1
        for part in parts
        if part.nunique() < times.nunique() / 2
    )


def _is_running_total(column: str, in_order: pd.DataFrame, numbers: list[str]) -> bool:
    """Whether a column never falls and another one is its change, as beside a meter's reading the
    consumption. They are equal in nearly all rows and, as most rows of two steps may be zero, in
    nearly all rows with a rise.
    """
    changes = in_order.groupby("unique_id")[column].diff()
    if not changes.min() >= 0 < changes.max():
        return False
    is_change = np.isclose(in_order[numbers].drop(columns=column), changes.to_frame())
    shares = np.minimum(is_change.mean(axis=0), is_change[changes > 0].mean(axis=0))
    return bool((shares > MIN_COUNTED_SHARE).any())


def _may_be_target(values: pd.Series) -> bool:
    """Whether numbers are neither weather nor codes nor a counter."""
    is_weather = WEATHER_NAME.search(str(values.name))
    return not is_weather and values.nunique() > MOST_CODES and not values.is_monotonic_increasing


def _target_rank(column: str) -> float:
    """How surely the name is that of a target: the surest has the lowest rank."""
    if column.lower().strip("<>") in TARGET_COLUMN_NAMES:
        return -1
    words = words_of(column)
    if set(words) in ({"adj", "close"}, {"adjusted", "close"}):
        return -2  # unlike this, the close jumps at a split
    return next((rank for rank, word in enumerate(TARGET_WORDS) if word in words), NO_TARGET)


def guess_target_fields(
    observed: pd.DataFrame, calendar: Calendar, target: str, season: int
) -> dict[str, Any]:
    """The transform and bounds of the target, as keys of its entry. A price is modelled by its log
    returns, values that vary in proportion to their level by their logarithm. Other values that
    come near zero have the minimum 0 (`guess_minimum`), and a share has a maximum. Values that are
    or may be negative have no such key.
    """
    values = observed[target]
    if _may_be_negative(values):
        return {}
    if values.min() > 0 and (
        calendar.kind == "sessions" or _moves_like_price(observed, calendar, target, season)
    ):
        return {"transform": "log", "difference_inputs": True}
    if "%" in target or SHARE_WORDS.intersection(words_of(target)):
        maximum = 1 if values.max() <= 1 else 100
        if values.max() <= maximum:
            return {"minimum": 0, "maximum": maximum}
    elif varies_with_level(observed, target, season):
        return {"transform": "log1p", "minimum": 0}
    return {} if guess_minimum(values) is None else {"minimum": 0}


def guess_minimum(values: pd.Series) -> int | None:
    """The bound 0 of a target that was never negative and is zero at some time, or in one row of
    twenty lower than `NEAR_ZERO`; None for any other. Far from zero the bound would change no
    forecast, but refuse the first negative value of what has never been that low, as a net load.
    """
    is_low = values.min() == 0 or values.quantile(0.05) <= NEAR_ZERO * values.max()
    return 0 if is_low and not _may_be_negative(values) else None


def _may_be_negative(values: pd.Series) -> bool:
    """Whether a target was negative, or has a name (`SIGNED_NAME`) that says that it may be."""
    return not values.min() >= 0 or bool(SIGNED_NAME.search(str(values.name)))


def varies_with_level(observed: pd.DataFrame, target: str, season: int) -> bool:
    """Whether the spread within a season is proportional to the season's level, in the first
    `FITTED_SHARE` of each series' values.
    """
    observations = observed.dropna(subset=[target])
    rows = observations.groupby("unique_id")[target]
    n_fitted = (FITTED_SHARE * rows.transform("size")).astype(int) // season * season
    fitted = observations[rows.cumcount() < n_fitted]  # whole seasons of each series
    seasons = fitted[target].to_numpy(float).reshape(-1, season)
    table = pd.DataFrame({"level": seasons.mean(axis=1), "spread": seasons.std(axis=1)})
    is_positive = (table > 0).all(axis=1)
    logs = table[is_positive].apply(np.log)
    series = fitted["unique_id"].to_numpy()[::season][is_positive]
    level, spread = (logs - logs.groupby(series).transform("mean")).to_numpy().T
    if len(level) < MIN_SEASONS or level.std() < MIN_LEVEL_SPREAD:
        return False
    return bool(level @ spread >= MIN_SLOPE * (level @ level))


def _moves_like_price(observed: pd.DataFrame, calendar: Calendar, target: str, season: int) -> bool:
    """Whether the logarithms are a random walk in the median series, by variance ratios (Lo and
    MacKinlay 1988): over ten days they vary about ten times as much as over one. Over twenty days a
    stock that is refilled varies no more; one that lasts for longer falls on most days and is back
    at once. For steps of a week or longer, steps take the place of days, and `LONG_LAG` is tested
    too.
    """
    is_long = (step_length(calendar) or 2 * DAY) > DAY and not count_day_steps(calendar)
    day_steps = 1 if is_long else count_day_steps(calendar)
    if count_steps_by_series(observed, calendar).median() < MIN_PRICE_DAYS * (day_steps or np.inf):
        return False
    fitted = observed[_is_fitted(observed.groupby("unique_id")[target])]
    series = fitted["unique_id"]
    logs = np.log(fitted[target]).groupby(series)
    lags = (1, 10, 20, *([max(LONG_LAG // season, 1) * season] if is_long else []))
    day, *longer = (logs.diff(days * day_steps).groupby(series).var() / days for days in lags)
    ten_days, *later_ratios = ((variance / day).median() for variance in longer)
    walks_on = all(ratio >= MIN_LATER_RATIO for ratio in later_ratios)
    one_way = logs.diff(day_steps).groupby(series).agg(_measure_one_way).abs().median()
    return bool(0.5 <= ten_days <= 2 and walks_on and one_way <= MAX_ONE_WAY)


def _measure_one_way(changes: pd.Series) -> float:
    """The mean sign of the changes less their mean over their mean size: far from 0 where many
    small falls are made up by few large rises.
    """
    return (np.sign(changes) - changes / changes.abs().mean()).mean()


def is_intermittent(observed: pd.DataFrame, target: str, season: int) -> bool:
    """Whether in most series no value is negative, and from the first one above zero on at least
    half are zero, in the first `FITTED_SHARE` of the rows. With enough seasons this has to hold at
    every position of the season, which excludes nights without sun and closed days.
    """
    if not (observed[target] == 0).any():
        return False
    by_series = observed.groupby("unique_id")[target]
    row_number = by_series.cumcount()
    has_sold = by_series.cummax() > 0  # zeros before the first sale do not count
    fitted = observed[_is_fitted(by_series) & has_sold]
    if by_series.size().median() < MIN_SEASONS_FOR_MEDIANS * season:
        season = 1
    medians = fitted.groupby(["unique_id", row_number[fitted.index] % season])[target].median()
    largest = medians.groupby("unique_id").max()
    is_zero = (largest == 0) & (by_series.min()[largest.index] == 0)
    return bool(is_zero.mean() > 0.5)


def _is_fitted(by_series: SeriesGroupBy) -> pd.Series:
    """Which rows of a column, grouped by series, are in the first `FITTED_SHARE` of theirs."""
    return by_series.cumcount() < FITTED_SHARE * by_series.transform("size")
