"""Refits a scored candidate on all rows, for serving.

The scored fit had to keep rows back: the test block, and the calibration block whose errors the
intervals are made of. `refit_on_all_rows` fits the same recipe up to the last row, also on series
that lack a block. Its forecasts cannot be scored, since no rows are kept back; the intervals keep
the errors of the scored fit.

To select penalties and the like, the newest rows of each series stand in for the validation block;
then they are fitted on too. A network takes as many gradient steps as the scored fit of its seed.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import pandas as pd

from forecast import models
from forecast.backtest.backtest import make_fitting_item
from forecast.backtest.candidates import Candidate
from forecast.backtest.prepared_data import DataInMemory, PreparedData
from forecast.backtest.timeline import CandidateFitter
from forecast.backtest.training import TrainingJob, join_forecasters
from forecast.config.models import Tuning
from forecast.data.panel import Series, from_frame
from forecast.data.records import Recipe, RunRecord
from forecast.data.scaling import Scaling
from forecast.data.splits import Blocks, Borders
from forecast.data.windows import layout
from forecast.forecaster import Budget, FitResult, Forecaster, Problem
from forecast.forecaster.ensemble import list_served_models
from forecast.forecaster.reconciliation import Corrections, learn_corrections
from forecast.system import files, workers
from forecast.system.workers import WorkItem


def refit_on_all_rows(
    prepared: PreparedData,
    served: pd.DataFrame,
    scored: Path,
    target: Path,
    tuning: Tuning,
    *,
    jobs: int,
    stream: TextIO | None = None,
) -> None:
    """Fit every seed of a trained candidate again on all rows, and fill the folder `target` as
    training fills that of a candidate. The forecasts that the intervals are made of are copied.

    prepared: the data that the candidate was scored on
    served: all rows to fit on
    scored: the folder of the trained candidate
    stream: where the progress is shown
    """
    record = RunRecord.read(scored / "record.json")
    calibrated = scored / "forecasts.parquet"
    rows = replace(prepared.load(), frame=served)
    corrections = learn_corrections(
        pd.read_parquet(calibrated), rows.task, served["unique_id"].unique()
    )
    data = DataInMemory(**(vars(prepared) | {"rows": rows}))
    budget = Budget(tuning.final_steps, tuning.evaluate_every)
    with files.atomic_directory(target) as temporary:
        members = [
            (recipe_candidate(recipe), f"members/{recipe.candidate}") for recipe in record.members
        ]
        tasks: list[WorkItem] = []
        split_jobs: list[tuple[Path, list[Path]]] = []
        n_series = served["unique_id"].nunique()
        for candidate, folder in members or [(recipe_candidate(record), ".")]:
            for saved in list_served_models(scored / folder):
                seed = saved.name.partition("-")[2]
                seed_folder = temporary / folder / f"seed-{seed}"
                job = TrainingJob(candidate, int(seed), budget, folder=seed_folder)
                parts = job.split(n_series)
                if len(parts) > 1:
                    split_jobs.append((seed_folder, [part.folder for part in parts]))
                for part in parts:
                    arguments = (data, part, saved, part.folder, corrections)
                    tasks.append(
                        make_fitting_item(
                            candidate.spec, part.title, _refit_seed, arguments, writes=part.folder
                        )
                    )
        label = f"refit {prepared.dataset}"
        list(workers.run_with_progress(tasks, label, jobs=jobs, stream=stream))
        for seed_folder, part_folders in split_jobs:
            replace(join_forecasters(part_folders), **corrections).save(seed_folder)
            for part_folder in part_folders:
                shutil.rmtree(part_folder)
        record.write(temporary / "record.json")
        last = served["ds"].max()
        borders = Borders(last, last, last, last)
        files.write_json(temporary / "borders.json", borders.to_json())
        shutil.copyfile(calibrated, temporary / "forecasts.parquet")


def _refit_seed(
    data: PreparedData,
    fitter: CandidateFitter,
    saved: Path,
    folder: Path,
    corrections: Corrections,
) -> None:
    """Fit one seed (or some of its series) on all rows and save it in `folder`; runs in a worker.

    A model without gradient steps is fitted as in a backtest. A network is trained anew, for as
    many steps as the fit in `saved` took. corrections: those of the scored fit, since this fit has
    no forecasts to learn others from.
    """
    problem = load_whole_problem(data)
    scored = Forecaster.load(saved)
    if scored.steps is None:
        _, final = fitter.fit_both(problem)
    else:
        # a second fit keeps the units of the first, which here are those of fewer rows
        start = replace(scored, scaling=problem.scaling)
        final = fitter.refit(problem, FitResult(start, best_step=scored.steps))
    forecaster = final.forecaster
    if fitter.part is None:  # parts are corrected when they are joined
        forecaster = replace(forecaster, **corrections)
    forecaster.save(folder)


@lru_cache(maxsize=1)
def load_whole_problem(data: PreparedData) -> Problem:
    """The problem with all rows in train and validation, and none to score on; made once per
    process.
    """
    rows = data.load()
    panel = from_frame(rows.frame, data.dataset, rows.task)
    length = rows.borders.validation_end - rows.borders.train_end
    blocks = {
        series.unique_id: keep_newest_back(series, length, rows.task.rows_per_origin)
        for series in panel.series
    }
    all_rows = {uid: (0, len(series)) for uid, series in panel.by_id.items()}
    return Problem(
        panel,
        rows.borders,
        blocks,
        Scaling.fit(panel, blocks).with_ranges_of(panel, all_rows),
        layout(rows.task),
        shapes=data.shapes,
    )


def keep_newest_back(series: Series, length: pd.Timedelta, least: int) -> Blocks:
    """The blocks of a series with its newest rows, of `length`, as validation block and all before
    them as train block. The train block has at least `least` rows and at least half of all.
    """
    n_rows = len(series)
    n_before = int((series.ds <= series.ds[-1] - length.to_timedelta64()).sum())
    n_fitted = max(n_before, least, n_rows // 2)
    nothing = (n_rows, n_rows)
    return Blocks((0, n_fitted), (n_fitted, n_rows), calibration=nothing, test=nothing)


def recipe_candidate(recipe: Recipe) -> Candidate:
    """The candidate of a recipe, with its tuned values."""
    spec = models.spec(recipe.params, where="record.json: params")
    skip = recipe.skip if spec.has_skip else None
    return Candidate(recipe.model, spec, recipe.ranking, skip)
