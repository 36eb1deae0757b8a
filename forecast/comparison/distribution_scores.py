"""Scores of forecast distributions on the test block: quantiles, densities and probabilities of a
rise, from the tables distributions.parquet of stage `train`.

`distribution_scores`, for `comparing`, returns a long table (`COLUMNS`). A score is computed for
each series in its unit over the whole horizon, and averaged over the seeds. Candidates without
such a table have no row; an interval whose ends are not among the stored quantiles is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from forecast.comparison import metrics
from forecast.data.panel import add_series_names
from forecast.data.results import Results
from forecast.forecaster.distributions import (
    DISTRIBUTIONS_FILE,
    EVEN_QUANTILES,
    LOG_DENSITY_COLUMN,
    RISE_COLUMN,
    STORED_QUANTILES,
    quantile_column,
)

COLUMNS = ("model", "ranking", "head", "series", "metric", "level", "value", "n")
"""One row per candidate, series, metric and level.

`level`, in percent, is that of a quantile (`pinball`) or of a central interval (`coverage`,
`width`, `winkler`), and missing for other metrics; `n` is the number of actuals. `crps` is twice
the mean pinball loss of 19 evenly spaced quantiles, `log_score` the mean negative log density,
`brier` the score of the probability of a rise, `rise_rate` the share of rises, both of the actuals
that differ from the last one before the forecast.
"""
INTERVAL_METRICS = ("coverage", "width", "winkler")
Score = tuple[str, float | None, float]
"""Metric, level, value."""


def distribution_scores(
    results: Results, last: Mapping[str, pd.Series], levels: Sequence[float]
) -> pd.DataFrame:
    """The scores of every candidate with distributions (`COLUMNS`).

    last: the newest known actual at every time, by series
    levels: those of the central intervals, in percent
    """
    parts = [pd.DataFrame(columns=list(COLUMNS))]
    for name, record in results.records.items():
        path = results.folder(name) / DISTRIBUTIONS_FILE
        if path.exists():
            table = pd.read_parquet(path)
            scores = _score_candidate(table[table["block"] == "test"], last, levels)
            parts.append(scores.assign(**record.labels, head=record.params["head"]["kind"]))
    return pd.concat(parts[1:] or parts, ignore_index=True)[list(COLUMNS)]


def _score_candidate(
    table: pd.DataFrame, last: Mapping[str, pd.Series], levels: Sequence[float]
) -> pd.DataFrame:
    """The scores of one candidate from its distributions on test; without its labels."""
    scores = []
    for (series, _), rows in add_series_names(table).groupby(["series", "seed"], sort=True):
        rows = rows.sort_values(["cutoff", "step"], kind="stable")
        before = last[str(series)].reindex(rows["cutoff"]).to_numpy()
        n = int(rows["y"].notna().sum())
        scores += [
            (series, metric, level, n, value)
            for metric, level, value in _score_rows(rows, before, levels)
        ]
    frame = pd.DataFrame(scores, columns=["series", "metric", "level", "n", "value"])
    by_number = frame.groupby(["series", "metric", "level", "n"], sort=False, dropna=False)
    return by_number["value"].agg(lambda seeds: seeds.mean(skipna=False)).reset_index()


def _score_rows(rows: pd.DataFrame, last: np.ndarray, levels: Sequence[float]) -> Iterator[Score]:
    """The scores of one seed and series; `last` (n,): the newest known actual at the cutoff."""
    y = rows["y"].to_numpy(float)
    for probability in STORED_QUANTILES:
        column = quantile_column(probability)
        if column in rows:
            level = round(100 * probability, 9)
            yield "pinball", level, metrics.pinball(y, rows[column], probability)
    grid = [quantile_column(probability) for probability in EVEN_QUANTILES]
    if grid[0] in rows:
        yield "crps", None, metrics.crps_quantiles(y, rows[grid], EVEN_QUANTILES)
        for level in levels:
            yield from _score_interval(y, rows, level)
    if LOG_DENSITY_COLUMN in rows and rows[LOG_DENSITY_COLUMN].notna().any():
        log_density = rows[LOG_DENSITY_COLUMN].to_numpy(float)
        yield "log_score", None, -metrics.average(log_density[np.isfinite(y)])
    if RISE_COLUMN in rows:
        moved = np.isfinite(y) & (y != last)
        rose = (y > last)[moved]
        probability = rows[RISE_COLUMN].to_numpy(float)[moved]
        yield "brier", None, metrics.brier(rose, probability)
        yield "rise_rate", None, metrics.average(rose.astype(float))


def _score_interval(y: np.ndarray, rows: pd.DataFrame, level: float) -> Iterator[Score]:
    """The scores of the central interval of `level`; NaN if an end is not a stored quantile."""
    nominal = level / 100
    ends_of_interval = ((1 - nominal) / 2, (1 + nominal) / 2)
    low, high = (quantile_column(round(probability, 9)) for probability in ends_of_interval)
    scores: dict[str, np.ndarray] = {}
    if low in rows and high in rows:
        ends = (y, rows[low].to_numpy(float), rows[high].to_numpy(float))
        scores = metrics.coverage_by_step(*(end[None, :, None] for end in ends), nominal=nominal)
    for metric in INTERVAL_METRICS:
        yield metric, level, float(scores[metric][0, 0]) if scores else math.nan
