"""The tune stage: one study per network and ranking, over the cores, on the tuning slice alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forecast.backtest.backtest import ProgressLog, load_engine, load_problem
from forecast.backtest.candidates import (
    Candidate,
    add_references,
    candidate_digest,
    lock_digest,
    plan_candidates,
    result_key,
    task_digest,
)
from forecast.backtest.experiment import Experiment, read_tuning_experiment
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.studies import StudyStore, TrialOutcome, run_study
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.data.records import StudyRecord
from forecast.forecaster import Budget, fit
from forecast.system import files, postgres, workers
from forecast.system.stage import show_progress
from forecast.system.work import WorkItem

ENGINE = "forecast.forecaster.fitting"
TUNING_BLOCKS = ("train", "validation")


@dataclass(frozen=True)
class TuningPlan:
    """What every study of a dataset shares. `storage`: a database URL."""

    data: PreparedData
    task: Task
    budget: Budget
    n_trials: int
    seed: int
    borders: Mapping[str, str]
    storage: str = ""


def tune_dataset(
    paths: ProjectPaths, dataset: str, models: tuple[str, ...] = (), *, jobs: int
) -> None:
    """Stage `tune`: data/tuned/<dataset>/<candidate>.json for every network of the grid (or of
    `models`).
    """
    tune_experiment(read_tuning_experiment(paths, dataset), models, jobs=jobs)


def tune_experiment(experiment: Experiment, models: tuple[str, ...] = (), *, jobs: int) -> None:
    """Study every network of the grid (or of `models` and references) on the tuning slice."""
    data, config, task = experiment.data, experiment.models, experiment.task
    budget = experiment.tuning
    grid = plan_candidates(config, add_references(models, config), season_length=task.season_length)
    planned = [c for c in grid if c.spec.search_space()]
    plan = TuningPlan(
        data=data,
        task=task,
        budget=Budget(budget.trial_steps, budget.evaluate_every),
        n_trials=budget.n_trials,
        seed=budget.base_seed,
        borders=experiment.borders,
        storage=postgres.team_database(),
    )
    target = data.paths.tuned(data.dataset)
    with show_progress(len(planned), f"tune {data.dataset}") as advance:
        tune(plan, planned, target, jobs=jobs, advance=advance)


def tune(
    plan: TuningPlan,
    planned: list[Candidate],
    target: Path,
    *,
    jobs: int,
    advance: Callable[[str], None] = lambda name: None,
) -> None:
    """Study every candidate with a search space and fill `target` with `<candidate>.json`.

    Raises one error naming every study with a bug, after all others are done and kept.
    """
    tunable = [c for c in planned if c.spec.search_space()]
    places = {c.name: plan.data.paths.studies / f"{study_key(plan, c)}.json" for c in tunable}
    todo: dict[Path, Candidate] = {}
    for c in tunable:
        # two names for one configuration are studied once
        if places[c.name].exists() or places[c.name] in todo:
            advance(c.name)
        else:
            todo[places[c.name]] = c
    # Trial k has the same values in both rankings of a network, and so the same traced updates.
    ordered = workers.interleave_groups(list(todo.values()), lambda c: c.model, jobs)
    # the lock is a part of a study's key
    reads = (*plan.data.reads, plan.data.paths.requirements)
    tasks = [
        WorkItem(
            c.name,
            run_candidate_study,
            (plan, c),
            load_engine if c.spec.uses_tensorflow else None,
            reads,
        )
        for c in ordered
    ]
    outcomes = []
    for outcome in workers.run_items(tasks, jobs=jobs):
        outcomes.append(outcome)
        if not outcome.error:
            record, cpu_seconds = outcome.value
            # a complete study keeps the cost of when it was made
            if cpu_seconds:
                cost = plan.data.paths.cost(plan.data.dataset) / f"{outcome.name}.tuning.json"
                files.write_json(cost, {"cpu_seconds": cpu_seconds, "kind": outcome.kind})
            record.write(places[outcome.name])
        advance(outcome.name)
    workers.raise_failures(outcomes, what=f"tune {plan.data.dataset}")
    with files.atomic_directory(target) as temporary:
        for c in tunable:
            record = StudyRecord.read(places[c.name]).model_copy(update={"model": c.model})
            record.write(temporary / f"{c.name}.json")


def run_candidate_study(plan: TuningPlan, candidate: Candidate) -> tuple[StudyRecord, float]:
    """One study in this process and the CPU seconds of its trials, which train on the train rows
    and are scored on validation.
    """
    space = candidate.spec.search_space()
    defaults = {name: getattr(candidate.spec, name) for name in space}
    spent = 0.0

    def objective(params: dict[str, Any], number: int) -> TrialOutcome:
        nonlocal spent
        cpu = time.process_time()
        problem = load_problem(plan.data, TUNING_BLOCKS)
        spec = candidate.spec.with_values(params)
        # once a study is enough
        announce = ProgressLog(candidate.name) if number == 0 else None
        try:
            fitted = fit(
                problem,
                spec,
                skip=candidate.skip,
                seed=plan.seed,
                budget=plan.budget,
                announce=announce,
            )
        finally:
            spent += time.process_time() - cpu
        return TrialOutcome(fitted.validation_loss, fitted.curve)

    result = run_study(
        space,
        objective,
        key=study_key(plan, candidate),
        n_trials=plan.n_trials,
        seed=plan.seed,
        store=StudyStore(plan.data.paths.studies, plan.storage),
        defaults=defaults,
    )
    record = result.to_record(
        model=candidate.model, skip=candidate.skip, gradient_steps=plan.budget.steps
    )
    return record, spent


REFIT_FIELDS = {"refit", "refit_window", "refit_weights"}
"""What is of no account to a trial, which is one fit."""


def study_key(plan: TuningPlan, candidate: Candidate) -> str:
    """Data slice, search space, budget, seed, code and versions; rows after the validation block
    are not in it.
    """
    borders = {
        name: at
        for name, at in plan.borders.items()
        if name in ("train_end", "validation_end", "by_series")
    }
    return result_key(
        data=plan.data.digest,
        task=task_digest(plan.task),
        borders=borders,
        spec=candidate.spec.model_dump(mode="json", exclude=REFIT_FIELDS),
        space={name: repr(dimension) for name, dimension in candidate.spec.search_space().items()},
        skip=candidate.skip,
        budget=asdict(plan.budget),
        n_trials=plan.n_trials,
        seed=plan.seed,
        code=candidate_digest(candidate.spec, ENGINE),
        lock=lock_digest(plan.data.paths),
    )
