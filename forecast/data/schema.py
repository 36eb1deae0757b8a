"""The long frame `unique_id, ds, <columns>`, and its checks.

`ds` is UTC without a time zone (a session is its date at midnight) and rises within each series. A
cell may be NaN (missing). `check_frame` checks every frame that comes from a source, a request or a
Python caller; what has another form is converted before. A history without faults may be read
without it (`forecaster.serving.read_ordered_panel`), so a new rule about every frame is a step of
`check_frame` with its message, and a condition in that function. The calendar is checked elsewhere
(`data.calendars`).

A time that stands twice in a series is refused here, wherever the frame is from. To make one row of
such rows instead, files have to be changed in `data.sources.file.read` and frames of Python callers
in `api.frames.long_frame`; `forecast add` takes many repeated times for several series
(`data.guesses.series`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_numeric_dtype, is_string_dtype

from forecast.system.errors import (
    ForecastError,
    InputError,
    plural,
    quote,
    quote_names,
    require_column,
)

KEY_COLUMNS = ("unique_id", "ds")
MAPPING_HINT = (
    "Give it, or correct its name in configs/datasets.yaml, where `source.columns` maps those of a"
    " file."
)
MAX_NAME_LENGTH = 200
TEXT_DTYPE = pd.Series(["text"]).dtype
MAX_MAGNITUDE = 1e100
FIRST_CELLS = 1_000
EARLIEST_TIME, LATEST_TIME = pd.Timestamp("1678-01-01"), pd.Timestamp("2200-01-01")
"""Times of nanoseconds reach from 1677 to 2262; a forecast needs steps after the last row."""


def check_frame(
    frame: pd.DataFrame,
    columns: Iterable[str],
    *,
    where: str,
    error: type[ForecastError] = InputError,
) -> pd.DataFrame:
    """The frame with exactly the columns `unique_id, ds, *columns`, sorted by series, with float64
    values and nanosecond times. Other columns are dropped; `frame` itself is not changed.

    Raises `error` (`InputError`; `DataError` for rows of a service) at the first fault, with
    `where` and the row: a missing or repeated column; no rows; a time with a zone or outside of
    1678 to 2199; an empty key; a series name that is too long or not printable; text or a boolean
    instead of a number; a number beyond 1e100; times of a series that do not rise. Messages name
    rows by `frame.index`, as `line 7` if the index is called `line`.
    """
    columns = list(columns)
    frame_columns = list(map(str, frame.columns))
    _check_columns(frame_columns, columns, where, error)
    if frame.empty:
        raise error(
            f"{where}: found no rows, wanted at least one observation. Restore or send them, or"
            " correct what was asked for."
        )
    if frame["ds"].dtype.kind == "M" and (is_outside := lie_outside(frame["ds"])).any():
        row = describe_row(frame, first_true(is_outside))
        raise error(f"{where}, {row}: {OUTSIDE_SENTENCE} Correct the row.")
    frame = _cast_columns(frame[[*KEY_COLUMNS, *columns]], columns)
    fault = _describe_first_fault(frame, columns)
    if fault is not None:
        raise error(f"{where}{fault}")
    # asking the text column itself would make a Python string of every row
    codes, names = pd.factorize(frame["unique_id"])
    if (codes[1:] < codes[:-1]).any() or not names.is_monotonic_increasing:
        frame = frame.sort_values("unique_id", kind="stable")
    return frame.reset_index(drop=True)


OUTSIDE_SENTENCE = "this time lies outside of the years 1678 to 2199, wanted one inside them."


def lie_outside(times: pd.Series) -> pd.Series:
    """(n,): which times, of any resolution, are outside of `EARLIEST_TIME` to `LATEST_TIME`."""
    zone = getattr(times.dtype, "tz", None)
    early, late = (moment.tz_localize(zone).as_unit("s") for moment in (EARLIEST_TIME, LATEST_TIME))
    return (times < early) | (times >= late)


def first_true(condition: pd.Series | np.ndarray) -> int:
    """The position of the first true value; `condition` must have one."""
    return int(np.argmax(condition))


def _describe_first_fault(frame: pd.DataFrame, columns: list[str]) -> str | None:
    """The first fault in series names, times, numbers or the order of rows, as the end of a
    message; None without a fault.
    """
    names, times = frame["unique_id"], frame["ds"]
    if names.isna().any() or not _is_text(names):
        return _describe_key_fault(frame, "unique_id")
    if times.isna().any() or times.dtype != np.dtype("datetime64[ns]"):
        return _describe_key_fault(frame, "ds")
    for name in names.unique():
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            row = describe_row(frame, first_true(names == name))
            advice = f"wanted at most {MAX_NAME_LENGTH}, all printable. Rename it."
            return f", {row}: a series name of {len(name)} characters; {advice}"
    for column in columns:
        if frame[column].dtype != np.float64:
            return describe_text_cell(frame, column)
        is_too_large = np.abs(frame[column].to_numpy()) > MAX_MAGNITUDE
        if is_too_large.any():
            position = first_true(is_too_large)
            value = frame[column].iloc[position]
            return (
                f", {describe_row(frame, position)}: column {column!r} holds {value:g}, wanted a"
                f" finite number up to {MAX_MAGNITUDE:g}, whose square is finite too. Leave the"
                " cell empty where nothing was measured, or take another unit."
            )
    return None if has_rising_times(names, times) else _describe_order_fault(frame)


def rows_by_series(frame: pd.DataFrame) -> dict[str, slice]:
    """The row range of each series, in a frame where the rows of a series are together."""
    codes, names = pd.factorize(frame["unique_id"])
    starts = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
    return {
        str(names[codes[start]]): slice(start, stop)
        for start, stop in pairwise([*starts, len(codes)])
    }


def has_rising_times(names: pd.Series, times: pd.Series) -> bool:
    """Whether the times of each series strictly rise; its rows need not be together."""
    # not by `groupby`, which takes as much memory as the frame
    codes, stamps = pd.factorize(names)[0], times.to_numpy()
    if (codes[1:] < codes[:-1]).any():
        order = np.argsort(codes, kind="stable")
        codes, stamps = codes[order], stamps[order]
    return bool(((stamps[1:] > stamps[:-1]) | (codes[1:] > codes[:-1])).all())


def _describe_order_fault(frame: pd.DataFrame) -> str:
    """The end of the message about times of a series that do not rise: repeated times (with equal
    or other values), or an earlier time.
    """
    repeats = frame.duplicated(list(KEY_COLUMNS))
    if repeats.any():
        differs = repeats & ~frame.duplicated()
        position = first_true(differs if differs.any() else repeats)
        advice = "each with the values of an earlier one: `drop_duplicates` of pandas drops them."
        if differs.any():
            advice = (
                f"{differs.sum()} with other values than an earlier one; keep the right ones, call"
                " the column that names the series `unique_id` (in the file, or by"
                " `source.columns`), or name `source.time_zone` where a clock went back."
            )
        row = describe_row(frame, position)
        return (
            f", {row}: this time stands twice in its series, wanted once. Found"
            f" {plural(repeats.sum(), 'such row')}, {advice}"
        )
    is_earlier = frame.groupby("unique_id", sort=False)["ds"].diff() < pd.Timedelta(0)
    row = describe_row(frame, first_true(is_earlier))
    return (
        f", {row}: this time is earlier than the one before it, wanted ascending times in each"
        " series. Sort the rows by time; if the order has another reason (local clock turned"
        " back?), state `source.time_zone`."
    )


def has_number_type(values: pd.Series) -> bool:
    """Whether a column has a real number type; booleans and complex numbers are none."""
    return is_numeric_dtype(values) and values.dtype.kind not in "bc"


def join_texts(table: pd.DataFrame, columns: Iterable[str], mark: str) -> pd.Series:
    """The texts of `columns`, joined by `mark`, for each row; missing where one of them is."""
    parts = table[[*columns]]
    texts = parts.astype("str")
    first, *others = parts.columns
    return texts[first].str.cat(texts[others], sep=mark).where(parts.notna().all(axis=1))


def find_text_cell(values: pd.Series) -> int | None:
    """The position of the first cell that is neither a number nor missing; None without one. Text
    beside numbers is such a cell, even `1.5`: another may be written with another mark.
    """
    if has_number_type(values):
        return None
    if len(values) > FIRST_CELLS and isinstance(values.dtype, pd.StringDtype):
        # names and times are text from the first cell on, and to read millions as numbers is slow
        position = find_text_cell(values.head(FIRST_CELLS))
        if position is not None:
            return position
    is_text = values.notna() & pd.to_numeric(values.astype(str), errors="coerce").isna()
    if infer_dtype(values).startswith("mixed"):
        is_text |= values.map(lambda cell: isinstance(cell, str))
    return first_true(is_text) if is_text.any() else None


def name_row(index: pd.Index, position: int) -> str:
    """`line 7` where the index has the lines of a file, else `row 7`."""
    unit = "line" if index.name == "line" else "row"
    return f"{unit} {index[position]}"


def describe_row(frame: pd.DataFrame, position: int) -> str:
    """`row 7 (series 'a', 2020-01-03 00:00)` for the row at `position`."""
    row = frame.iloc[position]
    time = row.get("ds", "")  # a file without dates need not have the column
    time = time.isoformat(sep=" ", timespec="minutes") if isinstance(time, pd.Timestamp) else time
    return (
        f"{name_row(frame.index, position)} (series"
        f" {quote(row['unique_id'])}{f', {time}' if time != '' else ''})"
    )


def _check_columns(
    frame_columns: list[str], required: list[str], where: str, error: type[ForecastError]
) -> None:
    """Raises `error` for a column that is repeated in the frame or in `required`, and for a missing
    one of `required` or `KEY_COLUMNS`.
    """
    counts = [*Counter(frame_columns).items(), *Counter(required).items()]
    repeated = quote_names({name for name, count in counts if count > 1})
    if repeated:
        raise error(
            f"{where}: found {repeated} more than once, wanted each column once. Rename or drop"
            " one."
        )
    for name in (*KEY_COLUMNS, *required):
        require_column(name, frame_columns, where, MAPPING_HINT, error)


def _is_text(values: pd.Series) -> bool:
    """Whether pandas keeps the column as text: its string type, or objects before pandas 3."""
    if isinstance(values.dtype, pd.StringDtype):
        return True
    return bool(values.dtype == TEXT_DTYPE and is_string_dtype(values))


def _cast_columns(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The frame with numbers as float64 (integers above 2**53 lose digits), times in nanoseconds
    and series names as text. A column that cannot be cast stays, and `_describe_first_fault`
    reports it.
    """
    casts: dict[str, Any] = {
        name: np.float64
        for name in columns
        if frame[name].dtype != np.float64
        and (has_number_type(frame[name]) or frame[name].isna().all())
    }
    times = frame["ds"].dtype
    if isinstance(times, np.dtype) and times.kind == "M" and times != np.dtype("datetime64[ns]"):
        casts["ds"] = "datetime64[ns]"
    if not _is_text(frame["unique_id"]) and not frame["unique_id"].isna().any():
        casts["unique_id"] = "str"
    return frame.astype(casts) if casts else frame


def describe_text_cell(frame: pd.DataFrame, column: str) -> str:
    """The end of a message about a column that should hold numbers: its first cell with text, or
    the type of the column. Begins with `, ` or `: `, so that it follows the name of the file.
    """
    position = find_text_cell(frame[column])
    if position is None:
        return f": column {column!r} is of type {frame[column].dtype}, wanted numbers."
    row, cell = describe_row(frame, position), frame[column].iloc[position]
    kind = "text" if isinstance(cell, str) else type(cell).__name__
    return (
        f", {row}: column {column!r} holds {kind} {str(cell)[:60]!r}, wanted a number. Correct"
        " the cell, or leave it empty where nothing was measured."
    )


def _describe_key_fault(frame: pd.DataFrame, column: str) -> str:
    """The end of a message about `unique_id` or `ds` that is empty or of the wrong type; see
    `describe_text_cell`.
    """
    content = {"unique_id": "a series name", "ds": "a time in UTC"}[column]
    missing = frame[column].isna()
    if missing.any():
        row = frame.index[first_true(missing)]
        return f", row {row}: {column!r} is empty, wanted {content}. Complete or drop the row."
    return f": column {column!r} is of type {frame[column].dtype}, wanted {content}."
