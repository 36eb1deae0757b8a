"""The long frame: `unique_id, ds, <columns>`, checked once at the door; every fault is one sentence.

`ds` is UTC without a time zone (for sessions: the date at midnight), ascending within each series; a cell may be
NaN (missing), a row is never invented.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from forecast.system.errors import ForecastError, InputError, closest, quote_names

if TYPE_CHECKING:
    import pandera.pandas as pa

KEYS = ("unique_id", "ds")


def check_frame(
    frame: pd.DataFrame, columns: Iterable[str], *, where: str, error: type[ForecastError] = InputError
) -> pd.DataFrame:
    """The frame with exactly `unique_id, ds, *columns`, float64 and nanosecond times, sorted by series.

    `frame.index` labels the rows in messages: `row` or, when the index is named so, `line` of the user's file.
    Raises `error` (`InputError`, or `DataError` for what a service delivered) at the first fault.
    """
    columns = list(columns)
    found = [str(name) for name in frame.columns]
    _require_columns(found, columns, where, error)
    if frame.empty:
        raise error(f"{where}: found no rows, wanted at least one observation. Check the file and its filters.")
    frame = _typed(frame[[*KEYS, *columns]], columns)
    if not _is_plainly_right(frame, columns):
        _require_schema(frame, columns, where, error)
    ordered = frame if _in_order(frame["unique_id"]) else frame.sort_values("unique_id", kind="stable")
    plain = ordered.index.name is None and ordered.index.equals(pd.RangeIndex(len(ordered)))
    return ordered if plain else ordered.reset_index(drop=True)


def _in_order(names: pd.Series) -> bool:
    """Whether the rows stand in the order of their names. Text is compared once a name, not once a row: `Series.
    is_monotonic_increasing` makes a Python string of every row."""
    codes, known = pd.factorize(names)
    return bool((codes[1:] >= codes[:-1]).all() and known.is_monotonic_increasing)


def _is_plainly_right(frame: pd.DataFrame, columns: list[str]) -> bool:
    """What the schema asks for, without loading pandera: a served forecast has milliseconds."""
    names, times = frame["unique_id"], frame["ds"]
    typed = isinstance(names.dtype, pd.StringDtype) and times.dtype == np.dtype("datetime64[ns]")
    if not typed or any(frame[column].dtype != np.float64 for column in columns):
        return False
    if names.isna().any() or times.isna().any() or any(np.isinf(frame[column].to_numpy()).any() for column in columns):
        return False
    # Rising strictly within each series, wherever its rows stand, is unique and ascending at once.
    codes, stamps = pd.factorize(names)[0], times.to_numpy()
    if (codes[1:] < codes[:-1]).any():
        order = np.argsort(codes, kind="stable")
        codes, stamps = codes[order], stamps[order]
    return bool(((stamps[1:] > stamps[:-1]) | (codes[1:] > codes[:-1])).all())


def _require_schema(frame: pd.DataFrame, columns: list[str], where: str, error: type[ForecastError]) -> None:
    """Raises `error` with the sentence about the first fault that the schema finds."""
    schema, errors = long_frame_schema(columns), _pandera().errors
    try:
        schema.validate(frame, inplace=True)  # nothing is coerced, so nothing is changed
    except errors.SchemaError as fault:
        raise error(_sentence(frame, fault, where)) from None


def long_frame_schema(columns: Iterable[str]) -> pa.DataFrameSchema:
    """The pandera schema of a long frame with these number columns."""
    pa = _pandera()
    numbers = {
        name: pa.Column(float, pa.Check(_is_finite, name="finite", n_failure_cases=1), nullable=True)
        for name in columns
    }
    return pa.DataFrameSchema(
        {"unique_id": pa.Column(str), "ds": pa.Column("datetime64[ns]"), **numbers},
        checks=[
            pa.Check(_is_first_of_its_time, name="unique", n_failure_cases=1),
            pa.Check(_is_ascending, name="ascending", n_failure_cases=1),
        ],
    )


def _pandera() -> Any:
    """pandera without its strategies for tests: loading hypothesis for them is a third of a second of `check`."""
    hidden = "hypothesis" not in sys.modules
    if hidden:
        sys.modules["hypothesis"] = None  # type: ignore[assignment]
    try:
        import pandera.backends.pandas.builtin_checks  # noqa: F401  (where hypothesis would be loaded)
        import pandera.pandas as pa
    finally:
        if hidden:
            del sys.modules["hypothesis"]
    return pa


def first_text(values: pd.Series) -> tuple[Any, Any] | None:
    """(row label, value) of the first cell that is neither a number nor missing."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return None
    wrong = values.notna() & pd.to_numeric(values.astype(str), errors="coerce").isna()
    if not wrong.any():
        return None
    label = values.index[int(np.argmax(wrong.to_numpy()))]
    return label, values.loc[label]


def place(frame: pd.DataFrame, position: int) -> str:
    """`row 7 (series 'a', 2020-01-03 00:00)` for the row at `position`."""
    row = frame.iloc[position]
    unit = frame.index.name if frame.index.name == "line" else "row"
    time = row["ds"].isoformat(sep=" ", timespec="minutes") if isinstance(row["ds"], pd.Timestamp) else row["ds"]
    return f"{unit} {frame.index[position]} (series {row['unique_id']!r}, {time})"


def _require_columns(found: list[str], wanted: list[str], where: str, error: type[ForecastError]) -> None:
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise error(
            f"{where}: found {quote_names(twice)} more than once, wanted each column once. Rename or drop one."
        )
    for name in (*KEYS, *wanted):
        if name not in found:
            raise error(
                f"{where}: column {name!r} is missing.{closest(name, found)} Found {quote_names(found)}. "
                "Correct the column's name in configs/datasets.yaml (or map it under `source.columns`)."
            )


def _typed(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Lossless casts only (whole numbers to float, times to ns); what cannot be cast stays for the schema."""
    casts: dict[str, Any] = {
        name: np.float64
        for name in columns
        if frame[name].dtype != np.float64
        and pd.api.types.is_numeric_dtype(frame[name])
        and not pd.api.types.is_bool_dtype(frame[name])
    }
    casts |= {name: np.float64 for name in columns if name not in casts and frame[name].isna().all()}
    times = frame["ds"].dtype
    if isinstance(times, np.dtype) and times.kind == "M" and times != np.dtype("datetime64[ns]"):
        casts["ds"] = "datetime64[ns]"
    if not isinstance(frame["unique_id"].dtype, pd.StringDtype) and not frame["unique_id"].isna().any():
        casts["unique_id"] = "str"
    return frame.astype(casts) if casts else frame


def _is_finite(values: pd.Series) -> pd.Series:
    return ~np.isinf(values)


def _is_first_of_its_time(frame: pd.DataFrame) -> pd.Series:
    return ~frame.duplicated(list(KEYS))


def _is_ascending(frame: pd.DataFrame) -> pd.Series:
    """Within each series; series may be interleaved in the file."""
    return ~(frame.groupby("unique_id", sort=False)["ds"].diff() < pd.Timedelta(0))


def _sentence(frame: pd.DataFrame, fault: Any, where: str) -> str:
    column = getattr(fault.schema, "name", None)
    check = getattr(fault.check, "name", None) or str(fault.check)
    if check in ("unique", "ascending"):
        holds = _is_first_of_its_time(frame) if check == "unique" else _is_ascending(frame)
        return f"{where}, {place(frame, int(np.argmin(holds.to_numpy())))}: {_ORDER_FAULTS[check]}"
    if column in KEYS:
        return _key_fault(frame, str(column), where)
    if check == "finite":
        position = int(np.argmax(np.isinf(frame[column].to_numpy())))
        value = frame[column].iloc[position]
        return (
            f"{where}, {place(frame, position)}: column {column!r} holds {value:g}, wanted a finite number. "
            "Leave the cell empty where nothing was measured."
        )
    return text_fault(frame, str(column), where)


def text_fault(frame: pd.DataFrame, column: str, where: str) -> str:
    """The sentence about a column that should hold numbers and does not."""
    found = first_text(frame[column])
    if found is None:
        return f"{where}: column {column!r} is of type {frame[column].dtype}, wanted numbers."
    position = frame.index.get_loc(found[0])
    return (
        f"{where}, {place(frame, position if isinstance(position, int) else 0)}: column {column!r} holds text "
        f"{str(found[1])[:60]!r}, wanted a number. Correct the cell, or leave it empty where nothing was measured."
    )


def _key_fault(frame: pd.DataFrame, column: str, where: str) -> str:
    missing = frame[column].isna().to_numpy()
    if missing.any():
        row = frame.index[int(np.argmax(missing))]
        return f"{where}, row {row}: {column!r} is empty, wanted {_KEY_MEANING[column]}. Complete or drop the row."
    return f"{where}: column {column!r} is of type {frame[column].dtype}, wanted {_KEY_MEANING[column]}."


_KEY_MEANING = {"unique_id": "a series name", "ds": "a time in UTC"}
_ORDER_FAULTS = {
    "unique": "this time stands twice in its series, wanted once. Drop one of the two rows.",
    "ascending": "this time is earlier than the one before it, wanted ascending times in each series. Sort the file "
    "by time; if the order has another reason (local clock turned back?), state `source.time_zone`.",
}
