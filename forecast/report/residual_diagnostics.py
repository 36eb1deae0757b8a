"""What the one-step errors still contain: autocorrelations with their band, Ljung-Box, and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast.report import text
from forecast.report.charts import stem_chart
from forecast.report.evidence import Evidence
from forecast.report.figures import Panel, fitted_skip, step_unit
from forecast.report.panels import MOST_SERIES
from forecast.report.tables import Cell, Row, Table

RANKING = "shipped"
LEVEL = 0.05
Left = dict[str, Any]  # one entry of residuals.json


def shown(evidence: Evidence) -> list[str]:
    """The chosen model, the best network, its skip alone, naive and seasonal naive, as far as there are any."""
    wanted = [evidence.chosen(RANKING), evidence.best_network(RANKING), fitted_skip(evidence), "naive"]
    wanted += ["seasonal_naive"] if evidence.dataset.season > 1 else []
    known = {left["model"] for left in evidence.residuals if left["ranking"] in (RANKING, "baseline")}
    return [model for model in dict.fromkeys(wanted) if model and model in known]


def table(evidence: Evidence) -> Table | None:
    several = len(evidence.series) > 1
    columns = [
        ("Model", ""),
        *([("Series", "")] if several else []),
        ("Residuals", "One-step errors of the test block, first seed"),
        ("Mean", "In the units the target was modelled in, ± two standard errors: is it biased?"),
        ("Lags", "How many autocorrelations were looked at together"),
        ("Ljung-Box p", "Small: the errors are not independent of each other; assumes a constant variance"),
        ("p, any variance", "The same question without assuming a constant variance; on prices, read this one"),
        ("Largest autocorrelation", "Of those lags, and the lag it is at"),
    ]
    rows = [
        _row(evidence, left, several=several)
        for series in evidence.series[:MOST_SERIES]
        for model in shown(evidence)
        for left in _of(evidence, model, series)
    ]
    return Table(columns, rows) if rows else None


def _of(evidence: Evidence, model: str, series: str) -> list[Left]:
    mine = (RANKING, "baseline")
    return [r for r in evidence.residuals if (r["model"], r["series"]) == (model, series) and r["ranking"] in mine]


def _row(evidence: Evidence, left: Left, *, several: bool) -> Row:
    correlations = np.abs(left["autocorrelation"])
    most = int(np.argmax(correlations))
    value = float(left["autocorrelation"][most])
    room = 2 * float(left["mean_error"])
    biased = abs(float(left["mean"])) > room
    cells = [
        *([Cell(left["series"], left["series"])] if several else []),
        Cell(text.count(left["n"]), float(left["n"])),
        Cell(f"{text.figure(left['mean'], 3)} ± {text.figure(room, 2)}", float(left["mean"]), "", _mark(biased)),
        Cell(text.count(left["lags"]), float(left["lags"])),
        *[_p(left[key]) for key in ("p", "p_robust")],
        Cell(f"{text.figure(value, 2)} at lag {most + 1}", abs(value)),
    ]
    return Row(left["model"], cells, cls="chosen" if left["model"] == evidence.chosen(RANKING) else "")


def _p(value: float | None) -> Cell:
    if text.missing(value):
        return Cell(text.NOTHING)
    return Cell(text.p_value(value).removeprefix("p = ").removeprefix("p "), value, "", _mark(float(value) < LEVEL))  # type: ignore[arg-type]


def _mark(bad: bool) -> str:
    return "w-worse" if bad else ""


def panels(evidence: Evidence) -> list[Panel]:
    """The autocorrelations of the first shown model's residuals, per series."""
    models = shown(evidence)
    return [
        _panel(evidence, models[0], series, left)
        for series in (evidence.series[:MOST_SERIES] if models else ())
        for left in _of(evidence, models[0], series)
    ]


def _panel(evidence: Evidence, model: str, series: str, left: Left) -> Panel:
    title = f"{text.name(model)}{f', {series}' if len(evidence.series) > 1 else ''}"
    values, band = (np.array(left[key], float) for key in ("autocorrelation", "band"))
    outside = int((np.abs(values) > band).sum())
    svg = stem_chart(values, band, label=f"Autocorrelation of one-step errors, {title}", x_title=lag_title(evidence))
    usual = f"; {text.figure(LEVEL * len(values), 2)} of {len(values)} would be by chance"
    return Panel(title, svg, f"{outside} of {len(values)} outside the band{usual}", model)


def lag_title(evidence: Evidence) -> str:
    """`lag, hours`, or with a stride above one `lag, in steps of 6 hours`."""
    unit, stride = step_unit(evidence.dataset), evidence.dataset.stride
    return f"lag, {unit}" if stride == 1 else f"lag, in steps of {stride} {unit}"
