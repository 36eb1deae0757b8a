"""Vintages: a data provider's own forecasts, stored with the time at which each was issued.

At a cutoff only forecasts issued by then are used, so nothing looks ahead. They are scored beside
our forecasts (`forecasts_by_cutoff`), or are an input (`add_issued`). A fetch stores them beside
the snapshots (`write_vintages`). Without vintages the table is empty and such inputs are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data import snapshots
from forecast.data.calendars import grid, known_from, next_steps, read_until
from forecast.system import files
from forecast.system.errors import plural

VINTAGE_KEYS = ["unique_id", "ds", "issued_at"]


def read_vintages(root: Path, name: str) -> pd.DataFrame:
    """The vintages of the pointed snapshot: `unique_id, ds, issued_at` and columns; empty where
    there are none. `DamagedError` where the table is not the one that the pointer names.
    """
    pointer = snapshots.read_pointer(root, name)
    if pointer.issued is None or pointer.issued_sha256 is None:
        return pd.DataFrame(columns=VINTAGE_KEYS)
    return snapshots.read_verified(
        snapshots.path_in_store(root, pointer.issued), pointer.issued_sha256, name
    )


def merge_vintages(before: pd.DataFrame | None, fresh: pd.DataFrame | None) -> pd.DataFrame:
    """Both tables in one. A stored forecast is never replaced, whatever the provider delivers
    later.
    """
    tables = [table for table in (before, fresh) if table is not None and len(table)]
    if not tables:
        return pd.DataFrame(columns=VINTAGE_KEYS)
    merged = pd.concat(tables, ignore_index=True).drop_duplicates(VINTAGE_KEYS, keep="first")
    return merged.sort_values(VINTAGE_KEYS, kind="stable", ignore_index=True)


def require_issued_before_known(table: pd.DataFrame, dataset: Dataset, *, where: str) -> None:
    """Raises `Source.error_class` for a forecast that was issued after its target had become
    known.
    """
    if table.empty:
        return
    known_times = known_from(dataset.calendar, table["ds"]).to_numpy()
    late = table[table["issued_at"].to_numpy() > known_times]
    if len(late):
        first = late.iloc[0]
        raise dataset.source.error_class(
            f"{where}: issued after their target was known: {plural(len(late), 'forecast')}, such"
            f" as that of {first['ds']} (series {first['unique_id']!r}) issued at"
            f" {first['issued_at']}. Wanted the time of issue in UTC, before the target; are the"
            " two columns swapped, or is a time zone missing?"
        )


def write_vintages(
    root: Path, name: str, table: pd.DataFrame, *, as_of: pd.Timestamp
) -> dict[str, str]:
    """Store the table beside the snapshots. Returns the pointer's `issued` and `issued_sha256`;
    empty for an empty table.
    """
    if table.empty:
        return {}
    sha = snapshots.content_sha256(table)
    label = snapshots.snapshot_path(name, as_of, sha)
    path = label.parent / "issued" / label.name
    if not (root / path).exists():
        files.write_frame(root / path, table)
    return {"issued": path.as_posix(), "issued_sha256": sha}


def newest_forecasts(
    table: pd.DataFrame, dataset: Dataset, rows: pd.DataFrame, column: str
) -> Iterator[pd.DataFrame]:
    """For each step of the horizon the newest forecast of `column` for the time so many steps after
    each of `rows` (`unique_id, ds`) that was issued by `read_until` of the row. In the order of
    `rows`: `ds` the target time, `issued_at`, and `value`, NaN where there is no such forecast.
    """
    issues = (
        table[[*VINTAGE_KEYS, column]]
        .dropna(subset=[column])
        .astype(dict.fromkeys(VINTAGE_KEYS[1:], "datetime64[ns]"))
        .rename(columns={column: "value"})
        .sort_values("issued_at", kind="stable")
    )
    first, last = rows["ds"].min(), rows["ds"].max()
    steps = grid(dataset.calendar, first, last).append(
        next_steps(dataset.calendar, last, dataset.horizon)
    )
    requests = rows[["unique_id", "ds"]].reset_index(drop=True)
    requests["known"] = read_until(dataset.calendar, requests["ds"])
    requests = requests.sort_values("known", kind="stable")
    for step in range(1, dataset.horizon + 1):
        target_time = pd.Series(steps[step:], index=steps[:-step])
        matched = pd.merge_asof(
            requests.assign(ds=target_time.reindex(requests["ds"]).to_numpy()),
            issues,
            left_on="known",
            right_on="issued_at",
            by=["unique_id", "ds"],
        )
        yield matched.set_index(requests.index).sort_index()[["ds", "issued_at", "value"]]


def add_issued(frame: pd.DataFrame, dataset: Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the dataset's `issued` columns for every step of the horizon: the newest
    forecast known at each row; NaN where there is none.
    """
    result = frame.copy(deep=False)
    for column in dataset.issued:
        names = [step.frame_name for step in column.as_input(dataset.horizon).columns]
        result[names] = np.nan
        if table.empty:
            continue
        newest = newest_forecasts(table, dataset, frame, column.column)
        for name, forecasts in zip(names, newest, strict=True):
            result[name] = forecasts["value"].to_numpy(dtype=np.float64)
    return result


def forecasts_by_cutoff(table: pd.DataFrame, dataset: Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    """The provider's forecasts of the horizon after each of `rows`, as known at that row, the
    cutoff: `unique_id, cutoff, step, ds, issued_at` and a column per target. `issued_at` is the
    newest issue of several targets. A cutoff without a forecast for each step is left out.
    """
    targets = [column.column for column in dataset.target]
    names = ["unique_id", "cutoff", "step", "ds", "issued_at", *targets]
    if table.empty or not set(targets) <= set(table.columns):
        return pd.DataFrame(columns=names)
    tables = []
    by_target = [newest_forecasts(table, dataset, rows, target) for target in targets]
    for step, of_step in enumerate(zip(*by_target, strict=True), start=1):
        issued = [provided["issued_at"] for provided in of_step]
        part = {
            "unique_id": rows["unique_id"].to_numpy(),
            "cutoff": rows["ds"].to_numpy(),
            "step": step,
            "ds": of_step[0]["ds"],
            "issued_at": pd.concat(issued, axis=1).max(axis=1),
        }
        for target, provided in zip(targets, of_step, strict=True):
            part[target] = provided["value"]
        tables.append(pd.DataFrame(part))
    forecasts = pd.concat(tables, ignore_index=True).dropna(subset=targets)
    is_complete = (
        forecasts.groupby(["unique_id", "cutoff"])["step"].transform("size") == dataset.horizon
    )
    return forecasts.loc[is_complete, names].sort_values(
        ["unique_id", "cutoff", "step"], ignore_index=True
    )
