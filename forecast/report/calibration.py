"""Intervals: coverage against the nominal level, width and score, of the shown models and of every
network.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from forecast.data.results import RANKING_TITLES, RANKINGS, Results, in_ranking
from forecast.report import text
from forecast.report.charts import Axes, Line, line_chart
from forecast.report.figures import Panel, fitted_skip, role_of, step_axes
from forecast.report.svg import floats
from forecast.report.text import EMPTY, MOST_SERIES, Cell, Row, Table, number, share, whole

RANKING = "shipped"
ROOM = 0.02  # of the axis of coverage, below the lowest and up to above 100 %


def shown_models(results: Results) -> list[str]:
    """The chosen model (else the best network), its skip alone, naive and seasonal naive, as far as
    there are any.
    """
    judged = results.chosen(RANKING) or results.best_network(RANKING)
    wanted = [judged, fitted_skip(results), "naive", "seasonal_naive"]
    return [m for m in dict.fromkeys(wanted) if m and not results.intervals_of(m, RANKING).empty]


def levels(results: Results) -> str:
    """`80 % and 95 %`: every level that some interval was made for."""
    return text.listing(
        [text.level(level) for level in sorted(results.intervals["level"].unique())]
    )


def table(results: Results) -> Table | None:
    """Pooled over the steps: coverage, width and interval score per series and level; None without
    any interval.
    """
    models, several = shown_models(results), len(results.series) > 1
    units = {results.unit_of(series) for series in results.series[:MOST_SERIES]}
    unit = f" [{units.pop()}]" if len(units) == 1 and all(units) else ""  # of all the series shown
    columns = [
        ("Model", ""),
        *([("Series", "")] if several else []),
        ("Level", "What share of the actual values the interval should cover"),
        ("Coverage", "What share it did cover, all steps pooled"),
        ("Allowed", "The level, 3 points up or down"),
        (f"Width{unit}", "Mean width; at equal coverage narrower is better"),
        (
            f"Winkler score{unit}",
            "Mean of width plus 2 / (1 - level) times what was missed; lower is better",
        ),
        (
            "Calibration origins",
            "Origins of the calibration block that set the width; at their fewest step",
        ),
    ]
    pooled = {model: results.intervals_of(model, RANKING).query("step == 0") for model in models}
    rows = [
        _row(results, model, row, several=several)
        for series in results.series[:MOST_SERIES]
        for level in sorted(results.intervals["level"].unique())
        for model, own in pooled.items()
        for _, row in own[(own["series"] == series) & (own["level"] == level)].iterrows()
    ]
    return Table(columns, rows) if rows else None


def _row(results: Results, model: str, row: pd.Series, *, several: bool) -> Row:
    inside = bool(row["inside"])
    mark = "" if inside else f" ({'below' if row['coverage'] < row['low'] else 'above'})"
    covered, actuals = text.percent(row["coverage"]) + mark, f"{text.count(row['n'])} actual values"
    cells = [
        *([Cell(str(row["series"]), str(row["series"]))] if several else []),
        Cell(text.level(row["level"]), float(row["level"])),
        Cell(covered, float(row["coverage"]), actuals, "" if inside else "w-worse"),
        Cell(
            f"{text.percent(row['low'], decimals=0)} to {text.percent(row['high'], decimals=0)}",
            float(row["low"]),
        ),
        number(row["width"]),
        number(row["winkler"]),
        whole(row["n_calibration"]),
    ]
    return Row(model, cells, cls="chosen" if model == results.chosen(RANKING) else "")


def panels(results: Results) -> list[Panel]:
    """Coverage by horizon step of the first shown model, per series: each level against its nominal
    share.
    """
    models = shown_models(results)
    found = (
        _panel(results, model, series)
        for model in models[:1]
        for series in results.series[:MOST_SERIES]
    )
    return list(filter(None, found))


def _panel(results: Results, model: str, series: str) -> Panel | None:
    rows = results.intervals_of(model, RANKING).dropna(subset=["coverage"])
    rows = rows[(rows["series"] == series) & (rows["step"] > 0)].sort_values("step")
    if rows.empty:
        return None
    lines = []
    for level, part in rows.groupby("level"):
        x, covered, low, high = (
            floats(part[column]) for column in ("step", "coverage", "low", "high")
        )
        name = text.level(float(level))  # type: ignore[arg-type]
        judged_by = Line(
            f"{name} nominal", x, np.full_like(x, level), "nominal", "", ((low, high),)
        )
        lines += [judged_by, Line(name, x, covered, "chosen", model)]
    title = f"{text.name(model)}{f', {series}' if len(results.series) > 1 else ''}"
    axes = step_axes(
        results,
        f"Coverage by horizon step, {title}",
        "share of the actual values covered",
        lines[0].x,
    )
    lowest = float(rows[["coverage", "low"]].min().min())
    axes = replace(axes, show=text.level, y_range=(lowest - ROOM, 1 + ROOM / 4))
    outside = int((~rows["inside"].astype(bool)).sum())
    said = (
        f"{outside} of {len(rows)} points outside the grey bands"
        if outside
        else "Every point inside its grey band"
    )
    return Panel(title, line_chart(lines, axes), said, model)


def reliability_panels(results: Results) -> list[Panel]:
    """Nominal against actual coverage of every shown model, all steps pooled, per series; the
    diagonal is right.
    """
    return list(
        filter(
            None, (_reliability_panel(results, series) for series in results.series[:MOST_SERIES])
        )
    )


def _reliability_panel(results: Results, series: str) -> Panel | None:
    rows = results.reliability.query("series == @series")
    lines = []
    for model in shown_models(results):
        part = (
            in_ranking(rows[rows["model"] == model], RANKING)
            .dropna(subset=["coverage"])
            .sort_values("level")
        )
        if len(part) > 1:
            x, y = floats(part["level"]), floats(part["coverage"])
            lines.append(Line(text.name(model), x, y, role_of(results, RANKING, model), model))
            allowed = (floats(part["low"]), floats(part["high"]))
    if not lines:
        return None
    levels = lines[-1].x
    lines.append(Line("", levels, levels, "nominal", "", (allowed,)))
    ticks = [
        (level, text.level(level))
        for level in (0.2, 0.4, 0.6, 0.8, 1.0)
        if level <= levels.max() + ROOM
    ]
    title = f"Reliability{f', {series}' if len(results.series) > 1 else ''}"
    axes = Axes(
        title,
        "nominal level",
        "share of the actual values covered",
        ticks,
        (0.0, 1.0),
        show=text.level,
    )
    return Panel(
        title,
        line_chart(
            lines, replace(axes, moments=[f"{text.level(level)} nominal" for level in levels])
        ),
    )


def refusals(results: Results) -> list[str]:
    """The levels refused, one sentence per series and reason; of many series one per reason."""
    refused = results.verdicts.refused_levels
    sentences = list(dict.fromkeys(f"{level.series}: {level.reason}" for level in refused))
    if len(sentences) <= text.WORST:
        return sentences
    counts = Counter(level.reason for level in refused)
    return [f"{text.count(series)} series: {reason}" for reason, series in counts.items()]


FEW = 3


@dataclass(frozen=True)
class NetworkIntervals:
    """Interval coverage of one network, series and level.

    `worse_than`: by reference, the share by which the interval score lies above its score.
    """

    model: str
    ranking: str
    series: str
    level: float
    coverage: float
    inside: bool
    steps: int
    steps_outside: int
    worse_than: dict[str, float]

    @property
    def passes(self) -> bool:
        return (
            self.inside
            and not self.steps_outside
            and all(worse <= 0 for worse in self.worse_than.values())
        )


def of_networks(results: Results) -> list[NetworkIntervals]:
    """Every network's intervals, as shipped and alone, the series that the page shows."""
    networks = {record.model for record in results.records.values() if record.is_network}
    table = results.intervals
    naive = next((m for m in ("seasonal_naive", "naive") if m in set(table["model"])), None)
    wanted = table[
        table["model"].isin(networks) & table["series"].isin(results.series[:MOST_SERIES])
    ]
    keys = ["ranking", "level", "series", "model"]
    found = [
        _network(rows, table, [name for name in (naive, fitted_skip(results)) if name])
        for _, rows in sorted(
            wanted.groupby(keys), key=lambda part: (RANKINGS.index(str(part[0][0])), part[0][1:])
        )
    ]
    return list(filter(None, found))


def _network(
    rows: pd.DataFrame, table: pd.DataFrame, references: list[str]
) -> NetworkIntervals | None:
    pooled, steps = rows[rows["step"] == 0], rows[rows["step"] > 0].dropna(subset=["coverage"])
    if pooled.empty:
        return None
    one = pooled.iloc[0]
    same = table[
        (table["series"] == one["series"]) & (table["level"] == one["level"]) & (table["step"] == 0)
    ]
    scores = {
        str(row["model"]): float(row["winkler"])
        for _, row in same[same["ranking"] == "baseline"].iterrows()
    }
    return NetworkIntervals(
        **{
            name: one[name]
            for name in ("model", "ranking", "series", "level", "coverage", "inside")
        },
        steps=len(steps),
        steps_outside=int((~steps["inside"].astype(bool)).sum()),
        worse_than={
            name: float(one["winkler"]) / scores[name] - 1
            for name in references
            if scores.get(name)
        },
    )


def count_table(found: list[NetworkIntervals], *, several: bool) -> Table | None:
    """Per ranking, level and series: how many networks pass each check, and which fail one."""
    if not found:
        return None
    references = list(found[0].worse_than)
    columns = [
        ("Intervals", ""),
        (
            "Within 3 points",
            "Networks whose coverage, all steps pooled, is within 3 points of the level",
        ),
        (
            "Every step",
            "Networks with no step outside the binomial band, at least 6 points either way",
        ),
        *(
            (f"No worse than {text.name(name)}", "Networks whose Winkler score is no higher")
            for name in references
        ),
        ("All of these", "Networks that pass every check"),
        ("Which do not", ""),
    ]
    rows = []
    for key in dict.fromkeys((one.ranking, one.level, one.series) for one in found):
        own = [one for one in found if (one.ranking, one.level, one.series) == key]
        passed = [[one.inside for one in own], [not one.steps_outside for one in own]]
        passed += [[one.worse_than.get(name, 0.0) <= 0 for one in own] for name in references]
        passed += [[one.passes for one in own]]
        missed = [text.name(one.model) for one in own if not one.passes]
        more = [f"{len(missed) - FEW} more"] if len(missed) > FEW else []
        named = text.listing([*missed[:FEW], *more])
        about = (
            f"{RANKING_TITLES.get(key[0], key[0])},"
            f" {text.level(key[1])}{f', {key[2]}' if several else ''}"
        )
        cells = [
            Cell(f"{sum(h)} of {len(h)}", sum(h), "", "" if all(h) else "w-worse") for h in passed
        ]
        rows.append(Row(about, [*cells, Cell(named or text.NOTHING, named, "", "reason")]))
    return Table(columns, rows)


def network_table(found: list[NetworkIntervals], *, several: bool) -> Table | None:
    """One row per network, ranking, level and series."""
    if not found:
        return None
    references = list(dict.fromkeys(name for one in found for name in one.worse_than))
    columns = [
        ("Model", ""),
        ("Ranking", ""),
        *([("Series", "")] if several else []),
        ("Level", ""),
        ("Coverage", "All steps pooled; the level, 3 points up or down, is allowed"),
        (
            "Steps outside",
            "Steps whose coverage lies outside the binomial band, at least 6 points either way",
        ),
        *(
            (f"Winkler vs {text.name(n)}", "Change of the interval score; below zero is better")
            for n in references
        ),
    ]
    return Table(columns, [_network_row(one, references, several=several) for one in found])


def _network_row(one: NetworkIntervals, references: list[str], *, several: bool) -> Row:
    against = [one.worse_than.get(name) for name in references]
    cells = [
        Cell(RANKING_TITLES.get(one.ranking, one.ranking), one.ranking),
        *([Cell(one.series, one.series)] if several else []),
        Cell(text.level(one.level), one.level),
        share(one.coverage, "" if one.inside else "w-worse"),
        Cell(
            f"{one.steps_outside} of {one.steps}",
            one.steps_outside,
            "",
            "w-worse" if one.steps_outside else "",
        ),
        *(
            EMPTY if w is None else Cell(text.signed_percent(w), w, "", "w-worse" if w > 0 else "")
            for w in against
        ),
    ]
    return Row(one.model, cells)
