"""Scores of quantiles, densities and rise probabilities on the test block, from the train stage's
tables alone.

Of each series in its own unit, of every seed, of their mean, and of the ensemble, whose quantiles
and probabilities are the means of the seeds' (its density would be a mixture and has no score
here).

For `comparing`, of candidates that left distributions.parquet; others have no row. An interval
whose ends are no kept quantiles is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.data.panel import add_series_names
from forecast.data.results import ENSEMBLE, MEAN, Results
from forecast.forecaster.distributions import (
    DISTRIBUTIONS_FILE,
    EVEN_LEVELS,
    LOG_DENSITY_COLUMN,
    RISE_COLUMN,
    STORED_LEVELS,
    quantile_column,
)

COLUMNS = ("model", "ranking", "head", "series", "seed", "step", "metric", "level", "value", "n")
"""One row per number.

`step` 0 is the whole horizon; `level` is that of a quantile (`pinball`) or of a central interval
(`coverage`, `width`, `winkler`) and missing otherwise; `n` counts the actuals. `crps` is twice the
mean pinball loss over 19 even levels, `log_score` the mean negative log density, `brier` judges the
probability of a rise, `rise_rate` is how often the value rose. An
interval whose ends are not kept has no value; pinball losses are over the horizon alone.
"""
INTERVAL = ("coverage", "width", "winkler")
Columns = Mapping[str, np.ndarray]
Intervals = Mapping[float, Columns]
Score = tuple[str, float | None, float]


def distribution_scores(
    results: Results, last: Mapping[str, pd.Series], levels: Sequence[float]
) -> pd.DataFrame:
    """COLUMNS, for every candidate of stage `train` that left a table; `last`: actuals by series
    and time; `levels` of the intervals.
    """
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    for name, record in results.records.items():
        path = results.folder(name) / DISTRIBUTIONS_FILE
        if path.exists():
            table = pd.read_parquet(path)
            rows = pd.DataFrame(_score_candidate(table[table["block"] == "test"], last, levels))
            labels = record.labels
            parts.append(rows.assign(**labels, head=record.params["head"]["kind"]))
    return pd.concat(parts[1:] or parts, ignore_index=True)[list(COLUMNS)]


def _score_candidate(
    table: pd.DataFrame, last: Mapping[str, pd.Series], levels: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """The rows of one candidate without its labels: of each series every seed, the mean of their
    scores and, of several, the ensemble without a density; `table`: its distributions on test,
    long.
    """
    for name, rows in add_series_names(table).groupby("series", sort=True):
        rows = rows.sort_values(["seed", "cutoff", "step"], kind="stable")
        seeds = sorted(int(seed) for seed in rows["seed"].unique())
        shape = (len(seeds), -1, rows["step"].nunique())
        score_columns = [str(c) for c in rows if str(c).startswith(("q_", "p_", "log_"))]
        columns = {column: rows[column].to_numpy(float).reshape(shape) for column in score_columns}
        y = rows["y"].to_numpy(float).reshape(shape)[0]
        cutoffs = rows["cutoff"].to_numpy().reshape(shape)[0, :, 0]
        before = last[str(name)].reindex(cutoffs).to_numpy()[:, None]
        scores = []
        for place, seed in enumerate(seeds):
            of_seed = {column: values[place] for column, values in columns.items()}
            labels = {"series": str(name), "seed": str(seed)}
            scores += [{**labels, **score} for score in _score_horizon(y, before, of_seed, levels)]
        yield from scores
        yield from _average_seeds(scores)
        if len(seeds) > 1:
            joined = {c: v.mean(axis=0) for c, v in columns.items() if c != LOG_DENSITY_COLUMN}
            for score in _score_horizon(y, before, joined, levels):
                yield {"series": str(name), "seed": ENSEMBLE, **score}


def _average_seeds(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The mean over the seeds of every number of one series."""
    keys = ["series", "step", "metric", "level"]
    table = pd.DataFrame(rows)
    for key, group in table.groupby(keys, sort=False, dropna=False):
        mean = float(group["value"].mean()) if group["value"].notna().all() else float("nan")
        yield {
            **dict(zip(keys, key, strict=True)),
            "seed": MEAN,
            "value": mean,
            "n": int(group["n"].iloc[0]),
        }


def _score_horizon(
    y: np.ndarray, last: np.ndarray, forecast_columns: Columns, levels: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """All scores of one seed, or of the ensemble: over the horizon, then step by step.

    y (n, H), last (n, 1), forecast_columns (n, H) each.
    """
    intervals = {}
    if quantile_column(EVEN_LEVELS[0]) in forecast_columns:
        intervals = {level: _score_interval(y, forecast_columns, level) for level in levels}
    for step in range(y.shape[1] + 1):
        part = slice(None) if step == 0 else slice(step - 1, step)
        columns = {name: values[:, part] for name, values in forecast_columns.items()}
        n = int(np.isfinite(y[:, part]).sum())
        if step == 0:
            for quantile in STORED_LEVELS:
                column = quantile_column(quantile)
                if column in forecast_columns:
                    loss = metrics.pinball(y, forecast_columns[column], quantile)
                    yield {"step": 0, "metric": "pinball", "level": quantile, "value": loss, "n": n}
        for metric, level, value in _score_steps(y[:, part], last, columns, intervals, step):
            yield {"step": step, "metric": metric, "level": level, "value": value, "n": n}


def _score_steps(
    y: np.ndarray, last: np.ndarray, forecast_columns: Columns, intervals: Intervals, step: int
) -> Iterator[Score]:
    """(metric, level, value) of one seed, or of the ensemble, over some steps.

    y (n, h), last (n, 1), forecast_columns (n, h) each; `intervals`: `_score_interval` by level, of
    which `step` is taken.
    """
    if quantile_column(EVEN_LEVELS[0]) in forecast_columns:
        grid = np.stack(
            [forecast_columns[quantile_column(level)] for level in EVEN_LEVELS], axis=-1
        )
        yield "crps", None, metrics.crps_quantiles(y, grid, EVEN_LEVELS)
        for level, interval_scores in intervals.items():
            for metric in INTERVAL:
                yield metric, level, float(interval_scores[metric][step])
    log_density = forecast_columns.get(LOG_DENSITY_COLUMN, np.array([]))
    if np.isfinite(log_density).any():
        yield "log_score", None, -metrics.average(log_density[np.isfinite(y)])
    if RISE_COLUMN in forecast_columns:
        moved = np.isfinite(y) & (y != last)
        rose = (y > last)[moved]
        probability = forecast_columns[RISE_COLUMN][moved]
        yield "brier", None, metrics.brier(rose, probability)
        yield "rise_rate", None, metrics.average(rose.astype(float))


def _score_interval(y: np.ndarray, forecast_columns: Columns, level: float) -> Columns:
    """INTERVAL over the horizon, then by step; NaN where an end is not kept."""
    ends = [quantile_column(round(end, 9)) for end in ((1 - level) / 2, (1 + level) / 2)]
    if not all(end in forecast_columns for end in ends):
        return dict.fromkeys(INTERVAL, np.full(y.shape[1] + 1, np.nan))
    coverage = metrics.coverage_by_step(
        y[None], forecast_columns[ends[0]][None], forecast_columns[ends[1]][None], level=level
    )
    return {metric: coverage[metric][0] for metric in INTERVAL}
