"""Stage `train`: every model fitted on the train rows and backtested, networks once per seed with
their tuned values.

A thin door for DVC: `forecast.backtest.training` does the work.
"""

from __future__ import annotations

from forecast.backtest.setup import read_training_setup
from forecast.backtest.training import train_candidates
from forecast.config.paths import ProjectPaths
from forecast.system.stage import run_stage


def main(
    dataset: str,
    root: str = ".",
    models: tuple[str, ...] = (),
    state: str = ".forecast",
    jobs: int = 0,
) -> None:
    """Write data/trained/<dataset>/<candidate>/: record, forecasts of every origin, saved
    forecasters.
    """
    setup = read_training_setup(ProjectPaths.of(root, state), dataset)
    train_candidates(setup, models, jobs=jobs)


if __name__ == "__main__":
    run_stage(main)
