"""The page's part about intervals: coverage against the nominal level, width and interval score.

Of the selected model, the ridge and the naive forecasts as a table, by horizon step, hour, weekday
and month. Everything is read from what stage `compare` wrote: only the coverage by the calendar is
counted here, from the intervals and actual values. `dvc plots show` draws the reliability of every
model.

`calibration_table`, `coverage_panels`, `calendar_panels` and the sentences of `refusals`; nothing
where there are no intervals.

Another measure is a cell of `_calibration_cells`, once stage `compare` writes it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from forecast.data.results import WHOLE_HORIZON, Results, in_ranking
from forecast.report import text
from forecast.report.charts import Axes, Line, floats, line_chart, name_ticks
from forecast.report.figures import (
    LINEAR,
    ChartPanel,
    step_axes,
    title_of_series,
)
from forecast.report.panels import Bands, SeriesForecasts, group_times, name_period
from forecast.report.text import (
    MOST_SERIES,
    Row,
    Table,
    TableCell,
    chosen_class,
    drop_lone_series,
    number,
    whole,
    worse_class,
)

RANKING = "shipped"
ROOM = 0.02  # of the axis of coverage, below the lowest


def models_with_intervals(results: Results) -> list[str]:
    """The chosen model (else the best network), the ridge, naive and seasonal naive, as far as
    there are any.
    """
    judged = results.selected_model(RANKING) or results.best_network(RANKING)
    candidates = [judged, LINEAR, "naive", "seasonal_naive"]
    return [
        m for m in dict.fromkeys(candidates) if m and not results.intervals_of(m, RANKING).empty
    ]


def levels(results: Results) -> str:
    """`80 % and 95 %`: every level that some interval was made for."""
    present = sorted(results.intervals["level"].unique())
    return text.listing([text.level(level) for level in present])


def calibration_table(results: Results) -> Table | None:
    """Pooled over the steps: coverage, width and interval score per series and level; None without
    any interval.
    """
    models = models_with_intervals(results)
    if not models:
        return None
    shown_series = results.series[:MOST_SERIES]
    units = {results.unit_of(series) for series in shown_series}
    unit = text.in_brackets(units.pop()) if len(units) == 1 else ""
    chosen = results.selected_model(RANKING)
    intervals = pd.concat([results.intervals_of(model, RANKING) for model in models])
    is_shown = (intervals["step"] == WHOLE_HORIZON) & intervals["series"].isin(shown_series)
    pooled = intervals[is_shown]
    pooled = pooled.assign(place=pd.Categorical(pooled["series"], list(shown_series)))
    pooled = pooled.sort_values(["place", "level"], kind="stable")
    rows = []
    for _, scores in pooled.iterrows():
        model = str(scores["model"])
        rows.append(Row(model, _calibration_cells(scores), cls=chosen_class(model == chosen)))
    if not rows:
        return None
    return drop_lone_series(Table(text.columns("calibration", unit=unit), rows), results.series)


def _calibration_cells(scores: pd.Series) -> list[TableCell]:
    """Of one row of `results.intervals`."""
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
        TableCell(covered, float(scores["coverage"]), n_actuals, worse_class(not is_inside)),
        TableCell(f"{low} to {high}", float(scores["low"])),
        number(scores["width"]),
        number(scores["winkler"]),
        whole(scores["n_calibration"]),
    ]


def coverage_panels(results: Results) -> list[ChartPanel]:
    """Coverage by horizon step of the first shown model, per series: each level against its nominal
    share and the band of what chance allows.
    """
    panels = []
    for model in models_with_intervals(results)[:1]:
        rows = results.intervals_of(model, RANKING).dropna(subset=["coverage"])
        rows = rows[rows["step"] > 0].sort_values("step")
        for series in results.series[:MOST_SERIES]:
            of_series = rows[rows["series"] == series].rename(columns={"step": "x"})
            if of_series.empty:
                continue
            title = title_of_series(results, f"{text.name(model)}, by step", series)
            label = f"Coverage by horizon step, {title_of_series(results, model, series)}"
            axes = step_axes(results, label, "", floats(of_series["x"].unique()))
            outside = int((~of_series["inside"].astype(bool)).sum())
            note = "Every point inside its grey band"
            if outside:
                note = f"{outside} of {len(of_series)} points outside the grey bands"
            panels.append(ChartPanel(title, _coverage_chart(of_series, axes, model), note, model))
    return panels


def calendar_panels(results: Results, forecasts: list[SeriesForecasts]) -> list[ChartPanel]:
    """Coverage of the selected model's intervals by the hour, weekday and month that was forecast,
    per series, all steps together; none of rows without dates.
    """
    panels = []
    for drawing in forecasts:
        model = drawing.models.get("chosen")
        if model is None or results.dataset.calendar.counts_rows:
            continue
        test = drawing.tests["chosen"]
        rows = in_ranking(results.bands, RANKING)
        rows = rows[(rows["model"] == model) & (rows["series"] == drawing.series)]
        origins = test.cutoffs.get_indexer(pd.DatetimeIndex(rows["cutoff"]))
        steps = rows["step"].to_numpy(int) - 1
        rows = rows.assign(y=test.y[origins, steps], ds=test.ds[origins, steps]).dropna(subset="y")
        is_covered = rows["y"].between(rows["lower"], rows["upper"])
        for title, keys in group_times(pd.DatetimeIndex(rows["ds"])).items():
            coverage = is_covered.groupby([rows["level"], keys]).mean().reset_index()
            coverage.columns = pd.Index(["level", "group", "coverage"])
            coverage["x"] = coverage.groupby("level").cumcount()
            names = [name_period(key, title) for key in keys.unique().sort_values()]
            heading = title_of_series(results, f"{text.name(model)}, by {title}", drawing.series)
            axes = Axes(f"Coverage, {heading}", "", "", name_ticks(names), moments=names)
            panels.append(ChartPanel(heading, _coverage_chart(coverage, axes, model), "", model))
    return panels


def _coverage_chart(rows: pd.DataFrame, axes: Axes, model: str) -> str:
    """Lines of coverage by `x`, one per level, beside the level itself and, where `rows` have `low`
    and `high`, the band between them.
    """
    lines = []
    edges = [rows["coverage"].min()]
    for level in sorted(rows["level"].unique()):
        of_level = rows[rows["level"] == level]
        x = floats(of_level["x"])
        bands: Bands = ()
        if "low" in rows:
            bands = ((floats(of_level["low"]), floats(of_level["high"])),)
            edges.append(of_level["low"].min())
        name = text.level(level)
        nominal = np.full_like(x, level)
        lines.append(Line(f"{name} nominal", x, nominal, "nominal", "", bands))
        lines.append(Line(name, x, floats(of_level["coverage"]), "chosen", model))
    axes = replace(
        axes,
        y_title="share of the actual values covered",
        show=text.level,
        y_range=(float(min(edges)) - ROOM, 1.0),
    )
    return line_chart(lines, axes)


def refusals(results: Results) -> list[str]:
    """The levels refused, one sentence per series and reason."""
    refused = results.verdicts.refused_levels
    return list(dict.fromkeys(f"{level.series}: {level.reason}" for level in refused))
