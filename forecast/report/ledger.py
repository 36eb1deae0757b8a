"""The fair-comparison ledger: what every candidate was given and cost; and the choice between LSTM and GRU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forecast.data.results import RANKING_TITLES, RANKINGS, Results
from forecast.report import text
from forecast.report.charts import Axes, Point, scatter
from forecast.report.figures import Panel, error_title, headline, role_of
from forecast.report.text import Cell, Row, Table, number, whole

COLUMNS = [
    ("Model", ""),
    ("Ranking", "Which skip connection it was trained with"),
    ("Trials", "Tuning trials, scored on validation only"),
    ("Steps, tuning", "Gradient steps of all trials together"),
    ("Steps, training", "Gradient steps of all seeds: those given, and those taken where a seed stopped early"),
    (
        "Targets",
        "Observed values learnt from, tuning and training: steps, chunks of a step, origins of a chunk, horizon",
    ),
    ("Parameters", "Number of trained weights"),
    ("CPU, tuning", "CPU seconds of the tuning study"),
    ("CPU, training", "CPU seconds of fitting and forecasting, all seeds"),
    ("Seeds", "Seeds that gave a usable model"),
    ("Rows seen", "Rows of the train block it was fitted on"),
]
ORDER = ("baseline", *RANKINGS)
Costs = Mapping[str, Mapping[str, Any]]
"""CPU seconds and kinds of machines by candidate; empty when they were not kept."""


def ledger(results: Results, costs: Costs) -> Table:
    rows = [_row(costs.get(name, {}), record) for name, record in results.records.items()]
    rows.sort(key=lambda row: (ORDER.index(str(row.cells[0].value)), row.model))
    return Table(COLUMNS, rows)


def _row(cost: Mapping[str, Any], record: dict[str, Any]) -> Row:
    seeds = record.get("seeds") or []
    usable = sum(seed.get("status") == "ok" for seed in seeds)
    trials = len(record.get("trials") or [])
    ranking = str(record["ranking"])
    cells = [
        Cell(RANKING_TITLES.get(ranking, "baseline"), ranking),
        whole(trials or None),
        whole(record.get("tuning_gradient_steps") or None),
        _steps(record),
        whole(record.get("targets_learnt_from") or None),
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


def budget_sentence(results: Results) -> tuple[bool, str]:
    """Whether all networks had the same budget of trials and gradient steps, and the sentence that says so.

    The exempt (`exempt_from_budget` of verdicts.json) are named with their reason and not compared.
    """
    exempt = {(e["model"], e["ranking"]): e["why"] for e in results.verdicts.get("exempt_from_budget") or []}
    networks = {name: r for name, r in results.records.items() if r["kind"] == "network"}
    compared = {name: _budget(r) for name, r in networks.items() if (r["model"], r["ranking"]) not in exempt}
    apart = [f"{_named({'model': m, 'ranking': r})} is exempt: {why}." for (m, r), why in exempt.items()]
    spent = list(compared.values())
    if not spent:
        return True, " ".join(["No networks were trained." if not networks else "", *apart]).strip()
    if len(set(spent)) == 1:
        trials, tuning, training = map(text.count, spent[0])
        steps = f"{tuning} gradient steps in tuning, {training} in training over all seeds"
        return True, " ".join([f"Same budget for every network: {trials} trials, {steps}.", *apart])
    usual = max(set(spent), key=lambda budget: (spent.count(budget), budget))
    odd = text.listing([_named(results.records[name]) for name, budget in compared.items() if budget != usual])
    said = f"Not the same budget: {odd} had another than the rest. Compare those rows with care."
    return False, " ".join([said, *apart])


def kinds_sentence(results: Results, costs: Costs) -> str:
    """Which rows came from which kind of machine; empty where all that is known of came from one."""
    rows: dict[str, list[str]] = {}
    for name in costs.keys() & results.records.keys():
        for kind in costs[name].get("kinds", ()):
            rows.setdefault(kind, []).append(_named(results.records[name]))
    told = "; ".join(f"{text.listing(sorted(names))} on {kind}" for kind, names in sorted(rows.items()))
    said = f"Computed on {len(rows)} kinds of machines, whose results may differ in the last digits: {told}."
    return said if len(rows) > 1 else ""


def _budget(record: dict[str, Any]) -> tuple[int, int, int]:
    steps = (int(record.get(key) or 0) for key in ("tuning_gradient_steps", "gradient_steps"))
    return (len(record.get("trials") or []), *steps)  # type: ignore[return-value]


def _named(record: dict[str, Any]) -> str:
    return f"{text.name(record['model'])} ({RANKING_TITLES.get(record['ranking'], 'baseline')})"


def cost_panel(results: Results, costs: Costs) -> Panel | None:
    """Accuracy against CPU seconds (tuning and training); None when the costs were not kept."""
    points = [point for name, cost in costs.items() if (point := _point(results, name, cost)) is not None]
    if len(points) < 3:
        return None
    axes = Axes("Accuracy against cost", "CPU seconds, tuning and training (log scale)", error_title(results), [])
    return Panel("Accuracy against cost", scatter(points, axes, lambda value: f"{value:g}"))


def _point(results: Results, name: str, cost: Mapping[str, Any]) -> Point | None:
    record = results.records.get(name)
    spent = float(cost.get("cpu_seconds") or 0) + float(cost.get("tuning_cpu_seconds") or 0)
    if record is None or spent <= 0:
        return None
    score = results.score(record["model"], record["ranking"])
    if score is None:
        return None
    error = float(score[results.headline])
    alone = record["ranking"] == "architecture"
    role = "other" if alone else role_of(results, "shipped", record["model"])
    tip = f"{_named(record)}: {error_title(results)} {text.figure(error)}, {text.seconds(spent)} of CPU"
    return Point(text.name(record["model"]), spent, error, role, record["model"], tip)


ALONE = "architecture"
PAIR = ("lstm", "gru")


def choice_table(results: Results, costs: Costs) -> Table | None:
    """What the rule weighs; None where one of the two was not compared."""
    scores = {model: results.score(model, ALONE) for model in PAIR}
    taken = results.verdicts.get("choice", {}).get("take")
    if not taken or None in scores.values():
        return None
    title = headline(results).title
    columns = [
        ("Network", "On top of the last value only, so that no fitted skip hides the architecture"),
        (f"Test {title}", "Mean over seeds"),
        ("Parameters", "Number of trained weights"),
        ("CPU, training", "CPU seconds of fitting and forecasting, all seeds"),
    ]
    rows = []
    for model, score in scores.items():
        assert score is not None
        spent = costs.get(str(results.candidate(model, ALONE)), {}).get("cpu_seconds")
        cells = [number(score[results.headline]), whole(score["n_params"]), _time(spent)]
        rows.append(Row(model, cells, ["taken"] if model == taken else [], "chosen" if model == taken else ""))
    return Table(columns, rows)


def choice_sentence(results: Results) -> str:
    """The numbers in words: the change, its bound, what was wanted, on how much results."""
    found = results.verdicts.get("choice") or {}
    if not found:
        return ""
    change, upper = (text.signed_percent(found[key]) for key in ("relative_difference", "upper"))
    wanted = f"below {text.signed_percent(found['margin'])}, on at least {found['wanted_origins']}"
    origins = f"{text.count(found['non_overlapping'])} origins whose horizons do not overlap"
    scores = [results.score(model, ALONE) for model in PAIR]
    sizes = [int(score["n_params"]) for score in scores if score]
    larger = len(sizes) == len(PAIR) and sizes[1] > sizes[0]
    warning = " Tuning gave the GRU more weights than the LSTM here, so it saves none." if larger else ""
    shown = "shown" if found["word"] == "equivalent" else "not shown"
    return (
        f"The GRU's loss against the LSTM's: {change}, upper 95 % bound {upper} on {origins} (wanted: {wanted}). "
        f"That the GRU costs no more is {shown}: the {text.name(found['take']).upper()} is taken.{warning}"
    )
