"""The leaderboards outside of the page: of all datasets as reports/leaderboard.csv (`as_csv`), and
of each in the terminal at the end of a run (`print_leaderboards`). The page's own leaderboard is in
`report.board`, that of `forecast.compare` in `api.board`. Beside them reports/verdicts.json, every
test of the comparison: both files are kept in git, so that who has no run of his own can check a
published figure.

Rows are the text that stage `compare` wrote, so no digit is invented on the way; the CSV rounds
measured values to five significant digits, so that another kind of processor leaves it as it is.

Another column is one of the table that stage `compare` writes; in the terminal it takes a row of
`SCORES` too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from forecast.comparison import metrics
from forecast.comparison.sentences import describe_selection
from forecast.config.models import INTERMITTENT_GRID
from forecast.config.paths import ProjectPaths
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


def combine_leaderboards(paths: ProjectPaths, datasets: Iterable[str]) -> list[Row]:
    """The rows of all datasets in a stable order: dataset as configured, ranking, model, skip,
    seeds, their summary.

    Cells stay the text that stage `compare` wrote, so no digit is lost or invented on the way.
    """
    rows: list[Row] = []
    for name in datasets:
        rows += sorted(_with_distributions(Results(paths, name)), key=_sort_key)
    return rows


def as_csv(rows: list[Row]) -> str:
    """The table as CSV text with \\n line ends: equal rows are equal bytes.

    Scores of distributions stand last. Measured values have `DIGITS` significant digits, so that
    the rounding errors of another kind of processor leave the committed file as it is.
    """
    table = pd.DataFrame(rows)
    names = set[str]().union(*rows)
    added = sorted(name for name in names if name.startswith(OF_DISTRIBUTIONS))
    table = table.reindex(columns=[*metrics.leaderboard_columns(), *added]).fillna("")
    return table.map(round_cell).to_csv(index=False, lineterminator="\n")


OF_DISTRIBUTIONS = ("crps", "scaled_crps", "winkler_")
"""How the names of scores beside the metrics begin: `as_csv` drops any other column."""


def write_verdicts(paths: ProjectPaths, datasets: Iterable[str]) -> None:
    """Write everything that the tests of each dataset decided as reports/verdicts.json; numbers
    with the significant digits of the leaderboard, so that another kind of processor leaves the
    committed file as it is.
    """
    verdicts = {name: Results(paths, name).verdicts.model_dump(mode="json") for name in datasets}
    write_json(paths.verdicts, round_numbers(verdicts, DIGITS))


def round_cell(cell: str) -> str:
    """A cell with `DIGITS` significant digits where it is a number with decimals; any other as it
    is.
    """
    try:
        value = float(cell)
    except ValueError:
        return cell
    if cell.lstrip("-").isdigit():  # a count, such as the parameters, is exact
        return cell
    return f"{value:.{DIGITS}g}"


def scores_of_distributions(results: Results) -> pd.DataFrame:
    """The scores of the served intervals by model and ranking: of one series `winkler_80`, ... and
    `crps` in its unit, of several the mean `scaled_crps`, since their units cannot be pooled.

    A network's head is scored by its own `crps`. A score that no model has is no column.
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
    """The leaderboard's rows, those of the seeds' mean with the scores of distributions."""
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
    """Sorts by ranking, model, skip and seed; the seeds' summaries last, their mean first."""
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
"""Heading → column of the leaderboard. RMSSE, which a forecast of the mean minimises, is shown of
the grid `INTERMITTENT_GRID`. CRPS is known of the selected models, the references and
networks with a head of distributions alone. A terminal narrower than `WIDE` shows MAE and MASE
alone.
"""
HEADS = ("", "model", *SCORES, "error vs bar", "vs own skip")
WIDE = 100
"""Columns of a terminal that has room for all `SCORES`."""
# nothing was trained: they stand in every ranking, shown once
ONLY_BASELINES = {"baseline": "baselines"}
CHOSEN = "*"
SCORED = (
    "Errors on test, a network by the mean forecast of its seeds; words from corrected tests."
    " The bar of the words is the simple forecast with the lowest error on validation of"
    " those from which no difference drifts."
)
LEGEND = f"{CHOSEN} selected before the test block was looked at. {SCORED}"
PLAIN_WIDTH = 200  # a pipe or a file is no 80-column terminal: folding there would break `grep`


def print_leaderboards(
    paths: ProjectPaths, datasets: Iterable[str], console: Console | None = None
) -> None:
    """Print the leaderboards of each ranking with networks (else that of the baselines), then the
    verdict, how it was selected and warnings: ruled and coloured on a terminal, plain aligned text
    elsewhere.
    """
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    for dataset in datasets:
        results = Results(paths, dataset)
        verdicts = results.verdicts
        rows = [row for row in _with_distributions(results) if row["seed"] == MEAN]
        present = {row["ranking"] for row in rows}
        ranked = {ranking: title for ranking, title in RANKING_TITLES.items() if ranking in present}
        for ranking, title in (ranked or ONLY_BASELINES).items():
            table_lines = leaderboard_lines(rows, ranking, results)
            _print(console, f"{dataset}, {title}", table_lines, verdicts.bar)
        sentences = [
            *verdicts.sentences[:1],
            *describe_selection(verdicts.chosen, verdicts.lowest),
            *verdicts.warnings,
        ]
        for sentence in filter(None, dict.fromkeys(sentences)):
            words = with_minus(sentence)
            console.print(f"{dataset}: {words}", highlight=False, markup=False)
    console.print(LEGEND, highlight=False, markup=False)


def leaderboard_lines(rows: Iterable[Row], ranking: str, results: Results) -> list[tuple[str, ...]]:
    """The ranking's rows and the baselines as text in the order of `HEADS`, lowest error first,
    failures last.

    `rows` are the leaderboard's, a network by the mean forecast of its seeds. The order is by MASE,
    which is free of the series' units. Where nothing was chosen in this ranking, the model that
    another one chose is marked.
    """
    shown_rows = [row for row in rows if row["ranking"] in (ranking, BASELINE)]
    if results.dataset.grid != INTERMITTENT_GRID:
        shown_rows = [{**row, "rmsse": ""} for row in shown_rows]
    shown_rows.sort(key=_order_by_mase)
    # as the sentence has it: the skill of series of unequal length is another mean
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
    return [_line(row, against_bar, against_skip, best) for row in shown_rows]


def _order_by_mase(row: Row) -> tuple[bool, float, str]:
    has_none = row["status"] != "ok" or not row["mase"]
    return has_none, float(row["mase"] or 0), row["model"]


def _line(
    row: Row,
    against_bar: Mapping[str, str],
    against_skip: Mapping[str, str],
    chosen: str | None,
) -> tuple[str, ...]:
    """The cells of one row, in the order of `HEADS`."""
    model = row["model"]
    mark = CHOSEN if model == chosen else ""
    if row["status"] != "ok":
        scores = ["failed" if head == "MASE" else text.NOTHING for head in SCORES]
        return mark, model, *scores, "", "see below"
    scores = [text.figure(row.get(key) or None) for key in SCORES.values()]
    return mark, model, *scores, against_bar.get(model, text.NOTHING), against_skip.get(model, "")


def _print(console: Console, title: str, table_lines: list[tuple[str, ...]], bar: str) -> None:
    """One table; without a column that is empty, such as MAE with several series."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = pd.DataFrame(table_lines, columns=HEADS)
    is_filled = ~cells.isin(["", text.NOTHING]).all()
    if console.width < WIDE:
        is_filled[[head for head in SCORES if head not in ("MAE", "MASE")]] = False
    frame = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, title_justify="left", box=frame)
    for head in cells.columns[is_filled]:
        justify: JustifyMethod = "right" if head in SCORES else "left"
        table.add_column(head.replace("bar", bar), justify=justify, no_wrap=True)
    for is_chosen, line in zip(cells[""], cells.loc[:, is_filled].to_numpy(), strict=True):
        table.add_row(*map(Text, line), style="bold" if is_chosen else "")
    console.print(table)
    console.print()
