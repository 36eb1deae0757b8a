"""From the forecasts of a dataset to tidy rows: one per candidate and seed, their mean, their spread, the ensemble.

Errors of different series are never pooled in their units: a dataset of several series has MASE, RMSSE and skill
averaged over the series, and no MAE or RMSE of its own (per series they are in by_series.csv). Skill is
1 - MAE / MAE of naive on the same origins, averaged over the series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.data.panel import with_series

METRICS = ("mae", "rmse", "mase", "rmsse", "smape", "direction", "direction_base", "skill")
ENSEMBLE, MEAN, SPREAD = "ensemble", "mean", "std"
KEYS = ["series", "cutoff", "step"]


@dataclass(frozen=True)
class Reference:
    """What errors are measured against, per series: MASE and RMSSE scales of the train part, actuals at the cutoffs,
    and the MAE of naive per step (H,) on the scored origins of one block."""

    scale: Mapping[str, metrics.Scale]
    squared_scale: Mapping[str, metrics.Scale]
    last: Mapping[str, pd.Series]
    naive: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Cube:
    """One candidate's forecasts of one series: y (n, H), y_hat (seeds, n, H), last (n,), and which seeds."""

    series: str
    y: np.ndarray
    y_hat: np.ndarray
    last: np.ndarray
    seeds: tuple[int, ...]


def cubes(forecasts: pd.DataFrame, last: Mapping[str, pd.Series]) -> list[Cube]:
    """The long frame of one candidate and block as arrays, origins in time order."""
    result = []
    for name, rows in with_series(forecasts).groupby("series", sort=True):
        rows = rows.sort_values(["seed", "cutoff", "step"], kind="stable")
        seeds, horizon = tuple(sorted(int(seed) for seed in rows["seed"].unique())), rows["step"].nunique()
        shape = (len(seeds), len(rows) // (len(seeds) * horizon), horizon)
        cutoffs = rows["cutoff"].to_numpy().reshape(shape)[0, :, 0]
        values = last[str(name)].reindex(cutoffs).to_numpy()
        y = rows["y"].to_numpy().reshape(shape)[0]
        result.append(Cube(str(name), y, rows["y_hat"].to_numpy().reshape(shape), values, seeds))
    return result


def members(cube: Cube) -> Iterator[tuple[str, np.ndarray]]:
    """Seeds one by one, then the mean of their forecasts where there are several."""
    for seed, y_hat in zip(cube.seeds, cube.y_hat, strict=True):
        yield str(seed), y_hat
    if len(cube.y_hat) > 1:
        yield ENSEMBLE, cube.y_hat.mean(axis=0)


def series_scores(cube: Cube, reference: Reference) -> pd.DataFrame:
    """One row per seed and ensemble of one series: every metric in the series' own unit."""
    naive = float(np.mean(reference.naive[cube.series]))
    rows = []
    for seed, y_hat in members(cube):
        mae, rmse = metrics.mae(cube.y, y_hat), metrics.rmse(cube.y, y_hat)
        smape = metrics.smape(cube.y, y_hat)
        direction, base = metrics.directional_accuracy(cube.y, y_hat, cube.last[:, None])
        rows.append(
            {
                "series": cube.series,
                "seed": seed,
                "mae": mae,
                "rmse": rmse,
                "mase": mae / reference.scale[cube.series].value,
                "rmsse": rmse / reference.squared_scale[cube.series].value,
                "smape": np.nan if smape is None else smape,
                "direction": direction,
                "direction_base": base,
                "skill": metrics.skill(mae, naive),
                "n_origins": len(cube.y),
            }
        )
    return pd.DataFrame(rows)


def step_scores(cube: Cube, reference: Reference) -> pd.DataFrame:
    """The same per horizon step, for the plots: mae, rmse, mase, skill."""
    naive = reference.naive[cube.series]
    rows = []
    for seed, y_hat in members(cube):
        for step in range(cube.y.shape[1]):
            mae = metrics.mae(cube.y[:, step], y_hat[:, step])
            rows.append(
                {
                    "series": cube.series,
                    "seed": seed,
                    "step": step + 1,
                    "mae": mae,
                    "rmse": metrics.rmse(cube.y[:, step], y_hat[:, step]),
                    "mase": mae / reference.scale[cube.series].value,
                    "skill": metrics.skill(mae, float(naive[step])),
                }
            )
    return pd.DataFrame(rows)


def over_series(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The mean over the series of what may be averaged; with one series every metric stays as it is."""
    if scores["series"].nunique() == 1:
        return scores.drop(columns="series")
    numbers = [c for c in scores.columns if c not in ("series", *by)]
    mean = scores.groupby(by, sort=False, as_index=False)[numbers].mean()
    if "n_origins" in mean:
        mean["n_origins"] = mean["n_origins"].astype(int)
    return mean.assign(**{unit: np.nan for unit in ("mae", "rmse") if unit in mean})


def with_mean_and_spread(scores: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Adds the rows `mean` and, with several seeds, `std` (n - 1) over the seeds; the ensemble is not among them."""
    seeds = scores[scores["seed"] != ENSEMBLE]
    numbers = [c for c in scores.columns if c not in ("seed", *by)]
    parts = [scores]
    for name, how in ((MEAN, "mean"), (SPREAD, "std")):
        if name == SPREAD and seeds["seed"].nunique() < 2:
            continue
        if by:
            row = seeds.groupby(by, sort=False, as_index=False)[numbers].agg(how)
        else:
            row = seeds[numbers].agg(how).to_frame().T
        parts.append(row.assign(seed=name))
    result = pd.concat(parts, ignore_index=True)
    if "n_origins" in result:
        result["n_origins"] = int(seeds["n_origins"].iloc[0])
    return result[list(scores.columns)]
