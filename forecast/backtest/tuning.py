"""The tune stage: one study per candidate with a search space, on all cores, on the tuning slice.

`tune_dataset` reads a project's files, `tune_candidates` has its data in memory; both fill a folder
with one `StudyRecord` per such candidate, which stage `train` reads. Every
trial is one fit on the train rows (`ValidationLoss`), scored on the validation block; rows after
that block are in neither the data nor the key. A finished study lies in the cache under its key
(`study_key`) and is not run again; a study is drawn by `forecast.backtest.studies`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

from forecast.backtest.backtest import (
    load_problem,
    load_tensorflow,
    share_shapes,
)
from forecast.backtest.candidates import (
    Candidate,
    add_references,
    candidate_digest,
    lock_digest,
    plan_candidates,
    result_key,
    task_digest,
)
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.setup import Setup, read_tuning_setup
from forecast.backtest.studies import StudyStore, TrialOutcome, run_study
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.data.records import StudyRecord, best_trial
from forecast.data.splits import BordersFile
from forecast.forecaster import Budget, fit
from forecast.models.search import Params, Space
from forecast.system import files, postgres, workers
from forecast.system.stage import Piece
from forecast.system.workers import WorkItem

ENGINE = "forecast.forecaster.fitting"
TUNING_BLOCKS = ("train", "validation")
TUNING_BORDERS = ("train_end", "validation_end", "by_series")
"""What a trial depends on, of `Borders.to_json`."""


@dataclass(frozen=True)
class TuningPlan:
    """What every study of a dataset shares."""

    data: PreparedData
    task: Task
    budget: Budget
    """The budget of one trial."""
    n_trials: int
    seed: int
    """The seed of every fit; trial k is drawn with `seed + k`."""
    borders: BordersFile
    """End of each block, as `Borders.to_json` has it."""
    storage: str = ""
    """URL of the database that machines share; empty: journals in files."""
    held_models: Collection[str] = ()
    """As in `Setup`."""

    def search_space(self, candidate: Candidate) -> Space:
        """What the trials of a candidate vary."""
        space = dict(candidate.spec.search_space())
        if candidate.model in self.held_models:
            for name in candidate.spec.model_fields_set:
                space.pop(name, None)
        return space


def tune_dataset(
    paths: ProjectPaths, dataset: str, models: tuple[str, ...] = (), *, jobs: int
) -> None:
    """Stage `tune`: data/tuned/<dataset>/<candidate>.json for every candidate of the grid (or of
    `models`) with a search space.
    """
    tune_candidates(read_tuning_setup(paths, dataset), models, jobs=jobs)


def tune_candidates(setup: Setup, models: tuple[str, ...] = (), *, jobs: int) -> None:
    """Study every candidate of the grid (or of `models` and references) that has a search space."""
    data = setup.data
    tuning = setup.tuning
    only = add_references(models, setup.models)
    grid, _ = plan_candidates(setup.models, only, season_length=setup.task.season_length)
    plan = TuningPlan(
        data=share_shapes(data),
        task=setup.task,
        budget=Budget(tuning.trial_steps, tuning.evaluate_every, chooses_by_fold=False),
        n_trials=tuning.n_trials,
        seed=tuning.base_seed,
        borders=setup.borders,
        storage=postgres.team_database(),
        held_models=setup.held_models,
    )
    tune(plan, grid, data.paths.tuned(data.dataset), jobs=jobs)


def tune(plan: TuningPlan, planned: list[Candidate], target: Path, *, jobs: int) -> None:
    """Study every candidate with a search space, fill `target` with `<candidate>.json`, and show
    the progress.

    A study that is in the cache is not run again; one record serves all candidates of one
    configuration. Raises one error naming every study with a bug, after all others are done and
    kept.
    """
    tunable = [candidate for candidate in planned if candidate.spec.search_space()]
    cached_files = {}
    missing: dict[Path, Candidate] = {}
    for candidate in tunable:
        path = plan.data.paths.studies / f"{study_key(plan, candidate)}.json"
        cached_files[candidate.name] = path
        # two names for one configuration are studied once; progress counts the second as finished
        if not path.exists():
            missing.setdefault(path, candidate)
    ordered = _order_studies(list(missing.values()), jobs)
    items = [_work_item(plan, candidate) for candidate in ordered]
    pieces = {candidate.name: Piece(candidate.spec.kind) for candidate in tunable}
    finished = [candidate.name for candidate in tunable if candidate not in ordered]
    label = f"tune {plan.data.dataset}"
    for outcome in workers.run_with_progress(items, label, pieces, jobs=jobs, finished=finished):
        if not outcome.error:
            record, cpu_seconds = outcome.value
            # a complete study keeps the cost of when it was made
            if cpu_seconds:
                cost = plan.data.paths.cost(plan.data.dataset) / f"{outcome.name}.tuning.json"
                files.write_json(cost, {"cpu_seconds": cpu_seconds})
            record.write(cached_files[outcome.name])
    with files.atomic_directory(target) as temporary:
        for candidate in tunable:
            record = StudyRecord.read(cached_files[candidate.name])
            record = record.model_copy(update={"model": candidate.model})
            record.write(temporary / f"{candidate.name}.json")


def _order_studies(candidates: list[Candidate], n_workers: int) -> list[Candidate]:
    """Sort `candidates`, which come in the order of a grid, into the order in which workers take
    their studies: a network for each worker, the other networks but the last two of each worker,
    the other families, then those last networks.

    A network comes first because loky judges a worker's memory by its first task and replaces one
    that loads TensorFlow later, with its traced updates; the new one spends 4 CPU seconds on
    imports. Networks come last because a study of another family takes as long as two of networks:
    as the last one it would leave all other workers idle.
    """
    # A grid begins with what is quick. Models from its begin and its end in turn: what is done then
    # tells most of the time that is left, and the slowest is not the last.
    remaining = list(dict.fromkeys(candidate.model for candidate in candidates))
    turns: list[str] = []
    while remaining:
        turns.append(remaining.pop(0))
        remaining.reverse()
    mixed = sorted(candidates, key=lambda candidate: turns.index(candidate.model))
    # Trial k has the same values in both rankings of a model, and so the same traced updates: the
    # two stand `n_workers` apart, where one worker takes them.
    ordered = workers.interleave_groups(mixed, attrgetter("model"), n_workers)
    networks = [candidate for candidate in ordered if candidate.spec.is_network]
    others = [candidate for candidate in ordered if not candidate.spec.is_network]
    n_before = max(n_workers, len(networks) - 2 * n_workers)
    return [*networks[:n_before], *others, *networks[n_before:]]


def _work_item(plan: TuningPlan, candidate: Candidate) -> WorkItem:
    """The study of one candidate as a task for a worker."""
    return WorkItem(
        candidate.name,
        run_candidate_study,
        (plan, candidate),
        prepare=load_tensorflow if candidate.spec.is_network else None,
    )


def run_candidate_study(plan: TuningPlan, candidate: Candidate) -> tuple[StudyRecord, float]:
    """One study in this process and the CPU seconds of its trials, which train on the train rows
    and are scored on validation.
    """
    space = plan.search_space(candidate)
    objective = ValidationLoss(plan, candidate)
    key = study_key(plan, candidate)
    trials = run_study(
        space,
        objective,
        key=key,
        n_trials=plan.n_trials,
        seed=plan.seed,
        store=StudyStore(
            plan.data.paths.studies, plan.storage, f"{plan.data.dataset} {candidate.name}"
        ),
        defaults={name: getattr(candidate.spec, name) for name in space},
    )
    best = best_trial(trials)
    record = StudyRecord(
        model=candidate.model,
        skip=candidate.skip,
        study=key,
        n_trials=plan.n_trials,
        gradient_steps=plan.budget.steps,
        best=None if best is None else best.number,
        trials=trials,
    )
    return record, objective.cpu_seconds


@dataclass
class ValidationLoss:
    """The objective of a study: a candidate's validation loss with the values of a trial."""

    plan: TuningPlan
    candidate: Candidate
    cpu_seconds: float = 0.0
    """Spent on all trials so far."""

    def __call__(self, params: Params, number: int) -> TrialOutcome:
        """Fit on the train rows of the tuning slice; the loss and its curve over the steps."""
        started = time.process_time()
        try:
            fitted = fit(
                load_problem(self.plan.data, TUNING_BLOCKS),
                self.candidate.spec.with_values(params),
                skip=self.candidate.skip,
                seed=self.plan.seed,
                budget=self.plan.budget,
            )
        finally:
            self.cpu_seconds += time.process_time() - started
        return TrialOutcome(fitted.validation_loss, fitted.curve)


def study_key(plan: TuningPlan, candidate: Candidate) -> str:
    """Data slice, search space, budget, seed, code and versions; rows after the validation block
    are not in it.
    """
    borders = {name: end for name, end in plan.borders.items() if name in TUNING_BORDERS}
    return result_key(
        data=plan.data.digest,
        task=task_digest(plan.task),
        borders=borders,
        spec=candidate.spec.model_dump(mode="json", exclude={"refit"}),  # a trial is one fit
        space={name: repr(dimension) for name, dimension in plan.search_space(candidate).items()},
        skip=candidate.skip,
        budget=asdict(plan.budget),
        n_trials=plan.n_trials,
        seed=plan.seed,
        code=candidate_digest(candidate.spec, ENGINE),
        lock=lock_digest(plan.data.paths),
    )
