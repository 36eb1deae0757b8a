"""A small dataset with everything a model can meet: two series, two targets, gaps, drifting levels,
a calendar.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from forecast.backtest.timeline import BEGINNING, DatedFit, FitTimeline
from forecast.config.datasets import Dataset
from forecast.config.reading import validate_config
from forecast.config.task import Task
from forecast.data import panel, splits
from forecast.data.panel import Panel
from forecast.forecaster import Forecaster, Problem

HORIZON, LOOKBACK, SEASON = 3, 10, 4
ROWS = {"north": 150, "south": 120}
END = "2024-01-07 05:00"
SHOPS: dict[str, Any] = {
    "title": "Two shops",
    "source": {"kind": "file", "path": "data/shops.csv"},
    "calendar": {"kind": "regular", "freq": "1h"},
    "target": [
        {"column": "sales", "max_missing": 0.2},
        {"column": "price", "transform": "log", "difference_inputs": True},
    ],
    "past_exogenous": [
        {"column": "wind", "difference_inputs": True, "max_missing": 0.2},
        {"column": "rain", "transform": "log1p"},
    ],
    "calendar_features": ["hour_of_day"],
    "horizon": HORIZON,
    "lookback": LOOKBACK,
    "season_length": SEASON,
    "step_size": 2,
    "splits": {"train": 0.6, "validation": 0.2, "calibration": 0.1},
    "licence": {"name": "none", "attribution": "made for a test"},
}


def dataset(**changes: Any) -> Dataset:
    """The two shops with some keys changed."""
    return validate_config(Dataset, {**SHOPS, **changes}, where="shops")


def task(**changes: Any) -> Task:
    """What computing needs of the two shops."""
    return dataset(**changes).task


def frame(rows: dict[str, int] | None = None, *, gaps: bool = True, seed: int = 0) -> pd.DataFrame:
    """A long frame of the two shops, which end together; with `gaps` some sales and wind are
    missing, and `south` lacks whole rows.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for name, count in (rows or ROWS).items():
        time = np.arange(count)
        part = pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range(end=END, periods=count, freq="h").as_unit("ns"),
                "sales": 20 + 3 * np.sin(2 * np.pi * time / SEASON) + rng.normal(0, 1, count),
                "price": 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count))),
                "wind": 50 + np.cumsum(rng.normal(0, 1, count)),
                "rain": np.maximum(rng.normal(0, 1, count), 0),
            }
        )
        if gaps:
            part.loc[rng.choice(count - 2, count // 12, replace=False) + 1, "sales"] = np.nan
            part.loc[rng.choice(count - 2, count // 10, replace=False) + 1, "wind"] = np.nan
            part = part.drop(index=[7, 8]) if name == "south" else part
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def panel_of(long: pd.DataFrame, **changes: Any) -> Panel:
    return panel.from_frame(long, "shops", task(**changes))


def problem_of(long: pd.DataFrame, **changes: Any) -> Problem:
    shops = panel_of(long, **changes)
    return Problem.of(shops, splits.resolve_borders(shops, dataset(**changes).splits))


@cache
def shops() -> Problem:
    """The problem as it stands above, made once per process; nothing may write into its arrays."""
    return problem_of(frame())


def vintages(shops: Panel) -> pd.DataFrame:
    """Vintages of every row of the shops: numbers that tell series, cutoff, step and target."""
    parts = []
    for number, series in enumerate(shops.series):
        for step in range(1, HORIZON + 1):
            at = np.arange(len(series)) + 1000.0 * number + step / 10
            names = {"unique_id": series.unique_id, "cutoff": series.ds, "step": step}
            parts.append(pd.DataFrame({**names, "sales": at, "price": at + 0.01}))
    return pd.concat(parts).sort_values(["unique_id", "cutoff", "step"], ignore_index=True)


def with_vintages(problem: Problem, table: pd.DataFrame | None = None) -> Problem:
    """The problem as the family `service` needs it."""
    return replace(problem, vintages=vintages(problem.panel) if table is None else table)


def copied(shops: Panel) -> Panel:
    """The same panel with arrays of its own, for tests that write into them."""
    copies = (replace(s, values=s.values.copy(), future=s.future.copy()) for s in shops.series)
    return replace(shops, series=tuple(copies))


def until(whole: Panel, cutoff: np.datetime64 | pd.Timestamp) -> Panel:
    """The rows up to and including `cutoff`, as if nothing later had been observed."""

    def first(series: panel.Series) -> panel.Series:
        rows = int((series.ds <= np.datetime64(pd.Timestamp(cutoff))).sum())
        ahead = rows + len(series.future) - len(series.ds)
        return replace(
            series, ds=series.ds[:rows], values=series.values[:rows], future=series.future[:ahead]
        )

    return replace(whole, series=tuple(map(first, whole.series)))


def latest(forecaster: Forecaster, panel: Panel) -> dict[str, np.ndarray]:
    """(H, O) forecasts that follow the last row of every series."""
    y_hats = forecaster.predict(panel, {s.unique_id: np.array([len(s) - 1]) for s in panel.series})
    return {uid: values[0] for uid, values in y_hats.items()}


def single_fit(forecaster: Forecaster, panel: Panel) -> FitTimeline:
    """One forecaster for every cutoff of `panel`."""
    first_cutoffs = dict.fromkeys(panel.by_id, BEGINNING)
    return FitTimeline((DatedFit(forecaster, first_cutoffs),))
