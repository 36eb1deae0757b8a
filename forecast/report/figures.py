"""Errors by step, learning curves, gain over the skip: which numbers of the results go into which
chart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from forecast.comparison.metrics import METRICS, Metric
from forecast.config.datasets import Dataset
from forecast.config.task import RegularCalendar, SessionCalendar
from forecast.data.comparison_records import PairedTest
from forecast.data.records import RunRecord, SeedFit
from forecast.data.results import RANKING_TITLES, RANKINGS, Results, in_ranking
from forecast.report import text
from forecast.report.charts import Axes, Interval, Line, interval_chart, line_chart
from forecast.report.svg import Floats, as_markup, floats, padded

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
MEMORYLESS = "ffnn"


@dataclass(frozen=True)
class Panel:
    """One chart with what stands above and below it; `model` as the page's filter knows it."""

    title: str
    svg: str
    note: str = ""
    model: str = ""

    @property
    def drawing(self) -> Markup:
        """The chart for the template."""
        return as_markup(self.svg)


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
    if not isinstance(dataset.calendar, RegularCalendar):
        return "sessions" if isinstance(dataset.calendar, SessionCalendar) else "days"
    freq = dataset.calendar.freq
    unit = TIME_UNITS.get(freq.lstrip("0123456789"))
    return unit if unit and freq.rstrip("hDWMSEmin") in ("", "1") else f"steps of {freq}"


def error_title(results: Results) -> str:
    """The ranking error with its unit, for an axis: `MAE, °C`, `MASE`."""
    unit = f", {results.unit}" if results.headline_metric == "mae" and results.unit else ""
    return headline(results).title + unit


def role_of(results: Results, ranking: str, model: str) -> str:
    """The part a model plays in the charts of one ranking; the fitted skip keeps its part in both.

    The best network has a part of its own where validation chose a baseline.
    """
    if model == results.selected_model(ranking):
        return "chosen"
    if model == fitted_skip(results):
        return "skip"
    parts = {"naive": "naive"} | (
        {"seasonal_naive": "seasonal"} if results.dataset.season_length > 1 else {}
    )
    chosen = results.candidate(results.selected_model(ranking) or "", ranking)
    if model == results.best_network(ranking) and (
        chosen is None or not results.records[chosen].is_network
    ):
        return "network"
    return parts.get(model, "other")


def fitted_skip(results: Results) -> str:
    """The skip alone that the charts show: that of the chosen network, else of the best network."""
    name = results.candidate(results.selected_model("shipped") or "", "shipped")
    if name is None or not results.records[name].is_network:
        name = results.candidate(results.best_network("shipped") or "", "shipped")
    row = results.records[name].skip_model if name else None
    return str(row or "ridge")


def step_panels(results: Results) -> list[Panel]:
    """Error by horizon step for each ranking, then the same against naive, which tells close lines
    apart.

    Named lines stand out, others are grey. Around the chosen model (or the best network) the range
    of the seeds, and against naive the 95 % band of the change.
    """
    shown = [
        (results.headline_metric, error_title(results), "", None),
        ("skill", AGAINST_NAIVE, " against naive", change),
    ]
    panels = []
    for metric, y_title, suffix, show in shown:
        for ranking in results.rankings:
            lines = [
                line for line in _step_lines(results, ranking, metric) if np.isfinite(line.y).any()
            ]
            if not lines:
                continue
            title = f"{RANKING_TITLES[ranking].capitalize()}{suffix}"
            axes = step_axes(results, f"Error by horizon step, {title}", y_title, lines[0].x)
            if show:  # a grey line or the seasonal one far off must not flatten what is named
                named = [line for line in lines if line.role not in ("other", "seasonal")]
                parts = [
                    part
                    for line in named
                    for part in (line.y, *(edge for band in line.bands for edge in band))
                ]
                axes = replace(
                    axes, show=show, y_range=padded(value for part in parts for value in part)
                )
            panels.append(Panel(title, line_chart(lines, axes)))
    return panels


def step_axes(results: Results, label: str, y_title: str, x: Floats) -> Axes:
    steps = [int(step) for step in x]
    every = max(1, -(-len(steps) // 6))
    ticks = [steps[0], *[s for s in steps if s % every == 0 and s - steps[0] >= every / 2]]
    x_title, x_ticks = (
        f"{step_unit(results.dataset)} ahead",
        [(float(step), str(step)) for step in ticks],
    )
    return Axes(label, x_title, y_title, x_ticks, moments=[f"{step} ahead" for step in steps])


def _step_lines(results: Results, ranking: str, metric: str) -> list[Line]:
    """One line per model, its band from the least to the greatest of the seeds; for `skill` its
    negative, the change of the error against naive, with the 95 % band of the change.
    """
    table = in_ranking(results.by_step, ranking)
    sign = -1.0 if metric == "skill" else 1.0
    lines = []
    for model, part in table.groupby("model", sort=True):
        wide = sign * part.pivot_table(index="step", columns="seed", values=metric)
        seeds = wide[[c for c in wide if str(c).isdigit()]]
        role, shown = role_of(results, ranking, str(model)), text.name(str(model))
        mean = wide["mean"] if "mean" in wide else seeds.mean(axis=1)
        bands: tuple[tuple[Floats, Floats], ...] = ()
        x, y = wide.index.to_numpy(float), mean.to_numpy(float)
        if role in ("chosen", "network"):
            if metric == "skill":
                sure = in_ranking(
                    results.changes[results.changes["model"] == model], ranking
                ).sort_values("step")
                bands = (
                    ((floats(sure["low"]), floats(sure["high"])),) if len(sure) == len(x) else ()
                )
            elif seeds.shape[1] > 1:
                bands = ((floats(seeds.min(axis=1)), floats(seeds.max(axis=1))),)
        lines.append(Line(shown, x, y, role, str(model), bands, shown if role == "other" else ""))
    return lines


def memory_sentence(results: Results, ranking: str) -> str:
    """What memory is worth: the memoryless network beside the network with memory that validation
    prefers.
    """
    networks = [r.model for r in results.records.values() if r.ranking == ranking and r.is_network]
    scores = {m: s for m in networks if (s := results.score(m, ranking)) is not None}
    without = next((r.model for r in results.records.values() if r.family == MEMORYLESS), "")
    others = {
        m: s for m, s in scores.items() if m != without and not text.missing(s["validation_mase"])
    }
    if without not in scores or not others:
        return ""
    best = min(others, key=lambda m: (others[m]["validation_mase"], m))
    has, lacks = (float(scores[m][results.headline_metric]) for m in (best, without))
    said = f"{headline(results).title} {text.figure(has)} against {text.figure(lacks)}"
    change = text.signed_percent(has / lacks - 1)
    return (
        f"{RANKING_TITLES[ranking].capitalize()}, {text.name(best)} (best on validation of those"
        f" with a memory) has {said} of {text.name(without)}, which sees the present row only:"
        f" {change}."
    )


def curve_panels(results: Results, ranking: str) -> list[Panel]:
    """Learning curves, a small panel per network on a common scale: validation loss against the
    start, per seed.

    A network starts as its skip alone (its read-out is zero), so the start is what the skip is
    worth. Training loss is left out: it is of another block and of other weights of the steps, and
    the two would not share an axis.
    """
    records = [r for r in results.records.values() if r.is_network and r.ranking == ranking]
    curves = {
        r.model: [c for seed in r.seeds if (c := _curve(r.model, seed)) is not None]
        for r in records
    }
    values = [line.y for lines in curves.values() for line in lines]
    if not values:
        return []
    deepest, highest = (float(f([f(y) for y in values])) for f in (min, max))
    bounds = padded(
        [0.0, deepest, min(highest, max(CURVE_ABOVE * -deepest, CURVE_LEAST))], share=0.08
    )
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
    steps, change = rows[:, 0], rows[:, 2] / rows[0, 2] - 1
    best = int(np.argmin(np.abs(steps - seed.best_step)))
    keep = np.unique(np.append(np.linspace(0, len(steps) - 1, CURVE_POINTS).astype(int), best))
    said = f"{text.signed_percent(change[best])} at its best, step {text.count(seed.best_step)}"
    tip = f"{text.name(model)}, seed {seed.seed}: {said}"
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
        skips = sorted({text.name(test.against) for test in tests})
        tests.sort(key=lambda test: test.relative_difference or 0.0)
        rows = [_interval(test, several=len(skips) > 1) for test in tests]
        if not rows:
            continue
        against = text.listing(skips)
        label = f"Change of error against {against}, {RANKING_TITLES[ranking]}"
        svg = interval_chart(
            rows, label=label, x_title="change of the error; left is better", show=change
        )
        panels.append(Panel(f"{RANKING_TITLES[ranking].capitalize()}: against {against}", svg))
    return panels


def change(share: float) -> str:
    """A tick of an axis of relative changes: `−2 %`, `0`."""
    return f"{100 * share:+.3g} %".replace("-", text.MINUS) if share else "0"


def _interval(test: PairedTest, *, several: bool) -> Interval:
    """The row of one network; it names its skip where the networks have different ones."""
    value = test.relative_difference or 0.0
    name = text.name(test.model)
    against = text.name(test.against)
    tip = (
        f"{name} against {against}:"
        f" {text.signed_percent(value)}{text.interval(test)}{text.holm(test)}"
    )
    shown = f"{name} on {against}" if several else name
    return Interval(shown, value, *text.relative_interval(test), test.word, test.model, tip)
