"""Converts times written as text to UTC, for files of the user.

`guess_time_format` finds the format of a column, among ISO 8601, `DATE_FORMATS` with
`TIME_FORMATS`, quarters, months and ISO weeks; `to_utc` reads it. Without a format, `to_utc` reads
ISO 8601 alone.

Times without an offset are in a time zone. An hour that is repeated in autumn is resolved by the
order of the rows, and is the first one where it is written once. A time that the clock skips is
refused with its row.

Where both orders of day and month fit a whole column (03/04/2024), the guess is the one with fewer
steps back in time, then the one with the shorter longest gap (the months 01/01, 02/01, 03/01 are
otherwise days with gaps of a year), then day first. `add` writes the guess into the entry.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from forecast.data.schema import (
    EARLIEST_TIME,
    LATEST_TIME,
    OUTSIDE_SENTENCE,
    first_true,
    lie_outside,
    name_row,
)
from forecast.system.errors import InputError, quote, quote_names

_OFFSET = r"(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_NO_MARK = re.compile(r"[^/,:-]")
_ONLY_DATE = r"\d{4}-\d{2}(?:-\d{2})?"
_INTERVAL = re.compile(r"(.*?\d:\d\d\S*)(?: \([A-Z]+\))?(?: [-–] |/)\d.*\d:\d\d.*")
"""An interval such as `01.01.2024 00:00 - 01.01.2024 01:00`, and its start."""
_PERIOD = (
    r"(?i)^(?P<year>\d{4})[-/ ]?"
    r"(?:Q(?P<quarter>\d{1,2})|M(?P<month>\d{1,2})|W(?P<week>\d{1,2})(?:-?(?P<day>[1-7]))?)$"
)
"""A quarter (2020Q1, 2020-Q1), a month (2020M01), an ISO week (2020W05, 2020-W05), or a day of one
(2020-W05-1).
"""
DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%d",
    "%Y %m %d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%m/%d/%Y",
    "%m-%d-%Y",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d %m %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %Y",
    "%B %Y",
    "%Y %m",
    "%Y %b %d",
    "%Y %b",
    "%Y %B",
    "%b-%Y",
    "%b-%y",
    "%m/%Y",
    "%m-%Y",
    "%m.%Y",
)
TIME_FORMATS = (
    "",
    " %H:%M",
    " %H:%M:%S",
    ", %H:%M",
    ", %H:%M:%S",
    " %H:%M:%S UTC",
    "T%H:%M:%S",
    " %I:%M %p",
    " %I:%M:%S %p",
    " %I:%M%p",
    " %I %p",
    " %H",
    " %H%M",
    " %H%M%S",
    " %H.%M.%S",
)
MIN_TIME_NAMES = 4
"""The fewest columns named by times that show a table with a column for each time."""
PART_NAME = r"(?i)(h|he|hour|std|m|p)?[ _]?\d{1,2}([:.]\d\d){0,2}( ?- ?\d{1,2}([:.]\d\d)?)?"
"""A column named by an hour of a date or a month of a year: 13:00, 13-14, H13, HE13, 13 or M12."""
EARLIEST_NAME = pd.Timestamp("1800", tz="UTC")
"""A column name such as 1001 is a number rather than a year."""
OUTSIDE = f": {OUTSIDE_SENTENCE} Correct the row, or map another column to `ds`."
ISO_8601 = "ISO8601"
"""The format by which `pandas.to_datetime` reads any ISO 8601 time."""


def guess_time_format(values: pd.Series) -> str | None:
    """The format of all rows of a text column (99 % of more than a thousand): `ISO_8601` or one for
    strftime; None without one. Of several that fit, the one with the least `_measure_disorder`, day
    before month.
    """
    text = _strip(values)
    if _fits(_periods_to_days(text), ISO_8601):
        return ISO_8601
    # no directive reads one of these marks, so only formats with those of the first row can fit
    marks = _NO_MARK.sub("", str(next(iter(text), "")))
    formats = [
        day + clock
        for clock, day in itertools.product(TIME_FORMATS, DATE_FORMATS)
        if "%d" in day or not clock
    ]
    formats.append("%Y %m %d %H %M")  # not with other dates: of `2024-01-31 1 2` two may be values
    fitting = [
        time_format
        for time_format in formats
        if _NO_MARK.sub("", time_format) == marks
        and _has_whole_clock(text, time_format)
        and _fits(text, time_format)
    ]
    if len(fitting) < 2:
        return next(iter(fitting), None)
    return min(fitting, key=lambda time_format: _measure_disorder(text, time_format))


def _has_whole_clock(text: pd.Series, time_format: str) -> bool:
    """Whether every row ends with all digits of a clock that is written without marks, which would
    also read 24 as 2:04.
    """
    n_digits = {"%H%M": 4, "%H%M%S": 6}.get(time_format.rpartition(" ")[2])
    return n_digits is None or bool(text.str.contains(rf"\s\d{{{n_digits}}}$").all())


def describe_wide(columns: Iterable[object], *, has_parts: bool = False) -> str:
    """The advice for a table at least half of whose columns are named by times or months, or, with
    `has_parts`, by parts of the time of a row, such as the 24 hours of a date; empty for others.
    """
    names = pd.Series([str(name).strip() for name in columns], dtype="str")
    if has_parts:
        is_time = names.str.fullmatch(PART_NAME)
    else:
        # not the first and the last column, which may hold something else
        examples = (names.iloc[[len(names) * part // 4]] for part in (1, 2, 3))
        forms = {guess_time_format(example) for example in examples if len(example)}
        is_time = pd.Series(False, index=names.index)
        for time_format in forms.union(("%b", "%B")).difference([None]):
            is_time |= read_times(names, time_format) >= EARLIEST_NAME
    if is_time.sum() < max(MIN_TIME_NAMES, len(names) / 2):
        return ""
    return (
        f"{is_time.sum()} columns are named by times, such as {quote_names(names[is_time][:2])};"
        " wanted a row for each time. Turn them into rows by `melt` of pandas:"
        f" `df.melt(id_vars={names[~is_time].tolist()}, var_name='time', value_name='value')`"
    )


def _measure_disorder(text: pd.Series, time_format: str) -> tuple[int, float]:
    """The number of steps from row to row against the usual direction in time (where a new series
    begins is often one), and the longest step in seconds.
    """
    times = read_times(text, time_format).dropna()
    # differences in nanoseconds, the unit of pandas 2, overflow beyond three centuries
    steps = times.dt.as_unit("us").diff().dt.total_seconds()
    if np.sign(steps).sum() < 0:
        steps = -steps
    return int((steps < 0).sum()), float(steps.max())


def read_times(values: pd.Series, time_format: str | None) -> pd.Series:
    """Times written as `time_format` (None: ISO 8601), taken as UTC; NaT where they are not."""
    text = _periods_to_days(_strip(values))
    return pd.to_datetime(text, format=time_format or ISO_8601, errors="coerce", utc=True)


def _strip(values: pd.Series) -> pd.Series:
    """The text of `values` without blanks around it; of intervals (`_INTERVAL`) their starts."""
    text = values.astype("str").str.strip()
    if not _INTERVAL.fullmatch(next(iter(text.dropna()), "")):
        return text
    return text.str.replace(_INTERVAL, r"\1", regex=True)


def _fits(text: pd.Series, time_format: str) -> bool:
    """Whether `time_format` fits all of the first thousand rows, and 99 % of all. One row is tried
    first, since it excludes most formats.
    """
    read = (
        pd.to_datetime(part, format=time_format, errors="coerce", utc=True)
        for part in (text[:1], text[:1000], text)
    )
    return all(
        times.notna().mean() > (0.99 if len(times) > 1000 else 0.999)
        # 086338 would be a day of the year 863
        and (len(times) < len(text) or times.max() > EARLIEST_NAME)
        for times in read
    )


def _periods_to_days(text: pd.Series) -> pd.Series:
    """Quarters, months and ISO weeks as the date of their first day, a day of an ISO week as its
    date; other text unchanged.
    """
    if not text.str.contains("[QMWqmw]").any():
        return text
    year_first = text.str.replace(r"(?i)^(Q[1-4])[-/ ]?(\d{4})$", r"\2\1", regex=True)
    parts = year_first.str.extract(_PERIOD)
    first_of_quarter = 3 * pd.to_numeric(parts["quarter"]) - 2
    month = pd.to_numeric(parts["month"]).fillna(first_of_quarter)
    first_of_month = parts["year"] + "-" + month.astype("Int64").astype("str").str.zfill(2) + "-01"
    week = parts["year"] + "-W" + parts["week"].str.zfill(2) + "-" + parts["day"].fillna("1")
    day_of_week = pd.to_datetime(week, format="%G-W%V-%u", errors="coerce").dt.strftime("%Y-%m-%d")
    days = first_of_month.where(parts["week"].isna(), day_of_week)
    return days.where(parts["year"].notna(), text)


def to_utc(
    table: pd.DataFrame,
    time_format: str | None = None,
    *,
    time_zone: str | None,
    wall_clock: bool = False,
    where: str,
) -> pd.Series:
    """Column `ds` of `table` as datetime64[ns] in UTC without a zone.

    time_format: how text is written, None for ISO 8601. time_zone: of times without an offset, None
    for UTC. wall_clock: keep the local time instead of UTC, since the local date names a session.
    `InputError` for times that are unreadable, of several zones or skipped by the clock, and for a
    repeated hour where the order of the rows does not tell which one is meant.
    """
    values = table["ds"]
    if not len(values):
        return values.astype("datetime64[ns]")
    refuse_rows(values, values.isna(), where, ", wanted a time in every row. Complete or drop it.")
    if time_format is not None:
        times = pd.to_datetime(_strip(values), format=time_format, errors="coerce")
        if times.isna().any() and guess_time_format(values) in (None, time_format):
            _refuse_odd_row(values, times.notna(), where)
        advice = (
            f", wanted a time written as {time_format!r}. Correct the row, or `source.time_format`."
        )
        refuse_rows(values, times.isna(), where, advice)
    elif is_numeric_dtype(values):
        advice = (
            ", a number, wanted a date or time such as 2024-01-31 or 2024-01-31T13:00. Write the"
            " times out, or map another column to `ds`."
        )
        raise make_cell_error(values, 0, where, advice)
    elif values.dtype.kind == "M":
        times = values
    else:
        times = _read_iso(_strip(values), time_zone, wall_clock, where)
    refuse_rows(values, lie_outside(times), where, OUTSIDE)
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        times = times.astype("datetime64[ns]")
        return _local_to_utc(times, table, time_zone, wall_clock, where)
    if wall_clock:
        return times.dt.tz_localize(None).astype("datetime64[ns]")
    return _zoned_to_utc(times)


def _read_iso(text: pd.Series, zone: str | None, wall_clock: bool, where: str) -> pd.Series:
    """ISO 8601 text as times, with the zone of their offsets where they have some."""
    with contextlib.suppress(ValueError):  # several offsets
        # most files need no look at their text, which is slow for millions of rows
        times = pd.to_datetime(text, format=ISO_8601, errors="coerce")
        if times.dtype.kind == "M" and times.notna().all():
            return times
    # a panel repeats its times, and reading a text takes longer than finding the distinct ones
    codes, _ = pd.factorize(text)
    distinct = text.iloc[pd.Series(codes).drop_duplicates().index]
    return _parse_text(distinct, zone, wall_clock, where).iloc[codes].set_axis(text.index)


def _parse_text(values: pd.Series, zone: str | None, wall_clock: bool, where: str) -> pd.Series:
    """ISO 8601 text as times: with offsets in the zone UTC, or local without one for `wall_clock`;
    without offsets as written.

    Either no row has an offset, or all have one: the same offset, or that of `zone` at the time.
    """
    stripped = values.str.strip()
    has_offset = stripped.str.contains(_OFFSET) & ~stripped.str.fullmatch(_ONLY_DATE)
    mixed = (
        f": mixed time zones; the first row holds {quote(values.iloc[0])}. Write all times in UTC,"
        " or state `source.time_zone` if one local clock explains them."
    )
    refuse_rows(values, has_offset != has_offset.iloc[0], where, mixed)
    if not has_offset.any():
        return _parse_iso(values, where)
    without_offset = stripped.str.replace(_OFFSET, "", regex=True)
    if wall_clock:
        return _parse_iso(without_offset, where)
    utc = _parse_iso(values, where, utc=True)
    local = _parse_iso(without_offset, where)
    offsets = local - utc.dt.tz_localize(None)
    if zone is None:
        refuse_rows(values, offsets != offsets.iloc[0], where, mixed)
    elif offsets.nunique() > 1:
        # allowed where each is the offset of the zone at that time
        expected = utc.dt.tz_convert(zone).dt.tz_localize(None)
        advice = (
            f", no offset that {zone} had then. Correct `source.time_zone`, or write all times in"
            " UTC."
        )
        refuse_rows(values, expected != local, where, advice)
    return utc


def _parse_iso(values: pd.Series, where: str, *, utc: bool = False) -> pd.Series:
    """ISO 8601 text, quarters, months and weeks as times. `InputError` for the first row that is
    none, with the format that fits. utc: the text has offsets.
    """
    parsed = pd.to_datetime(
        _periods_to_days(values.str.strip()), errors="coerce", utc=utc, format=ISO_8601
    )
    if parsed.isna().any():
        refuse_rows(values, parsed.isna() & _have_years_outside(values), where, OUTSIDE)
        _refuse_odd_row(values, parsed.notna(), where)
        fits = guess_time_format(values)
        known = f'All rows fit `time_format: "{fits}"`' if fits else "Or name their `time_format`"
        expected = "wanted an ISO 8601 time such as 2024-01-31 or 2024-01-31T13:00"
        advice = f"Correct the row. {known} under `source`."
        refuse_rows(values, parsed.isna(), where, f", {expected}. {advice}")
    return parsed


def _refuse_odd_row(written: pd.Series, is_read: pd.Series, where: str) -> None:
    """`InputError` for the first row that is no time, such as a total, where most rows are
    times.
    """
    if is_read.mean() > 0.5:
        example = quote(written[is_read].iloc[0])
        advice = f", wanted a time written as {example}. Correct or remove the row."
        refuse_rows(written, ~is_read, where, advice)


def _have_years_outside(written: pd.Series) -> pd.Series:
    """(n,): whether each year is outside of the allowed ones (`lie_outside`). Pandas 2 cannot parse
    such times in nanoseconds.
    """
    years = pd.to_numeric(written.str.extract(r"^\s*(\d{4})-", expand=False))
    return (years < EARLIEST_TIME.year) | (years >= LATEST_TIME.year)


def _local_to_utc(
    times: pd.Series, table: pd.DataFrame, zone: str | None, wall_clock: bool, where: str
) -> pd.Series:
    """Times of the clock of `zone` (None: UTC) in UTC; with `wall_clock` unchanged. An hour that is
    repeated in autumn is resolved by the order of the rows; where they are ordered and have it
    once, it is the first one, since loggers leave out the second. `InputError` where neither
    resolves it.
    """
    if wall_clock or zone in (None, "UTC"):
        return times
    zoned = times.dt.tz_localize(zone, nonexistent="NaT", ambiguous="NaT")
    if zoned.notna().all():
        return _zoned_to_utc(zoned)
    # a repeated hour is resolved within each series
    utc = pd.Series(pd.NaT, times.index, dtype="datetime64[ns]")
    # by position, since a plan for all series has each line several times
    for rows in times.groupby(table["unique_id"], sort=False).indices.values():
        utc.iloc[rows] = _zoned_to_utc(_resolve_repeated_hours(times.iloc[rows], zone, where))
    return utc


def _resolve_repeated_hours(times: pd.Series, zone: str, where: str) -> pd.Series:
    """The local `times` of one series, oldest or newest first, with their zone. `InputError` with
    the row for a time that the clock skips, and for a repeated hour that cannot be resolved.
    """
    if np.sign(times.diff().dt.total_seconds()).sum() < 0:
        return _resolve_repeated_hours(times[::-1], zone, where)[::-1]
    zero, days = pd.Timedelta(0), times.dt.floor("D")
    is_second = (times.diff() <= zero).groupby(days).cummax()  # the clock went back on that day
    zoned = times.dt.tz_localize(zone, ambiguous=(~is_second).to_numpy(), nonexistent="NaT")
    has_no_instant = times.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").isna()
    # rows out of order, and the first row, do not tell which of the two hours is meant
    is_doubtful = zoned.isna() | (zoned.diff() < zero) | (zoned.diff(-1) > zero)
    is_doubtful.iloc[0] |= not is_second[days == days.iloc[0]].any()
    clocks = f"which stands twice or never on the clocks of {zone} (summer time begins or ends)"
    end = f", {clocks}, wanted one instant. Write the times in UTC or with an offset."
    refuse_rows(times, has_no_instant & is_doubtful, where, end)
    return zoned


def _zoned_to_utc(times: pd.Series) -> pd.Series:
    """Times with a zone as UTC without one."""
    return times.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ns]")


def refuse_rows(values: pd.Series, wrong: pd.Series, where: str, end: str) -> None:
    """`InputError` about the first row that is `wrong`; `end`: see `make_cell_error`."""
    if wrong.any():
        raise make_cell_error(values, first_true(wrong), where, end)


def make_cell_error(values: pd.Series, position: int, where: str, end: str) -> InputError:
    """An error for the caller to raise about the cell at `position` of the column `values`:
    `mine.csv, line 7: `ds` holds 'soon'<end>`. `end` begins with its own punctuation mark.
    """
    holds = (
        "is empty" if pd.isna(values.iloc[position]) else f"holds {quote(values.iloc[position])}"
    )
    row = name_row(values.index, position)
    return InputError(f"{where}, {row}: `{values.name}` {holds}{end}")
