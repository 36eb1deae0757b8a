"""A file of the user's own, opened: how its columns and decimals are written, and no more of it than memory holds."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

from forecast.system.errors import InputError, quoted

PARQUET = (".parquet", ".pq")
SEPARATORS = (",", ";", "\t", "|")
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
MISSING = [
    "", "#N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN",
    "None", "n/a", "nan", "null",
]  # fmt: skip
"""What pandas reads as missing."""
LONGEST_LINE = 1_000_000
"""Bytes of a header. Ten thousand columns of fifty letters have half as many."""
MOST_EXPANSION, FREE_EXPANSION = 100, 256 * 1024**2
"""A compressed file may become this many times larger; whatever its ratio, this many bytes. Text of numbers shrinks to
a third, a tenth where most repeats."""


def table(path: Path, where: str, *, separator: str = ",", decimal: str = ".", names: str = "") -> pd.DataFrame:
    """The file's rows; a CSV keeps its line numbers as index (the header is line 1).

    In the column `names` of the series' names, `nan` and `NA` are text like any other.
    `InputError` for a file that is absent, unreadable, too large once expanded, or separated otherwise than said.
    """
    if not path.is_file():
        raise InputError(
            f"{where}: no such file. Correct `source.path` in configs/datasets.yaml (it counts from the root)."
        )
    parquet = path.suffix.lower() in PARQUET
    try:
        if parquet:
            return pd.read_parquet(path)
        lines = head(path, where)
        _require_separator(lines, separator, where)
        header = next(csv.reader(lines[:1], delimiter=separator), [])
        kept = {column: [""] if column == names else MISSING for column in header} if names in header else None
        rows = pd.read_csv(
            path, low_memory=False, skip_blank_lines=False, sep=separator, decimal=decimal, na_values=kept,
            keep_default_na=kept is None,
        )  # fmt: skip
    except (OSError, ValueError, ArithmeticError, EOFError) as error:
        if "out of memory" in str(error):
            raise MemoryError(f"{where} with its {path.stat().st_size:,} bytes") from None
        kind = "Parquet" if parquet else f"CSV with a header line, {quoted(separator)} between columns and UTF-8 text"
        reason = " ".join(str(error).split())[:400]
        raise InputError(f"{where}: cannot be read as {kind} ({reason}). Check that the file is whole.") from error
    rows.index = pd.RangeIndex(2, 2 + len(rows), name="line")
    return rows.dropna(how="all")


def head(path: Path, where: str) -> list[str]:
    """The first twenty lines; `InputError` where there is no end of the first or the whole expands beyond all text."""
    from pandas.io.common import get_handle  # type: ignore[import-not-found]

    most = max(FREE_EXPANSION, MOST_EXPANSION * path.stat().st_size)
    with get_handle(path, "rb", is_text=False, compression="infer") as opened:
        start = opened.handle.read(LONGEST_LINE)
        if len(start) == LONGEST_LINE and b"\n" not in start:
            raise InputError(
                f"{where}: its first line is longer than {LONGEST_LINE:,} bytes, wanted the names of the columns. It "
                "is no table: check what wrote the file."
            )
        size, block = len(start), start
        while opened.compression["method"] and block and size <= most:
            block = opened.handle.read(1 << 20)
            size += len(block)
    if size > most:
        raise InputError(
            f"{where}: {path.stat().st_size:,} bytes expand to more than {most:,}, wanted at most {MOST_EXPANSION} "
            "times as many. No table of numbers shrinks so far: check what wrote the file, or unpack it."
        )
    lines = bytes(start).decode("utf-8-sig", errors="replace").splitlines()
    return [line[:10_000] for line in lines[:20] if line.strip()]


def separator_of(lines: list[str]) -> str:
    """What stands between the columns: it parts every line, and into the most columns; a comma where nothing does."""
    counts = {mark: [len(row) for row in csv.reader(lines, delimiter=mark)] for mark in SEPARATORS}
    parting = {mark: min(found) for mark, found in counts.items() if found and min(found) > 1}
    return max(parting, key=lambda mark: (counts[mark][0] == parting[mark], parting[mark]), default=",")


def decimal_of(lines: list[str], separator: str) -> str:
    """A comma where a cell is a number written with one."""
    cells = (cell for row in csv.reader(lines[1:], delimiter=separator) for cell in row)
    return "," if separator != "," and any(DECIMAL_COMMA.fullmatch(cell) for cell in cells) else "."


def _require_separator(lines: list[str], separator: str, where: str) -> None:
    """A header that `separator` does not part, and another mark does, is told with the settings to add."""
    found = separator_of(lines)
    if found == separator or not lines or (separator in lines[0] and found not in lines[0]):
        return
    if len(next(csv.reader(lines[:1], delimiter=separator))) < len(next(csv.reader(lines[:1], delimiter=found))):
        comma = ', decimal: ","' if decimal_of(lines, found) == "," else ""
        raise InputError(
            f"{where}: its columns are separated by {found!r}, read with {separator!r}. Add "
            f"`separator: {_written(found)}{comma}` under `source` in configs/datasets.yaml."
        )


def _written(mark: str) -> str:
    """As YAML takes it."""
    return '"\\t"' if mark == "\t" else f'"{mark}"'
