"""The store of fetched data: snapshots, which never change, and one pointer per dataset, which a
fetch moves.

    data/snapshots/<dataset>/
        <as_of>-<sha8>.parquet      the raw long frame as it was known at `as_of`
        <as_of>-<sha8>.json         where it came from
        <as_of>-<sha8>.revisions.csv      the stored values that its fetch changed, if any
        issued/<as_of>-<sha8>.parquet     the provider's forecasts, if any (`data.vintages`)
    data/pointers/<dataset>.json    which of them the pipeline reads (`Pointer`)

`write_snapshot` stores, `move_pointer` comes last, `read_pointed` reads and verifies the digest,
which is that of the content and so does not depend on the version of the Parquet library.
`merge_history` continues a stored history with new rows; `find_revisions` lists the stored values
that a source has changed. No command removes a snapshot of the project; those that retrainings
fetch are limited by `keep_snapshots` (`operations.worktree.prune_tree`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from forecast.config.paths import ProjectPaths
from forecast.data.records import (
    SnapshotRecord,
    TimeText,
    describe_first,
    read_snapshot_record,
)
from forecast.data.schema import KEY_COLUMNS
from forecast.system import files
from forecast.system.errors import DamagedError, InputError, one_line

RELATIVE_TOLERANCE = 1e-5
"""Services send prices as 32-bit floats: numbers that differ less are the same."""
REVISION_COLUMNS = ("unique_id", "ds", "column", "before", "after", "kind")
TimeBySeries = Mapping[str, pd.Timestamp]
"""A time for each `unique_id`."""
NO_REVISIONS = pd.DataFrame(columns=list(REVISION_COLUMNS))


@dataclass(frozen=True)
class Pointer:
    """as_of: ISO 8601 in UTC. snapshot: the snapshot's path from the project's root. issued: the
    path of the provider's forecasts (vintages), None where there are none.
    """

    as_of: TimeText
    sha256: str
    snapshot: str
    issued: str | None = None
    issued_sha256: str | None = None


POINTER = TypeAdapter(Pointer)


def content_sha256(frame: pd.DataFrame) -> str:
    """The digest of a frame's column names, types and values in order. All NaN count as equal. A
    column that is neither a number nor a time without a zone counts by the text of its values:
    booleans and times with a zone too.
    """
    digest = hashlib.sha256()
    for name in frame.columns:
        kind, values = _canonical_values(frame[name])
        digest.update(f"{name}\0{kind}\0{len(values)}\0".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def write_snapshot(
    root: Path,
    dataset: str,
    frame: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    provenance: SnapshotRecord,
) -> Pointer:
    """Store `frame` (checked, default index) and its record, each unless it is there already. The
    pointer is not moved.
    """
    sha = content_sha256(frame)
    pointer = Pointer(
        as_of=as_of.isoformat(), sha256=sha, snapshot=snapshot_path(dataset, as_of, sha).as_posix()
    )
    path = root / pointer.snapshot
    record: SnapshotRecord = {
        "last": frame["ds"].max().isoformat(),
        **provenance,
        "rows": len(frame),
        "series": sorted(map(str, frame["unique_id"].unique())),
        "columns": [str(name) for name in frame.columns],
        "first": frame["ds"].min().isoformat(),
        "as_of": pointer.as_of,
        "sha256": sha,
        "dataset": dataset,
    }
    try:
        read_verified(path, sha, dataset)
    except DamagedError:  # absent, or not what was written
        files.write_frame(path, frame)
    if not files.read_note(path.with_suffix(".json")):
        files.write_json(path.with_suffix(".json"), record)
    return pointer


def move_pointer(root: Path, dataset: str, pointer: Pointer) -> None:
    """Write data/pointers/<dataset>.json, atomically; from then on the pipeline sees the
    snapshot.
    """
    content = POINTER.dump_python(pointer, exclude_none=True)
    files.write_json(ProjectPaths.of(root).pointer(dataset), content)


def read_pointer(root: Path, dataset: str) -> Pointer:
    """The pointer of `dataset`; `InputError` where the dataset was never fetched, or for a damaged
    file.
    """
    path = ProjectPaths.of(root).pointer(dataset)
    if not path.exists():
        raise InputError(
            f"{path}: no such file: {dataset!r} was never fetched. Run `forecast fetch {dataset}`."
        )
    try:
        return POINTER.validate_python(files.read_json(path))
    except ValueError as error:  # a ValidationError is one
        raise InputError(
            f"{path}: not a pointer (found {describe_first(error)}; wanted as_of, sha256,"
            f" snapshot). Restore it from git or run `forecast fetch {dataset}`."
        ) from None


def read_pointed(root: Path, dataset: str) -> pd.DataFrame:
    """The snapshot that the pointer names; `DamagedError` where it is absent or does not have the
    pointer's digest.
    """
    pointer = read_pointer(root, dataset)
    return read_verified(path_in_store(root, pointer.snapshot), pointer.sha256, dataset)


def read_verified(path: Path, sha256: str, dataset: str) -> pd.DataFrame:
    """The frame in `path`; `DamagedError` where it is absent, unreadable or of another digest.

    dataset: for the message.
    """
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        fault = f"{path}: cannot be read as Parquet ({one_line(error)})."
        raise DamagedError(
            f"{fault} Restore it from git, or run `forecast fetch {dataset}`."
        ) from error
    content_digest = content_sha256(frame)
    if content_digest != sha256:
        raise DamagedError(
            f"{path}: found content sha256 {content_digest[:12]}…, wanted {sha256[:12]}…"
            f" (data/pointers/{dataset}.json, or the record beside it). Snapshots never change:"
            f" restore both from git, or run `forecast fetch {dataset}` to take a new one."
        )
    return frame


def read_provenance(root: Path, dataset: str) -> SnapshotRecord:
    """The record beside the pointed snapshot, empty where there is none; `DamagedError` for a
    damaged record.
    """
    path = path_in_store(root, read_pointer(root, dataset).snapshot).with_suffix(".json")
    try:
        return read_snapshot_record(path)
    except FileNotFoundError:
        return {}


def find_pointer(root: Path, dataset: str, rows: pd.DataFrame) -> Pointer:
    """The pointer of the snapshot that has these rows, where the pointer has moved on since; else
    the pointer. Columns that the snapshot lacks do not count.
    """
    pointer = read_pointer(root, dataset)
    own_path = root / pointer.snapshot
    # that of the pointer first: an older one may have the same rows with fewer columns
    for path in sorted(list_snapshots(root, dataset), key=lambda path: path != own_path):
        record = files.read_note(path.with_suffix(".json"))
        columns = record.get("columns", [])
        is_alike = record.get("rows") == len(rows) and {*columns} <= {*rows}
        if is_alike and content_sha256(rows[columns]) == record["sha256"]:
            snapshot = path.relative_to(root).as_posix()
            return Pointer(as_of=record["as_of"], sha256=record["sha256"], snapshot=snapshot)
    return pointer


def list_snapshots(root: Path, dataset: str) -> list[Path]:
    """All snapshots of the dataset, in the order of `as_of`."""
    return sorted((ProjectPaths.of(root).snapshots / dataset).glob("*.parquet"))


def snapshot_path(dataset: str, as_of: pd.Timestamp, sha256: str) -> Path:
    """The path of a snapshot from the root; an `as_of` at midnight is written as a date."""
    day = as_of == as_of.normalize()
    label = as_of.strftime("%Y-%m-%d" if day else "%Y-%m-%dT%H%M%SZ")
    return ProjectPaths.of().snapshots / dataset / f"{label}-{sha256[:8]}.parquet"


def path_in_store(root: Path, relative_path: str) -> Path:
    """The absolute path of a file of the store; `InputError` for one outside of data/snapshots."""
    path = Path(os.path.realpath(root / relative_path))  # `Path.resolve` fails at a loop of links
    if not path.is_relative_to(ProjectPaths.of(root).snapshots.resolve()):
        raise InputError(
            f"Pointer leads to {relative_path!r}, wanted a file below data/snapshots. Restore it"
            " from git."
        )
    return path


def merge_history(
    stored: pd.DataFrame, fresh: pd.DataFrame, *, since: TimeBySeries, keep: Collection[str]
) -> pd.DataFrame:
    """The `stored` rows continued by the `fresh` ones: in each series of `since` the fresh rows
    replace all stored rows from that time up to the last fresh time; a series that is not in
    `since` is replaced whole. A series without fresh rows is kept if it is in `keep`, else dropped.

    Where a fresh value differs from the stored one by rounding alone, the stored digits stay, so
    that an unchanged history keeps its digest.
    """
    names = stored["unique_id"]
    last_fresh = names.map(fresh.groupby("unique_id")["ds"].max())
    first_asked = pd.to_datetime(names.map(dict(since)))
    is_unasked = (stored["ds"] < first_asked) | (stored["ds"] > last_fresh)
    is_kept = (is_unasked & first_asked.notna()).where(last_fresh.notna(), names.isin(keep))
    columns = [*KEY_COLUMNS, *fresh.columns.drop(list(KEY_COLUMNS))]
    stored_rows = stored[is_kept].reindex(columns=columns)
    result = pd.concat([_with_stored_digits(stored, fresh)[columns], stored_rows])
    return result.sort_values(list(KEY_COLUMNS), kind="stable", ignore_index=True)


def find_revisions(
    stored: pd.DataFrame,
    fresh: pd.DataFrame,
    *,
    since: TimeBySeries,
    provisional_from: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """The values of the stored history that `fresh` changes or does not answer, one a row:
    `unique_id, ds, column, before, after, kind`.

    kind: `changed`; `vanished` (the source no longer has the row); `appeared` (a new row within the
    stored range); `unanswered` (the row is later than the last fresh row of a series that was asked
    for from `since` on; it is kept); or `provisional`, where the stored value was marked so
    (`provisional_from`).
    """
    columns = _shared_values(stored, fresh)
    # the stored rows that the source was asked to repeat
    first_asked = pd.to_datetime(stored["unique_id"].map(dict(since)))
    repeated = stored["unique_id"].isin(set(fresh["unique_id"])) & (
        first_asked.isna() | (stored["ds"] >= first_asked)
    )
    stored_values = _melt(stored[repeated], columns, "before")
    ends = stored.groupby("unique_id")["ds"].max()
    in_stored_range = fresh[fresh["ds"] <= fresh["unique_id"].map(ends)]
    values = stored_values.merge(
        _melt(in_stored_range, columns, "after"), how="outer", indicator="side"
    )
    changed = values[~_is_same_number(values["before"].to_numpy(), values["after"].to_numpy())]
    if changed.empty:
        return NO_REVISIONS
    last_answered = changed["unique_id"].map(fresh.groupby("unique_id")["ds"].max())
    conditions = {  # the first true one names the kind
        "unanswered": (changed["ds"] > last_answered) & changed["unique_id"].isin(since.keys()),
        "provisional": changed["ds"] >= (provisional_from or pd.Timestamp.max),
        "vanished": changed["side"] == "left_only",
        "appeared": changed["side"] == "right_only",
    }
    kind = np.select(list(conditions.values()), list(conditions), "changed")
    return changed.assign(kind=kind)[list(REVISION_COLUMNS)].sort_values(
        ["unique_id", "ds", "column"], ignore_index=True
    )


def _canonical_values(values: pd.Series) -> tuple[str, np.ndarray]:
    """The type and the values of a column in one form for the digest: times in nanoseconds; numbers
    as 64-bit floats; everything else, booleans and times with a zone too, as codes of distinct
    texts, and a digest of these texts in the type.
    """
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "M":
        return "time[ns]", values.to_numpy(dtype="datetime64[ns]").astype("<i8")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiu":
        numbers = values.to_numpy(dtype="<f8", copy=True)
        numbers[np.isnan(numbers)] = np.nan  # one bit pattern for every NaN
        return "float64", numbers
    codes, names = pd.factorize(values)
    joined_names = "\0".join(map(str, names))
    return f"text {hashlib.sha256(joined_names.encode()).hexdigest()}", codes.astype("<i8")


def _melt(frame: pd.DataFrame, names: list[str], side: str) -> pd.DataFrame:
    """`unique_id, ds, column, <side>`: one row for each value of the columns `names`."""
    return frame.melt(
        id_vars=list(KEY_COLUMNS), value_vars=names, var_name="column", value_name=side
    )


def _is_same_number(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(n,): whether two values are equal up to rounding, or both missing."""
    close = np.abs(old - new) <= RELATIVE_TOLERANCE * np.maximum(np.abs(old), np.abs(new))
    return close | (np.isnan(old) & np.isnan(new))


def _shared_values(stored: pd.DataFrame, fresh: pd.DataFrame) -> list[str]:
    """The value columns that both frames have."""
    return [c for c in stored.columns if c not in KEY_COLUMNS and c in fresh.columns]


def _with_stored_digits(stored: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """`fresh` with the stored value where the two are equal up to rounding."""
    stored_values = fresh[list(KEY_COLUMNS)].merge(stored, on=list(KEY_COLUMNS), how="left")
    result = fresh.reset_index(drop=True).copy()
    for name in _shared_values(stored, fresh):
        old, new = stored_values[name].to_numpy(), result[name].to_numpy()
        result[name] = np.where(_is_same_number(old, new), old, new)
    return result
