"""Rows, ranges, missing values and gaps, per series."""

from __future__ import annotations

from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data.calendars import gaps, grid

SHOWN_GAPS = 20


def describe(frame: pd.DataFrame, dataset: Dataset) -> dict[str, Any]:
    """JSON values only; `missing` counts calendar steps without a value, absent rows included."""
    found = gaps(frame, dataset.calendar)
    series = {}
    for unique_id, rows in frame.groupby("unique_id", sort=True):
        steps = len(grid(dataset.calendar, rows["ds"].iloc[0], rows["ds"].iloc[-1]))
        own = [gap for gap in found if gap.unique_id == unique_id]
        series[str(unique_id)] = {
            "rows": len(rows),
            "steps": steps,
            "first": rows["ds"].iloc[0].isoformat(),
            "last": rows["ds"].iloc[-1].isoformat(),
            "gaps": len(own),
            "columns": {c.column: _column(rows[c.column], steps) for c in dataset.columns},
        }
    shown = [
        {"series": g.unique_id, "first": g.first.isoformat(), "last": g.last.isoformat(), "steps": g.steps}
        for g in found[:SHOWN_GAPS]
    ]
    return {"rows": len(frame), "series": series, "gaps": len(found), "gaps_shown": shown}


def _column(values: pd.Series, steps: int) -> dict[str, Any]:
    observed = values.dropna()
    if observed.empty:
        return {"missing": steps, "missing_share": 1.0, "min": None, "max": None, "mean": None}
    missing = steps - len(observed)
    return {
        "missing": missing,
        "missing_share": missing / steps,
        "min": float(observed.min()),
        "max": float(observed.max()),
        "mean": float(observed.mean()),
    }
