"""Stage fetch: the snapshot the pointer names, verified, with the columns looked up elsewhere, into data/raw."""

from __future__ import annotations

from forecast.config.datasets import load_dataset
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, vintages
from forecast.data.asof_join import join
from forecast.system import files
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".") -> None:
    """Write <dataset>.parquet and what the data's own service had said at each row, <dataset>.issued.parquet."""
    paths = ProjectPaths.of(root)
    settings = load_dataset(dataset, paths.configs)
    frame = preparation.fetch(dataset, settings, root=paths.root)
    frame = join(frame, settings, root=paths.root, where=f"dataset {dataset!r}")
    issues = vintages.kept(paths.root, dataset)
    files.write_frame(paths.raw(dataset), vintages.with_columns(frame, settings, issues))
    files.write_frame(paths.vintages(dataset), vintages.forecasts(issues, settings, frame))


if __name__ == "__main__":
    run_stage(main)
