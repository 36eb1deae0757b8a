"""The data checks: one function for each rule of `config.datasets.Quality`, with the name of the
rule.

Each gets a checked long frame with adjusted prices, the dataset's entry and the rule's limit, and
yields a `Violation` for each series and column that breaks the rule. All rows are checked, before
the blocks are cut, and none is changed. The entry says whether a finding warns or refuses a fetch.
A new check is a field of `Quality` and a function here, and with a default of "warn" it holds for
every dataset.

Who runs the checks: a fetch and `forecast data` (`data.ingest`), stage `prepare` and `forecast
check` (`data.preparation`), and `forecast.fit`, which tells some (`api.stages.WARNED_RULES`);
`Model.predict` runs `clock_change` (`api.model`). A limit is no part of the task, so changing one
in an entry fits nothing again; a changed function does, since `backtest.backtest` imports this
package and so has its code in the digest of every fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.config.task import RegularCalendar, Task
from forecast.data.calendars import find_gaps, format_times, known_from, next_steps
from forecast.data.leaks import find_leaks
from forecast.data.own_files import PLACEHOLDER_PATTERN
from forecast.data.schema import KEY_COLUMNS, rows_by_series
from forecast.system.errors import plural

BAR_COLUMNS = ("open", "high", "low", "close")
SPLIT_RATIOS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50, 100])
MOST_RUNS = 3
"""The most runs of equal values in a sentence, the longest first."""
MOST_ZEROS = 0.05
"""Where a larger share of a series is zero, zero is an ordinary value."""
MIN_ROWS = 20
"""With fewer rows it is unknown what is usual."""
PARTIAL_ADVICE = "If that is the sum of a step that was not over, leave the row out."
MOST_DROPPED_ROWS = 3
"""The last rows of a source may be provisional."""
MOST_LOST_SERIES = 0.5
"""The largest share of the stored series that may end between two fetches."""
ZEROS_BEFORE = re.compile(r"(?<![\d.,])0+(?=\d)")
"""Leading zeros of a number in a name, which spreadsheets remove."""
MIN_SPLIT_RETURN = 0.3  # a smaller return is no candidate for a split
PRICE_NAME = "(?i)price|preis|close|kurs|quote"
# One zone for each local hour that is skipped in spring somewhere.
CLOCK_CHANGE_ZONES = ("America/New_York", "Europe/Berlin", "Europe/London", "Australia/Sydney")


@dataclass(frozen=True)
class Violation:
    """A finding: `count` values of `series` and `column` (empty: all) break `rule`. `sentence` says
    where and what to do.
    """

    rule: str
    series: str
    column: str
    count: int
    sentence: str
    action: str = "warn"


def spikes(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """Values far from both neighbours on the same side: the smaller step is more than `limit` times
    the 99 % quantile of all steps. Also a minimum or maximum far from all other values, such as
    -999, which may stand for a missing value.
    """
    for series, column, times, values in _observed_values(frame, _number_columns(frame)):
        step = np.diff(values)
        # values that are mostly zero come in bursts, as rain does
        if len(step) < MIN_ROWS or np.mean(values == 0) > 0.5:
            continue
        usual = np.quantile(np.abs(step), 0.99)
        before, after = step[:-1], -step[1:]
        height = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), 0.0)
        is_spike = (height > limit * usual) & (usual > 0)
        if is_spike.any():
            positions = np.flatnonzero(is_spike) + 1
            worst = values[1 + np.argmax(height)]
            spike_times = format_times(times[positions], dataset.calendar)
            sentence = (
                f"standing alone: {positions.size} ({spike_times}; the worst is {worst:g})."
                " Correct them, or leave the cells empty."
            )
            yield Violation("spikes", series, column, positions.size, sentence)
        # values such as -999 are too frequent to exceed the 99 % quantile of steps
        for extreme in sorted({values.min(), values.max()} - {0.0}):
            others, count = values[values != extreme], int((values == extreme).sum())
            # the first and the last row have only one neighbour, so they are not found above
            if (
                (count > 1 or extreme in values[[0, -1]])
                and others.size
                and (
                    len(np.unique(others)) > 20 or re.fullmatch(PLACEHOLDER_PATTERN, f"{extreme:g}")
                )
                and np.abs(others - extreme).min() > 3 * np.ptp(others)
            ):
                sentence = (
                    f"values of {extreme:g}, far from all others: {count}. If it stands for no"
                    f" value, empty the cells, or add `missing: [{extreme:g}]` under a `source` of"
                    " files."
                )
                yield Violation("spikes", series, column, count, sentence)


def stale_repeats(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """Of a target the same value, not zero, more than `limit` times in a row without counting empty
    cells: a stuck sensor or a filled gap. A maximum that is reached, left and reached again is
    a capacity, as of beds, and no fault.
    """
    for series, column, times, values in _observed_values(frame, _targets(frame, dataset)):
        if _find_run_lengths(values)[1].max() <= limit:
            continue
        runs = _find_equal_runs(values)
        is_greatest = runs["value"] == values.max()
        is_stuck = (runs["n_rows"] > limit) & ~(is_greatest & (is_greatest.sum() > 1))
        runs = runs[is_stuck & (runs["value"] != 0)]
        if len(runs):
            sentence = (
                f"equal values: {_list_runs(runs, times, dataset)}. They are fitted and scored like"
                " others; where a sensor was stuck, empty the cells: empty ones are neither."
            )
            yield Violation("stale_repeats", series, column, int(runs["n_rows"].sum()), sentence)


def zero_runs(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """Zero in more than `limit` consecutive rows, in a target that is never negative and hardly
    ever zero: sold out, switched off, or a broken counter. Values beyond half of the median have to
    be on both sides, or on one side where the run is longer than a third of a season; an end of the
    series counts as such a value. Nights and closed days are too frequent to be reported.
    """
    long_run = dataset.season_length / 3 if dataset.season_length > 1 else np.inf
    for series, column, times, values in _observed_values(frame, _targets(frame, dataset)):
        if values.min() != 0 or np.mean(values == 0) > MOST_ZEROS:
            continue
        runs = _find_equal_runs(values)
        is_usual = runs["value"] > np.median(values) / 2
        before, after = is_usual.shift(1, fill_value=True), is_usual.shift(-1, fill_value=True)
        is_fall = (before & after) | ((before | after) & (runs["n_rows"] > long_run))
        runs = runs[is_fall & (runs["value"] == 0) & (runs["n_rows"] > limit)]
        if len(runs):
            sentence = (
                f"zero, which is rare here: {_list_runs(runs, times, dataset)}. Where nothing could"
                " be sold or measured, empty the cells: empty ones are neither fitted nor scored."
            )
            yield Violation("zero_runs", series, column, int(runs["n_rows"].sum()), sentence)


def partial_end(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """The newest values of a positive target, all below a `limit`-th of the lowest before them: the
    sum of a month or day that was not over, or another unit. Of several also those above `limit`
    times the highest. `ingest` reports a newest step that is not over by the clock.
    """
    for series, column, times, values in _observed_values(frame, _targets(frame, dataset)):
        if len(values) <= MIN_ROWS or values.min() <= 0:
            continue
        lowest_before = np.minimum.accumulate(values)[:-1]
        highest_before = np.maximum.accumulate(values)[:-1]
        lowest_since = np.minimum.accumulate(values[::-1])[-2::-1]
        highest_since = np.maximum.accumulate(values[::-1])[-2::-1]
        is_fall = highest_since < lowest_before / limit
        is_rise = lowest_since > limit * highest_before
        is_rise[-1] = False  # a value that is alone may be an event
        breaks = np.flatnonzero(is_fall | is_rise) + 1
        for first in breaks[breaks >= MIN_ROWS][-1:]:
            since = format_times(times[[first]], dataset.calendar)
            sentence = (
                f"the values from {since} on are far from all before them. {PARTIAL_ADVICE} Of"
                " another unit, write all in one."
            )
            yield Violation("partial_end", series, column, len(values) - first, sentence)


def _targets(frame: pd.DataFrame, dataset: Dataset) -> list[str]:
    """The targets that the frame has."""
    return [column.column for column in dataset.target if column.column in frame.columns]


def _find_run_lengths(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each run of equal consecutive values, and how many rows it has."""
    starts = np.flatnonzero(np.append(True, np.diff(values) != 0))
    return starts, np.diff(np.append(starts, len(values)))


def _find_equal_runs(values: np.ndarray) -> pd.DataFrame:
    """Runs of equal consecutive values in order of time: `value`, `n_rows`, first row `start`."""
    starts, n_rows = _find_run_lengths(values)
    return pd.DataFrame({"value": values[starts], "n_rows": n_rows, "start": starts})


def _list_runs(runs: pd.DataFrame, times: np.ndarray, dataset: Dataset) -> str:
    """The longest runs with their first and last times, and the number of others."""
    spans = []
    for run in runs.nlargest(MOST_RUNS, "n_rows").to_dict("records"):
        edges = times[[run["start"], run["start"] + run["n_rows"] - 1]]
        first, last = (format_times([time], dataset.calendar) for time in edges)
        spans.append(f"{run['value']:g} in {run['n_rows']} rows from {first} to {last}")
    more = f" and {len(runs) - MOST_RUNS} runs more" if len(runs) > MOST_RUNS else ""
    return "; ".join(spans) + more


def leaks(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """A past input that predicts a later target nearly exactly, as it is the target shifted, or a
    centred mean of it.
    """
    columns = [c.column for c in dataset.past_exogenous if c.column in frame.columns]
    for target in _targets(frame, dataset) if columns else []:
        for leak in find_leaks(frame, target, columns, dataset.horizon, limit):
            sentence = (
                f"looks like a leak: it tells {target!r} {plural(leak.steps, 'step')} later nearly"
                " exactly. If that was not known then, as of a shifted column or a centred mean,"
                " take it out of `past_exogenous`."
            )
            yield Violation("leaks", leak.series, leak.column, 1, sentence)


def missing_cells(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """Rows where a column has no value. The steps of a plan that are beyond the end of its series
    do not count, since the series may have ended; the finding `plan` reports what a forecast lacks.
    """
    steps_ahead = {
        step.frame_name: step.step
        for step in dataset.task.future_steps
        if step.name in dataset.known_ahead
    }
    n_later = frame.groupby("unique_id").cumcount(ascending=False)
    template = "empty cells: {count} ({times})."
    for column in _number_columns(frame):
        empty = frame[frame[column].isna() & (n_later >= steps_ahead.get(column, 0))]
        yield from _violations_by_series("missing_cells", dataset, empty, limit, template, column)


def _violations_by_series(
    rule: str,
    dataset: Dataset | Task,
    wrong_rows: pd.DataFrame,
    limit: float,
    template: str,
    column: str = "",
) -> Iterator[Violation]:
    """A finding for each series with more than `limit` of the `wrong_rows`. template: the sentence,
    with `{count}` and `{times}`.
    """
    for series, rows in wrong_rows.groupby("unique_id", sort=True):
        if len(rows) > limit:
            sentence = template.format(
                count=len(rows), times=format_times(rows["ds"], dataset.calendar)
            )
            yield Violation(rule, str(series), column, len(rows), sentence)


def _observed_values(
    frame: pd.DataFrame, names: list[str]
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(series, column, times, values) of each series and column, without empty cells. The rows of a
    series have to be together.
    """
    times = frame["ds"].to_numpy()
    every_series = rows_by_series(frame)
    for name in names:
        values = frame[name].to_numpy()
        for series, rows in every_series.items():
            known = ~np.isnan(values[rows])
            if known.any():
                yield series, name, times[rows][known], values[rows][known]


def _number_columns(frame: pd.DataFrame) -> list[str]:
    """All columns but `unique_id` and `ds`."""
    return [str(name) for name in frame.columns if name not in KEY_COLUMNS]


def _prices(frame: pd.DataFrame, dataset: Dataset) -> list[str]:
    """The targets that are modelled as prices and called so, or have bars, or are traded on an
    exchange's or a weekday calendar. Only prices split; a demand modelled like a price does not.
    """
    has_bars = {*BAR_COLUMNS} <= {*frame.columns.str.lower()}  # `open` alone may be of a shop
    is_traded = has_bars or dataset.calendar.keeps_wall_clock
    return [
        c.column
        for c in dataset.target
        if c.task.is_price
        and c.column in frame.columns
        and (is_traded or re.search(PRICE_NAME, c.column))
    ]


def unadjusted_split(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """A price that falls to 1/2, 1/3, … of the last close, or rises as much, and does not return in
    the next row.
    """
    for series, column, times, close in _observed_values(frame, _prices(frame, dataset)):
        logs = np.log(np.where(close > 0, close, np.nan))
        change = np.nan_to_num(np.diff(logs))
        distances = np.abs(np.subtract.outer(np.abs(change), np.log(SPLIT_RATIOS)))
        back = np.append(np.abs(change[1:] + change[:-1]) < MIN_SPLIT_RETURN / 2, False)
        is_split = (np.abs(change) > MIN_SPLIT_RETURN) & (distances.min(axis=1) < limit) & ~back
        if is_split.any():
            jump_times = format_times(times[1:][is_split], dataset.calendar)
            sentence = (
                f"jumps that look like splits not undone: {is_split.sum()} ({jump_times}); adjust"
                " the prices."
            )
            yield Violation("unadjusted_split", series, column, int(is_split.sum()), sentence)


def gaps(frame: pd.DataFrame, dataset: Dataset, limit: float) -> Iterator[Violation]:
    """Steps of the calendar without a row; also names those that other series have."""
    all_gaps = find_gaps(frame, dataset.calendar)
    is_elsewhere = all_gaps["first"].isin(frame["ds"])
    for series, series_gaps in all_gaps.groupby("unique_id", sort=False):
        count = int(series_gaps["steps"].sum())
        if count > limit:
            starts = format_times(series_gaps["first"], dataset.calendar)
            sentence = f"steps without a row: {count}, in gaps that begin at {starts}"
            in_other_series = series_gaps["first"][is_elsewhere[series_gaps.index]]
            if len(in_other_series):
                sentence += f"; other series have {format_times(in_other_series, dataset.calendar)}"
            yield Violation("gaps", str(series), "", count, f"{sentence}.")


def clock_change(frame: pd.DataFrame, dataset: Dataset | Task, limit: float) -> Iterator[Violation]:
    """Gaps of at most an hour where clocks are put forward: the times are local and not UTC."""
    if not isinstance(dataset.calendar, RegularCalendar):
        return
    all_gaps = find_gaps(frame, dataset.calendar)
    short_gaps = all_gaps[all_gaps["last"] - all_gaps["first"] < pd.Timedelta("1h")]
    skipped = short_gaps[_are_skipped_by_a_clock(short_gaps["first"])]
    template = (
        "hours are missing where clocks are put forward ({times}): these look like local times;"
        " state `source.time_zone`."
    )
    rows = skipped.rename(columns={"first": "ds"})
    yield from _violations_by_series("clock_change", dataset, rows, limit, template, "ds")


def freshness(
    frame: pd.DataFrame, dataset: Dataset, limit: float, as_of: pd.Timestamp
) -> Iterator[Violation]:
    """A series without a row for more than `limit` steps that had ended by `as_of`."""
    last_times = frame.groupby("unique_id", sort=True)["ds"].max()
    is_stale = {}
    for last in last_times.unique():
        due = next_steps(dataset.calendar, last, int(limit) + 1)
        is_stale[last] = (known_from(dataset.calendar, due) <= as_of).all()
    for series, last in last_times[last_times.map(is_stale)].items():
        newest, now = (format_times([moment], dataset.calendar) for moment in (last, as_of))
        sentence = f"the last row is of {newest}, more than {limit:g} steps before {now}."
        yield Violation("freshness", str(series), "ds", int(limit) + 1, sentence)


def shrinkage(
    frame: pd.DataFrame, dataset: Dataset, limit: float, stored: pd.DataFrame | None
) -> Iterator[Violation]:
    """Series that end before their stored rows do, as after a half-copied file, or whose oldest
    rows are missing, as in an export of the newest month; a moving window gains as many rows as it
    loses. A missing series is reported by the fetch itself, unless most are missing because they
    were renamed.
    """
    if stored is None:
        return
    rows = rows_by_series(frame)
    if not dataset.source.is_remote:  # a service gives the series that the entry asks for
        yield from _find_renamed({*map(str, stored["unique_id"].unique())}, {*rows})
    for name, before in stored.groupby("unique_id")["ds"]:
        series = str(name)
        if series not in rows:
            continue
        times = frame["ds"].iloc[rows[series]]
        n_later, n_earlier = (before > times.max()).sum(), (before < times.min()).sum()
        max_missing_rows = max(limit * len(before), MOST_DROPPED_ROWS)
        if n_later > max_missing_rows:
            ends = format_times([times.max()], dataset.calendar)
            sentence = f"ends at {ends}; {n_later} of {len(before)} stored rows are later."
        elif n_earlier - (times > before.max()).sum() > max_missing_rows:
            begins = format_times([times.min()], dataset.calendar)
            sentence = (
                f"begins at {begins}; {n_earlier} of {len(before)} stored rows are earlier. If"
                " these are the newest rows alone, write them below the earlier ones in the file."
            )
        else:
            continue
        yield Violation("shrinkage", series, "", int(n_later + n_earlier), sentence)


def list_lost_series(stored: set[str], present: set[str]) -> list[str]:
    """The `stored` series that are no longer `present`. A name without groups counts as present
    where a name with groups (`hierarchy`) ends in it.
    """
    return sorted(stored - present - {name.rpartition("/")[2] for name in present})


def _find_renamed(stored: set[str], present: set[str]) -> Iterator[Violation]:
    """A finding where most of the `stored` series are missing at once, with an example of a new
    name.
    """
    lost = list_lost_series(stored, present)
    if len(lost) <= MOST_LOST_SERIES * len(stored):
        return
    new = sorted(present - stored)
    bare_lost, bare_new = ({ZEROS_BEFORE.sub("", name) for name in names} for names in (lost, new))
    sentence = (
        f"{len(lost)} of {len(stored)} stored series have no row any more, such as {lost[0]!r}"
    )
    if new:
        sentence += f"; {len(new)} are new, such as {new[0]!r}"
    if bare_lost & bare_new:
        sentence += " (leading zeros? Spreadsheets drop those of numbers: keep the column as text)"
    if new:
        sentence += ". Where these are the same series, keep one name for each"
    yield Violation("shrinkage", "", "", len(lost), f"{sentence}.")


def _are_skipped_by_a_clock(moments: pd.Series) -> np.ndarray:
    """(n,): whether a clock of `CLOCK_CHANGE_ZONES` skips each of the local times in spring."""
    times = pd.DatetimeIndex(moments)
    first_of_two = np.ones(len(times), dtype=bool)
    by_zone = [
        times.tz_localize(zone, nonexistent="NaT", ambiguous=first_of_two).isna()
        for zone in CLOCK_CHANGE_ZONES
    ]
    return np.any(by_zone, axis=0)
