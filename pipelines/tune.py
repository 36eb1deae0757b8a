"""Stage `tune`: every candidate with a search space is studied on the tuning slice, fitted on the
train rows and scored on validation.

A thin door for DVC: `forecast.backtest.tuning` does the work.
"""

from __future__ import annotations

from forecast.backtest.setup import read_tuning_setup
from forecast.backtest.tuning import tune_candidates
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
    setup = read_tuning_setup(ProjectPaths.of(root, state), dataset)
    tune_candidates(setup, models, jobs=jobs)


if __name__ == "__main__":
    run_stage(main)
