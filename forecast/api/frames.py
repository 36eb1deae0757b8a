"""What a caller hands in as data: pandas, polars, pyarrow or another frame, checked into the long
frame of the stages.

Every fault is one sentence with the column, what was found and what was wanted.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.task import Calendar, RegularCalendar, SessionCalendar, WeekdayCalendar
from forecast.data.calendars import check_calendar, fit_calendar, grid
from forecast.data.columns import add_future_steps, require_plans, trim_to_last_value
from forecast.data.own_files import NUMBER, guess_number_marks
from forecast.data.schema import KEY_COLUMNS, check_frame, first_text_cell
from forecast.data.written_times import to_utc
from forecast.system.errors import InputError, closest, quote_names

WHERE = NAME = "df"
SERIES = "series"
"""The name of the one series of a frame that names none."""
HERE = {
    r"`calendar(\.freq)?`": "`freq`",
    r"Write all times in UTC, or state .*": (
        "Convert it: `df['ds'] = pandas.to_datetime(df['ds'], utc=True)`."
    ),
    r'Correct the row\..*time_format: (".*").*': (
        r"Convert it: `df['ds'] = pandas.to_datetime(df['ds'], format=\1)`."
    ),
}
"""What is said in words of datasets.yaml, which a caller does not have, and what is typed instead.
"""


@dataclass(frozen=True)
class Names:
    """How the caller's frame calls the series, the time and what is forecast (`unique_id, ds, y` by
    default).
    """

    id_col: str = "unique_id"
    time_col: str = "ds"
    target_col: tuple[str, ...] = ("y",)


def as_tuple(option: str, value: Any) -> tuple[Any, ...]:
    """One name or entry, or a list of them, as a tuple; `InputError` for what is neither."""
    is_single = isinstance(value, str | Mapping) or not isinstance(value, Iterable)
    entries = (value,) if is_single else tuple(value)
    for entry in entries:
        if not isinstance(entry, str | Mapping):
            raise InputError(
                f"{option}={value!r}: found {entry!r}, wanted a name or a list of names."
            )
    return entries


def require_whole(**options: Any) -> None:
    """`InputError` for an option that is neither None nor a whole number of at least 1."""
    for option, value in options.items():
        if value is None:
            continue
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or int(value) < 1:
            raise InputError(f"{option}={value!r}: wanted a whole number of at least 1.")


def long_frame(df: Any, names: Names, columns: Sequence[str], calendar: Calendar) -> pd.DataFrame:
    """`unique_id, ds, *columns` of any frame, in order, times in UTC without zone; `InputError` at
    the first fault.
    """
    frame = as_pandas(df)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    _require(frame, names, columns)
    kept = [name for name in (names.id_col, names.time_col, *columns) if name in frame]
    named = frame[kept].rename(columns={names.id_col: "unique_id", names.time_col: "ds"})
    if "unique_id" not in named:
        named = named.assign(unique_id=SERIES)
    named = named[[*KEY_COLUMNS, *columns]].reset_index(drop=True)
    for column in columns:
        _require_numbers(named, column)
    wall_clock = isinstance(calendar, SessionCalendar | WeekdayCalendar)
    zone = str(getattr(named["ds"].dtype, "tz", "UTC"))
    try:
        named = named.assign(ds=_times(named, names, wall_clock=wall_clock))
        ordered = named.sort_values(["unique_id", "ds"], kind="stable")
        _require_once(ordered, names)
        checked = check_frame(ordered, columns, where=WHERE)
        _require_freq(checked, calendar)
        check_calendar(checked, calendar, where=WHERE)
    except InputError as error:
        said = functools.reduce(
            lambda text, words: re.sub(words, HERE[words], text), HERE, str(error)
        )
        if zone != "UTC" and "grid" in said:
            said += (
                f" Times of {zone} become UTC; for days of its clock: `df['ds'] ="
                " df['ds'].dt.tz_localize(None)`."
            )
        raise InputError(re.sub("(?<=[`'])ds(?=[`'])", lambda _: names.time_col, said)) from None
    return checked


def over_horizon(
    frame: pd.DataFrame,
    plans: Sequence[str],
    observed: Sequence[str],
    horizon: int,
    calendar: Calendar,
    *,
    where: str,
) -> pd.DataFrame:
    """A long frame up to its last observations, with what `plans` hold of each row's horizon as
    `<column>+<step>`.
    """
    require_plans(frame, plans, observed, where=where)
    whole = add_future_steps(frame, plans, horizon, calendar, where=where)
    return trim_to_last_value(whole, observed)


def with_future(
    history: pd.DataFrame,
    future_df: Any,
    names: Names,
    plans: Sequence[str],
    observed: Sequence[str],
    calendar: Calendar,
) -> pd.DataFrame:
    """A history up to its last observations, and behind each series' the rows of `future_df`."""
    if not plans:
        raise InputError(
            "`future_df` was passed to a model fitted without `future_exogenous`; wanted none."
            " Drop it."
        )
    try:
        given = long_frame(future_df, names, plans, calendar)
    except InputError as error:
        raise InputError(re.sub(rf"\b{WHERE}\b", "future_df", str(error))) from None
    known = trim_to_last_value(history, observed)
    later = given["ds"] > given["unique_id"].map(known.groupby("unique_id")["ds"].last())
    return pd.concat([known, given[later]]).sort_values(
        list(KEY_COLUMNS), kind="stable", ignore_index=True
    )


def as_pandas(df: Any) -> pd.DataFrame:
    """Of a pandas frame the frame itself; of polars, pyarrow and whatever else speaks their
    protocols a copy.
    """
    if isinstance(df, pd.DataFrame):
        return df
    if hasattr(df, "collect") and type(df).__name__ == "LazyFrame":
        raise InputError(
            f"{WHERE} is a LazyFrame, which holds no rows yet; wanted a frame. Pass `df.collect()`."
        )
    if isinstance(df, pd.Series):
        raise InputError(
            f"{WHERE} is a Series, no frame. Pass `df.rename('y').rename_axis('ds').reset_index()`."
        )
    if hasattr(df, "__arrow_c_stream__"):
        import pyarrow

        with contextlib.suppress(pyarrow.ArrowInvalid):  # a single column
            return pyarrow.table(df).to_pandas()
    if hasattr(df, "__dataframe__"):
        from pyarrow.interchange import from_dataframe

        return from_dataframe(df).to_pandas()
    raise InputError(
        f"{WHERE} is of type {type(df).__name__}; wanted a frame of pandas, polars or pyarrow with"
        " one row per series and time. Pass `pandas.DataFrame(...)`."
    )


def _require(frame: pd.DataFrame, names: Names, columns: Sequence[str]) -> None:
    found = list(frame.columns)
    asked = [names.id_col, names.time_col, *columns]
    if again := [name for name in asked if asked.count(name) > 1]:
        raise InputError(
            f"Column {again[0]!r} is asked for {asked.count(again[0])} times; wanted once."
        )
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise InputError(
            f"{WHERE}: column {twice[0]!r} stands {found.count(twice[0])} times; wanted once. Drop"
            " one."
        )
    if not len(frame):
        raise InputError(f"{WHERE}: found no rows; wanted one per series and time.")
    levels = [level for level in frame.index.names if level is not None]
    series = [] if names.id_col == "unique_id" and "unique_id" not in levels else [names.id_col]
    for name in (names.time_col, *columns, *series):
        if name in found:
            continue
        if name in levels or (
            name == names.time_col and isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex)
        ):
            typed = f"df.reset_index({'' if name in levels else f'names={name!r}'})"
            raise InputError(
                f"{WHERE}: column {name!r} not found; the index has it, wanted a column. Pass"
                f" `{typed}`."
            )
        times = next(
            (
                str(n)
                for n in frame.columns
                if name == names.time_col and _looks_like_time(frame[n])
            ),
            "",
        )
        where = {names.time_col: " (`time_col`)", names.id_col: " (`id_col`)"}.get(name, "")
        option = (
            "`target_col`"
            if name in names.target_col
            else "`time_col`"
            if where
            else "the column's name"
        )
        raise InputError(
            f"{WHERE}: column {name!r}{where} not found.{closest(name, found)} Found"
            f" {quote_names(found)}. "
            + (
                f"Pass `time_col={times!r}`."
                if times
                else f"Rename the column, or correct {option}."
            )
        )


def _looks_like_time(values: pd.Series) -> bool:
    """Times, periods, or text that begins as dates do."""
    first = str(values.dropna().iloc[0]) if values.notna().any() else ""
    return (
        not pd.api.types.is_numeric_dtype(values)
        and re.match(r"\d{1,4}[-/.]\d{1,2}[-/.]\d", first) is not None
    )


def _require_numbers(frame: pd.DataFrame, column: str) -> None:
    values = frame[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        if values.isna().all():
            raise InputError(
                f"{WHERE}: column {column!r} is empty; wanted numbers. Drop the column, or fill it."
            )
        return
    found, own = first_text_cell(values), f"df[{column!r}]"
    shown = (
        f" with {str(found[1])[:40]!r} in row {found[0]}"
        if found
        else f", such as {values.iloc[0]!r}"
    )
    cells = values.dropna().astype("str").str.strip().loc[lambda text: text.str.contains(r"\d")]
    bare = cells.str.replace(r"^[$€£]|(?<=\d)\s*[^\d.,+-]+$", "", regex=True)  # without units
    decimal, thousands = guess_number_marks(bare, ",")
    units = bool(bare.str.fullmatch(NUMBER).all() and (bare != cells).any())
    steps = r".str.replace(r'[^\d.,+-]', '', regex=True)" * units
    steps += f".str.replace({thousands!r}, '')" * bool(thousands) + ".str.replace(',', '.')" * (
        decimal == ","
    )
    cure = (
        f"{own} = pandas.to_numeric({own}{'.astype(str)' * bool(steps)}{steps},"
        " errors='coerce').astype(float)"
    )
    raise InputError(
        f"{WHERE}: column {column!r} has type {values.dtype}{shown}; wanted numbers. Convert:"
        f" `{cure}`."
    )


def _times(frame: pd.DataFrame, names: Names, *, wall_clock: bool) -> pd.Series:
    values = frame["ds"]
    if isinstance(values.dtype, pd.PeriodDtype):
        return values.dt.to_timestamp().astype("datetime64[ns]")
    if isinstance(values.dtype, pd.ArrowDtype):
        values = values.array.__arrow_array__().to_pandas()
    if values.dtype == object:
        values = _with_one_zone(values, names, wall_clock=wall_clock)
    if pd.api.types.is_numeric_dtype(values) or values.dtype.kind == "m":
        own = f"df[{names.time_col!r}]"
        raise InputError(
            f"{WHERE}: column {names.time_col!r} holds numbers such as {values.iloc[0]}; wanted"
            f" times. Convert it: `{own} = {_times_of(own, values)}`."
        )
    return to_utc(frame.assign(ds=values), time_zone=None, wall_clock=wall_clock, where=WHERE)


def _times_of(own: str, values: pd.Series) -> str:
    """What makes times of years, days such as 20240131, seconds or milliseconds since 1970, and
    counted rows.
    """
    if values.dtype.kind == "m":
        return f"pandas.Timestamp('2000-01-01') + {own}"
    least, most = values.min(), values.max()
    for first, last, written in ((1678, 2199, "%Y"), (16780101, 21991231, "%Y%m%d")):
        if first <= least and most <= last:
            return f"pandas.to_datetime({own}.astype(int).astype(str), format={written!r})"
    unit = next(
        (
            unit
            for size, unit in ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))
            if least > size
        ),
        "D",
    )
    return f"pandas.to_datetime({own}, unit={unit!r})" + (
        "`, with `freq='1D'" if unit == "D" else ""
    )


def _with_one_zone(values: pd.Series, names: Names, *, wall_clock: bool) -> pd.Series:
    """Dates and times that pandas keeps as objects; `InputError` where only some of them have a
    zone.
    """
    zoned = values.map(lambda value: getattr(value, "tzinfo", None) is not None)
    if not zoned.any():
        return values
    if not zoned.all():
        first, other = int(np.argmax(zoned)), int(np.argmin(zoned))
        raise InputError(
            f"{WHERE}: column {names.time_col!r} mixes times with a zone ({values.iloc[first]}, row"
            f" {first}) and without ({values.iloc[other]}, row {other}); wanted one kind. Convert"
            f" it: `df[{names.time_col!r}] = pandas.to_datetime(df[{names.time_col!r}], utc=True)`."
        )
    return (
        values.map(lambda value: value.replace(tzinfo=None))
        if wall_clock
        else pd.to_datetime(values, utc=True)
    )


def _require_once(frame: pd.DataFrame, names: Names) -> None:
    twice = frame.duplicated(list(KEY_COLUMNS)).to_numpy()
    if not twice.any():
        return
    row = frame.iloc[int(np.argmax(twice))]
    keys = f"`{names.id_col}, {names.time_col}`"
    cure = f"df.drop_duplicates([{names.id_col!r}, {names.time_col!r}])"
    raise InputError(
        f"{WHERE}: rows that repeat their {keys}: {twice.sum()}, first {row['unique_id']!r} at"
        f" {row['ds']}; wanted each once. Pass `{cure}`, or name the column that tells the series"
        " apart as `id_col`."
    )


def _require_freq(frame: pd.DataFrame, calendar: Calendar) -> None:
    """A step that is another one than most of the stamps have; single stamps off the grid are told
    by their row.
    """
    if not isinstance(calendar, RegularCalendar):
        return
    first = frame["unique_id"].iloc[0]
    stamps = pd.DatetimeIndex(frame.loc[frame["unique_id"] == first, "ds"].head(60))
    steps = grid(calendar, stamps[0], stamps[-1])
    if len(stamps) < 3 or steps.equals(stamps):
        return
    common = pd.Series(stamps[1:] - stamps[:-1]).mode().iloc[0]
    if common in set(steps[1:] - steps[:-1]) and stamps.isin(steps).mean() >= 0.5:
        return
    found = getattr(fit_calendar(stamps)[0], "freq", "B")  # without one: the weekdays
    raise InputError(
        f"{WHERE}: most times of series {first!r} are {common} apart, which does not fit"
        f" freq={calendar.freq!r}. Pass freq={found!r}, or complete the rows."
    )
