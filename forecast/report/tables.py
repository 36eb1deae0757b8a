"""The page's tables as plain rows: cells carry what is shown and what a sort goes by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from forecast.report import text
from forecast.report.charts import strip
from forecast.report.evidence import RANKINGS, Evidence


@dataclass(frozen=True)
class Cell:
    """What is shown, the value it is sorted by (None sorts last), a hint on touch, a CSS class."""

    shown: str | Markup
    value: float | str | None = None
    tip: str = ""
    cls: str = ""


@dataclass(frozen=True)
class Row:
    model: str
    cells: list[Cell]
    marks: list[str] = field(default_factory=list)
    cls: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """`columns` are (title, explanation); the first column names the row."""

    columns: list[tuple[str, str]]
    rows: list[Row]


SCORES = {
    "mase": ("MASE", "Mean absolute error divided by the in-sample error of the seasonal naive forecast on the train block"),
    "rmse": ("RMSE", "Root mean squared error, in units of the target"),
    "rmsse": ("RMSSE", "Root mean squared error, scaled like MASE"),
    "smape": ("sMAPE", "Symmetric mean absolute percentage error, 0 to 200; empty where values cross zero"),
}


def leaderboard(evidence: Evidence, ranking: str) -> Table:
    """One ranking with baselines and skip: a row per model (mean over seeds) and per seed-mean ensemble, best test first."""
    table = evidence.leaderboard
    table = table[table["ranking"].isin([ranking, "baseline"])]
    head = evidence.headline
    unit = f" [{evidence.unit}]" if evidence.unit else ""
    second = "mase" if head == "mae" else "mae"
    scores = {**SCORES, "mae": (f"MAE{unit}", "Mean absolute error over all test origins and steps")}
    rest = [second, "rmse", "rmsse", "smape"]
    columns = [
        ("Model", ""),
        (scores[head][0], scores[head][1] + "; mean ± standard deviation over seeds"),
        ("vs naive", "Skill: share of the naive forecast's error that is gone, on the same origins; word of the test, Holm-corrected"),
        ("vs own skip", "Change of error against the model's own skip connection; a network counts only when this says better"),
        ("Seeds", "Every seed a thin mark, their mean a dot; the vertical line is the naive forecast"),
        *[scores[name] for name in rest],
        ("Direction", "Share of moves whose sign was forecast right (base rate of the commoner sign)"),
        ("Validation MAE", "What the choice was made on"),
        ("Parameters", "Number of trained weights"),
    ]
    rows = [row for _, part in table.groupby(["model", "ranking"], sort=True) for row in _rows(evidence, ranking, part, rest)]
    rows.sort(key=lambda row: (row.cells[0].value is None, row.cells[0].value or 0.0))
    return Table(columns, rows)


def _rows(evidence: Evidence, ranking: str, part: pd.DataFrame, rest: list[str]) -> list[Row]:
    """The rows of one model: its mean over seeds, then its ensemble; one row with the reason when it failed."""
    by_seed = {str(row["seed"]): row for row in part.to_dict("records")}
    seeds = {seed: row for seed, row in by_seed.items() if seed.isdigit()}
    mean = by_seed.get("mean") or next(iter(by_seed.values()))
    if mean["status"] != "ok" or text.missing(mean["mae"]):
        return [_failed_row(evidence, mean, len(rest))]
    rows = [_mean_row(evidence, ranking, mean, by_seed.get("std"), list(seeds.values()), rest)]
    if "ensemble" in by_seed and len(seeds) > 1:
        rows.append(_ensemble_row(evidence, ranking, by_seed["ensemble"], len(seeds), rest))
    return rows


def _mean_row(
    evidence: Evidence, ranking: str, mean: dict[str, Any], std: dict[str, Any] | None, seeds: list[Any], rest: list[str]
) -> Row:
    model, head = str(mean["model"]), evidence.headline
    chosen = model == evidence.chosen(ranking)
    spread = float(std[head]) if std and len(seeds) > 1 and not text.missing(std[head]) else None
    marks = ["chosen on validation"] if chosen else []
    marks += ["tied with the best"] if _tied(evidence, ranking, model) and not chosen else []
    failed = [row for row in seeds if row["status"] != "ok"]
    marks += [f"{len(failed)} of {len(seeds)} seeds failed"] if failed else []
    cells = [
        Cell(text.figure(mean[head]) if spread is None else text.plus_minus(mean[head], spread), mean[head]),
        _against(evidence, ranking, "naive", model, mean["skill"]),
        _skip_cell(evidence, ranking, mean),
        Cell(_strip(evidence, ranking, seeds, float(mean[head]), chosen), None),
        *_scores(mean, rest),
    ]
    return Row(model, cells, marks, "chosen" if chosen else "baseline" if mean["ranking"] == "baseline" else "")


def _ensemble_row(evidence: Evidence, ranking: str, row: dict[str, Any], seeds: int, rest: list[str]) -> Row:
    head = evidence.headline
    value = float(row[head])
    cells = [
        Cell(text.figure(value), value),
        Cell(text.signed_percent(row["skill"]), row["skill"]),
        Cell(text.NOTHING),
        Cell(_strip(evidence, ranking, [], value, False), None),
        *_scores(row, rest),
    ]
    return Row(str(row["model"]), cells, [], "ensemble", f"{seeds}-seed ensemble")


def _failed_row(evidence: Evidence, row: dict[str, Any], rest: int) -> Row:
    model = str(row["model"])
    found = [r for r in evidence.records.values() if r["model"] == model and r["ranking"] == row["ranking"]]
    reason = (found[0].get("reason") if found else "") or "no reason was recorded"
    return Row(model, [Cell(text.NOTHING)] * (rest + 7), ["failed"], "failed", str(reason))


def _scores(row: dict[str, Any], rest: list[str]) -> list[Cell]:
    direction = text.percent(row["direction"])
    if not text.missing(row["direction"]) and not text.missing(row["direction_base"]):
        direction += f" ({text.percent(row['direction_base'])})"
    return [
        *[Cell(text.figure(row[name]), row[name]) for name in rest],
        Cell(direction, row["direction"]),
        Cell(text.figure(row["validation_mae"]), row["validation_mae"]),
        Cell(text.count(row["n_params"]), row["n_params"]),
    ]


def _tied(evidence: Evidence, ranking: str, model: str) -> bool:
    test = evidence.tests(ranking, "best").get(model)
    return bool(test) and test["word"] in ("equivalent", "not distinguishable")  # type: ignore[index]


def _against(evidence: Evidence, ranking: str, family: str, model: str, skill: Any) -> Cell:
    """The skill with the word of the test and its p on touch."""
    test = evidence.tests(ranking, family).get(model)
    shown = text.signed_percent(skill)
    if not test:
        return Cell(shown, skill)
    return Cell(_worded(shown, test["word"]), skill, f"Holm {text.p_value(test['p_holm'])}", _word_class(test["word"]))


def _skip_cell(evidence: Evidence, ranking: str, row: dict[str, Any]) -> Cell:
    test = evidence.tests(ranking, "skip").get(str(row["model"]))
    if not test:
        return Cell(text.NOTHING)
    word = str(test["word"])
    said = word if word == "better" else f"adds nothing ({word})"
    tip = f"against {text.name(str(test['against']))}, one-sided, Holm {text.p_value(test['p_holm'])}"
    relative = test["relative_difference"]
    return Cell(_worded(text.signed_percent(relative), said, word), relative, tip, _word_class(word))


def _worded(shown: str, said: str, word: str = "") -> Markup:
    mark = text.WORD_MARKS.get(word or said, "")
    return Markup('{} <span class="word"><i aria-hidden="true">{}</i> {}</span>').format(shown, mark, said)


def _word_class(word: str) -> str:
    return "w-" + word.replace(" ", "-")


def _strip(evidence: Evidence, ranking: str, seeds: list[Any], mean: float, chosen: bool) -> Markup:
    table = evidence.leaderboard
    head = evidence.headline
    values = table.loc[table["ranking"].isin([ranking, "baseline"]) & (table["seed"] != "std"), head].dropna()
    naive = table.loc[(table["model"] == "naive") & (table["seed"] == "mean"), head]
    reference = float(naive.iloc[0]) if len(naive) else None
    high = min(float(values.max()), 1.25 * reference) if reference else float(values.max())
    bounds = (float(values.min()), max(high, float(values.min()) * 1.01, reference or 0.0))
    marks = [float(row[head]) for row in seeds if row["status"] == "ok"] if len(seeds) > 1 else []
    return Markup(strip(marks, mean, bounds, reference, "chosen" if chosen else "other"))  # noqa: S704  (our own SVG)


def ledger(evidence: Evidence) -> Table:
    """What every candidate was given: trials, steps, weights, time, seeds, data."""
    columns = [
        ("Model", ""),
        ("Ranking", "Which skip connection it was trained with"),
        ("Trials", "Optuna trials finished, on validation only"),
        ("Gradient steps", "Updates spent in tuning and training together"),
        ("Parameters", "Number of trained weights"),
        ("CPU, tuning", "CPU seconds of the tuning study"),
        ("CPU, training", "CPU seconds of all seeds"),
        ("Seeds", "Seeds that gave a usable model"),
        ("Rows seen", "Rows of the training block it was fitted on"),
    ]
    rows = [_ledger_row(evidence, name, record) for name, record in evidence.records.items()]
    rows.sort(key=lambda row: (["baseline", *RANKINGS].index(str(row.cells[0].value)), row.model))
    return Table(columns, rows)


def _ledger_row(evidence: Evidence, name: str, record: dict[str, Any]) -> Row:
    cost = evidence.costs.get(name, {})
    seeds = record.get("seeds") or []
    usable = sum(seed.get("status") == "ok" for seed in seeds)
    trials = len(record.get("trials") or [])
    tuning, training = cost.get("tuning_cpu_seconds"), cost.get("cpu_seconds")
    ranking = str(record["ranking"])
    label = {"architecture": "architecture alone", "shipped": "as shipped"}.get(ranking, "baseline")
    cells = [
        Cell(label, ranking),
        Cell(text.count(trials), trials),
        Cell(text.count(record.get("gradient_steps")), record.get("gradient_steps")),
        Cell(text.count(record.get("n_params")), record.get("n_params")),
        Cell(text.seconds(tuning), tuning),
        Cell(text.seconds(training), training),
        Cell(f"{usable} of {len(seeds)}", usable),
        Cell(text.count(record.get("rows_seen")), record.get("rows_seen")),
    ]
    marks = ["failed"] if record["status"] != "ok" else []
    return Row(str(record["model"]), cells, marks, "failed" if marks else "", str(record.get("reason") or ""))


def budget_sentence(evidence: Evidence) -> tuple[bool, str]:
    """Whether all networks had the same tuning budget, and the sentence that says so."""
    networks = [r for r in evidence.records.values() if r["kind"] == "network"]
    trials = {len(r.get("trials") or []) for r in networks}
    if not networks:
        return True, "No networks were trained."
    if len(trials) == 1:
        number = trials.pop()
        return True, f"Same budget for every network: {number} trials each, chosen on validation only."
    return False, f"Not the same budget: between {min(trials)} and {max(trials)} trials. Compare those rows with care."
