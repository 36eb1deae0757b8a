"""Stage train: every model fitted on the train rows and backtested, networks once per seed with their tuned values."""

from __future__ import annotations

from forecast.backtest.backtest import PreparedData
from forecast.backtest.candidates import candidates, left_out, with_references
from forecast.backtest.training import Run, train
from forecast.config.datasets import load_dataset
from forecast.config.experiment import load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.task import load_task
from forecast.forecaster import Budget
from forecast.system import files
from forecast.system.progress import progress
from forecast.system.stage import run_stage


def main(dataset: str, root: str = ".", models: tuple[str, ...] = (), state: str = ".forecast", jobs: int = 0) -> None:
    """Write data/trained/<dataset>/<candidate>/: record, forecasts of every origin, saved forecasters."""
    paths = ProjectPaths.of(root, state)
    budget, config = load_tuning(paths.configs), load_models(paths.configs)
    task = load_task(paths.task(dataset))
    vintages = bool(load_dataset(dataset, paths.configs).vintage_columns)
    only = with_references(models, config)
    planned = candidates(config, only, season_length=task.season_length, vintages=vintages)
    for name, why in left_out(config, only, season_length=task.season_length, vintages=vintages).items():
        print(f"train {dataset}: {name} is left out: {why}", flush=True)
    digest = files.sha256(paths.vintages(dataset)) if vintages else ""
    run = Run(
        place=PreparedData(paths, dataset, "frame.parquet", files.sha256(paths.frame(dataset)), vintages=digest),
        task=task,
        budget=Budget(budget.final_steps, budget.evaluate_every),
        seeds=budget.seeds,
        borders=files.read_json(paths.borders(dataset)),
    )
    tuned = {path.stem: files.read_json(path) for path in sorted(paths.tuned(dataset).glob("*.json"))}
    total = sum(len(budget.seeds) if c.spec.seeded else 1 for c in planned)
    with progress(total, f"train {dataset}") as advance:
        train(run, planned, tuned, paths.trained(dataset), jobs=jobs, advance=advance)


if __name__ == "__main__":
    run_stage(main)
