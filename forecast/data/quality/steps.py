"""Checks of the times: missing steps, clock changes, freshness."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from forecast.config.datasets import Dataset, RegularCalendar
from forecast.data.calendars import ended, following, gaps
from forecast.data.quality.finding import Finding, times

# One zone for each local hour that is skipped in spring somewhere.
ZONES = ("America/New_York", "Europe/Berlin", "Europe/London", "Australia/Sydney")


def missing_steps(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """Steps of the calendar without a row; those that other series have are named as such."""
    found = gaps(frame, dataset.calendar)
    known = set(frame.loc[frame["ds"].isin({gap.first for gap in found}), "ds"]) if found else set()
    for series in sorted({gap.unique_id for gap in found}):
        own = [gap for gap in found if gap.unique_id == series]
        count = sum(gap.steps for gap in own)
        if count > limit:
            text = f"{count} steps have no row ({times(gap.first for gap in own)})"
            elsewhere = [gap.first for gap in own if gap.first in known]
            more = f"; other series have {times(elsewhere)}" if elsewhere else ""
            yield Finding("gaps", series, "", count, f"{text}{more}.")


def clock_change(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Finding]:
    """A gap of one hour where clocks are put forward: the times are local, not UTC."""
    if not isinstance(dataset.calendar, RegularCalendar):
        return
    found = [g for g in gaps(frame, dataset.calendar) if g.steps == 1 and _never_on_a_clock(g.first)]
    for series in sorted({gap.unique_id for gap in found}):
        skipped = [gap.first for gap in found if gap.unique_id == series]
        if len(skipped) > limit:
            text = f"hours are missing where clocks are put forward ({times(skipped)}): these look like local times; "
            yield Finding("clock_change", str(series), "ds", len(skipped), f"{text}state `source.time_zone`.")


def freshness(frame: pd.DataFrame, dataset: Dataset, limit: float, as_of: pd.Timestamp) -> Iterator[Finding]:
    """Steps that had ended by `as_of` and have no row at the end of a series."""
    for series, last in frame.groupby("unique_id", sort=True)["ds"].max().items():
        due = following(dataset.calendar, last, int(limit) + 1)
        if (ended(dataset.calendar, due) <= as_of).all():
            text = f"the last row is of {times([last])}, more than {limit:g} steps before {times([as_of])}."
            yield Finding("freshness", str(series), "ds", int(limit) + 1, text)


def _never_on_a_clock(moment: pd.Timestamp) -> bool:
    return any(pd.isna(moment.tz_localize(zone, nonexistent="NaT", ambiguous=True)) for zone in ZONES)
