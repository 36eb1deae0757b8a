"""reports/leaderboard.csv: the leaderboards of all datasets in one tidy table, digits untouched."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from forecast.report.evidence import LEADERBOARD_COLUMNS
from forecast.system.errors import InputError

RANKING_ORDER = ("baseline", "shipped", "architecture")
SEED_ORDER = ("mean", "std", "ensemble")

Row = dict[str, str]


def combined(root: Path | str, datasets: Iterable[str]) -> list[Row]:
    """The rows of all datasets in a stable order: dataset as configured, ranking, model, skip, seeds, their summary.

    Cells stay the text that stage `compare` wrote, so no digit is lost or invented on the way.
    """
    rows: list[Row] = []
    for name in datasets:
        rows += sorted(_read(Path(root) / "data" / "compared" / name / "leaderboard.csv"), key=_place)
    return rows


def as_csv(rows: list[Row]) -> str:
    """The table as CSV text with \\n line ends: equal rows are equal bytes."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, LEADERBOARD_COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _read(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in LEADERBOARD_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: columns {missing} are missing. Run stage `compare` again.")
            return list(reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; stage `compare` makes it. Run `dvc repro` first.") from None


def _place(row: Row) -> tuple[int, str, str, int, str]:
    ranking = row["ranking"]
    rank = RANKING_ORDER.index(ranking) if ranking in RANKING_ORDER else len(RANKING_ORDER)
    seed = row["seed"]
    seat = int(seed) if seed.isdigit() else 1_000_000 + (SEED_ORDER.index(seed) if seed in SEED_ORDER else 9)
    return rank, row["model"], row["skip"], seat, seed
