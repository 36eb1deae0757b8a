"""A recipe fitted again at other borders, in a process of its own inside the work tree: committed
code, own memory.

    python -m forecast.operations.refit DATASET --record FILE --target FOLDER --on gate | all

`gate`: at the challenger's borders, with the forecasts a gate needs; `all`: on everything up to the
last row (`backtest.all_rows`).

For `challenger.run_refit` alone. `Recipe` in, the folder of a trained candidate out. Of `gate` a
model that fails is a failed record, of `all` an error; there the forecasts for intervals are those
of the scored version.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from forecast.backtest.all_rows import recipe_candidate, refit_on_all_rows
from forecast.backtest.setup import read_training_setup
from forecast.backtest.training import plan_run, train
from forecast.config.datasets import load_dataset
from forecast.config.models import Combination
from forecast.config.paths import ProjectPaths
from forecast.data.preparation import prepare_frame
from forecast.data.records import FullRecipe
from forecast.operations.worktree import copy_whole
from forecast.system import files
from forecast.system.errors import DataError, InputError
from forecast.system.stage import run_stage


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
    run = plan_run(read_training_setup(ProjectPaths.of(root), dataset))
    combined = {}
    if recipe.members:
        weights = {member.candidate: member.weight for member in recipe.members}
        rule = recipe.params or {"members": "all", "weights": weights}
        combined[recipe.model] = Combination.model_validate(rule)
    planned = [recipe_candidate(part) for part in recipe.members or (recipe,)]
    folder = target.with_name(f"{target.name}-made")
    train(run, planned, {}, folder, jobs=jobs, combinations=combined)
    copy_whole(folder / next(iter(combined), planned[0].name), target)
    shutil.rmtree(folder)


def refit_on_all_data(root: Path, dataset: str, scored: Path, target: Path, *, jobs: int) -> None:
    """Fit the recipe of the trained candidate `scored` up to the last row and fill `target`
    (`backtest.all_rows`). Series that were not scored come from data/raw; `DataError` where that
    has other rows than those that were compared.
    """
    paths = ProjectPaths.of(root)
    setup = read_training_setup(paths, dataset)
    data = plan_run(setup).data
    raw = files.read_frame(paths.raw(dataset))
    prepared = prepare_frame(raw, dataset, load_dataset(dataset, paths.configs))
    if not prepared.frame.reset_index(drop=True).equals(data.load().frame):
        raise DataError(
            f"Dataset {dataset!r}: its rows or its entry have changed since it was compared. Run"
            f" `forecast run --dataset {dataset}` first, or `forecast promote {dataset} --scored`."
        )
    # standard error has the reason of a failure alone
    refit_on_all_rows(
        data, prepared.served, scored, target, setup.tuning, jobs=jobs, stream=sys.stdout
    )


if __name__ == "__main__":
    run_stage(main)
