"""The leaderboard of one ranking: lowest test error first, the validation-chosen row marked, failures with reason."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from forecast.report import text
from forecast.report.charts import strip
from forecast.report.evidence import FLAGS, Evidence
from forecast.report.figures import fitted_skip
from forecast.report.svg import padded
from forecast.report.tables import EMPTY, Cell, Row, Table, number, whole

MOST_SERIES = 4
WIDEST = 1.25  # times the naive error: what lies beyond is an arrow on the strip
HINTS = {
    "model": "",
    "mae": "Mean absolute error over all test origins and steps",
    "mase": "Mean absolute error as a multiple of the seasonal naive forecast's error on the train block",
    "rmse": "Root mean squared error, in units of the target",
    "rmsse": "Root mean squared error, scaled like MASE",
    "smape": "Symmetric mean absolute percentage error, 0 to 200; empty where values cross zero",
    "naive": "Change of error against the naive forecast, on the same origins; word of the Holm-corrected test",
    "skip": "Change of error against the model's own skip connection; a network counts only when it says better",
    "seeds": "Each seed a thin mark, their mean a dot; left is better, the vertical line is the fitted skip alone",
    "direction": "Share of moves whose sign was forecast right / share of the commoner sign",
    "validation": "MASE on the validation block, what the choice looked at",
    "parameters": "Number of trained weights",
}
Scores = dict[str, Any]  # one row of the leaderboard
TITLES = {"mase": "MASE", "rmse": "RMSE", "rmsse": "RMSSE", "smape": "sMAPE"}


def leaderboard(evidence: Evidence, ranking: str) -> Table:
    """The ranking's own rows with baselines and skip: per model its mean over seeds, then the seed-mean ensemble."""
    others = [name for name in ("mae", "mase", "rmse", "rmsse", "smape") if name != evidence.headline]
    rest = [name for name in others if evidence.board(ranking)[name].notna().any()]
    titles = {**TITLES, "mae": f"MAE [{evidence.unit}]" if evidence.unit else "MAE"}
    columns = [
        ("Model", ""),
        (titles[evidence.headline], f"{HINTS[evidence.headline]}; mean ± standard deviation over seeds"),
        ("Error vs naive", HINTS["naive"]),
        ("Error vs own skip", HINTS["skip"]),
        ("Seeds", HINTS["seeds"]),
        *[(titles[name], HINTS[name]) for name in rest],
        ("Direction", HINTS["direction"]),
        ("Validation MASE", HINTS["validation"]),
        ("Parameters", HINTS["parameters"]),
    ]
    groups = evidence.board(ranking).groupby(["model", "ranking"], sort=True)
    rows = [row for _, part in groups for row in _rows(evidence, ranking, part, rest)]
    rows.sort(key=lambda row: (row.cells[0].value is None, row.cells[0].value or 0.0))
    return Table(columns, rows)


def _rows(evidence: Evidence, ranking: str, part: pd.DataFrame, rest: list[str]) -> list[Row]:
    """The rows of one model; a single one with the reason when it failed."""
    by_seed: dict[str, Scores] = {str(row["seed"]): row for row in part.to_dict("records")}  # type: ignore[misc]
    seeds = [row for seed, row in by_seed.items() if seed.isdigit()]
    mean = by_seed.get("mean") or next(iter(by_seed.values()))
    if mean["status"] != "ok" or text.missing(mean[evidence.headline]):
        return [_failed_row(evidence, mean)]
    rows = [_mean_row(evidence, ranking, mean, by_seed.get("std"), seeds, rest)]
    if len(seeds) > 1 and not text.missing(by_seed.get("ensemble", {}).get(evidence.headline)):
        rows.append(_ensemble_row(evidence, ranking, by_seed["ensemble"], len(seeds), rest))
    return rows


def _mean_row(
    evidence: Evidence, ranking: str, mean: Scores, std: Scores | None, seeds: list[Scores], rest: list[str]
) -> Row:
    model, error = str(mean["model"]), float(mean[evidence.headline])
    chosen = model == evidence.chosen(ranking)
    spread = (std or {}).get(evidence.headline) if len(seeds) > 1 else None
    shown = text.figure(error) if text.missing(spread) else text.plus_minus(error, float(spread or 0))
    failed = sum(row["status"] != "ok" for row in seeds)
    marks = ["chosen on validation"] if chosen else []
    marks += ["best set"] if model in evidence.tied(ranking) else []
    marks += [said for kind, said in FLAGS.items() if model in evidence.flags(kind, ranking)]
    marks += [f"{failed} of {len(seeds)} seeds failed"] if failed else []
    cells = [
        Cell(shown, error),
        _naive_cell(evidence, ranking, mean),
        _skip_cell(evidence, ranking, mean),
        Cell(_strip(evidence, ranking, seeds, error, chosen)),
        *_scores(mean, rest),
    ]
    return Row(model, cells, marks, "chosen" if chosen else "baseline" if mean["ranking"] == "baseline" else "")


def _ensemble_row(evidence: Evidence, ranking: str, row: Scores, seeds: int, rest: list[str]) -> Row:
    error = float(row[evidence.headline])
    cells = [
        Cell(text.figure(error), error, f"The mean of {seeds} seeds' forecasts"),
        _change(row["skill"]),
        EMPTY,
        Cell(_strip(evidence, ranking, [], error, False)),
        *_scores(row, rest),
    ]
    return Row(str(row["model"]), cells, [], "ensemble", "ensemble")


def _failed_row(evidence: Evidence, row: Scores) -> Row:
    model = str(row["model"])
    name = evidence.candidate(model, str(row["ranking"]))
    reason = evidence.records[name].get("reason") if name else ""
    return Row(model, [EMPTY], ["failed"], "failed", str(reason or "no reason was recorded"))


def _scores(row: Scores, rest: list[str]) -> list[Cell]:
    direction = text.percent(row["direction"])
    if not text.missing(row["direction"]) and not text.missing(row["direction_base"]):
        direction = f"{direction.removesuffix(' %')} / {text.percent(row['direction_base'])}"
    sort = None if text.missing(row["direction"]) else row["direction"]
    return [
        *[number(row[name]) for name in rest],
        Cell(direction, sort),
        number(row["validation_mase"]),
        whole(row["n_params"]),
    ]


def _naive_cell(evidence: Evidence, ranking: str, row: Scores) -> Cell:
    """The change against naive with the word of the test."""
    test = evidence.tests(ranking, "naive").get(str(row["model"]))
    if not test:
        return _change(row["skill"])
    return _tested(test, text.signed_percent(-row["skill"]), -row["skill"], test["word"])


def _change(skill: Any) -> Cell:
    """Of the error against naive, signed like every change on the page: below zero is better."""
    return EMPTY if text.missing(skill) else Cell(text.signed_percent(-skill), -float(skill))


def _skip_cell(evidence: Evidence, ranking: str, row: Scores) -> Cell:
    """The change against the model's own skip; anything but "better" means that the network adds nothing."""
    test = evidence.tests(ranking, "skip").get(str(row["model"]))
    if not test:
        return EMPTY
    said = "better" if test["word"] == "better" else f"adds nothing ({test['word']})"
    return _tested(test, text.signed_percent(test["relative_difference"]), test["relative_difference"], said)


def _tested(test: dict[str, Any], shown: str, value: float | None, said: str) -> Cell:
    word = test["word"]
    content = Markup('{} <span class="word"><i aria-hidden="true">{}</i> {}</span>').format(
        shown, text.WORD_MARKS.get(word, ""), said
    )
    return Cell(content, value, f"against {text.name(str(test['against']))}{text.holm(test)}", text.word_class(word))


def _strip(evidence: Evidence, ranking: str, seeds: list[Scores], error: float, chosen: bool) -> Markup:
    """The seeds on the range of this ranking's networks and the fitted skip; worse rows are an arrow at its end."""
    board, head = evidence.board(ranking), evidence.headline
    values = board.loc[board["seed"] != "std", head].dropna()
    own = board.loc[(board["ranking"] == ranking) & (board["seed"] != "std"), head].dropna()
    line, naive = (evidence.score(model, ranking) for model in (fitted_skip(evidence), "naive"))
    highest = max([float(own.max()) if len(own) else float(values.max()), *([float(line[head])] if line else [])])
    highest = min(highest, WIDEST * float(naive[head])) if naive else highest
    bounds = padded([float(values.min()), max(highest, float(values.min()))])
    marks = [float(row[head]) for row in seeds if row["status"] == "ok"] if len(seeds) > 1 else []
    reference = float(line[head]) if line else None
    return Markup(strip(marks, error, bounds, reference, "chosen" if chosen else "other"))  # noqa: S704  (our own SVG)


def series_table(evidence: Evidence, ranking: str) -> Table:
    """MAE of every series in its own unit, for datasets of several series, whose errors are never pooled in units."""
    names = evidence.series[:MOST_SERIES]
    columns = [("Model", "")]
    for series in names:
        unit = evidence.unit_of(series)
        columns += [(f"{series}: MAE{f' [{unit}]' if unit else ''}", HINTS["mae"]), ("Error vs naive", HINTS["naive"])]
    table = evidence.by_series
    table = table[table["ranking"].isin([ranking, "baseline"]) & (table["seed"] != "ensemble")]
    mean = table.groupby(["model", "series"], sort=True)[["mae", "skill"]].mean()
    rows = [_series_row(str(model), part.droplevel(0), names) for model, part in mean.groupby(level=0, sort=True)]
    rows.sort(key=lambda row: (row.cells[0].value is None, row.cells[0].value or 0.0))
    return Table(columns, rows)


def _series_row(model: str, scores: pd.DataFrame, names: tuple[str, ...]) -> Row:
    cells = []
    for series in names:
        mae, skill = scores.loc[series] if series in scores.index else (None, None)
        cells += [number(mae), _change(skill)]
    return Row(model, cells)
