"""Prediction intervals of one dataset: margins from the calibration block, scored on the test block, and the bands.

The interval stands around a candidate's ensemble, the mean of its seeds' forecasts. Its margin is conformal
(`forecaster.intervals`), one per series and horizon step, so errors of different series are never pooled. Scored are
the intervals that a served model has.

Errors are taken in the units the target is modelled in: those of a price with `transform: log` are ratios, so a series
that has doubled has intervals twice as wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison.interval_stacks import Blocks, Refusal, Stack, stacks
from forecast.comparison.metrics import coverage_by_step
from forecast.comparison.scores import Scored
from forecast.config.experiment import NAIVE
from forecast.config.task import Task, TaskColumn

COLUMNS = (
    "model", "ranking", "series", "level", "step", "n_calibration", "n", "coverage", "low", "high", "inside",
    "width", "winkler",
)  # fmt: skip
"""One row per step and one, step 0, for all of them pooled. `n_calibration` and `n` count actuals of the calibration
and the test block (pooled: the fewest of any step, and all); `low` and `high` bound what the level allows for the
coverage; `width` (mean over the origins) and `winkler` are in the series' unit."""
BANDS = ("model", "ranking", "series", "level", "cutoff", "step", "lower", "upper")
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of the reliability diagram: how often the intervals of each level hold."""
SHOWN = (NAIVE, "seasonal_naive", "ridge")
Table = tuple[pd.DataFrame, list[Refusal]]
Columns = dict[str, np.ndarray]  # each (S, rows of a series)


def interval_scores(blocks: Blocks, levels: Sequence[float]) -> Table:
    """The rows of one candidate (COLUMNS), and the levels refused instead of invented.

    A series without calibration origins has every level refused; one without test origins has no row.
    """
    found, refused = stacks(blocks, levels)
    return _in_order([(stack.places, _scored(stack)) for stack in found], blocks, COLUMNS), refused


def _scored(stack: Stack) -> Columns:
    """By level and step."""
    low, high = stack.ends()
    shape = (len(stack.places), len(stack.levels), stack.y.shape[2] + 1)
    tables = [coverage_by_step(stack.y, low[k], high[k], level=level) for k, level in enumerate(stack.levels)]
    columns = {name: np.stack([table[name] for table in tables], axis=1) for name in tables[0]}
    sizes = np.concatenate([stack.sizes.min(axis=1, keepdims=True), stack.sizes], axis=1)
    labels = {"level": np.array(stack.levels)[None, :, None], "n_calibration": sizes[:, None]}
    return {name: np.broadcast_to(values, shape).reshape(shape[0], -1) for name, values in (columns | labels).items()}


def _in_order(parts: list[tuple[list[int], Columns]], blocks: Blocks, names: Sequence[str]) -> pd.DataFrame:
    """The columns of every stack as one frame, the series in the candidate's order."""
    if not parts:
        return pd.DataFrame(columns=list(names))
    series = np.array([cube.series for cube in blocks.test], dtype=object)
    places = np.concatenate([np.repeat(own, next(iter(c.values())).shape[1]) for own, c in parts])
    order = np.argsort(places, kind="stable") if len(parts) > 1 else slice(None)
    joined = {name: np.concatenate([columns[name].ravel() for _, columns in parts])[order] for name in parts[0][1]}
    return pd.DataFrame({**joined, "series": series[places[order]]}).assign(**blocks.about)[list(names)]


def bands(blocks: Blocks, levels: Sequence[float]) -> pd.DataFrame:
    """The intervals themselves (BANDS), one row per origin and step."""
    parts = []
    for stack in stacks(blocks, levels)[0]:
        lower, upper = (np.moveaxis(end, 0, 1) for end in stack.ends())
        horizon = stack.y.shape[2]
        moments = np.stack([blocks.test[place].cutoffs for place in stack.places])
        labels = {
            "level": np.array(stack.levels)[None, :, None, None],
            "cutoff": moments[:, None, :, None],
            "step": np.arange(1, horizon + 1)[None, None, None, :],
        }
        columns = {name: np.broadcast_to(values, lower.shape) for name, values in labels.items()}
        columns |= {"lower": lower, "upper": upper}
        parts.append((stack.places, {name: values.reshape(len(values), -1) for name, values in columns.items()}))
    return _in_order(parts, blocks, BANDS)


def grouped(refused: Iterable[Refusal]) -> list[dict[str, Any]]:
    """For verdicts.json: one entry per series, level and reason, with the candidates it holds for."""
    found: dict[tuple[str, float, str], list[dict[str, str]]] = {}
    for refusal in refused:
        candidates = found.setdefault((refusal.series, refusal.level, refusal.reason), [])
        candidates.append({"model": refusal.model, "ranking": refusal.ranking})
    keys = ("series", "level", "reason")
    return [{**dict(zip(keys, key, strict=True)), "candidates": candidates} for key, candidates in found.items()]


@dataclass(frozen=True)
class IntervalTables:
    """`intervals`: their scores (`COLUMNS`); `reliability`: over `GRID`, all steps pooled, of the chosen models and
    the references; `bands`: those of the chosen models on test. `refused` goes into verdicts.json."""

    intervals: pd.DataFrame
    reliability: pd.DataFrame
    bands: pd.DataFrame
    refused: list[dict[str, Any]]


def interval_tables(
    scored: list[Scored], last: Mapping[str, pd.Series], task: Task, levels: Sequence[float], chosen: Mapping[str, str]
) -> IntervalTables:
    """`last`: actuals by series and time; `chosen`: the model chosen on validation, by ranking."""
    usable = [candidate for candidate in scored if candidate.blocks]
    best = [candidate for candidate in usable if is_chosen(candidate, chosen)]
    parts, refused = [], []
    for candidate in usable:
        table, without = interval_scores(_blocks(candidate, last, task), levels)
        parts.append(table)
        refused += without
    drawn = [*best, *(c for c in usable if c.name in SHOWN and c not in best)]
    return IntervalTables(
        intervals=_joined(parts),
        reliability=_joined([_reliability(_blocks(c, last, task)) for c in drawn]),
        bands=_joined([bands(_blocks(c, last, task), levels) for c in best]),
        refused=grouped(refused),
    )


def is_chosen(candidate: Scored, chosen: Mapping[str, str]) -> bool:
    """A baseline is chosen in whichever ranking it leads."""
    record = candidate.record
    if record["ranking"] == "baseline":
        return record["model"] in chosen.values()
    return chosen.get(record["ranking"]) == record["model"]


def _blocks(candidate: Scored, last: Mapping[str, pd.Series], task: Task) -> Blocks:
    transforms = {name: target_of(name, task).transform for name in last}
    held, shown = candidate.blocks["calibration"], candidate.blocks["test"]
    return Blocks(candidate.record, held, shown, task.lookback, transforms)


def target_of(series: str, task: Task) -> TaskColumn:
    """The target that `series` (named by `panel.with_series`) is."""
    return next((column for column in task.target if series.rpartition("/")[2] == column.name), task.target[0])


def _reliability(blocks: Blocks) -> pd.DataFrame:
    table, _ = interval_scores(blocks, GRID)
    return table[table["step"] == 0].drop(columns=["step", "winkler"])


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Empty tables left out, unless there is nothing else: their columns have no type."""
    filled = [part for part in parts if not part.empty] or parts[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
