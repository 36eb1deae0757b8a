"""The blocks of the time axis: train | validation | calibration | test, cut before anything is
fitted.

The cutoff is the last time that a forecast knows; an origin is the row of one series there. It
belongs to a block where all its `horizon` targets are in the block; its lookback may reach back
into earlier blocks. So the last `horizon` rows of a block have no origin of this block (the
embargo), and no target is in two blocks.

`Borders` are the ends of the blocks, by date or by share (`resolve_borders`); `Blocks` the row
ranges of one series (`split_series`); `origins_of` the origins of a block. All series that share
times are cut at the same ones, so that no fit has seen a target later than a cutoff that it
forecasts. `borders_of` also names series that lack a block: they are not scored, and
`backtest.all_rows` fits those of at least a lookback and a horizon.

The train block begins at the first row of a series, and no key of `splits` moves its beginning (a
source that is a web service has `start`): older rows would be left out in `data.preparation`, for
every model alike. Only the family `auto_arima` can do with fewer of the newest rows (`last`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Annotated, NotRequired, TypedDict

import numpy as np
import pandas as pd
from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from forecast.config.datasets import AnySplits, Dataset, Splits
from forecast.config.task import Task
from forecast.data.calendars import grids_by_series
from forecast.data.panel import Panel, Series
from forecast.data.quality import Violation
from forecast.system.errors import InputError

BLOCKS = ("train", "validation", "calibration", "test")
REQUIRED_BLOCKS = ("train", "validation", "test")
"""The blocks that every dataset needs; without calibration there are no intervals."""
MIN_CALIBRATION_CUTOFFS = 4
"""The fewest cutoffs of a calibration block that give an interval of 80 %."""
FIRST_ROW = np.datetime64(1, "m")
"""Row 1 of rows without dates: they are numbered from 0 or from 1."""
TESTED_HORIZONS = 8
"""How many horizons without overlap the test block should have: a test over five detects half as
much (docs/research/paired-tests.md).
"""


Time = Annotated[
    pd.Timestamp, PlainValidator(pd.Timestamp), PlainSerializer(pd.Timestamp.isoformat)
]
"""A time, which is ISO 8601 text in JSON."""


@dataclass(frozen=True)
class Blocks:
    """Row ranges [start, stop) of one series, in time order and without gaps."""

    train: tuple[int, int]
    validation: tuple[int, int]
    calibration: tuple[int, int]
    test: tuple[int, int]

    def range(self, block: str) -> tuple[int, int]:
        """Rows [start, stop) of the block of this name."""
        rows: tuple[int, int] = getattr(self, block)
        return rows

    def with_validation_in_train(self) -> Blocks:
        """The blocks with the validation rows joined to the train rows."""
        end = self.validation[1]
        return replace(self, train=(self.train[0], end), validation=(end, end))


class BordersFile(TypedDict):
    """The content of borders.json: the end of each block (ISO 8601), and those of single series."""

    train_end: str
    validation_end: str
    calibration_end: str
    test_end: str
    by_series: NotRequired[dict[str, BordersFile]]


@dataclass(frozen=True)
class Borders:
    """The time at which each block ends (inclusive).

    by_series: the borders of each series, where series number their rows themselves
    (`resolve_borders`).
    """

    train_end: Time
    validation_end: Time
    calibration_end: Time
    test_end: Time
    by_series: Mapping[str, Borders] = field(default_factory=dict, kw_only=True)

    @property
    def ends(self) -> dict[str, pd.Timestamp]:
        """The last time of each block, by the name of its field."""
        return {f"{block}_end": getattr(self, f"{block}_end") for block in BLOCKS}

    def of_series(self, unique_id: str) -> Borders:
        """The borders of one series."""
        return self.by_series.get(unique_id, self)

    def with_calibration_end(self, panel: Panel, n_steps: int) -> Borders:
        """The borders with `calibration_end` alone moved to `n_steps` before the last step of
        `panel`, or of each series with borders of its own. Where `test_end` is that last step, the
        test block has `n_steps`.
        """

        def move(borders: Borders, steps: np.ndarray) -> Borders:
            last = pd.Timestamp(steps[max(len(steps) - n_steps - 1, 0)])
            return replace(borders, calibration_end=last)

        by_series = {
            uid: move(borders, panel.by_id[uid].ds) for uid, borders in self.by_series.items()
        }
        return replace(move(self, panel.steps), by_series=by_series)

    def to_json(self) -> BordersFile:
        """ISO 8601 times, and under `by_series` those of each series that has its own."""
        content: BordersFile = _BORDERS.dump_python(self, exclude_defaults=True)
        return content

    @staticmethod
    def from_json(content: BordersFile) -> Borders:
        """The borders that `to_json` wrote."""
        return _BORDERS.validate_python(content)


_BORDERS = TypeAdapter(Borders)


def resolve_borders(panel: Panel, splits: AnySplits, needed: tuple[str, ...] = BLOCKS) -> Borders:
    """The ends of the blocks, from the configured dates (each to the end of its day) or shares.

    Shares are of the steps of all series from the first step of one series on. That series is
    chosen which maximizes n_series * sqrt(n_steps), since the mean over four times as many steps is
    twice as precise; n_series counts the series that have an origin in every `needed` block and a
    train block at least as long as validation.

    Series whose rows are numbered from 0 or 1 share no times. Where they differ in length, each has
    its own borders (`Borders.by_series`), counted from its end.
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
    min_sizes = np.array([task.horizon if block in needed else 0 for block in BLOCKS])
    min_sizes[0] += task.lookback
    shares = np.cumsum([splits.train, splits.validation, splits.calibration])
    best_score = -1.0
    for first in np.unique(firsts).tolist():
        n_steps = len(steps) - first
        stops = first + np.rint(shares * n_steps).astype(int)
        ends = np.array([0, *stops, len(steps)])
        sizes = np.diff(np.clip(ends, firsts[:, None], len(steps) - n_after[:, None]))
        fitted_sizes = sizes[sizes[:, 0] >= sizes[:, 1]]
        score = (fitted_sizes >= min_sizes).all(axis=1).sum() * n_steps**0.5
        if score > best_score:
            best_score = score
            best_stops = stops
    borders = _borders_at(best_stops, steps)
    if not is_numbered_apart:
        return borders
    by_series = {
        series.unique_id: _borders_at(best_stops - n_before, series.ds)
        for series, n_before in zip(panel.series, firsts, strict=True)
    }
    return replace(borders, by_series=by_series)


def _borders_by_date(splits: Splits) -> Borders:
    """The borders at the end of the configured days."""
    days = (splits.train_end, splits.validation_end, splits.calibration_end, splits.test_end)
    last_moment = pd.Timedelta(1, "D") - pd.Timedelta(1, "ns")
    return Borders(*(pd.Timestamp(day) + last_moment for day in days))


def _borders_at(stops: np.ndarray, steps: np.ndarray) -> Borders:
    """The borders of blocks that stop before the rows `stops`; the last block ends with the last
    step.
    """
    return Borders(*map(pd.Timestamp, steps[[*np.maximum(stops - 1, 0), -1]]))


def train_steps(horizon: int, season: int) -> int:
    """The train steps that a short series keeps: half a season of windows, each of a season (or two
    steps) and a horizon.
    """
    return max(3 * season // 2, 2) + horizon


def longest_horizon(n_steps: int, season: int) -> int:
    """The longest horizon for which a series of `n_steps` has a cutoff in every block, and enough
    for intervals of 80 %; at least a twentieth of its steps.
    """
    n_free = n_steps - train_steps(0, season) - (MIN_CALIBRATION_CUTOFFS - 1)
    return max(n_free // 4, n_steps // 20, 1)


def most_test_steps(n_steps: int, horizon: int, season: int) -> int:
    """The most steps of the test block: a quarter of all, or fewer, down to a horizon, where too
    few steps would be left to fit on.
    """
    n_held_out = 2 * horizon + MIN_CALIBRATION_CUTOFFS - 1
    n_free = n_steps - train_steps(horizon, season) - n_held_out
    return max(min(n_steps // 4, n_free), horizon)


def held_out_steps(n_rest: int, horizon: int, season: int) -> tuple[int, int]:
    """The steps of validation and of calibration, from the `n_rest` steps before the test block.
    Each has at most a quarter, or a horizon if that is more, but then at most a third.

    Where too few steps would be left to fit on, or for an interval of 80 %: validation has at most
    one horizon, and calibration what the fit leaves of its steps; or the steps of that interval, if
    a season and a horizon are left to fit on; or a single step, which has no origin.
    """
    most = max(n_rest // 4, min(horizon, n_rest // 3))
    validation = min(max(3 * n_rest // 20, 2 * horizon), most)
    calibration = min(max(n_rest // 10, horizon + 38), most)
    n_free = n_rest - train_steps(horizon, season)
    n_for_80_percent = horizon + MIN_CALIBRATION_CUTOFFS - 1
    if validation + calibration > n_free or calibration < n_for_80_percent:
        validation = min(validation, horizon)
        calibration = min(horizon + 38, max(most, n_for_80_percent), n_free - validation)
        if calibration < n_for_80_percent:
            calibration = (
                n_for_80_percent
                if n_rest - validation - n_for_80_percent >= season + horizon
                else 1
            )
    return validation, calibration


def split_series(series: Series, borders: Borders) -> Blocks:
    """The blocks of one series; rows after the end of the test block are in none."""
    ends = pd.DatetimeIndex(list(borders.of_series(series.unique_id).ends.values()))
    stops = np.searchsorted(series.ds, ends.as_unit("ns").to_numpy(), side="right")
    return Blocks(*itertools.pairwise([0, *stops.tolist()]))


def origins(
    blocks: Blocks, block: str, *, horizon: int, lookback: int, step_size: int = 1
) -> np.ndarray:
    """Rows t, every `step_size` rows, whose targets t+1 … t+horizon are inside `block`, with a full
    lookback. Counting starts at the row before the block, so the rows are the same for every model.
    """
    start, stop = blocks.range(block)
    rows = np.arange(start - 1, stop - horizon, step_size)
    return rows[rows >= lookback - 1]


def origins_of(task: Task, blocks: Blocks, block: str) -> np.ndarray:
    """The origins of one block of one series: every row in train, else by the task's step sizes."""
    step_size = task.step_size_in(block)
    return origins(blocks, block, horizon=task.horizon, lookback=task.lookback, step_size=step_size)


def find_too_short(
    panel: Panel, borders: Borders, needed: tuple[str, ...] = BLOCKS
) -> list[Violation]:
    """A finding for each series without an origin in a `needed` block, naming the first such block.
    It is not scored; with fewer rows than a lookback and a horizon it is not fitted either.
    """
    task = panel.task
    findings = []
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
                finding = Violation("length", series.unique_id, "", n_steps, sentence, action)
                findings.append(finding)
                break
    return findings


def split_panel(
    panel: Panel, borders: Borders, needed: tuple[str, ...] = BLOCKS
) -> dict[str, Blocks]:
    """The blocks of every series; `InputError` for the first series too short for a
    `needed` block.
    """
    for fault in find_too_short(panel, borders, needed):
        raise _too_short_error(panel, fault)
    return {series.unique_id: split_series(series, borders) for series in panel.series}


def borders_of(frame: pd.DataFrame, name: str, dataset: Dataset) -> tuple[Borders, list[Violation]]:
    """The borders of a prepared frame, and a finding for each series that is too short for a block.

    `InputError` about the longest of these where all series are too short, or where some are and
    the dataset is a hierarchy, whose sums need every series.
    """
    panel = panel_of_times(frame, name, dataset.task)
    borders, faults = find_borders(panel, dataset.splits)
    if len(faults) == len(panel.series) or (faults and dataset.task.hierarchy):
        raise _too_short_error(panel, max(faults, key=attrgetter("count")))
    return borders, faults


def panel_of_times(frame: pd.DataFrame, name: str, task: Task) -> Panel:
    """A panel of the series' steps without values, which is enough to find the borders."""
    nothing = np.empty((0, 0))
    every_grid = grids_by_series(frame, task.calendar)
    series = [Series(uid, steps, nothing, nothing) for uid, steps in every_grid]
    return Panel(name, task, tuple(series))


def find_borders(panel: Panel, splits: AnySplits) -> tuple[Borders, list[Violation]]:
    """The borders, and a finding for each series that is too short for a block, possibly all. Where
    no series has an origin in every block, the calibration block is not required.
    """
    for needed in (BLOCKS, REQUIRED_BLOCKS):
        borders = resolve_borders(panel, splits, needed)
        faults = find_too_short(panel, borders, needed)
        if len(faults) < len(panel.series):
            break
    return borders, faults


def _too_short_error(panel: Panel, fault: Violation) -> InputError:
    """The error about a series without an origin in a block, with advice."""
    return InputError(
        f"Dataset {panel.name!r}, series {fault.series!r}: {fault.sentence} for"
        f" lookback={panel.task.lookback} and horizon={panel.task.horizon}. Shorten `lookback` or"
        " `horizon` where above 1, take more rows, or move the dates under `splits` in"
        " configs/datasets.yaml."
    )
