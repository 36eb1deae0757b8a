"""Prediction intervals of one dataset: margins from the calibration block, scored on the test
block, and the bands.

The interval stands around a candidate's ensemble, the mean of its seeds' forecasts. Its margin is
conformal (`forecaster.intervals`), one per series and horizon step, so errors of different series
are never pooled. Scored are the intervals that a served model has.

Errors are taken in the units the target is modelled in: those of a price with `transform: log` are
ratios, so a series that has doubled has intervals twice as wide.

Series whose blocks have equal shapes stand side by side in one array (`Stack`): one array operation
then serves thousands of them, and each keeps its own margins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison.metrics import coverage_by_step
from forecast.comparison.scores import Cube, Scored
from forecast.config.experiment import NAIVE
from forecast.config.task import Task, TaskColumn
from forecast.data.comparison_records import CandidateLabel, RefusedLevel
from forecast.data.records import RunRecord
from forecast.forecaster.intervals import (
    RAW,
    SCALES,
    Scale,
    SplitConformal,
    rank_of,
    root_mean,
    scores_of,
    widths,
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
"""One row per step and one, step 0, for all of them pooled.

`n_calibration` and `n` count actuals of the calibration and the test block (pooled: the fewest of
any step, and all); `low` and `high` bound what the level allows for the coverage; `width` (mean
over the origins) and `winkler` are in the series' unit.
"""
BAND_COLUMNS = ("model", "ranking", "series", "level", "cutoff", "step", "lower", "upper")
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of the reliability diagram: how often the intervals of each level hold."""
SHOWN = (NAIVE, "seasonal_naive", "ridge")
Columns = dict[str, np.ndarray]  # each (S, rows of a series)
AT_ONCE = 200
"""Series of one stack at the most: its arrays hold every level, origin and step of each."""


@dataclass(frozen=True)
class Refusal:
    """A level that the calibration block of one series cannot support for one candidate, and
    why.
    """

    model: str
    ranking: str
    series: str
    level: float
    reason: str


@dataclass(frozen=True)
class Blocks:
    """One candidate's cubes of the calibration block and of the origins to cover.

    `transforms`: by series, that of the target.
    """

    record: RunRecord
    calibration: Sequence[Cube]
    test: Sequence[Cube]
    lookback: int
    transforms: Mapping[str, str]

    @property
    def about(self) -> dict[str, str]:
        return self.record.labels

    def pairs(self) -> list[tuple[Cube | None, Cube, Scale]]:
        """Of every series that has origins to cover."""
        known = {cube.series: cube for cube in self.calibration}
        return [
            (known.get(c.series), c, SCALES.get(self.transforms.get(c.series, ""), RAW))
            for c in self.test
        ]


@dataclass(frozen=True)
class Stack:
    """Series side by side whose blocks have equal shapes and support the same levels.

    `places`: their numbers among the candidate's. `held`, `shown`: actuals and ensemble forecasts
    (n, S * H) of the calibration block and of the origins to cover, in the units errors are taken
    in, with the width at each origin; `y` (S, n, H) in raw ones.
    """

    places: list[int]
    levels: tuple[float, ...]
    held: tuple[np.ndarray, np.ndarray, np.ndarray]
    shown: tuple[np.ndarray, np.ndarray, np.ndarray]
    y: np.ndarray
    back: Callable[[np.ndarray], np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        """(S, H): the calibration errors of each step."""
        return np.isfinite(self.held[0]).sum(axis=0).reshape(len(self.places), -1)

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of the intervals (L, S, n, H), in raw units."""
        series, _, horizon = self.y.shape
        fitted = SplitConformal.fit(*self.held[:2], widths=self.held[2], horizon=horizon)
        pairs = [
            fitted.interval(level, self.shown[1], widths=self.shown[2]) for level in self.levels
        ]
        lower, upper = (np.stack(ends) for ends in zip(*pairs, strict=True))
        apart = (*lower.shape[:2], series, horizon)
        return np.moveaxis(self.back(lower).reshape(apart), 2, 1), np.moveaxis(
            self.back(upper).reshape(apart), 2, 1
        )


def stacks(blocks: Blocks, levels: Sequence[float]) -> tuple[list[Stack], list[Refusal]]:
    """The series of one candidate by shape, transform and the levels their calibration supports;
    what is refused.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    refused = []
    pairs = blocks.pairs()
    for place, (calibration, cube, scale) in enumerate(pairs):
        reasons = {level: _refusal(calibration, level) for level in levels}
        about = {**blocks.about, "series": cube.series}
        refused += [
            Refusal(**about, level=level, reason=why) for level, why in reasons.items() if why
        ]
        kept = tuple(level for level, why in reasons.items() if not why)
        if calibration is not None and kept:
            groups.setdefault(
                (kept, scale, calibration.y.shape, cube.y.shape, place // AT_ONCE), []
            ).append(place)
    return [
        _stack(blocks, pairs, places, key[0], key[1]) for key, places in groups.items()
    ], refused


def _stack(
    blocks: Blocks,
    pairs: list[tuple[Cube | None, Cube, Scale]],
    places: list[int],
    levels: Any,
    scale: Scale,
) -> Stack:
    to, back = scale
    own = [pairs[place] for place in places]
    known, seen = [c for c, _, _ in own if c is not None], [c for _, c, _ in own]
    typical = root_mean(np.stack([cube.volatility**2 for cube in known], axis=1))

    def side_by_side(cubes: list[Cube]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = widths(
            np.stack([cube.volatility for cube in cubes], axis=1), typical, blocks.lookback
        )
        y, y_hat = (
            to(np.hstack(parts)) for parts in ([c.y for c in cubes], [c.ensemble for c in cubes])
        )
        return y, y_hat, np.repeat(own, cubes[0].y.shape[1], axis=1)

    held, shown = side_by_side(known), side_by_side(seen)
    return Stack(places, levels, held, shown, np.stack([cube.y for cube in seen]), back)


def _refusal(calibration: Cube | None, level: float) -> str:
    """Why the calibration block of one series supports no interval of `level`; empty when it
    does.
    """
    try:
        if calibration is not None:
            scores_of(calibration.y, calibration.ensemble)
        rank_of(
            0 if calibration is None else int(np.isfinite(calibration.y).sum(axis=0).min()), level
        )
    except InputError as error:
        return str(error)
    return ""


def interval_scores(blocks: Blocks, levels: Sequence[float]) -> tuple[pd.DataFrame, list[Refusal]]:
    """The rows of one candidate (INTERVAL_COLUMNS), and the levels refused instead of invented.

    A series without calibration origins has every level refused; one without test origins has no
    row.
    """
    found, refused = stacks(blocks, levels)
    return _in_order(
        [(stack.places, _scored(stack)) for stack in found], blocks, INTERVAL_COLUMNS
    ), refused


def _scored(stack: Stack) -> Columns:
    """By level and step."""
    low, high = stack.ends()
    shape = (len(stack.places), len(stack.levels), stack.y.shape[2] + 1)
    tables = [
        coverage_by_step(stack.y, low[k], high[k], level=level)
        for k, level in enumerate(stack.levels)
    ]
    columns = {name: np.stack([table[name] for table in tables], axis=1) for name in tables[0]}
    sizes = np.concatenate([stack.sizes.min(axis=1, keepdims=True), stack.sizes], axis=1)
    labels = {"level": np.array(stack.levels)[None, :, None], "n_calibration": sizes[:, None]}
    return {
        name: np.broadcast_to(values, shape).reshape(shape[0], -1)
        for name, values in (columns | labels).items()
    }


def _in_order(
    parts: list[tuple[list[int], Columns]], blocks: Blocks, names: Sequence[str]
) -> pd.DataFrame:
    """The columns of every stack as one frame, the series in the candidate's order."""
    if not parts:
        return pd.DataFrame(columns=list(names))
    series = np.array([cube.series for cube in blocks.test], dtype=object)
    places = np.concatenate([np.repeat(own, next(iter(c.values())).shape[1]) for own, c in parts])
    order = np.argsort(places, kind="stable") if len(parts) > 1 else slice(None)
    joined = {
        name: np.concatenate([columns[name].ravel() for _, columns in parts])[order]
        for name in parts[0][1]
    }
    return pd.DataFrame({**joined, "series": series[places[order]]}).assign(**blocks.about)[
        list(names)
    ]


def bands(blocks: Blocks, levels: Sequence[float]) -> pd.DataFrame:
    """The intervals themselves (BAND_COLUMNS), one row per origin and step."""
    parts = []
    for stack in stacks(blocks, levels)[0]:
        lower, upper = (np.moveaxis(end, 0, 1) for end in stack.ends())
        moments = np.stack([blocks.test[place].cutoffs for place in stack.places])
        found = {
            "level": np.array(stack.levels)[:, None, None],
            "cutoff": moments[:, None, :, None],
            "step": np.arange(1, stack.y.shape[2] + 1),
            "lower": lower,
            "upper": upper,
        }
        shape = lower.shape
        parts.append(
            (
                stack.places,
                {k: np.broadcast_to(v, shape).reshape(shape[0], -1) for k, v in found.items()},
            )
        )
    return _in_order(parts, blocks, BAND_COLUMNS)


def group_refusals(refused: Iterable[Refusal]) -> list[RefusedLevel]:
    """One entry per series, level and reason, with the candidates it holds for."""
    groups: dict[tuple[str, float, str], list[CandidateLabel]] = {}
    for refusal in refused:
        candidates = groups.setdefault((refusal.series, refusal.level, refusal.reason), [])
        candidates.append(CandidateLabel(model=refusal.model, ranking=refusal.ranking))
    return [
        RefusedLevel(series=series, level=level, reason=reason, candidates=tuple(candidates))
        for (series, level, reason), candidates in groups.items()
    ]


@dataclass(frozen=True)
class IntervalTables:
    """`intervals`: their scores (`INTERVAL_COLUMNS`); `reliability`: over `GRID`, all steps
    pooled, of the chosen models and the references; `bands`: those of the chosen models on test.
    """

    intervals: pd.DataFrame
    reliability: pd.DataFrame
    bands: pd.DataFrame
    refused: list[RefusedLevel]


def interval_tables(
    scored: list[Scored],
    last: Mapping[str, pd.Series],
    task: Task,
    levels: Sequence[float],
    chosen: Mapping[str, str],
) -> IntervalTables:
    """`last`: actuals by series and time; `chosen`: the model chosen on validation, by ranking."""
    usable = [candidate for candidate in scored if candidate.blocks]
    best = [candidate for candidate in usable if is_chosen(candidate, chosen)]
    found = [interval_scores(_blocks(c, last, task), levels) for c in usable]
    drawn = [*best, *(c for c in usable if c.name in SHOWN and c not in best)]
    reliability = _joined(
        [interval_scores(_blocks(c, last, task), GRID)[0].query("step == 0") for c in drawn]
    )
    return IntervalTables(
        intervals=_joined([table for table, _ in found]),
        reliability=reliability.drop(columns=["step", "winkler"], errors="ignore"),
        bands=_joined([bands(_blocks(c, last, task), levels) for c in best]),
        refused=group_refusals(refusal for _, refused in found for refusal in refused),
    )


def is_chosen(candidate: Scored, chosen: Mapping[str, str]) -> bool:
    """A baseline is chosen in whichever ranking it leads."""
    record = candidate.record
    if record.ranking == "baseline":
        return record.model in chosen.values()
    return chosen.get(record.ranking) == record.model


def _blocks(candidate: Scored, last: Mapping[str, pd.Series], task: Task) -> Blocks:
    transforms = {name: target_of(name, task).transform for name in last}
    held, shown = candidate.blocks["calibration"], candidate.blocks["test"]
    return Blocks(candidate.record, held, shown, task.lookback, transforms)


def target_of(series: str, task: Task) -> TaskColumn:
    """The target that `series` (named by `panel.with_series`) is."""
    return next(
        (column for column in task.target if series.rpartition("/")[2] == column.name),
        task.target[0],
    )


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Empty tables left out, unless there is nothing else: their columns have no type."""
    filled = [part for part in parts if not part.empty] or parts[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
