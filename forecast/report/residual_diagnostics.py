"""Residual diagnostics: autocorrelations of the one-step errors with their band, Ljung-Box, and the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast.data.results import Results
from forecast.report import text
from forecast.report.charts import stem_chart
from forecast.report.figures import Panel, fitted_skip, step_unit
from forecast.report.text import MOST_SERIES, Cell, Row, Table

RANKING = "shipped"
LEVEL = 0.05
Residuals = dict[str, Any]  # one entry of residuals.json


def shown(results: Results) -> list[str]:
    """The chosen model, the best network, its skip alone, naive and seasonal naive, as far as there are any."""
    wanted = [results.chosen(RANKING), results.best_network(RANKING), fitted_skip(results), "naive"]
    wanted += ["seasonal_naive"] if results.dataset.season_length > 1 else []
    known = {found["model"] for found in results.residuals if found["ranking"] in (RANKING, "baseline")}
    return [model for model in dict.fromkeys(wanted) if model and model in known]


def table(results: Results) -> Table | None:
    several = len(results.series) > 1
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
        _row(results, found, several=several)
        for series in results.series[:MOST_SERIES]
        for model in shown(results)
        for found in _of(results, model, series)
    ]
    return Table(columns, rows) if rows else None


def _of(results: Results, model: str, series: str) -> list[Residuals]:
    mine = (RANKING, "baseline")
    return [r for r in results.residuals if (r["model"], r["series"]) == (model, series) and r["ranking"] in mine]


def _row(results: Results, found: Residuals, *, several: bool) -> Row:
    correlations = np.abs(found["autocorrelation"])
    most = int(np.argmax(correlations))
    value = float(found["autocorrelation"][most])
    room = 2 * float(found["mean_error"])
    biased = abs(float(found["mean"])) > room
    cells = [
        *([Cell(found["series"], found["series"])] if several else []),
        Cell(text.count(found["n"]), float(found["n"])),
        Cell(f"{text.figure(found['mean'], 3)} ± {text.figure(room, 2)}", float(found["mean"]), "", _mark(biased)),
        Cell(text.count(found["lags"]), float(found["lags"])),
        *[_p(found[key]) for key in ("p", "p_robust")],
        Cell(f"{text.figure(value, 2)} at lag {most + 1}", abs(value)),
    ]
    return Row(found["model"], cells, cls="chosen" if found["model"] == results.chosen(RANKING) else "")


def _p(value: float | None) -> Cell:
    if text.missing(value):
        return Cell(text.NOTHING)
    return Cell(text.p_value(value).removeprefix("p = ").removeprefix("p "), value, "", _mark(float(value) < LEVEL))  # type: ignore[arg-type]


def _mark(bad: bool) -> str:
    return "w-worse" if bad else ""


def panels(results: Results) -> list[Panel]:
    """The autocorrelations of the first shown model's residuals, per series."""
    models = shown(results)
    return [
        _panel(results, models[0], series, found)
        for series in (results.series[:MOST_SERIES] if models else ())
        for found in _of(results, models[0], series)
    ]


def _panel(results: Results, model: str, series: str, found: Residuals) -> Panel:
    title = f"{text.name(model)}{f', {series}' if len(results.series) > 1 else ''}"
    values, band = (np.array(found[key], float) for key in ("autocorrelation", "band"))
    outside = int((np.abs(values) > band).sum())
    svg = stem_chart(values, band, label=f"Autocorrelation of one-step errors, {title}", x_title=lag_title(results))
    usual = f"; {text.figure(LEVEL * len(values), 2)} of {len(values)} would be by chance"
    return Panel(title, svg, f"{outside} of {len(values)} outside the band{usual}", model)


def lag_title(results: Results) -> str:
    """`lag, hours`, or with a step size above one `lag, in steps of 6 hours`."""
    unit, step_size = step_unit(results.dataset), results.dataset.step_size
    return f"lag, {unit}" if step_size == 1 else f"lag, in steps of {step_size} {unit}"
