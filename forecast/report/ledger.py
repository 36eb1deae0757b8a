"""The fair-comparison ledger: what every candidate was given, whether that was the same, what accuracy cost."""

from __future__ import annotations

from typing import Any

from forecast.report import text
from forecast.report.charts import Axes, Point, scatter
from forecast.report.evidence import RANKING_TITLES, RANKINGS, Evidence
from forecast.report.figures import Panel, error_title, role_of
from forecast.report.tables import Cell, Row, Table, whole

COLUMNS = [
    ("Model", ""),
    ("Ranking", "Which skip connection it was trained with"),
    ("Trials", "Tuning trials, scored on validation only"),
    ("Steps, tuning", "Gradient steps of all trials together"),
    ("Steps, training", "Gradient steps of all seeds: those given, and those taken where a seed stopped early"),
    ("Parameters", "Number of trained weights"),
    ("CPU, tuning", "CPU seconds of the tuning study"),
    ("CPU, training", "CPU seconds of fitting and forecasting, all seeds"),
    ("Seeds", "Seeds that gave a usable model"),
    ("Rows seen", "Rows of the train block it was fitted on"),
]
ORDER = ("baseline", *RANKINGS)


def ledger(evidence: Evidence) -> Table:
    rows = [_row(evidence, name, record) for name, record in evidence.records.items()]
    rows.sort(key=lambda row: (ORDER.index(str(row.cells[0].value)), row.model))
    return Table(COLUMNS, rows)


def _row(evidence: Evidence, name: str, record: dict[str, Any]) -> Row:
    cost = evidence.costs.get(name, {})
    seeds = record.get("seeds") or []
    usable = sum(seed.get("status") == "ok" for seed in seeds)
    trials = len(record.get("trials") or [])
    ranking = str(record["ranking"])
    cells = [
        Cell(RANKING_TITLES.get(ranking, "baseline"), ranking),
        whole(trials or None),
        whole(record.get("tuning_gradient_steps") or None),
        _steps(record),
        whole(record.get("n_params")),
        _time(cost.get("tuning_cpu_seconds") if trials else None),
        _time(cost.get("cpu_seconds")),
        Cell(f"{usable} of {len(seeds)}", usable),
        whole(record.get("rows_seen")),
    ]
    marks = ["failed"] if record["status"] != "ok" else []
    return Row(str(record["model"]), cells, marks)


def _steps(record: dict[str, Any]) -> Cell:
    given = int(record.get("gradient_steps") or 0)
    taken = int(record.get("gradient_steps_taken", given))
    return Cell(f"{taken:,} of {given:,}", taken) if taken < given else whole(given or None)


def _time(spent: float | None) -> Cell:
    return Cell(text.seconds(spent), spent)


def budget_sentence(evidence: Evidence) -> tuple[bool, str]:
    """Whether all networks had the same budget of trials and gradient steps, and the sentence that says so.

    The exempt (`exempt_from_budget` of verdicts.json) are named with their reason and not compared.
    """
    exempt = {(e["model"], e["ranking"]): e["why"] for e in evidence.verdicts.get("exempt_from_budget") or []}
    networks = {name: r for name, r in evidence.records.items() if r["kind"] == "network"}
    held = {name: _budget(r) for name, r in networks.items() if (r["model"], r["ranking"]) not in exempt}
    apart = [f"{_named({'model': m, 'ranking': r})} stands apart: {why}." for (m, r), why in exempt.items()]
    spent = list(held.values())
    if not spent:
        return True, " ".join(["No networks were trained." if not networks else "", *apart]).strip()
    if len(set(spent)) == 1:
        trials, tuning, training = map(text.count, spent[0])
        steps = f"{tuning} gradient steps in tuning, {training} in training over all seeds"
        return True, " ".join([f"Same budget for every network: {trials} trials, {steps}.", *apart])
    usual = max(set(spent), key=lambda budget: (spent.count(budget), budget))
    odd = text.listing([_named(evidence.records[name]) for name, budget in held.items() if budget != usual])
    said = f"Not the same budget: {odd} had another than the rest. Compare those rows with care."
    return False, " ".join([said, *apart])


def _budget(record: dict[str, Any]) -> tuple[int, int, int]:
    steps = (int(record.get(key) or 0) for key in ("tuning_gradient_steps", "gradient_steps"))
    return (len(record.get("trials") or []), *steps)  # type: ignore[return-value]


def _named(record: dict[str, Any]) -> str:
    return f"{text.name(record['model'])} ({RANKING_TITLES.get(record['ranking'], 'baseline')})"


def cost_panel(evidence: Evidence) -> Panel | None:
    """Accuracy against CPU seconds (tuning and training); None when the costs were not kept."""
    points = [point for name in evidence.costs if (point := _point(evidence, name)) is not None]
    if len(points) < 3:
        return None
    axes = Axes("Accuracy against cost", "CPU seconds, tuning and training (log scale)", error_title(evidence), [])
    return Panel("Accuracy against cost", scatter(points, axes, lambda value: f"{value:g}"))


def _point(evidence: Evidence, name: str) -> Point | None:
    record, cost = evidence.records.get(name), evidence.costs[name]
    spent = float(cost.get("cpu_seconds") or 0) + float(cost.get("tuning_cpu_seconds") or 0)
    if record is None or spent <= 0:
        return None
    score = evidence.score(record["model"], record["ranking"])
    if score is None:
        return None
    error = float(score[evidence.headline])
    alone = record["ranking"] == "architecture"
    role = "other" if alone else role_of(evidence, "shipped", record["model"])
    tip = f"{_named(record)}: {error_title(evidence)} {text.figure(error)}, {text.seconds(spent)} of CPU"
    return Point(text.name(record["model"]), spent, error, role, record["model"], tip)
