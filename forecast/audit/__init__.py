"""The executable leak audit: does anything know what it could not have known?

The pipeline is treated as a black box. Its input, the stored snapshot, is changed after some
moment; everything that belongs to the time before must come out bit for bit as it was. No rule
knows any particular leak: what is listed is what may depend on which rows, and a leak is whatever
depends on others.

    scaling, skip, weights      train rows; a choice between fits may look at validation
    tuning, the chosen model    train and validation rows
    members and their weights   validation rows
    intervals                   errors whose targets are known at the cutoff; widths, the rows up to
                                it and the calibration block
    prepared rows, inputs       rows up to their own
    known-future inputs         the calendar, issues of that time or earlier, and plans declared as
                                known ahead
    a forecast                  rows up to its cutoff

Which module catches which kind of leak (the keys of `KINDS`); a `Finding` names its detector:

    module    detectors                                       kinds of leak
    runs      rows after a moment changed: fits, choices,     scaling, skip, tuning, training,
              calibrations and forecasts of two runs          weights, choice, calibration, scores,
                                                              forecast, beside
    runs      one run: labels, origins, folds, calibration    blocks, folds, tuning, calibration,
              rows, and the targets that a fit asked for      skip, training
    origins   rows after one moment changed or cut            scaling, features, gap, known future,
                                                              forecast, beside
    rescored  scores, choices and intervals once more         origins, scores, choice, tuning,
                                                              training
    data      the data themselves                             history, target, column, actuals,
                                                              repeated
    stored    the finished results once more; fits made       stored, scaling, training, and those
              once more without later rows                    of two runs

The leak planted for each kind is in tests/audit (`test_leaks`, `test_training_leaks`, `test_data`
...). The next detector is a function of that module which yields findings, called by
`audit.__main__.audit`, with a plant of its kind.

What no change of later rows can show is looked for in the data themselves: a column that tells the
target in advance, a history that was revised, blocks out of order, a stretch of test in the
training rows. And what the project holds as its finished results is made again from its models, as
far as that costs no training.

The functions below make what an audited pipeline is fed: copies of a frame, changed after a moment.

A change (`shake`, `shrink`, `mirror`, `thin_out`, `nudge`) alters the rows after a moment and no
other; `restore_plans` puts back what was known ahead by then. With them what the audit works out
apart from the code that it examines: the ends of the blocks, and when a step may be known.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset, FractionSplits
from forecast.config.task import RegularCalendar, WeekdayCalendar, YearWeekCalendar
from forecast.data import calendars
from forecast.data.calendars import Calendar
from forecast.data.columns import trim_to_observed
from forecast.data.schema import KEY_COLUMNS

KINDS: dict[str, str] = {
    "history": "revised history",
    "beside": "data read or kept beside the run",
    "target": "the target, ahead of time, among the inputs",
    "repeated": "test rows among the training rows",
    "blocks": "blocks out of order",
    "origins": "scores over other origins or actuals than the protocol's",
    "features": "a feature made of later rows",
    "gap": "a gap filled from later rows",
    "known future": "a known-future input made of observations",
    "column": "a column that holds later values",
    "actuals": "targets that are not those of the source",
    "stored": "stored results that are not those of the stored models",
    "scaling": "scaling fitted on later rows",
    "folds": "folds that learn from what they are scored on",
    "skip": "a skip fitted on later rows",
    "tuning": "tuning that saw later rows",
    "training": "training that saw later rows",
    "weights": "a combination's weights that saw later rows",
    "forecast": "a forecast that sees beyond its cutoff",
    "choice": "a choice that saw later rows",
    "calibration": "intervals that saw rows outside the calibration block",
    "scores": "scores that are not those of all forecasts at the scale of the train part",
}
"""Kind of finding to its name, causes before effects."""


@dataclass(frozen=True)
class Finding:
    """`kind`: a key of `KINDS`; `detector`: the check that caught it; `where`: a column, a model or
    a file.
    """

    kind: str
    detector: str
    where: str
    text: str

    @property
    def order(self) -> tuple[int, str]:
        """What findings are sorted by: causes before effects, then by their detector."""
        return list(KINDS).index(self.kind), self.detector


@dataclass(frozen=True)
class Audit:
    """`checked`: what was looked at and how often, so that a clean audit of nothing does not pass
    for a clean one; `outdated_file`: one of the project that its stages would write otherwise now,
    so that its stored results were not looked at.
    """

    dataset: str
    findings: tuple[Finding, ...]
    checked: dict[str, int]
    notes: tuple[str, ...] = ()
    outdated_file: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values, with `clean`."""
        return {**asdict(self), "clean": self.is_clean}

    def lines(self) -> list[str]:
        """For a terminal: the verdict, the findings with the cause first, what was checked."""
        checked_counts = ", ".join(f"{count} {what}" for what, count in self.checked.items())
        notes = list(self.notes)
        if self.outdated_file:
            notes.append(
                f"The run is out of date: {self.outdated_file} is not what the stages make of the"
                " snapshot now, so stored results were not looked at. `forecast run"
                f" {self.dataset}`, then the audit again."
            )
        if self.is_clean:
            return [f"{self.dataset}: no leak found. Checked: {checked_counts}.", *notes]
        kinds = list(dict.fromkeys(finding.kind for finding in self.findings))
        head = f"{self.dataset}: LEAK: {KINDS[kinds[0]]}"
        if len(kinds) > 1:
            head += f"; with it: {', '.join(KINDS[kind] for kind in kinds[1:])}"
        finding_lines = [
            f"- {KINDS[f.kind]} ({f.where}), caught by {f.detector}: {f.text}"
            for f in self.findings
        ]
        return [f"{head}.", *finding_lines, f"Checked: {checked_counts}.", *notes]


def order_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """Causes first; equal findings of several models or origins once, with the number of the
    others.
    """
    findings_by_check: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=attrgetter("order")):
        findings_by_check.setdefault((finding.kind, finding.detector), []).append(finding)
    merged_findings = []
    for alike in findings_by_check.values():
        first = alike[0]
        n_others = len({finding.where for finding in alike}) - 1
        if n_others:
            first = replace(first, where=f"{first.where} and {n_others} more")
        merged_findings.append(first)
    return tuple(merged_findings)


SHAKE_FACTOR = 0.93
"""Applied to what is shaken: a mean or a spread over all rows changes, bounds such as 0 or 100 %
hold.
"""
SHRINK_FACTOR = 0.1
DROPPED_ROWS = (1, 3, 4)
"""Which of the rows after a moment are absent where rows may be: what reads a gap ahead of time
then changes.
"""
REVERSED_ERROR_RANGE = (0.05, 0.5)
"""Test errors of the best and the worst fit of the reversed order, in those of the best before: far
below the errors of the calibration block, so margins that adapt win as well.
"""
NUDGE_SHARE = 1e-7
"""Relative. Any sum over nudged rows changes its last bits; no choice between two losses changes.
"""


def shake(
    frame: pd.DataFrame, after: pd.Timestamp, *, factor: float = SHAKE_FACTOR
) -> pd.DataFrame:
    """`frame` with the rows after `after` in reverse order within their series, times `factor`.

    Whole rows move, so what holds inside a row (low below high) still does; their times stay.
    """

    def reverse(rows: pd.DataFrame) -> np.ndarray:
        return np.asarray(factor * rows.to_numpy()[::-1])

    return _change_later_rows(frame, after, reverse)


def shrink(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """The same at a tenth: a jump from one row to the next, such as a threshold on later values
    waits for.
    """
    return shake(frame, after, factor=SHRINK_FACTOR)


def restore_plans(
    changed: pd.DataFrame, frame: pd.DataFrame, dataset: Dataset, after: pd.Timestamp
) -> pd.DataFrame:
    """`changed` with what `frame` holds of `known_ahead` columns over the horizon behind `after`,
    and no further.

    A row that `changed` lacks has none of its observations; of a plan it has zero, for a plan has
    no holes.
    """
    names = dataset.known_ahead
    if not names:
        return changed
    end = calendars.next_steps(dataset.calendar, after, dataset.horizon)[-1]
    original = frame.set_index(list(KEY_COLUMNS))
    times = original.index.get_level_values("ds")
    plans = original.loc[(times > after) & (times <= end), names]
    restored = changed.set_index(list(KEY_COLUMNS))
    dropped = original.index[times <= changed["ds"].max()].difference(restored.index)
    restored = restored.reindex(restored.index.union(plans.index).union(dropped))
    restored.loc[dropped, names] = 0.0
    restored.loc[plans.index, names] = plans
    return restored.reset_index()


def thin_out(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`shake`, without some of the rows that follow `after` at once."""
    shaken = shake(frame, after)
    later_rows = shaken[shaken["ds"] > after].groupby("unique_id", sort=False)
    return shaken.drop(index=later_rows.nth(list(DROPPED_ROWS)).index).reset_index(drop=True)


def mirror(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`frame` with the values after `after` turned upside down, within the range they have there: a
    rise is a fall.

    What says no more of a later value than its sign changes too; what holds inside a row (low below
    high) may not.
    """
    return _change_later_rows(frame, after, _flip)


def _flip(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.max() + rows.min() - rows


def nudge(frame: pd.DataFrame, after: pd.Timestamp) -> pd.DataFrame:
    """`frame` with the values after `after` moved by about a ten-millionth of themselves, each by
    its own share.
    """
    changed, names = _copy_as_float64(frame)
    is_later = (changed["ds"] > after).to_numpy()
    n_later = int(is_later.sum())
    rng = np.random.default_rng(0)
    size = rng.uniform(0.5, 1.0, (n_later, len(names)))
    sign = rng.choice([-1.0, 1.0], (n_later, 1))
    later_values = changed.loc[is_later, names].to_numpy()
    changed.loc[is_later, names] = later_values * (1 + NUDGE_SHARE * size * sign)
    return changed


def reverse_order_of_test_errors(cache: Path) -> None:
    """The test forecasts of every finished fit in the folder `cache` moved towards the actuals, so
    far that the order of the fits by test error is reversed: of two of them the other is now the
    better one, for whoever looks at the test block.

    A forecast stays between what it was and the actual, so within any bound that both hold.
    """
    tables = {}
    errors = {}
    for path in sorted(cache.glob("*/forecasts.parquet")):
        tables[path] = pd.read_parquet(path)
        test = tables[path][tables[path]["block"] == "test"]
        errors[path] = float((test["y"] - test["y_hat"]).abs().mean())
    worst_first = sorted(tables, key=errors.__getitem__, reverse=True)
    new_errors = min(errors.values()) * np.linspace(*REVERSED_ERROR_RANGE, len(tables))
    for path, error in zip(worst_first, new_errors, strict=True):
        table = tables[path]
        share = (table["block"] == "test") * (1 - error / (errors[path] or 1.0))
        nearer = table["y_hat"] + share * (table["y"] - table["y_hat"])
        table.assign(y_hat=nearer.fillna(table["y_hat"])).to_parquet(path)


def cut_around_borders(
    frame: pd.DataFrame, dataset: Dataset, ends: dict[str, pd.Timestamp]
) -> pd.DataFrame:
    """The rows around the borders, enough to fit every family: the code paths of a full run at a
    part of its cost.
    """
    if isinstance(dataset.splits, FractionSplits):
        return frame
    steps = max(12 * dataset.lookback, 16 * dataset.season_length, 400) + dataset.horizon
    parts = []
    for _, rows in frame.groupby("unique_id", sort=False):
        times = rows["ds"].to_numpy()
        first = max(0, count_rows_until(times, ends["train"]) - steps)
        last = count_rows_until(times, ends["calibration"]) + steps // 2
        parts.append(rows.iloc[first:last])
    return pd.concat(parts, ignore_index=True)


def block_ends(frame: pd.DataFrame, dataset: Dataset) -> dict[str, pd.Timestamp]:
    """The last moment of each block by the configuration alone, worked out apart from the code that
    is audited.
    """
    names = ("train", "validation", "calibration", "test")
    splits = dataset.splits
    if not isinstance(splits, FractionSplits):
        day_long = pd.Timedelta("1D") - pd.Timedelta(1, "ns")
        return {name: pd.Timestamp(getattr(splits, f"{name}_end")) + day_long for name in names}
    groups = trim_to_observed(frame, dataset).groupby("unique_id", sort=False)["ds"]
    grids = [calendars.grid(dataset.calendar, times.iloc[0], times.iloc[-1]) for _, times in groups]
    steps = np.unique(np.concatenate([grid.to_numpy() for grid in grids]))
    shares = np.cumsum([splits.train, splits.validation, splits.calibration])
    last = [*(max(round(share * len(steps)), 1) - 1 for share in shares), len(steps) - 1]
    return {name: pd.Timestamp(steps[row]) for name, row in zip(names, last, strict=True)}


def count_rows_until(times: np.ndarray, moment: pd.Timestamp) -> int:
    """How many of the rising `times` are not after `moment`."""
    return int((times <= moment.to_datetime64()).sum())


def times_known(calendar: Calendar, times: Any) -> pd.DatetimeIndex:
    """When each step may be known (UTC), by the calendar's definition and apart from the code that
    is audited.
    """
    steps = pd.DatetimeIndex(times)
    if isinstance(calendar, RegularCalendar):
        return steps + pd.tseries.frequencies.to_offset(calendar.freq)
    ends = steps + pd.Timedelta(1, "D")
    if isinstance(calendar, WeekdayCalendar) or not len(steps):
        return ends
    if isinstance(calendar, YearWeekCalendar):
        new_years = pd.to_datetime({"year": steps.year + 1, "month": 1, "day": 1})
        is_last = steps.day_of_year > 7 * (calendar.weeks - 1)
        return pd.DatetimeIndex(np.where(is_last, new_years, steps + pd.Timedelta(7, "D")))
    import exchange_calendars

    with warnings.catch_warnings():
        # of exchange_calendars with pandas 3
        warnings.simplefilter("ignore", category=DeprecationWarning)
        kind = type(exchange_calendars.get_calendar(calendar.exchange))
        first = steps.min().normalize() - pd.Timedelta("7D")
        first = max(first, kind.bound_min() or first)
        last = steps.max().normalize() + pd.Timedelta("7D")
        last = min(last, kind.bound_max() or last)
        closes = exchange_calendars.get_calendar(calendar.exchange, start=first, end=last).closes
    closing_times = closes.dt.tz_localize(None).reindex(steps).to_numpy()
    return pd.DatetimeIndex(np.where(np.isnat(closing_times), ends.to_numpy(), closing_times))


def _change_later_rows(
    frame: pd.DataFrame, after: pd.Timestamp, change: Callable[[pd.DataFrame], Any]
) -> pd.DataFrame:
    """`frame` with `change` of the values after `after`, series by series."""
    changed, names = _copy_as_float64(frame)
    for _, rows in changed[changed["ds"] > after].groupby("unique_id", sort=False):
        changed.loc[rows.index, names] = change(rows[names])
    return changed


def _copy_as_float64(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """A copy whose values are float64, with a plain index; and the names of their columns."""
    names = frame.columns.drop(list(KEY_COLUMNS)).to_list()
    return frame.reset_index(drop=True).astype(dict.fromkeys(names, np.float64)), names
