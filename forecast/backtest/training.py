"""The train stage: every candidate and seed over the cores, each once per key, then one record per
candidate.

A training may begin with the weights of an earlier model of the same recipe, where a retraining
left them:

    data/warm/<dataset>/<candidate>/recipe.json     what the weights are weights of
    data/warm/<dataset>/<candidate>/seed-<n>.npz    one file per seed

Nothing writes them in a plain run. The folder is a dependency of the stage that reads it, hashed
like any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from forecast.backtest.backtest import fit_and_forecast, load_engine
from forecast.backtest.candidates import (
    Candidate,
    candidate_digest,
    candidates,
    left_out,
    lock_digest,
    result_key,
    task_digest,
    with_references,
)
from forecast.backtest.combinations import BestSet, combine, everybody
from forecast.backtest.diagnostics.examine import diagnosed
from forecast.backtest.experiment import Experiment, read_training_experiment
from forecast.backtest.prepared_data import PreparedData
from forecast.config.experiment import Combination
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.data.records import (
    Diagnostics,
    Digests,
    RunRecord,
    SeedFit,
    StudyRecord,
    TrainingCost,
)
from forecast.forecaster import Budget, Forecaster
from forecast.forecaster.distributions import DISTRIBUTIONS_FILE as DISTRIBUTIONS
from forecast.models.base import ModelSpec
from forecast.system import files, workers
from forecast.system.stage import progress
from forecast.system.work import WorkItem

ENGINE = "forecast.backtest.backtest"
BY_SERIES, SERIES_A_TASK = "statistical", 500
"""What is fitted to each series alone, and how many a task has: neither hours of one nor thousands
of moments.
"""


@dataclass(frozen=True)
class Run:
    """Everything the train stage needs besides the candidates; `series`: how many there are."""

    place: PreparedData
    task: Task
    budget: Budget
    seeds: tuple[int, ...]
    borders: Mapping[str, str]
    series: int = 1


def train_dataset(
    paths: ProjectPaths, dataset: str, models: tuple[str, ...] = (), *, jobs: int, best_set: BestSet
) -> None:
    """Stage `train`: data/trained/<dataset>/<candidate>/ for every model of the grid, or `models`
    and references.

    best_set: the comparison's, for the combinations; this room stands beside that one.
    """
    experiment = read_training_experiment(paths, dataset)
    train_experiment(experiment, models, jobs=jobs, best_set=best_set)


def train_experiment(
    experiment: Experiment, models: tuple[str, ...] = (), *, jobs: int, best_set: BestSet
) -> None:
    """Train every model of the grid, or `models` and references, with the values that tuning left.

    best_set: as in `train_dataset`.
    """
    data, config, task = experiment.data, experiment.models, experiment.task
    budget, vintages = experiment.tuning, experiment.has_vintages
    paths, dataset = data.paths, data.dataset
    only = with_references(models, config)
    planned = candidates(config, only, season_length=task.season_length, vintages=vintages)
    unsuited = left_out(config, only, season_length=task.season_length, vintages=vintages)
    combined = {
        name: rule.without_members(unsuited) for name, rule in config.combinations(only).items()
    }
    for name, why in unsuited.items():
        print(f"train {dataset}: {name} is left out: {why}", flush=True)
    run = Run(
        place=data,
        task=task,
        budget=Budget(budget.final_steps, budget.evaluate_every),
        seeds=budget.seeds,
        borders=experiment.borders,
        series=experiment.n_series,
    )
    studies = {
        path.stem: StudyRecord.read(path) for path in sorted(paths.tuned(dataset).glob("*.json"))
    }
    parts = -(-run.series // SERIES_A_TASK)
    total = sum(
        len(budget.seeds) if c.spec.is_seeded else parts if c.spec.kind == BY_SERIES else 1
        for c in planned
    )
    with progress(total, f"train {dataset}") as advance:
        train(
            run,
            planned,
            studies,
            paths.trained(dataset),
            jobs=jobs,
            advance=advance,
            combined=combined,
            best_set=best_set,
        )


def train(
    run: Run,
    planned: list[Candidate],
    studies: Mapping[str, StudyRecord],
    target: Path,
    *,
    jobs: int,
    combined: Mapping[str, Combination] = MappingProxyType({}),
    best_set: BestSet = everybody,
    advance: Callable[[str], None] = lambda name: None,
) -> None:
    """Fit and backtest `planned` with the values of `studies` (by candidate name); fill `target`.

    `combined`: rows made of them, by name; `best_set` says who is in the set that such a rule may
    name.

    Raises one error naming every candidate with a bug, after all others are done and kept; a model
    that cannot be fitted is a record with `status: failed`.
    """
    jobs_list = [
        job for candidate in planned for job in _jobs(run, candidate, studies.get(candidate.name))
    ]
    _compute(run, jobs_list, jobs, advance)
    with files.atomic_directory(target) as temporary:
        for candidate in planned:
            own = [job for job in jobs_list if job.candidate.name == candidate.name]
            _assemble(run, candidate, studies.get(candidate.name), own, temporary / candidate.name)
        for name, rule in combined.items():
            combine(name, rule, run.task, temporary, best_set)
    _collect_costs(run, jobs_list)


def _compute(
    run: Run, jobs_list: list[TrainingJob], workers_wanted: int, advance: Callable[[str], None]
) -> None:
    """Everything that is not in the memo yet; one error naming all bugs at the end."""
    # Two names for one configuration have one key, and are computed once.
    todo = {job.folder: job for job in jobs_list if not (job.folder / "fit.json").exists()}
    for job in jobs_list:
        if job.folder not in todo or todo[job.folder] is not job:
            advance(job.title)
    found = [
        part
        for job in _longest_first(list(todo.values()), workers_wanted)
        for part in job.parts(run.series)
    ]
    ordered = [part for part in found if not (part.folder / "fit.json").exists()]
    by_title = {job.title: job for job in ordered}
    tasks = [
        WorkItem(
            name=job.title,
            function=fit_and_forecast,
            arguments=(
                run.place,
                job.candidate,
                job.seed,
                job.budget,
                job.folder,
                job.start,
                job.series,
            ),
            prepare=load_engine if job.candidate.spec.uses_tensorflow else None,
            reads=(*run.place.reads, *([job.start] if job.start else [])),
            writes=job.folder,
        )
        for job in ordered
    ]
    outcomes = []
    for outcome in workers.run(tasks, jobs=workers_wanted):
        outcomes.append(outcome)
        if not outcome.error:
            files.write_json(
                _cost_path(run, by_title[outcome.name]), {**outcome.value, "kind": outcome.kind}
            )
        advance(outcome.name)
    for folder, job in todo.items():
        parts = [part.folder for part in job.parts(run.series)]
        if len(parts) > 1 and all((part / "fit.json").exists() for part in parts):
            _join(folder, parts)
    workers.raise_failures(outcomes, what=f"train {run.place.dataset}")


def _join(folder: Path, parts: list[Path]) -> None:
    """Fill `folder` as one task with all the series would have, and remove the parts."""
    fits = [SeedFit.read(part / "fit.json") for part in parts]
    failed = next((fit for fit in fits if fit.status != "ok"), None)
    with files.atomic_directory(folder) as temporary:
        if failed is None:
            files.join_frames(
                temporary / "forecasts.parquet", [part / "forecasts.parquet" for part in parts]
            )
            for name in (one for one in ("seed", "chosen", "newest") if (parts[0] / one).exists()):
                own = [Forecaster.load(part / name) for part in parts]
                numbers = {uid: found for one in own for uid, found in one.statistical.items()}
                replace(own[0], statistical=numbers).save(temporary / name)
        rows_seen = sum(fit.rows_seen for fit in fits)
        joined = failed or fits[0].model_copy(update={"rows_seen": rows_seen})
        joined.write(temporary / "fit.json")
    for part in parts:
        shutil.rmtree(part)


def _longest_first(jobs: list[TrainingJob], workers_wanted: int) -> list[TrainingJob]:
    """What is refitted at many origins takes longest of all, one automatic model longer than one
    network.

    Each worker begins with a network: loky judges its memory from there, and TensorFlow is then
    already in it.
    """
    networks = [job for job in jobs if job.candidate.spec.uses_tensorflow]
    networks = workers.in_turn(networks, lambda job: job.candidate.name, workers_wanted)
    rest = [job for job in jobs if not job.candidate.spec.uses_tensorflow]
    rest = sorted(rest, key=lambda job: not job.candidate.spec.has_refits)
    return [*networks[:workers_wanted], *rest, *networks[workers_wanted:]]


@dataclass(frozen=True)
class TrainingJob:
    """One candidate (tuned values filled in) and seed; its result lives in `folder`."""

    candidate: Candidate
    seed: int
    budget: Budget
    folder: Path
    digests: Digests
    start: Path | None = None
    series: slice | None = None

    @property
    def title(self) -> str:
        part = f" from series {self.series.start}" if self.series else ""
        return (
            self.candidate.name
            + (f" seed {self.seed}" if self.candidate.spec.is_seeded else "")
            + part
        )

    def parts(self, series: int) -> list[TrainingJob]:
        """Itself; where each of many `series` is fitted alone, jobs of `SERIES_A_TASK` of them."""
        if self.candidate.spec.kind != BY_SERIES or series <= SERIES_A_TASK:
            return [self]
        found = [slice(first, first + SERIES_A_TASK) for first in range(0, series, SERIES_A_TASK)]
        return [
            replace(self, folder=Path(f"{self.folder}-{part.start}"), series=part) for part in found
        ]


def _jobs(run: Run, candidate: Candidate, study: StudyRecord | None) -> list[TrainingJob]:
    best = study.best_params if study is not None else None
    filled = candidate.with_values(best) if best is not None else candidate
    budget = run.budget if filled.spec.uses_tensorflow else Budget(0, 1)
    seeds = run.seeds if filled.spec.is_seeded else (0,)
    if study is not None and best is None:
        seeds = ()  # every trial failed: the record says so, nothing is left to train
    spec = filled.spec
    place = run.place
    digest = {
        "data": (
            result_key(frame=place.digest, issued=place.vintages)
            if spec.needs_vintages
            else place.digest
        ),
        "config": result_key(
            task=task_digest(run.task), borders=run.borders, spec=spec.model_dump(mode="json")
        ),
        "code": candidate_digest(spec, ENGINE),
    }
    lock = lock_digest(run.place.paths)
    result = []
    for seed in seeds:
        start = warm_weights(run.place.paths.warm(run.place.dataset), filled, seed)
        own = {"warm": files.sha256(start)} if start is not None else {}
        key = result_key(
            **digest, **own, skip=candidate.skip, seed=seed, budget=asdict(budget), lock=lock
        )
        result.append(
            TrainingJob(
                filled, seed, budget, run.place.paths.memo / key, Digests(**digest, key=key), start
            )
        )
    return result


def _assemble(
    run: Run,
    candidate: Candidate,
    study: StudyRecord | None,
    jobs: list[TrainingJob],
    folder: Path,
) -> None:
    """record.json, forecasts.parquet and the forecasters of one candidate."""
    folder.mkdir(parents=True)
    fits = [SeedFit.read(job.folder / "fit.json") for job in jobs]
    good = [(job, fit) for job, fit in zip(jobs, fits, strict=True) if fit.status == "ok"]
    if good:
        for name in ("forecasts.parquet", DISTRIBUTIONS):
            found = [job.folder / name for job, _ in good if (job.folder / name).exists()]
            if found:
                files.join_frames(folder / name, found)
    for job, fit in good:
        shutil.copytree(job.folder / "seed", folder / f"seed-{fit.seed}")
        for kept in ("chosen", "newest"):
            if (job.folder / kept).exists():
                shutil.copytree(job.folder / kept, folder / f"{kept}-{fit.seed}")
    _run_record(run, candidate, study, jobs, fits).write(folder / "record.json")


def _run_record(
    run: Run,
    candidate: Candidate,
    study: StudyRecord | None,
    jobs: list[TrainingJob],
    fits: list[SeedFit],
) -> RunRecord:
    """The record of one candidate from the fits of its `jobs`, which are none where every tuning
    trial failed.
    """
    failed = [fit for fit in fits if fit.status != "ok"]
    reason = "; ".join(f"seed {fit.seed}: {fit.reason}" for fit in failed)
    trials = study.trials if study is not None else ()
    if not jobs:
        reason = f"every tuning trial failed: {trials[0].reason if trials else ''}"
    spec = jobs[0].candidate.spec if jobs else candidate.spec
    return RunRecord(
        dataset=run.place.dataset,
        candidate=candidate.name,
        model=candidate.model,
        family=spec.family,
        kind=spec.kind,
        ranking=candidate.ranking,
        skip=candidate.skip,
        skip_model=candidate.skip_row(),
        status="failed" if failed or not jobs else "ok",
        reason=reason,
        description=spec.summary,
        equation=spec.equation,
        source=spec.source,
        params=spec.model_dump(mode="json"),
        tuned=(study.best_params if study is not None else None) or {},
        trials=trials,
        seeds=tuple(fits),
        cost=_training_cost(run, spec, study, fits),
        n_params=max((fit.n_params for fit in fits), default=0),
        refits=max((fit.refits for fit in fits), default=0),
        rows_seen=max((fit.rows_seen for fit in fits), default=0),
        diagnostics=_first_diagnostics(run, jobs, fits),
        digests=jobs[0].digests if jobs else Digests(),
    )


def _training_cost(
    run: Run, spec: ModelSpec, study: StudyRecord | None, fits: list[SeedFit]
) -> TrainingCost:
    """Steps taken end at each seed's last look at its validation loss: fewer than allowed with
    `patience`, or after an explosion.
    """
    if not spec.is_trained_by_gradient:
        return TrainingCost()
    steps_taken = sum(fit.steps_taken for fit in fits)
    tuning_steps = len(study.trials) * study.gradient_steps if study is not None else 0
    return TrainingCost(
        gradient_steps=run.budget.steps * len(fits),
        gradient_steps_taken=steps_taken,
        tuning_gradient_steps=tuning_steps,
        targets_learnt_from=(steps_taken + tuning_steps) * spec.targets_per_step(run.task),
    )


def _first_diagnostics(
    run: Run, jobs: list[TrainingJob], fits: list[SeedFit]
) -> Diagnostics | None:
    """Of the first seed whose fit succeeded; None for models that are no network."""
    for job, fit in zip(jobs, fits, strict=True):
        if fit.status == "ok" and job.candidate.spec.uses_tensorflow:
            return Diagnostics(seed=job.seed, **diagnosed(run.place, job.folder))
    return None


def _cost_path(run: Run, job: TrainingJob) -> Path:
    return run.place.paths.cost("memo") / f"{job.folder.name}.json"


def _collect_costs(run: Run, jobs: list[TrainingJob]) -> None:
    """.forecast/cost/<dataset>/<candidate>.json: outside every stage's outs, since no two runs take
    equally long.
    """
    for name in dict.fromkeys(job.candidate.name for job in jobs):
        parts = [
            _cost_path(run, part)
            for job in jobs
            if job.candidate.name == name
            for part in job.parts(run.series)
        ]
        costs = [files.read_json(path) for path in parts if path.exists()]
        if not costs:
            continue
        total: dict[str, Any] = {
            k: sum(cost[k] for cost in costs) for k in ("cpu_seconds", "wall_seconds")
        }
        path = run.place.paths.cost(run.place.dataset) / f"{name}.tuning.json"
        tuning = files.read_json(path) if path.exists() else {}
        total["tuning_cpu_seconds"] = tuning.get("cpu_seconds", 0.0)
        total["kinds"] = sorted({cost["kind"] for cost in (*costs, tuning) if "kind" in cost})
        files.write_json(run.place.paths.cost(run.place.dataset) / f"{name}.json", total)


def warm_weights(left: Path, candidate: Candidate, seed: int) -> Path | None:
    """The file in `left` (`ProjectPaths.warm`) for this candidate and seed; None without one of its
    recipe.
    """
    folder = left / candidate.name
    path = folder / f"seed-{seed}.npz"
    there = candidate.spec.uses_tensorflow and path.exists()
    return (
        path
        if there and files.read_json(folder / "recipe.json") == warm_recipe(candidate)
        else None
    )


def warm_recipe(candidate: Candidate) -> dict[str, Any]:
    """What must be equal for weights to fit: the spec with its tuned values, and the skip beside
    it.
    """
    return {"spec": candidate.spec.model_dump(mode="json"), "skip": candidate.skip}


def leave_warm(folder: Path, candidate: Candidate, sources: Mapping[int, Path]) -> None:
    """Fill `folder` (data/warm/<dataset>) with the weights of one candidate: seed to the saved
    weights.npz.
    """
    with files.atomic_directory(folder) as temporary:
        for seed, source in sources.items():
            files.write_bytes(temporary / candidate.name / f"seed-{seed}.npz", source.read_bytes())
        files.write_json(temporary / candidate.name / "recipe.json", warm_recipe(candidate))
