"""The prepared data of one dataset as a task finds them: in the files of stage `prepare`
(`PreparedData`), or in memory (`DataInMemory`, of `forecast.fit` and `compare`).

Both load the same `PreparedRows`: frame, task and the ends of the blocks. Tuning is given
`tuning.parquet`, which ends with the validation block, so it cannot see later rows. Nothing is
checked or changed here; that is `forecast.data.preparation`.

Another thing that `prepare` hands on is a field of `PreparedRows`, loaded by both.
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
    """Where one dataset's prepared data lie, and the folders for what is computed from them.

    `digest` is that of the frame, so a cached problem is never stale; `vintages` that of the
    provider's forecasts, which one model alone reads. `shapes`: where processes share
    the shapes of linear maps; None where they do not.
    """

    paths: ProjectPaths
    dataset: str
    frame: PreparedFile
    digest: str
    vintages: str = ""
    shapes: Path | None = None

    def load(self) -> PreparedRows:
        """The rows as stage `prepare` wrote them."""
        return PreparedRows(
            frame=files.read_frame(self.paths.prepared(self.dataset) / self.frame),
            task=load_task(self.paths.task(self.dataset)),
            borders=Borders.from_json(files.read_json(self.paths.borders(self.dataset))),
        )


@dataclass(frozen=True)
class DataInMemory(PreparedData):
    """Prepared data that go to a worker with its task; `paths` has folders for results alone."""

    rows: PreparedRows = field(kw_only=True, compare=False)

    def load(self) -> PreparedRows:
        """The rows that came with the task."""
        return self.rows
