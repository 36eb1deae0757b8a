"""Stage `tune`: every candidate with a search space is studied on the tuning slice, fitted on the
train rows and scored on validation.

A thin door for DVC: `forecast.backtest.tuning` does the work.
"""

from __future__ import annotations

from forecast.backtest.tuning import tune_dataset
from forecast.config.paths import ProjectPaths
from forecast.system.stage import run_stage


def main(
    dataset: str,
    root: str = ".",
    models: tuple[str, ...] = (),
    state: str = ".forecast",
    jobs: int = 0,
) -> None:
    """Write data/tuned/<dataset>/<candidate>.json for every candidate of the grid (or of --models)
    with a search space.
    """
    tune_dataset(ProjectPaths.of(root, state), dataset, models, jobs=jobs)


if __name__ == "__main__":
    run_stage(main)
