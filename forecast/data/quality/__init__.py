"""What the data are like, and what may be wrong with them.

`find_violations` runs the rule of every field of the entry's `quality` (a function of the same name
in `checks`) that is not off, and gives a `Violation` for each series and column that breaks it;
`refuse_violations` raises for those whose action is `refuse`, `format_violations` words them. For
`forecast fetch` and stage `prepare`. `describe` says how many rows, gaps and missing values each
series has, for quality.json and the report. Nothing is repaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset, Quality
from forecast.data.calendars import find_gaps, grid
from forecast.data.quality import checks
from forecast.data.quality.checks import Violation
from forecast.system.errors import ForecastError, InputError

__all__ = ["Violation", "describe", "find_violations", "format_violations", "refuse_violations"]

SHOWN_GAPS = 20
SHOWN_SERIES = 3

Check = Callable[[pd.DataFrame, Dataset, float], Iterator[Violation]]


def find_violations(
    frame: pd.DataFrame, dataset: Dataset, *, as_of: pd.Timestamp
) -> list[Violation]:
    """What breaks a rule that is not off, refusing ones first.

    `frame`: checked, adjusted, all of its columns; of those over the horizon the last step stands
    for the others.
    """
    earlier_steps = [
        column.name for column in dataset.frame_columns if 0 < column.step < dataset.horizon
    ]
    frame = frame.drop(columns=earlier_steps, errors="ignore")
    rules: dict[str, Check] = {name: getattr(checks, name) for name in Quality.model_fields}
    rules["freshness"] = partial(checks.freshness, as_of=as_of)
    violations = []
    for name, check in rules.items():
        rule = getattr(dataset.quality, name)
        if rule.action != "off":
            violations += [
                replace(f, action=rule.action) for f in check(frame, dataset, rule.limit)
            ]
    return sorted(violations, key=lambda finding: finding.action != "refuse")


def refuse_violations(
    violations: list[Violation], *, where: str, error: type[ForecastError] = InputError
) -> None:
    """Raises `error` with every finding of a rule that refuses."""
    refused = [finding for finding in violations if finding.action == "refuse"]
    if refused:
        lines = "; ".join(format_violations(refused))
        raise error(
            f"{where}: {lines} Nothing was taken. Correct the data, or set"
            f" `quality.{refused[0].rule}: warn` in configs/datasets.yaml."
        )


def format_violations(violations: list[Violation]) -> list[str]:
    """`warn (freshness): series 'a', 'b' and 7 more, column 'ds': …`: one line for all series of
    which it is true.
    """
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for f in violations:
        groups.setdefault((f.action, f.rule, f.column, f.sentence), []).append(f.series)
    lines = []
    for (action, rule, column, text), series in groups.items():
        more = f" and {len(series) - SHOWN_SERIES} more" if len(series) > SHOWN_SERIES else ""
        names = ", ".join(map(repr, series[:SHOWN_SERIES])) + more
        place = [f"series {names}"] if any(series) else []
        place += [f"column {column!r}"] if column else []
        where = f"{', '.join(place)}: " if place else ""
        lines.append(f"{action} ({rule}): {where}{text}")
    return lines


def describe(frame: pd.DataFrame, dataset: Dataset) -> dict[str, Any]:
    """JSON values only; `missing` counts calendar steps without a value, absent rows included."""
    all_gaps = find_gaps(frame, dataset.calendar)
    runs = Counter(gap.unique_id for gap in all_gaps)
    series = {}
    for unique_id, rows in frame.groupby("unique_id", sort=True):
        steps = len(grid(dataset.calendar, rows["ds"].iloc[0], rows["ds"].iloc[-1]))
        series[str(unique_id)] = {
            "rows": len(rows),
            "steps": steps,
            "first": rows["ds"].iloc[0].isoformat(),
            "last": rows["ds"].iloc[-1].isoformat(),
            "gaps": runs[str(unique_id)],
            "columns": {
                column.name: _describe_column(rows[column.name], steps)
                for column in dataset.frame_columns
                if column.step <= 1
            },
        }
    first_gaps = [
        {
            "series": g.unique_id,
            "first": g.first.isoformat(),
            "last": g.last.isoformat(),
            "steps": g.steps,
        }
        for g in all_gaps[:SHOWN_GAPS]
    ]
    return {"rows": len(frame), "series": series, "gaps": len(all_gaps), "gaps_shown": first_gaps}


def _describe_column(values: pd.Series, steps: int) -> dict[str, Any]:
    """Missing steps, least, greatest and mean value of one column of one series."""
    observed = values.dropna()
    numbers = {
        name: float(observed.agg(name)) if len(observed) else None
        for name in ("min", "max", "mean")
    }
    missing = steps - len(observed)
    return {"missing": missing, "missing_share": missing / steps, **numbers}
