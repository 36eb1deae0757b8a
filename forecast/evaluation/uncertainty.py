"""Prediction intervals of the compare stage: margins from the calibration block, scored on the test block.

The interval stands around a candidate's ensemble, the mean of its seeds' forecasts. Its margin is split conformal
(`forecast.intervals`), one per series and horizon step, so errors of different series are never pooled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast.errors import InputError
from forecast.evaluation import scores
from forecast.evaluation.scores import Cube
from forecast.intervals import SplitConformal, coverage_by_step

COLUMNS = (
    "model", "ranking", "series", "level", "step", "n_calibration", "n", "coverage", "low", "high", "inside", "width",
    "winkler",
)  # fmt: skip
"""One row per step and one, step 0, for all of them pooled. `n_calibration` and `n` count actuals of the calibration
and the test block (pooled: the fewest of any step, and all); `low` and `high` bound what the level allows for the
coverage; `width` and `winkler` are in the series' unit. The interval of a step is the ensemble ± half its width."""


@dataclass(frozen=True)
class Refusal:
    """A level that the calibration block of one series cannot support for one candidate, and why."""

    model: str
    ranking: str
    series: str
    level: float
    reason: str


def interval_scores(
    record: Mapping[str, Any], calibration: Iterable[Cube], test: Iterable[Cube], levels: Sequence[float]
) -> tuple[pd.DataFrame, list[Refusal]]:
    """The rows of one candidate (COLUMNS), and the levels refused instead of invented.

    A series without calibration origins has every level refused; one without test origins has no row.
    """
    held = {cube.series: cube for cube in calibration}
    about = {key: str(record[key]) for key in ("model", "ranking")}
    parts, refused = [], []
    for cube in test:
        for level in levels:
            try:
                rows = _rows(held.get(cube.series), cube, level)
            except InputError as error:
                refused.append(Refusal(**about, series=cube.series, level=level, reason=str(error)))
                continue
            parts.append(rows.assign(**about, series=cube.series, level=level))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return table[list(COLUMNS)], refused


def calibration_cubes(forecasts: pd.DataFrame, last: Mapping[str, pd.Series]) -> list[Cube]:
    """The calibration block of one candidate's long forecasts, per series."""
    return scores.cubes(forecasts[forecasts["block"] == "calibration"], last)


def grouped(refused: Iterable[Refusal]) -> list[dict[str, Any]]:
    """For verdicts.json: one entry per series, level and reason, with the candidates it holds for."""
    found: dict[tuple[str, float, str], list[dict[str, str]]] = {}
    for refusal in refused:
        candidates = found.setdefault((refusal.series, refusal.level, refusal.reason), [])
        candidates.append({"model": refusal.model, "ranking": refusal.ranking})
    keys = ("series", "level", "reason")
    return [{**dict(zip(keys, key, strict=True)), "candidates": candidates} for key, candidates in found.items()]


def _rows(calibration: Cube | None, test: Cube, level: float) -> pd.DataFrame:
    fitted = _fitted(calibration, horizon=test.y.shape[1])
    centre = _ensemble(test)
    lower, upper = fitted.interval(level, centre)
    table = coverage_by_step(test.y, lower, upper, level=level)
    sizes = [len(column) for column in fitted.scores]
    return table.assign(n_calibration=[min(sizes), *sizes])


def _fitted(calibration: Cube | None, *, horizon: int) -> SplitConformal:
    if calibration is None:
        return SplitConformal.fit(np.empty((0, horizon)), np.empty((0, horizon)))
    return SplitConformal.fit(calibration.y, _ensemble(calibration))


def _ensemble(cube: Cube) -> np.ndarray:
    return np.asarray(cube.y_hat.mean(axis=0))
