"""Refit policy of a backtest: the model fitted at the train end, and again at later origins on what is known there.

    never      one fit, on the train rows
    monthly    again at the first origin of every calendar month
    k          again at every k-th origin

`expanding` fits on everything from the first row on, `sliding` on as many rows as the first fit had. A fit at an
origin is given a panel that ends there, so nothing later can enter it. Models that choose between fits on validation
(ridge, networks) keep back as many of the newest rows for that as the validation block has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from forecast.data.panel import Panel, Series
from forecast.data.scaling import Scaling
from forecast.data.splits import Blocks
from forecast.forecaster import Fitted, Forecaster, Problem
from forecast.models.base import ModelSpec

Question = Callable[[Forecaster, Panel, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""(forecaster, panel, rows by series) -> answers by series, the first axis that of the rows."""
SCORED = ("validation", "calibration", "test")


@dataclass(frozen=True)
class Stage:
    """A forecaster, the first cutoff it forecasts from (None: the first of all), the first row it knows by series."""

    forecaster: Forecaster
    since: np.datetime64 | None = None
    starts: dict[str, int] = field(default_factory=dict)


def moments(problem: Problem, spec: ModelSpec) -> list[np.datetime64]:
    """The cutoffs at which `spec` is fitted again, rising."""
    if not spec.refitted:
        return []
    series = problem.panel.series
    cutoffs = np.unique(np.concatenate([s.ds[problem.rows(s.unique_id, b)] for s in series for b in SCORED]))
    return spec.refit_moments(cutoffs)


def stages(problem: Problem, spec: ModelSpec, first: Fitted, fit: Callable[[Problem], Fitted]) -> list[Stage]:
    """`first`, fitted at the train end, and one more stage per moment; `fit` is what made `first`."""
    found = [Stage(first.forecaster)]
    for moment in moments(problem, spec):
        known, starts = known_at(problem, spec, moment)
        found.append(Stage(fit(known).forecaster, moment, starts))
    return found


def known_at(problem: Problem, spec: ModelSpec, moment: np.datetime64) -> tuple[Problem, dict[str, int]]:
    """The problem as it was at `moment`: its panel ends there. With it the row of the full series it begins at."""
    series, blocks, starts = [], {}, {}
    for whole in problem.panel.series:
        then = problem.blocks[whole.unique_id]
        held = then.validation[1] - then.validation[0] if spec.keeps_validation else 0
        stop = int((whole.ds <= moment).sum())
        start = max(stop - held - (then.train[1] - then.train[0]), 0) if spec.slides else 0
        series.append(_rows(whole, start, stop))
        train, end = stop - held - start, stop - start
        blocks[whole.unique_id] = Blocks((0, train), (train, end), (end, end), (end, end))
        starts[whole.unique_id] = start
    panel = replace(problem.panel, series=tuple(series))
    return Problem(panel, problem.borders, blocks, Scaling.fit(panel, blocks), problem.channels), starts


def predict(fits: list[Stage], panel: Panel, unique_id: str, rows: np.ndarray) -> np.ndarray:
    """(n, H, O) forecasts in raw units at `rows` of one series, each by the newest stage known there."""
    return asked(fits, panel, unique_id, rows, Forecaster.predict)


def asked(fits: list[Stage], panel: Panel, unique_id: str, rows: np.ndarray, ask: Question) -> np.ndarray:
    """(n, ...): what `ask` finds at `rows` of one series, of the newest stage known there."""
    series = panel.by_id[unique_id]
    later = np.array([stage.since for stage in fits[1:]], dtype="datetime64[ns]")
    newest = np.searchsorted(later, series.ds[rows], side="right")
    parts = []
    for number, stage in enumerate(fits):
        own, start = rows[newest == number], stage.starts.get(unique_id, 0)
        seen = replace(panel, series=(_rows(series, start, len(series)),)) if start else panel
        if len(own) or not number:
            parts.append(ask(stage.forecaster, seen, {unique_id: own - start})[unique_id])
    return np.concatenate(parts)


def _rows(series: Series, start: int, stop: int) -> Series:
    beyond = len(series.future) - len(series)
    return replace(
        series, ds=series.ds[start:stop], values=series.values[start:stop], future=series.future[start : stop + beyond]
    )
