"""Data for a user's script: `read_record` reads `Experiment`s from a CSV or .mat file, `tank` and
`sunspots_like` simulate some, and divide functions say which rows train, validate and test.

A divide function returns a function from the number of rows to a label for each of them. The
default is `divideblock`, where MATLAB's narxnet divides at random: neighbouring rows share their
delays, so that the validation error of random or interleaved rows is too low.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import EVEN_SHARE, MOST_GAPS, Array, Experiment
from forecast.system.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Labels = npt.NDArray[np.int64]
Divide = Callable[[int], Labels]

TIME_FORMATS = (
    "ISO8601",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y",
    "%d-%b-%Y %H:%M:%S",  # the two that MATLAB writes unless told otherwise
    "%d-%b-%Y",
)
TIME_NAME = re.compile(r"(?i)(^|[^a-z])(t|time|date|datetime|timestamp|zeit|datum)([^a-z]|$)")
UNUSED, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
BLOCK_NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}


def divideblock(train: float = 0.7, validation: float = 0.15, test: float = 0.15) -> Divide:
    """The first rows train, the next validate, the last test."""
    shares = _normalise_shares(train, validation, test)

    def divide(rows: int) -> Labels:
        ends = np.cumsum(shares)[:2] * rows
        return np.searchsorted(ends, np.arange(rows), side="right").astype(np.int64)

    return divide


def divideint(train: float = 0.7, validation: float = 0.15, test: float = 0.15) -> Divide:
    """Train, validation and test rows interleaved in their shares."""
    shares = _normalise_shares(train, validation, test)

    def divide(rows: int) -> Labels:
        due = np.zeros(3)
        labels = np.empty(rows, np.int64)
        for row in range(rows):
            due += shares
            labels[row] = np.argmax(due)
            due[labels[row]] -= 1
        return labels

    return divide


def dividerand(
    train: float = 0.7, validation: float = 0.15, test: float = 0.15, *, seed: int = 0
) -> Divide:
    """Train, validation and test rows at random, the same for equal seeds."""
    divide_in_order = divideblock(train, validation, test)
    return lambda rows: np.random.default_rng(seed).permutation(divide_in_order(rows))


def divideind(
    train: Iterable[int], validation: Iterable[int] = (), test: Iterable[int] = ()
) -> Divide:
    """Train, validation and test rows by their numbers, from 0; other rows are not used. What is
    returned raises `InputError` for a row that is named twice or does not exist.
    """
    chosen = {TRAIN: list(train), VALIDATION: list(validation), TEST: list(test)}

    def divide(rows: int) -> Labels:
        labels = np.full(rows, UNUSED)
        for label, numbers in chosen.items():
            if numbers and (min(numbers) < 0 or max(numbers) >= rows):
                raise InputError(
                    f"divideind: {BLOCK_NAMES[label]} rows reach from {min(numbers)} to"
                    f" {max(numbers)}; the experiment has rows 0 to {rows - 1}."
                )
            is_repeated = len(set(numbers)) < len(numbers)
            if is_repeated or (labels[numbers] != UNUSED).any():
                raise InputError(
                    f"divideind: some of the {BLOCK_NAMES[label]} rows are named twice. Give each"
                    " row once; a range of Python leaves out its end."
                )
            labels[numbers] = label
        return labels

    return divide


def dividetrain() -> Divide:
    """Every row trains."""
    return lambda rows: np.zeros(rows, np.int64)


def _normalise_shares(*shares: float) -> Array:
    """(3,): the shares of train, validation and test rows divided by their sum; `InputError` for a
    share below 0, and without train rows.
    """
    sizes = np.array(shares, dtype=np.float64)
    if sizes.min() < 0 or sizes[0] == 0:
        raise InputError(
            f"Shares {shares} of train, validation and test; wanted none below 0 and train"
            " above it."
        )
    return sizes / sizes.sum()


def read_record(
    path: Path | str,
    outputs: Sequence[str],
    inputs: Sequence[str] = (),
    *,
    experiment: str | None = None,
    time: str | None = None,
) -> list[Experiment]:
    """The experiments of a file, with `outputs` and `inputs` by name; a cell of y that is empty or
    NaN is missing.

    A CSV has a row per time. Its columns are separated by commas, or by semicolons or tabs; then
    numbers may have decimal commas. A MATLAB file (.mat, up to version 7) has variables or fields
    of structs (T, columns), or a cell for each time. A field is named alone, or with its struct
    (`train.u`) where several structs have it; a variable goes before a field of the same name.

    `experiment`: a column whose values tell several experiments apart. Without it the file is one
    experiment, or one for each cell where variables are cells of tables, as in iddata, and for each
    element of a struct array. `time`: a column of numbers or dates (ISO, or such as 31.12.2020
    23:50, 31-Dec-2020 or 20201231); rows that are out of order, left out or in uneven steps are
    refused. Without it this is checked of the first column of a CSV where that has dates, or even
    steps as a clock has.
    """
    return list(read_by_name(path, outputs, inputs, experiment, time).values())


def read_by_name(
    path: Path | str,
    outputs: Sequence[str],
    inputs: Sequence[str],
    experiment: str | None,
    time: str | None = None,
) -> dict[str, Experiment]:
    """The experiments of `read_record` by name: the values of the column `experiment`, 0, 1, ...
    for cells, "" for one experiment. `InputError` for a file or column that cannot be read, for an
    input that is an output, and for times that `read_record` refuses.
    """
    outputs, inputs = ([names] if isinstance(names, str) else names for names in (outputs, inputs))
    names = [*outputs, *inputs, *filter(None, (experiment, time))]
    if not outputs:
        raise InputError("No output is named. Name the columns that are to be explained.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{twice} is named twice: it would explain itself. Name it once.")
    try:
        is_matlab = Path(path).suffix == ".mat"
        frames = _read_matlab(path, names) if is_matlab else _read_csv(path, {*outputs, *inputs})
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"There is no file {path}. Give the path of a CSV or .mat file.") from None
    except ValueError as error:
        raise InputError(
            f"{path} is no CSV file in UTF-8 with a row of names, nor a MATLAB file up to version 7"
            f" ({error}). Write it again as one; in MATLAB, save(file, '-v7')."
        ) from error
    for frame in frames:
        _require_names(path, names, list(frame.columns))
        _require_numbers(path, frame[[*outputs, *inputs]], list(inputs))
    if experiment and (len(frames) > 1 or frames[0][experiment].isna().any()):
        raise InputError(
            f"{path} has rows without {experiment!r}, or cells that are experiments of their own;"
            " wanted it in every row of one table. Fill or cut them, or leave it out."
        )
    parts = [(str(number), frame) for number, frame in enumerate(frames)]
    if experiment:
        parts = [(str(name), part) for name, part in frames[0].groupby(experiment, sort=False)]
    elif len(frames) == 1:
        parts = [("", frames[0])]
    experiments = {}
    for name, frame in parts:
        part = _index_by_time(path, frame, names, time)
        u = part[list(inputs)] if inputs else None
        experiments[name] = Experiment(u, part[list(outputs)])
    return experiments


def _read_csv(path: Path | str, names: Collection[str]) -> list[pd.DataFrame]:
    """A CSV file as one frame. What separates the names in its first line separates the columns;
    unless that is a comma, numbers in the columns `names` may have decimal commas.
    """
    import pandas as pd

    # by pandas, which unpacks compressed files; no line has this separator
    (line,) = pd.read_csv(path, sep="\a", quoting=csv.QUOTE_NONE, nrows=0).columns
    header = re.sub(r'"[^"]*"', "", line)
    separator = max(",;\t", key=header.count)
    # `low_memory` reads parts, of which one may have numbers and another texts in a column
    frame = pd.read_csv(path, sep=separator, low_memory=False)
    if frame.iloc[:, -1].isna().all():
        # rows that end with a separator: pandas took their first cells for an index
        frame = pd.read_csv(path, sep=separator, low_memory=False, index_col=False)
    if separator != ",":
        for name in frame:
            if name in names and frame[name].dtype.kind not in "iufb":
                frame[name] = _read_decimals(path, frame[name])
    return [frame]


def _read_decimals(path: Path | str, cells: pd.Series) -> pd.Series:
    """The numbers in a column of texts, read with decimal commas or with points, whichever gives
    more numbers; `InputError` that names the first cell that is no number.
    """
    import pandas as pd

    # with decimal commas a point separates thousands: 1.000 is not 1
    commas = cells.mask(cells.str.contains(".", regex=False, na=False))
    with_points = pd.to_numeric(cells, errors="coerce")
    with_commas = pd.to_numeric(commas.str.replace(",", ".", regex=False), errors="coerce")
    numbers = max(with_points, with_commas, key=pd.Series.count)
    for row in np.flatnonzero(numbers.isna() & cells.notna())[:1]:
        raise _cell_error(path, cells.name, cells.iat[row], row)
    return numbers


def _index_by_time(
    path: Path | str, frame: pd.DataFrame, names: Sequence[str], time: str | None
) -> pd.DataFrame:
    """The frame with an index of times: those of the column `time`, or without it of the first
    column where that has dates or even steps, as a clock has, and is not among `names`; else with
    row numbers. `InputError` for a cell of `time` that is neither number nor date.
    """
    import pandas as pd

    column = frame[time] if time else frame.iloc[:, 0]
    if time is None and column.name in names:
        return frame.reset_index(drop=True)
    cells = column.astype(str)
    times = pd.to_numeric(cells.str.replace(",", "."), errors="coerce")
    if column.dtype.kind not in "iuf" or cells.str.fullmatch(r"[12]\d{7}").all():  # 20200131
        dates = [
            pd.to_datetime(cells, format=form, errors="coerce", utc=True) for form in TIME_FORMATS
        ]
        times = max(*dates, times, key=pd.Series.count)
    is_whole = bool(times.notna().all())
    if is_whole and time is None:
        is_whole = (times.dtype.kind == "M" and times.is_unique) or _is_clock(times)
    if time and not is_whole:
        row = int(times.isna().argmax())
        raise InputError(
            f"{path}: column {time!r} has {str(column.iat[row])!r} in row {row}, counted from 0"
            " without the names; wanted a number or a date such as 2020-12-31 23:50 or 31.12.2020"
            " 23:50 in every row. Correct it, or leave out `time`."
        )
    return frame.set_index(pd.Index(times)) if is_whole else frame.reset_index(drop=True)


def _is_clock(times: pd.Series) -> bool:
    """Whether all steps of times or numbers are equal, but for `MOST_GAPS` of them. Numbers that
    begin again, such as an angle, are none unless their column is named as one of times.
    """
    steps = times.diff().iloc[1:]
    ratios = steps / steps.median()
    is_even = (ratios - 1).abs() <= EVEN_SHARE
    is_named = times.dtype.kind == "M" or TIME_NAME.search(str(times.name))
    return is_even.mean() >= 1 - MOST_GAPS and bool(is_named or ratios.min() >= 0)


def _require_names(path: Path | str, names: Sequence[str], columns: Sequence[str]) -> None:
    """`InputError` that lists the names without a column."""
    if missing := [name for name in names if name not in columns]:
        raise InputError(
            f"{path} has no column {missing}; it has {columns}. Name columns of the file; in a CSV"
            " commas, semicolons or tabs separate them."
        )


def _require_numbers(path: Path | str, frame: pd.DataFrame, inputs: list[str]) -> None:
    """`InputError` that names the first cell that is no finite number; cells of y may be empty."""
    import pandas as pd

    numbers = frame.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    is_passed = np.isfinite(numbers) | (frame.isna() & ~frame.columns.isin(inputs)).to_numpy()
    for row, column in np.argwhere(~is_passed)[:1]:
        raise _cell_error(path, frame.columns[column], frame.iat[row, column], row)


def _cell_error(path: Path | str, column: object, cell: object, row: int) -> InputError:
    """The error to raise for a cell that is no finite number."""
    return InputError(
        f"{path}: column {column!r} has {str(cell)!r} in row {row},"
        " counted from 0 without the names; wanted a number. Only y may be empty."
        " Correct it, or cut the row."
    )


def _read_matlab(path: Path | str, names: Sequence[str]) -> list[pd.DataFrame]:
    """The named variables of a .mat file as a frame, in which all columns of a matrix have its
    name; a frame for each cell where variables are cells of experiments. Time is the longest side
    of a variable. `ValueError` for another kind of file, `InputError` for a name that does not
    exist or is not unique, and for variables of unequal rows or cells.
    """
    import pandas as pd
    from scipy.io import loadmat

    content = BytesIO(Path(path).read_bytes())
    try:
        variables = loadmat(content)
    except Exception as error:  # noqa: BLE001  (a truncated file raises one of six kinds)
        raise ValueError(error) from None
    tables: dict[str, list[np.ndarray]] = {}
    for name, value in variables.items():
        if not name.startswith("__"):
            tables |= _matlab_tables(name, value)
    chosen = [tables[_full_name(path, name, list(tables))] for name in names]
    _require_equal(path, "experiments, a cell each", names, list(map(len, chosen)))
    frames = []
    for arrays in zip(*chosen, strict=True):
        sides = [max(array.shape) for array in arrays]
        _require_equal(path, "rows, one per time", names, sides)
        parts = []
        for name, array in zip(names, arrays, strict=True):
            table = array if len(array) == sides[0] else array.T
            parts.append(pd.DataFrame(table, columns=[name] * table.shape[1], dtype=np.float64))
        frames.append(pd.concat(parts, axis=1))
    return frames


def _matlab_tables(name: str, value: np.ndarray) -> dict[str, list[np.ndarray]]:
    """The tables of numbers in a variable by name; the field of a struct is named `name.field`.

    A cell array gives a table for each cell (experiments), or one table with a row for each cell
    where all cells have the same size, no longer than there are cells (times). The fields of a
    struct array are such cells. Text, complex numbers, sparse matrices and arrays without two axes
    are left out.
    """
    if value.dtype.names:
        tables: dict[str, list[np.ndarray]] = {}
        for field in value.dtype.names:
            cells = value[field]
            tables |= _matlab_tables(f"{name}.{field}", cells.flat[0] if cells.size == 1 else cells)
        return tables
    arrays = [value]
    if value.dtype.kind == "O":
        arrays = list(value.flat)
        shapes = {np.shape(cell) for cell in arrays}
        if len(shapes) == 1 and max(*shapes.pop(), 1) <= len(arrays):
            arrays = [np.array([np.ravel(cell) for cell in arrays])]
    is_table = [
        isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "fiu"
        for array in arrays
    ]
    return {name: arrays} if arrays and all(is_table) else {}


def _full_name(path: Path | str, name: str, tables: Sequence[str]) -> str:
    """The name of the table `name`, or of the only field of this name; `InputError` without one."""
    fields = [table for table in tables if table.endswith(f".{name}")]
    if name in tables:
        return name
    if len(fields) > 1:
        raise InputError(f"{path} has {name!r} more than once. Name one of {fields}.")
    if not fields:
        raise InputError(
            f"{path} has no column {name!r} of real numbers; it has {list(tables)}. Name one of"
            " them. Text, complex and sparse values, and objects such as iddata or a timetable are"
            " not read: save their numbers, such as `u = data.u; y = full(real(data.y))`."
        )
    return fields[0]


def _require_equal(path: Path | str, what: str, names: Sequence[str], counts: list[int]) -> None:
    """`InputError` with the counts of `what` by variable, unless these are equal."""
    if len(set(counts)) > 1:
        pairs = zip(names, counts, strict=True)
        listed = ", ".join(f"{name} {count}" for name, count in pairs)
        raise InputError(f"{path}: {listed}; wanted equal numbers of {what}. Cut or name others.")


def tank(rows: int = 400, *, seed: int = 0, dead_time: int = 1, noise: float = 0.0) -> Experiment:
    """Inflow u and level y of a tank that empties with the square root of its level: y[t] depends
    on y[t-1] and u[t-dead_time]. `noise`: the standard deviation of the noise on y.
    """
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.uniform(0.0, 1.0, rows // 8 + 1), 8)[:rows]
    y = np.full(rows, 0.5)
    for t in range(1, rows):
        inflow = u[max(t - dead_time, 0)]
        y[t] = max(y[t - 1] + 0.2 * inflow - 0.15 * np.sqrt(max(y[t - 1], 0.0)), 0.0)
    return Experiment(u, y + noise * rng.normal(size=rows))


def sunspots_like(rows: int = 300, *, seed: int = 0) -> Experiment:
    """A series without inputs that swings with a period of about eleven rows, driven by noise."""
    rng = np.random.default_rng(seed)
    y = np.zeros(rows + 50)
    for t in range(2, len(y)):
        y[t] = 1.6 * y[t - 1] - 0.97 * y[t - 2] + 0.3 * rng.normal()
    return Experiment(None, y[50:])
