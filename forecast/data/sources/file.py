"""The user's own CSV or Parquet: columns mapped, times in UTC, text in number columns refused with its line.

A time stamp that is ambiguous is refused with its row.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config.datasets import Dataset
from forecast.config.sources import Source
from forecast.config.task import SessionCalendar, TimeZone, WeekdayCalendar
from forecast.data import own_files
from forecast.data.columns import inputs_of
from forecast.data.schema import OUTSIDE, first_outside, first_text, place, text_fault
from forecast.data.sources import RawFrame, Request, observed
from forecast.system import files
from forecast.system.errors import InputError, closest, quote_names, quoted

_OFFSET = re.compile(r"(Z|[+-]\d{2}:?\d{2})$")
LARGEST = 1e100
_ONLY_DATE = re.compile(r"^\d{4}-\d{2}(-\d{2})?$")


class Settings(Source):
    """The user's own CSV or Parquet. `columns` maps our names to the file's (`ds`, `unique_id` included).

    `time_format`: how times are written where not as ISO 8601, such as `%d.%m.%Y %H:%M`.
    """

    origin: ClassVar[str] = "the file"
    without_dividends: ClassVar[bool] = True
    kind: Literal["file"]
    path: Path
    columns: dict[str, str] = Field(default_factory=dict)
    time_zone: TimeZone | None = None
    time_format: str | None = None
    separator: str = Field(",", min_length=1, max_length=1)
    decimal: Literal[".", ","] = "."
    issued_path: Path | None = Field(None, description="forecasts of some columns: ds, issued_at and the columns")
    issued_columns: tuple[str, ...] = Field((), description="the columns of `issued_path`")

    @property
    def vintage_columns(self) -> tuple[str, ...]:
        return self.issued_columns if self.issued_path is not None else ()

    @property
    def file(self) -> Path:
        return self.path


def read(request: Request) -> RawFrame:
    source = request.dataset.source
    assert isinstance(source, Settings)
    path = inside(request.root, source.path)
    where = str(source.path)
    read = own_files.table(
        path,
        where,
        separator=source.separator,
        decimal=source.decimal,
        names=source.columns.get("unique_id", "unique_id"),
    )
    table = _named(read, request.dataset, source, where)
    if request.dataset.calendar.kind == "index":
        table["ds"] = _numbered(table, where)
    for name in table.columns.drop(["unique_id", "ds"]):
        if first_text(table[name]) is not None:
            raise InputError(text_fault(table, str(name), where) + _decimal_hint(first_text(table[name])))
    wall_clock = isinstance(request.dataset.calendar, SessionCalendar | WeekdayCalendar)
    if source.time_format is not None:
        table["ds"] = _by_format(table["ds"], source.time_format, where)
    table["ds"] = as_utc(table, time_zone=source.time_zone, wall_clock=wall_clock, where=where)
    numbers = table.columns.drop(["unique_id", "ds"])
    table[numbers] = table[numbers].apply(pd.to_numeric)
    _refuse_vast(table, list(numbers), where)
    table, as_of = observed(request, table)
    provenance = {
        "source": "file",
        "parameters": {"path": where, "columns": dict(source.columns), "time_zone": source.time_zone},
        "adjustment": "none",
        "file_sha256": files.sha256(path),
        "retrieved_at": None,
    }
    return RawFrame(table, as_of, where=where, provenance=provenance, vintages=_issues(request, source, as_of))


def _issues(request: Request, source: Settings, as_of: pd.Timestamp) -> pd.DataFrame | None:
    """`unique_id, ds, issued_at, <columns>` of the file of forecasts, those issued by `as_of`; None without one."""
    if source.issued_path is None:
        return None
    where = str(source.issued_path)
    path = inside(request.root, source.issued_path)
    table = own_files.table(path, where, separator=source.separator, decimal=source.decimal)
    wanted = ["ds", "issued_at", *request.dataset.vintage_columns]
    for name in wanted:
        if name not in table.columns:
            raise InputError(
                f"{where}: column {name!r} is missing.{closest(name, table.columns)} Found "
                f"{quote_names(table.columns)}. Wanted the time, the time of issue (UTC) and `issued_columns`."
            )
    if "unique_id" not in table.columns:
        table.insert(0, "unique_id", source.path.stem)
    table = table[["unique_id", *wanted]].astype({"unique_id": "str"})
    for name in request.dataset.vintage_columns:
        if first_text(table[name]) is not None:
            raise InputError(text_fault(table, name, where) + _decimal_hint(first_text(table[name])))
    wall_clock = isinstance(request.dataset.calendar, SessionCalendar | WeekdayCalendar)
    if source.time_format is not None:
        for name in ("ds", "issued_at"):
            table[name] = _by_format(table[name], source.time_format, where)
    table["ds"] = as_utc(table, time_zone=source.time_zone, wall_clock=wall_clock, where=where)
    issued = table[["unique_id", "issued_at"]].rename(columns={"issued_at": "ds"})
    table["issued_at"] = as_utc(issued, time_zone=source.time_zone, wall_clock=False, where=f"{where}, issued_at")
    return table[table["issued_at"] <= as_of].reset_index(drop=True)


def _refuse_vast(table: pd.DataFrame, columns: list[str], where: str) -> None:
    for column in columns:
        vast = ((table[column].abs() > LARGEST) & ~np.isinf(table[column])).to_numpy()
        if vast.any():
            raise InputError(
                f"{where}, {place(table, int(np.argmax(vast)))}: column {column!r} holds "
                f"{table[column].iloc[int(np.argmax(vast))]:g}, wanted numbers up to {LARGEST:g}, whose squares are "
                "finite. Correct the cell, or take another unit."
            )


def _numbered(table: pd.DataFrame, where: str) -> pd.Series:
    """Times for rows without dates: `ds` counts them, or their order in each series does."""
    counts = table["ds"] if "ds" in table else table.groupby("unique_id", sort=False).cumcount()
    numbers = pd.to_numeric(counts, errors="coerce")
    wrong = (~numbers.between(0, 10**8) | (numbers % 1 != 0)).to_numpy()
    if wrong.any():
        position = int(np.argmax(wrong))
        raise InputError(
            f"{where}, {_row(counts, position)}: `ds` holds {quoted(counts.iloc[position])}, wanted a whole number "
            "from 0 to 100,000,000 (`calendar: {kind: index}`). Correct the row, or name a calendar with dates."
        )
    return pd.to_datetime(numbers.astype("int64") * 60, unit="s").astype("datetime64[ns]")


def _by_format(values: pd.Series, form: str, where: str) -> pd.Series:
    times = pd.to_datetime(values.astype("str").str.strip(), format=form, errors="coerce")
    wrong = (times.isna() & values.notna()).to_numpy()
    if wrong.any():
        position = int(np.argmax(wrong))
        raise InputError(
            f"{where}, {_row(values, position)}: `ds` holds {quoted(values.iloc[position])}, wanted a time written as "
            f"{form!r}. Correct the row, or `source.time_format`."
        )
    return times


def _decimal_hint(found: tuple[Any, Any] | None) -> str:
    comma = found is not None and own_files.DECIMAL_COMMA.fullmatch(str(found[1]))
    return ' For decimal commas add `decimal: ","` under `source` in configs/datasets.yaml.' if comma else ""


def inside(root: Path, path: Path) -> Path:
    """The resolved path; `InputError` when it lies outside the project, where a clone would not find it."""
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise InputError(
            f"{path}: lies outside the project, wanted a path inside it. Copy the file to data/ and name that."
        )
    return resolved


def _named(table: pd.DataFrame, dataset: Dataset, source: Settings, where: str) -> pd.DataFrame:
    """Our names for the file's columns, only those the dataset uses; without `unique_id` the file is one series."""
    used = _wanted(dataset, source, set(table.columns))
    chosen = {}
    for ours, theirs in used.items():
        if theirs not in table.columns:
            without = ("unique_id", "ds") if dataset.calendar.kind == "index" else ("unique_id",)
            if ours in without and ours not in source.columns:
                continue
            raise InputError(
                f"{where}: column {theirs!r} is missing.{closest(theirs, table.columns)} Found "
                f"{quote_names(table.columns)}. Map the file's names under `source.columns` ({ours}: <its name>)."
            )
        chosen[ours] = table[theirs]
    named = pd.DataFrame(chosen, index=table.index)
    if "unique_id" not in named:
        named.insert(0, "unique_id", Path(where).stem)
    elif named["unique_id"].notna().all():
        named["unique_id"] = named["unique_id"].astype("str")
    return named


def _wanted(dataset: Dataset, source: Settings, found: set[str]) -> dict[str, str]:
    ours = {name for name in found if name not in source.columns.values()} | set(source.columns)
    wanted = ["unique_id", "ds", *(n for c in dataset.columns if c.asked for n in inputs_of(c.asked, ours))]
    return {name: source.columns.get(name, name) for name in [*dict.fromkeys(wanted), *source.columns]}


def as_utc(table: pd.DataFrame, *, time_zone: str | None, wall_clock: bool, where: str) -> pd.Series:
    """Column `ds` of `table` as datetime64[ns] in UTC without a zone.

    Times without an offset are read in `time_zone` (None: UTC). `wall_clock` keeps the local date instead, which is
    what names a session. Raises `InputError` for unreadable, mixed, ambiguous or non-existent times.
    """
    values = table["ds"]
    _refuse_empty(values, where)
    if values.dtype.kind == "M":
        _refuse_outside(values, values, where)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        naive = values.dt.tz_localize(None) if wall_clock else values.dt.tz_convert("UTC").dt.tz_localize(None)
        return naive.astype("datetime64[ns]")
    if values.dtype.kind == "M":
        return _from_local(values.astype("datetime64[ns]"), table, time_zone, wall_clock, where)
    if pd.api.types.is_numeric_dtype(values):
        raise InputError(
            f"{where}, {_row(values, 0)}: `ds` holds the number {values.iloc[0]}, wanted a date or time such as "
            "2024-01-31 or 2024-01-31T13:00. Write the times out, or map another column to `ds`."
        )
    return _from_text(values.astype("str"), table, time_zone, wall_clock, where)


def _from_text(
    values: pd.Series, table: pd.DataFrame, time_zone: str | None, wall_clock: bool, where: str
) -> pd.Series:
    offsets = values.str.strip().str.extract(_OFFSET, expand=False)
    offsets = offsets.where(~values.str.strip().str.match(_ONLY_DATE))
    stated = offsets.notna()
    if stated.any() and not stated.all():
        raise InputError(_mixed(values, np.flatnonzero((stated != stated.iloc[0]).to_numpy())[0], where))
    if not stated.any():
        return _from_local(_parsed(values, where), table, time_zone, wall_clock, where)
    if wall_clock:
        return _parsed(values.str.strip().str.replace(_OFFSET, "", regex=True), where)
    utc = _parsed(values, where, utc=True)
    different = offsets.replace({"Z": "+00:00", "+0000": "+00:00"})
    if different.nunique() > 1:
        _check_offsets(values, utc, different, time_zone, where)
    return utc


def _parsed(values: pd.Series, where: str, *, utc: bool = False) -> pd.Series:
    parsed = pd.to_datetime(values, errors="coerce", utc=utc, format="ISO8601")
    if parsed.isna().any():
        position = int(np.argmax(parsed.isna().to_numpy()))
        raise InputError(
            f"{where}, {_row(values, position)}: `ds` holds {quoted(values.iloc[position])}, wanted an ISO 8601 time "
            "such as 2024-01-31 or 2024-01-31T13:00. Correct the row, or name the column's own format under `source`, "
            'such as `time_format: "%d.%m.%Y %H:%M"`.'
        )
    _refuse_outside(parsed, values, where)
    return (parsed.dt.tz_localize(None) if utc else parsed).astype("datetime64[ns]")


def _refuse_outside(times: pd.Series, written: pd.Series, where: str) -> None:
    position = first_outside(times)
    if position is not None:
        raise InputError(
            f"{where}, {_row(times, position)}: `ds` holds {quoted(written.iloc[position])}: {OUTSIDE} Correct the "
            "row, or map another column to `ds`."
        )


def _check_offsets(values: pd.Series, utc: pd.Series, offsets: pd.Series, time_zone: str | None, where: str) -> None:
    """Several offsets are fine only when `time_zone` explains every one of them (its summer time)."""
    if time_zone is None:
        raise InputError(_mixed(values, np.flatnonzero((offsets != offsets.iloc[0]).to_numpy())[0], where))
    local = utc.dt.tz_localize("UTC").dt.tz_convert(time_zone)
    expected = local.dt.strftime("%z")
    wrong = (expected != offsets.str.replace(":", "")).to_numpy()
    if wrong.any():
        position = int(np.argmax(wrong))
        raise InputError(
            f"{where}, {_row(values, position)}: `ds` holds {values.iloc[position]!r}, but {time_zone} was at "
            f"{expected.iloc[position]} then. Correct `source.time_zone`, or write all times in UTC."
        )


def _from_local(
    times: pd.Series, table: pd.DataFrame, time_zone: str | None, wall_clock: bool, where: str
) -> pd.Series:
    if wall_clock or time_zone in (None, "UTC"):
        return times
    gone = times.dt.tz_localize(time_zone, nonexistent="NaT", ambiguous="NaT").isna()
    if not gone.any():
        return _utc(times.dt.tz_localize(time_zone))
    # The repeated hour of autumn is told apart by its order, series by series, where both halves are present.
    try:
        parts = [
            _utc(part.dt.tz_localize(time_zone, ambiguous="infer"))
            for _, part in times.groupby(table["unique_id"], sort=False)
        ]
        return pd.concat(parts).reindex(times.index)
    except ValueError:
        position = int(np.argmax(gone.to_numpy()))
        raise InputError(
            f"{where}, {_row(times, position)}: {times.iloc[position]} stands twice or never on the clocks of "
            f"{time_zone} (summer time begins or ends), wanted one instant. Write the times in UTC or with an offset."
        ) from None


def _utc(times: pd.Series) -> pd.Series:
    return times.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ns]")


def _refuse_empty(values: pd.Series, where: str) -> None:
    if values.isna().any():
        position = int(np.argmax(values.isna().to_numpy()))
        raise InputError(
            f"{where}, {_row(values, position)}: `ds` is empty, wanted a time in every row. Complete or drop it."
        )


def _mixed(values: pd.Series, position: int, where: str) -> str:
    return (
        f"{where}, {_row(values, position)}: mixed time zones: `ds` holds {values.iloc[position]!r}, the first row "
        f"{values.iloc[0]!r}. Write all times in UTC, or state `source.time_zone` if one local clock explains them."
    )


def _row(values: pd.Series, position: int) -> str:
    unit = values.index.name if values.index.name == "line" else "row"
    return f"{unit} {values.index[position]}"
