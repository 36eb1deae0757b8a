"""A scored recipe fitted once more, on every row there is: what serves.

What was scored had to keep rows back: the test block, and the errors that intervals are made of.
`refit_on_all_rows` fits the same recipe up to the last row. For what others choose, such as
penalties, the newest rows (as many as the validation block has) are kept back, then fitted on too;
a network takes as many gradient steps as the scored fit of its seed took. Nothing of it can be
scored; its intervals stand on the errors of the scored fit.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pandas as pd

from forecast import models
from forecast.backtest.backtest import CandidateFitter, load_problem, load_tensorflow
from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import DataInMemory, PreparedData
from forecast.backtest.training import TrainingJob, join_forecasters
from forecast.config.experiment import Tuning
from forecast.data.records import Digests, Recipe, RunRecord
from forecast.data.splits import Borders
from forecast.forecaster import Budget, FitResult, Forecaster
from forecast.forecaster.ensemble import list_served_models
from forecast.forecaster.reconciliation import Corrections, learn_corrections
from forecast.system import files, workers
from forecast.system.workers import WorkItem


def refit_on_all_rows(
    prepared: PreparedData,
    scored: Path,
    target: Path,
    budget: Tuning,
    *,
    jobs: int,
    stream: TextIO | None = None,
) -> None:
    """Fit the recipe of the trained candidate `scored` on all rows of `prepared`, each of its
    seeds, and fill `target` as training fills a candidate's folder; the forecasts that intervals
    are made of are copied.
    """
    record = RunRecord.read(scored / "record.json")
    calibrated = scored / "forecasts.parquet"
    rows = prepared.load()
    borders = move_to_end(rows.frame, rows.borders)
    corrections = learn_corrections(pd.read_parquet(calibrated), rows.task)
    data = DataInMemory(**(vars(prepared) | {"rows": replace(rows, borders=borders)}))
    steps = Budget(budget.final_steps, budget.evaluate_every)
    with files.atomic_directory(target) as temporary:
        places = [
            (recipe_candidate(recipe), f"members/{recipe.candidate}") for recipe in record.members
        ]
        tasks: list[WorkItem] = []
        split_jobs: list[tuple[Path, list[Path]]] = []
        n_series = rows.frame["unique_id"].nunique()
        for candidate, folder in places or [(recipe_candidate(record), ".")]:
            prepare = load_tensorflow if candidate.spec.uses_tensorflow else None
            for saved in list_served_models(scored / folder):
                seed = saved.name.partition("-")[2]
                written = temporary / folder / f"seed-{seed}"
                job = TrainingJob(candidate, int(seed), steps, written, Digests())
                parts = job.split(n_series)
                if len(parts) > 1:
                    split_jobs.append((written, [part.folder for part in parts]))
                for part in parts:
                    fitter = CandidateFitter(candidate, part.seed, steps, part.series)
                    arguments = (data, fitter, saved, part.folder, corrections)
                    tasks.append(
                        WorkItem(part.title, _refit_seed, arguments, prepare, writes=part.folder)
                    )
        label = f"refit {prepared.dataset}"
        list(workers.run_with_progress(tasks, label, jobs=jobs, stream=stream))
        for whole, folders in split_jobs:
            join_forecasters(folders).save(whole)
            for folder_of_part in folders:
                shutil.rmtree(folder_of_part)
        record.write(temporary / "record.json")
        files.write_json(temporary / "borders.json", borders.to_json())
        shutil.copyfile(calibrated, temporary / "forecasts.parquet")


def _refit_seed(
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
