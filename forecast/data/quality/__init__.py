"""What the data are like, and what may be wrong with them.

`find_violations` runs the rule of every field of the entry's `quality` (a function of the same name
in `checks`) that is not off, and gives a `Violation` for each series and column that breaks it;
`refuse_violations` raises for those whose action is `refuse`, `format_violations` words them,
`describe_left_out` is a table of series that are left out or not scored. For
`forecast fetch` and stage `prepare`. `describe` says how many rows, gaps and missing values each
series has, for quality.json and the report. Nothing is repaired.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset, Quality
from forecast.data.calendars import find_gaps, series_lengths
from forecast.data.quality import checks
from forecast.data.quality.checks import Violation
from forecast.data.schema import rows_by_series
from forecast.system.errors import ForecastError, InputError, list_first, plural

__all__ = [
    "Violation",
    "abridge_findings",
    "describe",
    "describe_left_out",
    "find_violations",
    "format_violations",
    "refuse_violations",
]

SHOWN_SERIES = 3
MOST_LINES = 5
"""Findings that `fetch`, `check` and `run` print; more would bury a fault below them."""
MOST_LISTED = 20
"""Series of a table in the terminal."""
UNUSED = {
    "left out": ", of which there is no forecast; the others are used",
    "not scored": (
        " (they lack a block, which all share; the fit on all rows, which serves, forecasts them,"
        " without intervals; to score them, give them a dataset of their own)"
    ),
}
"""By the action of a finding what it means for its series."""


def find_violations(
    frame: pd.DataFrame,
    dataset: Dataset,
    *,
    as_of: pd.Timestamp,
    stored: pd.DataFrame | None = None,
) -> list[Violation]:
    """What breaks a rule that is not off, refusing ones first.

    `frame`: checked, adjusted, with all of its columns; of an input known over the horizon only the
    last step is examined. `stored`: the history that a fetch continues.
    """
    earlier_steps = [
        step.frame_name for step in dataset.task.future_steps if step.step < dataset.horizon
    ]
    frame = frame.drop(columns=earlier_steps, errors="ignore")
    violations: list[Violation] = []
    extra: dict[str, dict[str, Any]] = {
        "freshness": {"as_of": as_of},
        "shrinkage": {"stored": stored},
    }
    for name in Quality.model_fields:
        rule = getattr(dataset.quality, name)
        if rule.action != "off":
            found_by_rule = getattr(checks, name)(frame, dataset, rule.limit, **extra.get(name, {}))
            violations += [replace(violation, action=rule.action) for violation in found_by_rule]
    return sorted(violations, key=lambda violation: violation.action != "refuse")


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
    for violation in violations:
        key = (violation.action, violation.rule, violation.column, violation.sentence)
        groups.setdefault(key, []).append(violation.series)
    lines = []
    for (action, rule, column, text), series in groups.items():
        names = list_first(series, SHOWN_SERIES, repr)
        place = [f"series {names}"] if any(series) else []
        place += [f"column {column!r}"] if column else []
        where = f"{', '.join(place)}: " if place else ""
        lines.append(f"{action} ({rule}): {where}{text}")
    return lines


def abridge_findings(violations: list[Violation], dataset: str) -> list[str]:
    """A line for each finding but series that are left out or not scored; of many lines the first
    of each rule, and where the others are.
    """
    lines = format_violations([v for v in violations if v.action not in UNUSED])
    if len(lines) <= MOST_LINES:
        return lines
    by_rule: dict[str, str] = {}
    for line in lines:
        by_rule.setdefault(line.partition(":")[0], line)
    n_more = len(lines) - len(by_rule)
    rest = [f"{plural(n_more, 'line')} more: `forecast data {dataset}`"] if n_more else []
    return [*by_rule.values(), *rest]


def describe_left_out(violations: list[Violation]) -> str:
    """The series that are left out or not scored, with the reason, as tables; empty where none
    is.
    """
    lines: list[str] = []
    for action, consequence in UNUSED.items():
        rows = [(each.series, each.sentence) for each in violations if each.action == action]
        if not rows:
            continue
        table = pd.DataFrame(rows[:MOST_LISTED], columns=["series", "why"])
        n_series = len(dict(rows))
        lines += [
            f"{n_series} series {action}{consequence}:",
            table.to_string(index=False, justify="left", max_colwidth=120),
        ]
        if len(rows) > MOST_LISTED:
            lines.append(f"and {len(rows) - MOST_LISTED} more")
    return "\n".join(lines)


class ColumnDescription(TypedDict):
    """One column of one series; `missing` counts steps without a value, absent rows too."""

    missing: int
    missing_share: float
    min: float | None
    max: float | None
    mean: float | None


class SeriesDescription(TypedDict):
    """One series: its rows, the steps they span (times in ISO 8601), and its runs of gaps."""

    rows: int
    steps: int
    first: str
    last: str
    gaps: int
    columns: dict[str, ColumnDescription]


class QualityFile(TypedDict):
    """What quality.json holds; `findings`, one for each `Violation`, are put there by `prepare`."""

    rows: int
    series: dict[str, SeriesDescription]
    gaps: int
    findings: NotRequired[list[dict[str, str | int]]]


def describe(frame: pd.DataFrame, dataset: Dataset) -> QualityFile:
    """Rows, gaps and columns of every series of a prepared frame."""
    all_gaps = find_gaps(frame, dataset.calendar)
    runs = all_gaps["unique_id"].value_counts()
    lengths = series_lengths(frame, dataset.calendar)
    columns = {name: frame[name].to_numpy() for name in dataset.task.first_step_names}
    series: dict[str, SeriesDescription] = {}
    for unique_id, rows in rows_by_series(frame).items():
        steps = int(lengths[unique_id])
        series[unique_id] = {
            "rows": rows.stop - rows.start,
            "steps": steps,
            "first": frame["ds"].iloc[rows.start].isoformat(),
            "last": frame["ds"].iloc[rows.stop - 1].isoformat(),
            "gaps": int(runs.get(unique_id, 0)),
            "columns": {
                name: _describe_column(values[rows], steps) for name, values in columns.items()
            },
        }
    return {"rows": len(frame), "series": series, "gaps": len(all_gaps)}


def _describe_column(values: np.ndarray, steps: int) -> ColumnDescription:
    """Missing steps, least, greatest and mean value of one column of one series."""
    known = values[~np.isnan(values)]
    missing = steps - len(known)
    is_known = len(known) > 0
    return ColumnDescription(
        missing=missing,
        missing_share=missing / steps,
        min=float(known.min()) if is_known else None,
        max=float(known.max()) if is_known else None,
        mean=float(known.mean()) if is_known else None,
    )
