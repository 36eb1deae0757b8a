"""Time stamps as written become UTC without a zone; whatever is ambiguous is refused with its row."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from forecast.system.errors import InputError

_OFFSET = re.compile(r"(Z|[+-]\d{2}:?\d{2})$")
_ONLY_DATE = re.compile(r"^\d{4}-\d{2}(-\d{2})?$")


def as_utc(table: pd.DataFrame, *, time_zone: str | None, wall_clock: bool, where: str) -> pd.Series:
    """Column `ds` of `table` as datetime64[ns] in UTC without a zone.

    Times without an offset are read in `time_zone` (None: UTC). `wall_clock` keeps the local date instead, which is
    what names a session. Raises `InputError` for unreadable, mixed, ambiguous or non-existent times.
    """
    values = table["ds"]
    _refuse_empty(values, where)
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
            f"{where}, {_row(values, position)}: `ds` holds {values.iloc[position]!r}, wanted an ISO 8601 time such "
            "as 2024-01-31 or 2024-01-31T13:00. Correct the row, or convert the column."
        )
    return (parsed.dt.tz_localize(None) if utc else parsed).astype("datetime64[ns]")


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
