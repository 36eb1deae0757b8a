"""Vintages: a data provider's own forecasts, kept apart from observations with the time each was
issued.

At a cutoff only those issued by then are used. So they can stand beside our forecasts as a row of
their own (`forecasts_by_cutoff`, whole horizons alone), or as an input that holds what the provider
expected (`add_issued`), without looking ahead. A fetch stores them beside the snapshots
(`write_vintages`); what is stored once is never replaced (`merge_vintages`), and an issue later
than its target was known is refused. A dataset without any has an empty table and NaN inputs.
"""

from __future__ import annotations

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
    """The vintages of the pointed snapshot, `unique_id, ds, issued_at` and columns; empty when none
    was kept.

    `DamagedError` when the table is not the one that the pointer names.
    """
    pointer = snapshots.read_pointer(root, name)
    if pointer.issued is None or pointer.issued_sha256 is None:
        return pd.DataFrame(columns=VINTAGE_KEYS)
    return snapshots.read_verified(
        snapshots.path_in_store(root, pointer.issued), pointer.issued_sha256, name
    )


def merge_vintages(before: pd.DataFrame | None, fresh: pd.DataFrame | None) -> pd.DataFrame:
    """Both tables in one. A forecast that is kept stays as it is, whatever the provider delivers
    for it later.
    """
    tables = [table for table in (before, fresh) if table is not None and len(table)]
    if not tables:
        return pd.DataFrame(columns=VINTAGE_KEYS)
    both = pd.concat(tables, ignore_index=True).drop_duplicates(VINTAGE_KEYS, keep="first")
    return both.sort_values(VINTAGE_KEYS, kind="stable", ignore_index=True)


def require_issued_before_known(table: pd.DataFrame, dataset: Dataset, *, where: str) -> None:
    """Raises `Source.fault` for a forecast whose issue is later than the moment at which its target
    is known.
    """
    if table.empty:
        return
    late = (
        table["issued_at"].to_numpy() > known_from(dataset.calendar, table["ds"]).to_numpy()
    ).nonzero()[0]
    if len(late):
        first = table.iloc[int(late[0])]
        raise dataset.source.fault(
            f"{where}: issued after their target was known: {plural(len(late), 'forecast')}, such"
            f" as that of {first['ds']} (series {first['unique_id']!r}) issued at"
            f" {first['issued_at']}. Wanted the time of issue in UTC, before the target; are the"
            " two columns swapped, or is a time zone missing?"
        )


def write_vintages(
    root: Path, name: str, table: pd.DataFrame, *, as_of: pd.Timestamp
) -> dict[str, str]:
    """Store the table beside the snapshots; the pointer's `issued` and `issued_sha256`, empty
    without any.
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
    table: pd.DataFrame, dataset: Dataset, rows: pd.DataFrame, column: str, *, step: int
) -> pd.DataFrame:
    """For each of `rows` (`unique_id, ds`): in `ds` the time `step` steps later, in `issued_at` and
    `value` the newest forecast of that time among those issued until the row became known; NaN
    where there was none.
    """
    requests = rows[["unique_id", "ds"]].assign(
        row=np.arange(len(rows)), known=read_until(dataset.calendar, rows["ds"])
    )
    times = pd.DatetimeIndex(rows["ds"].drop_duplicates().sort_values())
    steps = grid(dataset.calendar, times[0], times[-1]).append(
        next_steps(dataset.calendar, times[-1], step)
    )
    target_time = pd.Series(steps[step:], index=steps[: len(steps) - step])
    requests["ds"] = target_time.reindex(rows["ds"]).to_numpy()
    issues = (
        table[[*VINTAGE_KEYS, column]]
        .dropna(subset=[column])
        .astype(dict.fromkeys(VINTAGE_KEYS[1:], "datetime64[ns]"))
    )
    issues = issues.rename(columns={column: "value"}).sort_values("issued_at", kind="stable")
    requests = requests.sort_values("known", kind="stable")
    matched = pd.merge_asof(
        requests, issues, left_on="known", right_on="issued_at", by=["unique_id", "ds"]
    )
    return matched.sort_values("row")[["ds", "issued_at", "value"]].reset_index(drop=True)


def add_issued(frame: pd.DataFrame, dataset: Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """`frame` with every column of the dataset that holds the provider's forecasts, as known at
    each row; all NaN where `table` is empty.
    """
    result = frame.copy(deep=False)
    for column in dataset.issued:
        for step in column.as_input(dataset.horizon).columns:
            result[step.frame_name] = np.nan
            if not table.empty:
                newest = newest_forecasts(table, dataset, frame, step.name, step=step.step)
                result[step.frame_name] = newest["value"].to_numpy(dtype=np.float64)
    return result


def forecasts_by_cutoff(table: pd.DataFrame, dataset: Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    """`unique_id, cutoff, step, ds, issued_at` and one column per target: what the provider had
    forecast at each row, the cutoff, for the horizon; of several targets the newest issue. Cutoffs
    without a forecast of the whole horizon are left out.
    """
    targets = [column.column for column in dataset.target]
    names = ["unique_id", "cutoff", "step", "ds", "issued_at", *targets]
    if table.empty or not set(targets) <= set(table.columns):
        return pd.DataFrame(columns=names)
    parts = []
    for step in range(1, dataset.horizon + 1):
        part = pd.DataFrame(
            {
                "unique_id": rows["unique_id"].to_numpy(),
                "cutoff": rows["ds"].to_numpy(),
                "step": step,
            }
        )
        issues = []
        for target in targets:
            provided = newest_forecasts(table, dataset, rows, target, step=step)
            part["ds"], part[target] = provided["ds"], provided["value"]
            issues.append(provided["issued_at"])
        part["issued_at"] = pd.concat(issues, axis=1).max(axis=1)
        parts.append(part)
    every = pd.concat(parts, ignore_index=True).dropna(subset=targets)
    whole = every.groupby(["unique_id", "cutoff"])["step"].transform("size") == dataset.horizon
    return every.loc[whole, names].sort_values(["unique_id", "cutoff", "step"], ignore_index=True)
