"""Prediction intervals of one dataset: margins from the calibration block, scored on the test block, and the bands.

The interval stands around a candidate's ensemble, the mean of its seeds' forecasts. Its margin is conformal
(`forecaster.intervals`), one per series and horizon step, so errors of different series are never pooled. Shown are
the intervals that a served model has: `split` keeps the margin of the calibration block. Beside them `adaptive`, which
moves the margin with every outcome that has become known, is scored: what adapting would be worth.

Errors are taken in the units the target is modelled in: those of a price with `transform: log` are ratios, so a series
that has doubled has intervals twice as wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison.interval_stacks import METHODS, Blocks, Method, Refusal, Stack, stacks
from forecast.comparison.metrics import coverage_by_step
from forecast.comparison.scores import Cube, Scored
from forecast.config.experiment import NAIVE
from forecast.config.task import Task, TaskColumn
from forecast.system import files

COLUMNS = (
    "model", "ranking", "series", "method", "level", "step", "n_calibration", "n", "coverage", "low", "high", "inside",
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


def interval_scores(blocks: Blocks, levels: Sequence[float], methods: Sequence[Method] = METHODS) -> Table:
    """The rows of one candidate (COLUMNS), and the levels refused instead of invented.

    A series without calibration origins has every level refused; one without test origins has no row.
    """
    found, refused = stacks(blocks, levels)
    return _in_order([(stack.places, _scored(stack, methods)) for stack in found], blocks, COLUMNS), refused


def _scored(stack: Stack, methods: Sequence[Method]) -> Columns:
    """By level, method and step."""
    ends = [stack.ends(method) for method in methods]
    shape = (len(stack.places), len(stack.levels), len(methods), stack.y.shape[2] + 1)
    tables = [
        [coverage_by_step(stack.y, low[k], high[k], level=level) for low, high in ends]
        for k, level in enumerate(stack.levels)
    ]
    columns = {name: np.moveaxis(np.array([[t[name] for t in row] for row in tables]), 2, 0) for name in tables[0][0]}
    sizes = np.concatenate([stack.sizes.min(axis=1, keepdims=True), stack.sizes], axis=1)
    labels = {
        "level": np.array(stack.levels)[None, :, None, None],
        "method": np.array(methods, dtype=object)[None, None, :, None],
        "n_calibration": sizes[:, None, None],
    }
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


def rehearsed(candidates: Iterable[Blocks], levels: Sequence[float]) -> dict[str, Any]:
    """`{"method", "reason", "relative_winkler"}`: the method of the intervals shown, always that of a served model,
    and what adapting would be worth.

    The first half of every calibration block sets margins and its second half is covered with them: the ratio of the
    interval scores of the two methods there, averaged over the candidates, series and levels. The step size of
    `candidates` is that of the calibration block; `test` is not read.
    """
    tables = [interval_scores(_halved(blocks), levels)[0] for blocks in candidates]
    table = pd.concat([t for t in tables if not t.empty] or tables)
    pooled = table[table["step"] == 0].pivot(
        index=["model", "ranking", "series", "level"], columns="method", values="winkler"
    )
    ratio = math.nan if pooled.empty else float((pooled["adaptive"] / pooled["split"]).mean())
    reason = (
        "They are those of a served model. Set on the first half of the calibration block and judged on the second, "
        f"adaptive intervals, which are not served, have {ratio:.3f} times their interval score."
    )
    if pooled.empty:
        reason = "Half of the calibration block supports no level, so no method could be tried: margins are kept."
    elif not math.isfinite(ratio):
        reason = "Intervals without width or error have no ratio of scores: no method is better, margins are kept."
    return {"method": "split", "reason": reason, "relative_winkler": files.json_number(ratio)}


def _halved(blocks: Blocks) -> Blocks:
    """The calibration block alone: margins from its first half, as far as known when its second begins."""
    first, second = [], []
    for cube in blocks.calibration:
        n, horizon = cube.y.shape
        known = max(n // 2 - (math.ceil(horizon / blocks.step_size) - 1), 0)
        first.append(_origins(cube, slice(0, known)))
        second.append(_origins(cube, slice(n // 2, n)))
    return replace(blocks, calibration=first, test=second)


def _origins(cube: Cube, part: slice) -> Cube:
    return replace(cube, y=cube.y[part], y_hat=cube.y_hat[:, part], last=cube.last[part], cutoffs=cube.cutoffs[part])


def bands(blocks: Blocks, levels: Sequence[float], method: Method) -> pd.DataFrame:
    """The intervals themselves (BANDS), one row per origin and step."""
    parts = []
    for stack in stacks(blocks, levels)[0]:
        lower, upper = (np.moveaxis(end, 0, 1) for end in stack.ends(method))
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
    """`methods`: every method's scores (`COLUMNS`); `intervals`: those of the method that is shown.

    `reliability`: both methods over `GRID`, all steps pooled, of the chosen models and the references; `bands`: the
    shown intervals of the chosen models on test. `decision` and `refused` go into verdicts.json.
    """

    intervals: pd.DataFrame
    methods: pd.DataFrame
    reliability: pd.DataFrame
    bands: pd.DataFrame
    decision: dict[str, Any]
    refused: list[dict[str, Any]]


def interval_tables(
    scored: list[Scored], last: Mapping[str, pd.Series], task: Task, levels: Sequence[float], chosen: Mapping[str, str]
) -> IntervalTables:
    """`last`: actuals by series and time; `chosen`: the model chosen on validation, by ranking."""
    usable = [candidate for candidate in scored if candidate.blocks]
    best = [candidate for candidate in usable if is_chosen(candidate, chosen)]
    judges = [*best, *(candidate for candidate in usable if candidate.name == NAIVE and candidate not in best)]
    step_size = task.step_size_in("calibration")
    decision = rehearsed([_blocks(c, last, task, step_size) for c in judges], levels)
    method: Method = decision["method"]
    parts, refused = [], []
    for candidate in usable:
        table, without = interval_scores(_blocks(candidate, last, task, task.step_size), levels)
        parts.append(table)
        refused += without
    methods = _joined(parts)
    drawn = [*best, *(c for c in usable if c.name in SHOWN and c not in best)]
    return IntervalTables(
        intervals=methods[methods["method"] == method],
        methods=methods,
        reliability=_joined([_reliability(_blocks(c, last, task, task.step_size)) for c in drawn]),
        bands=_joined([bands(_blocks(c, last, task, task.step_size), levels, method) for c in best]),
        decision=decision,
        refused=grouped(refused),
    )


def is_chosen(candidate: Scored, chosen: Mapping[str, str]) -> bool:
    """A baseline is chosen in whichever ranking it leads."""
    record = candidate.record
    if record["ranking"] == "baseline":
        return record["model"] in chosen.values()
    return chosen.get(record["ranking"]) == record["model"]


def _blocks(candidate: Scored, last: Mapping[str, pd.Series], task: Task, step_size: int) -> Blocks:
    transforms = {name: target_of(name, task).transform for name in last}
    spacing = step_size / task.step_size_in("calibration")
    held, shown = candidate.blocks["calibration"], candidate.blocks["test"]
    return Blocks(candidate.record, held, shown, step_size, transforms, spacing)


def target_of(series: str, task: Task) -> TaskColumn:
    """The target that `series` (named by `panel.with_series`) is."""
    return next((column for column in task.target if series.rpartition("/")[2] == column.name), task.target[0])


def _reliability(blocks: Blocks) -> pd.DataFrame:
    table, _ = interval_scores(blocks, GRID, METHODS)
    return table[table["step"] == 0].drop(columns=["step", "winkler"])


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Empty tables left out, unless there is nothing else: their columns have no type."""
    filled = [part for part in parts if not part.empty] or parts[:1]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
