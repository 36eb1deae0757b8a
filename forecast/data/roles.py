"""What each column of a dataset is to a model, why, and what the data show of it.

For `forecast check NAME`, from the prepared frame and the entry of configs/datasets.yaml, one
`ColumnRole` per column. What is shown of an input beside its values is how its changes go with
those of the first target, over all series: a description, no test, and no reason to leave one out
(`docs/data.md`, which inputs help).

Another fact about a column is a field of `ColumnRole`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.config.datasets import Column, Dataset, FrameColumn
from forecast.data.calendars import series_lengths

MIN_ROWS_OF_CORRELATION = 10


@dataclass(frozen=True)
class ColumnRole:
    """`role`: the key of the entry that names the column; `reason`: what that means for a forecast;
    `data`: what the prepared rows hold of it.
    """

    column: str
    role: str
    reason: str
    data: str


def describe_roles(frame: pd.DataFrame, dataset: Dataset) -> list[ColumnRole]:
    """The roles of the columns of a prepared `frame`, in the channel order, then the calendar."""
    n_steps = int(series_lengths(frame, dataset.calendar).sum())
    target = dataset.target[0].column
    roles = []
    for column in dataset.frame_columns:
        if column.step > 1:
            continue  # the first step stands for all
        data = _describe_values(frame[column.name], n_steps)
        if column.name != target:
            data += _describe_link(frame, column, target, dataset.season_length)
        role, reason = _role_and_reason(column, dataset)
        roles.append(ColumnRole(column.entry.column, role, reason, data))
    reason = "follows from the time alone"
    calendar = [ColumnRole(n, "calendar_features", reason, "") for n in dataset.calendar_features]
    return [*roles, *_static_roles(frame, dataset), *calendar]


def _static_roles(frame: pd.DataFrame, dataset: Dataset) -> list[ColumnRole]:
    """Those of the static columns, with the number of series of each level."""
    first_rows = frame.groupby("unique_id").first()
    roles = []
    for column in dataset.static:
        if column.levels:
            counts = first_rows[list(column.frame_names)].sum()
            levels = zip(column.levels, counts, strict=True)
            data = "series: " + ", ".join(f"{level} {count:g}" for level, count in levels)
        else:
            numbers = first_rows[column.frame_names[0]] * column.scale + column.centre
            data = _describe_values(numbers, len(numbers))
        reason = "never changes in a series; ridge, trees and networks read it"
        roles.append(ColumnRole(column.column, "static", reason, data))
    return roles


def _role_and_reason(column: FrameColumn, dataset: Dataset) -> tuple[str, str]:
    """The key of the entry under which the column stands, and what that means for a forecast."""
    entry = column.entry
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
        reason = "the provider's forecasts, as issued by the last observation"
    return "future_exogenous", reason


def _describe_values(values: pd.Series, n_steps: int) -> str:
    """`0 to 31.5, mean 11.2, 1.2 % of the steps without a value`."""
    known = values.dropna()
    if known.empty:
        return "no value"
    text = f"{known.min():.4g} to {known.max():.4g}, mean {known.mean():.4g}"
    share = 1 - len(known) / n_steps
    return f"{text}, {share:.1%} of the steps without a value" if share > 0 else text


def _describe_link(
    frame: pd.DataFrame, column: FrameColumn, target: str, season_length: int
) -> str:
    """How the changes of an input go with those of the target one step later: of the same time for
    what is known ahead, whose column holds the value of the next row. Changes over one season, in
    which closed days and nights do not hide a promotion.
    """
    following = frame.groupby("unique_id", sort=False)[target].shift(-1)
    values = pd.DataFrame({"input": frame[column.name], "target": following})
    changes = values.groupby(frame["unique_id"], sort=False).diff(season_length)
    r = float(changes.corr(min_periods=MIN_ROWS_OF_CORRELATION).to_numpy()[0, 1])
    if np.isnan(r):
        return ""
    when = "at the same time" if column.step else "one step before"
    over = f" over {season_length} steps" if season_length > 1 else ""
    return f"; its change{over} {when} goes with the target's by r = {r:+.2f}"
