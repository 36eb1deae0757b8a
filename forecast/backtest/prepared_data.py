"""The prepared data of one dataset, for the tasks of stages `tune` and `train`: in the files of
stage `prepare` (`PreparedData`), or in memory (`DataInMemory`, for `forecast.fit`, `compare` and
the refit on all rows).

Both load the same `PreparedRows`. Tuning loads `tuning.parquet`, which ends with the validation
block, so it cannot see later rows. Data are checked in `forecast.data.preparation`, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from forecast.config.paths import ProjectPaths
from forecast.config.task import Task, load_task
from forecast.data.splits import Borders
from forecast.system import files

PreparedFile = Literal["frame.parquet", "tuning.parquet"]
"""A file of data/prepared/<dataset>: all rows, or those that tuning may see."""


@dataclass(frozen=True)
class PreparedRows:
    """The prepared rows of one dataset, their task, and where the blocks of the time axis end."""

    frame: pd.DataFrame
    task: Task
    borders: Borders


@dataclass(frozen=True)
class PreparedData:
    """Where the prepared data of one dataset lie, and the folders of what is computed from them.

    file: the name of the frame's file
    digest: that of the frame, so that a cached problem is never stale; empty where no other run
    finds the results, whose keys then need no digest of the code either
    vintages: the digest of the provider's stored forecasts; empty without any
    shapes: the folder in which processes share the shapes of linear maps; None: they share none
    """

    paths: ProjectPaths
    dataset: str
    file: PreparedFile
    digest: str
    vintages: str = ""
    shapes: Path | None = None

    def load(self) -> PreparedRows:
        """The rows as stage `prepare` wrote them."""
        return PreparedRows(
            frame=files.read_frame(self.paths.prepared(self.dataset) / self.file),
            task=load_task(self.paths.task(self.dataset)),
            borders=Borders.from_json(files.read_json(self.paths.borders(self.dataset))),
        )


@dataclass(frozen=True)
class DataInMemory(PreparedData):
    """Prepared data in memory, which are sent to a worker; `paths` is for results only."""

    rows: PreparedRows = field(kw_only=True, compare=False)

    def load(self) -> PreparedRows:
        """The rows in memory."""
        return self.rows
