"""Sources of data: each file here is one, named by `source.kind`, and nothing else is in this
folder.

A source is a class `Settings`, a `forecast.config.sources.Source` that checks its entry and says
what the source has, and a function `read(request) -> RawFrame`. Whatever holds for one source alone
stands in its file. `read` gives rows as they are, cut at `as_of` (`keep_known`); whoever asked
checks, compares and stores them (`data.ingest`, `data.preparation`). It raises

- `InputError` for what the user corrects: the entry, a file of theirs, a package that is not
  installed, a question that the service refuses as wrong (HTTP 400);
- `DataError` for what the user cannot: a service that stays away, refuses for another reason or
  answers with something else, after the retries of `data.web`, and a damaged file of a package.

Two kinds are known by name elsewhere: `packaged` never gets stale (`operations.status`), `file` has
plans and is what `forecast add` writes.
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
    """For a `Request` whose progress nobody shows."""


@dataclass(frozen=True)
class Request:
    """`as_of` (UTC, no zone): only sessions closed and intervals ended by then are observations;
    None means all.

    `since`: per series the first time wanted; a series that is not named is wanted whole.
    `environment` holds what may be a secret. Sources without a network ignore `since`, `deadline`
    and `environment`. `advance` is called with each series of the source when it has been read.
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
    """`frame`: long, `unique_id, ds` and the source's own number columns, its index labelling the
    rows of the origin.

    `as_of`: the instant by which every row was known. `provenance`: what the record of a
    snapshot says of the source. `failed`: series → reason, for those the source could not give.
    `provisional_from`: rows from here on may change. `vintages`: the provider's own forecasts,
    `unique_id, ds, issued_at` and columns, kept apart from observations.
    """

    frame: pd.DataFrame
    as_of: pd.Timestamp
    where: str
    provenance: SnapshotRecord = field(default_factory=SnapshotRecord)
    failed: dict[str, str] = field(default_factory=dict)
    provisional_from: pd.Timestamp | None = None
    vintages: pd.DataFrame | None = None


def keep_known(request: Request, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp]:
    """The rows known by `as_of`, and the instant itself (without one: when the last observation
    became known). Of later rows only plans are kept: without columns known ahead they are dropped,
    else all other columns are masked.
    """
    dataset, as_of = request.dataset, request.as_of
    if as_of is None:
        return frame, known_from(
            dataset.calendar, [columns.trim_to_observed(frame, dataset)["ds"].max()]
        )[0]
    late = known_from(dataset.calendar, frame["ds"]) > as_of
    plans = dataset.known_ahead
    if not plans:
        return frame[~late], as_of
    observed_columns = frame.columns.drop([*KEY_COLUMNS, *plans], errors="ignore")
    return frame.assign(**{name: frame[name].mask(late) for name in observed_columns}), as_of


def read(request: Request) -> RawFrame:
    """What the dataset's source offers up to `as_of` (None: all it has), as a raw long frame with
    provenance.

    Raises `InputError` when the configuration or a file is at fault, `DataError` when a service or
    package is.
    """
    module = importlib.import_module(f"{__name__}.{request.dataset.source.kind}")
    raw: RawFrame = module.read(request)
    return raw
