"""Stage tune: every network studied on the tuning slice, train rows to fit and validation rows to score."""

from __future__ import annotations

from forecast.backtest.backtest import PreparedData
from forecast.backtest.candidates import candidates, with_references
from forecast.backtest.tuning import Plan, tune
from forecast.config.experiment import load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.task import load_task
from forecast.forecaster import Budget
from forecast.system import files
from forecast.system.progress import progress
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".", models: tuple[str, ...] = (), state: str = ".forecast", jobs: int = 0) -> None:
    """Write data/tuned/<dataset>/<candidate>.json for every network of the grid (or of --models)."""
    paths = ProjectPaths.of(root, state)
    budget, config = load_tuning(paths.configs), load_models(paths.configs)
    task = load_task(paths.task(dataset))
    grid = candidates(config, with_references(models, config), season_length=task.season_length)
    planned = [c for c in grid if c.spec.search_space()]
    plan = Plan(
        place=PreparedData(paths, dataset, "tuning.parquet", files.sha256(paths.tuning_frame(dataset))),
        task=task,
        budget=Budget(budget.trial_steps, budget.evaluate_every),
        n_trials=budget.n_trials,
        seed=budget.base_seed,
        borders=files.read_json(paths.borders(dataset)),
    )
    with progress(len(planned), f"tune {dataset}") as advance:
        tune(plan, planned, paths.tuned(dataset), jobs=jobs, advance=advance)


if __name__ == "__main__":
    run_stage(main)
