"""Hierarchies: sums of series by groups, such as `hierarchy: [region, shop]`.

A series is named by its groups, `North/shop 1`; the sums above it are called `North` and `total`
(as by `aggregate` of hierarchicalforecast). So the names alone give the structure. `name_by_groups`
names the rows of a file; `add_sums` adds the sums to a frame, in stage `prepare` and before a
forecast; `summing_matrix` is S of y = S b, by which `forecaster.reconciliation` makes forecasts add
up (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, section 11.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from forecast.config.task import Task
from forecast.data.schema import join_texts
from forecast.system.errors import InputError, quote_names, require_column

TOTAL = "total"
"""The name of the sum of all series."""
SERIES_LEVEL = "series"
"""The name of the lowest level where none of the hierarchy's columns names the series."""


def name_by_groups(
    table: pd.DataFrame, groups: Sequence[str], id_column: str, *, where: str
) -> pd.DataFrame:
    """`table` with each row's groups as the name of its series in `id_column`.

    Where `id_column` tells more series apart than the groups do, it is the last part of the name.
    `InputError` for a group that is missing, empty, called `total` or contains a slash, and for a
    series in two groups.
    """
    for column in groups:
        require_column(column, table.columns, where, "Correct `hierarchy`.")
        texts = table[column].astype("str").where(table[column].notna(), "")
        is_wrong = (texts == "") | texts.str.contains("/", regex=False) | (texts == TOTAL)
        if is_wrong.any():
            row = table.index[is_wrong.to_numpy()][0]
            raise InputError(
                f"{where}, row {row}: column {column!r} of the `hierarchy` holds"
                f" {texts[is_wrong].iloc[0]!r}; wanted a name that is not {TOTAL!r} and has no"
                " slash. Correct the cell."
            )
    names = join_texts(table, groups, "/")
    if id_column in table and id_column not in groups:
        ids = table[id_column].astype("str")
        paths = pd.DataFrame({"id": ids, "path": names}).drop_duplicates()
        moved = paths["id"][paths["id"].duplicated()]
        if len(moved):
            raise InputError(
                f"{where}: series {moved.iloc[0]!r} is in more than one group of"
                f" {quote_names(groups)}; wanted one that never changes. Correct the rows, or name"
                " other columns."
            )
        if paths["path"].duplicated().any():
            names = names + "/" + ids.str.replace("/", "|", regex=False)
    return table.assign(**{id_column: names})


def groups_above(name: str) -> list[str]:
    """The sums that a series is part of, the total first."""
    parts = name.split("/")
    return [TOTAL, *("/".join(parts[:depth]) for depth in range(1, len(parts)))]


def level_of(name: str, task: Task) -> str:
    """The level of a series or sum: `total`, or the column that its last part is from."""
    if name == TOTAL:
        return TOTAL
    depth = name.count("/")
    return task.hierarchy[depth] if depth < len(task.hierarchy) else SERIES_LEVEL


def summing_matrix(names: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """S (n, m) for n `names` of series and sums in any order, and the positions of the m series
    among them. Row i of S has a 1 for every series that is part of name i.
    """
    sums = {TOTAL}
    for name in names:
        sums.update(groups_above(name))
    series_positions = [position for position, name in enumerate(names) if name not in sums]
    matrix = np.zeros((len(names), len(series_positions)))
    row_of = {name: row for row, name in enumerate(names)}
    for column, position in enumerate(series_positions):
        for name in (names[position], *groups_above(names[position])):
            matrix[row_of[name], column] = 1.0
    return matrix, series_positions


def add_sums(frame: pd.DataFrame, task: Task) -> pd.DataFrame:
    """A long frame with the sums of the task's hierarchy added, ordered by name and time.

    The target is summed over the series that have begun; where one of them misses a value, so does
    the sum. Every other column is averaged. `InputError` where the series do not end together.
    """
    if not task.hierarchy:
        return frame
    ends = frame.groupby("unique_id")["ds"].last()
    ended_early = ends.index[ends < ends.max()]
    if len(ended_early):
        raise InputError(
            f"Series {quote_names(ended_early)}: the last row with an observation stands before"
            f" {ends.max()}, where others end; wanted one end for all, or their sum is of a part."
            " Complete these series, write the newest group in every row of one that moved, or"
            " leave them out."
        )
    columns = list(frame.columns.drop(["unique_id", "ds"]))
    tables = {name: frame.pivot(index="ds", columns="unique_id", values=name) for name in columns}
    target_table = tables[task.targets[0]]
    has_begun = target_table.notna().cummax()
    counted = target_table.where(has_begun, 0.0)
    names = target_table.columns
    sums = [groups_above(name) for name in names]
    members = pd.DataFrame({"series": names, "sum": sums}).explode("sum")
    tables_of_rows = [frame]
    for name, summands in members.groupby("sum")["series"]:
        values = {column: table[summands].mean(axis=1) for column, table in tables.items()}
        values[task.targets[0]] = counted[summands].sum(axis=1, skipna=False)
        rows = pd.DataFrame(values)[has_begun[summands].any(axis=1)]
        tables_of_rows.append(rows.assign(unique_id=name).reset_index())
    joined = pd.concat(tables_of_rows, ignore_index=True).astype(
        {"unique_id": frame["unique_id"].dtype}
    )
    return joined.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)[frame.columns]
