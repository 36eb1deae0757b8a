"""The page's tables of scores: the leaderboard of one ranking (`leaderboard_table`), and the errors
by series (`series_table`, `many_series`) and by level of a hierarchy (`level_table`).

The leaderboard of the terminal is in `report.leaderboard`, that of `forecast.compare` in
`api.board`. Errors of several series are never pooled in their units. A change of error has a sign:
below zero is better. A column of the leaderboard is a cell of `_row` and, in the same position, a
heading in templates/columns.yaml. Seconds and other costs are handed to `facts.cost_table` alone: a
table that shows them gets `d.costs` in templates/dataset.html.j2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from forecast.comparison import metrics
from forecast.comparison.levels import LEVEL_ERRORS
from forecast.comparison.metrics import Metric
from forecast.config.datasets import Dataset
from forecast.data.comparison_records import PairedTest, name_choice
from forecast.data.results import (
    MEAN,
    SPREAD,
    Results,
    alarms_by_model,
    describe_members,
    in_ranking,
)
from forecast.report import text
from forecast.report.figures import ranking_metric
from forecast.report.leaderboard import scores_of_distributions
from forecast.report.text import EMPTY, MOST_SERIES, Row, Table, TableCell, number, share


def _forecasts_volatility(dataset: Dataset) -> bool:
    """Whether the targets are volatilities: of sessions, modelled by logarithms, and no prices."""
    task = dataset.task
    return task.calendar.kind == "sessions" and all(
        column.transform == "log" and not column.is_price for column in task.target
    )


def leaderboard_table(results: Results, ranking: str) -> Table:
    """The leaderboard of one ranking with the baselines, lowest error first: a row for each model,
    with the error of the mean of its seeds ± their standard deviation.

    The last columns are scores of distributions: interval scores and CRPS in the unit of a single
    series, or the scaled CRPS of several series. The row of a failed model has no such cells.
    """
    scores = scores_of_distributions(results)
    board = results.board(ranking).join(scores, on=["model", "ranking"])
    score_names = [str(name) for name in scores if board[name].notna().any()]
    ranked_by = ranking_metric(results)
    others = [
        metric
        for metric in metrics.METRICS
        if metric.own_column
        and metric is not ranked_by
        and board[metric.name].notna().any()
        and (metric.name != "qlike" or _forecasts_volatility(results.dataset))
    ]
    columns = [
        *text.columns(
            "leaderboard",
            metric=_title(results, ranked_by),
            explanation=ranked_by.explanation,
            bar=text.name(results.verdicts.bar),
        ),
        *[(_title(results, metric), metric.explanation) for metric in others],
        *text.columns("direction_and_validation"),
    ]
    for name in score_names:
        kind = "winkler" if name.startswith("winkler_") else name
        level = name.removeprefix("winkler_")
        columns += text.columns(kind, level=level, unit=text.in_brackets(results.unit))
    metric_names = [metric.name for metric in others]
    groups = board.groupby(["model", "ranking"], sort=True)
    rows = [_row(results, ranking, part, metric_names, score_names) for _, part in groups]
    return Table(columns, _sort_rows(rows))


def count_origins(results: Results) -> tuple[int, int, int]:
    """The number of test origins of all series together, which the tests count, and the fewest and
    most of a single series: one that ends in the test block has fewer.
    """
    test = results.naive_on_test
    of_series = test.groupby("unique_id")["cutoff"].nunique()
    return test["cutoff"].nunique(), of_series.min(), of_series.max()


def combinations(results: Results, ranking: str) -> list[tuple[str, str]]:
    """The name of each combination, and its members with their weights and what it left out."""
    rows = []
    for model, record in sorted(results.combinations(ranking).items()):
        parts = filter(None, [describe_members(record), record.reason])
        rows.append((model, "; ".join(parts)))
    return rows


def _sort_rows(rows: list[Row], cell: int = 0) -> list[Row]:
    """The rows in rising order of the value of their cell number `cell`; those without one last."""

    def missing_last(row: Row) -> tuple[bool, Any]:
        value = row.cells[cell].value
        return value is None, value or 0.0

    return sorted(rows, key=missing_last)


def _title(results: Results, metric: Metric) -> str:
    """The title of a metric with its unit, if it has one: `MAE [°C]`."""
    return metric.title + text.in_brackets(results.unit if metric.in_units else "")


def _row(
    results: Results,
    ranking: str,
    part: pd.DataFrame,
    metric_names: list[str],
    score_names: list[str],
) -> Row:
    """The row of one candidate. That of a failed one has its reason alone.

    part: its rows of the leaderboard, one per seed, with their mean and spread; metric_names: the
    metrics other than the one that ranks; score_names: the scores of distributions
    """
    means = part[part["seed"] == MEAN]
    mean = (part if means.empty else means).iloc[0]
    model = str(mean["model"])
    if mean["status"] != "ok" or text.is_missing(mean[results.headline_metric]):
        name = results.candidate(model, str(mean["ranking"]))
        reason = results.records[name].reason if name else ""
        return Row(model, [EMPTY], ["failed"], "failed", reason or "no reason was recorded")
    score = float(mean[results.headline_metric])
    score_text = text.figure(score)
    for spread in part.loc[part["seed"] == SPREAD, results.headline_metric].dropna():
        score_text = text.plus_minus(score, spread)
    cells = [
        TableCell(score_text, score),
        _bar_cell(results, ranking, model),
        _skip_cell(results, ranking, mean),
        *[number(mean[name]) for name in metric_names],
        _direction_cell(mean),
        number(mean["validation_mase"]),
        *[number(mean[name]) for name in score_names],
    ]
    cls = "baseline" if mean["ranking"] == "baseline" else ""
    if model == results.selected_model(ranking):
        cls = "chosen"
    seeds = part[part["seed"].str.isdigit()]
    return Row(model, cells, _marks(results, ranking, model, seeds), cls)


def _marks(results: Results, ranking: str, model: str, seeds: pd.DataFrame) -> list[str]:
    """The marks beside the name of a model; `seeds`: its rows of the leaderboard, one per seed."""
    marks = []
    if model == results.selected_model(ranking):
        marks.append(name_choice(model, results.verdicts.by_rule))
    tied = results.tied(ranking)
    if model in tied and len(tied) > 1:
        marks.append("tied")
    against_bar = results.tests(ranking, "bar").get(model)
    is_better = against_bar is not None and against_bar.word == "better"
    if model in alarms_by_model(results.verdicts.copies, ranking) and not is_better:
        marks.append("copy")
    if model in alarms_by_model(results.verdicts.leaks, ranking):
        marks.append("leak alarm")
    n_failed = int((seeds["status"] != "ok").sum())
    if n_failed:
        marks.append(f"{n_failed} of {len(seeds)} seeds failed")
    return marks


def _direction_cell(row: pd.Series) -> TableCell:
    """The cell of the direction, with its base rate."""
    direction = share(row["direction"])
    if text.is_missing(row["direction"]) or text.is_missing(row["direction_base"]):
        return direction
    hit_rate = text.percent(row["direction"]).removesuffix(" %")
    return replace(direction, content=f"{hit_rate} / {text.percent(row['direction_base'])}")


def _bar_cell(results: Results, ranking: str, model: str) -> TableCell:
    """The change of the error against the bar, with the word of its test if there is one. A network
    that did not train has no test, but the change of the skip that it repeats.
    """
    test = results.tests(ranking, "bar").get(model)
    if test is not None:
        return _test_cell(test, test.word)
    return _change(results.changes_from_bar(ranking).get(model))


def _change(change: float | None) -> TableCell:
    """The cell of a change of an error; below zero is better."""
    return text.cell(change, text.signed_percent)


def _skip_cell(results: Results, ranking: str, row: pd.Series) -> TableCell:
    """The change of a network against its own skip. With any word but "better" no gain is shown."""
    model = str(row["model"])
    test = results.tests(ranking, "skip").get(model)
    if test is None:
        same_as = results.untrained(ranking).get(model)
        if same_as is None:
            return EMPTY
        return TableCell(f"= {same_as} (did not train)")
    remark = "better" if test.word == "better" else f"no gain shown ({test.word})"
    return _test_cell(test, remark)


def _test_cell(test: PairedTest, remark: str) -> TableCell:
    """The cell of a test: the change of the error (a share, below 0 is better) and `remark`."""
    change = test.relative_difference
    content = Markup('{} <span class="word"><i aria-hidden="true">{}</i> {}</span>').format(
        text.signed_percent(change), text.WORD_MARKS[test.word], remark
    )
    tip = f"against {text.name(test.against)}{text.describe_numbers(test)}"
    return TableCell(content, change, tip, text.word_class(test.word))


def series_table(results: Results, ranking: str) -> Table:
    """The MAE of every model on each of the first series, in its unit, and its change against
    naive.
    """
    names = list(results.series[:MOST_SERIES])
    columns = [("Model", "")]
    for series in names:
        unit = text.in_brackets(results.unit_of(series))
        columns += text.columns("one_series", series=series, unit=unit)
    served = served_errors(results, ranking)[["mae", "skill"]]
    rows = []
    for model, part in served.groupby(level=0, sort=True):
        scores = part.droplevel(0).reindex(names)  # a series without scores gets empty cells
        cells = []
        for mae, skill in scores.itertuples(index=False):
            cells += [number(mae), _change(-skill)]
        rows.append(Row(str(model), cells))
    return Table(columns, _sort_rows(rows))


def served_errors(results: Results, ranking: str) -> pd.DataFrame:
    """The errors of what serves in a ranking, by model and series: those of the mean of the seeds,
    which is the last row of a model and series, or of the only seed.
    """
    keys = ["model", "series"]
    table = in_ranking(results.by_series, ranking)
    return table.groupby(keys).tail(1).set_index(keys).sort_index()


def level_table(results: Results, ranking: str) -> Table | None:
    """The MASE of every model by level of a hierarchy: of reconciled, base and bottom-up forecasts;
    None without a hierarchy.
    """
    if not results.dataset.hierarchy:
        return None
    scores = in_ranking(results.levels, ranking)
    rows = []
    for _, row in scores.iterrows():
        errors = [number(row[name]) for name in LEVEL_ERRORS]
        cells = [TableCell(row["level"], row["level"]), text.whole(row["n_series"]), *errors]
        cls = "chosen" if row["model"] == results.selected_model(ranking) else ""
        rows.append(Row(row["model"], cells, cls=cls))
    return Table(text.columns("levels"), rows)


@dataclass(frozen=True)
class ManySeries:
    """The errors of a dataset with too many series for a column each."""

    model: str
    """The model of the table `worst`."""
    count: int
    """The number of series of that model."""
    spread: Table
    """Quantiles of the MASE of every model over the series."""
    worst: Table
    """The series on which `model` has the highest MASE."""


def many_series(results: Results, ranking: str) -> ManySeries:
    """The errors over all series. The model of `worst` is the selected one, or without a selection
    the one with the lowest median MASE.
    """
    served = served_errors(results, ranking)[["mae", "mase", "skill"]]
    shares = (0.05, 0.5, 0.95)
    rows = []
    for name, part in served.groupby(level=0, sort=True):
        cells = [number(part["mase"].quantile(s)) for s in shares]
        cells.append(share(float((part["skill"] > 0).mean())))
        rows.append(Row(str(name), cells))
    rows = _sort_rows(rows, cell=1)
    model = results.selected_model(ranking) or rows[0].model
    of_model = served.loc[[model]].droplevel(0)
    worst = of_model.sort_values("mase", ascending=False, kind="stable")[: text.MOST_LISTED]
    worst_rows = [
        Row(str(series), [number(mae), number(mase), _change(-skill)])
        for series, mae, mase, skill in worst.itertuples()
    ]
    return ManySeries(
        model,
        count=len(of_model),
        spread=Table(text.columns("quantiles_over_series"), rows),
        worst=Table(text.columns("worst_series"), worst_rows),
    )
