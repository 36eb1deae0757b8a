"""Errors by step, learning curves, gain over the skip: which numbers of the results go into which
chart, and what every chart of the page shares.

A `Panel` is a chart with its title and note. `role_of` says which part a model plays in all charts
of a ranking (selected, naive, skip, best network, other), and so its colour; `step_panels`,
`curve_panels` and `skip_panels` make the panels of three sections.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from markupsafe import Markup

from forecast.comparison.metrics import METRICS, Metric
from forecast.config.datasets import Dataset
from forecast.config.task import RegularCalendar, SessionCalendar
from forecast.data.comparison_records import PairedTest
from forecast.data.records import RunRecord, SeedFit
from forecast.data.results import RANKING_TITLES, RANKINGS, Results, in_ranking
from forecast.report import text
from forecast.report.charts import (
    Axes,
    Floats,
    Interval,
    Line,
    floats,
    interval_chart,
    line_chart,
    pad_range,
)

LINEAR = "ridge"
"""The linear reference of every chart, whatever skip a network has."""
SMALL = (212.0, 150.0)
CURVE_POINTS = 60
# times the deepest gain: a diverging end must not flatten all other curves
CURVE_ABOVE, CURVE_LEAST = 1.5, 0.02
AGAINST_NAIVE = "change of the error against naive"
TIME_UNITS = {
    "h": "hours",
    "D": "days",
    "W": "weeks",
    "MS": "months",
    "ME": "months",
    "min": "minutes",
}


@dataclass(frozen=True)
class Panel:
    """One chart with what stands above and below it; `model` as the page's filter knows it."""

    title: str
    svg: Markup | str
    note: str = ""
    model: str = ""


def has_several_series(results: Results) -> bool:
    """Whether titles and tables have to say which series they are about."""
    return len(results.series) > 1


def title_of_series(results: Results, title: str, series: str) -> str:
    """`lstm, town`; of a dataset of one series `lstm`."""
    return f"{title}, {series}" if has_several_series(results) else title


def headline(results: Results) -> Metric:
    """The error that ranks."""
    return next(metric for metric in METRICS if metric.name == results.headline_metric)


def step_unit(dataset: Dataset) -> str:
    """What one step of the horizon is called: hours, sessions, days, steps of 15min, rows where
    there are no dates.
    """
    if dataset.calendar.kind == "index":
        return "rows"
    if isinstance(dataset.calendar, SessionCalendar):
        return "sessions"
    if dataset.calendar.kind == "year_weeks":
        return "weeks"
    if not isinstance(dataset.calendar, RegularCalendar):
        return "days"
    freq = dataset.calendar.freq
    return TIME_UNITS.get(freq.removeprefix("1"), f"steps of {freq}")


def error_title(results: Results) -> str:
    """The ranking error with its unit, for an axis: `MAE, °C`, `MASE`."""
    unit = f", {results.unit}" if results.headline_metric == "mae" and results.unit else ""
    return headline(results).title + unit


def role_of(results: Results, ranking: str, model: str) -> str:
    """The part a model plays in the charts of one ranking: chosen, skip (the ridge), network (the
    best one, where validation chose a baseline), naive, seasonal (where there is a season), else
    other.
    """
    if model == results.selected_model(ranking):
        return "chosen"
    if model == LINEAR:
        return "skip"
    if model == results.best_network(ranking) and not _is_network_chosen(results, ranking):
        return "network"
    if model == "naive":
        return "naive"
    if model == "seasonal_naive" and results.dataset.season_length > 1:
        return "seasonal"
    return "other"


def _is_network_chosen(results: Results, ranking: str) -> bool:
    name = results.candidate(results.selected_model(ranking) or "", ranking)
    return name is not None and results.records[name].is_network


def step_panels(results: Results) -> list[Panel]:
    """Error by horizon step for each ranking, then the same against naive, which tells close lines
    apart.

    Named lines stand out, others are grey. Around the chosen model (or the best network) the range
    of the seeds, and against naive the 95 % band of the change.
    """
    metrics_shown = [
        (results.headline_metric, error_title(results), "", None),
        ("skill", AGAINST_NAIVE, " against naive", change),
    ]
    panels = []
    for metric, y_title, suffix, show in metrics_shown:
        for ranking in results.rankings:
            lines = _step_lines(results, ranking, metric)
            lines = [line for line in lines if np.isfinite(line.y).any()]
            if not lines:
                continue
            title = f"{RANKING_TITLES[ranking].capitalize()}{suffix}"
            axes = step_axes(results, f"Error by horizon step, {title}", y_title, lines[0].x)
            if show:
                axes = replace(axes, show=show, y_range=pad_range(_named_values(lines)))
            panels.append(Panel(title, line_chart(lines, axes)))
    return panels


def _named_values(lines: list[Line]) -> list[float]:
    """Of the lines that are named, and of their bands: a grey line or the seasonal one far off must
    not flatten them.
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
    return Axes(label, x_title, y_title, x_ticks, moments=[f"{step} ahead" for step in steps])


def _step_lines(results: Results, ranking: str, metric: str) -> list[Line]:
    """One line per model, its band from the least to the greatest of the seeds; for `skill` its
    negative, the change of the error against naive, with the 95 % band of the change.
    """
    table = in_ranking(results.by_step, ranking)
    sign = -1.0 if metric == "skill" else 1.0
    lines = []
    for model, part in table.groupby("model", sort=True):
        model = str(model)
        by_seed = sign * part.pivot_table(index="step", columns="seed", values=metric)
        seeds = by_seed[[column for column in by_seed if str(column).isdigit()]]
        mean = by_seed["mean"] if "mean" in by_seed else seeds.mean(axis=1)
        role = role_of(results, ranking, model)
        bands: tuple[tuple[Floats, Floats], ...] = ()
        if role in ("chosen", "network"):
            if metric == "skill":
                bands = _change_band(results, ranking, model, n_steps=len(by_seed))
            elif seeds.shape[1] > 1:
                bands = ((floats(seeds.min(axis=1)), floats(seeds.max(axis=1))),)
        name = text.name(model)
        tip = name if role == "other" else ""
        x = by_seed.index.to_numpy(float)
        lines.append(Line(name, x, mean.to_numpy(float), role, model, bands, tip))
    return lines


def _change_band(
    results: Results, ranking: str, model: str, *, n_steps: int
) -> tuple[tuple[Floats, Floats], ...]:
    """The 95 % band of the change against naive; none unless it is known at every step."""
    changes = results.changes[results.changes["model"] == model]
    changes = in_ranking(changes, ranking).sort_values("step")
    if len(changes) != n_steps:
        return ()
    return ((floats(changes["low"]), floats(changes["high"])),)


def curves_by_ranking(results: Results) -> dict[str, list[Panel]]:
    """`curve_panels` of every ranking that has any."""
    curves = {}
    for ranking in results.rankings:
        if drawn := curve_panels(results, ranking):
            curves[ranking] = drawn
    return curves


def curve_panels(results: Results, ranking: str) -> list[Panel]:
    """Learning curves, a small panel per network on a common scale: validation loss against the
    start, per seed.

    A network starts as its skip alone (its read-out is zero), so the start is what the skip is
    worth. Training loss is left out: it is of another block and of other weights of the steps, and
    the two would not share an axis.
    """
    records = [r for r in results.records.values() if r.is_network and r.ranking == ranking]
    curves: dict[str, list[Line]] = {}
    values: list[Floats] = []
    for record in records:
        of_seeds = [_curve(record.model, seed) for seed in record.seeds]
        curves[record.model] = [line for line in of_seeds if line is not None]
        values += [line.y for line in curves[record.model]]
    if not values:
        return []
    deepest = float(min(y.min() for y in values))
    highest = float(max(y.max() for y in values))
    top = min(highest, max(CURVE_ABOVE * -deepest, CURVE_LEAST))
    bounds = pad_range([0.0, deepest, top], share=0.08)
    records.sort(key=lambda record: record.model)
    return [_curve_panel(record, curves[record.model], bounds) for record in records]


def _curve(model: str, seed: SeedFit) -> Line | None:
    """One seed's validation loss as a share above or below its start, its best step marked; None
    without a curve.
    """
    rows = np.array(seed.curve, float).reshape(-1, 3)  # None becomes NaN
    rows = rows[np.isfinite(rows[:, 2])]
    if len(rows) < 2 or rows[0, 2] <= 0:
        return None
    steps = rows[:, 0]
    change = rows[:, 2] / rows[0, 2] - 1
    best = int(np.argmin(np.abs(steps - seed.best_step)))
    keep = np.unique(np.append(np.linspace(0, len(steps) - 1, CURVE_POINTS).astype(int), best))
    tip = (
        f"{text.name(model)}, seed {seed.seed}: {text.signed_percent(change[best])} at its best,"
        f" step {text.count(seed.best_step)}"
    )
    return Line(
        "seed",
        steps[keep],
        change[keep],
        "seed",
        model,
        tip=tip,
        dot=int(np.searchsorted(keep, best)),
    )


def _curve_panel(record: RunRecord, lines: list[Line], bounds: tuple[float, float]) -> Panel:
    """The curves of one network, or why there are none; `bounds`: the range of y."""
    model = record.model
    if not lines:
        return Panel(text.name(model), "", record.reason or "no curve recorded", model)
    last = max(float(line.x[-1]) for line in lines)
    ticks = [(0.0, "0"), (last, text.count(last))]
    axes = Axes(
        f"Learning curves of {model}", "", "", ticks, bounds, level=0.0, size=SMALL, show=change
    )
    best_steps = text.listing([text.count(line.x[line.dot]) for line in lines])
    return Panel(text.name(model), line_chart(lines, axes), f"best at step {best_steps}", model)


def skip_panels(results: Results) -> list[Panel]:
    """What each network adds over its own skip: relative change of the loss with its interval, best
    first.
    """
    panels = []
    for ranking in RANKINGS:
        tests = [
            t for t in results.tests(ranking, "skip").values() if t.relative_difference is not None
        ]
        if not tests:
            continue
        skips = sorted({text.name(test.against) for test in tests})
        rows = []
        for test in tests:
            label = text.name(test.model)
            if len(skips) > 1:
                label += f" on {text.name(test.against)}"
            rows.append(describe_test(test, label))
        rows.sort(key=attrgetter("value"))
        against = text.listing(skips)
        label = f"Change of error against {against}, {RANKING_TITLES[ranking]}"
        svg = interval_chart(
            rows, label=label, x_title="change of the error; left is better", show=change
        )
        panels.append(Panel(f"{RANKING_TITLES[ranking].capitalize()}: against {against}", svg))
    return panels


def change(share: float) -> str:
    """A tick of an axis of relative changes: `−2 %`, `0`."""
    if not share:
        return "0"
    return f"{100 * share:+.3g} %".replace("-", text.MINUS)


def describe_test(test: PairedTest, label: str) -> Interval:
    """The row of an interval chart that shows a test's relative difference; `label` names it."""
    value = test.relative_difference or 0.0
    tip = (
        f"{text.name(test.model)} against {text.name(test.against)}:"
        f" {text.signed_percent(value)}{text.interval(test)}{text.holm(test)}"
    )
    return Interval(label, value, *text.relative_interval(test), test.word, test.model, tip)
