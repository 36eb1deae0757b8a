"""Time is cut before anything is fitted: train | validation | calibration | test, by date.

An origin (elsewhere: cutoff) is the last row that a forecast knows; that of a block's first target
lies in the row before the block. History may cross a block's start backwards, targets never cross
its end forwards: an origin belongs to a block when all its `horizon` targets lie inside it. So the
last `horizon` rows before a border carry no origin of the block they end (the embargo), and no two
blocks share a target.

`Borders` are the ends of the blocks, by date or by share (`resolve_borders`), `Blocks` the row
ranges of one series (`split_series`), `origins_of` the cutoffs of a block. All series are cut at
the same moments, so no fit has seen a day after a cutoff that it forecasts. Series that lack a
block are named by `borders_of`: stage `prepare` leaves them out of what is scored, and
`backtest.all_rows` fits them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd

from forecast.config.datasets import AnySplits, Dataset, Splits
from forecast.config.task import Task
from forecast.data.calendars import grids
from forecast.data.panel import Panel, Series
from forecast.data.quality import Violation
from forecast.system.errors import InputError

BLOCKS = ("train", "validation", "calibration", "test")
REQUIRED_BLOCKS = ("train", "validation", "test")
"""The blocks that no dataset goes without; without that of calibration there are no intervals."""
MIN_CALIBRATION_CUTOFFS = 4
"""The fewest cutoffs of a calibration block that give an interval of 80 %."""
FIRST_ROW = np.datetime64(1, "m")
"""Row 1: rows that a series numbers by itself begin with it or with row 0."""
TESTED_HORIZONS = 8
"""Separate horizons of a test block, where the rows allow: over five a test finds half as much
(docs/research/paired-tests.md).
"""


@dataclass(frozen=True)
class Blocks:
    """Row ranges [start, stop) of one series, in time order and without a gap."""

    train: tuple[int, int]
    validation: tuple[int, int]
    calibration: tuple[int, int]
    test: tuple[int, int]

    def range(self, block: str) -> tuple[int, int]:
        """Rows [start, stop) of the block of this name."""
        rows: tuple[int, int] = getattr(self, block)
        return rows

    def with_validation_in_train(self) -> Blocks:
        """The validation rows joined to the train rows."""
        end = self.validation[1]
        return replace(self, train=(self.train[0], end), validation=(end, end))


class BordersFile(TypedDict):
    """What borders.json holds: the end of each block (ISO 8601), and those of single series."""

    train_end: str
    validation_end: str
    calibration_end: str
    test_end: str
    by_series: NotRequired[dict[str, BordersFile]]


@dataclass(frozen=True)
class Borders:
    """The moment each block ends (included), resolved once from the configured dates or shares.

    by_series: those of each series whose rows are numbered by itself (`resolve_borders`).
    """

    train_end: pd.Timestamp
    validation_end: pd.Timestamp
    calibration_end: pd.Timestamp
    test_end: pd.Timestamp
    by_series: Mapping[str, Borders] = field(default_factory=dict, kw_only=True)

    @property
    def ends(self) -> dict[str, pd.Timestamp]:
        """The last moment of each block, by the name of its field."""
        return {f"{block}_end": getattr(self, f"{block}_end") for block in BLOCKS}

    def of_series(self, unique_id: str) -> Borders:
        """The borders of one series."""
        return self.by_series.get(unique_id, self)

    def with_test_block(self, panel: Panel, n_steps: int) -> Borders:
        """The test block begins `n_steps` before the end of `panel`, or of each numbered series."""

        def move(borders: Borders, steps: np.ndarray) -> Borders:
            last = pd.Timestamp(steps[max(len(steps) - n_steps - 1, 0)])
            return replace(borders, calibration_end=last)

        by_series = {
            uid: move(borders, panel.by_id[uid].ds) for uid, borders in self.by_series.items()
        }
        return replace(move(self, panel.steps), by_series=by_series)

    def to_json(self) -> BordersFile:
        """ISO 8601 times, and under `by_series` those of each series that has its own."""
        content: BordersFile = {
            "train_end": self.train_end.isoformat(),
            "validation_end": self.validation_end.isoformat(),
            "calibration_end": self.calibration_end.isoformat(),
            "test_end": self.test_end.isoformat(),
        }
        if self.by_series:
            content["by_series"] = {uid: b.to_json() for uid, b in self.by_series.items()}
        return content

    @classmethod
    def from_json(cls, content: BordersFile) -> Borders:
        """What `to_json` wrote."""
        by_series = content.get("by_series", {})
        return cls(
            pd.Timestamp(content["train_end"]),
            pd.Timestamp(content["validation_end"]),
            pd.Timestamp(content["calibration_end"]),
            pd.Timestamp(content["test_end"]),
            by_series={uid: cls.from_json(borders) for uid, borders in by_series.items()},
        )


def resolve_borders(panel: Panel, splits: AnySplits, needed: tuple[str, ...] = BLOCKS) -> Borders:
    """The ends of the blocks by the configured dates, each to the end of its day, or by shares.

    Shares are of the time steps of all series from the first step of one of them on. That series is
    chosen for which n_series * sqrt(n_steps) is largest, as a mean over four times as many steps is
    twice as precise; n_series counts the series with an origin in every `needed` block and a train
    block no shorter than validation.

    Rows that every series numbers by itself from 0 or 1 (not years) are no moments that series
    share: where such series differ in length, each has borders of its own (`Borders.by_series`),
    counted from its end.
    """
    if isinstance(splits, Splits):
        return _borders_by_date(splits)
    task = panel.task
    steps = panel.steps
    firsts = np.searchsorted(steps, [series.ds[0] for series in panel.series])
    n_after = len(steps) - 1 - np.searchsorted(steps, [series.ds[-1] for series in panel.series])
    is_numbered = task.calendar.counts_rows and steps[0] <= FIRST_ROW and not task.hierarchy
    is_numbered_apart = is_numbered and not firsts.any() and n_after.any()
    if is_numbered_apart:
        firsts, n_after = n_after, firsts
    least = np.array([task.horizon if block in needed else 0 for block in BLOCKS])
    least[0] += task.lookback
    shares = np.cumsum([splits.train, splits.validation, splits.calibration])
    most = -1.0
    for first in np.unique(firsts).tolist():
        n_steps = len(steps) - first
        stops = first + np.rint(shares * n_steps).astype(int)
        ends = np.array([0, *stops, len(steps)])
        sizes = np.diff(np.clip(ends, firsts[:, None], len(steps) - n_after[:, None]))
        fitted_sizes = sizes[sizes[:, 0] >= sizes[:, 1]]
        weight = (fitted_sizes >= least).all(axis=1).sum() * n_steps**0.5
        if weight > most:
            most = weight
            chosen = stops
    borders = _borders_at(chosen, steps)
    if not is_numbered_apart:
        return borders
    by_series = {
        series.unique_id: _borders_at(chosen - n_before, series.ds)
        for series, n_before in zip(panel.series, firsts, strict=True)
    }
    return replace(borders, by_series=by_series)


def _borders_by_date(splits: Splits) -> Borders:
    days = (splits.train_end, splits.validation_end, splits.calibration_end, splits.test_end)
    return Borders(
        *(pd.Timestamp(day) + pd.Timedelta(days=1) - pd.Timedelta(1, "ns") for day in days)
    )


def _borders_at(stops: np.ndarray, steps: np.ndarray) -> Borders:
    """The ends of blocks that stop before the rows `stops`, the last one with the last step."""
    return Borders(*map(pd.Timestamp, steps[[*np.maximum(stops - 1, 0), -1]]))


def train_steps(horizon: int, season: int) -> int:
    """The steps that a short series keeps to fit on: half a season of windows, each of a season (or
    two steps) and a horizon.
    """
    return max(3 * season // 2, 2) + horizon


def longest_horizon(n_steps: int, season: int) -> int:
    """The longest horizon for which a series of `n_steps` has a cutoff in every block, and enough
    of them for intervals of 80 %; at least a twentieth of its steps.
    """
    n_free = n_steps - train_steps(0, season) - (MIN_CALIBRATION_CUTOFFS - 1)
    return max(n_free // 4, n_steps // 20, 1)


def most_test_steps(n_steps: int, horizon: int, season: int) -> int:
    """The most steps of the test block: a quarter; fewer, down to a horizon, where too few are left
    to fit on.
    """
    n_held_out = 2 * horizon + MIN_CALIBRATION_CUTOFFS - 1
    n_free = n_steps - train_steps(horizon, season) - n_held_out
    return max(min(n_steps // 4, n_free), horizon)


def held_out_steps(n_rest: int, horizon: int, season: int) -> tuple[int, int]:
    """The steps of validation and of calibration, of the `n_rest` before the test block: at most a
    quarter each, or a horizon up to a third.

    Where too few are left to fit on, or to calibrate an interval of 80 %, validation has a horizon,
    and calibration what remains; or what that interval takes, if a season and a horizon are left to
    fit on; or a single step, without an origin.
    """
    most = max(n_rest // 4, min(horizon, n_rest // 3))
    validation = min(max(3 * n_rest // 20, 2 * horizon), most)
    calibration = min(max(n_rest // 10, horizon + 38), most)
    n_free = n_rest - train_steps(horizon, season)
    n_of_80 = horizon + MIN_CALIBRATION_CUTOFFS - 1
    if validation + calibration > n_free or calibration < n_of_80:
        validation = min(validation, horizon)
        calibration = min(horizon + 38, max(most, n_of_80), n_free - validation)
        if calibration < n_of_80:
            calibration = n_of_80 if n_rest - validation - n_of_80 >= season + horizon else 1
    return validation, calibration


def split_series(series: Series, borders: Borders) -> Blocks:
    """The blocks of one series; rows after the test block's end belong to none."""
    ends = pd.DatetimeIndex(list(borders.of_series(series.unique_id).ends.values()))
    stops = np.searchsorted(series.ds, ends.as_unit("ns").to_numpy(), side="right")
    return Blocks(*itertools.pairwise([0, *stops.tolist()]))


def origins(
    blocks: Blocks, block: str, *, horizon: int, lookback: int, step_size: int = 1
) -> np.ndarray:
    """Rows t (the last observed row) whose targets t+1 … t+horizon lie inside `block`, every
    `step_size` rows.

    The grid starts at the row before the block, so it is the same for every model. In the train
    block the first origin is the first with a full lookback.
    """
    start, stop = blocks.range(block)
    rows = np.arange(start - 1, stop - horizon, step_size)
    return rows[rows >= lookback - 1]


def origins_of(task: Task, blocks: Blocks, block: str) -> np.ndarray:
    """The origins of one block of one series: every row in train, the task's step sizes
    elsewhere.
    """
    step_size = task.step_size_in(block)
    return origins(blocks, block, horizon=task.horizon, lookback=task.lookback, step_size=step_size)


def find_too_short(
    panel: Panel, borders: Borders, needed: tuple[str, ...] = BLOCKS
) -> list[Violation]:
    """The series without an origin in a `needed` block, each with the first such block, as
    findings: they are not scored, and one without a lookback and a horizon is not fitted either.
    """
    task = panel.task
    faults = []
    for series in panel.series:
        blocks = split_series(series, borders)
        n_steps = len(series)
        for block in needed:
            if not origins_of(task, blocks, block).size:
                start, stop = blocks.range(block)
                n_needed = task.horizon + (task.lookback if block == "train" else 0)
                sentence = (
                    f"its {block} block has {stop - start} of {n_steps} steps, needs {n_needed}"
                )
                action = "not scored" if n_steps >= task.rows_per_origin else "left out"
                fault = Violation("length", series.unique_id, "", n_steps, sentence, action)
                faults.append(fault)
                break
    return faults


def split_panel(
    panel: Panel, borders: Borders, needed: tuple[str, ...] = BLOCKS
) -> dict[str, Blocks]:
    """The blocks of every series; `InputError` naming the first series too short for a `needed`
    block.
    """
    for fault in find_too_short(panel, borders, needed):
        raise _too_short_error(panel, fault)
    return {series.unique_id: split_series(series, borders) for series in panel.series}


def borders_of(frame: pd.DataFrame, name: str, dataset: Dataset) -> tuple[Borders, list[Violation]]:
    """Where the blocks of a prepared frame end, and the series that are too short for one of them.

    `InputError` naming the longest of these where all series are too short, or where they belong to
    a hierarchy, whose sums need every series.
    """
    panel = panel_of_times(frame, name, dataset.task)
    borders, faults = find_borders(panel, dataset.splits)
    if len(faults) == len(panel.series) or (faults and dataset.task.hierarchy):
        raise _too_short_error(panel, max(faults, key=attrgetter("count")))
    return borders, faults


def panel_of_times(frame: pd.DataFrame, name: str, task: Task) -> Panel:
    """The steps of every series of a frame without values: times alone decide where blocks end."""
    spans = frame.groupby("unique_id", sort=True)["ds"].agg(["first", "last"])
    every_grid = grids(task.calendar, spans["first"].to_numpy(), spans["last"].to_numpy())
    nothing = np.empty((0, 0))
    every_series = [
        Series(str(uid), steps, nothing, nothing)
        for uid, steps in zip(spans.index, every_grid, strict=True)
    ]
    return Panel(name, task, tuple(every_series))


def find_borders(panel: Panel, splits: AnySplits) -> tuple[Borders, list[Violation]]:
    """Where the blocks end, and the series that are too short for one of them, which may be all.
    Where no series has an origin in all blocks, that of calibration is not asked for.
    """
    for needed in (BLOCKS, REQUIRED_BLOCKS):
        borders = resolve_borders(panel, splits, needed)
        faults = find_too_short(panel, borders, needed)
        if len(faults) < len(panel.series):
            break
    return borders, faults


def _too_short_error(panel: Panel, fault: Violation) -> InputError:
    """The error about a series whose block has no origin, with what would give it one."""
    return InputError(
        f"Dataset {panel.name!r}, series {fault.series!r}: {fault.sentence} for"
        f" lookback={panel.task.lookback} and horizon={panel.task.horizon}. Shorten `lookback` or"
        " `horizon` where above 1, take more rows, or move the dates under `splits` in"
        " configs/datasets.yaml."
    )
