"""Heads that say more than one number: how good their quantiles, densities and rise probabilities are."""

from __future__ import annotations

from typing import Any

import pandas as pd

from forecast.report import text
from forecast.report.evidence import RANKING_TITLES, RANKINGS, Evidence
from forecast.report.panels import MOST_SERIES
from forecast.report.tables import EMPTY, Cell, Row, Table, number

COLUMNS = [
    ("Model", ""),
    ("Ranking", "Which skip connection it was trained with"),
    ("Head", "What the network forecasts besides one number"),
    ("Series", ""),
    (
        "CRPS",
        "Of the whole distribution, in the unit of the series; of a single number it is the MAE",
    ),
    ("Log score", "Mean negative log density; lower is better; only of densities"),
    ("Brier", "Mean squared error of the probability of a rise"),
    ("Base rate", "Brier score of always saying how often it rose"),
]
WHOLE = 0  # the step that stands for the horizon
MEAN = "mean"  # over the seeds
CRPS, LOG_SCORE, BRIER, RATE = "crps", "log_score", "brier", "rise_rate"


def table(evidence: Evidence) -> Table | None:
    """One row per candidate with such a head and series, a column per level of its intervals; None without any."""
    rows = evidence.distributions
    if rows.empty:
        return None
    rows = rows[(rows["step"] == WHOLE) & (rows["seed"] == MEAN) & rows["series"].isin(evidence.series[:MOST_SERIES])]
    levels = sorted(rows.loc[rows["metric"] == "coverage", "level"].dropna().unique())
    covers = [(f"{100 * level:g} % covers", "Share of the actual values inside the interval") for level in levels]
    groups = rows.groupby(["ranking", "model", "head", "series"], sort=True)
    found = [_row(tuple(map(str, key)), part, levels) for key, part in groups]  # type: ignore[arg-type]
    found.sort(key=lambda row: (RANKINGS.index(str(row.cells[0].value)), row.model))
    return Table([*COLUMNS, *covers], found)


def _row(key: tuple[str, ...], part: pd.DataFrame, levels: list[float]) -> Row:
    ranking, model, head, series = key
    plain = part[part["level"].isna()].set_index("metric")["value"]
    rate = plain.get(RATE)
    base = None if text.missing(rate) or text.missing(plain.get(BRIER)) else float(rate) * (1 - float(rate))  # type: ignore[arg-type]
    cells = [
        Cell(RANKING_TITLES[ranking], ranking),
        Cell(text.name(head), head),
        Cell(series, series),
        *[number(plain.get(metric)) for metric in (CRPS, LOG_SCORE, BRIER)],
        number(base),
        *[_coverage(part, level) for level in levels],
    ]
    return Row(model, cells)


def _coverage(part: pd.DataFrame, level: float) -> Cell:
    found: Any = part.loc[(part["metric"] == "coverage") & (part["level"] == level), "value"]
    if not len(found) or text.missing(float(found.iloc[0])):
        return EMPTY
    return Cell(text.percent(found.iloc[0]), float(found.iloc[0]))
