"""Tables of scores: the leaderboard of one ranking, the errors of every series, and the scores of
distributions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
from markupsafe import Markup

from forecast.comparison import metrics
from forecast.comparison.metrics import Metric
from forecast.data.comparison_records import PairedTest
from forecast.data.results import (
    MEAN,
    RANKING_TITLES,
    RANKINGS,
    WHOLE_HORIZON,
    Results,
    describe_members,
    in_ranking,
)
from forecast.report import text
from forecast.report.charts import strip
from forecast.report.figures import fitted_skip, headline
from forecast.report.leaderboard import scores_of_distributions
from forecast.report.svg import padded
from forecast.report.text import EMPTY, MOST_SERIES, Cell, Row, Table, number, share, whole

WIDEST = 1.25  # times the naive error: what lies beyond is an arrow on the strip
AGAINST_NAIVE = (
    "Change of error against the naive forecast, on the same origins; word of the corrected test"
)
AGAINST_SKIP = (
    "Change of error against the model's own skip connection; a network counts only when it says"
    " better"
)
SPREAD = "of the mean of the seeds' forecasts ± standard deviation over seeds"
SEEDS = (
    "Each seed a thin mark, their mean a dot; left is better, the vertical line is the fitted skip"
    " alone"
)
WINKLER = (
    "Of the served intervals around the seeds' mean: width plus 2 / (1 - level) times what was"
    " missed"
)
HEADS = "Of the head's whole distribution, mean over seeds; of a single number it is the MAE"
DIRECTION = "Share of moves whose sign was forecast right / share of the commoner sign"
Scores = dict[str, Any]  # one row of the leaderboard


def leaderboard(results: Results, ranking: str) -> Table:
    """The ranking's own rows with baselines and skip: per model the mean of its seeds' forecasts, ±
    their spread.

    Of one series, whose unit scores of distributions have, these stand in the last columns of the
    models' rows.
    """
    board, ranked_by = results.board(ranking), headline(results)
    rest = [
        m
        for m in metrics.METRICS
        if m.own_column and m.name != results.headline_metric and board[m.name].notna().any()
    ]
    columns = [
        ("Model", ""),
        (_title(results, ranked_by), f"{ranked_by.explanation}; {SPREAD}"),
        ("Error vs naive", AGAINST_NAIVE),
        ("Error vs own skip", AGAINST_SKIP),
        ("Seeds", SEEDS),
        *[(_title(results, metric), metric.explanation) for metric in rest],
        ("Direction", DIRECTION),
        ("Validation MASE", "MASE on the validation block, what the choice looked at"),
        ("Parameters", "Number of trained weights"),
    ]
    groups = board.groupby(["model", "ranking"], sort=True)
    rows = [_row(results, ranking, part, rest) for _, part in groups]
    rows.sort(key=_lowest_first)
    for title, why, scores in _of_distributions(results, ranking):
        columns.append((title, why))
        for row in rows:
            if row.cls != "failed":
                row.cells.append(number(scores.get(row.model)))
    return Table(columns, rows)


def _of_distributions(results: Results, ranking: str) -> list[tuple[str, str, dict[str, float]]]:
    """Title, explanation and score by model of what the leaderboard holds besides its metrics."""
    unit = f" [{results.unit}]" if results.unit else ""
    found = []
    for name, scores in scores_of_distributions(results).items():
        level = name.removeprefix("winkler_")
        title, why = (f"Winkler {level} %", WINKLER) if level != name else ("CRPS", HEADS)
        own = {
            model: score
            for (model, place), score in scores.items()
            if place in (ranking, "baseline")
        }
        found += [(f"{title}{unit}", why, own)] if own else []
    return found


def combinations(results: Results, ranking: str) -> list[tuple[str, str]]:
    """Of each combination its name, and its members with their weights; what was left out behind
    them.
    """
    found = results.combinations(ranking)
    return [
        (m, "; ".join(filter(None, (describe_members(r), r.reason))))
        for m, r in sorted(found.items())
    ]


def _lowest_first(row: Row, column: int = 0) -> tuple[bool, Any]:
    value = row.cells[column].value
    return value is None, value or 0.0


def _title(results: Results, metric: Metric) -> str:
    return f"{metric.title} [{results.unit}]" if metric.in_units and results.unit else metric.title


def _row(results: Results, ranking: str, part: pd.DataFrame, rest: list[Metric]) -> Row:
    by_seed: dict[str, Scores] = {str(row["seed"]): row for row in part.to_dict("records")}  # type: ignore[misc]
    seeds = [row for seed, row in by_seed.items() if seed.isdigit()]
    mean = by_seed.get("mean") or next(iter(by_seed.values()))
    if mean["status"] != "ok" or text.missing(mean[results.headline_metric]):
        name = results.candidate(str(mean["model"]), str(mean["ranking"]))
        reason = results.records[name].reason if name else ""
        return Row(
            str(mean["model"]),
            [EMPTY],
            ["failed"],
            "failed",
            str(reason or "no reason was recorded"),
        )
    return _mean_row(results, ranking, mean, by_seed.get("std"), seeds, rest)


def _mean_row(
    results: Results,
    ranking: str,
    mean: Scores,
    std: Scores | None,
    seeds: list[Scores],
    rest: list[Metric],
) -> Row:
    model, error = str(mean["model"]), float(mean[results.headline_metric])
    chosen = model == results.chosen(ranking)
    spread = (std or {}).get(results.headline_metric) if len(seeds) > 1 else None
    shown = (
        text.figure(error) if text.missing(spread) else text.plus_minus(error, float(spread or 0))
    )
    failed = sum(row["status"] != "ok" for row in seeds)
    marks = ["chosen on validation"] if chosen else []
    marks += ["best set"] if model in results.tied(ranking) else []
    against_naive = results.tests(ranking, "naive").get(model)
    is_better = against_naive is not None and against_naive.word == "better"
    if model in results.alarms(results.verdicts.copies, ranking) and not is_better:
        marks.append("copy")
    if model in results.alarms(results.verdicts.leaks, ranking):
        marks.append("leak alarm")
    marks += [f"{failed} of {len(seeds)} seeds failed"] if failed else []
    cells = [
        Cell(shown, error),
        _naive_cell(results, ranking, mean),
        _skip_cell(results, ranking, mean),
        Cell(_strip(results, ranking, seeds, error, chosen)),
        *_scores(mean, rest),
    ]
    return Row(
        model,
        cells,
        marks,
        "chosen" if chosen else "baseline" if mean["ranking"] == "baseline" else "",
    )


def _scores(row: Scores, rest: list[Metric]) -> list[Cell]:
    direction = share(row["direction"])
    if direction is not EMPTY and not text.missing(row["direction_base"]):
        both = f"{str(direction.shown).removesuffix(' %')} / {text.percent(row['direction_base'])}"
        direction = replace(direction, shown=both)
    return [
        *[number(row[m.name], m.digits) for m in rest],
        direction,
        number(row["validation_mase"]),
        whole(row["n_params"]),
    ]


def _naive_cell(results: Results, ranking: str, row: Scores) -> Cell:
    test = results.tests(ranking, "naive").get(str(row["model"]))
    return _tested(test, -row["skill"], test.word) if test else _change(row["skill"])


def _change(skill: Any) -> Cell:
    """Of the error against naive, signed like every change on the page: below zero is better."""
    return EMPTY if text.missing(skill) else Cell(text.signed_percent(-skill), -float(skill))


def _skip_cell(results: Results, ranking: str, row: Scores) -> Cell:
    """The change against the model's own skip; anything but "better" means that the network adds
    nothing.
    """
    test = results.tests(ranking, "skip").get(str(row["model"]))
    if not test:
        return EMPTY
    said = "better" if test.word == "better" else f"adds nothing ({test.word})"
    return _tested(test, test.relative_difference, said)


def _tested(test: PairedTest, change: Any, said: str) -> Cell:
    word, shown = test.word, text.signed_percent(change)
    content = Markup('{} <span class="word"><i aria-hidden="true">{}</i> {}</span>').format(
        shown, text.WORD_MARKS.get(word, ""), said
    )
    tip = f"against {text.name(test.against)}{text.interval(test)}{text.holm(test)}"
    return Cell(content, change, tip, text.word_class(word))


def _strip(
    results: Results, ranking: str, seeds: list[Scores], error: float, chosen: bool
) -> Markup:
    """The seeds on the range of this ranking's networks and the fitted skip; worse rows are an
    arrow at its end.
    """
    board, head = results.board(ranking), results.headline_metric
    values = board.loc[board["seed"] != "std", head].dropna()
    own = board.loc[(board["ranking"] == ranking) & (board["seed"] != "std"), head].dropna()
    line, naive = (results.score(model, ranking) for model in (fitted_skip(results), "naive"))
    highest = max(
        [
            float(own.max()) if len(own) else float(values.max()),
            *([float(line[head])] if line else []),
        ]
    )
    highest = min(highest, WIDEST * float(naive[head])) if naive else highest
    bounds = padded([float(values.min()), max(highest, float(values.min()))])
    marks = [float(row[head]) for row in seeds if row["status"] == "ok"] if len(seeds) > 1 else []
    reference = float(line[head]) if line else None
    return Markup(strip(marks, error, bounds, reference, "chosen" if chosen else "other"))  # noqa: S704  (our own SVG)


def series_table(results: Results, ranking: str) -> Table:
    """MAE of every series in its own unit, for datasets of several series, whose errors are never
    pooled in units.
    """
    names = results.series[:MOST_SERIES]
    columns = [("Model", "")]
    mae = next(metric for metric in metrics.METRICS if metric.name == "mae")
    for series in names:
        unit = results.unit_of(series)
        titles = f"{series}: MAE{f' [{unit}]' if unit else ''}", "Error vs naive"
        columns += zip(titles, (mae.explanation, AGAINST_NAIVE), strict=True)
    table = in_ranking(results.by_series, ranking)
    rows = []
    for model, part in _served(table)[["mae", "skill"]].groupby(level=0, sort=True):
        own = part.droplevel(0).reindex(list(names))  # of a series without scores: no cell
        pairs = [(number(mae), _change(skill)) for mae, skill in own.itertuples(index=False)]
        rows.append(Row(str(model), [cell for pair in pairs for cell in pair]))
    rows.sort(key=_lowest_first)
    return Table(columns, rows)


def _served(table: pd.DataFrame) -> pd.DataFrame:
    """By model and series the last row: that of the seeds' mean, which stands behind them, or of
    the only seed.
    """
    return table.groupby(["model", "series"]).tail(1).set_index(["model", "series"]).sort_index()


@dataclass(frozen=True)
class ManySeries:
    """What is said of more series than have a column each: `spread` of every model's MASE over the
    series, the `worst` of `model`, and `known`, every series' row of it as text, for a search.
    """

    model: str
    count: int
    spread: Table
    worst: Table
    known: list[tuple[str, ...]]


def many_series(results: Results, ranking: str) -> ManySeries:
    """Of what serves; `model` is the chosen one, else the best of the table."""
    mean = _served(in_ranking(results.by_series, ranking))[["mae", "mase", "skill"]]
    shares = (0.05, 0.5, 0.95)
    columns = [
        ("Model", ""),
        *((f"MASE, {text.level(s)}", "This share of the series has no higher one") for s in shares),
    ]
    columns += [("Better than naive", "Share of the series on which its error is below naive's")]
    rows = []
    for name, part in mean.groupby(level=0, sort=True):
        ahead = share(float((part["skill"] > 0).mean()))
        rows.append(Row(str(name), [*(number(part["mase"].quantile(s)) for s in shares), ahead]))
    rows.sort(key=partial(_lowest_first, column=1))
    model = results.chosen(ranking) or rows[0].model
    own = mean.loc[[model]].droplevel(0).sort_values("mase", ascending=False, kind="stable")
    cells = [
        (str(s), [number(mae), number(mase), _change(skill)])
        for s, mae, mase, skill in own.itertuples()
    ]
    worst = [
        ("Series", ""),
        ("MAE", "In the unit of the series"),
        ("MASE", ""),
        ("Error vs naive", AGAINST_NAIVE),
    ]
    known = [(series, *(str(cell.shown) for cell in row)) for series, row in cells]
    found = Table(worst, [Row(series, row) for series, row in cells[: text.WORST]])
    return ManySeries(model, len(own), Table(columns, rows), found, known)


DISTRIBUTIONS = [
    ("Model", ""),
    ("Ranking", "Which skip connection it was trained with"),
    ("Head", "What the network forecasts besides one number"),
    ("Series", ""),
    (
        "CRPS",
        "Of the whole distribution, in the unit of the series; of a single number it is the MAE",
    ),
    ("Log score", "Mean negative log density; lower is better; only of densities"),
    ("Brier", "Mean squared error of the probability of a rise"),
    ("Base rate", "Brier score of always saying how often it rose"),
]


def distribution_table(results: Results) -> Table | None:
    """One row per candidate with such a head and series, a column per level of its intervals; None
    without any.
    """
    rows = results.distributions
    if rows.empty:
        return None
    rows = rows[
        (rows["step"] == WHOLE_HORIZON)
        & (rows["seed"] == MEAN)
        & rows["series"].isin(results.series[:MOST_SERIES])
    ]
    levels = sorted(rows.loc[rows["metric"] == "coverage", "level"].dropna().unique())
    covers = [
        (f"{text.level(level)} covers", "Share of the actual values inside the interval")
        for level in levels
    ]
    groups = rows.groupby(["ranking", "model", "head", "series"], sort=True)
    found = [_distribution_row(tuple(map(str, key)), part, levels) for key, part in groups]  # type: ignore[arg-type]
    found.sort(key=lambda row: (RANKINGS.index(str(row.cells[0].value)), row.model))
    return Table([*DISTRIBUTIONS, *covers], found)


def _distribution_row(key: tuple[str, ...], part: pd.DataFrame, levels: list[float]) -> Row:
    ranking, model, head, series = key
    plain = part[part["level"].isna()].set_index("metric")["value"]
    covers, rate = (
        part[part["metric"] == "coverage"].set_index("level")["value"],
        plain.get("rise_rate"),
    )
    base = None
    if rate is not None and not text.missing(rate) and not text.missing(plain.get("brier")):
        base = float(rate) * (1 - float(rate))
    cells = [
        Cell(RANKING_TITLES[ranking], ranking),
        Cell(text.name(head), head),
        Cell(series, series),
        *[number(plain.get(metric)) for metric in ("crps", "log_score", "brier")],
        number(base),
        *[share(covers.get(level)) for level in levels],
    ]
    return Row(model, cells)
