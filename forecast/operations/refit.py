"""Fits a recipe again at other borders; a process of its own that `challenger.run_refit` starts in
the work tree of a retraining, or for `forecast promote` in the checkout.

    python -m forecast.operations.refit DATASET --record FILE --target FOLDER --on gate | all

`gate` fits at the challenger's borders and makes the forecasts that a gate needs; a model that
fails gives a failed record. `all` fits on all rows up to the last one (`backtest.all_rows`); a
model that fails is an error.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from forecast.backtest.all_rows import recipe_candidate, refit_on_all_rows
from forecast.backtest.backtest import share_shapes
from forecast.backtest.setup import read_training_setup
from forecast.backtest.training import train
from forecast.config.datasets import load_dataset
from forecast.config.models import Combination
from forecast.config.paths import ProjectPaths
from forecast.data.preparation import prepare_frame
from forecast.data.records import FullRecipe
from forecast.operations.worktree import copy_whole
from forecast.system import files
from forecast.system.errors import DataError
from forecast.system.stage import run_stage


def main(
    dataset: str,
    record: str = "",
    target: str = "",
    on: str = "gate",
    root: str = ".",
    jobs: int = 0,
) -> None:
    """Fit a recipe and write the folder `target`, with the files that the train stage writes into
    data/trained/<dataset>/<candidate>. On `gate` the recipe is in the file `record`, whatever its
    name; on `all` it is that of the candidate's folder that holds `record`.
    """
    project = Path(root)
    recipe_file = Path(record)
    if on == "gate":
        refit_at_gate(project, dataset, FullRecipe.read(recipe_file), Path(target), jobs=jobs)
    else:
        refit_on_all_data(project, dataset, recipe_file.parent, Path(target), jobs=jobs)


def refit_at_gate(root: Path, dataset: str, recipe: FullRecipe, target: Path, *, jobs: int) -> None:
    """Train the recipe at the borders that stage `prepare` wrote, and write its candidate's folder
    `target`; the cache of stage `train` is used. The weights of a combination are learnt again
    where its recipe has a rule (`recipe.params`), else kept. A model that cannot be fitted leaves a
    record that says so.
    """
    setup = read_training_setup(ProjectPaths.of(root), dataset)
    combined = {}
    if recipe.members:
        weights = {member.candidate: member.weight for member in recipe.members}
        rule = recipe.params or {"members": "all", "weights": weights}
        combined[recipe.model] = Combination.model_validate(rule)
    planned = [recipe_candidate(part) for part in recipe.members or (recipe,)]
    folder = target.with_name(f"{target.name}-made")
    train(setup, planned, {}, folder, jobs=jobs, combinations=combined)
    copy_whole(folder / next(iter(combined), planned[0].name), target)
    shutil.rmtree(folder)


def refit_on_all_data(root: Path, dataset: str, scored: Path, target: Path, *, jobs: int) -> None:
    """Fit the recipe of the trained candidate in the folder `scored` on all rows, and write the
    folder `target` (`backtest.all_rows`).

    All rows are read from data/raw, with the series that were not scored. Raises `DataError` where
    data/raw has other rows than those that were compared.
    """
    paths = ProjectPaths.of(root)
    setup = read_training_setup(paths, dataset)
    data = share_shapes(setup.data)
    raw = files.read_frame(paths.raw(dataset))
    prepared = prepare_frame(raw, dataset, load_dataset(dataset, paths.configs))
    if not prepared.frame.reset_index(drop=True).equals(data.load().frame):
        raise DataError(
            f"Dataset {dataset!r}: its rows or its entry have changed since it was compared. Run"
            f" `forecast run --dataset {dataset}` first, or `forecast promote {dataset} --scored`."
        )
    # progress goes to standard output: the caller takes standard error for the error message
    refit_on_all_rows(
        data, prepared.served, scored, target, setup.tuning, jobs=jobs, stream=sys.stdout
    )


if __name__ == "__main__":
    run_stage(main)
