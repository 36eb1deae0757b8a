"""A recipe fitted again at other borders, in a process of its own inside the work tree: committed
code, own memory.

    python -m forecast.operations.refit DATASET --record FILE --target FOLDER --on gate | all

`gate`: at the challenger's borders, with the forecasts a gate needs; `all`: on everything up to the
last row, a network as many gradient steps as the scored fit of its seed took. For what others
choose, such as penalties, the newest rows (as many as the validation block has) are kept back, then
fitted on too; nothing of it can be scored.

For `challenger.run_refit` alone. `Recipe` in, the folder of a trained candidate out. Of `gate` a
model that fails is a failed record, of `all` an error; there the forecasts for intervals are those
of the scored version.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd

from forecast import models
from forecast.backtest.backtest import (
    CandidateFitter,
    load_problem,
    load_tensorflow,
    share_shapes,
)
from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import DataInMemory, PreparedData
from forecast.backtest.training import TrainingRun, train
from forecast.config.datasets import load_dataset
from forecast.config.experiment import Combination, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.data.records import FullRecipe, Recipe, RunRecord
from forecast.data.splits import Borders
from forecast.forecaster import Budget, FitResult, Forecaster
from forecast.forecaster.ensemble import list_served_models
from forecast.forecaster.reconciliation import Corrections, learn_corrections
from forecast.system import files, workers
from forecast.system.errors import InputError
from forecast.system.stage import run_stage
from forecast.system.workers import WorkItem


def main(
    dataset: str,
    record: str = "",
    target: str = "",
    on: str = "gate",
    root: str = ".",
    jobs: int = 0,
) -> None:
    """Fill `target` as the train stage fills data/trained/<dataset>/<candidate>; `InputError` for
    another `on` than gate or all.
    """
    project = Path(root)
    recipe_file = Path(record)
    if on == "gate":
        refit_at_gate(project, dataset, FullRecipe.read(recipe_file), Path(target), jobs=jobs)
    elif on == "all":
        refit_on_all_data(project, dataset, recipe_file.parent, Path(target), jobs=jobs)
    else:
        raise InputError(f"--on {on!r}: wanted gate or all.")


def refit_at_gate(root: Path, dataset: str, recipe: FullRecipe, target: Path, *, jobs: int) -> None:
    """Train the recipe at the borders that stage `prepare` wrote, and fill `target` with its
    candidate, anew where it exists; what was trained already comes from the cache of stage `train`.
    """
    paths = ProjectPaths.of(root)
    settings = load_dataset(dataset, paths.configs)
    budget = load_tuning(paths.configs)
    run = TrainingRun(
        data=_prepared_data(paths, dataset),
        task=settings.task,
        budget=Budget(budget.final_steps, budget.evaluate_every),
        seeds=budget.seeds,
        borders=files.read_json(paths.borders(dataset)),
    )
    combined = {}
    if recipe.members:
        weights = {member.candidate: member.weight for member in recipe.members}
        rule = recipe.params or {"members": "all", "weights": weights}
        combined[recipe.model] = Combination.model_validate(rule)
    planned = [recipe_candidate(part) for part in recipe.members or (recipe,)]
    folder = target.with_name(f"{target.name}-made")
    train(run, planned, {}, folder, jobs=jobs, combinations=combined)
    with files.atomic_directory(target) as temporary:
        shutil.copytree(
            folder / next(iter(combined), planned[0].name), temporary, dirs_exist_ok=True
        )
    shutil.rmtree(folder)


def refit_on_all_data(root: Path, dataset: str, scored: Path, target: Path, *, jobs: int) -> None:
    """Fit the recipe of the trained candidate `scored` up to the last row, each of its seeds, and
    fill `target`; the forecasts that intervals are made of are copied.
    """
    record = RunRecord.read(scored / "record.json")
    calibrated = scored / "forecasts.parquet"
    paths = ProjectPaths.of(root)
    budget = load_tuning(paths.configs)
    prepared = _prepared_data(paths, dataset)
    rows = prepared.load()
    borders = move_to_end(rows.frame, rows.borders)
    corrections = learn_corrections(pd.read_parquet(calibrated), rows.task)
    data = DataInMemory(**vars(prepared), rows=replace(rows, borders=borders))
    steps = Budget(budget.final_steps, budget.evaluate_every)
    with files.atomic_directory(target) as temporary:
        places = [
            (recipe_candidate(recipe), f"members/{recipe.candidate}") for recipe in record.members
        ]
        tasks = []
        for candidate, folder in places or [(recipe_candidate(record), ".")]:
            # only a network takes steps, and only what uses TensorFlow loads it
            uses_tensorflow = candidate.spec.uses_tensorflow
            prepare = load_tensorflow if uses_tensorflow else None
            own_steps = steps if uses_tensorflow else Budget(0, 1)
            for saved in list_served_models(scored / folder):
                seed = saved.name.partition("-")[2]
                written = temporary / folder / f"seed-{seed}"
                fitter = CandidateFitter(candidate, int(seed), own_steps)
                arguments = (data, fitter, saved, written, corrections)
                tasks.append(
                    WorkItem(
                        f"{candidate.name} seed {seed}",
                        fit_seed,
                        arguments,
                        prepare,
                        writes=written,
                    )
                )
        workers.raise_failures(list(workers.run_items(tasks, jobs=jobs)), what=f"refit {dataset}")
        record.write(temporary / "record.json")
        files.write_json(temporary / "borders.json", borders.to_json())
        shutil.copyfile(calibrated, temporary / "forecasts.parquet")


def fit_seed(
    data: PreparedData,
    fitter: CandidateFitter,
    saved: Path,
    folder: Path,
    corrections: Corrections,
) -> None:
    """One seed, whose scored fit is `saved`, into `folder` with the `corrections` of the scored
    version; it runs in a worker.
    """
    problem = load_problem(data, ("train", "validation"))
    scored = Forecaster.load(saved)
    if scored.steps is None:
        _, final = fitter.fit_both(problem)
    else:
        start = replace(scored, scaling=problem.scaling)
        final = fitter.refit(problem, FitResult(start, best_step=scored.steps))
    replace(final.forecaster, **corrections).save(folder)


def _prepared_data(paths: ProjectPaths, dataset: str) -> PreparedData:
    """All rows, whose linear maps' shapes are shared with other processes."""
    digest = files.sha256(paths.frame(dataset))
    return share_shapes(PreparedData(paths, dataset, "frame.parquet", digest))


def move_to_end(frame: pd.DataFrame, borders: Borders) -> Borders:
    """Validation as long as before at the very end, everything earlier for training; nothing is
    left to score on.
    """
    last = frame["ds"].max()
    length = borders.validation_end - borders.train_end
    borders_by_series = {
        name: move_to_end(frame[frame["unique_id"] == name], series_borders)
        for name, series_borders in borders.by_series.items()
    }
    return Borders(
        last - length,
        validation_end=last,
        calibration_end=last,
        test_end=last,
        by_series=borders_by_series,
    )


def recipe_candidate(recipe: Recipe) -> Candidate:
    """The candidate that a recipe trains, tuned values filled in."""
    spec = models.spec(recipe.params, where="record.json: params")
    skip = recipe.skip if spec.has_skip else None
    return Candidate(recipe.model, spec, recipe.ranking, skip)


if __name__ == "__main__":
    run_stage(main)
