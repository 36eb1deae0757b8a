"""The steps of a retraining in its work tree: `fetch_data`, `provide_tuned_values`,
`write_configuration`, `run_stages`, `run_refit`; and the `RetrainingJob` that they are given.

Each can be repeated, and none touches the person's checkout or the champion. In which order they
run, and whether at all, is decided in `forecast.operations.retrain`.

A `RetrainingJob` is one call: dataset, moment (UTC) and environment. What a step makes is files of
the work tree, which the next one reads. The next step is a function here of the job and its
`WorkTree`, with its place in `retrain`.
"""

from __future__ import annotations

import os
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
from forecast.system.errors import ERROR_OF_CODE, ForecastError, InputError
from forecast.system.stage import COMMAND_VARIABLE, show_nothing


@dataclass(frozen=True)
class RetrainingJob:
    """One call. `now` and `as_of` are UTC without zone; `log_step` is called with each step as it
    begins.
    """

    root: Path
    dataset: str
    now: pd.Timestamp
    environment: Mapping[str, str]
    as_of: pd.Timestamp | None = None
    log_step: Callable[[str], None] = show_nothing

    @property
    def tracking_uri(self) -> str:
        """The value of MLFLOW_TRACKING_URI; empty: the project's own database."""
        return self.environment.get("MLFLOW_TRACKING_URI", "")

    @property
    def folder(self) -> Path:
        """Everything that this dataset's retrainings keep."""
        return ProjectPaths.of(self.root).retraining(self.dataset)


def champion_recipe(current: Champion) -> FullRecipe:
    """The champion's recipe as a train stage's record has it; a combination's has those of its
    members, and its rule where that learns the weights, since these have seen rows that a gate
    scores.
    """
    ensemble = current.ensemble
    if not ensemble.members:
        meta = current.card
        first = _recipe(meta.candidate, ensemble.forecasters[0])
        return FullRecipe(**{**first.to_json(), "model": meta.model})
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
    """The recipe of one saved forecaster: its parameters, and the kind of skip that it was fitted
    with. `candidate` is a name such as `lstm.linear`, whose first part is the model.
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
    """The digest of the configuration that tuned values and models follow: the values of the
    dataset's entry, of all of models.yaml and of tuning.yaml, as committed. Comments, entries of
    other datasets, `run`, retraining.yaml and edits that are not committed do not change it.
    """
    followed = (settings, load_models(tree.paths.configs), load_tuning(tree.paths.configs))
    return files.sha256_of([part.model_dump(mode="json") for part in followed])[:16]


def provide_tuned_values(job: RetrainingJob, tree: WorkTree, config_hash: str) -> None:
    """Put the tuned values of the configuration with this digest into the work tree.

    They are made once per configuration, at the committed data and splits: new data retrain without
    tuning again. The work tree has fetched already, so it is set back to its commit for that time.
    """
    stored = job.folder / "tuned" / config_hash
    if not stored.exists():
        job.log_step("tune")
        worktree.open_tree(job.root, job.dataset)
        copy_snapshots(job.root, tree.path)
        run_stages(job, tree, f"tune@{job.dataset}")
        worktree.copy_whole(tree.paths.tuned(job.dataset), stored)
        for name in with_joined_datasets([job.dataset], tree.paths.configs):
            worktree.copy_whole(_last_pointer(job, name), tree.paths.pointer(name))
    worktree.copy_whole(stored, tree.paths.tuned(job.dataset))


def write_configuration(
    tree: WorkTree, dataset: str, splits: Mapping[str, float] | Mapping[str, str]
) -> None:
    """The work tree's own configuration: its blocks as `splits` say, one dataset to run, and tuned
    values that are read and not searched for.

    Only what can be shipped, and what its selection depends on, is trained: the other ranking
    compares architectures.

    Without the stage `tune` in its dvc.yaml, data/tuned/<dataset> is a dependency like any file:
    kept while the person's configuration is, hashed by DVC.
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
    """The entries of the grid that what is selected depends on: of a grid with combinations whose
    weights are learnt, one of which is selected, these, their members and the references (with the
    linear ones, of which one is selected where the members fail); else all.
    """
    grid = config.grids[config.grid]
    rules = config.combinations().items()
    learnt = {name: rule.members for name, rule in rules if rule.is_learnt}
    if not learnt:
        return grid
    needed = {*learnt, *REFERENCE_MODELS}.union(*learnt.values())
    planned, _ = plan_candidates(config, season_length=1)
    groups = {candidate.model: f"{candidate.spec.kind}s" for candidate in planned}
    return tuple(name for name in grid if needed & {"all", name, groups.get(name)})


def _last_pointer(job: RetrainingJob, dataset: str) -> Path:
    """Where the pointer of the newest fetch stays: that in the work tree goes back to the commit's
    each time.
    """
    name = "pointer.json" if dataset == job.dataset else f"pointer-{dataset}.json"
    return job.folder / name


def copy_snapshots(root: Path, tree: Path) -> None:
    """Copy what the checkout's pointers name and the work tree lacks; the checkout is only read."""
    for source in sorted(ProjectPaths.of(root).pointers.glob("*.json")):
        copied = tree / source.relative_to(root)
        if not copied.exists():
            worktree.copy_whole(source, copied)
        pointer = snapshots.read_pointer(tree, source.stem)
        paths = [Path(name) for name in (pointer.snapshot, pointer.issued) if name]
        for path in (*paths, paths[0].with_suffix(".json")):
            if (root / path).exists() and not (tree / path).exists():
                worktree.copy_whole(root / path, tree / path)


def fetch_data(job: RetrainingJob, tree: WorkTree) -> None:
    """New data into the work tree's own store, from where its last fetch ended; what is joined
    comes first. `InputError` where a file of the user's is gone.
    """
    copy_snapshots(job.root, tree.path)
    for name in with_joined_datasets([job.dataset], tree.paths.configs):
        entry = load_dataset(name, tree.paths.configs)
        for path in entry.source.files:
            source = job.root / path
            if not source.exists():
                raise InputError(
                    f"{source}: no such file. Restore it, or correct `source` in"
                    " configs/datasets.yaml."
                )
            worktree.copy_whole(source, tree.path / path)
        last = _last_pointer(job, name)
        continued = entry.source.overlap is not None  # anything else is read whole each time
        if continued and last.exists() and (tree.path / files.read_json(last)["snapshot"]).exists():
            worktree.copy_whole(last, tree.paths.pointer(name))
        request = Request(name, entry, tree.path, as_of=job.as_of, environment=job.environment)
        ingest.fetch_snapshot(request, now=job.now)
        worktree.copy_whole(tree.paths.pointer(name), last)


def run_stages(job: RetrainingJob, tree: WorkTree, target: str, *options: str) -> None:
    """Run the stages up to `target` in the work tree, with options of `dvc repro`."""
    repro.run_dvc(
        tree.path,
        (target,),
        worktree.environment_with_store(job.root, job.environment),
        options=options,
    )


def run_refit(
    project: Path,
    dataset: str,
    record: Path,
    target: Path,
    *,
    on: Literal["gate", "all"],
    environment: Mapping[str, str],
) -> None:
    """Fit the recipe in `record` again, in a process in the folder `project`, and fill `target`.

    `on`, `record` and `target` are those of `forecast.operations.refit`; its error is raised.
    `ForecastError` where the work tree is gone.
    """
    if not project.exists():
        raise ForecastError(
            f"{project}: the work tree is gone; the next retraining makes it again."
        )
    command = [sys.executable, "-m", "forecast.operations.refit", dataset, "--on", on]
    command += ["--record", str(record.resolve()), "--target", str(target.resolve())]
    done = subprocess.run(
        command,
        cwd=project,
        env={**environment, COMMAND_VARIABLE: str(os.getpid())},
        stdout=2,  # its progress goes to the standard error of this process
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        kind = ERROR_OF_CODE.get(done.returncode, ForecastError)
        raise kind(done.stderr.strip() or f"refit ended with {done.returncode} and no message")
