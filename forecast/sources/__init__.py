"""The door to all sources: one file per `source.kind`, each with one `read` function of the same signature."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.sources.interface import RawFrame, Request

__all__ = ["RawFrame", "Request", "read"]


def read(name: str, dataset: Dataset, *, root: Path, as_of: pd.Timestamp | None = None) -> RawFrame:
    """What the dataset's source offers up to `as_of` (None: all it has), as a raw long frame with provenance.

    Raises `InputError` when the configuration or a file is at fault, `DataError` when a service or package is.
    """
    module = importlib.import_module(f"forecast.sources.{dataset.source.kind}")
    raw: RawFrame = module.read(Request(name=name, dataset=dataset, root=Path(root), as_of=as_of))
    return raw
