"""Guesses the column of times of a file, its format and its time zone.

The first column of times is used; without one, rows are counted. A column that may hold times that
cannot be read is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from forecast.config.task import RegularCalendar
from forecast.data import own_files
from forecast.data.calendars import (
    GUESSED_ZONES,
    MAX_GRID_STEPS,
    UNEVEN_ADVICE,
    CalendarFit,
    describe_own_steps,
    fit_calendar,
)
from forecast.data.guesses.cells import text_columns, words_of
from forecast.data.schema import join_texts
from forecast.data.written_times import (
    ISO_8601,
    guess_time_format,
    read_times,
    refuse_rows,
    to_utc,
)
from forecast.system.errors import InputError, quote_names

TIME_COLUMN_NAMES = (
    "ds",
    "date",
    "time",
    "datetime",
    "timestamp",
    "ts",
    "year",
    "month",
    "day",
    "hour",
    "week",
    "weekday",
    "quarter",
    "period",
    "datum",
    "zeit",
    "jahr",
    "monat",
    "woche",
    "wochentag",
    "quartal",
    "periode",
)
"""Names of columns that hold times, even in an unknown form."""
DATE_NAMES = ("date", "datum", "datetime", "timestamp")
DATE_PARTS = {"year", "quarter", "month", "week"}
"""Words in the names of two columns that together hold a date, such as `FiscalYear`."""
SPREADSHEET_DAYS = (30000, 49999)
"""The numbers of the days from 1982 to 2036 in a spreadsheet."""
COUNTED_ROWS = CalendarFit(RegularCalendar.model_validate({"kind": "index"}), 0, 0)
UNREAD_FORMS = {
    r"(19|20)\d\d(0[1-9]|1[0-2])": " Months as 202401 are read by `time_format: '%Y%m'`.",
    r"(19|20)\d\d([-/ ]\d|[-/ ]?([0-4]\d|5[0-3]))?|[^\W\d]*\W*\d\d?\W(19|20)\d\d": (
        " Write a year and its week as 2024W05, a year and its month as 2024-05."
    ),
    r"[^\W\d]{2,}[.,]* \d+\W+(\d+|[^\W\d]{3,})\W+\d{2,4}.*": (
        " Leave the names of the weekdays out."
    ),
    r"[34]\d{4}(\.\d+)?": (
        " Days of a spreadsheet become dates by `pandas.to_datetime(..., unit='D',"
        " origin='1899-12-30')`."
    ),
    r"1\d{9}(\.\d+)?": " Seconds since 1970 become times by `pandas.to_datetime(..., unit='s')`.",
    r"1\d{12}(\.\d+)?": (
        " Milliseconds since 1970 become times by `pandas.to_datetime(..., unit='ms')`."
    ),
    r"1\d{15}(\.\d+)?": (
        " Microseconds since 1970 become times by `pandas.to_datetime(..., unit='us')`."
    ),
    r"1\d{18}": " Nanoseconds since 1970 become times by `pandas.to_datetime(...)`.",
}
"""Patterns of cells that stand for times but are not read, and how to convert them."""
HOUR_WORDS = {"hour", "hr", "hh", "heure", "hora", "stunde", "std"}
SHIFT_WORDS = {"period", "interval", "intervall", "slot"}
"""Words of clocks that may also count parts of a day of another length."""
CLOCK_WORDS = {
    *HOUR_WORDS,
    *SHIFT_WORDS,
    *("he", "hhmm", "minute", "viertelstunde", "uhrzeit"),
}
"""Words in the name of a column with the hour of a date that is in another column."""
CLOCK_TEXT = (
    r"(?i)([01]?\d|2[0-4])(:[0-5]\d){1,2}( ?[ap]m)?"
    r"|(jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sept?|o[ck]t|nov|de[cz])\.?"
    r"|(jan|febr)uary?|march|märz|april|ju(ne|ni|ly|li)|august|(septem|o[ck]to|novem|de[cz]em)ber"
)
"""How such an hour, or the month of a year, may be written."""
MIN_TIMES = 10
"""With fewer distinct times, parts of them are missing, such as the day of a year and a month."""
PERIOD_TEXT = r"[QM]\d\d?"
"""A quarter or a month of a year that is in another column."""
PERIOD_WORDS = {"month", "mon", "monat", "quarter", "qtr", "quartal", "week", "woche"}
"""Words in the name of a column with a part of the year."""
PART_WORDS = (
    {"year", "yr", "yyyy", "yy", "jahr"},
    {"month", "mon", "mo", "mm", "monat"},
    {"day", "dy", "dd", "tag"},
    HOUR_WORDS,
    {"minute", "mm"},
)
"""Words in the names of columns that hold a time together, in the order in which they are read;
those of two letters are the whole name, since `rain_mm` is no minute.
"""


@dataclass(frozen=True)
class GuessedTimes:
    """The times of a file's rows.

    column: its name in the file, None where no column has or counts them. parts: the columns that
    hold them together, where they are joined to `column`. format: None for ISO 8601. zone: the time
    zone, None for UTC. times: in UTC, one per row. fit: the calendar and how well it fits.
    """

    column: str | None
    format: str | None
    zone: str | None
    times: pd.Series
    fit: CalendarFit
    parts: Sequence[str] = ()


def find_time_column(table: pd.DataFrame) -> tuple[str | None, str | None]:
    """The first column that holds times, and its format (None for ISO 8601); one that never
    changes, such as that of the last update, comes last. Without any, the first that counts months
    or years. (None, None) where there is none either.
    """
    for name in sorted(table.columns, key=lambda column: table[column].nunique() < 2):
        time_format = find_column_format(table[name])
        if time_format is not None:
            return name, None if time_format == ISO_8601 else time_format
    return _find_years(table)


def find_column_format(column: pd.Series) -> str | None:
    """The format of a column of times, `ISO_8601` where it needs none; None for any other."""
    values = column.dropna()
    if values.dtype.kind == "M":
        return ISO_8601
    if values.empty:
        return None
    if not is_numeric_dtype(values):
        return guess_time_format(values)
    # a number is read by a format alone: 20240131, 2024013113, 202401311330
    time_format = "%Y%m%d%H%M"[: len(str(values.iloc[0])) - 2]
    is_time = all(
        numbers.astype("str").str.fullmatch(r"[12]\d{7}(\d\d){0,2}").all()
        and read_times(numbers, time_format).notna().all()
        for numbers in (values[:1], values)  # the first tells most columns, and all take long
    )
    return time_format if is_time else None


def _find_years(table: pd.DataFrame) -> tuple[str | None, str | None]:
    """The first column of whole numbers that counts months (202401), else years, and its format;
    (None, None) where there is none.
    """
    whole = table.select_dtypes("integer")
    for time_format, steps in (("%Y%m", (1, 89)), ("%Y", (1,))):
        for name, values in whole.items():
            is_year = read_times(values, time_format).dt.year.between(1678, 2199)
            if not is_year.all():
                continue
            changes = values.diff().abs()
            if values.value_counts().nunique() == 1 and not any(
                _counts_parts_of_year(table[column]) for column in table.columns
            ):  # each year has a row for each of many series
                changes = changes[changes > 0]
            if changes.isin(steps).mean() > 0.5:
                return str(name), time_format
    return None, None


def _counts_parts_of_year(values: pd.Series) -> bool:
    """Whether a column has as many low numbers as a year has quarters, months or weeks, such as
    `Q1` to `Q4`, with a letter or in a column that is named so.
    """
    texts = set(map(str, values.unique()))
    if PERIOD_WORDS.isdisjoint(words_of(str(values.name))) and any(map(str.isdigit, texts)):
        return False
    numbers = {text.lstrip("QMWqmw0") for text in texts}
    return len(numbers) in (4, 12, 52, 53) and numbers.issubset(["", *map(str, range(54))])


def guess_times(
    rows: pd.DataFrame, time: str | None, time_format: str | None, target: str, where: str
) -> GuessedTimes:
    """The times of `rows`, which have a `unique_id`, from the column `time`; None: counted rows.
    `InputError` where they cannot be read, no calendar has them, or another column may hold times.
    """
    if time is None:
        column, times = _find_count_column(rows, target, where)
        return GuessedTimes(column, time_format, None, times, COUNTED_ROWS)
    zone, times = _guess_zone(rows.assign(ds=rows[time]), time_format, where)
    if own_steps := describe_own_steps(rows.assign(ds=times)):
        raise InputError(f"{where}: no calendar fits. {own_steps}")
    fit = fit_calendar(times, zone)
    if 2 * fit.off_calendar > times.nunique():
        raise InputError(f"{where}: {time!r} holds times that no calendar has. {UNEVEN_ADVICE}")
    return GuessedTimes(time, time_format, zone, times, fit)


def _find_count_column(
    table: pd.DataFrame, target: str, where: str
) -> tuple[str | None, pd.Series]:
    """The column that counts the rows of each series, None without one, and its counts as
    times, in minutes from 1970; without it the rows are counted from 0.
    `InputError` where another column may hold times in an unknown form.
    """
    table = table.dropna(axis="columns", how="all")
    steps = (
        table.select_dtypes("number")
        .drop(columns=target, errors="ignore")
        .groupby(table["unique_id"])
        .diff()
    )
    counts = [
        c
        for c in steps.columns
        if steps[c].min() == steps[c].max() == 1
        and table[c].between(0, MAX_GRID_STEPS).all()
        and c.lower() not in DATE_NAMES
        and not table[c].between(*SPREADSHEET_DAYS).all()
    ]
    file_columns = table.columns.drop("unique_id")
    # a column without steps, of series of one row, may hold times too
    rising = [c for c in steps if len(file_columns) > 1 and not steps[c].min() <= 0]
    text = [
        c
        for c in text_columns(table[file_columns])
        if not table.duplicated([c, "unique_id"]).any() or _is_clock(table[c])
    ]
    parts = [
        c
        for c in table[file_columns].select_dtypes(exclude="float").columns
        if not DATE_PARTS.isdisjoint(words_of(c))
    ]
    if len(parts) < 2:  # a lone one may be `months_open`, and years may have any name
        parts = [
            c
            for c in steps.columns
            if steps[c].abs().max() == 1 and table[c].between(1900, 2199).all()
        ]
    may_be_times = {*rising, *text, *parts}
    unread = [c for c in file_columns if c in may_be_times or c.lower() in TIME_COLUMN_NAMES]
    texts = [table[column].dropna().astype("str").str.strip() for column in unread]
    hint = ""
    for cells in texts:
        forms = [form for form in UNREAD_FORMS if cells.str.fullmatch(form).all()]
        if forms:
            hint = hint or UNREAD_FORMS[forms[0]]
        else:
            _refuse_odd_time(cells, where)
    if unread and (parts or not counts):
        raise InputError(
            f"{where}: no column holds times that are known; {quote_names(unread)} may be some."
            f"{hint} Name the columns in the first line, with a comma, semicolon, tab or | between"
            " them, and write times in one as 2024-01-31 or 2024-01-31T13:00; or write"
            " the entry by hand with `time_format`, or with `calendar: {kind: index}` where the"
            " rows have no dates (docs/data.md)."
        )
    number = table[counts[0]] if counts else table.groupby("unique_id", sort=False).cumcount()
    return counts[0] if counts else None, pd.to_datetime(60 * number, unit="s")


def _refuse_odd_time(text: pd.Series, where: str) -> None:
    """`InputError` for the first row that is no time, where the first or the second row is one."""
    for example in (text[:1], text[1:2]):
        time_format = guess_time_format(example)
        if time_format is not None:
            is_none = read_times(text, time_format).isna()
            advice = f", wanted a time such as {example.iloc[0]}. Correct or drop the row."
            if text[is_none].str.contains(r"\b24[:.]?00").any():
                advice += " What is 24:00 of a day, write as 00:00 of the next one."
            refuse_rows(text, is_none, where, advice)


def _guess_zone(
    table: pd.DataFrame, time_format: str | None, where: str
) -> tuple[str | None, pd.Series]:
    """The time zone that explains a repeated hour or changing offsets, None for UTC, and the times
    in UTC.
    """
    for zone in (None, *GUESSED_ZONES):
        try:
            utc = to_utc(table, time_format, time_zone=zone, where=where)
        except InputError:
            continue
        if not table.assign(ds=utc).duplicated(["unique_id", "ds"]).any():
            return zone, utc
    return None, to_utc(table, time_format, time_zone=None, where=where)


def find_time_parts(table: pd.DataFrame, time: str | None, series: str | None) -> list[str]:
    """The columns that only together hold a time: `time` and the hours to its dates, or, where
    `time` is None, a year, its month, and what of day, hour and minute there is. Empty without such
    columns, and where another column is called `ds`, as they are joined.
    """
    if "ds" in table.columns and time != "ds":
        return []
    if time is not None:
        clock = _find_clock(table, time, series)
        return [] if clock is None else [time, clock]
    parts: list[str] = []
    for words in PART_WORDS:
        candidates = [c for c in table.columns.drop(parts) if _has_part_word(c, words)]
        if len(parts) == 1:
            candidates += [
                c
                for c in text_columns(table)
                if table[c].astype("str").str.fullmatch(PERIOD_TEXT).all()
            ]
        if not candidates:
            break
        parts.append(min(candidates, key=lambda name: len(words_of(name))))
    return parts if len(parts) > 1 else []


def _has_part_word(column: str, part_words: set[str]) -> bool:
    """Whether one of `part_words` is in the name of a column, or is it if it has two letters."""
    words = words_of(column)
    return any(word in part_words and (len(word) > 2 or len(words) == 1) for word in words)


def join_time_parts(texts: pd.DataFrame) -> tuple[list[str], pd.Series]:
    """Of the columns of a time (`find_time_parts`), with their cells as the file writes them, the
    most that are times together, and their cells joined by a blank. No column and no cell where
    fewer than two are, as for hours from 1 to 24, shifts, and fewer than `MIN_TIMES`.
    """
    for n_parts in range(len(texts.columns), 1, -1):
        parts = list(texts.columns[:n_parts])
        joined = join_texts(texts, parts, " ")
        has_times = joined.nunique() >= MIN_TIMES and guess_time_format(joined) is not None
        if has_times and not _counts_shifts(texts[parts[-1]]):
            return parts, joined
    return [], pd.Series(dtype="str")


def _counts_shifts(clock: pd.Series) -> bool:
    """Whether a column with one of `SHIFT_WORDS` in its name has no number for each hour of a day,
    and may count parts of another length.
    """
    if SHIFT_WORDS.isdisjoint(words_of(str(clock.name))):
        return False
    numbers = pd.to_numeric(clock, errors="coerce")
    return bool(numbers.max() < 100) and not {0, 23} <= {*numbers}


def refuse_split_time(
    table: pd.DataFrame, time: str, series: str | None, where: str, *, parts: Sequence[str] = ()
) -> None:
    """`InputError` where a column holds the hours to the dates in `time` (`_find_clock`), or
    `series` holds times and has more of them than rows of each, as forecasts with their issue.
    parts: the columns that were joined to `time`.
    """
    if series is not None and _names_times(table[series]):
        raise InputError(
            f"{where}: {time!r} and {series!r} both hold times. Drop one that has the days of the"
            " other. Of forecasts that were issued again and again keep the newest row for each"
            " time and drop the time of issue; all of them may stand in a second file"
            " (`issued_path`, docs/data.md). A name of a series, such as 2024-01, needs a letter:"
            " c2024-01."
        )
    clock = _find_clock(table, time, series)
    if clock is not None:
        raise InputError(
            f"{where}: {' and '.join(map(repr, [*(parts or [time]), clock]))} are parts of one"
            " time. Write one column of them, such as 2024-01-31T13:00 or 2024-05; of hours from 1"
            f" to 24 the first begins at 00:00. Where {clock!r} names series, give it another name,"
            " such as series."
        )


def _find_clock(table: pd.DataFrame, time: str, series: str | None) -> str | None:
    """The column with the hours to the dates in `time`: `series`, which tells apart the rows of a
    day, or, where most dates are repeated, any other column; None without one.
    """
    keys = [time] if series is None else [time, series]
    candidates = keys[1:]
    if table.duplicated(keys).mean() > 0.5:
        candidates += [column for column in table.columns if column not in keys]
    for column in candidates:
        # the month of a date is the same in all of its rows
        if _is_clock(table[column]) and table.groupby(time)[column].nunique().max() > 1:
            return column
    return None


def _names_times(names: pd.Series) -> bool:
    """Whether the names of series are times, of which there are more than rows of each."""
    text = names.astype("str")
    is_many = text.nunique() ** 2 > len(text)
    return is_many and not text.str.isdigit().all() and guess_time_format(text) is not None


def _is_clock(values: pd.Series) -> bool:
    """Whether a column holds hours of the day or names of months, empty cells aside.

    - Where its name says so, a digit in every cell is enough.
    - Text needs `13:00` or `Jan` in every cell; a column without any value is one, too.
    - Whole numbers, or digits with leading zeros, must be quarters of an hour (1300, 0015) from
      the whole day.
    """
    name: Any = values.name
    text = values.dropna().astype("str").str.strip()
    words = words_of(name)
    is_named = " ".join(words) in TIME_COLUMN_NAMES or not CLOCK_WORDS.isdisjoint(words)
    if is_named and text.str.contains(r"\d").all():
        return True
    if own_files.is_code(values):
        values = pd.to_numeric(values)
    if values.dtype.kind == "i":
        is_quarter = values.between(0, 2400) & values.mod(100).isin([0, 15, 30, 45])
        return bool(is_quarter.all() and values.max() >= 2300 and values.nunique() >= 24)
    return bool(text.str.fullmatch(CLOCK_TEXT).all())


def are_repeated_hours(written: pd.Series, time_format: str | None) -> bool:
    """Whether all repeated times are within an hour that a clock of `GUESSED_ZONES` repeats."""
    times = read_times(written[written.duplicated()], time_format).dt.tz_localize(None)
    if times.isna().any():
        return False
    return any(
        times.dt.tz_localize(zone, ambiguous="NaT", nonexistent="shift_forward").isna().all()
        for zone in GUESSED_ZONES
    )
