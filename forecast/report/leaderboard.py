"""The leaderboards: of all datasets as reports/leaderboard.csv, and of each in the terminal at the
end of a run.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from forecast.comparison import metrics
from forecast.comparison.sentences import describe_preferences
from forecast.config.paths import ProjectPaths
from forecast.data.comparison_records import Ranks, TestFamily, TestWord, Verdicts
from forecast.data.results import (
    BASELINE,
    MEAN,
    RANKING_TITLES,
    RANKINGS,
    SPREAD,
    WHOLE_HORIZON,
    Results,
    Row,
)
from forecast.report import text
from forecast.system.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

RANKING_ORDER = (BASELINE, *RANKINGS)
SEED_ORDER = (MEAN, SPREAD)


def combined(paths: ProjectPaths, datasets: Iterable[str]) -> list[Row]:
    """The rows of all datasets in a stable order: dataset as configured, ranking, model, skip,
    seeds, their summary.

    Cells stay the text that stage `compare` wrote, so no digit is lost or invented on the way.
    """
    return [
        row
        for name in datasets
        for row in sorted(_with_distributions(Results(paths, name)), key=_place)
    ]


def as_csv(rows: list[Row]) -> str:
    """The table as CSV text with \\n line ends: equal rows are equal bytes.

    Scores of distributions stand last. Measured values have `DIGITS` significant digits, so that
    the rounding errors of another kind of processor leave the committed file as it is.
    """
    buffer = io.StringIO()
    beside = sorted({key for row in rows for key in row if key.startswith(OF_DISTRIBUTIONS)})
    columns = [*metrics.leaderboard_columns(), *beside]
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: rounded(row.get(column, "")) for column in columns})
    return buffer.getvalue()


OF_DISTRIBUTIONS = ("crps", "winkler_")

DIGITS = 5
"""Significant digits of a measured value in reports/leaderboard.csv; the files of stage `compare`
keep them all.
"""


def rounded(cell: str) -> str:
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


def scores_of_distributions(results: Results) -> dict[str, dict[Any, float]]:
    """`winkler_80`, ..., `crps`: by model and ranking the interval score of the served intervals
    and a head's CRPS, in the target's unit and so for one series alone.
    """
    if len(results.series) > 1:
        return {}
    whole = results.intervals[results.intervals["step"] == WHOLE_HORIZON].set_index(
        ["model", "ranking"]
    )
    levels = whole["level"]
    found = {
        f"winkler_{100 * x:g}": whole.loc[levels == x, "winkler"].to_dict()
        for x in sorted(levels.unique())
    }
    heads = results.distributions
    if not heads.empty:
        heads = heads[
            (heads["step"] == WHOLE_HORIZON) & (heads["seed"] == MEAN) & (heads["metric"] == "crps")
        ]
        found["crps"] = heads.set_index(["model", "ranking"])["value"].to_dict()
    return found


def _with_distributions(results: Results) -> list[Row]:
    missing = [name for name in metrics.leaderboard_columns() if name not in results.leaderboard]
    if missing:
        path = results.paths.compared(results.name) / "leaderboard.csv"
        raise InputError(f"{path}: columns {missing} are missing. Run stage `compare` again.")
    found = scores_of_distributions(results)

    def own(row: Row) -> Row:
        key = (row["model"], row["ranking"])
        return {name: f"{scores[key]:.12g}" for name, scores in found.items() if key in scores}

    return [
        {**row, **own(row)} if row["seed"] == MEAN else row
        for row in results.text_rows("leaderboard")
    ]


def _place(row: Row) -> tuple[int, str, str, int, str]:
    ranking = row["ranking"]
    rank = RANKING_ORDER.index(ranking) if ranking in RANKING_ORDER else len(RANKING_ORDER)
    seed = row["seed"]
    seat = (
        int(seed)
        if seed.isdigit()
        else 1_000_000 + (SEED_ORDER.index(seed) if seed in SEED_ORDER else 9)
    )
    return rank, row["model"], row["skip"], seat, seed


HEADS = ("", "model", "MAE", "MASE", "Winkler", "CRPS", "error vs naive", "vs own skip")
NUMBERS = HEADS[2:6]
WIDE = 100
"""Columns of a terminal that has room for the scores of distributions."""
# nothing was trained: they stand in every ranking, shown once
ONLY_BASELINES = {"baseline": "baselines"}
CHOSEN = "*"
SCORED = "Errors on test, a network by the mean forecast of its seeds; words from corrected tests."
LEGEND = f"{CHOSEN} chosen on validation. {SCORED}"
PLAIN_WIDTH = 200  # a pipe or a file is no 80-column terminal: folding there would break `grep`


def show(paths: ProjectPaths, datasets: Iterable[str], console: Console | None = None) -> None:
    """Print the leaderboards: ruled and coloured on a terminal, plain aligned text elsewhere."""
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    for dataset in datasets:
        results = Results(paths, dataset)
        rows = [row for row in _with_distributions(results) if row["seed"] == MEAN]
        present = {row["ranking"] for row in rows}
        ranked = {ranking: title for ranking, title in RANKING_TITLES.items() if ranking in present}
        for ranking, title in (ranked or ONLY_BASELINES).items():
            _print(console, f"{dataset}, {title}", lines(rows, ranking, results.verdicts))
        verdicts = results.verdicts
        sentences = [
            *verdicts.sentences[:1],
            *describe_ranks(verdicts.ranks),
            *describe_preferences(verdicts.preferred),
            *verdicts.warnings,
        ]
        for sentence in sentences:
            console.print(f"{dataset}: {sentence}", highlight=False, markup=False)
    beside = " Winkler: of the served 80 % intervals." if console.width >= WIDE else ""
    console.print(LEGEND + beside, highlight=False, markup=False)


def describe_ranks(ranks: Ranks | None) -> list[str]:
    """With ten and more series: Friedman's test over them and the groups that Nemenyi's difference
    leaves.
    """
    if ranks is None:
        return []
    sentences = [
        f"ranks over {ranks.n_series} series (Friedman {text.p_value(ranks.p)}; mean ranks that"
        f" differ by less than {ranks.critical_difference:.2f} are one group)"
    ]
    for number, group in enumerate(ranks.groups, start=1):
        members = [f"{name} {ranks.mean_ranks[name]:.1f}" for name in group]
        sentences.append(f"group {number}: {', '.join(members)}")
    return sentences


def lines(rows: Iterable[Row], ranking: str, verdicts: Verdicts) -> list[tuple[str, ...]]:
    """The ranking's rows and the baselines as text in the order of `HEADS`, lowest error first,
    failures last.

    `rows` are the leaderboard's, a network by the mean forecast of its seeds. The order is by MASE,
    which is free of the series' units.
    """
    shown = [row for row in rows if row["ranking"] in (ranking, BASELINE)]
    shown.sort(key=_by_mase)
    words = {}
    for test in verdicts.tests:
        # the groups of ranks below the table say more than this word
        is_superseded = verdicts.ranks is not None and test.word == "undecided"
        if test.ranking in (ranking, BASELINE) and not is_superseded:
            words[test.family, test.model] = test.word
    best = verdicts.chosen.get(ranking, next(iter(verdicts.chosen.values()), None))
    return [_line(row, words, best) for row in shown]


def _by_mase(row: Row) -> tuple[bool, float, str]:
    has_none = row["status"] != "ok" or not row["mase"]
    return has_none, float(row["mase"] or 0), row["model"]


def _line(
    row: Row, words: Mapping[tuple[TestFamily, str], TestWord], chosen: str | None
) -> tuple[str, ...]:
    model = row["model"]
    mark = CHOSEN if model == chosen else ""
    if row["status"] != "ok":
        return mark, model, text.NOTHING, "failed", text.NOTHING, text.NOTHING, "", "see the report"
    naive, skip = words.get(("naive", model), ""), words.get(("skip", model), "")
    against = f"{text.signed_percent(row['skill'] and -float(row['skill']))} {naive}".strip()
    scores = [text.figure(row.get(key) or None) for key in ("mae", "mase", "winkler_80", "crps")]
    return mark, model, *scores, against, skip


def _print(console: Console, title: str, found: list[tuple[str, ...]]) -> None:
    """One table; without a column of numbers that is empty, such as MAE with several series."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = [head for head in HEADS if console.width >= WIDE or head not in ("Winkler", "CRPS")]
    filled = {HEADS[i] for line in found for i, cell in enumerate(line) if cell != text.NOTHING}
    known = [
        i
        for i, head in enumerate(HEADS)
        if head in shown and (head not in NUMBERS or head in filled)
    ]
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD if console.is_terminal else None
    )
    for head in (HEADS[i] for i in known):
        table.add_column(head, justify="right" if head in NUMBERS else "left", no_wrap=True)
    for line in found:
        table.add_row(*(Text(line[i]) for i in known), style="bold" if line[0] else "")
    console.print(table)
    console.print()
