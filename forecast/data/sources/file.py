"""The user's own CSV or Parquet: columns mapped, times in UTC, text in number columns refused with its line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forecast.config.datasets import Dataset, FileSource, SessionCalendar, WeekdayCalendar
from forecast.data.derived_columns import inputs_of
from forecast.data.schema import first_text, text_fault
from forecast.data.sources.interface import RawFrame, Request, observed
from forecast.data.sources.times import as_utc
from forecast.system import files
from forecast.system.errors import InputError, closest, quote_names


def read(request: Request) -> RawFrame:
    source = request.dataset.source
    assert isinstance(source, FileSource)
    path = inside(request.root, source.path)
    where = str(source.path)
    table = _named(_table(path, where), request.dataset, source, where)
    for name in table.columns.drop(["unique_id", "ds"]):
        if first_text(table[name]) is not None:
            raise InputError(text_fault(table, str(name), where))
    wall_clock = isinstance(request.dataset.calendar, SessionCalendar | WeekdayCalendar)
    table["ds"] = as_utc(table, time_zone=source.time_zone, wall_clock=wall_clock, where=where)
    numbers = table.columns.drop(["unique_id", "ds"])
    table[numbers] = table[numbers].apply(pd.to_numeric)
    table, as_of = observed(request, table)
    provenance = {
        "source": "file",
        "parameters": {"path": where, "columns": dict(source.columns), "time_zone": source.time_zone},
        "adjustment": "none",
        "file_sha256": files.sha256(path),
        "retrieved_at": None,
    }
    return RawFrame(table, as_of, where=where, provenance=provenance)


def inside(root: Path, path: Path) -> Path:
    """The resolved path; `InputError` when it lies outside the project, where a clone would not find it."""
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise InputError(
            f"{path}: lies outside the project, wanted a path inside it. Copy the file to data/ and name that."
        )
    return resolved


def _table(path: Path, where: str) -> pd.DataFrame:
    """The file's rows; a CSV keeps its line numbers as index (the header is line 1)."""
    if not path.is_file():
        raise InputError(
            f"{where}: no such file. Correct `source.path` in configs/datasets.yaml (it counts from the root)."
        )
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        table = pd.read_csv(path, low_memory=False, skip_blank_lines=False)
        table.index = pd.RangeIndex(2, 2 + len(table), name="line")
        return table.dropna(how="all")
    except (OSError, ValueError, ArithmeticError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{where}: cannot be read as {_kind(path)} ({reason}). Check that the file is whole."
        ) from error


def _kind(path: Path) -> str:
    return "Parquet" if path.suffix.lower() in (".parquet", ".pq") else "CSV with a header line, commas and UTF-8 text"


def _named(table: pd.DataFrame, dataset: Dataset, source: FileSource, where: str) -> pd.DataFrame:
    """Our names for the file's columns, only those the dataset uses; without `unique_id` the file is one series."""
    used = _wanted(dataset, source, set(table.columns))
    chosen = {}
    for ours, theirs in used.items():
        if theirs not in table.columns:
            if ours == "unique_id" and "unique_id" not in source.columns:
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


def _wanted(dataset: Dataset, source: FileSource, found: set[str]) -> dict[str, str]:
    ours = {name for name in found if name not in source.columns.values()} | set(source.columns)
    wanted = ["unique_id", "ds", *(n for c in dataset.columns if c.observed for n in inputs_of(c.column, ours))]
    return {name: source.columns.get(name, name) for name in [*dict.fromkeys(wanted), *source.columns]}
