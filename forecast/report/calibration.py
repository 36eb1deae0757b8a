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
from forecast.report.figures import (
    Panel,
    fitted_skip,
    has_several_series,
    role_of,
    step_axes,
    title_of_series,
)
from forecast.report.svg import floats
from forecast.report.text import (
    EMPTY,
    MOST_SERIES,
    Cell,
    Row,
    Table,
    chosen_class,
    number,
    share,
    whole,
    without_column,
    worse_class,
)

RANKING = "shipped"
ROOM = 0.02  # of the axis of coverage, below the lowest and up to above 100 %


def shown_models(results: Results) -> list[str]:
    """The chosen model (else the best network), its skip alone, naive and seasonal naive, as far as
    there are any.
    """
    judged = results.selected_model(RANKING) or results.best_network(RANKING)
    candidates = [judged, fitted_skip(results), "naive", "seasonal_naive"]
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
    shown_series = results.series[:MOST_SERIES]
    units = {results.unit_of(series) for series in shown_series}
    unit = ""
    if len(units) == 1 and all(units):  # of all the series shown
        unit = f" [{units.pop()}]"
    columns = [
        ("Model", ""),
        ("Series", ""),
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
    chosen = results.selected_model(RANKING)
    parts = []
    for order, model in enumerate(shown_models(results)):
        pooled = results.intervals_of(model, RANKING).query("step == 0")
        parts.append(pooled[pooled["series"].isin(shown_series)].assign(order=order))
    if not parts:
        return None
    pooled = pd.concat(parts)
    pooled["place"] = pooled["series"].map(shown_series.index)
    rows = []
    for _, scores in pooled.sort_values(["place", "level", "order"], kind="stable").iterrows():
        model = str(scores["model"])
        rows.append(Row(model, _calibration_cells(scores), cls=chosen_class(model == chosen)))
    if not rows:
        return None
    table = Table(columns, rows)
    return table if has_several_series(results) else without_column(table, "Series")


def _calibration_cells(scores: pd.Series) -> list[Cell]:
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
        Cell(series, series),
        Cell(text.level(scores["level"]), float(scores["level"])),
        Cell(covered, float(scores["coverage"]), n_actuals, worse_class(not is_inside)),
        Cell(f"{low} to {high}", float(scores["low"])),
        number(scores["width"]),
        number(scores["winkler"]),
        whole(scores["n_calibration"]),
    ]


def coverage_panels(results: Results) -> list[Panel]:
    """Coverage by horizon step of the first shown model, per series: each level against its nominal
    share.
    """
    panels = []
    for model in shown_models(results)[:1]:
        for series in results.series[:MOST_SERIES]:
            panel = _coverage_panel(results, model, series)
            if panel is not None:
                panels.append(panel)
    return panels


def _coverage_panel(results: Results, model: str, series: str) -> Panel | None:
    rows = results.intervals_of(model, RANKING).dropna(subset=["coverage"])
    rows = rows[(rows["series"] == series) & (rows["step"] > 0)].sort_values("step")
    if rows.empty:
        return None
    lines = []
    for level in sorted(rows["level"].unique()):
        of_level = rows[rows["level"] == level]
        steps = floats(of_level["step"])
        allowed = (floats(of_level["low"]), floats(of_level["high"]))
        name = text.level(level)
        nominal = np.full_like(steps, level)
        lines.append(Line(f"{name} nominal", steps, nominal, "nominal", "", (allowed,)))
        lines.append(Line(name, steps, floats(of_level["coverage"]), "chosen", model))
    title = title_of_series(results, text.name(model), series)
    label = f"Coverage by horizon step, {title}"
    axes = step_axes(results, label, "share of the actual values covered", lines[0].x)
    lowest = float(rows[["coverage", "low"]].min().min())
    axes = replace(axes, show=text.level, y_range=(lowest - ROOM, 1 + ROOM / 4))
    outside = int((~rows["inside"].astype(bool)).sum())
    note = "Every point inside its grey band"
    if outside:
        note = f"{outside} of {len(rows)} points outside the grey bands"
    return Panel(title, line_chart(lines, axes), note, model)


def reliability_panels(results: Results) -> list[Panel]:
    """Nominal against actual coverage of every shown model, all steps pooled, per series; the
    diagonal is right.
    """
    panels = [_reliability_panel(results, series) for series in results.series[:MOST_SERIES]]
    return [panel for panel in panels if panel is not None]


def _reliability_panel(results: Results, series: str) -> Panel | None:
    of_series = results.reliability[results.reliability["series"] == series]
    lines = []
    for model in shown_models(results):
        rows = in_ranking(of_series[of_series["model"] == model], RANKING)
        rows = rows.dropna(subset=["coverage"]).sort_values("level")
        if len(rows) > 1:
            role = role_of(results, RANKING, model)
            coverage = floats(rows["coverage"])
            lines.append(Line(text.name(model), floats(rows["level"]), coverage, role, model))
            allowed = (floats(rows["low"]), floats(rows["high"]))
    if not lines:
        return None
    nominal = lines[-1].x
    lines.append(Line("", nominal, nominal, "nominal", "", (allowed,)))
    highest = nominal.max() + ROOM
    ticks = [(level, text.level(level)) for level in (0.2, 0.4, 0.6, 0.8, 1.0) if level <= highest]
    title = title_of_series(results, "Reliability", series)
    axes = Axes(
        title,
        "nominal level",
        "share of the actual values covered",
        ticks,
        (0.0, 1.0),
        moments=[f"{text.level(level)} nominal" for level in nominal],
        show=text.level,
    )
    return Panel(title, line_chart(lines, axes))


def refusals(results: Results) -> list[str]:
    """The levels refused, one sentence per series and reason; of many series one per reason."""
    refused = results.verdicts.refused_levels
    sentences = list(dict.fromkeys(f"{level.series}: {level.reason}" for level in refused))
    if len(sentences) <= text.WORST:
        return sentences
    counts = Counter(level.reason for level in refused)
    return [f"{text.count(series)} series: {reason}" for reason, series in counts.items()]


MAX_NAMED = 3
"""Networks named in one cell."""


@dataclass(frozen=True)
class NetworkIntervals:
    """Interval coverage of one network, series and level."""

    model: str
    ranking: str
    series: str
    level: float
    coverage: float
    is_within: bool
    """Whether the coverage of all steps pooled is within what the level allows."""
    n_steps: int
    n_steps_outside: int
    worse_than: dict[str, float]
    """By reference, the share by which the interval score lies above its score."""

    @property
    def passes(self) -> bool:
        """Whether no check finds anything."""
        is_worse = any(excess > 0 for excess in self.worse_than.values())
        return self.is_within and not self.n_steps_outside and not is_worse


def network_intervals(results: Results) -> list[NetworkIntervals]:
    """Every network's intervals, as shipped and alone, the series that the page shows."""
    networks = {record.model for record in results.records.values() if record.is_network}
    table = results.intervals
    present = set(table["model"])
    references = [name for name in ("seasonal_naive", "naive") if name in present][:1]
    references.append(fitted_skip(results))
    is_shown = table["series"].isin(results.series[:MOST_SERIES])
    shown_rows = table[table["model"].isin(networks) & is_shown]
    intervals = []
    for ranking in RANKINGS:
        of_ranking = shown_rows[shown_rows["ranking"] == ranking]
        for _, rows in of_ranking.groupby(["level", "series", "model"]):
            pooled = rows[rows["step"] == 0]
            if not pooled.empty:
                intervals.append(_network_intervals(pooled.iloc[0], rows, table, references))
    return intervals


def _network_intervals(
    pooled: pd.Series, rows: pd.DataFrame, table: pd.DataFrame, references: list[str]
) -> NetworkIntervals:
    """`pooled`: the row of all steps; `rows`: those of each step; `table`: of all candidates."""
    steps = rows[rows["step"] > 0].dropna(subset=["coverage"])
    baselines = table[(table["ranking"] == "baseline") & (table["step"] == 0)]
    baselines = baselines[baselines["series"] == pooled["series"]]
    baselines = baselines[baselines["level"] == pooled["level"]]
    scores = dict(zip(baselines["model"], baselines["winkler"], strict=True))
    worse_than = {
        name: float(pooled["winkler"]) / float(scores[name]) - 1
        for name in references
        if scores.get(name)
    }
    return NetworkIntervals(
        model=pooled["model"],
        ranking=pooled["ranking"],
        series=pooled["series"],
        level=pooled["level"],
        coverage=pooled["coverage"],
        is_within=bool(pooled["inside"]),
        n_steps=len(steps),
        n_steps_outside=int((~steps["inside"].astype(bool)).sum()),
        worse_than=worse_than,
    )


def count_table(intervals: list[NetworkIntervals], *, several: bool) -> Table | None:
    """Per ranking, level and series: how many networks pass each check, and which fail one."""
    if not intervals:
        return None
    references = list(intervals[0].worse_than)
    no_worse = [
        (f"No worse than {text.name(name)}", "Networks whose Winkler score is no higher")
        for name in references
    ]
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
        *no_worse,
        ("All of these", "Networks that pass every check"),
        ("Which do not", ""),
    ]
    groups: dict[tuple[str, float, str], list[NetworkIntervals]] = {}
    for network in intervals:
        key = (network.ranking, network.level, network.series)
        groups.setdefault(key, []).append(network)
    rows = []
    for (ranking, level, series), networks in groups.items():
        title = f"{RANKING_TITLES.get(ranking, ranking)}, {text.level(level)}"
        if several:
            title += f", {series}"
        rows.append(Row(title, _count_cells(networks, references)))
    return Table(columns, rows)


def _count_cells(networks: list[NetworkIntervals], references: list[str]) -> list[Cell]:
    """How many networks pass each check, and the names of those that fail one."""
    checks = [
        [network.is_within for network in networks],
        [not network.n_steps_outside for network in networks],
    ]
    checks += [[n.worse_than.get(name, 0.0) <= 0 for n in networks] for name in references]
    checks.append([network.passes for network in networks])
    cells = []
    for passed in checks:
        count_text = f"{sum(passed)} of {len(passed)}"
        cells.append(Cell(count_text, sum(passed), "", worse_class(not all(passed))))
    failing = [text.name(network.model) for network in networks if not network.passes]
    names = failing[:MAX_NAMED]
    if len(failing) > MAX_NAMED:
        names.append(f"{len(failing) - MAX_NAMED} more")
    listed = text.listing(names)
    cells.append(Cell(listed or text.NOTHING, listed, "", "reason"))
    return cells


def network_table(intervals: list[NetworkIntervals], *, several: bool) -> Table | None:
    """One row per network, ranking, level and series."""
    if not intervals:
        return None
    names: dict[str, None] = {}
    for network in intervals:
        names |= dict.fromkeys(network.worse_than)
    references = list(names)
    changes = [
        (f"Winkler vs {text.name(name)}", "Change of the interval score; below zero is better")
        for name in references
    ]
    columns = [
        ("Model", ""),
        ("Ranking", ""),
        ("Series", ""),
        ("Level", ""),
        ("Coverage", "All steps pooled; the level, 3 points up or down, is allowed"),
        (
            "Steps outside",
            "Steps whose coverage lies outside the binomial band, at least 6 points either way",
        ),
        *changes,
    ]
    rows = [Row(network.model, _network_cells(network, references)) for network in intervals]
    table = Table(columns, rows)
    return table if several else without_column(table, "Series")


def _network_cells(network: NetworkIntervals, references: list[str]) -> list[Cell]:
    outside = network.n_steps_outside
    cells = [
        Cell(RANKING_TITLES.get(network.ranking, network.ranking), network.ranking),
        Cell(network.series, network.series),
        Cell(text.level(network.level), network.level),
        share(network.coverage, worse_class(not network.is_within)),
        Cell(f"{outside} of {network.n_steps}", outside, "", worse_class(outside > 0)),
    ]
    for name in references:
        excess = network.worse_than.get(name)
        if excess is None:
            cells.append(EMPTY)
        else:
            cells.append(Cell(text.signed_percent(excess), excess, "", worse_class(excess > 0)))
    return cells
