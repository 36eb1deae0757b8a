"""A CSV or Parquet file of the user as a source, and plans that are given with a forecast.

`read` maps the file's columns to ours, converts times of the entry's zone to UTC and drops what was
not known by `as_of`. A second file may hold forecasts with the time of their issue. `read_plan`
reads what is known ahead from any file. Text in number columns, unreadable times and repeated
forecasts are refused with the line. The file has to be inside the project, so that a clone has it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
from pydantic import Field

from forecast.config.datasets import Dataset
from forecast.config.sources import Source
from forecast.config.task import TimeZone
from forecast.data import own_files, vintages
from forecast.data.columns import (
    encode_static,
    is_behind_last_value,
    measured_columns,
    needed_columns,
)
from forecast.data.hierarchy import name_by_groups
from forecast.data.records import SnapshotRecord
from forecast.data.schema import (
    check_frame,
    describe_row,
    describe_text_cell,
    find_text_cell,
    first_true,
    has_rising_times,
    join_texts,
)
from forecast.data.sources import RawFrame, Request, keep_known
from forecast.data.written_times import (
    ISO_8601,
    guess_time_format,
    refuse_rows,
    to_utc,
)
from forecast.system import files
from forecast.system.errors import InputError, quote, quote_names, require_column


class Settings(own_files.FileFormat, Source):
    """A CSV or Parquet file of the user.

    `columns`: our names (`ds`, `unique_id` too) to the file's. `time_format`: how times are written
    unless in ISO 8601, such as `%d.%m.%Y %H:%M`. `keep`: a text per column that rows must have to
    be read, such as `{source: station}`.
    """

    described_as: ClassVar[str] = "the file"
    kind: Literal["file"]
    path: Path
    columns: dict[str, str] = Field(default_factory=dict)
    id_columns: tuple[str, ...] = Field(
        (), description="columns that together name a series, joined by `/`"
    )
    time_columns: tuple[str, ...] = Field(
        (), description="columns that together hold a time, joined by a blank"
    )
    keep: dict[str, str] = Field(default_factory=dict)
    time_zone: TimeZone | None = None
    time_format: str | None = None
    issued_path: Path | None = Field(
        None, description="forecasts of some columns: ds, issued_at and the columns"
    )
    issued_columns: tuple[str, ...] = Field((), description="the columns of `issued_path`")

    @property
    def vintage_columns(self) -> tuple[str, ...]:
        """The columns of `issued_path`, where there is one."""
        return self.issued_columns if self.issued_path is not None else ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of the rows, then that of issued forecasts."""
        return (self.path,) if self.issued_path is None else (self.path, self.issued_path)

    @property
    def local_zone(self) -> str:
        """Its `time_zone`."""
        return self.time_zone or ""


def read(request: Request) -> RawFrame:
    """The rows of the file up to `request.as_of`; `InputError` names the line at fault."""
    source = request.dataset.source
    assert isinstance(source, Settings)
    path = path_in_project(request.root, source.path)
    where = str(source.path)
    id_column = source.columns.get("unique_id", "unique_id")
    groups = request.dataset.hierarchy
    static = request.dataset.static
    kinds = [column.column for column in static if column.categories]
    rows = _read_named_rows(
        path, where, source, file_format=source, id_column=id_column, texts=[*groups, *kinds]
    )
    for key in ("id_columns", "time_columns"):
        for name in getattr(source, key):
            require_column(name, rows.columns, where, f"Correct `source.{key}`.")
    rows = _keep_rows(rows, source, where)
    if groups:
        rows = name_by_groups(rows, groups, id_column, where=where)
    rows = encode_static(rows, static, id_column, where=where)
    table = _select_columns(rows, request.dataset, source, where)
    numbers = table.columns.drop(["unique_id", "ds"], errors="ignore")
    table = _read_flags(table, numbers, where)
    table["ds"] = _read_times(table, source.time_format, source, request.dataset, where)
    # newest first, or a corrected row was appended
    if not has_rising_times(table["unique_id"], table["ds"]):
        table = table.sort_values("ds", kind="stable")
    table[numbers] = table[numbers].apply(pd.to_numeric)
    if not request.dataset.known_ahead:  # rows without values after the last observation
        table = table[~is_behind_last_value(table, measured_columns(table, request.dataset))]
    table, as_of = keep_known(request, table)
    issues = _read_issues(request, source, as_of)
    provenance: SnapshotRecord = {
        "source": "file",
        "parameters": {
            "path": where,
            "columns": dict(source.columns),
            "time_zone": source.time_zone,
            "hierarchy": list(groups),
        },
        "adjustment": "none",
        "file_sha256": " ".join(
            files.sha256(path_in_project(request.root, name)) for name in source.files
        ),
        "retrieved_at": None,
    }
    return RawFrame(table, as_of, where=where, provenance=provenance, vintages=issues)


def read_plan(path: Path, dataset: Dataset, series: Collection[str]) -> pd.DataFrame:
    """`unique_id, ds` and the columns known ahead from a file with a plan, for
    `columns.append_plan`.

    The file may be anywhere; its format is guessed, its column names and time zone are those of the
    dataset's file. Without a column of series its rows are for each of `series`. `InputError` for a
    file that cannot be read, and for a missing column or an unknown series.
    """
    where = str(path)
    if not path.is_file():
        raise InputError(f"{where}: no such file. Name a CSV or Parquet with the plan.")
    settings = dataset.source
    if not isinstance(settings, Settings):
        settings = Settings.model_validate({"kind": "file", "path": path})
    guessed_format = own_files.guess_format(path, where)
    file_format = guessed_format.model_copy(update={"missing": settings.missing})
    names = {theirs: ours for ours, theirs in settings.columns.items()}
    id_column = settings.columns.get("unique_id", "unique_id")
    table = _read_named_rows(
        path,
        where,
        settings,
        file_format=file_format,
        id_column=id_column,
        texts=dataset.hierarchy,
    )
    table = table.rename(columns=names)
    if dataset.hierarchy and {*dataset.hierarchy} <= {*table.columns}:
        table = name_by_groups(table, dataset.hierarchy, "unique_id", where=where)
    if "unique_id" not in table.columns:
        table = pd.concat([table.assign(unique_id=name) for name in series])
    table = _select_required(table, ["ds"], dataset.known_ahead, where)
    unknown = sorted({*table["unique_id"]} - {*series})
    if unknown:
        raise InputError(
            f"{where}: series {quote_names(unknown)} not known; wanted {quote_names(series)}."
        )
    shown_format = guess_time_format(table["ds"].dropna())
    time_format = None if shown_format == ISO_8601 else settings.time_format or shown_format
    table["ds"] = _read_times(table, time_format, settings, dataset, where)
    return check_frame(
        table.sort_values(["unique_id", "ds"], kind="stable"), dataset.known_ahead, where=where
    )


def _select_required(
    table: pd.DataFrame, times: list[str], numbers: Sequence[str], where: str
) -> pd.DataFrame:
    """`unique_id`, `times` and `numbers` of a table; `InputError` for the first column that it
    lacks, and for text among the numbers.
    """
    required = [*times, *numbers]
    for name in required:
        require_column(name, table.columns, where, f"Wanted {quote_names(required)}.")
    selected = table[["unique_id", *required]].astype({"unique_id": "str"})
    return _read_flags(selected, numbers, where)


def _read_issues(request: Request, source: Settings, as_of: pd.Timestamp) -> pd.DataFrame | None:
    """`unique_id, ds, issued_at` and columns from the file of forecasts, those issued by `as_of`;
    None without such a file. `InputError` for a missing column, and for two rows of the same
    series, time and issue.
    """
    if source.issued_path is None:
        return None
    where = str(source.issued_path)
    path = path_in_project(request.root, source.issued_path)
    file_format = source
    if path.is_file():
        lines = own_files.first_lines(path, where, source.encoding)
        header = own_files.read_header(lines, source.separator, source.skip_lines)
        layout = own_files.guess_format(path, where)
        skipped = {"skip_below": layout.skip_below}
        if "issued_at" not in header:  # the title is that of the other file
            skipped["skip_lines"] = layout.skip_lines
        file_format = source.model_copy(update=skipped)
    times = ["ds", "issued_at"]
    table = _read_named_rows(path, where, source, file_format=file_format, texts=times)
    if "unique_id" not in table.columns:
        table.insert(0, "unique_id", source.path.stem)
    forecasts = request.dataset.vintage_columns
    table = _select_required(table, times, forecasts, where).drop_duplicates()
    time_format = source.time_format
    # a repeated hour in autumn is resolved within each series and issue
    issue = table["unique_id"] + table["issued_at"].astype("str")
    table["ds"] = _read_times(
        table.assign(unique_id=issue), time_format, source, request.dataset, where
    )
    issued = table[["unique_id", "issued_at"]].rename(columns={"issued_at": "ds"})
    table["issued_at"] = to_utc(
        issued, time_format, time_zone=source.time_zone, where=f"{where}, issued_at"
    )
    if (is_repeated := table.duplicated(vintages.VINTAGE_KEYS)).any():
        row = describe_row(table, first_true(is_repeated))
        raise InputError(f"{where}, {row}: two forecasts of one issue. Drop one.")
    vintages.require_issued_before_known(table, request.dataset, where=where)
    return table[table["issued_at"] <= as_of].reset_index(drop=True)


def _read_times(
    table: pd.DataFrame, time_format: str | None, source: Settings, dataset: Dataset, where: str
) -> pd.Series:
    """The column `ds` of `table`, written as `time_format` in the time zone of `source`, in UTC;
    for sessions and weekdays the local date; the times of counted rows.
    """
    if dataset.calendar.counts_rows:
        return _counts_to_times(table, where)
    return to_utc(
        table,
        time_format,
        time_zone=source.time_zone,
        wall_clock=dataset.calendar.keeps_wall_clock,
        where=where,
    )


def _keep_rows(table: pd.DataFrame, source: Settings, where: str) -> pd.DataFrame:
    """The rows that `source.keep` selects; `InputError` where it names no column, or selects no
    row.
    """
    for column, text in source.keep.items():
        require_column(column, table.columns, where, "Correct `source.keep`.")
        texts = table[column].astype("str")
        if not (texts == text).any():
            raise InputError(
                f"{where}: no row has {text!r} in {column!r}; found"
                f" {quote_names(texts.unique()[:10])}. Correct `source.keep`."
            )
        table = table[texts == text]
    return table


def _read_named_rows(
    path: Path,
    where: str,
    source: Settings,
    *,
    file_format: own_files.FileFormat,
    id_column: str = "unique_id",
    texts: Iterable[str] = (),
) -> pd.DataFrame:
    """The rows of a file. Where it has `source.id_columns`, their texts, joined by a slash, are the
    names of series in `id_column`; so are those of `source.time_columns` the times, joined by a
    blank. Missing where one of them is. `InputError` for a file with only some of these columns.
    """
    times = [source.columns.get("ds", "ds"), "issued_at"]
    as_text = [id_column, *source.id_columns, *source.time_columns, *texts]
    if source.time_format:  # the month 01.2024 is no number
        as_text += times
    table = own_files.read_table(path, where, file_format, texts=as_text)
    missing = [*own_files.MISSING_TEXTS, *file_format.missing]
    for name in table.columns.intersection([*times, *source.time_columns]):
        table[name] = table[name].mask(table[name].isin(missing))
    table = table.dropna(how="all")  # such as a last line of NA alone
    for key, joined, mark in (("id_columns", id_column, "/"), ("time_columns", times[0], " ")):
        parts = getattr(source, key)
        if table.columns.isin(parts).any():
            for name in parts:
                require_column(name, table.columns, where, f"Correct `source.{key}`.")
            table[joined] = join_texts(table, parts, mark)
    return table


def _read_flags(table: pd.DataFrame, columns: Iterable[str], where: str) -> pd.DataFrame:
    """The table with 1 and 0 for yes and no in the number `columns`; `InputError` for the first
    cell of other text, with its line and the setting that would read it.
    """
    table = table.copy(deep=False)
    for name in columns:
        table[name] = own_files.parse_flags(table[name])
        position = find_text_cell(table[name])
        if position is not None:
            text = quote(table[name].iloc[position])
            hint = (
                f" Of no value, add `missing: [{text}]` under `source`; for numbers"
                " written so `decimal`, `thousands` or `units`."
            )
            raise InputError(where + describe_text_cell(table, name) + hint)
    return table


def _counts_to_times(table: pd.DataFrame, where: str) -> pd.Series:
    """Times of rows without dates: number n is n minutes after 1970. The numbers are in `ds`, or
    count the rows so that all series end together. `InputError` for a `ds` that is no whole number.
    """
    rows_to_come = table.groupby("unique_id", sort=False).cumcount(ascending=False)
    counts = table["ds"] if "ds" in table else rows_to_come.max() - rows_to_come
    numbers = pd.to_numeric(counts, errors="coerce")
    wrong = ~numbers.between(0, 10**8) | (numbers % 1 != 0)
    refuse_rows(
        counts,
        wrong,
        where,
        ", wanted a whole number from 0 to 100,000,000 (`calendar: {kind: index}`). Correct the"
        " row, or name a calendar with dates.",
    )
    return pd.to_datetime(numbers.astype("int64") * 60, unit="s").astype("datetime64[ns]")


def path_in_project(root: Path, path: Path) -> Path:
    """The resolved path; `InputError` where it is outside of the project."""
    resolved = Path(os.path.realpath(root / path))  # `Path.resolve` fails at a loop of links
    if not resolved.is_relative_to(root.resolve()):
        raise InputError(
            f"{path}: lies outside the project, wanted a path inside it. Copy it to data/ and name"
            " that."
        )
    return resolved


def _select_columns(
    table: pd.DataFrame, dataset: Dataset, source: Settings, where: str
) -> pd.DataFrame:
    """The columns that the dataset uses, under our names; without `unique_id` the file is one
    series. `InputError` for a column that the file lacks.
    """
    names_in_file = _map_names(dataset, source, set(table.columns))
    selected_columns = {}
    for ours, theirs in names_in_file.items():
        if theirs not in table.columns:
            without = ("unique_id", "ds") if dataset.calendar.counts_rows else ("unique_id",)
            if ours in without and ours not in source.columns:
                continue
            advice = f"Map the file's names under `source.columns` ({ours}: <its name>)."
            present = [name for name in table.columns if name not in dataset.static_names]
            require_column(theirs, present, where, advice)
        selected_columns[ours] = table[theirs]
    selected = pd.DataFrame(selected_columns, index=table.index)
    if "unique_id" not in selected:
        selected.insert(0, "unique_id", Path(where).stem)
    elif selected["unique_id"].notna().all():
        selected["unique_id"] = selected["unique_id"].astype("str")
    return selected


def _map_names(dataset: Dataset, source: Settings, file_columns: set[str]) -> dict[str, str]:
    """Our name of a column to the file's, for the columns that the dataset uses and those that
    `columns` maps; the file may lack some.
    """
    ours = {*file_columns.difference(source.columns.values()), *source.columns}
    required = needed_columns(dataset.source_columns, ours)
    names = dict.fromkeys(["unique_id", "ds", *required, *source.columns])
    return {name: source.columns.get(name, name) for name in names}
