"""Warnings about values that a forecast is made of and that lie far outside of the range of the
train rows.

`describe_unseen` checks the newest rows of each series, as many as the horizon has, and the plan.
Its only caller is `serving`, for the warnings of `Model.predict` and `forecast predict` and for the
column `note` of a served model.

A value is far off where it lies beyond the range by more than its width (`Scaling.input_bounds`),
or is so wild that a model reads it as missing (`Scaling.hide_wild`), as after a lost comma. Nothing
is refused here, because such a value may be true.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast.config.task import Task
from forecast.config.transforms import TRANSFORMS
from forecast.data.calendars import format_times, next_steps
from forecast.data.panel import Panel, Series
from forecast.data.scaling import Scaling, judged_units, reads_changes, transform_columns
from forecast.system.errors import list_first, plural, quote

MOST_FAULTS = 3
"""The most columns that one sentence names."""


def describe_unseen(panel: Panel, scaling: Scaling) -> str:
    """A sentence on the far values of the newest rows and the plans; empty without any."""
    faults: list[str] = []
    for series in panel.series:
        faults += _find_far(series, scaling, panel.task)
    if not faults:
        return ""
    return (
        f"Unlike all that the fit has seen: {list_first(faults, MOST_FAULTS, str)}. Correct what is"
        " a mistake; of the rest nothing was learnt. Models read an input at most as far outside"
        " of its range as that is wide, and a wild value that stands alone as missing."
    )


def _find_far(series: Series, scaling: Scaling, task: Task) -> list[str]:
    """A description of the farthest value of each column of a series that has far values, such as
    `'price' of 'shop 1' is 48.9 at 2025-06-20 and is far off at 2 more steps (in training 4.29 to
    4.99)`.
    """
    rows = slice(-max(task.horizon, 2), None)  # a change needs two rows
    units = judged_units(transform_columns(series.values[rows], task, series.unique_id), task)
    low, high = scaling.input_bounds(series.unique_id)
    excess = np.fmax(low - units, units - high)
    is_hidden = np.isnan(scaling.hide_wild(series)) & np.isfinite(series.values)
    excess[is_hidden[rows]] = np.inf
    # by column: the index of its values, and their times; a plan is the steps in the last row
    judged: dict[int, tuple[Any, np.ndarray]] = {
        column: (np.s_[:, column], series.ds[rows]) for column in range(len(task.observed_names))
    }
    for steps in task.plan_columns.values():
        times = next_steps(task.calendar, series.ds[-1], steps.stop - steps.start).to_numpy()
        judged[steps.start] = (np.s_[-1, steps], times)
    is_change = reads_changes(task)
    faults = []
    for number, (index, times) in judged.items():
        n_far = int((excess[index] > 0).sum())
        if not n_far:
            continue
        farthest = int(np.nanargmax(excess[index]))
        column = task.columns[number]
        numbers = np.array([units[index][farthest], *scaling.ranges[series.unique_id][:, number]])
        transform = TRANSFORMS[column.transform]
        verb = "changes by"
        if not is_change[number] and not transform.takes_changes:
            verb = "is"
            numbers = transform.to_raw(numbers)
        value, lowest, highest = numbers
        others = f" and is far off at {plural(n_far - 1, 'more step')}" if n_far > 1 else ""
        faults.append(
            f"{quote(column.name)} of {quote(series.unique_id)} {verb} {value:g} at"
            f" {format_times([times[farthest]], task.calendar)}{others}"
            f" (in training {lowest:g} to {highest:g})"
        )
    return faults
