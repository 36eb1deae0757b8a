"""The end of a run in the terminal: each dataset's leaderboard, one table per ranking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.report import text
from forecast.report.evidence import RANKING_TITLES
from forecast.report.leaderboard import Row, combined
from forecast.system.errors import InputError
from forecast.system.files import read_json

if TYPE_CHECKING:
    from rich.console import Console

HEADS = ("", "model", "MAE", "MASE", "vs naive", "vs own skip")
ONLY_BASELINES = {"baseline": "baselines"}  # nothing was trained: they stand in every ranking, shown once
CHOSEN = "*"
LEGEND = f"{CHOSEN} chosen on validation. Errors of the test block, mean over seeds; words from Holm-corrected tests."
PLAIN_WIDTH = 200  # a pipe or a file is no 80-column terminal: folding there would break `grep`


def show(root: Path | str, datasets: Iterable[str], console: Console | None = None) -> None:
    """Print the leaderboards: ruled and coloured on a terminal, plain aligned text elsewhere."""
    console = console or _console()
    for dataset in datasets:
        verdicts = _verdicts(Path(root) / "data" / "compared" / dataset / "verdicts.json")
        rows = [row for row in combined(root, [dataset]) if row["seed"] == "mean"]
        ranked = {ranking: title for ranking, title in RANKING_TITLES.items() if any(_of(ranking, rows))}
        for ranking, title in (ranked or ONLY_BASELINES).items():
            _print(console, f"{dataset}, {title}", lines(rows, ranking, verdicts))
    console.print(LEGEND, highlight=False, markup=False)


def _of(ranking: str, rows: list[Row]) -> Iterator[Row]:
    return (row for row in rows if row["ranking"] == ranking)


def lines(rows: list[Row], ranking: str, verdicts: dict[str, Any]) -> list[tuple[str, ...]]:
    """The ranking's rows and the baselines as text in the order of `HEADS`, lowest error first, failures last.

    `rows` are the leaderboard's, mean over seeds. The order is by MASE, which is free of the series' units.
    """
    own = [row for row in rows if row["ranking"] in (ranking, "baseline")]
    own.sort(key=lambda row: (row["status"] != "ok" or not row["mase"], float(row["mase"] or 0), row["model"]))
    words = {
        (test["family"], test["model"]): test["word"]
        for test in verdicts.get("tests", [])
        if test["ranking"] in (ranking, "baseline")
    }
    chosen = verdicts.get("chosen", {})
    best = chosen.get(ranking, next(iter(chosen.values()), None))
    return [_line(row, words, best) for row in own]


def _line(row: Row, words: dict[tuple[str, str], str], chosen: str | None) -> tuple[str, ...]:
    model = row["model"]
    mark = CHOSEN if model == chosen else ""
    if row["status"] != "ok":
        return mark, model, text.NOTHING, "failed", "", "see the report"
    naive, skip = words.get(("naive", model), ""), words.get(("skip", model), "")
    against = f"{text.signed_percent(row['skill'])} {naive}".strip()
    return mark, model, text.figure(row["mae"]), text.figure(row["mase"]), against, skip


def _print(console: Console, title: str, found: list[tuple[str, ...]]) -> None:
    """One table; without the column MAE where several series leave it empty."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    known = [i for i, head in enumerate(HEADS) if head != "MAE" or any(line[i] != text.NOTHING for line in found)]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD if console.is_terminal else None)
    for head in (HEADS[i] for i in known):
        table.add_column(head, justify="right" if head in ("MAE", "MASE") else "left", no_wrap=True)
    for line in found:
        table.add_row(*(Text(line[i]) for i in known), style="bold" if line[0] else "")
    console.print(table)
    console.print()


def _console() -> Console:
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def _verdicts(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; stage `compare` makes it. Run `dvc repro` first.") from None
    return content
