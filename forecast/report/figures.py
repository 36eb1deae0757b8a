"""Errors by step, learning curves, gain over the skip, cost: which numbers of the evidence go into which chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast.config.datasets import Dataset
from forecast.report import text
from forecast.report.charts import Axes, Interval, Line, Point, interval_chart, line_chart, scatter
from forecast.report.evidence import RANKING_TITLES, RANKINGS, Evidence
from forecast.report.svg import padded

SMALL = (212.0, 150.0)
TIME_UNITS = {"h": "hours", "D": "days", "W": "weeks", "MS": "months", "ME": "months", "min": "minutes"}
METRIC_TITLES = {"mae": "MAE", "mase": "MASE"}


@dataclass(frozen=True)
class Panel:
    """One chart with what stands above and below it; `model` as the page's filter knows it."""

    title: str
    svg: str
    note: str = ""
    model: str = ""


def step_unit(dataset: Dataset) -> str:
    """What one step of the horizon is called: hours, sessions, steps of 15min."""
    if dataset.calendar.kind == "sessions":
        return "sessions"
    freq = dataset.calendar.freq
    unit = TIME_UNITS.get(freq.lstrip("0123456789"))
    return unit if unit and freq.rstrip("hDWMSEmin") in ("", "1") else f"steps of {freq}"


def role_of(evidence: Evidence, ranking: str, model: str) -> str:
    """The part a model plays in the charts of one ranking; the fitted skip keeps its part in both."""
    if model == evidence.chosen(ranking):
        return "chosen"
    if model == evidence.own_skip(evidence.chosen("shipped") or "", "shipped"):
        return "skip"
    return {"naive": "naive", "seasonal_naive": "seasonal"}.get(model, "other")


def step_panels(evidence: Evidence) -> list[Panel]:
    """Error by horizon step for each ranking; named lines stand out, the others are grey; the band is the seeds' range."""
    panels = []
    for ranking in RANKINGS:
        lines = _step_lines(evidence, ranking)
        if not lines:
            continue
        steps = [int(step) for step in lines[0].x]
        ticks = [steps[0], *[s for s in steps if s % max(1, -(-len(steps) // 6)) == 0 and s != steps[0]]]
        unit = f", {evidence.unit}" if evidence.headline == "mae" and evidence.unit else ""
        axes = Axes(
            label=f"Error by horizon step, {RANKING_TITLES[ranking]}",
            x_title=f"{step_unit(evidence.dataset)} ahead",
            y_title=METRIC_TITLES[evidence.headline] + unit,
            x_ticks=[(float(step), str(step)) for step in ticks],
            moments=[f"{step} ahead" for step in steps],
        )
        panels.append(Panel(RANKING_TITLES[ranking].capitalize(), line_chart(lines, axes)))
    return panels


def _step_lines(evidence: Evidence, ranking: str) -> list[Line]:
    table = evidence.by_step
    table = table[table["ranking"].isin([ranking, "baseline"])]
    lines = []
    for model, part in table.groupby("model", sort=True):
        wide = part.pivot_table(index="step", columns="seed", values=evidence.headline)
        seeds = [c for c in wide if str(c).isdigit()]
        mean = wide["mean"] if "mean" in wide else wide[seeds].mean(axis=1)
        role = role_of(evidence, ranking, str(model))
        band = None
        if role == "chosen" and len(seeds) > 1:
            band = (wide[seeds].min(axis=1).to_numpy(), wide[seeds].max(axis=1).to_numpy())
        shown = text.name(str(model))
        x = wide.index.to_numpy(float)
        lines.append(Line(shown, x, mean.to_numpy(), role, str(model), band, shown if role == "other" else ""))
    return lines


def curve_panels(evidence: Evidence, ranking: str) -> list[Panel]:
    """Learning curves, one small panel per network on a common scale: validation loss per seed, its best step a dot."""
    records = [r for r in evidence.records.values() if r["kind"] == "network" and r["ranking"] == ranking]
    curves = {r["model"]: _curves(r) for r in records}
    losses = [row[2] for found in curves.values() for seed in found for row in seed["curve"]]
    finite = np.array([v for v in losses if v is not None and np.isfinite(v)])
    if not len(finite):
        return []
    bounds = padded([finite.min(), float(np.quantile(finite, 0.98))], share=0.08)
    return [_curve_panel(record, curves[record["model"]], bounds) for record in sorted(records, key=lambda r: r["model"])]


def _curves(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [seed for seed in record["seeds"] if len(seed.get("curve") or []) > 1]


def _curve_panel(record: dict[str, Any], seeds: list[dict[str, Any]], bounds: tuple[float, float]) -> Panel:
    model = record["model"]
    if not seeds:
        return Panel(text.name(model), "", record.get("reason") or "no curve recorded", model)
    lines = []
    for seed in seeds:
        steps, train, validation = (np.array([np.nan if v is None else v for v in c], float) for c in zip(*seed["curve"], strict=True))
        best = int(np.argmin(np.abs(steps - seed["best_step"])))
        tip = f"{text.name(model)}, seed {seed['seed']}: best at step {seed['best_step']}, loss {text.figure(validation[best])}"
        keep = np.unique(np.append(np.linspace(0, len(steps) - 1, 60).astype(int), best))
        lines.append(Line("train", steps[keep], np.where(train > bounds[1], np.nan, train)[keep], "train", model))
        dot = int(np.searchsorted(keep, best))
        lines.append(Line("seed", steps[keep], validation[keep], "seed", model, tip=tip, dot=dot))
    last = max(float(line.x[-1]) for line in lines)
    axes = Axes(f"Learning curves of {model}", "", "loss", [(0.0, "0"), (last, text.count(last))], bounds, size=SMALL)
    best_steps = ", ".join(text.count(seed["best_step"]) for seed in seeds)
    return Panel(text.name(model), line_chart(lines, axes), f"best step {best_steps}", model)


def skip_panels(evidence: Evidence) -> list[Panel]:
    """What each network adds over its own skip: relative change of the loss with its interval, best first."""
    panels = []
    for ranking in RANKINGS:
        tests = evidence.tests(ranking, "skip").values()
        rows = [_interval(test) for test in sorted(tests, key=lambda t: t["relative_difference"])]
        if not rows:
            continue
        against = text.listing(sorted({text.name(str(test["against"])) for test in tests}))
        svg = interval_chart(
            rows, label=f"Change of error against {against}, {RANKING_TITLES[ranking]}",
            x_title="change of the error; left is better", show=lambda v: f"{100 * v:+.3g} %".replace("-", "−") if v else "0",
        )  # fmt: skip
        panels.append(Panel(f"{RANKING_TITLES[ranking].capitalize()}: against {against}", svg))
    return panels


def _interval(test: dict[str, Any]) -> Interval:
    low, high = relative_interval(test)
    value = float(test["relative_difference"])
    name = text.name(test["model"])
    span = f", 95 % interval {text.signed_percent(low)} to {text.signed_percent(high)}" if np.isfinite(low) else ""
    tip = f"{name} against {text.name(str(test['against']))}: {text.signed_percent(value)}{span}, Holm {text.p_value(test['p_holm'])}"
    return Interval(name, value, low, high, test["word"], test["model"], tip)


def relative_interval(test: dict[str, Any]) -> tuple[float, float]:
    """The interval of the mean difference as a share of the loss of what it is compared with."""
    difference, relative = test.get("mean_difference"), test.get("relative_difference")
    low, high = test.get("ci_low"), test.get("ci_high")
    if text.missing(low) or text.missing(high) or not difference or not relative:
        return float("nan"), float("nan")
    return float(low) * float(relative) / float(difference), float(high) * float(relative) / float(difference)


def cost_panel(evidence: Evidence) -> Panel | None:
    """Accuracy against CPU seconds (tuning and training); None when the costs were not kept."""
    table = evidence.leaderboard
    points = []
    for name, cost in evidence.costs.items():
        record = evidence.records.get(name)
        if record is None or record["status"] != "ok":
            continue
        rows = table[(table["model"] == record["model"]) & (table["ranking"] == record["ranking"]) & (table["seed"] == "mean")]
        spent = float(cost.get("cpu_seconds") or 0) + float(cost.get("tuning_cpu_seconds") or 0)
        if rows.empty or spent <= 0:
            continue
        error = float(rows[evidence.headline].iloc[0])
        role = role_of(evidence, "shipped", record["model"]) if record["ranking"] != "architecture" else "other"
        shown = text.name(record["model"]) + (" (architecture alone)" if record["ranking"] == "architecture" else "")
        tip = f"{shown}: {METRIC_TITLES[evidence.headline]} {text.figure(error)}, {text.seconds(spent)} of CPU"
        points.append(Point(text.name(record["model"]), spent, error, role, record["model"], tip))
    if len(points) < 3:
        return None
    title = f"{METRIC_TITLES[evidence.headline]}{f', {evidence.unit}' if evidence.headline == 'mae' and evidence.unit else ''}"
    axes = Axes("Accuracy against cost", "CPU seconds, tuning and training (log scale)", title, [])
    return Panel("Accuracy against cost", scatter(points, axes, lambda v: f"{v:g}"))

