"""Stage `fetch`: the snapshot that the pointer names, verified, with the columns looked up
elsewhere, into data/raw.

A thin door for DVC: `forecast.data.preparation` and `forecast.data.vintages` do the work; nothing
is asked of a service here.
"""

from __future__ import annotations

from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, vintages
from forecast.system import files
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write <dataset>.parquet and the provider's forecasts at each row,
    <dataset>.issued.parquet.
    """
    paths = ProjectPaths.of(root)
    settings = load_dataset(dataset, paths.configs)
    frame = preparation.read_snapshot(dataset, settings, root=paths.root)
    stored_vintages = vintages.read_vintages(paths.root, dataset)
    whole = preparation.add_looked_up(
        frame, settings, stored_vintages, root=paths.root, where=f"dataset {dataset!r}"
    )
    files.write_frame(paths.raw(dataset), whole)
    files.write_frame(
        paths.raw_vintages(dataset), vintages.forecasts_by_cutoff(stored_vintages, settings, frame)
    )


if __name__ == "__main__":
    run_stage(main)
