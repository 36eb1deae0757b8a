"""Reads the rows of a file, and guesses which of its cells are numbers.

Placeholders such as -999 are missing values; yes and no are 1 and 0; numbers with leading zeros are
quantities where they change within a series, else codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from forecast.data import own_files
from forecast.data.schema import describe_text_cell, find_text_cell
from forecast.system.errors import InputError


def read_and_find_missing(
    path: Path, where: str, file_format: own_files.FileFormat
) -> tuple[pd.DataFrame, own_files.FileFormat]:
    """The rows of the file, and its format with the texts that stand for a missing value in columns
    of numbers (`missing`).

    `InputError` for a header without rows.
    """
    lines = own_files.first_lines(path, where, file_format.encoding)
    codes = own_files.find_codes(lines, file_format)
    texts = ["unique_id", *codes]
    table = own_files.read_table(path, where, file_format, texts=texts)
    if table.empty:
        raise InputError(
            f"{where}: found no rows below the names of the columns. Check what wrote the file."
        )
    for code in codes:
        numbers = table[code].mask(table[code].isin(own_files.MISSING_TEXTS))
        if own_files.is_code(numbers):
            table[code] = numbers
        elif find_text_cell(numbers) is None:
            table[code] = pd.to_numeric(numbers)
    missing: list[str] = []
    if own_files.is_parquet(path):
        texts = [*table.columns]  # text in Parquet is no number, whatever its cells are
    for column in table.columns.drop(texts, errors="ignore"):
        marks = own_files.find_missing_texts(table[column])
        cells = table[column].mask(table[column].isin(marks))
        if marks and cells.notna().any() and find_text_cell(cells) is None:
            table[column] = pd.to_numeric(cells)
            missing += marks
    return table, file_format.model_copy(update={"missing": tuple(dict.fromkeys(missing))})


def read_padded_numbers(rows: pd.DataFrame, time: str | None) -> pd.DataFrame:
    """`rows` with codes that change within a series as numbers: a program wrote them with leading
    zeros. The column `time` is left as it is, and so are months such as 001.2024.
    """
    codes = [
        c
        for c in rows
        if c != time and own_files.is_code(rows[c]) and not rows[c].str.contains(r"\.").any()
    ]
    changes = rows.groupby("unique_id")[codes].nunique().gt(1).any()
    return rows.assign(**rows[changes.index[changes]].apply(pd.to_numeric))


def read_flags(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The rows with 1 and 0 in the `columns` that hold both yes and no; a column with one of them
    may hold names, such as `NO` for Norway.
    """
    flags = rows[columns].apply(own_files.parse_flags)
    return rows.assign(**flags.loc[:, flags.nunique() == 2])


def blank_placeholders(
    numbers: pd.DataFrame, file_format: own_files.FileFormat
) -> tuple[pd.DataFrame, own_files.FileFormat]:
    """The columns with NaN for numbers that stand for a missing value, and the format that names
    these.
    """
    placeholders = sorted(
        {
            number
            for column in numbers.select_dtypes("number")
            for number in own_files.find_placeholders(numbers[column])
        }
    )
    missing = (*file_format.missing, *map("{:.12g}".format, placeholders))
    file_format = file_format.model_copy(update={"missing": missing})
    return numbers.mask(numbers.isin(placeholders)), file_format


def number_columns(rows: pd.DataFrame, columns: list[str], target: str, where: str) -> list[str]:
    """Those of `columns` that hold only numbers. `InputError` where the column `target` holds text;
    without a `target`, where there is text and no column of numbers that changes.
    """
    numbers = [c for c in columns if not _is_text(rows[c]) and rows[c].notna().any()]
    text = columns_with_text(rows[columns])
    if not target and not (rows[numbers].nunique() > 1).any():
        # beside a constant only text that was meant as numbers
        meant = [c for c in text if not numbers or own_files.is_mostly_numbers(rows[c])]
        if meant:
            target = (
                rows[meant]
                .apply(lambda column: column.astype("str").str.match(r"\W?\d").mean())
                .idxmax()
            )
    if target in text:
        raise InputError(where + _describe_text(rows, target))
    return numbers


def columns_with_text(table: pd.DataFrame) -> list[str]:
    """The columns with a cell that is no number."""
    return [name for name in table.columns if find_text_cell(table[name]) is not None]


def text_columns(table: pd.DataFrame) -> list[str]:
    """The columns with text, and those with codes."""
    return [name for name in table.columns if _is_text(table[name])]


def _is_text(values: pd.Series) -> bool:
    """Whether a column has text, or codes with leading zeros."""
    return find_text_cell(values) is not None or own_files.is_code(values)


def words_of(column: str) -> list[str]:
    """The words of a column name: `DailySales_EUR` → daily, sales, eur; `kWh` is one."""
    parted = re.sub(r"(?<=[^\W\d_][a-z])([A-Z])", r" \1", column)
    return re.findall(r"[^\W\d_]+", parted.lower())


def describe_unread_columns(rows: pd.DataFrame, columns: list[str]) -> Iterator[str]:
    """A comment for each of `columns` that is not read because a few of its cells are text."""
    for column in columns_with_text(rows[columns]):
        if own_files.is_mostly_numbers(rows[column]):
            yield f"    # not read{_describe_text(rows, column)}"


def _describe_text(rows: pd.DataFrame, column: str) -> str:
    """`describe_text_cell` of the first text that marks no missing value, for which numbers are not
    refused.
    """
    is_mark = rows[column].isin(own_files.find_missing_texts(rows[column]))
    return describe_text_cell(rows[~is_mark], column)
