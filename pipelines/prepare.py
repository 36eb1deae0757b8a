"""Stage prepare: the columns of the dataset, checked; what tuning may see is written apart from what comes later."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from forecast import files, prepared, quality
from forecast.config.datasets import load_dataset
from forecast.panel import from_frame
from forecast.splits import cut_panel, resolve
from forecast.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write frame.parquet, tuning.parquet (rows up to validation_end), borders.json and quality.json."""
    place = Path(root)
    settings = load_dataset(dataset, place / "configs")
    raw = pd.read_parquet(place / "data" / "raw" / f"{dataset}.parquet")
    frame = prepared.prepare(raw, settings, root=place, where=f"data/raw/{dataset}.parquet")
    panel = from_frame(frame, dataset, settings)
    borders = resolve(panel)
    cut_panel(panel, borders)  # a series too short for its blocks is told here, before any tuning
    with files.atomic_directory(place / "data" / "prepared" / dataset) as folder:
        files.write_frame(folder / "frame.parquet", frame)
        files.write_frame(folder / "tuning.parquet", frame[frame["ds"] <= borders.validation_end])
        files.write_json(folder / "borders.json", borders.to_json())
        files.write_json(folder / "quality.json", quality.describe(frame, settings))


if __name__ == "__main__":
    run_stage(main)
