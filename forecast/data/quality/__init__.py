"""Findings of the data checks (`checks` says who runs them), and the description of each series in
quality.json.

`find_violations` applies the rule of each field of the entry's `quality` that is not off: a
function of the same name in `checks`. A `Violation` is one finding; `data.preparation` and
`data.splits` make those about series that are left out or not scored, and about plans.
`refuse_violations` raises for findings of rules that refuse, in a fetch alone; elsewhere they are
findings like others. `format_violations` and `describe_left_out` word findings. `summarise` counts
rows, gaps and missing values of each series. Nothing is repaired.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset, Quality
from forecast.data.calendars import count_steps_by_series, find_gaps
from forecast.data.quality import checks
from forecast.data.quality.checks import Violation
from forecast.data.schema import rows_by_series
from forecast.system.errors import ForecastError, InputError, list_first, plural

__all__ = [
    "Violation",
    "abridge_findings",
    "describe_left_out",
    "find_violations",
    "format_violations",
    "refuse_violations",
    "summarise",
]

SHOWN_SERIES = 3
MOST_LINES = 5
"""The most findings that `abridge_findings` keeps whole, so that an error is not pushed away."""
MOST_LISTED = 20
"""The most series of a table in the terminal."""
CONSEQUENCES = {
    "left out": ", of which there is no forecast; the others are used",
    "not scored": (
        " (they lack a block, which all share; the fit on all rows, which serves, forecasts them,"
        " without intervals; to score them, give them a dataset of their own)"
    ),
}
"""By the action of a finding, what it means for its series."""


def find_violations(
    frame: pd.DataFrame,
    dataset: Dataset,
    *,
    as_of: pd.Timestamp,
    stored: pd.DataFrame | None = None,
) -> list[Violation]:
    """The findings of all rules that are not off, those that refuse first.

    frame: checked, with adjusted prices and all columns; of an input known over the horizon only
    the last step is examined. stored: the history that a fetch continues.
    """
    earlier_steps = [
        step.frame_name for step in dataset.task.future_steps if step.step < dataset.horizon
    ]
    frame = frame.drop(columns=earlier_steps, errors="ignore")
    violations: list[Violation] = []
    extra_arguments: dict[str, dict[str, Any]] = {
        "freshness": {"as_of": as_of},
        "shrinkage": {"stored": stored},
    }
    for name in Quality.model_fields:
        rule = getattr(dataset.quality, name)
        if rule.action != "off":
            rule_findings = getattr(checks, name)(
                frame, dataset, rule.limit, **extra_arguments.get(name, {})
            )
            violations += [replace(violation, action=rule.action) for violation in rule_findings]
    return sorted(violations, key=lambda violation: violation.action != "refuse")


def refuse_violations(
    violations: list[Violation], *, where: str, error: type[ForecastError] = InputError
) -> None:
    """Raises `error` with all findings of rules that refuse."""
    refused = [finding for finding in violations if finding.action == "refuse"]
    if refused:
        lines = "; ".join(format_violations(refused))
        raise error(
            f"{where}: {lines} Nothing was taken. Correct the data, or set"
            f" `quality.{refused[0].rule}: warn` in configs/datasets.yaml."
        )


def format_violations(violations: list[Violation]) -> list[str]:
    """`warn (freshness): series 'a', 'b', 'c' and 6 more, column 'ds': …`: one line for all series
    with the same finding.
    """
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for violation in violations:
        key = (violation.action, violation.rule, violation.column, violation.sentence)
        groups.setdefault(key, []).append(violation.series)
    lines = []
    for (action, rule, column, sentence), series in groups.items():
        names = list_first(series, SHOWN_SERIES, repr)
        places = [f"series {names}"] if any(series) else []
        places += [f"column {column!r}"] if column else []
        where = f"{', '.join(places)}: " if places else ""
        lines.append(f"{action} ({rule}): {where}{sentence}")
    return lines


def abridge_findings(violations: list[Violation], dataset: str) -> list[str]:
    """Lines for the findings, except series that are left out or not scored. Of more than
    `MOST_LINES` only the first of each rule, and how to see the rest.
    """
    lines = format_violations([v for v in violations if v.action not in CONSEQUENCES])
    if len(lines) <= MOST_LINES:
        return lines
    by_rule: dict[str, str] = {}
    for line in lines:
        by_rule.setdefault(line.partition(":")[0], line)
    n_more = len(lines) - len(by_rule)
    rest = [f"{plural(n_more, 'line')} more: `forecast data {dataset}`"] if n_more else []
    return [*by_rule.values(), *rest]


def describe_left_out(violations: list[Violation]) -> str:
    """Tables of the series that are left out or not scored, with the reason; empty without any."""
    lines: list[str] = []
    for action, consequence in CONSEQUENCES.items():
        rows = [
            (finding.series, finding.sentence) for finding in violations if finding.action == action
        ]
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
    """One column of one series; `missing` counts steps without a value, with or without a row."""

    missing: int
    missing_share: float
    min: float | None
    max: float | None
    mean: float | None


class SeriesDescription(TypedDict):
    """One series: its rows, the steps from the first to the last (times in ISO 8601), its runs of
    missing steps.
    """

    rows: int
    steps: int
    first: str
    last: str
    gaps: int
    columns: dict[str, ColumnDescription]


class QualityFile(TypedDict):
    """The content of quality.json; stage `prepare` adds `findings`, one for each `Violation`."""

    rows: int
    series: dict[str, SeriesDescription]
    gaps: int
    findings: NotRequired[list[dict[str, str | int]]]


def summarise(frame: pd.DataFrame, dataset: Dataset) -> QualityFile:
    """Rows, gaps and columns of every series of a prepared frame. Of a future column, the values of
    the first step ahead.
    """
    all_gaps = find_gaps(frame, dataset.calendar)
    runs = all_gaps["unique_id"].value_counts()
    lengths = count_steps_by_series(frame, dataset.calendar)
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
    """Missing steps, minimum, maximum and mean of one column of one series."""
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
