"""The charts of errors by step (`step_panels`), and what all charts of the page share: `ChartPanel`
(a chart with title and note), the role of a model and so its colour (`role_of`), and the names of
units and steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from markupsafe import Markup
from pandas.tseries.frequencies import to_offset

from forecast.comparison.metrics import METRICS, Metric
from forecast.config.datasets import Dataset
from forecast.config.task import RegularCalendar
from forecast.data.comparison_records import PairedTest
from forecast.data.results import MEAN, RANKING_TITLES, Results, in_ranking
from forecast.report import text
from forecast.report.charts import (
    Axes,
    Floats,
    Interval,
    Line,
    floats,
    line_chart,
    pad_range,
)
from forecast.system.errors import MINUS

LINEAR = "ridge"
"""The linear reference model of every chart; the skip of networks that do not forecast recursively.
"""
AGAINST_NAIVE = "change of the error against naive"
STEP_NAMES = {"index": "rows", "sessions": "sessions", "year_weeks": "weeks", "weekdays": "days"}
"""The name of steps by the kind of calendar."""
TIME_UNITS = {
    "s": "seconds",
    "min": "minutes",
    "h": "hours",
    "D": "days",
    "B": "working days",
    "BM": "months",
    "BQ": "quarters",
    "BY": "years",
    "W": "weeks",
    "M": "months",
    "Q": "quarters",
    "Y": "years",
}
"""The name of a step by its pandas code, without anchor and the letter for start or end."""


@dataclass(frozen=True)
class ChartPanel:
    """One chart with its title above and a note below it."""

    title: str
    svg: Markup
    note: str = ""


def ranking_metric(results: Results) -> Metric:
    """The metric by which models are ranked."""
    return next(metric for metric in METRICS if metric.name == results.headline_metric)


def describe_horizon(dataset: Dataset) -> str:
    """The horizon in words: `24 hours ahead`, `1 hour ahead`."""
    unit = step_unit(dataset)
    if dataset.horizon == 1:
        noun, of, rest = unit.partition(" of ")
        unit = noun.removesuffix("s") + of + rest
    return f"{dataset.horizon} {unit} ahead"


def step_unit(dataset: Dataset) -> str:
    """The name of the steps of the horizon: hours, sessions, days, steps of 15 minutes; rows if
    there are no dates.
    """
    calendar = dataset.calendar
    if not isinstance(calendar, RegularCalendar) or calendar.counts_rows:
        return STEP_NAMES[calendar.kind]
    if calendar.opening_hours:
        return f"open steps of {calendar.freq}"
    step = to_offset(calendar.freq)
    unit = TIME_UNITS.get(step.rule_code.split("-")[0].rstrip("SE"))
    if unit is None:
        return f"steps of {calendar.freq}"
    return unit if step.n == 1 else f"steps of {step.n} {unit}"


def error_title(results: Results) -> str:
    """The title of the ranking metric with its unit, for an axis: `MAE, °C`, `MASE`."""
    unit = f", {results.unit}" if results.headline_metric == "mae" and results.unit else ""
    return ranking_metric(results).title + unit


def role_of(results: Results, ranking: str, model: str) -> str:
    """The role of a model in the charts of one ranking: `chosen` (selected), `skip` (`LINEAR`),
    `network` (the best one, if no network was selected), `naive`, `seasonal` (the seasonal naive
    forecast, if there is a season), or `other`.
    """
    if model == results.selected_model(ranking):
        return "chosen"
    if model == LINEAR:
        return "skip"
    selected = results.candidate(results.selected_model(ranking) or "", ranking)
    is_network_selected = selected is not None and results.records[selected].is_network
    if model == results.best_network(ranking) and not is_network_selected:
        return "network"
    if model == "naive":
        return "naive"
    if model == "seasonal_naive" and results.dataset.season_length > 1:
        return "seasonal"
    return "other"


def step_panels(results: Results) -> list[ChartPanel]:
    """Charts of the error by step for each ranking, then of its change against naive, in which
    close lines differ more. The selected model and the best network have the range of their seeds.
    """
    metrics_shown = [
        (results.headline_metric, error_title(results), "", None),
        ("skill", AGAINST_NAIVE, " against naive", change_label),
    ]
    panels = []
    for metric, y_title, suffix, show in metrics_shown:
        for ranking in results.rankings:
            lines = _step_lines(results, ranking, metric)
            if not lines:
                continue
            title = f"{RANKING_TITLES[ranking].capitalize()}{suffix}"
            axes = step_axes(results, f"Error by horizon step, {title}", y_title, lines[0].x)
            if show:
                axes = replace(axes, show=show, y_range=pad_range(_coloured_values(lines)))
            panels.append(ChartPanel(title, line_chart(lines, axes)))
    return panels


def _coloured_values(lines: list[Line]) -> list[float]:
    """The values of the coloured lines and their bands, for the range of y. Grey lines and that of
    seasonal naive, which may be far away, do not count.
    """
    values: list[float] = []
    for line in lines:
        if line.role in ("other", "seasonal"):
            continue
        values += list(line.y)
        for low, high in line.bands:
            values += [*low, *high]
    return values


def step_axes(results: Results, label: str, y_title: str, x: Floats) -> Axes:
    """Axes over the horizon steps `x`, with about six ticks."""
    steps = [int(step) for step in x]
    every = max(1, -(-len(steps) // 6))
    later_ticks = [step for step in steps if step % every == 0 and step - steps[0] >= every / 2]
    x_ticks = [(float(step), str(step)) for step in [steps[0], *later_ticks]]
    x_title = f"{step_unit(results.dataset)} ahead"
    return Axes(label, x_title, y_title, x_ticks, x_names=[f"{step} ahead" for step in steps])


def _step_lines(results: Results, ranking: str, metric: str) -> list[Line]:
    """One line per model that has the metric, with a band from the lowest to the highest seed. For
    the metric `skill` it shows the change of the error against naive, which is its negative.
    """
    table = in_ranking(results.by_step, ranking).dropna(subset=[metric])
    sign = -1.0 if metric == "skill" else 1.0
    lines = []
    for model, part in table.groupby("model", sort=True):
        model = str(model)
        by_seed = sign * part.pivot(index="step", columns="seed", values=metric)
        seeds = by_seed[[column for column in by_seed if str(column).isdigit()]]
        role = role_of(results, ranking, model)
        bands: tuple[tuple[Floats, Floats], ...] = ()
        if role in ("chosen", "network") and seeds.shape[1] > 1:
            bands = ((floats(seeds.min(axis=1)), floats(seeds.max(axis=1))),)
        name = text.name(model)
        tip = name if role == "other" else ""
        x = by_seed.index.to_numpy(float)
        lines.append(Line(name, x, by_seed[MEAN].to_numpy(float), role, model, bands, tip))
    return lines


def change_label(share: float) -> str:
    """A tick on an axis of relative changes: `−2 %`, `0`."""
    if not share:
        return "0"
    return f"{100 * share:+.3g} %".replace("-", MINUS)


def interval_row(test: PairedTest, difference: float) -> Interval:
    """The row of an interval chart for a test with this relative `difference`."""
    name = text.name(test.model)
    tip = (
        f"{name} against {text.name(test.against)}:"
        f" {text.signed_percent(difference)}{text.describe_numbers(test)}"
    )
    low, high = test.relative_limits or (math.nan, math.nan)
    return Interval(name, difference, low, high, test.word, test.model, tip)
