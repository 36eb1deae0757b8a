"""The leaderboards outside of the page: reports/leaderboard.csv with all datasets (`as_csv`), and
one for each dataset in the terminal at the end of a run (`print_leaderboards`). Also
reports/verdicts.json, with every test of the comparison. Both files are committed, so that anyone
can check a published figure without a run.

The leaderboard of the page is in `report.score_tables`, that of `forecast.compare` in `api.board`.
Cells are the text that stage `compare` wrote; the CSV rounds measured values to five significant
digits, so that another kind of processor does not change the file. In the terminal a new column
needs a row of `SCORES`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from forecast.comparison import metrics
from forecast.comparison.sentences import describe_selection
from forecast.config.models import INTERMITTENT_GRID
from forecast.config.paths import ProjectPaths
from forecast.data.records import RunRecord
from forecast.data.results import (
    BASELINE,
    DIGITS,
    MEAN,
    RANKING_TITLES,
    RANKINGS,
    WHOLE_HORIZON,
    Results,
    Row,
)
from forecast.report import text
from forecast.system.errors import with_minus
from forecast.system.files import round_numbers, write_json

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

RANKING_ORDER = (BASELINE, *RANKINGS)


def order_records(results: Results) -> list[RunRecord]:
    """The records of all candidates: baselines, then by ranking and model."""
    records = results.records.values()
    return sorted(records, key=lambda record: (RANKING_ORDER.index(record.ranking), record.model))


def combine_leaderboards(paths: ProjectPaths, datasets: Iterable[str]) -> list[Row]:
    """The rows of all datasets, ordered by dataset as configured, ranking, model, skip and seed,
    mean and spread of the seeds last.
    """
    rows: list[Row] = []
    for name in datasets:
        rows += sorted(_with_distributions(Results(paths, name)), key=_sort_key)
    return rows


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV text with \\n line ends, scores of distributions last; measured values with
    `DIGITS` significant digits.
    """
    table = pd.DataFrame(rows)
    columns = metrics.leaderboard_columns()
    added = table.columns.difference(columns)  # sorted
    table = table.reindex(columns=[*columns, *added]).fillna("")
    return table.map(round_cell).to_csv(index=False, lineterminator="\n")


def write_verdicts(paths: ProjectPaths, datasets: Iterable[str]) -> None:
    """Write reports/verdicts.json with the verdicts of each dataset, numbers with `DIGITS`
    significant digits.
    """
    verdicts = {name: Results(paths, name).verdicts.model_dump(mode="json") for name in datasets}
    write_json(paths.verdicts, round_numbers(verdicts, DIGITS))


def round_cell(cell: str) -> str:
    """A cell with `DIGITS` significant digits if it is a number with decimals; else as it is."""
    if "." not in cell:  # a count, such as the parameters, is exact; `1e5` may be a name
        return cell
    try:
        return f"{float(cell):.{DIGITS}g}"
    except ValueError:
        return cell


def scores_of_distributions(results: Results) -> pd.DataFrame:
    """The scores of the served intervals by model and ranking: for one series `winkler_80` and the
    like and `crps`, in its unit; for several series the mean `scaled_crps`.

    A network whose head forecasts a distribution has the `crps` of that distribution. Scores that
    no model has are left out.
    """
    labels = ["model", "ranking"]
    of_served = results.crps.groupby(labels)
    if len(results.series) > 1:
        scores = of_served[["scaled_crps"]].mean()[of_served.size() == len(results.series)]
    else:
        all_steps = results.intervals[results.intervals["step"] == WHOLE_HORIZON]
        scores = all_steps.pivot(index=labels, columns="level", values="winkler")
        scores = scores.rename(columns="winkler_{:g}".format)
        heads = results.distributions
        of_heads = heads[heads["metric"] == "crps"].set_index(labels)["value"]
        crps = of_heads.combine_first(of_served["crps"].first())
        scores = scores.join(crps.rename("crps"), how="outer")
    return scores.dropna(axis=1, how="all").astype(float)


def _with_distributions(results: Results) -> list[Row]:
    """The rows of the leaderboard; those of the seeds' mean have the scores of distributions."""
    text_rows = results.text_rows("leaderboard")
    scores: Any = scores_of_distributions(results).to_dict("index")
    rows = []
    for row in text_rows:
        if row["seed"] == MEAN:
            key = (row["model"], row["ranking"])
            of_row = scores.get(key, {}).items()
            row = {**row, **{name: f"{score:.12g}" for name, score in of_row if pd.notna(score)}}
        rows.append(row)
    return rows


def _sort_key(row: Row) -> tuple[int, str, str, float, str]:
    """The order of the rows: ranking, model, skip, seed; mean and spread of the seeds last."""
    seed = row["seed"]
    number = float(seed) if seed.isdigit() else math.inf
    return RANKING_ORDER.index(row["ranking"]), row["model"], row["skip"], number, seed


SCORES = {
    "MAE": "mae",
    "MASE": "mase",
    "RMSSE": "rmsse",
    "80 % interval score": "winkler_80",
    "CRPS": "crps",
    "scaled CRPS": "scaled_crps",
}
"""The columns of the leaderboard by heading. RMSSE, which a mean forecast minimises, is shown only
for the grid `INTERMITTENT_GRID`. CRPS is known only for the selected models, the references and
networks with a head that forecasts a distribution. A terminal narrower than `WIDE` shows only MAE
and MASE.
"""
WIDE = 100
"""Columns of a terminal that has room for all `SCORES`."""
ONLY_BASELINES = {BASELINE: "baselines"}
"""The ranking that is shown if there are only baselines, and its title."""
CHOSEN = "*"
SCORED = (
    "Errors on test, a network by the mean forecast of its seeds; words from corrected tests."
    " The bar of the words is the simple forecast with the lowest error on validation of"
    " those from which no difference drifts."
)
"""The exact rule of the bar is in `verdicts._order_bars`."""
LEGEND = f"{CHOSEN} selected before the test block was looked at. {SCORED}"
PLAIN_WIDTH = 200  # a pipe or a file is no 80-column terminal: folding there would break `grep`


def print_leaderboards(
    paths: ProjectPaths, datasets: Iterable[str], console: Console | None = None
) -> None:
    """Print for each dataset the leaderboard of each ranking with networks (or of the baselines),
    the verdict, how the model was selected, and the warnings. On a terminal tables have rules and
    styles, elsewhere they are plain text.
    """
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    for dataset in datasets:
        results = Results(paths, dataset)
        verdicts = results.verdicts
        present = set(results.leaderboard["ranking"])
        ranked = {ranking: title for ranking, title in RANKING_TITLES.items() if ranking in present}
        for ranking, title in (ranked or ONLY_BASELINES).items():
            lines = leaderboard_lines(results, ranking)
            _print(console, f"{dataset}, {title}", lines, verdicts.bar)
        sentences = [
            *verdicts.sentences[:1],
            *describe_selection(verdicts.chosen, verdicts.lowest),
            *verdicts.warnings,
        ]
        for sentence in filter(None, dict.fromkeys(sentences)):
            words = with_minus(sentence)
            console.print(f"{dataset}: {words}", highlight=False, markup=False)
    console.print(LEGEND, highlight=False, markup=False)


def leaderboard_lines(results: Results, ranking: str) -> pd.DataFrame:
    """The models of a ranking and the baselines as text, under their headings: the lowest MASE
    first, failed models last. Errors are those of the mean of the seeds.

    If nothing was selected in this ranking, the model that another ranking selected is marked.
    """
    board = results.board(ranking)
    board = board[board["seed"] == MEAN].join(
        scores_of_distributions(results), on=["model", "ranking"]
    )
    board = board.assign(mase=board["mase"].where(board["status"] == "ok"))
    board = board.sort_values(["mase", "model"], ignore_index=True)
    if results.dataset.grid != INTERMITTENT_GRID:
        board = board.drop(columns="rmsse")
    # not from the skill, which with series of unequal length is another mean than the sentences use
    changes = results.changes_from_bar(ranking)
    against_bar = {model: text.signed_percent(change) for model, change in changes.items()}
    for model, test in results.tests(ranking, "bar").items():
        against_bar[model] += f" {test.word}"
    skip_tests = results.tests(ranking, "skip")
    against_skip: dict[str, str] = {model: test.word for model, test in skip_tests.items()}
    for model, repeated in results.untrained(ranking).items():
        against_skip[model] = f"= {repeated} (did not train)"
    chosen = results.verdicts.chosen
    best = chosen.get(ranking, next(iter(chosen.values()), None))
    models = board["model"]
    lines = pd.DataFrame({"": [CHOSEN if model == best else "" for model in models]})
    lines["model"] = models
    for head, metric in SCORES.items():
        lines[head] = board[metric].map(text.figure) if metric in board else text.NOTHING
    lines["error vs bar"] = [against_bar.get(model, text.NOTHING) for model in models]
    lines["vs own skip"] = [against_skip.get(model, "") for model in models]
    failed_cells = {"MASE": "failed", "error vs bar": "", "vs own skip": "see below"}
    lines.loc[board["status"] != "ok", list(failed_cells)] = list(failed_cells.values())
    return lines


def _print(console: Console, title: str, lines: pd.DataFrame, bar: str) -> None:
    """Print `leaderboard_lines` without their empty columns, such as MAE with several series; below
    `WIDE` without all scores but MAE and MASE.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    is_filled = ~lines.isin(["", text.NOTHING]).all()
    if console.width < WIDE:
        is_filled[[head for head in SCORES if head not in ("MAE", "MASE")]] = False
    frame = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, title_justify="left", box=frame)
    for head in lines.columns[is_filled]:
        justify: JustifyMethod = "right" if head in SCORES else "left"
        table.add_column(head.replace("bar", bar), justify=justify, no_wrap=True)
    for is_chosen, line in zip(lines[""], lines.loc[:, is_filled].to_numpy(), strict=True):
        table.add_row(*map(Text, line), style="bold" if is_chosen else "")
    console.print(table)
    console.print()
