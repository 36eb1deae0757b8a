"""The steps that make a challenger in a work tree: fetch data, provide tuned values, write the
configuration, run stages, refit a recipe.

Every step can be repeated, and none changes the champion or what git follows in the checkout. A
step writes files into the work tree, which the next step reads. `forecast.operations.retrain` calls
them; `forecast promote` (`cli.operation`) calls `run_refit` alone, in the checkout itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml

from forecast.backtest.candidates import REFERENCE_MODELS, plan_candidates
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.models import Models, load_models, load_tuning
from forecast.config.paths import ProjectPaths
from forecast.config.reading import read_yaml
from forecast.data import ingest, snapshots
from forecast.data.columns import with_joined_datasets
from forecast.data.records import FullRecipe, MemberRecipe, Recipe
from forecast.data.sources import Request
from forecast.forecaster import Forecaster
from forecast.operations import repro, worktree
from forecast.operations.champion import Champion
from forecast.operations.worktree import WorkTree
from forecast.system import files
from forecast.system.errors import ERROR_OF_CODE, ForecastError
from forecast.system.progress import show_nothing
from forecast.system.stage import COMMAND_VARIABLE, LOG_VARIABLE
from forecast.tracking import tracking_store


@dataclass(frozen=True)
class RetrainingJob:
    """One call of `forecast retrain`."""

    root: Path
    dataset: str
    now: pd.Timestamp
    """UTC, without time zone."""
    environment: Mapping[str, str]
    as_of: pd.Timestamp | None = None
    """Use only data known by then (UTC, without time zone)."""
    log_step: Callable[[str], None] = show_nothing
    """Called with the name of each step when it begins."""

    @property
    def tracking_uri(self) -> str:
        """The value of MLFLOW_TRACKING_URI; empty means the project's own database."""
        return self.environment.get("MLFLOW_TRACKING_URI", "")

    @property
    def stage_environment(self) -> dict[str, str]:
        """The environment of stages in the work tree, with the checkout's tracking store as an
        absolute address.
        """
        store = tracking_store(self.root, self.tracking_uri)
        return {**self.environment, "MLFLOW_TRACKING_URI": store.uri}

    @property
    def folder(self) -> Path:
        """The folder of all files that this dataset's retrainings write."""
        return ProjectPaths.of(self.root).retraining(self.dataset)


def champion_recipe(current: Champion) -> FullRecipe:
    """The champion's recipe: what to fit, without its parameters.

    The recipe of a combination has those of its members, and its rule where that learns the
    weights: the champion's own weights may have been learnt from rows that a gate scores.
    """
    ensemble = current.ensemble
    if not ensemble.members:
        first = _recipe(current.card.candidate, ensemble.forecasters[0])
        return FullRecipe(**{**first.to_json(), "model": current.card.model})
    # reversed, so that of several seeds of one member the first one stays in the dictionary
    first_seeds = dict(zip(reversed(ensemble.members), reversed(ensemble.forecasters), strict=True))
    members = [
        MemberRecipe(**_recipe(name, first_seeds[name]).to_json(), weight=weight)
        for name, weight in ensemble.weights.items()
    ]
    return FullRecipe(
        candidate=current.card.candidate,
        model=current.card.model,
        params=dict(ensemble.rule),
        ranking="shipped",
        members=tuple(members),
    )


def _recipe(candidate: str, forecaster: Forecaster) -> Recipe:
    """The recipe of one saved forecaster: its spec and its kind of skip.

    candidate: a name such as `lstm.linear`, which begins with the model's name.
    """
    spec = forecaster.spec
    skip = forecaster.skip
    return Recipe(
        candidate=candidate,
        model=candidate.rpartition(".")[0] or candidate,
        params=spec.model_dump(mode="json"),
        ranking="shipped" if spec.has_skip else "baseline",
        skip=skip.kind if spec.has_skip and skip else None,
    )


def digest_configuration(tree: WorkTree, settings: Dataset) -> str:
    """The digest of the committed configuration that tuning and training depend on: the dataset's
    entry, models.yaml and tuning.yaml, without comments.
    """
    parts = (settings, load_models(tree.paths.configs), load_tuning(tree.paths.configs))
    return files.sha256_of([part.model_dump(mode="json") for part in parts])[:16]


def provide_tuned_values(job: RetrainingJob, tree: WorkTree, config_hash: str) -> None:
    """Put the tuned values of the configuration with this digest into the work tree.

    Tuning runs once per configuration, on the committed data and splits; with new data only
    training runs again. It has a work tree of its own, since `predict` reads the newest data from
    the other one meanwhile.
    """
    stored = job.folder / "tuned" / config_hash
    if not stored.exists():
        job.log_step("tune")
        # those that neither the commit nor the checkout has come from the newest fetch again
        shutil.rmtree(ProjectPaths.of(job.folder / "tuning").pointers, ignore_errors=True)
        tuning = worktree.open_tree(job.root, job.dataset, "tuning")
        for project in (job.root, tree.path):
            copy_snapshots(project, tuning.path)
        run_stages(job, tuning, f"tune@{job.dataset}")
        worktree.copy_whole(tuning.paths.tuned(job.dataset), stored)
    worktree.copy_whole(stored, tree.paths.tuned(job.dataset))


def write_configuration(
    tree: WorkTree, dataset: str, splits: Mapping[str, float] | Mapping[str, str]
) -> None:
    """Change the work tree's configuration: new `splits`, one dataset, only models that can be
    selected, and no stage `tune`.

    Without that stage DVC treats data/tuned/<dataset> as a file that the training depends on. The
    ranking that compares architectures is left out.
    """
    configs = tree.paths.configs
    config = load_models(configs, load_dataset(dataset, configs).grid)
    models = read_yaml(configs / "models.yaml")
    models["rankings"] = ["shipped"]
    models["grids"][config.grid] = list(selectable_models(config))
    datasets = read_yaml(configs / "datasets.yaml")
    datasets["datasets"][dataset]["splits"] = dict(splits)
    datasets["run"] = [dataset]
    pipeline = read_yaml(tree.path / "dvc.yaml")
    pipeline["stages"].pop("tune", None)
    for path, content in (
        (configs / "models.yaml", models),
        (configs / "datasets.yaml", datasets),
        (tree.path / "dvc.yaml", pipeline),
    ):
        files.write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def selectable_models(config: Models) -> tuple[str, ...]:
    """The entries of the grid that can be selected, or that the selection depends on.

    A combination that learns its weights is selected where there is one: then only these, their
    members and the reference models are returned; else the whole grid.
    """
    grid = config.grids[config.grid]
    rules = config.combinations().items()
    learnt = {name: rule.members for name, rule in rules if rule.is_learnt}
    if not learnt:
        return grid
    needed = {*learnt, *REFERENCE_MODELS}.union(*learnt.values())
    planned, _ = plan_candidates(config, season_length=1)
    # members may be groups: `networks`, `all`
    groups = {candidate.model: f"{candidate.spec.kind}s" for candidate in planned}
    return tuple(name for name in grid if needed & {"all", name, groups.get(name)})


def copy_snapshots(root: Path, tree: Path) -> None:
    """Copy the pointers of `root`, and the snapshots they name, that the work tree lacks."""
    for source in sorted(ProjectPaths.of(root).pointers.glob("*.json")):
        copied = tree / source.relative_to(root)
        if not copied.exists():
            worktree.copy_whole(source, copied)
        pointer = snapshots.read_pointer(tree, source.stem)
        paths = [Path(name) for name in (pointer.snapshot, pointer.issued) if name]
        for path in (*paths, paths[0].with_suffix(".json")):
            if (root / path).exists() and not (tree / path).exists():
                worktree.copy_whole(root / path, tree / path)


def open_tree(job: RetrainingJob) -> WorkTree:
    """The dataset's work tree at the checkout's commit, with the pointers of its last fetches
    instead of the committed ones.
    """
    tree = worktree.open_tree(job.root, job.dataset)
    for last in job.folder.glob("pointer-*.json"):
        snapshot = files.read_note(last).get("snapshot")
        if snapshot is not None and (tree.path / snapshot).exists():
            worktree.copy_whole(last, tree.paths.pointer(last.stem.removeprefix("pointer-")))
    return tree


def fetch_data(job: RetrainingJob, tree: WorkTree) -> None:
    """Fetch new data into the work tree, from where its last fetch ended; joined datasets first.

    Raises `InputError` where a source file of the user is missing.
    """
    copy_snapshots(job.root, tree.path)
    for name in with_joined_datasets([job.dataset], tree.paths.configs):
        entry = load_dataset(name, tree.paths.configs)
        worktree.require_source_files(job.root, entry.source.files)
        for path in entry.source.files:
            worktree.copy_whole(job.root / path, tree.path / path)
        request = Request(name, entry, tree.path, as_of=job.as_of, environment=job.environment)
        ingest.fetch_snapshot(request, now=job.now)
        worktree.copy_whole(tree.paths.pointer(name), job.folder / f"pointer-{name}.json")


def run_stages(job: RetrainingJob, tree: WorkTree, target: str, *options: str) -> None:
    """Run the stages up to `target` in the work tree, with options of `dvc repro`."""
    worktree.share_cache(job.root, tree.path)
    repro.run_dvc(tree.path, (target,), job.stage_environment, options=options)


def run_refit(
    project: Path,
    dataset: str,
    record: Path,
    target: Path,
    *,
    on: Literal["gate", "all"],
    environment: Mapping[str, str],
) -> None:
    """Run `forecast.operations.refit` in the folder `project` (a work tree, or the checkout for
    `forecast promote`), which fits the recipe in `record` again and writes the folder `target`.

    Raises the error that the refit ended with, and `ForecastError` where `project` is missing.
    """
    if not project.exists():
        raise ForecastError(
            f"{project}: the work tree is gone; the next retraining makes it again."
        )
    command = [sys.executable, "-m", "forecast.operations.refit", dataset, "--on", on]
    command += ["--record", str(record.resolve()), "--target", str(target.resolve())]
    message = f"The refit {repro.KILLED}."
    with files.scratch_folder() as scratch:
        log = scratch / "refit.jsonl"
        done = subprocess.run(
            command,
            cwd=project,
            env={**environment, COMMAND_VARIABLE: str(os.getpid()), LOG_VARIABLE: str(log)},
            stdout=2,  # its progress goes to this process's standard error
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",  # libraries may write in another encoding
            check=False,
        )
        if done.returncode > 0 and done.stderr:
            # of a process that ended by itself before it could log why, as where an import fails
            message = f"refit: {done.stderr.splitlines()[-1]}"
        for line in repro.read_stage_log(log):
            message = line.get("message", message)
    if done.returncode:
        sys.stderr.write(done.stderr.replace(f"{message}\n", ""))
        raise ERROR_OF_CODE.get(done.returncode, ForecastError)(message)
