"""Guesses the columns that name the series of a file: text or whole numbers that tell apart the
rows of one time.
"""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from forecast.data import own_files
from forecast.data.guesses.cells import text_columns
from forecast.data.guesses.times import are_repeated_hours
from forecast.data.written_times import read_times

MAX_SHARE_TWICE = 0.01
"""The share of the rows that share a time with another series, and of the times, that may be
repeated within a series, such as the repeated hour in autumn. Two shops of one name are repeated at
every time.
"""
MIN_ROWS_OF_A_SERIES = 10
"""The least mean length of series that share no times."""


def find_series_column(
    table: pd.DataFrame, time: str | None, time_format: str | None
) -> Any | None:
    """The column that names the series; None without one. It is `unique_id`, or else as follows; of
    several columns the one with the fewest values, without empty cells where there is such a one.

    Without times: text, each value of which is in consecutive rows. Where no two rows share a time:
    text, each value of which has its own steps. Otherwise the first there is of: text that tells
    apart all rows of each time; whole numbers that do; text that tells apart nearly all
    (`MAX_SHARE_TWICE`); whole numbers that do.

    Also None where only an hour in autumn is repeated: a column that tells its rows apart is a name
    of a clock or the end of a step.
    """
    if "unique_id" in table.columns:
        return "unique_id"
    other_columns = [c for c in table.columns if c != time]
    n_values = table.select_dtypes(exclude="float").nunique()
    # without columns of numbers that have a note in some cells
    text = [
        c
        for c in text_columns(table[other_columns])
        if n_values[c] <= len(table) / 2 or not own_files.is_mostly_numbers(table[c])
    ]
    if time is None:
        n_stretches = (table[text] != table[text].shift()).sum()
        naming = [c for c in text if n_stretches[c] == n_values[c] < len(table)]
    else:
        rows_by_time = table[time].value_counts()
        if rows_by_time.max() == 2 and are_repeated_hours(table[time], time_format):
            return None
        # a quantile, to ignore the repeated hour in autumn
        n_series = rows_by_time.quantile(1 - MAX_SHARE_TWICE)
        is_twice = table[time].duplicated()
        # numbers may name series where a column is left to forecast, and many times are repeated
        may_be_whole = other_columns if len(other_columns) > 1 and is_twice.mean() > 0.1 else []
        whole_numbers = [
            c
            for c in may_be_whole
            if table[c].dtype.kind == "i" and n_series <= n_values[c] <= 2 * n_series
        ]
        repeats = {c: table[time][table.duplicated([c, time])] for c in [*text, *whole_numbers]}
        max_repeats = MAX_SHARE_TWICE * is_twice.sum()
        max_times = MAX_SHARE_TWICE * n_values[time]
        candidates: list[list[str]] = [
            [c for c in columns if len(repeats[c]) <= limit and repeats[c].nunique() <= max_times]
            for limit in (0, max_repeats)
            for columns in (text, whole_numbers)
        ]
        if rows_by_time.max() > 1:
            naming = next(filter(None, candidates), [])
        else:
            times = read_times(table[time], time_format)
            naming = [c for c in text if _has_own_steps(times, table[c])]
    complete = [c for c in naming if table[c].notna().all()]
    return n_values[complete or naming].idxmin() if naming else None


def _has_own_steps(times: pd.Series, names: pd.Series) -> bool:
    """Whether `names` tells apart series that overlap in time without sharing times: the rows of
    each are together and in order of time, or each has even steps and all rows together have not,
    such as weeks that begin on different days.
    """
    if not 2 <= names.nunique() <= len(names) / MIN_ROWS_OF_A_SERIES:
        return False
    spans = times.groupby(names).agg(["min", "max"]).sort_values("min")
    if (spans["min"].iloc[1:].to_numpy() > spans["max"].cummax().iloc[:-1].to_numpy()).all():
        return False
    if (names != names.shift()).sum() == names.nunique():
        by_name = times.groupby(names)
        return bool((by_name.is_monotonic_increasing | by_name.is_monotonic_decreasing).all())
    ordered = times.sort_values()
    steps_in_series = ordered.groupby(names[ordered.index]).diff()
    usual = steps_in_series.groupby(names[ordered.index]).transform("median")
    steps = ordered.diff()
    if _share_of_even_steps(steps_in_series, usual) <= 0.9:
        return False
    return _share_of_even_steps(steps, steps.median()) < 0.6


def _share_of_even_steps(steps: pd.Series, usual: Any) -> float:
    """The share of steps that are as long as `usual`, within a fifth, since months differ."""
    return float((steps / usual).dropna().between(0.8, 1.2).mean())


def find_name_parts(table: pd.DataFrame, time: str) -> list[str]:
    """The columns that only together tell apart the rows of one time: two of text, whole numbers or
    booleans, else the fewest of text. Asked are ten columns at most, of which each value stands in
    ten rows on average. Empty without such columns, and where at most half of the rows repeat a
    time.
    """
    if table[time].duplicated().mean() <= 0.5:
        return []
    may_name = (table.nunique() <= len(table) / 10) & (table.dtypes.astype("str") != "float64")
    names = sorted(may_name.index[may_name], key=lambda name: table[name].dtype.kind == "i")[:10]
    texts = text_columns(table[names])
    sets: list[tuple[str, ...]] = [*itertools.combinations(names, 2)]
    if not table.duplicated([*texts, time]).any():
        for size in range(3, len(texts) + 1):
            sets += itertools.combinations(texts, size)
    return next((list(parts) for parts in sets if not table.duplicated([*parts, time]).any()), [])


def find_number_names(table: pd.DataFrame, time: str) -> list[str]:
    """The column of whole numbers that tells apart the rows of each time although it is no column
    of integers: of its names some are written as `1e5` or `NA`. Empty without one, and where at
    most a tenth of the rows repeat a time.
    """
    if table[time].duplicated().mean() <= 0.1:
        return []
    n_series = table[time].value_counts().quantile(1 - MAX_SHARE_TWICE)
    n_values = table.select_dtypes("float").nunique(dropna=False)
    return [
        name
        for name in n_values.index[n_values.between(n_series, 2 * n_series)]
        if name != time
        and (table[name].dropna() % 1 == 0).all()
        and not table.duplicated([name, time]).any()
    ][:1]
