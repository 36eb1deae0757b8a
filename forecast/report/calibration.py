"""Calibration: do the intervals hold what their level promises, how wide are they, and by horizon step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from forecast.report import text
from forecast.report.charts import Axes, Line, line_chart
from forecast.report.evidence import Evidence
from forecast.report.figures import Panel, fitted_skip, role_of, step_axes
from forecast.report.panels import MOST_SERIES
from forecast.report.svg import Floats
from forecast.report.tables import Cell, Row, Table, number

RANKING = "shipped"
METHODS = {
    "split": "split conformal intervals, whose width stays as the calibration block set it",
    "adaptive": "adaptive conformal intervals, whose width follows the errors seen so far",
}
ROOM = 0.02  # of the axis of coverage, below the lowest and up to above 100 %


def shown_models(evidence: Evidence) -> list[str]:
    """The chosen model (else the best network), its skip alone, naive and seasonal naive, as far as there are any."""
    judged = evidence.chosen(RANKING) or evidence.best_network(RANKING)
    wanted = [judged, fitted_skip(evidence), "naive", "seasonal_naive"]
    return [m for m in dict.fromkeys(wanted) if m and not evidence.intervals_of(m, RANKING).empty]


def levels(evidence: Evidence) -> str:
    """`80 % and 95 %`: every level that some interval was made for."""
    return text.listing([_percent(level) for level in sorted(evidence.intervals["level"].unique())])


def table(evidence: Evidence) -> Table | None:
    """Pooled over the steps: coverage, width and interval score per series and level; None without any interval."""
    models = shown_models(evidence)
    several = len(evidence.series) > 1
    columns = [
        ("Model", ""),
        *([("Series", "")] if several else []),
        ("Level", "What share of the actual values the interval should cover"),
        ("Coverage", "What share it did cover, all steps pooled"),
        ("Allowed", "The level, 3 points up or down"),
        (f"Width{_unit(evidence)}", "Mean width; at equal coverage narrower is better"),
        (
            f"Winkler score{_unit(evidence)}",
            "Mean of width plus 2 / (1 - level) times what was missed; lower is better",
        ),
        ("Calibration origins", "Origins of the calibration block that set the width; at their fewest step"),
    ]
    rows = [
        _row(evidence, model, row, several=several)
        for series in evidence.series[:MOST_SERIES]
        for level in sorted(evidence.intervals["level"].unique())
        for model in models
        for row in _pooled(evidence, model, series, level)
    ]
    return Table(columns, rows) if rows else None


def _unit(evidence: Evidence) -> str:
    """The unit in brackets, where all series shown have the same."""
    units = {evidence.unit_of(series) for series in evidence.series[:MOST_SERIES]}
    return f" [{units.pop()}]" if len(units) == 1 and all(units) else ""


def _pooled(evidence: Evidence, model: str, series: str, level: float) -> list[pd.Series]:
    rows = evidence.intervals_of(model, RANKING)
    rows = rows[(rows["series"] == series) & (rows["level"] == level) & (rows["step"] == 0)]
    return [row for _, row in rows.iterrows()]


def _row(evidence: Evidence, model: str, row: pd.Series, *, several: bool) -> Row:
    inside = bool(row["inside"])
    mark = "" if inside else f" ({'below' if row['coverage'] < row['low'] else 'above'})"
    covered = text.percent(row["coverage"])
    cells = [
        *([Cell(str(row["series"]), str(row["series"]))] if several else []),
        Cell(_percent(row["level"]), float(row["level"])),
        Cell(
            covered + mark,
            float(row["coverage"]),
            f"{text.count(row['n'])} actual values",
            "" if inside else "w-worse",
        ),
        Cell(f"{text.percent(row['low'], decimals=0)} to {text.percent(row['high'], decimals=0)}", float(row["low"])),
        number(row["width"]),
        number(row["winkler"]),
        Cell(text.count(row["n_calibration"]), float(row["n_calibration"])),
    ]
    return Row(model, cells, cls="chosen" if model == evidence.chosen(RANKING) else "")


def panels(evidence: Evidence) -> list[Panel]:
    """Coverage by horizon step of the first shown model, per series: each level against its nominal share."""
    models = shown_models(evidence)
    found = [_panel(evidence, models[0], series) for series in evidence.series[:MOST_SERIES]] if models else []
    return [panel for panel in found if panel]


def _panel(evidence: Evidence, model: str, series: str) -> Panel | None:
    rows = evidence.intervals_of(model, RANKING).dropna(subset=["coverage"])
    rows = rows[(rows["series"] == series) & (rows["step"] > 0)].sort_values("step")
    if rows.empty:
        return None
    by_level = rows.groupby("level")
    lines = [line for level, part in by_level for line in _lines(model, float(level), part)]  # type: ignore[arg-type]
    title = f"{text.name(model)}{f', {series}' if len(evidence.series) > 1 else ''}"
    axes = step_axes(evidence, f"Coverage by horizon step, {title}", "share of the actual values covered", lines[0].x)
    lowest = float(rows[["coverage", "low"]].min().min())
    axes = replace(axes, show=_percent, y_range=(lowest - ROOM, 1 + ROOM / 4))
    outside = int((~rows["inside"].astype(bool)).sum())
    said = f"{outside} of {len(rows)} points outside the grey bands" if outside else "Every point inside its grey band"
    return Panel(title, line_chart(lines, axes), said, model)


def reliability_panels(evidence: Evidence) -> list[Panel]:
    """Nominal against actual coverage of every shown model, all steps pooled, per series; the diagonal is right."""
    found = [_reliability_panel(evidence, series) for series in evidence.series[:MOST_SERIES]]
    return [panel for panel in found if panel]


def _reliability_panel(evidence: Evidence, series: str) -> Panel | None:
    rows = evidence.reliability
    rows = rows[(rows["series"] == series) & (rows["method"] == shown_method(evidence))]
    lines = []
    for model in shown_models(evidence):
        part = rows[(rows["model"] == model) & rows["ranking"].isin([RANKING, "baseline"])].sort_values("level")
        if len(part) > 1:
            x, y = _floats(part["level"]), _floats(part["coverage"])
            lines.append(Line(text.name(model), x, y, role_of(evidence, RANKING, model), model))
            allowed = (_floats(part["low"]), _floats(part["high"]))
    if not lines:
        return None
    levels = lines[-1].x
    lines.append(Line("", levels, levels, "nominal", "", (allowed,)))
    ticks = [(level, _percent(level)) for level in (0.2, 0.4, 0.6, 0.8, 1.0) if level <= levels.max() + ROOM]
    several = f", {series}" if len(evidence.series) > 1 else ""
    axes = Axes(
        label=f"Reliability{several}",
        x_title="level the intervals promise",
        y_title="share of the actual values covered",
        x_ticks=ticks,
        y_range=(0.0, 1.0),
        moments=[f"{_percent(level)} promised" for level in levels],
        show=_percent,
    )
    return Panel(f"Reliability{several}", line_chart(lines, axes))


def shown_method(evidence: Evidence) -> str:
    """`split` or `adaptive`: how the intervals on this page were made."""
    return str((evidence.verdicts.get("interval_method") or {}).get("method", "split"))


def method_sentence(evidence: Evidence) -> str:
    """Which method is shown and why, in the words of the comparison."""
    reason = (evidence.verdicts.get("interval_method") or {}).get("reason", "")
    return f"Shown: {METHODS[shown_method(evidence)]}. {reason}".strip()


def method_table(evidence: Evidence) -> Table | None:
    """Both methods for the first shown model, pooled over the steps: what adapting is worth under drift."""
    models = shown_models(evidence)
    rows = evidence.methods
    if not models or rows["method"].nunique() < 2:
        return None
    mine = rows[(rows["model"] == models[0]) & rows["ranking"].isin([RANKING, "baseline"]) & (rows["step"] == 0)]
    columns = [("Method", ""), ("Series", ""), ("Level", ""), ("Coverage", ""), ("Width", ""), ("Winkler score", "")]
    found = [
        Row(
            str(row["method"]),
            [
                Cell(str(row["series"]), str(row["series"])),
                Cell(_percent(row["level"]), float(row["level"])),
                Cell(text.percent(row["coverage"]), float(row["coverage"]), "", "" if row["inside"] else "w-worse"),
                number(row["width"]),
                number(row["winkler"]),
            ],
            cls="chosen" if row["method"] == shown_method(evidence) else "",
        )
        for _, row in mine.sort_values(["series", "level", "method"]).iterrows()
    ]
    return Table(columns, found)


def _lines(model: str, level: float, rows: pd.DataFrame) -> list[Line]:
    """What one level promises, with the band it is judged by, and what it held."""
    x, covered, low, high = (_floats(rows[column]) for column in ("step", "coverage", "low", "high"))
    nominal = Line(f"{_percent(level)} nominal", x, np.full_like(x, level), "nominal", "", ((low, high),))
    return [nominal, Line(_percent(level), x, covered, "chosen", model)]


def _floats(column: pd.Series) -> Floats:
    return np.asarray(column, dtype=float)


def _percent(share: float) -> str:
    return f"{100 * float(share):.4g} %"


def refusals(evidence: Evidence) -> list[str]:
    """The levels refused, one sentence per series and reason."""
    found = evidence.verdicts.get("refused_levels") or []
    return list(dict.fromkeys(f"{refusal['series']}: {refusal['reason']}" for refusal in found))
