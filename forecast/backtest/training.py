"""The train stage: every candidate and seed over the cores, each once per key, then one record per
candidate.

`train_dataset` reads a project's files, `train_candidates` has its data in memory; both fill
trained/<candidate>/ with record.json (`RunRecord`), forecasts.parquet and the saved models, and
then make the combinations of what was trained (`forecast.backtest.combinations`). One
`TrainingJob` is one candidate and seed; its fit (`forecast.backtest.backtest`) lies in the cache
under a key of everything it depends on, so equal jobs are computed once and a second run computes
nothing. A statistical model of many series is split into jobs of `SERIES_PER_TASK` series and
joined. A model that cannot be fitted is a record with `status: failed`; a bug stops the stage,
after everything else is stored. Which steps, lags or penalties are taken is not decided here.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from forecast.backtest.backtest import fit_and_forecast, load_tensorflow, share_shapes
from forecast.backtest.candidates import (
    Candidate,
    add_references,
    candidate_digest,
    lock_digest,
    plan_candidates,
    result_key,
    task_digest,
)
from forecast.backtest.combinations import write_combination
from forecast.backtest.diagnostics import read_or_diagnose
from forecast.backtest.prepared_data import PreparedData
from forecast.backtest.setup import Setup, read_training_setup
from forecast.config.models import Combination
from forecast.config.paths import ProjectPaths
from forecast.config.task import Task
from forecast.data.records import (
    CandidateCost,
    Diagnostics,
    Digests,
    RunRecord,
    SeedFit,
    StudyRecord,
    TrainingCost,
)
from forecast.data.splits import BordersFile
from forecast.forecaster import Budget, Forecaster
from forecast.forecaster.distributions import DISTRIBUTIONS_FILE
from forecast.models.base import ModelSpec
from forecast.models.series_fit import SeriesFit
from forecast.system import files, workers
from forecast.system.stage import Piece
from forecast.system.workers import WorkItem

ENGINE = "forecast.backtest.backtest"
KIND_BY_SERIES = "statistical"
"""The kind of model that is fitted to each series alone."""
SERIES_PER_TASK = 500
"""Series of such a model that one task fits: neither one task of hours nor thousands of moments."""
SHORT_KINDS = ("baseline", "linear")
"""Kinds of models of which one fit takes less than a network's."""
FORECASTER_FOLDERS = ("seed", "chosen", "newest")
"""Folders that `fit_and_forecast` leaves of a seed: the final fit, and where they are others the
first fit and the newest that serves.
"""


@dataclass(frozen=True)
class TrainingRun:
    """Everything the train stage needs besides the candidates."""

    data: PreparedData
    task: Task
    budget: Budget
    seeds: tuple[int, ...]
    borders: BordersFile
    """End of each block, as `Borders.to_json` has it."""
    n_series: int = 1


def train_dataset(
    paths: ProjectPaths,
    dataset: str,
    models: tuple[str, ...] = (),
    *,
    jobs: int,
) -> None:
    """Stage `train`: data/trained/<dataset>/<candidate>/ for every model of the grid, or `models`
    and references.
    """
    setup = read_training_setup(paths, dataset)
    train_candidates(setup, models, jobs=jobs)


def train_candidates(
    setup: Setup,
    models: tuple[str, ...] = (),
    *,
    jobs: int,
) -> None:
    """Train every model of the grid, or `models` and references, with the values that tuning left,
    and print what does not suit the data.
    """
    config = setup.models
    paths = setup.data.paths
    dataset = setup.data.dataset
    only = add_references(models, config)
    planned, unsuited = plan_candidates(
        config,
        only,
        season_length=setup.task.season_length,
        vintages=setup.has_vintages,
    )
    for name, reason in unsuited.items():
        print(f"train {dataset}: {name} is left out: {reason}", flush=True)
    studies = {
        path.stem: StudyRecord.read(path) for path in sorted(paths.tuned(dataset).glob("*.json"))
    }
    combinations = {
        name: rule.without_members(unsuited) for name, rule in config.combinations(only).items()
    }
    run = plan_run(setup)
    train(run, planned, studies, paths.trained(dataset), jobs=jobs, combinations=combinations)


def plan_run(setup: Setup) -> TrainingRun:
    """The run that trains on the data of `setup` with its budget and seeds."""
    tuning = setup.tuning
    # what corrects the forecasts is learnt from all series
    is_one_part = bool(setup.task.hierarchy or setup.task.asks_mean)
    return TrainingRun(
        data=share_shapes(setup.data),
        task=setup.task,
        budget=Budget(tuning.final_steps, tuning.evaluate_every),
        seeds=tuning.seeds,
        borders=setup.borders,
        n_series=1 if is_one_part else setup.n_series,
    )


def train(
    run: TrainingRun,
    planned: list[Candidate],
    studies: Mapping[str, StudyRecord],
    target: Path,
    *,
    jobs: int,
    combinations: Mapping[str, Combination] = MappingProxyType({}),
) -> None:
    """Fit and backtest `planned` with the values of `studies` (by candidate name); fill `target`,
    and show the progress.

    `combinations`: of the planned candidates, by name.

    Raises one error naming every candidate with a bug, after all others are done and stored; a
    model that cannot be fitted is a record with `status: failed`.
    """
    planned_jobs = {
        candidate.name: _plan_jobs(run, candidate, studies.get(candidate.name))
        for candidate in planned
    }
    every_job = itertools.chain.from_iterable(planned_jobs.values())
    _run_jobs(run, list(every_job), jobs)
    with files.atomic_directory(target) as temporary:
        for candidate in planned:
            name = candidate.name
            record = _fill_candidate_folder(
                run, candidate, studies.get(name), planned_jobs[name], temporary / name
            )
            record.write(temporary / name / "record.json")
        for name, rule in combinations.items():
            write_combination(name, rule, temporary)
    for name, candidate_jobs in planned_jobs.items():
        _write_cost(run, name, candidate_jobs)


def _run_jobs(run: TrainingRun, every_job: list[TrainingJob], n_workers: int) -> None:
    """Fit everything that is not in the cache yet, longest first, jobs of one key once; keep what
    each cost, join the parts of split jobs. One error naming all bugs at the end.
    """
    # Two names for one configuration have one key, and are computed once.
    missing = {job.folder: job for job in every_job if not job.is_done}
    cached = [job.title for job in every_job if missing.get(job.folder) is not job]
    tuning_seconds: Counter[str] = Counter()
    for candidate in {job.candidate.name: job.candidate for job in missing.values()}.values():
        cost = _tuning_cost(run, candidate.name)
        tuning_seconds[candidate.model] += cost.get("cpu_seconds", 0.0)
    parts = []
    for job in _order_jobs(list(missing.values()), n_workers, tuning_seconds):
        parts += [part for part in job.split(run.n_series) if not part.is_done]
    by_title = {part.title: part for part in parts}
    items = [_work_item(run, part) for part in parts]
    pieces = {part.title: _weigh_piece(run, part) for part in parts}
    label = f"train {run.data.dataset}"
    for outcome in workers.run_with_progress(items, label, pieces, jobs=n_workers, finished=cached):
        if not outcome.error:
            files.write_json(_cost_path(run, by_title[outcome.name]), outcome.value)
    for job in missing.values():
        job_parts = job.split(run.n_series)
        if len(job_parts) > 1 and all(part.is_done for part in job_parts):
            _join_parts(job.folder, [part.folder for part in job_parts])


def _weigh_piece(run: TrainingRun, job: TrainingJob) -> Piece:
    """What takes about as long as `job`: the same family, and of networks all for the seconds that
    their tuning took.
    """
    spec = job.candidate.spec
    if not spec.is_network:
        return Piece(spec.family)
    return Piece(spec.kind, _tuning_cost(run, job.candidate.name).get("cpu_seconds", 1.0))


def _work_item(run: TrainingRun, job: TrainingJob) -> WorkItem:
    """One job as a task for a worker of this machine or of a cluster: `fit_and_forecast` with its
    arguments, and the folder that it fills.
    """
    return WorkItem(
        name=job.title,
        function=fit_and_forecast,
        arguments=(
            run.data,
            job.candidate,
            job.seed,
            job.budget,
            job.folder,
            job.series,
        ),
        prepare=load_tensorflow if job.candidate.spec.is_network else None,
        writes=job.folder,
    )


def _join_parts(folder: Path, parts: list[Path]) -> None:
    """Fill `folder` as one task with all the series would have, from `parts`, each with some of
    them, and remove the parts. One that failed fails the whole.
    """
    fits = [SeedFit.read(part / "fit.json") for part in parts]
    failed = next((fit for fit in fits if fit.status != "ok"), None)
    with files.atomic_directory(folder) as temporary:
        if failed is None:
            tables = [part / "forecasts.parquet" for part in parts]
            files.join_frames(temporary / "forecasts.parquet", tables)
            for name in FORECASTER_FOLDERS:
                if (parts[0] / name).exists():
                    join_forecasters([part / name for part in parts]).save(temporary / name)
        rows_seen = sum(fit.rows_seen for fit in fits)
        joined = failed or fits[0].model_copy(update={"rows_seen": rows_seen})
        joined.write(temporary / "fit.json")
    for part in parts:
        shutil.rmtree(part)


def join_forecasters(folders: list[Path]) -> Forecaster:
    """One forecaster with the fitted numbers of every series."""
    forecasters = [Forecaster.load(folder) for folder in folders]
    statistical: dict[str, Sequence[SeriesFit]] = {}
    for forecaster in forecasters:
        statistical.update(forecaster.statistical)
    return replace(forecasters[0], statistical=statistical)


def _order_jobs(
    jobs: list[TrainingJob], n_workers: int, tuning_seconds: Mapping[str, float]
) -> list[TrainingJob]:
    """The jobs in the order in which workers take them: a network for each worker, what takes
    longer than a network (refits at many cutoffs, an automatic model), the other networks, then
    rules and linear maps that are fitted once. Networks whose model took the most `tuning_seconds`
    come before other networks. What is short is left for the end, so that no worker is idle then.

    Each worker begins with a network, since loky judges its memory by its first task, and with a
    long one: a first task also pays for what all tasks of the worker share, and the longer it is,
    the less that misleads the estimate of the time left.
    """

    def is_short(job: TrainingJob) -> bool:
        return job.candidate.spec.kind in SHORT_KINDS and not job.candidate.spec.has_refits

    networks = [job for job in jobs if job.candidate.spec.is_network]
    networks.sort(key=lambda job: -tuning_seconds.get(job.candidate.model, 0.0))
    networks = workers.interleave_groups(networks, attrgetter("candidate.name"), n_workers)
    rest = [job for job in jobs if not job.candidate.spec.is_network]
    short = [job for job in rest if is_short(job)]
    long = [job for job in rest if not is_short(job)]
    return [*networks[:n_workers], *long, *networks[n_workers:], *short]


@dataclass(frozen=True)
class TrainingJob:
    """One candidate (tuned values filled in) and seed; its result lies in `folder`."""

    candidate: Candidate
    seed: int
    budget: Budget
    folder: Path
    digests: Digests
    series: slice | None = None
    """The numbers of the series that it fits; None: all."""

    @property
    def title(self) -> str:
        """What the run's progress calls it: candidate, seed and first series."""
        title = self.candidate.name
        if self.candidate.spec.is_seeded:
            title += f" seed {self.seed}"
        if self.series is not None:
            title += f" from series {self.series.start}"
        return title

    @property
    def is_done(self) -> bool:
        """Whether its result is in the cache."""
        return (self.folder / "fit.json").exists()

    def split(self, n_series: int) -> list[TrainingJob]:
        """Itself; of many series that are fitted one by one, jobs of `SERIES_PER_TASK` each."""
        if self.candidate.spec.kind != KIND_BY_SERIES or n_series <= SERIES_PER_TASK:
            return [self]
        parts = []
        for first in range(0, n_series, SERIES_PER_TASK):
            folder = Path(f"{self.folder}-{first}")
            parts.append(replace(self, folder=folder, series=slice(first, first + SERIES_PER_TASK)))
        return parts


def _plan_jobs(
    run: TrainingRun, candidate: Candidate, study: StudyRecord | None
) -> list[TrainingJob]:
    """One job per seed (of a family without chance one in all), tuned values filled in, under the
    key of all that its result depends on; none where every tuning trial failed, which the record
    then says.
    """
    filled = candidate
    if study is not None:
        if study.best_params is None:
            return []
        filled = candidate.with_values(study.best_params)
    spec = filled.spec
    data = run.data
    budget = run.budget if spec.is_network else Budget(0, 1)
    data_digest = data.digest
    if spec.needs_vintages:
        data_digest = result_key(frame=data.digest, issued=data.vintages)
    digests = Digests(
        data=data_digest,
        config=result_key(
            task=task_digest(run.task), borders=run.borders, spec=spec.model_dump(mode="json")
        ),
        code=candidate_digest(spec, ENGINE),
    )
    jobs = []
    for seed in run.seeds if spec.is_seeded else (0,):
        key = result_key(
            **digests.model_dump(exclude={"key"}),
            skip=candidate.skip,
            seed=seed,
            budget=asdict(budget),
            lock=lock_digest(data.paths),
        )
        keyed = digests.model_copy(update={"key": key})
        jobs.append(TrainingJob(filled, seed, budget, data.paths.memo / key, keyed))
    return jobs


def _fill_candidate_folder(
    run: TrainingRun,
    candidate: Candidate,
    study: StudyRecord | None,
    jobs: list[TrainingJob],
    folder: Path,
) -> RunRecord:
    """Make `folder` and copy the forecasts and saved forecasters of one candidate into it, from the
    cache, where each seed has the folder of its job; a seed that failed is in the record alone.
    Returns the record, which is not written here.
    """
    folder.mkdir(parents=True)
    fits = [SeedFit.read(job.folder / "fit.json") for job in jobs]
    fitted_jobs = [job for job, fit in zip(jobs, fits, strict=True) if fit.status == "ok"]
    for name in ("forecasts.parquet", DISTRIBUTIONS_FILE):
        tables = [job.folder / name for job in fitted_jobs if (job.folder / name).exists()]
        if tables:
            files.join_frames(folder / name, tables)
    for job in fitted_jobs:
        for name in FORECASTER_FOLDERS:
            if (job.folder / name).exists():
                shutil.copytree(job.folder / name, folder / f"{name}-{job.seed}")
    return _run_record(run, candidate, study, jobs, fits)


def _run_record(
    run: TrainingRun,
    candidate: Candidate,
    study: StudyRecord | None,
    jobs: list[TrainingJob],
    fits: list[SeedFit],
) -> RunRecord:
    """The record of one candidate from the fits of its `jobs`, an empty list where every
    tuning trial failed.
    """
    failed = [fit for fit in fits if fit.status != "ok"]
    reason = "; ".join(f"seed {fit.seed}: {fit.reason}" for fit in failed)
    trials = study.trials if study is not None else ()
    if not jobs:
        reason = f"every tuning trial failed: {trials[0].reason if trials else ''}"
    spec = jobs[0].candidate.spec if jobs else candidate.spec
    return RunRecord(
        dataset=run.data.dataset,
        candidate=candidate.name,
        model=candidate.model,
        family=spec.family,
        kind=spec.kind,
        ranking=candidate.ranking,
        skip=candidate.skip,
        skip_model=candidate.skip_model(),
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
    run: TrainingRun, spec: ModelSpec, study: StudyRecord | None, fits: list[SeedFit]
) -> TrainingCost:
    """Steps taken end at the last look of each seed and trial at its validation loss: fewer than
    allowed where `patience` is used up, or after an explosion.
    """
    if not spec.is_trained_by_gradient:
        return TrainingCost()
    steps_taken = sum(fit.steps_taken for fit in fits)
    tuning_steps = trial_steps = 0
    if study is not None:
        tuning_steps = len(study.trials) * study.gradient_steps
        trial_steps = sum(trial.steps_taken for trial in study.trials)
    return TrainingCost(
        gradient_steps=run.budget.steps * len(fits),
        gradient_steps_taken=steps_taken,
        tuning_gradient_steps=tuning_steps,
        targets_learnt_from=(steps_taken + trial_steps) * spec.targets_per_step(run.task),
    )


def _first_diagnostics(
    run: TrainingRun, jobs: list[TrainingJob], fits: list[SeedFit]
) -> Diagnostics | None:
    """The diagnostics of the first seed whose fit succeeded; None for models that are no network,
    and where every seed failed.
    """
    for job, fit in zip(jobs, fits, strict=True):
        if fit.status == "ok" and job.candidate.spec.is_network:
            diagnosis = read_or_diagnose(run.data, job.folder)
            return Diagnostics(seed=job.seed, loop=diagnosis.loop, arrays=diagnosis.arrays)
    return None


def _cost_path(run: TrainingRun, job: TrainingJob) -> Path:
    """Where the seconds of a job are stored, beside the cache of its result."""
    return run.data.paths.cost("memo") / f"{job.folder.name}.json"


def _tuning_cost(run: TrainingRun, candidate: str) -> dict[str, Any]:
    """What stage `tune` noted of the seconds of a candidate; empty without."""
    return files.read_note(run.data.paths.cost(run.data.dataset) / f"{candidate}.tuning.json")


def _write_cost(run: TrainingRun, candidate: str, jobs: list[TrainingJob]) -> None:
    """Write .forecast/cost/<dataset>/<candidate>.json: outside every stage's outs, since no two
    runs take equally long.
    """
    costs = []
    for job in jobs:
        paths = [_cost_path(run, part) for part in job.split(run.n_series)]
        costs += [files.read_json(path) for path in paths if path.exists()]
    if not costs:
        return
    tuning = _tuning_cost(run, candidate)
    total = CandidateCost(
        cpu_seconds=sum(cost["cpu_seconds"] for cost in costs),
        wall_seconds=sum(cost["wall_seconds"] for cost in costs),
        tuning_cpu_seconds=tuning.get("cpu_seconds", 0.0),
    )
    total.write(run.data.paths.cost(run.data.dataset) / f"{candidate}.json")
