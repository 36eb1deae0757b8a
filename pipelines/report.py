"""Stage `report`: what the finished datasets say, as reports/leaderboard.csv and
reports/report.html, reports/verdicts.json, and what `dvc metrics` and `dvc plots` show.

A thin door for DVC: `forecast.report.page` does the work.
"""

from __future__ import annotations

from forecast.config.datasets import load_datasets
from forecast.config.paths import ProjectPaths
from forecast.report import dvc_files, leaderboard
from forecast.report.page import write
from forecast.system.stage import run_stage


def main(root: str = ".") -> None:
    """Write the combined leaderboard and the page for every dataset that configs/datasets.yaml
    runs.

    The page shows how long things took, so it differs from run to run and is no out of the stage.
    """
    paths = ProjectPaths.of(root)
    datasets = load_datasets(paths.configs).run
    write(paths, datasets)
    leaderboard.write_verdicts(paths, datasets)
    dvc_files.write(paths, datasets)


if __name__ == "__main__":
    run_stage(main)
