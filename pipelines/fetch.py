"""Stage fetch: the snapshot the pointer names, verified, with its joined columns, as data/raw/<dataset>.parquet."""

from __future__ import annotations

from pathlib import Path

from forecast import files, prepared
from forecast.config.datasets import load_dataset
from forecast.joined import join
from forecast.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Verify the pointed snapshot of one dataset and hand it to the pipeline."""
    place = Path(root)
    settings = load_dataset(dataset, place / "configs")
    frame = prepared.fetch(dataset, settings, root=place)
    frame = join(frame, settings, root=place, where=f"dataset {dataset!r}")
    files.write_frame(place / "data" / "raw" / f"{dataset}.parquet", frame)


if __name__ == "__main__":
    run_stage(main)
