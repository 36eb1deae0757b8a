"""Columns taken from another dataset: at each row the last value that was known when the row itself was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from forecast.config.datasets import Column, Dataset, load_dataset
from forecast.config.sources import YahooSource
from forecast.data import snapshots
from forecast.data.calendars import ended
from forecast.data.corporate_actions import adjusted
from forecast.system.errors import InputError, closest, quote_names


def other_datasets(dataset: Dataset) -> list[str]:
    """The datasets whose snapshots this one reads; the stage that fetches it depends on their pointers too."""
    return sorted({column.joined.dataset for column in dataset.columns if column.joined is not None})


def with_joined(names: Iterable[str], configs: Path) -> list[str]:
    """`names` and every dataset they join, those that are joined first; `InputError` for an unknown name."""
    order: dict[str, None] = {}
    waiting = [(name, frozenset[str]()) for name in reversed(list(names))]
    while waiting:
        name, above = waiting.pop()
        others = [o for o in other_datasets(load_dataset(name, configs)) if o not in order and o not in above | {name}]
        if others:
            waiting += [(name, above), *((other, above | {name}) for other in others)]
        else:
            order[name] = None
    return list(order)


def join(frame: pd.DataFrame, dataset: Dataset, *, root: Path, where: str) -> pd.DataFrame:
    """`frame` with a column for each `joined` one; NaN where nothing was known or it is older than `max_age_days`.

    A column that is there already (the stage fetch has joined it) is left as it is.
    """
    wanted = [c for c in dataset.columns if c.joined is not None and c.column not in frame.columns]
    others = {name: (load_dataset(name, root / "configs"), _read(root, name)) for name in other_datasets(dataset)}
    result = frame.copy(deep=False)
    for column in wanted:
        if column.joined is not None:
            result[column.column] = _looked_up(frame, dataset, column, *others[column.joined.dataset], where)
    return result


def _read(root: Path, name: str) -> pd.DataFrame:
    raw = snapshots.read_pointed(root, name)
    source = load_dataset(name, root / "configs").source
    return adjusted(raw, source.adjust if isinstance(source, YahooSource) else "none")


def _looked_up(
    frame: pd.DataFrame, dataset: Dataset, column: Column, other: Dataset, values: pd.DataFrame, where: str
) -> pd.Series:
    wanted = column.joined
    assert wanted is not None
    _require(wanted.column, values.columns, f"{where}: dataset {wanted.dataset!r} has no column")
    _require(wanted.series, values["unique_id"].unique(), f"{where}: dataset {wanted.dataset!r} has no series")
    series = values[values["unique_id"] == wanted.series].dropna(subset=[wanted.column])
    known = pd.DataFrame({"known": ended(other.calendar, series["ds"]), "value": series[wanted.column].to_numpy()})
    asked = pd.DataFrame({"known": ended(dataset.calendar, frame["ds"]), "row": frame.index})
    found = pd.merge_asof(
        asked.sort_values("known", kind="stable"),
        known.sort_values("known", kind="stable"),
        on="known",
        direction="backward",
        tolerance=pd.Timedelta(wanted.max_age_days, "D"),
    )
    return found.set_index("row")["value"].reindex(frame.index)


def _require(name: str, known: object, sentence: str) -> None:
    names = [str(item) for item in known]  # type: ignore[attr-defined]
    if name not in names:
        raise InputError(
            f"{sentence} {name!r}.{closest(name, names)} Known: {quote_names(names)}. Correct it under `joined` in "
            "configs/datasets.yaml."
        )
