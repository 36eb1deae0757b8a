"""Stage fetch: the snapshot the pointer names, verified, as data/raw/<dataset>.parquet."""

from __future__ import annotations

from pathlib import Path

from forecast import files, prepared
from forecast.config.datasets import load_dataset
from forecast.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Verify the pointed snapshot of one dataset and hand it to the pipeline."""
    place = Path(root)
    frame = prepared.fetch(dataset, load_dataset(dataset, place / "configs"), root=place)
    files.write_frame(place / "data" / "raw" / f"{dataset}.parquet", frame)


if __name__ == "__main__":
    run_stage(main)
