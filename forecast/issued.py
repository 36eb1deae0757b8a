"""A service's own forecasts, kept apart from observations with the time they were issued.

At a cutoff only issues of that time or earlier exist: so they can stand beside our forecasts as a row of their own,
or serve as a known-future input without looking ahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from forecast.calendars import ended, following
from forecast.config.datasets import Dataset
from forecast.snapshots import store_of

ISSUES = "issued"
KEYS = ("unique_id", "ds", "issued_at")


def kept(root: Path, name: str) -> pd.DataFrame:
    """All issues of a dataset, `unique_id, ds, issued_at` and its columns; empty when none was kept."""
    tables = sorted((store_of(root, name) / ISSUES).glob("*.parquet"))
    if not tables:
        return pd.DataFrame(columns=list(KEYS))
    return pd.concat([pd.read_parquet(table) for table in tables], ignore_index=True)


def known_at(issues: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """For each series and time the newest value issued at `moment` or before."""
    before = issues[issues["issued_at"] <= moment].sort_values(list(KEYS), kind="stable")
    return before.drop_duplicates(["unique_id", "ds"], keep="last").reset_index(drop=True)


def forecasts(issues: pd.DataFrame, dataset: Dataset, cutoffs: Iterable[pd.Timestamp], column: str) -> pd.DataFrame:
    """`unique_id, cutoff, step, ds, issued_at, y_hat`: what the service said at each cutoff about the horizon.

    A cutoff is the time of the last observation; what was issued up to the instant it became known may be used.
    Cutoffs for which the service had said nothing about the whole horizon are left out.
    """
    parts = []
    for cutoff in cutoffs:
        steps = following(dataset.calendar, cutoff, dataset.horizon)
        said = known_at(issues, ended(dataset.calendar, [cutoff])[0])
        for series, rows in said[said["ds"].isin(steps)].groupby("unique_id", sort=True):
            values = rows.set_index("ds").reindex(steps)
            if values[column].notna().all():
                parts.append(
                    pd.DataFrame(
                        {
                            "unique_id": series,
                            "cutoff": cutoff,
                            "step": range(1, len(steps) + 1),
                            "ds": steps,
                            "issued_at": values["issued_at"].to_numpy(),
                            "y_hat": values[column].to_numpy(),
                        }
                    )
                )
    columns = ["unique_id", "cutoff", "step", "ds", "issued_at", "y_hat"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
