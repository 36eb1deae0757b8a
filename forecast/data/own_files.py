"""Opens a CSV or Parquet file of the user, for the source `file` and for `forecast add`.

`read_table` returns the rows with the lines of the file as index, so that messages can name them.
The format of a CSV (`FileFormat`) is stated by the entry or guessed by `guess_format`. A stated
format is never corrected silently: a message names the settings to add. A cell that is no number
stays text; what numbers and times mean is decided elsewhere.

Refused: a spreadsheet, bytes that are no text, two columns of one name, too many columns.
"""

from __future__ import annotations

import codecs
import csv
import lzma
import re
import tarfile
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pandas.api.types import is_numeric_dtype
from pydantic import AfterValidator, BeforeValidator, Field

from forecast.config.reading import Config
from forecast.data.schema import has_number_type
from forecast.system.errors import MINUS, InputError, one_line, quote, quote_names

PARQUET_SUFFIXES = (".parquet", ".pq")
SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""A first line that names the separator for Excel."""
GROUP_MARKS = ".,' \u00a0\u202f\u2019"
"""Characters that may separate thousands."""
UNITS = frozenset("$€£¥₹%‰") | {"°C", "°F", "°", "EUR", "USD", "GBP", "CHF"}
"""Units that may be written before or after every number of a column."""
MAX_LINE = 10_000
"""The number of characters of a line that are used to guess the format."""
NUMBER = re.compile(
    r"(?![+-]0\d\d)"  # +0101,1 of a weather service is a number and its quality
    rf"[+-]?(?:\d{{1,3}}([{GROUP_MARKS}])\d{{3}}(?:\1\d{{3}})*|\d+)(?:([.,])\d+)?(?:[eE][+-]?\d+)?"
)
PLAIN_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
NEGATIVE = re.compile(r"^\((?!0\d)(.*\d.*)\)$|^(\d.*)(?<=\d)\s*-$")
"""A negative number in brackets, no code such as (030), or with its sign behind it."""
MONTH_PATTERN = r"0*([1-9]|1[0-2])\.(19|20)\d\d"
"""A month such as 01.2024, 1.2024 or 001.2024."""
BYTE_ENCODINGS, WIDE_ENCODINGS = (
    ("utf-8", "cp1252", "latin-1"),
    ("utf-16", "utf-16-le", "utf-16-be", "utf-32"),
)
"""Encodings in the order in which they are tried; the wide ones where the file has zero bytes."""
NO_TABLE = re.compile(
    rb'PK\x03\x04|\xd0\xcf\x11\xe0|(\xef\xbb\xbf)?\s*(\{\s*"|\[\s*[\[{]|<(\?xml|!doctype|html))',
    re.IGNORECASE,
)
"""How spreadsheets (new and old), JSON, XML and web pages begin."""
BLOCK_BYTES = 1 << 20
OPENING_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    ImportError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""The errors of a file that cannot be opened, and of archives and their libraries; a RuntimeError
is that of an archive with a password or an unknown method.
"""
MISSING_TEXTS = [
    "",
    "#N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "-NaN",
    "-nan",
    "1.#IND",
    "1.#QNAN",
    "<NA>",
    "N/A",
    "NA",
    "NULL",
    "NaN",
    "None",
    "n/a",
    "nan",
    "null",
]
"""The cells that pandas reads as missing."""
MISSING_PATTERN = (
    r"(?i)\W+|m|t|nil|none|missing|nd|n/e|n\.d\.|n\.a\.|k\.a\.|#(div/0|value|ref)!|< ?\d+([.,]\d+)?"
)
"""Other cells without a value: punctuation alone, such as `.` and `--`, these words, or a limit
that the value is below, such as `<1`. `add` names them under `missing` in the entry
(`find_missing_texts`).
"""
PLACEHOLDER_PATTERN = r"-(9{2,}|8{3,}|7{3,})(\.[09]+)?|-32768"
"""Numbers that programs write where a value is missing (`find_placeholders`). A positive 999 is not
one, since it may be a value.
"""
FLAGS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "y": 1.0, "n": 0.0}
"""The number of a cell that says yes or no; case does not matter."""
MIN_OTHER_VALUES = 20
"""With no more distinct numbers, a number such as -99 may be a code."""
csv.field_size_limit(BLOCK_BYTES)  # read with another separator, a whole header may be one field
HEADER_LINES = 2
"""The first lines, which may hold the column names: the first, or the second after `sep=;`."""
SHOWN_LINES, LEAST_ROWS, MAX_TITLE_LINES = 20, 2, 40
"""The lines from which the separator is guessed, the fewest of them below a title, and the most of
a title that is no comment.
"""
MAX_COLUMNS = 5_000
"""The most columns: a table of series has a row per series and time, not a column."""


def _is_text_encoding(name: str) -> str:
    """The name itself; `ValueError` where Python has no text encoding of this name."""
    try:
        "".encode(name)  # `codecs.lookup` also finds what is no encoding of text, such as hex
    except LookupError:
        raise ValueError(
            "wanted the encoding of the file's text, such as utf-8, utf-16, cp1252 or latin-1"
        ) from None
    return name


class FileFormat(Config):
    """How a CSV is written: a part of the settings under `source`."""

    encoding: Annotated[str, AfterValidator(_is_text_encoding)] = "utf-8"
    separator: str = Field(default=",", min_length=1, max_length=1)
    decimal: Literal[".", ","] = "."
    thousands: str = Field(default="", max_length=1)
    skip_lines: int = Field(
        default=0, ge=0, description="lines above the names of the columns, such as a title"
    )
    skip_below: int = Field(
        default=0, ge=0, description="lines below the names of the columns, such as their units"
    )
    units: tuple[str, ...] = Field(
        default=(), description="beside numbers, such as `$` and `%`: dropped"
    )
    missing: tuple[Annotated[str, BeforeValidator(str)], ...] = Field(
        default=(), description="cells that stand for no value, such as `.`, `M` and `-999`"
    )


def is_parquet(path: Path) -> bool:
    """Whether the name is that of a Parquet file; every other file is read as CSV."""
    return path.suffix.lower() in PARQUET_SUFFIXES


def read_table(
    path: Path, where: str, file_format: FileFormat, *, texts: Collection[str] = ()
) -> pd.DataFrame:
    """The file's rows. The index of a CSV has its line numbers; the header is line 1.

    texts: columns that are read as they are written, such as the names of series: `nan` and `NA`
    are not missing, and `007` and `1e5` no numbers. `InputError` for a file that is absent,
    unreadable or not in the stated format.
    """
    if not path.is_file():
        raise InputError(
            f"{where}: no such file. Correct its path in configs/datasets.yaml (from the root)."
        )
    kind = f"CSV with a header line, {quote(file_format.separator)} between columns and text"
    try:
        if is_parquet(path):
            kind = "Parquet"
            return _blank_numbers(_read_parquet(path, where), file_format.missing, texts)
        return _read_csv(path, where, file_format, texts)
    except (OSError, ValueError, ArithmeticError, EOFError) as error:
        if "out of memory" in str(error):
            raise MemoryError(f"{where} with its {path.stat().st_size:,} bytes") from None
        reason = one_line(error)[:400]
        raise InputError(
            f"{where}: cannot be read as {kind} ({reason}). Check that the file is whole and begins"
            " with the names of the columns, and what `source` in its entry says of it."
        ) from error


def _read_parquet(path: Path, where: str) -> pd.DataFrame:
    """The rows of a Parquet file; an index with a name, or of times, becomes a column. Lists,
    records and durations are text, which is refused only where a number is wanted.
    """
    from pyarrow.parquet import read_schema
    from pyarrow.types import is_duration, is_nested

    schema = read_schema(path)
    _require_few_columns(len(schema), where)
    rows = pd.read_parquet(path)
    as_text = [c.name for c in schema if is_nested(c.type) or is_duration(c.type)]
    has_named_index = rows.index.dtype.kind == "M" or any(rows.index.names)
    is_column = has_named_index and not {*rows.index.names} & {*rows.columns}
    rows = rows.reset_index(drop=not is_column)
    rows.columns = list(map(str, rows.columns))
    _require_distinct_names(rows.columns, where)
    as_text = [*rows.columns.intersection(as_text)]  # the others were in the index
    rows[as_text] = rows[as_text].astype("str")
    return rows


def _read_csv(
    path: Path, where: str, file_format: FileFormat, texts: Collection[str]
) -> pd.DataFrame:
    """The rows of a CSV file, see `read_table`."""
    if not _can_decode(path, file_format.encoding):
        raise InputError(_describe_encoding(path, where, file_format.encoding))
    # UTF-8 can be decoded in most other encodings too, but other text is hardly ever valid UTF-8
    is_not_unicode = not file_format.encoding.lower().startswith("utf")
    if is_not_unicode and not _can_decode(path, "ascii") and _can_decode(path, "utf-8"):
        raise InputError(
            f"{where}: found text in UTF-8, wanted `encoding: {file_format.encoding}` as its entry"
            " says. Set `encoding: utf-8` under `source`, or save the file as before."
        )
    lines = first_lines(path, where, file_format.encoding)
    lines_before = _count_lines_above(lines, file_format)
    below = range(lines_before + 1, lines_before + 1 + file_format.skip_below)
    separator = stated_separator(lines) or file_format.separator
    header = read_header(lines, separator, lines_before)
    _require_distinct_names(header, where)
    missing_marks = [*MISSING_TEXTS, *file_format.missing]
    missing_texts = {column: [""] if column in texts else missing_marks for column in header}
    rows = pd.read_csv(
        path,
        low_memory=False,
        skip_blank_lines=False,
        skipinitialspace=True,
        sep=separator,
        decimal=file_format.decimal,
        na_values=missing_texts,
        keep_default_na=False,
        encoding=file_format.encoding,
        skiprows=[*range(lines_before), *below],
        dtype=str if file_format.thousands else dict.fromkeys(texts, str),
    )
    if not isinstance(rows.index, pd.RangeIndex):
        raise InputError(
            f"{where}: its first row has more values, separated by {separator!r}, than the"
            " header has names. Name every column in the first line and remove what stands above;"
            " where blanks separate the columns, write commas; where numbers have decimal commas,"
            ' separate the columns by semicolons, and write `separator: ";", decimal: ","` under'
            " `source`."
        )
    rows.index = (rows.index + 2 + lines_before + len(below)).rename("line")
    is_plain = (file_format.decimal, file_format.thousands, file_format.units) == (".", "", ())
    for column in rows.columns.drop(texts, errors="ignore"):
        values = rows[column]
        if is_numeric_dtype(values) or (is_plain and not _has_other_signs(values)):
            continue
        rows[column] = _parse_written(values, file_format)
    return _blank_numbers(rows, file_format.missing, texts).dropna(how="all")


def read_header(lines: list[str], separator: str, lines_before: int) -> list[str]:
    """The names of the columns of a CSV, from its `first_lines`; none for Parquet."""
    return next(_split_lines(lines[lines_before:], separator), [])


def _split_lines(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """The cells of each line, as `_read_csv` reads them: without blanks behind a separator."""
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _blank_numbers(
    rows: pd.DataFrame, missing: Collection[str], texts: Collection[str]
) -> pd.DataFrame:
    """`rows`, changed in place: numbers that equal one in `missing` become NaN (`-999` also matches
    -999.0). Columns of `texts` are left as they are.
    """
    if not missing:
        return rows
    numbers = pd.to_numeric(pd.Series(missing, dtype="str"), errors="coerce").dropna().tolist()
    columns = rows.select_dtypes("number").columns.drop(texts, errors="ignore")
    rows[columns] = rows[columns].mask(rows[columns].isin(numbers))
    return rows


def is_code(values: pd.Series) -> bool:
    """Whether a text column has only digits, some with a leading zero: a code, such as an article
    number, and no quantity; or only months (`MONTH_PATTERN`), which are no numbers either.
    """
    if has_number_type(values):
        return False
    cells = values.dropna().astype("str")
    # the first cell tells most columns, which all cells would take twenty times as long
    if cells.empty or not re.fullmatch(rf"\d+|{MONTH_PATTERN}", cells.iloc[0]):
        return False
    cells = cells.drop_duplicates()
    has_zeros = cells.str.match(r"0\d").any()
    if cells.str.fullmatch(MONTH_PATTERN).all():
        # 1.2015 may be a rate, whose whole part stays the same
        return bool(has_zeros or cells.str.split(".").str[0].nunique() > 1)
    return bool(has_zeros and cells.str.fullmatch(r"\d+").all())


def find_codes(lines: list[str], file_format: FileFormat) -> list[str]:
    """The columns of a CSV that are codes (`is_code`), from its `first_lines`."""
    columns = _cells_by_column(lines, file_format)
    return [
        name for name, *cells in filter(None, columns) if is_code(pd.Series(cells, dtype="str"))
    ]


def parse_flags(values: pd.Series) -> pd.Series:
    """A column whose cells all say yes or no as 1 and 0; any other column unchanged."""
    if has_number_type(values):
        return values
    flags = {cell: FLAGS.get(str(cell).strip().lower()) for cell in values.dropna().unique()}
    if not flags or None in flags.values():
        return values
    return values.map(flags).astype(float)


def find_missing_texts(values: pd.Series) -> list[str]:
    """The distinct texts of a column that match `MISSING_PATTERN`; empty for a column of
    numbers.
    """
    if is_numeric_dtype(values):
        return []
    cells = values.dropna().astype("str")  # `unique` would take longer than the pattern
    return cells[cells.str.strip().str.fullmatch(MISSING_PATTERN)].unique().tolist()


def find_placeholders(values: pd.Series) -> list[float]:
    """The numbers of a column that stand for a missing value: they match `PLACEHOLDER_PATTERN`, are
    repeated, and are the only negative ones or below all others by more than the range of these.
    None in a column with at most `MIN_OTHER_VALUES` distinct others.
    """
    counts = values.value_counts()
    if len(counts) <= MIN_OTHER_VALUES or counts.index.min() >= 0:
        return []
    numbers = counts.index.to_series()
    looks_like_placeholder = numbers.astype("str").str.fullmatch(PLACEHOLDER_PATTERN)
    others = numbers[~looks_like_placeholder]
    low = others.min()
    is_far_below = (low - numbers > others.max() - low) | (low >= 0)
    is_placeholder = looks_like_placeholder & is_far_below & (counts > 1)
    return numbers[is_placeholder & (len(others) > MIN_OTHER_VALUES)].tolist()


def _require_few_columns(n_columns: int, where: str) -> None:
    """`InputError` for more than `MAX_COLUMNS`."""
    if n_columns > MAX_COLUMNS:
        raise InputError(
            f"{where}: found {n_columns:,} columns, wanted at most {MAX_COLUMNS:,}. Write one row"
            " per series and time, the name of the series in a column."
        )


def make_names_error(cells: Sequence[str], where: str) -> InputError:
    """An error for the caller to raise about a first line that holds `cells` of a row."""
    return InputError(
        f"{where}: its first line holds {quote_names(cells[:3])}, wanted the names of the columns."
        " Write a line with them above, such as `ds,y`."
    )


def _require_distinct_names(header: Iterable[str], where: str) -> None:
    """`InputError` for a header with two columns of one name."""
    counts = Counter(map(str.strip, header))
    repeated = [name for name, count in counts.items() if name and count > 1]
    if any(map(NUMBER.fullmatch, repeated)):
        raise make_names_error([*counts], where)
    if repeated:
        raise InputError(
            f"{where}: the header names {quote_names(repeated)} more than once. Give every column a"
            " name of its own; where a second line tells them apart, such as `Ticker`, read the"
            " file by pandas with `header=[0, 1], index_col=0` and write"
            " `stack(1).reset_index()` of it."
        )


def guess_format(path: Path, where: str) -> FileFormat:
    """The format of a CSV: the encoding from all bytes, the rest from the first million bytes; the
    default format for Parquet.
    """
    if is_parquet(path):
        return FileFormat()
    encoding = guess_encoding(path, where)
    lines = first_lines(path, where, encoding)
    # the last comment, or the one before an empty comment, may hold the names of the columns
    n_comments = next((n for n, line in enumerate(lines) if not line.startswith("#")), 0)
    start = max(n_comments - 2, 0)
    top_lines = lines[start : start + MAX_TITLE_LINES + SHOWN_LINES]
    separator = stated_separator(lines) or guess_separator(top_lines)
    header = find_header(top_lines, separator)
    skip_below = count_lines_below([*_split_lines(top_lines[header + 1 :], separator)])
    layout = FileFormat(separator=separator, skip_lines=start + header, skip_below=skip_below)
    columns = [
        cells
        for _, *cells in filter(None, _cells_by_column(lines, layout))
        if not is_code(pd.Series(cells, dtype="str"))
    ]
    units = {_unit_of(cells) for cells in columns} - {""}
    numbers = [_bare_numbers(cells, units) for cells in columns]
    grouping = {mark for cells in numbers for mark in ".," if _shows_thousands(cells, mark)}
    decimal, thousands = guess_number_marks(chain.from_iterable(numbers), separator, grouping)
    return layout.model_copy(
        update={
            "encoding": encoding,
            "decimal": decimal,
            "thousands": thousands,
            "units": tuple(sorted(units)),
        }
    )


def _count_lines_above(lines: list[str], file_format: FileFormat) -> int:
    """The number of lines above the names of the columns: those to skip, `sep=;` among them."""
    return max(file_format.skip_lines, int(stated_separator(lines) != ""))


def _cells_by_column(lines: list[str], file_format: FileFormat) -> list[list[str]]:
    """The cells of each column that are not missing, its name first. A line that was cut off goes
    without its last cell.
    """
    lines = lines[_count_lines_above(lines, file_format) :]
    del lines[1 : 1 + file_format.skip_below]
    read_rows = _split_lines(lines, file_format.separator)
    rows = [
        row[:-1] if len(line) == MAX_LINE else row
        for line, row in zip(lines, read_rows, strict=False)
    ]
    columns = zip_longest(*rows, fillvalue="")
    return [[cell.strip() for cell in cells if cell not in MISSING_TEXTS] for cells in columns]


def _unit_of(cells: list[str]) -> str:
    """The unit that more than half of `cells` have beside a number; empty without one."""
    units = Counter(
        re.sub(rf"[\d{GROUP_MARKS}()+{MINUS}-]", "", cell)
        for cell, bare in zip(cells, _bare_numbers(cells, UNITS), strict=True)
        if NUMBER.fullmatch(bare)
    )
    return next((unit for unit in UNITS if 2 * units[unit] > len(cells)), "")


def is_mostly_numbers(values: pd.Series) -> bool:
    """Whether more than half of the cells of a text column are numbers, with or without a unit, and
    not all of them references in brackets.
    """
    counts = values.dropna().astype("str").str.strip().value_counts()
    if counts.index.str.endswith(")").all():
        return False
    bare = pd.Series(_bare_numbers(counts.index, UNITS), counts.index, dtype="str")
    is_number = pd.to_numeric(bare, errors="coerce").notna() | bare.map(NUMBER.fullmatch).notna()
    return bool(2 * counts[is_number].sum() > counts.sum())


def _bare_numbers(cells: Iterable[str], units: Iterable[str]) -> list[str]:
    """Cells such as `-$5`, `5 %`, `5-`, `($5)` and `5 %-` as a number with its sign before it. A
    text with a unit elsewhere or with two units is unchanged, and so is `5.-`, which means 5 in
    Switzerland.
    """
    any_unit = "|".join(map(re.escape, units)) or "(?!)"
    pattern = re.compile(rf"([+-]?)(?:{any_unit})\s*([^\s].*)|(.*[^\s])\s*(?:{any_unit})\s*(-?)")
    bare = []
    for cell in cells:
        if not PLAIN_NUMBER.fullmatch(cell):
            cell = _put_sign_first(cell)
            if match := pattern.fullmatch(cell):
                # the unit may have been inside: $(5)
                cell = _put_sign_first("".join(match.groups("")))
        bare.append(cell)
    return bare


def _put_sign_first(cell: str) -> str:
    """`5-` and `(5)`, as accountants write them, and `−5`, as it is printed, as `-5`; any other
    text unchanged.
    """
    cell = cell.replace(MINUS, "-")
    return NEGATIVE.sub(r"-\1\2", cell) if cell.endswith(("-", ")")) else cell


def _shows_thousands(cells: list[str], mark: str) -> bool:
    """Whether `mark` separates thousands in a column of numbers: some cells look like `1.250`,
    which would be written `1.25` as a decimal, and all others are whole numbers below 1000.
    """
    grouped = [cell for cell in cells if mark in cell]
    whole = re.compile(r"[+-]?(0|[1-9]\d{0,2})")
    group = re.compile(rf"[+-]?[1-9]\d{{0,2}}{re.escape(mark)}\d{{3}}")
    return (
        0 < len(grouped) < len(cells)
        and any(cell.endswith("0") for cell in grouped)
        and all((group if mark in cell else whole).fullmatch(cell) for cell in cells)
    )


def describe_doubtful_number(path: Path, file_format: FileFormat) -> str:
    """A sentence about a number of a CSV whose mark was read as a decimal one and may separate
    thousands, with the settings for that: `65.510` where semicolons, or `65,510` where another
    character separates the columns. Empty without one.
    """
    mark = "." if file_format.separator == ";" else ","
    if file_format.thousands or file_format.decimal != mark:
        return ""
    lines = first_lines(path, path.name, file_format.encoding)
    columns = _cells_by_column(lines, file_format)
    numbers = [_bare_numbers(cells, file_format.units) for cells in columns]
    cells = list(chain.from_iterable(numbers))
    if guess_number_marks(cells, file_format.separator, {mark})[1] != mark:
        return ""
    number = next(cell for cell in cells if mark in cell and NUMBER.fullmatch(cell))
    decimal = "," if mark == "." else "."
    return (
        f"{number} is read with a decimal mark; where it separates thousands: `thousands:"
        f' "{mark}", decimal: "{decimal}"` in `source`'
    )


def describe_cut_line(path: Path, file_format: FileFormat) -> str:
    """A sentence about a last line of a CSV that may be cut off inside a number: it has no line
    end, and fewer decimals than all other lines, which have equally many. Empty without one.
    """
    if is_parquet(path):
        return ""
    end = "".join(deque(codecs.iterdecode(_blocks(path), file_format.encoding), maxlen=2))
    # the first line is the header, or itself cut off
    decimals = [line.rpartition(file_format.decimal)[2] for line in end.splitlines()[1:]]
    lengths = list(map(len, decimals))
    is_shorter = len({*lengths[:-1]}) == 1 and lengths[-1] < lengths[0]
    if end.endswith("\n") or not is_shorter or not "".join(decimals).isdigit():
        return ""
    return "the last line has no line end, and fewer decimals than all others: is it whole?"


def first_lines(path: Path, where: str, encoding: str = "utf-8") -> list[str]:
    """The lines of the first million bytes, empty ones too; none for Parquet. `InputError` where
    the file has too many columns.
    """
    if is_parquet(path):
        return []
    blocks = list(islice(_blocks(path), 2))
    text = b"".join(blocks[:1]).decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = text.splitlines()
    if len(blocks) > 1 and len(lines) > HEADER_LINES:
        del lines[-1]  # cut off, perhaps within a number
    n_columns = 1 + max(
        (line.count(mark) for line in lines[:HEADER_LINES] for mark in SEPARATORS), default=0
    )
    _require_few_columns(n_columns, where)
    return [*lines[:HEADER_LINES], *(line[:MAX_LINE] for line in lines[HEADER_LINES:])]


def _blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in blocks of a million."""
    from pandas.io.common import get_handle  # type: ignore[import-not-found]

    try:
        with get_handle(path, "rb", is_text=False, compression="infer") as opened:
            while block := opened.handle.read(BLOCK_BYTES):
                yield block
    except OPENING_ERRORS as fault:
        raise InputError(
            f"{path.name}: cannot be opened ({one_line(fault)}). Check that it is whole; an archive"
            " must hold one CSV alone."
        ) from fault


def guess_encoding(path: Path, where: str) -> str:
    """The first known encoding that can decode the whole file. `InputError` for a spreadsheet, for
    JSON, XML and web pages, and for bytes that are no text.
    """
    encodings: tuple[str, ...] = BYTE_ENCODINGS
    line_end = ""
    first_block = next(_blocks(path), b"")
    if NO_TABLE.match(first_block):
        raise InputError(
            f"{where}: is a spreadsheet, JSON, XML or a web page, wanted CSV or Parquet. Save the"
            " sheet with the rows as CSV, or make rows of it by `read_json` (`lines=True` for a"
            " record in each line), `read_xml` or `read_html` of pandas."
        )
    if b"\0" in first_block:
        encodings = WIDE_ENCODINGS
        line_end = "\n"
    for name in encodings:
        if _can_decode(path, name, line_end):
            return name
    raise InputError(
        f"{where}: holds bytes that are no text. Write the table as CSV in UTF-8, or as Parquet."
    )


def _can_decode(path: Path, encoding: str, line_end: str = "") -> bool:
    """Whether the whole file is text in `encoding` without zero characters, with `line_end` in its
    first block.
    """
    try:
        texts = codecs.iterdecode(_blocks(path), encoding)
        first = next(texts, "")
        return line_end in first and not any("\0" in text for text in chain([first], texts))
    except UnicodeError:
        return False


def _describe_encoding(path: Path, where: str, encoding: str) -> str:
    """The message about a file that is no text in `encoding`: the encoding that can decode it."""
    fitting = guess_encoding(path, where)
    return (
        f"{where}: no {encoding} text. It reads as {fitting}: add"
        f" `encoding: {fitting}` under `source` in configs/datasets.yaml. Where names with accents"
        " are wrong then, name the encoding it was written in."
    )


def stated_separator(lines: list[str]) -> str:
    """The separator that a first line `sep=;` states; empty without such a line."""
    match = SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    return match[1] if match else ""


def guess_separator(lines: list[str]) -> str:
    """The separator with the most columns, among those with as many columns in all lines as in the
    header; a comma where none separates columns. Lines above the header have other columns.
    """
    lines = [line for line in lines if line.strip()]
    best_mark, best_score = ",", (False, 1)
    for first in range(max(len(lines) - LEAST_ROWS, 1)):
        for mark in SEPARATORS:
            window = lines[first : first + SHOWN_LINES]
            column_counts = list(map(len, _split_lines(window, mark)))
            fewest = min(column_counts, default=0)
            score = (fewest == max(column_counts[:1], default=0), fewest)
            if fewest > 1 and score > best_score:
                best_mark, best_score = mark, score
        if best_score[0]:
            break
    return best_mark


def find_header(lines: list[str], separator: str) -> int:
    """The number of lines above the one that names the columns: titles, comments and empty lines. 0
    where no line below the first is a name for each column of the lines below it; of a table whose
    names are years, those above the first line of as many cells as most have.
    """
    rows = list(_split_lines(lines, separator))
    widths = Counter(len(row) for row in rows if row)
    width = max(widths, key=lambda n_cells: (widths[n_cells], n_cells), default=0)
    whole_rows = [number for number, row in enumerate(rows) if len(row) == width]
    has_open_end = not any(rows[number][-1].strip() for number in whole_rows)
    name_rows: list[int] = []
    for number, row in enumerate(rows):
        cells = [cell.strip() for cell in row[: width - has_open_end]]
        if len(row) != width or not all(cells):
            continue
        if any(cell[0].isdigit() or NUMBER.fullmatch(cell) for cell in cells):
            break
        if number and not any(rows[number - 1]):
            name_rows.clear()  # what stands above an empty line is a title, and no unit of a name
        name_rows.append(number)
    uncommented = [number for number in name_rows if not lines[number].startswith("#")]
    if not name_rows and whole_rows and not rows[whole_rows[0]][0][:1].isdigit():
        return whole_rows[0]
    return (uncommented[:1] or name_rows[-1:] or [0])[0]


def count_lines_below(rows: list[list[str]]) -> int:
    """The number of lines between the names of the columns and the rows, such as one of units:
    those without a cell like one of its column in the second half of `rows`, the lines below the
    names.
    """
    half = len(rows) // 2
    columns = zip_longest(*rows[half:], fillvalue="")
    patterns = [set(map(_pattern_of, column)) for column in columns]
    first_cells = [
        [cell for cell, known in zip(row, patterns, strict=False) if _pattern_of(cell) in known]
        for row in rows[:half]
    ]
    n_below = next((n for n, cells in enumerate(first_cells) if any(cells)), 0)
    return n_below if any(chain.from_iterable(rows[:n_below])) else 0


def _pattern_of(cell: str) -> str:
    """A cell with its digits and letters replaced by one of each: `05.Jan.24` as `0.a.0`."""
    cell = cell.strip()
    if cell in MISSING_TEXTS or NUMBER.fullmatch(cell):
        return cell and "0"
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", cell))


def guess_number_marks(
    cells: Iterable[str], separator: str, grouping: Collection[str] = ()
) -> tuple[str, str]:
    """(decimal mark, thousands mark; empty for none), guessed from `cells` of numbers.

    `1,234.5` shows both marks, `0,125` its decimal mark. A single mark before three digits, as in
    `1,234`, may be either. It separates thousands where it also separates the columns of the file
    (`separator`), where another mark is the decimal one, or where a column shows it (`grouping`).
    Otherwise it is the decimal mark.
    """
    decimals, thousands, ambiguous = [""], "", set()
    for cell in cells:
        match = NUMBER.fullmatch(cell.strip())
        group_mark, decimal_mark = match.groups(default="") if match else ("", "")
        is_single = group_mark in (".", ",") and not decimal_mark and cell.count(group_mark) == 1
        if is_single and not cell.strip().lstrip("+-").startswith("0"):
            ambiguous.add(group_mark)
        elif is_single:
            decimals.append(group_mark)
        else:
            thousands = group_mark or thousands
            decimals.append(decimal_mark or decimals[-1])
    # between commas a decimal comma is a second value: 10130,1 is a pressure and its quality
    decimal = "." if separator == "," and "." in decimals else decimals[-1]
    for mark in ambiguous - {decimal, thousands}:
        if decimal or mark == separator or mark in grouping:
            thousands = mark
        else:
            decimal = mark
    decimal = decimal or ("," if thousands == "." else ".")
    return decimal, thousands if thousands != decimal else ""


def _has_other_signs(values: pd.Series) -> bool:
    """Whether a cell has the minus behind it, as `12,50-`, or as it is printed, as `−12,50`, or
    some but not all numbers are in brackets, as `(12,50)`: a column of `(1)` alone, or of `(1)` and
    words, refers to notes.
    """
    text = values.dropna().astype("str").str.strip()
    text = text[text.str.contains(r"\d")]
    is_bracketed = text.str.endswith(")")
    has_minus = text.str.contains(f"-$|{MINUS}").any()
    return bool(has_minus or (is_bracketed.any() and not is_bracketed.all()))


def _parse_written(values: pd.Series, file_format: FileFormat) -> pd.Series:
    """A text column as numbers, with at most one of the units, and the sign on either side. Other
    cells stay text, for a later message.
    """
    text = values.astype("str").str.strip().where(values.notna())
    units = [
        unit for unit in file_format.units if text.str.contains(unit, regex=False, na=False).any()
    ]
    units = units if len(units) == 1 else []  # amounts of two units are not comparable
    if units or _has_other_signs(text):
        known = text.dropna()
        text.update(pd.Series(_bare_numbers(known, units), known.index))
    thousands, decimal = re.escape(file_format.thousands), re.escape(file_format.decimal)
    whole = rf"(\d+|\d{{1,3}}({thousands}\d{{3}})+)"
    is_number = text.str.fullmatch(
        rf"[+-]?({whole}({decimal}\d*)?|{decimal}\d+)([eE][+-]?\d+)?", na=False
    )
    if units and units[0] in "%‰":  # 0.35 beside 35% may be 35 % too
        is_zero = text.str.fullmatch(rf"0({decimal}0*)?", na=False)
        is_number &= is_zero | values.astype("str").str.contains(units[0])
    plain = text.str.replace(file_format.thousands, "", regex=False).str.replace(
        file_format.decimal, ".", regex=False
    )
    mixed = values.where(~is_number, plain)
    if (is_number | values.isna()).all():
        return pd.to_numeric(mixed)
    if 2 * is_number.sum() < values.count():
        return values  # a time that was cut, such as `2025-`, stays as it is written
    if pd.to_numeric(text[~is_number], errors="coerce").notna().any():
        # such as 1.5 beside 2,5: told apart by its type, since both would be numbers now
        return mixed.astype(object).mask(is_number, pd.to_numeric(plain.where(is_number)))
    return mixed
