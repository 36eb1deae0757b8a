"""The door to all sources: one file per `source.kind`, each with one `read` function of the same signature."""

from __future__ import annotations

import importlib

from forecast.data.sources.interface import RawFrame, Request, pieces
from forecast.data.sources.patience import Patience

__all__ = ["Patience", "RawFrame", "Request", "pieces", "read"]


def read(request: Request) -> RawFrame:
    """What the dataset's source offers up to `as_of` (None: all it has), as a raw long frame with provenance.

    Raises `InputError` when the configuration or a file is at fault, `DataError` when a service or package is.
    """
    module = importlib.import_module(f"forecast.data.sources.{request.dataset.source.kind}")
    raw: RawFrame = module.read(request)
    return raw
