"""What every source is asked and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from forecast.calendars import ended
from forecast.config.datasets import Dataset


@dataclass(frozen=True)
class Request:
    """`as_of` (UTC, no zone): only sessions closed and intervals ended by then are observations; None means all."""

    name: str
    dataset: Dataset
    root: Path
    as_of: pd.Timestamp | None = None


@dataclass(frozen=True)
class RawFrame:
    """`frame`: long, `unique_id, ds` and the source's own number columns, its index labelling the rows of the origin.

    `as_of`: the instant by which every row was known. `provenance`: JSON values only, without secrets or host paths.
    """

    frame: pd.DataFrame
    as_of: pd.Timestamp
    where: str
    provenance: dict[str, Any] = field(default_factory=dict)


def observed(request: Request, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Timestamp]:
    """The rows known by `as_of`, and the instant itself (without one: when the last row became known)."""
    known = ended(request.dataset.calendar, frame["ds"])
    if request.as_of is None:
        return frame, pd.Timestamp(known.max())
    return frame[known <= request.as_of], request.as_of
