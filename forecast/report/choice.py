"""LSTM or GRU: the choice rule with its numbers."""

from __future__ import annotations

from forecast.report import text
from forecast.report.evidence import Evidence
from forecast.report.figures import METRIC_TITLES
from forecast.report.tables import Cell, Row, Table, number, whole

RANKING = "architecture"
PAIR = ("lstm", "gru")


def table(evidence: Evidence) -> Table | None:
    """What the rule weighs; None where one of the two was not compared."""
    scores = {model: evidence.score(model, RANKING) for model in PAIR}
    taken = evidence.verdicts.get("choice", {}).get("take")
    if not taken or None in scores.values():
        return None
    title = METRIC_TITLES[evidence.headline]
    columns = [
        ("Network", "On top of the last value only, so that no fitted skip hides the architecture"),
        (f"Test {title}", "Mean over seeds"),
        ("Parameters", "Number of trained weights"),
        ("CPU, training", "CPU seconds of fitting and forecasting, all seeds"),
    ]
    rows = []
    for model, score in scores.items():
        assert score is not None
        spent = evidence.costs.get(str(evidence.candidate(model, RANKING)), {}).get("cpu_seconds")
        cells = [number(score[evidence.headline]), whole(score["n_params"]), Cell(text.seconds(spent), spent)]
        rows.append(Row(model, cells, ["taken"] if model == taken else [], "chosen" if model == taken else ""))
    return Table(columns, rows)


def sentence(evidence: Evidence) -> str:
    """The numbers in words: the change, its bound, what was wanted, on how much evidence."""
    found = evidence.verdicts.get("choice") or {}
    if not found:
        return ""
    change, upper = (text.signed_percent(found[key]) for key in ("relative_difference", "upper"))
    wanted = f"below {text.signed_percent(found['margin'])}, on at least {found['wanted_origins']}"
    origins = f"{text.count(found['non_overlapping'])} origins whose horizons do not overlap"
    scores = [evidence.score(model, RANKING) for model in PAIR]
    sizes = [int(score["n_params"]) for score in scores if score]
    larger = len(sizes) == len(PAIR) and sizes[1] > sizes[0]
    warning = " Tuning gave the GRU more weights than the LSTM here, so it saves none." if larger else ""
    shown = "shown" if found["word"] == "equivalent" else "not shown"
    return (
        f"The GRU's loss against the LSTM's: {change}, upper 95 % bound {upper} on {origins} (wanted: {wanted}). "
        f"That the GRU costs no more is {shown}: the {text.name(found['take']).upper()} is taken.{warning}"
    )
