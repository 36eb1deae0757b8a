"""Checks a caller's frame (pandas, polars, pyarrow, ...) and converts it to the long frame of the
stages (`long_frame`): `unique_id, ds` and number columns, ordered by series and time, times in UTC
without a time zone.

A fault raises `InputError` with the column, what was found, what was wanted and what to type;
messages of the stages are rephrased for the caller (`caller_words`). No value is filled and no row
is dropped, except rows after the last target (`up_to_last_target`) and those that a plan has too
(`with_future`).

The names of the key columns are not guessed: `id_col`, `time_col` and `target_col` are parameters
of `forecast.fit` (`api.fitting`) and `forecast.compare` (`api.board`), each with its own defaults,
and come here as `Names`. `forecast add` guesses the columns of a file by other code
(`data.guesses`).
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_integer_dtype, is_numeric_dtype

from forecast.config.task import Calendar, StaticColumn, Task, static_input_names
from forecast.data.calendars import check_calendar, format_times, row_numbers
from forecast.data.columns import append_plan, encode_static, is_behind_last_value
from forecast.data.hierarchy import name_by_groups
from forecast.data.quality import Violation, format_violations
from forecast.data.schema import KEY_COLUMNS, LATEST_TIME, check_frame, has_number_type
from forecast.data.written_times import describe_wide, to_utc
from forecast.system.errors import InputError, ModelError, quote_names, require_column

NAME = "df"
"""The name of the dataset of a caller's frame."""
WHERE = NAME
"""The caller's frame in messages."""
FUTURE = "future_df"
"""The caller's frame of future inputs in messages."""
ONLY_SERIES = "series"
"""The name of the series in a frame without a column of series."""
COLUMN_HINT = (
    "Rename it, or correct its name in the call; `id_col`, `time_col` and `target_col` name your"
    " own columns. A column for each series becomes rows by `melt` of pandas."
)
MAX_MISSING_SHARE = 0.2
"""The largest share of time steps at which a column may have no value, in most series."""
CALLER_WORDS = {
    r"^Dataset 'df'": WHERE,
    r"data/raw/df\.parquet": WHERE,
    "or `minimum` and `maximum` of the target": "or fit with another `minimum`",
    r"configs/models\.yaml: models\.([\w-]+)": r"model '\1'",
    r", or set `quality\.\w+: warn`": "",
    r", or add `missing: .*\.": ".",
    r"local times; state .*\.": (
        "local times; convert them: `df['ds'] = df['ds'].dt.tz_localize(zone)`."
    ),
    "or move the dates under `splits` in configs/datasets.yaml": (
        "move `splits`, or fit 'naive' or another simple model, which goes on from fewer steps"
    ),
    r" in configs/datasets\.yaml": "",
    r"\{column: ([^,]+), max_missing: ([\d.]+)\}": r"{'column': '\1', 'max_missing': \2}",
    r"`calendar(\.freq)?`": "`freq`",
    r"`calendar: \{kind: index\}`": "whole numbers as times and `freq=1`",
    r"(leaves out the season of \d+ steps)\. .*": (
        r"\1. Pass `season_length=1`, or take 'arima_fourier'."
    ),
    r"(holds complex.*wanted )a number\..*": r"\1real numbers. Take its `abs()` or its real part.",
    r"(column '.*wanted )(a number|numbers)\..*": (
        r"\1numbers. Convert it by `astype(float)`, words by `pandas.get_dummies`."
    ),
    r"(holds text '[-+]?[\d.]*,\d+', wanted numbers\.) Convert .*": (
        r"\1 Write them with a decimal point, then `astype(float)`."
    ),
    "call the column .* or name `source.time_zone` where a clock went back": (
        "name the column of the series as `id_col`, or pass times with their zone"
        " where a clock went back: `df['ds'].dt.tz_localize('Europe/Berlin', ambiguous='infer')`"
    ),
    "Write dates alone, without hours": "Convert it: `df['ds'] = df['ds'].dt.normalize()`",
    r"Write all times in UTC, or state .*": (
        "Convert it: `df['ds'] = pandas.to_datetime(df['ds'], utc=True)`."
    ),
    r"Correct the row\. Or name their `time_format` under `source`\.": (
        "Convert it: `df['ds'] = pandas.to_datetime(df['ds'], format=...)`."
    ),
    r'Correct the row\..*time_format: (".*").*': (
        r"Convert it: `df['ds'] = pandas.to_datetime(df['ds'], format=\1)`."
    ),
}
"""Pattern in messages of the stages → what a caller in Python is told instead: arguments of the
call and not files.
"""
MOMENT = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?"
"""A time in a message."""


@dataclass(frozen=True)
class Names:
    """The caller's column names, time zone and series names, in which forecasts are returned."""

    id_col: str = "unique_id"
    time_col: str = "ds"
    target_col: tuple[str, ...] = ("y",)
    time_zone: tzinfo | None = None
    """`zone_of_times` of the frame."""
    clock: str = ""
    """`find_clock` of the frame."""
    ids: pd.Series | None = None
    """`own_ids` of the frame."""


@contextlib.contextmanager
def caller_words(names: Names, calendar: Calendar) -> Iterator[None]:
    """Rephrase errors that are raised inside the block for the caller (`in_caller_words`)."""
    try:
        yield
    except (InputError, ModelError) as error:
        raise type(error)(in_caller_words(str(error), names, calendar)) from None


def list_entries(value: Any) -> tuple[Any, ...]:
    """An option with one value or several, as a tuple."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def as_tuple(option: str, value: Any) -> tuple[Any, ...]:
    """An option with one name or entry or several, as a tuple; `InputError` for other values."""
    entries = list_entries(value)
    for entry in entries:
        if not isinstance(entry, str | Mapping):
            raise InputError(
                f"{option}={value!r}: found {entry!r}, wanted a name or a list of names, which are"
                f" strings such as '{entry}'."
            )
    return entries


def require_whole(**options: Any) -> None:
    """Raises `InputError` for an option that is neither None nor a whole number of at least 1."""
    for option, value in options.items():
        if value is None:
            continue
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
            raise InputError(f"{option}={value!r}: wanted a whole number of at least 1.")


def long_frame(
    df: Any,
    names: Names,
    columns: Sequence[str],
    calendar: Calendar,
    hierarchy: Sequence[str] = (),
    static: Sequence[StaticColumn] = (),
) -> pd.DataFrame:
    """The long frame of a caller's frame: `unique_id, ds, *columns` and the inputs of the `static`
    columns.

    With a `hierarchy` series are named by its groups. Raises `InputError` at the first fault.
    """
    frame = _with_text_names(df)
    if hierarchy:
        groups = frame[frame.columns.intersection([*hierarchy, names.id_col])].apply(
            _write_whole_floats
        )
        frame[names.id_col] = name_by_groups(groups, hierarchy, names.id_col, where=WHERE)[
            names.id_col
        ]
    frame = encode_static(frame, static, names.id_col, where=WHERE)
    columns = [*columns, *static_input_names(static)]
    _require_frame(frame, names, columns)
    present = [name for name in (names.id_col, names.time_col, *columns) if name in frame]
    frame = frame[present].rename(columns={names.id_col: "unique_id", names.time_col: "ds"})
    if not frame.columns.is_unique:
        raise InputError(
            "A column called `unique_id` or `ds` is neither the series nor the time; wanted another"
            " name of it. Rename it."
        )
    if "unique_id" not in frame:
        frame = frame.assign(unique_id=ONLY_SERIES)
    frame = frame[[*KEY_COLUMNS, *columns]].reset_index(drop=True)
    ids = frame["unique_id"].dropna().drop_duplicates()
    is_alike = _write_whole_floats(ids).astype(str).duplicated()
    if is_alike.any():
        raise InputError(
            f"{WHERE}: two ids of {names.id_col!r} look alike, as {ids[is_alike].iloc[0]} does as a"
            " number and as a text. Make all of them texts, or rename one."
        )
    frame["unique_id"] = _write_whole_floats(frame["unique_id"])
    for name in set(columns).difference(names.target_col):
        if infer_dtype(frame[name]) == "boolean":
            frame[name] = frame[name].astype("boolean").astype(float)
    if empty := quote_names(name for name in columns if frame[name].isna().all()):
        raise InputError(
            f"{WHERE}: found no value in {empty}; wanted numbers, a row per series and time. Drop"
            " or fill them."
        )
    with caller_words(names, calendar):
        if calendar.counts_rows:
            frame = frame.assign(ds=_times_of_counts(frame, names))
        else:
            frame = frame.assign(ds=_times(frame, names, wall_clock=calendar.keeps_wall_clock))
        ordered = frame.sort_values(["unique_id", "ds"], kind="stable")
        checked = check_frame(ordered, columns, where=WHERE)
        check_calendar(checked, calendar, where=WHERE)
        return checked


def _with_text_names(df: Any) -> pd.DataFrame:
    """A frame as pandas frame whose column names are text."""
    frame = as_pandas(df)
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def zone_of_times(df: Any, time_col: str) -> tzinfo | None:
    """The time zone of the frame's times; None for times without one, as text or as objects."""
    dtype = _with_text_names(df)[time_col].dtype
    zone = getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None)
    return pd.DatetimeTZDtype(tz=zone).tz if isinstance(zone, str) else zone


def own_ids(df: Any, id_col: str) -> pd.Series | None:
    """The caller's series names, such as numbers or categories, sorted and indexed by their text in
    the long frame; None where they are text or missing.
    """
    names = _with_text_names(df).reset_index(drop=True).get(id_col)
    if names is None or names.dtype == "str":
        return None
    texts = _write_whole_floats(names).astype("str").drop_duplicates()
    ids = names[texts.index].set_axis(texts)
    try:
        return ids.sort_values()
    except (TypeError, ValueError):  # of several types, or lists
        return ids.sort_index()


def _write_whole_floats(names: pd.Series) -> pd.Series:
    """Names of series or groups with the text `1` for the float 1.0, which a join makes of the
    integer 1: as text they would be two series.
    """
    if is_integer_dtype(names) or names.dtype == "str":
        return names
    return names.map(
        lambda name: f"{name:.0f}" if isinstance(name, float) and name.is_integer() else name
    )


def with_own_ids(table: pd.DataFrame, id_col: str, ids: pd.Series) -> pd.DataFrame:
    """The table with the caller's series names (`own_ids`) for their texts; a table that is sorted
    by text is sorted by them.
    """
    texts = pd.Index(table[id_col])
    positions = ids.index.get_indexer(texts)
    answer = table.assign(**{id_col: ids.array.take(positions)})
    if texts.is_monotonic_increasing:
        answer = answer.iloc[positions.argsort(kind="stable")].reset_index(drop=True)
    return answer


NAMES_OF_UTC = ("Etc/UTC", "GMT", "Etc/GMT", "Zulu", "tzutc()", "UTC+00:00")


def find_clock(df: Any, time_col: str) -> str:
    """The name of the time zone of the frame's first time; "" without one."""
    times = _with_text_names(df).get(time_col, pd.Series()).dropna()
    with contextlib.suppress(ValueError, TypeError, IndexError):
        zone = str(pd.Timestamp(times.iloc[0]).tzinfo or "")
        return "UTC" if zone in NAMES_OF_UTC else zone
    return ""


def require_zones_in_both_or_none(
    clock: str, known: str, calendar: Calendar, *, where: str, known_where: str = WHERE
) -> None:
    """Raises `InputError` where one of two frames has times with a time zone and the other times
    without one: these would be read as UTC, and so shifted against the others.

    clock, known: `find_clock` the frames called `where` and `known_where`. Days of sessions and
    weekdays are read as written, and counted rows have no clock; these are not checked.
    """
    zone = clock or known
    if (clock and known) or zone in ("", "UTC"):
        return
    if calendar.keeps_wall_clock or calendar.counts_rows:
        return
    places = (known_where, where) if known else (where, known_where)
    raise InputError(
        f"{where}: the times of {places[0]} are of {zone}, those of {places[1]} have no"
        " zone and would be read as UTC; wanted both with or both without. Take it off by"
        " `df['ds'].dt.tz_localize(None)`, or give the other its own."
    )


def clock_name(zone: tzinfo | None) -> str | None:
    """The name of a time zone such as `Europe/Berlin`; None for UTC, a fixed offset or no zone."""
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return None if key == "UTC" else key


def in_zone(times: Any, zone: tzinfo, calendar: Calendar) -> pd.DatetimeIndex:
    """Times of the stages (UTC) in the caller's time zone; the date of a session is unchanged."""
    moments = pd.DatetimeIndex(times)
    if calendar.keeps_wall_clock:
        is_first = np.ones(len(moments), dtype=bool)  # the first of two equal midnights
        return moments.tz_localize(zone, ambiguous=is_first, nonexistent="shift_forward")
    return moments.tz_localize("UTC").tz_convert(zone)


def warn_of(violations: list[Violation], names: Names, calendar: Calendar) -> None:
    """Warn once for each broken rule, in words for the caller."""
    for sentence in format_violations(violations):
        words = in_caller_words(sentence, names, calendar).removeprefix("warn ")
        warnings.warn(f"{WHERE}: {words}", stacklevel=6)


def in_caller_words(message: str, names: Names, calendar: Calendar) -> str:
    """A message of the stages with arguments, column names and row numbers of the caller.

    Its times are marked as UTC where those of the caller have another time zone.
    """
    for pattern, words in CALLER_WORDS.items():
        message = re.sub(pattern, words, message)
    if names.clock not in ("", "UTC") and not calendar.keeps_wall_clock:
        # what stands in quotes is a cell as the caller wrote it
        message = re.sub(rf"(?<!'){MOMENT}(?![-+:\dZ]| UTC)", r"\g<0> UTC", message)
        # the error of a frame may pass here twice
        if "grid of the other rows" in message and "become UTC" not in message:
            message += (
                f" Times of {names.clock} become UTC; for days of its clock: `df['ds'] ="
                " df['ds'].dt.tz_localize(None)`."
            )
    if calendar.counts_rows:
        for moment in re.findall(MOMENT, message):
            message = message.replace(moment, f"{names.time_col}={row_numbers([moment])[0]}")
    return names.time_col.join(re.split("(?<=[`'])ds(?=[`'])", message))


def with_future(
    history: pd.DataFrame,
    future_df: Any,
    names: Names,
    plan_columns: Sequence[str],
    observed: Sequence[str],
    task: Task,
) -> pd.DataFrame:
    """The history with the rows of `future_df` after each series' last observation, in place of its
    own rows from the first of them on (`append_plan`).

    names: those of the history. plan_columns, observed: the inputs known ahead, and the targets and
    past inputs. Raises `InputError` for a faulty `future_df`, where the model has no input known
    ahead, where only one of the frames has a time zone, for times between the history's steps,
    without a time after its last observation, and for a series without a step of the horizon.
    """
    if not plan_columns:
        raise InputError(
            "`future_df` was passed to a model fitted without `future_exogenous`; wanted none."
            " Drop it."
        )
    try:
        future_df = as_pandas(future_df)
        clock = find_clock(future_df, names.time_col)
        present = [*future_df.columns, *future_df.index.names]
        if names.id_col not in present and not task.hierarchy:
            # without a column of series it is the same for all series
            future_df = future_df.merge(
                history["unique_id"].drop_duplicates().rename(names.id_col), how="cross"
            )
        future = long_frame(future_df, names, plan_columns, task.calendar, task.hierarchy)
    except InputError as error:
        raise InputError(re.sub(rf"\b{WHERE}\b", FUTURE, str(error))) from None
    require_zones_in_both_or_none(clock, names.clock, task.calendar, where=FUTURE)
    if unknown := set(future["unique_id"]).difference(history["unique_id"]):
        warnings.warn(
            f"{FUTURE}: series without a history are left out: {quote_names(unknown)}",
            stacklevel=5,
        )
    check_calendar(pd.concat([history, future]), task.calendar, where=FUTURE)
    steps = task.future_exogenous[0].steps
    return append_plan(history, future, observed, steps, task.calendar, where=FUTURE)


def up_to_last_target(
    frame: pd.DataFrame,
    names: Names,
    past: Sequence[str],
    plan_columns: Sequence[str],
    calendar: Calendar,
    *,
    stacklevel: int,
) -> pd.DataFrame:
    """The checked `frame` without observations after the last target of all series, where forecasts
    begin.

    Without `plan_columns` the later rows are left out. With them they stay, and their `past` inputs
    are removed. A warning says from how many rows something was left out.
    """
    is_behind = is_behind_last_value(frame, names.target_col)
    is_left_out = is_behind
    if plan_columns:
        is_left_out = is_behind & frame[list(past)].notna().any(axis=1)
    n_rows = int(is_left_out.sum())
    if not n_rows:
        return frame
    start = format_times([frame["ds"][~is_behind].max()], calendar)
    what = "rows behind it that are"
    if plan_columns:
        what = f"rows behind it whose {quote_names(past)} are"
    warnings.warn(
        f"{WHERE}: the forecast starts after {start}, the last time with a target; {what} left out:"
        f" {n_rows}.",
        stacklevel=stacklevel + 1,
    )
    if plan_columns:
        return frame.assign(**{name: frame[name].mask(is_behind) for name in past})
    return frame[~is_behind].reset_index(drop=True)


def as_pandas(df: Any) -> pd.DataFrame:
    """A pandas frame itself, or a copy of a polars, pyarrow or other Arrow frame.

    Raises `InputError` for other types, such as a Series or a LazyFrame.
    """
    if isinstance(df, pd.DataFrame):
        return df
    if hasattr(df, "__arrow_c_stream__"):
        import pyarrow

        with contextlib.suppress(pyarrow.ArrowInvalid):  # df is a single column and no frame
            return pyarrow.table(df).to_pandas()
    raise InputError(
        f"{WHERE} is of type {type(df).__name__}; wanted a frame of pandas, polars or pyarrow with"
        " one row per series and time. Pass `pandas.DataFrame(...)`; of a LazyFrame, `collect()`."
    )


def _require_frame(frame: pd.DataFrame, names: Names, columns: Sequence[str]) -> None:
    """Raises `InputError` for a frame without rows, and for a column that is missing, duplicated or
    requested twice.

    The column of series may be missing if it has the default name; the frame is then one series.
    """
    if not len(frame):
        raise InputError(f"{WHERE}: found no rows; wanted one per series and time.")
    present = list(frame.columns)
    requested = [names.id_col, names.time_col, *columns]
    for name in requested + present:
        if requested.count(name) > 1 or present.count(name) > 1:
            raise InputError(
                f"{WHERE}: column {name!r} stands or is asked for more than once; wanted once. Drop"
                " one."
            )
    required = [names.time_col, *columns]
    if names.id_col != "unique_id" or "unique_id" in frame.index.names:
        required.append(names.id_col)
    for name in required:
        if name not in present:
            _require_in_no_index(name, frame, names)
            if wide := describe_wide(present):
                raise InputError(f"{WHERE}: column {name!r} not found. {wide}.")
        require_column(name, present, WHERE, COLUMN_HINT)


def _require_in_no_index(name: str, frame: pd.DataFrame, names: Names) -> None:
    """Raises `InputError`, with what to type, where the column `name` is in the frame's index."""
    levels = list(frame.index.names)
    for number, level in enumerate(levels):
        values = frame.index.get_level_values(number)
        has_times = isinstance(values, pd.DatetimeIndex | pd.PeriodIndex)
        if level is None and (has_times or len(levels) > 1):
            column = names.time_col if has_times else names.id_col
            levels[number] = f"level_{number}" if column in [*frame, *levels] else column
    if name in levels:
        raise InputError(
            f"{WHERE}: column {name!r} not found; the index has it, wanted a column. Pass"
            f" `df.reset_index(names={levels})`."
        )


def _times(frame: pd.DataFrame, names: Names, *, wall_clock: bool) -> pd.Series:
    """The column `ds` as times in UTC without time zone; `InputError` for numbers."""
    values = frame["ds"]
    if isinstance(values.dtype, pd.PeriodDtype):
        return values.dt.to_timestamp().astype("datetime64[ns]")
    if isinstance(values.dtype, pd.ArrowDtype):
        values = values.array.__arrow_array__().to_pandas()
    if values.dtype == object and not wall_clock:
        zones = {getattr(value, "tzinfo", None) for value in values}
        if None not in zones:
            values = pd.to_datetime(values, utc=True)
    if is_numeric_dtype(values) or values.dtype.kind == "m":
        raise InputError(
            f"{WHERE}: column {names.time_col!r} holds numbers such as {values.iloc[0]}; wanted"
            " times. Convert it by `pandas.to_datetime` with its `unit` or `format`; read dates"
            " such as 31.01.2024 as text (`dtype=str`), since `thousands='.'` takes their points;"
            " or pass `freq=1` if it counts rows."
        )
    return to_utc(frame.assign(ds=values), time_zone=None, wall_clock=wall_clock, where=WHERE)


def _times_of_counts(frame: pd.DataFrame, names: Names) -> pd.Series:
    """The times of a column `ds` that counts rows: row n has the time n minutes after 1970.

    Raises `InputError` for values that are no whole numbers, for too large ones, and where the most
    common step is more than 1.
    """
    counts = frame["ds"]
    column = f"{WHERE}: column {names.time_col!r}"
    if not has_number_type(counts) or (counts.dropna() % 1 != 0).any():
        raise InputError(
            f"{column} holds no whole numbers; wanted them, since freq=1"
            " counts rows. Pass the step of its times as `freq`, such as '1D'."
        )
    steps = frame.sort_values("ds").groupby("unique_id")["ds"].diff().dropna()
    common = int(steps.mode().iloc[0]) if len(steps) else 1
    if common > 1:
        expression = f"df[{names.time_col!r}]"
        raise InputError(
            f"{column} counts in steps of {common}; wanted steps of 1."
            f" Divide: `{expression} = {expression} // {common}`."
        )
    counts = counts.astype("Int64")  # 60 times a number of 16 bits would overflow
    most = row_numbers([LATEST_TIME])[0]
    if (counts.abs() >= most).any():
        raise InputError(
            f"{column} counts too far; wanted numbers below {most}. Subtract the first of them."
        )
    return pd.to_datetime(60 * counts, unit="s").astype("datetime64[ns]")
