"""Columns computed from others of the same row, and the choice of the columns a dataset uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data.schema import KEYS, check_frame
from forecast.system.errors import InputError, closest, quote_names


@dataclass(frozen=True)
class Derived:
    """Used when the source does not deliver a column of this name itself."""

    inputs: tuple[str, ...]
    meaning: str


DERIVED: dict[str, Derived] = {
    "daily_range": Derived(("high", "low"), "ln(high / low): the range of the session, relative, ≥ 0"),
}


def inputs_of(column: str, found: Collection[str]) -> tuple[str, ...]:
    """The source columns that `column` needs: itself, or those it is computed from when it is not among `found`."""
    return DERIVED[column].inputs if column in DERIVED and column not in found else (column,)


def require(found: Collection[str], dataset: Dataset, *, where: str) -> None:
    """Raises `InputError` for the first column of the dataset that is neither there nor computable."""
    for column in dataset.columns:
        for name in () if not column.observed else inputs_of(column.column, found):
            if name not in found:
                raise InputError(
                    f"{where}: column {name!r} is missing.{closest(name, found)} Found {quote_names(found)}. Correct "
                    "its name in configs/datasets.yaml, or map the file's name under `source.columns`."
                )


def derive_and_select(raw: pd.DataFrame, dataset: Dataset, *, where: str) -> pd.DataFrame:
    """`unique_id, ds, *Dataset.columns` of a raw frame; what the dataset does not use is dropped."""
    require([str(name) for name in raw.columns], dataset, where=where)
    frame = raw[list(KEYS)].copy(deep=False)
    for column in dataset.columns:
        name = column.column
        frame[name] = raw[name] if name in raw.columns else _COMPUTED[name](raw)
    return check_frame(frame, [c.column for c in dataset.columns], where=where)


def _daily_range(raw: pd.DataFrame) -> pd.Series:
    high, low = (raw[name].where(raw[name] > 0) for name in ("high", "low"))
    return pd.Series(np.log(high / low), index=raw.index)


_COMPUTED = {"daily_range": _daily_range}
