"""The column of a file of the user's own that is forecast, and how its values are scaled: it goes
by its name, else it is the first number that is neither a switch nor a plan.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.typing import SeriesGroupBy

from forecast.data.calendars import DAY, Calendar, count_day_steps, series_lengths, step_length
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
    "price",
    "visitors",
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
"""Words of a name that is rather the target than another number, such as `temp_c` or `daily sales`,
and not cloud cover beside it; in this order.
"""
WEATHER_NAME = re.compile(
    "temp|hum|feucht|wind|gust|rain|regen|precip|niederschlag|snow|schnee|cloud|wolke|dew|sun|sonne"
    "|press|druck|radiation|strahlung|visib|sicht",
    re.IGNORECASE,
)
"""What is in a name of a number beside which a temperature may be the target."""
MOST_CODES = 31
"""So many values or fewer may be codes, such as of a month or a day."""
FORECAST_WORDS = {"forecast", "fc", "fcst", "planned", "prognose", "vorhersage"}
"""Words of a name that tells of the target or an input what somebody else expects of it."""
SHARE_WORDS = {"percent", "pct", "share", "humidity", "prozent", "anteil"}
"""Words of a name, or %, whose values from 0 to 100 (or 1) are a share."""
TEMPERATURE_NAME = re.compile(
    "temp|°|celsius|degc|dew|^t(avg|min|max|mean|mk|mp|2m|_|$)", re.IGNORECASE
)
"""What is in a name whose values may fall below zero in another season."""
MIN_PRICE_DAYS = 100
"""With fewer the variance over ten days is as good as unknown."""
MIN_LATER_RATIO = 0.35
"""Of the variance over twenty days to twenty times that of one, at least: prices have .47 and more,
stocks of goods that last a month and less .3 (docs/research/quarter-hour.md).
"""
LONG_LAG = 52
"""Weeks, months or quarters after which a price has walked on, while a season or a level is back
(docs/research/quarter-hour.md).
"""
PLANNED_WORDS = {"price", "preis", "temp", "temperature", "temperatur"}
"""Of `TARGET_WORDS`: a list price and a forecast of the weather are known ahead."""
MAX_PLAN_SHARE = 0.15
"""Of the times: a column that has been empty for longer is no longer measured."""
MIN_SEASONS = 7
MIN_LEVEL_SPREAD = 0.05
MIN_SLOPE = 0.8
"""From how many seasons, which deviation of their log means, and which slope of the log spread on
them on a target is modelled by its logarithm (docs/research/logarithm-of-a-target.md).
"""
MIN_SEASONS_OF_A_PLACE = 10
"""From so many on the median of the values at one place of the season says something."""
NO_TARGET = math.inf
"""The rank of a column whose name says nothing of a target."""


def pick_target(
    rows: pd.DataFrame, times: pd.Series, numbers: list[str], target: str, where: str
) -> Any:
    """The column that `target` names. Else, of the columns that change within a series and are
    neither forecasts nor plans, the one whose name tells a target most surely; where no name does,
    the first that is no switch.

    A temperature is not taken where a number that may be a target, such as arrivals, stands before
    it: it is rather an input of that. `InputError` where there is no number, or none called
    `target`.
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
    surest = min(numbers, key=_target_rank)
    if _target_rank(surest) == NO_TARGET:
        return next((c for c in numbers if rows[c].nunique() > 2), numbers[0])
    before = numbers[: numbers.index(surest)] if TEMPERATURE_NAME.search(surest) else []
    return next((c for c in before if _may_be_target(rows[c])), surest)


def _drop_plans(values: pd.DataFrame, times: pd.Series) -> list[str]:
    """The columns of numbers but those with a value after the end of another, as a plan has.

    A gap of a usual length is no end, nor one of more than `MAX_PLAN_SHARE` of the times; weather
    (beside other numbers) and switches end where their delivery is late.
    """
    has_value = values.notna().groupby(times).any().to_numpy()
    n_behind = has_value[::-1].argmax(axis=0)
    longest_gaps = [np.diff(np.flatnonzero(column)).max(initial=1) - 1 for column in has_value.T]
    is_end = (n_behind > longest_gaps) & (n_behind <= MAX_PLAN_SHARE * len(has_value))
    is_weather = values.columns.str.contains(WEATHER_NAME)
    is_end &= (is_weather.all() | ~is_weather) & (values.nunique() > 2)
    return list(values.columns[n_behind >= n_behind[is_end].max(initial=0)])


def _is_measured(column: str) -> bool:
    """Whether its name tells a target that nobody knows ahead, as sales are and a list price is
    not.
    """
    return _target_rank(column) != NO_TARGET and PLANNED_WORDS.isdisjoint(words_of(column))


def _may_be_target(values: pd.Series) -> bool:
    """Whether numbers are neither weather nor codes nor a counter."""
    is_weather = WEATHER_NAME.search(str(values.name))
    return not is_weather and values.nunique() > MOST_CODES and not values.is_monotonic_increasing


def _target_rank(column: str) -> float:
    """How surely the name of a column tells the target, the surest lowest."""
    if column.lower() in TARGET_COLUMN_NAMES:
        return -1
    words = words_of(column)
    if set(words) in ({"adj", "close"}, {"adjusted", "close"}):
        return -2  # the close itself jumps at a split
    return next((rank for rank, word in enumerate(TARGET_WORDS) if word in words), NO_TARGET)


def guess_scale(
    observed: pd.DataFrame, calendar: Calendar, target: str, season: int
) -> dict[str, Any]:
    """Of the target: a price is modelled by its returns, and what varies in proportion to its level
    by its logarithm; what was never negative has no negative forecast, and a share none above its
    end.
    """
    values = observed[target].dropna()
    if values.empty or values.min() < 0 or TEMPERATURE_NAME.search(target):
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
    return {"minimum": 0}


def varies_with_level(observed: pd.DataFrame, target: str, season: int) -> bool:
    """Whether the spread within a season grows in proportion to its level, in the rows that are
    fitted and validated on.
    """
    known = observed.dropna(subset=[target])
    rows = known.groupby("unique_id")[target]
    n_fitted = (FITTED_SHARE * rows.transform("size")).astype(int) // season * season
    fitted = known[rows.cumcount() < n_fitted]  # whole seasons of each series
    seasons = fitted[target].to_numpy(float).reshape(-1, season)
    moments = pd.DataFrame({"level": seasons.mean(axis=1), "spread": seasons.std(axis=1)})
    is_positive = (moments > 0).all(axis=1)
    logs = moments[is_positive].apply(np.log)
    series = fitted["unique_id"].to_numpy()[::season][is_positive]
    level, spread = (logs - logs.groupby(series).transform("mean")).to_numpy().T
    if len(level) < MIN_SEASONS or level.std() < MIN_LEVEL_SPREAD:
        return False
    return bool(level @ spread >= MIN_SLOPE * (level @ level))


def _moves_like_price(observed: pd.DataFrame, calendar: Calendar, target: str, season: int) -> bool:
    """Whether the logarithms of positive days walk at random in the middle series: over ten days
    they vary about ten times as much as over one (variance ratio, Lo and MacKinlay 1988). Over
    twenty days a stock that is refilled is back where it was, and varies no more. Of weeks and
    longer steps so do ten and twenty of them, and `LONG_LAG`.
    """
    is_long = (step_length(calendar) or 2 * DAY) > DAY and not count_day_steps(calendar)
    day_steps = 1 if is_long else count_day_steps(calendar)
    if series_lengths(observed, calendar).median() < MIN_PRICE_DAYS * (day_steps or np.inf):
        return False
    by_series = observed.groupby("unique_id")[target]
    fitted = observed[_is_fitted(by_series)]
    logs = np.log(fitted[target]).groupby(fitted["unique_id"])
    lags = (1, 10, 20, *([max(LONG_LAG // season, 1) * season] if is_long else []))
    day, *longer = (
        logs.diff(days * day_steps).groupby(fitted["unique_id"]).var() / days for days in lags
    )
    ten_days, *later_ratios = ((variance / day).median() for variance in longer)
    walks_on = all(ratio >= MIN_LATER_RATIO for ratio in later_ratios)
    return bool(0.5 <= ten_days <= 2 and walks_on)


def is_intermittent(observed: pd.DataFrame, target: str, season: int) -> bool:
    """Whether in most series half of the values and more are zero and none is below, at every place
    of the season, if there are enough seasons: nights without sun and closed days are at places of
    their own. In the rows that are fitted and validated on.
    """
    by_series = observed.groupby("unique_id")[target]
    number = by_series.cumcount()
    has_sold = by_series.cummax() > 0  # zeros before the first sale are not observations of sales
    fitted = observed[_is_fitted(by_series) & has_sold]
    if by_series.size().median() < MIN_SEASONS_OF_A_PLACE * season:
        season = 1
    medians = fitted.groupby(["unique_id", number[fitted.index] % season])[target].median()
    largest = medians.groupby("unique_id").max()
    is_zero = (largest == 0) & (by_series.min()[largest.index] == 0)
    return bool(is_zero.mean() > 0.5)


def _is_fitted(by_series: SeriesGroupBy) -> pd.Series:
    """Which rows of a column, grouped by series, the entry's models are fitted and validated on."""
    return by_series.cumcount() < FITTED_SHARE * by_series.transform("size")
