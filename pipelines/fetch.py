"""Stage fetch: the snapshot the pointer names, verified, with the columns looked up elsewhere, into data/raw."""

from __future__ import annotations

from pathlib import Path

from forecast.config.datasets import load_dataset
from forecast.data import preparation, vintages
from forecast.data.asof_join import join
from forecast.system import files
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write <dataset>.parquet and what the data's own service had said at each row, <dataset>.issued.parquet."""
    place = Path(root)
    settings = load_dataset(dataset, place / "configs")
    frame = preparation.fetch(dataset, settings, root=place)
    frame = join(frame, settings, root=place, where=f"dataset {dataset!r}")
    issues = vintages.kept(place, dataset)
    raw = place / "data" / "raw"
    files.write_frame(raw / f"{dataset}.parquet", vintages.with_columns(frame, settings, issues))
    files.write_frame(raw / f"{dataset}.issued.parquet", vintages.forecasts(issues, settings, frame))


if __name__ == "__main__":
    run_stage(main)
