"""Stage prepare: the columns of the dataset, checked; what tuning may see is written apart from what comes later."""

from __future__ import annotations

from typing import Any

import pandas as pd

from forecast.config.datasets import Dataset, load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, quality
from forecast.data.calendars import ended
from forecast.data.scaling import check_transforms
from forecast.data.splits import borders_of
from forecast.system import files
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write frame.parquet, tuning.parquet (rows up to validation_end), borders.json, task.json and quality.json."""
    paths = ProjectPaths.of(root)
    settings = load_dataset(dataset, paths.configs)
    frame, findings = _checked(paths, dataset, settings)
    borders = borders_of(frame, dataset, settings)
    check_transforms(frame, settings.task)
    with files.atomic_directory(paths.prepared(dataset)) as folder:
        files.write_frame(folder / "frame.parquet", frame)
        files.write_frame(folder / "tuning.parquet", frame[frame["ds"] <= borders.validation_end])
        files.write_json(folder / "borders.json", borders.to_json())
        files.write_json(folder / "task.json", settings.task.model_dump(mode="json"))
        files.write_json(folder / "quality.json", {**quality.describe(frame, settings), "findings": findings})


def _checked(paths: ProjectPaths, dataset: str, settings: Dataset) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """The prepared frame and what the data checks found; the raw frame is let go here, it may be large."""
    raw = files.read_frame(paths.raw(dataset))
    # As of its own last row: how fresh the data are is for `forecast fetch` and `forecast data` to tell.
    known = ended(settings.calendar, [raw["ds"].max()])[0]
    found = quality.findings(preparation.comparable(raw, settings), settings, as_of=known)
    frame = preparation.prepare(raw, settings, where=f"data/raw/{dataset}.parquet")
    return frame, [finding.to_json() for finding in found]


if __name__ == "__main__":
    run_stage(main)
