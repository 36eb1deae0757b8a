"""The role of each column of a dataset, the reason, and a summary of its values, for `forecast
check`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from forecast.config.datasets import Column, Dataset, FutureColumn
from forecast.data.calendars import count_steps_by_series


@dataclass(frozen=True)
class ColumnRole:
    """role: the key of the entry under which the column stands; reason: what that means for a
    forecast; data: a summary of the column in the prepared rows.
    """

    column: str
    role: str
    reason: str
    data: str


def describe_roles(frame: pd.DataFrame, dataset: Dataset) -> list[ColumnRole]:
    """The roles of the columns of a prepared `frame`: those of the task in order, static,
    calendar.
    """
    n_steps = int(count_steps_by_series(frame, dataset.calendar).sum())
    roles = []
    columns: list[Column | FutureColumn] = [*dataset.columns, *dataset.future_columns]
    # a future input is described by its first step
    for column, name in zip(columns, dataset.task.first_step_names, strict=True):
        role, reason = _role_and_reason(column, dataset)
        data = _describe_values(frame[name], n_steps)
        roles.append(ColumnRole(column.column, role, reason, data))
    reason = "follows from the time alone"
    calendar = [ColumnRole(n, "calendar_features", reason, "") for n in dataset.calendar_features]
    return [*roles, *_static_roles(frame, dataset), *calendar]


def _static_roles(frame: pd.DataFrame, dataset: Dataset) -> list[ColumnRole]:
    """The roles of the static columns; categories with their numbers of series."""
    first_rows = frame.groupby("unique_id").first()
    roles = []
    for column in dataset.static:
        if column.categories:
            counts = first_rows[list(column.frame_names)].sum()
            n_series = zip(column.categories, counts, strict=True)
            data = "series: " + ", ".join(f"{category} {n:g}" for category, n in n_series)
        else:
            numbers = first_rows[column.frame_names[0]] * column.scale + column.centre
            data = _describe_values(numbers, len(numbers))
        reason = "never changes in a series; ridge, trees and networks read it"
        roles.append(ColumnRole(column.column, "static", reason, data))
    return roles


def _role_and_reason(entry: Column | FutureColumn, dataset: Dataset) -> tuple[str, str]:
    """The key under which the column `entry` stands, and what that means for a forecast."""
    if entry in dataset.target:
        transformed = "" if entry.transform == "none" else f", as {entry.transform}"
        return "target", f"what is forecast{transformed}"
    if isinstance(entry, Column):
        reason = "known up to the last observation, no further"
        if entry.joined is not None:
            source = entry.joined.dataset or "this dataset"
            reason = f"joined from {entry.joined.series!r} of {source}: the last value known then"
        return "past_exogenous", reason
    if dataset.holidays and entry not in dataset.future_exogenous:
        return "holidays", f"computed from the date: holidays of {dataset.holidays.country}"
    reason = "known ahead: every forecast needs it for the whole horizon"
    if entry.issued:
        reason = "the provider's forecasts issued up to the time of the last observation"
    return "future_exogenous", reason


def _describe_values(values: pd.Series, n_steps: int) -> str:
    """`0 to 31.5, mean 11.2, 1.2 % of the steps without a value`."""
    known = values.dropna()
    if known.empty:
        return "no value"
    text = f"{known.min():.4g} to {known.max():.4g}, mean {known.mean():.4g}"
    share = 1 - len(known) / n_steps
    return f"{text}, {100 * share:.1f} % of the steps without a value" if share > 0 else text
