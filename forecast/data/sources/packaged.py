"""Datasets without a network: prices of the installed `arch` package, and weather that ships with
this project.

`us_indices`: S&P 500 and NASDAQ Composite, daily, 1999-2018, in index points, with the WTI spot
price (USD per barrel, settled before the exchange closes) of the same session. `dublin_weather`:
hourly, 2024-2026. `new_york_stations`: hourly readings of 2013, see NOTICE.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from forecast.config.sources import Source
from forecast.data import snapshots
from forecast.data.records import SnapshotRecord
from forecast.data.sources import RawFrame, Request, keep_known
from forecast.system.errors import DataError, InputError, require_known


class Settings(Source):
    """Series of an installed package or of this project; no network."""

    described_as: ClassVar[str] = "the installed package"
    has_new_rows: ClassVar[bool] = False
    kind: Literal["packaged"]
    name: str


def read(request: Request) -> RawFrame:
    """The packaged series up to `request.as_of`; `InputError` for an unknown name."""
    source = request.dataset.source
    assert isinstance(source, Settings)
    require_known(source.name, _LOADERS, f"Dataset {request.name!r}: unknown packaged source")
    frame, provenance = _LOADERS[source.name](request)
    frame, as_of = keep_known(request, frame)
    return RawFrame(frame, as_of, where=f"packaged source {source.name!r}", provenance=provenance)


def _us_indices(request: Request) -> tuple[pd.DataFrame, SnapshotRecord]:
    """Both indices with the oil price of the same session, and their provenance."""
    oil = _arch_table("wti").iloc[:, 0].rename("wti")
    indices = {name: _arch_table(name) for name in ("nasdaq", "sp500")}
    frame = pd.concat(
        [_index_frame(name, prices, oil) for name, prices in indices.items()], ignore_index=True
    )
    return frame, {
        "source": "packaged",
        "parameters": {"name": "us_indices"},
        "adjustment": "none (index levels have no splits or dividends)",
        "library": {"arch": importlib.metadata.version("arch")},
        "retrieved_at": None,
    }


def _arch_table(name: str) -> pd.DataFrame:
    """A table of `arch.data`, as `arch.data.<name>.load()` returns it, read from its file:
    importing arch takes a second. `DataError` where the package or the file is not installed.
    """
    file = f"arch/data/{name}/{name}.csv.gz"
    try:
        path = Path(str(importlib.metadata.distribution("arch").locate_file(file)))
        table = pd.read_csv(path, parse_dates=["Date"], index_col="Date")
    except (ModuleNotFoundError, FileNotFoundError):
        raise DataError(f"No file {file} is installed, wanted it. Run `make setup`.") from None
    return table.apply(pd.to_numeric, errors="coerce")


def _index_frame(name: str, prices: pd.DataFrame, oil: pd.Series) -> pd.DataFrame:
    """The long rows of one index, from its table in `arch` and the oil price by session."""
    frame = pd.DataFrame({"unique_id": name, "ds": pd.DatetimeIndex(prices.index).as_unit("ns")})
    for column in ("Open", "High", "Low", "Close", "Volume"):
        frame[column.lower()] = prices[column].to_numpy(dtype=np.float64)
    # two NASDAQ sessions have a volume of 0 although the index moved: missing
    frame["volume"] = frame["volume"].where(frame["volume"] > 0)
    frame["wti"] = oil.reindex(prices.index).to_numpy(dtype=np.float64)
    return frame


def _shipped_snapshot(request: Request) -> tuple[pd.DataFrame, SnapshotRecord]:
    """The snapshot that ships with the project, and its record; `DataError` where it is missing or
    changed.
    """
    try:
        return snapshots.read_pointed(request.root, request.name), snapshots.read_provenance(
            request.root, request.name
        )
    except (DataError, InputError):
        raise DataError(
            f"The snapshot of dataset {request.name!r} ships with the project and is missing or"
            f" changed. Restore it with `git checkout -- data/snapshots/{request.name}"
            f" data/pointers/{request.name}.json`."
        ) from None


_LOADERS: dict[str, Callable[[Request], tuple[pd.DataFrame, SnapshotRecord]]] = {
    "us_indices": _us_indices,
    "dublin_weather": _shipped_snapshot,
    "new_york_stations": _shipped_snapshot,
}
