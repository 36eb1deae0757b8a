"""Prediction intervals of one dataset: calibrated on the calibration block, scored on the test
block. `interval_tables` makes all tables for `comparing`.

An interval lies around the mean of the seeds' forecasts. Its margin is conformal
(`forecaster.intervals`): for each series and step it is learnt from the newest errors known at the
cutoff. If ten series or more of a target have short calibration blocks, their errors are ranked
together. Errors are taken after the transform of the target: with `transform: log` they are ratios,
so a series that has doubled has intervals twice as wide.

Series whose blocks have equal shapes are computed side by side in one array (`SeriesStack`), each
with its own calibration, since thousands of series one by one would be slow. A level that the
calibration block of a series cannot support has no interval there, but an `Unsupported` with the
reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from forecast.comparison.metrics import coverage_by_step, mae
from forecast.comparison.scores import ForecastCube, ScoredCandidate
from forecast.config.models import NAIVE
from forecast.config.task import Task, TaskColumn
from forecast.data.comparison_records import CandidateLabel, UnsupportedLevel
from forecast.data.panel import target_number
from forecast.data.records import RunRecord
from forecast.forecaster.intervals import (
    BlockErrors,
    Bounds,
    Difficulty,
    SplitConformal,
    absolute_errors,
    put_in_pool,
    require_enough_errors,
    select_pooled,
    usual_error,
)
from forecast.system.errors import InputError

INTERVAL_COLUMNS = (
    "model",
    "ranking",
    "series",
    "level",
    "step",
    "n_calibration",
    "n",
    "coverage",
    "low",
    "high",
    "inside",
    "width",
    "winkler",
)
"""One row per step, and one with step 0 for all steps together.

`n_calibration`: the calibration errors, at step 0 the fewest of any step; of series that rank their
errors together the number of all. `n`: the actuals of the test block. `low` and `high`: the bounds
that the level (in percent) sets for the coverage (a share). `width` and `winkler` (the interval
score): means over the origins, in the unit of the series.
"""
BAND_COLUMNS = ("model", "ranking", "series", "level", "cutoff", "step", "lower", "upper")
RELIABILITY_LEVELS = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)
"""The levels of the reliability diagram, in percent, whatever levels the tables show."""
EVEN_LEVELS = RELIABILITY_LEVELS[:-1]
"""The levels whose ends are evenly spaced quantiles."""
CRPS_COLUMNS = ("model", "ranking", "series", "crps", "scaled_crps")
"""One row per series: the CRPS in its unit, and divided by the denominator of MASE."""
SHOWN_REFERENCES = (NAIVE, "seasonal_naive", "ridge")
MAX_STACKED_SERIES = 200
"""Most series of one stack: its arrays hold every level, origin and step of each series."""


class Unsupported(NamedTuple):
    """A level that the calibration block of a series cannot support, and why."""

    series: str
    level: float
    reason: str


@dataclass(frozen=True)
class CandidateBlocks:
    """The forecasts of one candidate that its intervals are made of, a cube per series."""

    record: RunRecord
    calibration: Sequence[ForecastCube]
    test: Sequence[ForecastCube]
    """The forecasts to make intervals for."""
    task: Task
    validation: Sequence[ForecastCube] = ()
    """Used with the calibration block to estimate the usual size of the errors of a series."""

    @cached_property
    def calibration_of(self) -> dict[str, ForecastCube]:
        """The forecasts of the calibration block by series."""
        return {cube.series: cube for cube in self.calibration}

    @cached_property
    def finite_validation(self) -> dict[str, ForecastCube]:
        """The forecasts of the validation block by series, without series that have a forecast
        which is not finite.
        """
        cubes = (cube for cube in self.validation if np.isfinite(cube.seed_mean).all())
        return {cube.series: cube for cube in cubes if len(cube.y)}

    def usual_error(self, series: str) -> float:
        """The mean absolute error of a series, in model units, on the validation and the
        calibration block, without a block that has a forecast which is not finite.
        """
        cubes = (self.finite_validation.get(series), self.calibration_of.get(series))
        known = [
            (cube.y, cube.seed_mean)
            for cube in cubes
            if cube is not None and np.isfinite(cube.seed_mean).all()
        ]
        return usual_error(known, target_of(series, self.task).transform)


@dataclass(frozen=True)
class SeriesStack:
    """S series side by side whose blocks have equal shapes and support the same levels."""

    numbers: list[int]
    """The numbers of these series among those of the candidate."""
    levels: tuple[float, ...]
    """In percent."""
    calibration: SplitConformal
    cubes: list[ForecastCube]
    """The forecasts to make intervals for, one cube per series."""
    y_hat: np.ndarray
    """(n, S * H): these forecasts, side by side."""
    difficulty: Difficulty

    def bounds(self) -> Bounds:
        """Both ends of the intervals, each (L, S, n, H) for L levels, in raw units."""
        coverages = [level / 100 for level in self.levels]
        ends = self.calibration.bounds_in_turn(self.y_hat, self.difficulty, coverages)
        shape = (len(coverages), len(self.y_hat), len(self.cubes), -1)
        low, high = (np.moveaxis(end.reshape(shape), 2, 1) for end in ends)
        return Bounds(low, high)


def stack_series(
    blocks: CandidateBlocks, levels: Sequence[float]
) -> tuple[list[SeriesStack], list[Unsupported]]:
    """The series of one candidate in stacks, each of at most `MAX_STACKED_SERIES` series with equal
    shapes, target and supported levels; and the unsupported levels of each series. A series without
    a supported level is in no stack.
    """
    groups: dict[Any, list[int]] = {}
    unsupported = []
    n_pooled = _count_pooled_errors(blocks)
    for number, cube in enumerate(blocks.test):
        calibration = blocks.calibration_of.get(cube.series)
        faults = _level_faults(calibration, levels, n_pooled.get(cube.series))
        unsupported += [
            Unsupported(cube.series, level, reason) for level, reason in faults.items() if reason
        ]
        supported = tuple(level for level, reason in faults.items() if not reason)
        if calibration is not None and supported:
            target = target_of(cube.series, blocks.task).name
            validation = blocks.finite_validation.get(cube.series)
            shapes = (calibration.y.shape, cube.y.shape, validation and validation.y.shape)
            is_pooled = cube.series in n_pooled
            # pooled series are stacked only with series of the same times
            pooled_times = cube.ds.tobytes() if is_pooled else None
            key = (target, pooled_times, supported, shapes, number // MAX_STACKED_SERIES)
            groups.setdefault(key, []).append(number)
    stacks: list[SeriesStack] = []
    pooled_by_target: dict[str, list[SeriesStack]] = {}
    for (target, pooled_times, supported_levels, *_), numbers in groups.items():
        stack = _stack(numbers, supported_levels, blocks)
        if pooled_times is None:
            stacks.append(stack)
        else:
            pooled_by_target.setdefault(target, []).append(stack)
    for pooled_stacks in pooled_by_target.values():
        stacks += _pool_stacks(pooled_stacks, blocks)
    return stacks, unsupported


def _stack(numbers: list[int], levels: tuple[float, ...], blocks: CandidateBlocks) -> SeriesStack:
    """The stack of the series with these numbers: one target, blocks of equal shapes."""
    cubes = [blocks.test[number] for number in numbers]
    earlier = [blocks.calibration_of[cube.series] for cube in cubes]
    target = target_of(cubes[0].series, blocks.task)
    y, y_hat, difficulty = _put_beside(cubes, blocks.task)
    by_block = {
        "calibration": _put_beside(earlier, blocks.task),
        "test": (y, y_hat, difficulty),
    }
    if cubes[0].series in blocks.finite_validation:
        validation = [blocks.finite_validation[cube.series] for cube in cubes]
        by_block["validation"] = _put_beside(validation, blocks.task)
    conformal = SplitConformal.of_blocks(by_block, blocks.task, target)
    return SeriesStack(numbers, levels, conformal, cubes, y_hat, difficulty)


def _pool_stacks(stacks: list[SeriesStack], blocks: CandidateBlocks) -> list[SeriesStack]:
    """The `stacks` of one target, with margins that are ranked among the errors of all of them."""
    conformals = []
    for stack in stacks:
        sizes = np.array([blocks.usual_error(cube.series) for cube in stack.cubes])
        conformals.append(replace(stack.calibration, usual_errors=sizes))
    pooled = put_in_pool(conformals, are_numbered=blocks.task.calendar.counts_rows)
    return [
        replace(stack, calibration=conformal)
        for stack, conformal in zip(stacks, pooled, strict=True)
    ]


def _count_pooled_errors(blocks: CandidateBlocks) -> dict[str, int]:
    """The number of calibration errors that are ranked together, at the step that has the fewest,
    for each series whose errors are ranked with those of others.
    """
    actuals: dict[str, dict[str, np.ndarray]] = {}
    for cube in blocks.test:
        if cube.series in blocks.calibration_of:
            target = target_of(cube.series, blocks.task).name
            actuals.setdefault(target, {})[cube.series] = blocks.calibration_of[cube.series].y
    pooled: dict[str, int] = {}
    for by_series in actuals.values():
        names = select_pooled(by_series, blocks.usual_error)
        if names:
            together = np.concatenate([by_series[name] for name in names])
            n_errors = np.isfinite(together).sum(axis=0).min()
            pooled |= dict.fromkeys(names, int(n_errors))
    return pooled


def _put_beside(cubes: Sequence[ForecastCube], task: Task) -> BlockErrors:
    """Actuals and forecasts (n, S * H) of S series side by side, and their difficulty."""
    before = np.stack([cube.volatility for cube in cubes], axis=1)
    difficulty = Difficulty.of_targets(before, np.hstack([cube.ds for cube in cubes]), task)
    y = np.hstack([cube.y for cube in cubes])
    return y, np.hstack([cube.seed_mean for cube in cubes]), difficulty


def _level_faults(
    calibration: ForecastCube | None, levels: Sequence[float], n_pooled: int | None
) -> dict[float, str]:
    """By level, in percent, the reason why the calibration block of a series supports no interval;
    an empty text where it does.

    n_pooled: the number of errors if they are ranked with those of other series
    """
    n_errors = 0
    reasons = dict.fromkeys(levels, "")
    try:
        if calibration is not None:
            errors = absolute_errors(calibration.y, calibration.seed_mean)
            n_errors = n_pooled or int(np.isfinite(errors).sum(axis=0).min())
    except InputError as error:
        return dict.fromkeys(levels, str(error))
    for level in levels:
        try:
            require_enough_errors(n_errors, level / 100)
        except InputError as error:
            reasons[level] = str(error)
    return reasons


def interval_scores(
    blocks: CandidateBlocks, levels: Sequence[float]
) -> tuple[pd.DataFrame, list[Unsupported]]:
    """The scores of the intervals of one candidate (INTERVAL_COLUMNS), and the unsupported levels.

    A series without calibration origins supports no level; one without test origins has no row.
    """
    stacks, unsupported = stack_series(blocks, levels)
    parts = [_score_stack(stack) for stack in stacks]
    return _join_stacks(parts, blocks, INTERVAL_COLUMNS), unsupported


def _score_stack(stack: SeriesStack) -> pd.DataFrame:
    """The scores of each series and level: first of step 0, which is all steps together, then of
    each step.
    """
    y = np.stack([cube.y for cube in stack.cubes])
    bounds = stack.bounds()
    tables = [
        coverage_by_step(y, low, high, nominal=level / 100)
        for low, high, level in zip(bounds.low, bounds.high, stack.levels, strict=True)
    ]
    columns = {name: np.stack([table[name] for table in tables], axis=1) for name in tables[0]}
    counts = stack.calibration.counts.reshape(len(y), -1)
    fewest = counts.min(axis=1, keepdims=True)
    columns["n_calibration"] = np.concatenate([fewest, counts], axis=1)[:, None]
    columns["level"] = np.array(stack.levels)[None, :, None]
    return _frame_of_stack(stack, columns, (len(y), len(stack.levels), y.shape[2] + 1))


def _frame_of_stack(
    stack: SeriesStack, columns: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> pd.DataFrame:
    """The columns broadcast to `shape` (S, ...) and flattened, and the `number` of each series."""
    flat = {name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()}
    rows_of_series = math.prod(shape[1:])
    return pd.DataFrame({"number": np.repeat(stack.numbers, rows_of_series), **flat})


def _join_stacks(
    parts: list[pd.DataFrame], blocks: CandidateBlocks, names: Sequence[str]
) -> pd.DataFrame:
    """The columns `names` of all stacks as one frame, with series in the order of the candidate."""
    if not parts:
        return pd.DataFrame(columns=list(names))
    joined = pd.concat(parts).sort_values("number", kind="stable", ignore_index=True)
    series = np.array([cube.series for cube in blocks.test], dtype=object)
    labelled = joined.assign(series=series[joined["number"]], **blocks.record.labels)
    return labelled[list(names)]


def bands(blocks: CandidateBlocks, levels: Sequence[float]) -> pd.DataFrame:
    """The intervals of one candidate (BAND_COLUMNS), one row per level, origin and step."""
    parts = []
    for stack in stack_series(blocks, levels)[0]:
        ends = stack.bounds()
        low = np.moveaxis(ends.low, 0, 1)
        high = np.moveaxis(ends.high, 0, 1)
        cutoffs = np.stack([cube.cutoffs for cube in stack.cubes])
        columns = {
            "level": np.array(stack.levels)[:, None, None],
            "cutoff": cutoffs[:, None, :, None],
            "step": np.arange(1, low.shape[-1] + 1),
            "lower": low,
            "upper": high,
        }
        parts.append(_frame_of_stack(stack, columns, low.shape))
    return _join_stacks(parts, blocks, BAND_COLUMNS)


def group_unsupported(
    candidate_levels: Iterable[tuple[CandidateLabel, Unsupported]],
) -> list[UnsupportedLevel]:
    """One entry per series, level and reason, with the candidates that it is about."""
    candidates: dict[Unsupported, list[CandidateLabel]] = {}
    for candidate, unsupported in candidate_levels:
        candidates.setdefault(unsupported, []).append(candidate)
    return [
        UnsupportedLevel(**unsupported._asdict(), candidates=tuple(labels))
        for unsupported, labels in candidates.items()
    ]


def interval_tables(
    scored: list[ScoredCandidate],
    task: Task,
    levels: Sequence[float],
    chosen: Mapping[str, str],
    scale: Mapping[str, float],
) -> tuple[dict[str, pd.DataFrame], list[UnsupportedLevel]]:
    """The tables about intervals by the names of their files, and the unsupported levels.

        intervals     INTERVAL_COLUMNS, of every candidate
        reliability   the same but for `step` and `winkler`, at RELIABILITY_LEVELS over all steps,
                      of the selected models and the SHOWN_REFERENCES
        crps          CRPS_COLUMNS, of the same models
        bands         BAND_COLUMNS, of the selected models on test

    chosen: the selected model of each ranking
    scale: the denominator of MASE by series
    """
    usable = [candidate for candidate in scored if candidate.blocks]
    selected = [candidate for candidate in usable if is_chosen(candidate, chosen)]
    references = [c for c in usable if c.name in SHOWN_REFERENCES and c not in selected]
    scores = []
    unsupported: list[tuple[CandidateLabel, Unsupported]] = []
    for candidate in usable:
        table, missing = interval_scores(_candidate_blocks(candidate, task), levels)
        scores.append(table)
        label = CandidateLabel(**candidate.record.labels)
        unsupported += [(label, level) for level in missing]
    reliability = []
    crps = []
    for candidate in [*selected, *references]:
        blocks = _candidate_blocks(candidate, task)
        all_steps = interval_scores(blocks, RELIABILITY_LEVELS)[0].query("step == 0")
        reliability.append(all_steps)
        crps.append(crps_by_series(blocks, all_steps, scale))
    diagram = join_filled(reliability).drop(columns=["step", "winkler"], errors="ignore")
    tables = {
        "intervals": join_filled(scores),
        "reliability": diagram,
        "crps": join_filled(crps),
        "bands": join_filled([bands(_candidate_blocks(c, task), levels) for c in selected]),
    }
    return tables, group_unsupported(unsupported)


def crps_by_series(
    blocks: CandidateBlocks, all_steps: pd.DataFrame, scale: Mapping[str, float]
) -> pd.DataFrame:
    """The CRPS of one candidate on test (CRPS_COLUMNS); series that do not support all EVEN_LEVELS
    have no row.

    all_steps: its interval scores at RELIABILITY_LEVELS and step 0
    scale: the denominator of MASE by series

    The ends of the intervals of 10 to 90 % and the forecast are 19 evenly spaced quantiles, and the
    CRPS is twice the mean of their pinball losses (Gneiting & Ranjan 2011). The pinball losses of
    both ends of an interval of coverage p sum to (1 - p) / 2 times its interval score; that of the
    forecast is half its absolute error.
    """
    even = all_steps[all_steps["level"].isin(EVEN_LEVELS)]
    interval_losses = ((1 - even["level"] / 100) * even["winkler"]).to_numpy()
    rows_of_series = even.groupby("series").indices
    rows = []
    for cube in blocks.test:
        rows_of_levels = rows_of_series.get(cube.series, ())
        if len(rows_of_levels) == len(EVEN_LEVELS):
            losses = np.nansum(interval_losses[rows_of_levels]) + mae(cube.y, cube.seed_mean)
            crps = losses / (2 * len(EVEN_LEVELS) + 1)
            rows.append((cube.series, crps, crps / scale[cube.series]))
    table = pd.DataFrame(rows, columns=["series", "crps", "scaled_crps"])
    return table.assign(**blocks.record.labels)[list(CRPS_COLUMNS)]


def is_chosen(candidate: ScoredCandidate, chosen: Mapping[str, str]) -> bool:
    """Whether a candidate is the selected model of its ranking; a baseline, of any ranking."""
    record = candidate.record
    if record.ranking == "baseline":
        return record.model in chosen.values()
    return chosen.get(record.ranking) == record.model


def _candidate_blocks(candidate: ScoredCandidate, task: Task) -> CandidateBlocks:
    """The forecasts of a candidate that its intervals are made of."""
    blocks = candidate.blocks
    return CandidateBlocks(
        candidate.record, blocks["calibration"], blocks["test"], task, blocks.get("validation", ())
    )


def target_of(series: str, task: Task) -> TaskColumn:
    """The target column of `series`, which is named as by `panel.series_name`."""
    return task.target[target_number(series, task.targets)]


def join_filled(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The tables as one, without empty ones, whose columns have no type; empty if all are."""
    filled = [part for part in parts if not part.empty] or parts[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
