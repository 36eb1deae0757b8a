"""The page's section on intervals: a table of coverage, width and interval score
(`calibration_table`), and which levels have no interval (`describe_unsupported`).

The table has the selected model (or the best network), the ridge, and the naive and seasonal naive
forecasts, over all steps, from the tables of stage `compare`.
"""

from __future__ import annotations

import pandas as pd

from forecast.data.results import WHOLE_HORIZON, Results
from forecast.report import text
from forecast.report.figures import LINEAR
from forecast.report.text import (
    MOST_SERIES,
    Row,
    Table,
    TableCell,
    drop_lone_series,
    number,
    whole,
)

RANKING = "shipped"


def shown_models(results: Results) -> list[str]:
    """Those of these models that have intervals: the selected one (or the best network), the ridge,
    naive and seasonal naive.
    """
    selected = results.selected_model(RANKING) or results.best_network(RANKING)
    models = dict.fromkeys([selected, LINEAR, "naive", "seasonal_naive"])
    return [m for m in models if m and not results.intervals_of(m, RANKING).empty]


def levels(results: Results) -> str:
    """The levels for which there is any interval: `80 % and 95 %`."""
    present = sorted(results.intervals["level"].unique())
    return text.listing([text.level(level) for level in present])


def calibration_table(results: Results) -> Table | None:
    """Coverage, width and interval score over all steps, by level and each of the first
    `MOST_SERIES` series; None without any interval.
    """
    models = shown_models(results)
    if not models:
        return None
    shown_series = results.series[:MOST_SERIES]
    units = {results.unit_of(series) for series in shown_series}
    unit = text.in_brackets(units.pop()) if len(units) == 1 else ""
    selected = results.selected_model(RANKING)
    intervals = pd.concat([results.intervals_of(model, RANKING) for model in models])
    is_shown = (intervals["step"] == WHOLE_HORIZON) & intervals["series"].isin(shown_series)
    all_steps = intervals[is_shown]
    all_steps = all_steps.assign(place=pd.Categorical(all_steps["series"], list(shown_series)))
    all_steps = all_steps.sort_values(["place", "level"], kind="stable")
    rows = []
    for _, scores in all_steps.iterrows():
        model = str(scores["model"])
        rows.append(
            Row(model, _calibration_cells(scores), cls="chosen" if model == selected else "")
        )
    if not rows:
        return None
    return drop_lone_series(Table(text.columns("calibration", unit=unit), rows), results.series)


def _calibration_cells(scores: pd.Series) -> list[TableCell]:
    """The cells of one row of the table; `scores`: a row of `results.intervals`."""
    series = str(scores["series"])
    covered = text.percent(scores["coverage"])
    is_inside = bool(scores["inside"])
    if not is_inside:
        side = "below" if scores["coverage"] < scores["low"] else "above"
        covered += f" ({side})"
    n_actuals = f"{text.count(scores['n'])} actual values"
    low = text.percent(scores["low"], decimals=0)
    high = text.percent(scores["high"], decimals=0)
    return [
        TableCell(series, series),
        TableCell(text.level(scores["level"]), float(scores["level"])),
        TableCell(covered, float(scores["coverage"]), n_actuals, "" if is_inside else "w-worse"),
        TableCell(f"{low} to {high}", float(scores["low"])),
        number(scores["width"]),
        number(scores["winkler"]),
        whole(scores["n_calibration"]),
    ]


def describe_unsupported(results: Results) -> list[str]:
    """A line for each series and reason why a level has no interval."""
    levels = results.verdicts.unsupported_levels
    return list(dict.fromkeys(f"{level.series}: {level.reason}" for level in levels))
