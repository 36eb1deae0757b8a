"""Sources of data: each module of this folder is one, named by `source.kind`.

A source has a class `Settings`, a `forecast.config.sources.Source` that checks its entry, and a
function `read(request) -> RawFrame`, which returns the rows known by `as_of` (`keep_known`) as they
are. The caller checks, compares and stores them (`data.ingest`, `data.preparation`). A web service
is asked by `forecast fetch` and `retrain` alone (`data.ingest`); stage `fetch` of a run reads the
stored snapshot. `read` raises

- `InputError` for what the user can correct: the entry, a file, a package that is not installed, a
  request that the service refuses as wrong (HTTP 400);
- `DataError` for what the user cannot: a service that does not answer after the retries of
  `data.web`, refuses for another reason or answers with something else; a damaged package.

Two kinds are named elsewhere: `packaged` data do not grow old (`operations.status`); `file` has
plans and is what `forecast add` and `forecast.fit` write.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset
from forecast.data import columns
from forecast.data.calendars import known_from
from forecast.data.records import SnapshotRecord
from forecast.data.schema import KEY_COLUMNS
from forecast.data.web import Deadline


def ignore_progress(series: str) -> None:
    """The `advance` of a `Request` without a progress display."""


@dataclass(frozen=True)
class Request:
    """A question to the source of a dataset.

    as_of (UTC, no zone): only sessions closed and steps ended by then are observations; None:
    all. since: by series the first time wanted; a series that is not in it is wanted whole.
    environment: may hold secrets. advance: called with each series after it was read. Sources
    without a network ignore since, deadline, environment and advance.
    """

    name: str
    dataset: Dataset
    root: Path
    as_of: pd.Timestamp | None = None
    since: Mapping[str, pd.Timestamp] = field(default_factory=dict)
    deadline: Deadline | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    advance: Callable[[str], None] = ignore_progress

    def first_time(self, unique_id: str, start: Any) -> pd.Timestamp:
        """The first time wanted of a series whose history begins at `start`."""
        return max(pd.Timestamp(start), self.since.get(unique_id, pd.Timestamp(start)))


@dataclass(frozen=True)
class RawFrame:
    """The answer of a source.

    frame: long, `unique_id, ds` and the source's number columns; its index labels the rows of the
    origin. as_of: the time by which every row was known. where: the source in messages. provenance:
    for the record of a snapshot. failed: the reason for each series that the source could not give.
    provisional_from: rows from this time on may change. vintages: the provider's own forecasts,
    `unique_id, ds, issued_at` and columns.
    """

    frame: pd.DataFrame
    as_of: pd.Timestamp
    where: str
    provenance: SnapshotRecord = field(default_factory=SnapshotRecord)
    failed: dict[str, str] = field(default_factory=dict)
    provisional_from: pd.Timestamp | None = None
    vintages: pd.DataFrame | None = None


def keep_known(request: Request, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp]:
    """The rows known by `as_of`, and `as_of` itself (None: when the last observation became known).
    Later rows are dropped; where columns are known ahead, they are kept with NaN in all other
    columns.
    """
    dataset, as_of = request.dataset, request.as_of
    if as_of is None:
        return frame, known_from(
            dataset.calendar, [columns.trim_to_observed(frame, dataset)["ds"].max()]
        )[0]
    is_late = known_from(dataset.calendar, frame["ds"]) > as_of
    plans = dataset.known_ahead
    if not plans:
        return frame[~is_late], as_of
    observed_columns = frame.columns.drop([*KEY_COLUMNS, *plans], errors="ignore")
    return frame.assign(**{name: frame[name].mask(is_late) for name in observed_columns}), as_of


def read(request: Request) -> RawFrame:
    """The rows of the dataset's source up to `request.as_of`, as a raw long frame. Raises
    `InputError` where the entry or a file is at fault, `DataError` where a service or package is.
    """
    module = importlib.import_module(f"{__name__}.{request.dataset.source.kind}")
    raw: RawFrame = module.read(request)
    return raw
