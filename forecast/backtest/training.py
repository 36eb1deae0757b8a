"""Stage `train`: fits every candidate and seed in parallel, with a cache, and writes one record per
candidate.

`train_candidates` takes a `Setup`, read from a project's files or made in memory. It fills
trained/<candidate>/ with record.json (`RunRecord`), forecasts.parquet and the saved models, then
makes the combinations (`forecast.backtest.combinations`).

A `TrainingJob` is one candidate and seed. Its fit (`forecast.backtest.backtest`) lies in the cache
under a key of everything that it depends on, so equal jobs are computed once. A statistical model
of many series is fitted in parts, which are joined. A model that cannot be fitted is a record with
`status: failed`; a bug stops the stage after all other jobs are stored.
"""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

from forecast.backtest.backtest import fit_and_forecast, make_fitting_item, share_shapes
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
from forecast.backtest.setup import Setup
from forecast.backtest.timeline import CandidateFitter
from forecast.config.models import Combination
from forecast.data.records import (
    CandidateCost,
    Diagnostics,
    Digests,
    RunRecord,
    SeedFit,
    StudyRecord,
    TrainingCost,
)
from forecast.data.scaling import Scaling
from forecast.forecaster import Budget, Forecaster
from forecast.forecaster.distributions import DISTRIBUTIONS_FILE
from forecast.models.base import ModelSpec
from forecast.models.series_fit import SeriesFit
from forecast.system import files, workers
from forecast.system.progress import Piece

ENGINE = "forecast.backtest.backtest"
KIND_BY_SERIES = "statistical"
"""The kind of model that is fitted to each series alone."""
MAX_TASKS = 20
"""Tasks of such a model at most, since each also reads and saves files."""
SERIES_PER_TASK = 25
"""Series of such a task at least. The slowest model takes half a minute for them, so that no other
worker waits long at the end.
"""
SHORT_KINDS = ("baseline", "linear")
"""Kinds of models whose fit takes less time than that of a network."""
FORECASTER_FOLDERS = ("seed", "chosen", "newest")
"""Folders that `fit_and_forecast` fills: `seed` has the final fit, on train and validation rows;
where they differ from it, `chosen` has the first fit, on train rows, and `newest` the newest refit
before the test block.
"""


def train_candidates(
    setup: Setup,
    models: tuple[str, ...] = (),
    *,
    jobs: int,
) -> None:
    """Train every model of the grid, or `models` and the reference models, with their tuned values;
    print which models do not suit the data. Fills data/trained/<dataset>/<candidate>/.
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
    train(setup, planned, studies, paths.trained(dataset), jobs=jobs, combinations=combinations)


def train(
    setup: Setup,
    planned: list[Candidate],
    studies: Mapping[str, StudyRecord],
    target: Path,
    *,
    jobs: int,
    combinations: Mapping[str, Combination] = MappingProxyType({}),
) -> None:
    """Backtest the `planned` candidates, fill `target`, and show the progress.

    studies: by the name of a candidate; their best values are filled in
    combinations: those to make of the candidates, by name

    One error names every candidate with a bug, after all others are stored; a model that cannot be
    fitted is a record with `status: failed`.
    """
    setup = replace(setup, data=share_shapes(setup.data))
    planned_jobs = {
        candidate.name: _plan_jobs(setup, candidate, studies.get(candidate.name))
        for candidate in planned
    }
    every_job = itertools.chain.from_iterable(planned_jobs.values())
    _run_jobs(setup, list(every_job), jobs)
    with files.atomic_directory(target) as temporary:
        for candidate in planned:
            name = candidate.name
            _fill_candidate_folder(
                setup, candidate, studies.get(name), planned_jobs[name], temporary / name
            )
        for name, rule in combinations.items():
            write_combination(name, rule, temporary)
    for name, candidate_jobs in planned_jobs.items():
        _write_cost(setup, name, candidate_jobs)


def _run_jobs(setup: Setup, every_job: list[TrainingJob], n_workers: int) -> None:
    """Fit all jobs that are not in the cache, store the cost of each, and join split jobs. One
    error names all bugs at the end.
    """
    # two names for one configuration have one key, and are computed once
    missing = {job.folder: job for job in every_job if not job.is_done}
    cached = [job.title for job in every_job if missing.get(job.folder) is not job]
    tuning_seconds: defaultdict[str, float] = defaultdict(float)
    for candidate in {job.candidate.name: job.candidate for job in missing.values()}.values():
        tuning_seconds[candidate.model] += _tuning_seconds(setup, candidate.name)
    parts = []
    for job in _order_jobs(list(missing.values()), n_workers, tuning_seconds):
        parts += [part for part in job.split(setup.n_series_to_split) if not part.is_done]
    by_title = {part.title: part for part in parts}
    items = [
        make_fitting_item(
            part.candidate.spec,
            part.title,
            fit_and_forecast,
            (setup.data, part, part.folder),
            writes=part.folder,
        )
        for part in parts
    ]
    pieces = {part.title: _weigh_piece(setup, part) for part in parts}
    label = f"train {setup.data.dataset}"
    for outcome in workers.run_with_progress(items, label, pieces, jobs=n_workers, finished=cached):
        if not outcome.error:
            files.write_json(_cost_path(setup, by_title[outcome.name]), outcome.value)
    for job in missing.values():
        job_parts = job.split(setup.n_series_to_split)
        if len(job_parts) > 1 and all(part.is_done for part in job_parts):
            _join_parts(job.folder, [part.folder for part in job_parts])


def _weigh_piece(setup: Setup, job: TrainingJob) -> Piece:
    """The group of jobs that take about as long as `job`, for the estimate of the time left: those
    of its family; for a network, all networks, weighed by the seconds of their tuning.
    """
    spec = job.candidate.spec
    if not spec.is_network:
        return Piece(spec.family)
    return Piece(spec.kind, _tuning_seconds(setup, job.candidate.name) or 1.0)


def _join_parts(folder: Path, parts: list[Path]) -> None:
    """Fill `folder` with the joined results of `parts`, each of which has some of the series, and
    remove the parts. If one of them failed, the joined result is that failure.
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
    """One forecaster with the fits of all series of the forecasters in `folders`."""
    forecasters = [Forecaster.load(folder) for folder in folders]
    statistical: dict[str, Sequence[SeriesFit]] = {}
    for forecaster in forecasters:
        statistical.update(forecaster.statistical)
    scaling = Scaling.join(forecaster.scaling for forecaster in forecasters)
    return replace(forecasters[0], statistical=statistical, scaling=scaling)


def _order_jobs(
    jobs: list[TrainingJob], n_workers: int, tuning_seconds: Mapping[str, float]
) -> list[TrainingJob]:
    """The jobs in the order in which workers take them: a network for each worker; jobs that take
    longer than a network (models with refits, automatic models); the other networks; baselines and
    linear models that are fitted once. Of networks those with the most `tuning_seconds` of their
    model come first. Short jobs come last, so that no worker is idle at the end.

    Each worker begins with a network, since loky judges its memory by its first task. A long first
    task is best: it also pays for what all tasks of the worker share (imports, traces), and in a
    long task that adds little error to the estimate of the time left.
    """
    networks = [job for job in jobs if job.candidate.spec.is_network]
    networks.sort(key=lambda job: -tuning_seconds.get(job.candidate.model, 0.0))
    networks = workers.interleave_groups(networks, attrgetter("candidate.name"), n_workers)
    short = []
    long = []
    for job in jobs:
        spec = job.candidate.spec
        if spec.kind in SHORT_KINDS and not spec.has_refits:
            short.append(job)
        elif not spec.is_network:
            long.append(job)
    return [*networks[:n_workers], *long, *networks[n_workers:], *short]


@dataclass(frozen=True)
class TrainingJob(CandidateFitter):
    """One candidate, with its tuned values, and one seed; the result lies in `folder`."""

    folder: Path = field(kw_only=True)
    digests: Digests = field(default_factory=Digests)

    @property
    def title(self) -> str:
        """Its name in the progress of a run, by which its outcome is found again: candidate, seed
        and first series.
        """
        title = self.candidate.name
        if self.candidate.spec.is_seeded:
            title += f" seed {self.seed}"
        if self.part is not None:
            title += f" from series {self.part.start}"
        return title

    @property
    def is_done(self) -> bool:
        """Whether its result is in the cache."""
        return (self.folder / "fit.json").exists()

    def split(self, n_series: int) -> list[TrainingJob]:
        """The job itself, or for a statistical model of many series at most `MAX_TASKS` jobs of
        about equally many, at least `SERIES_PER_TASK` series.
        """
        n_parts = min(n_series // SERIES_PER_TASK, MAX_TASKS)
        if self.candidate.spec.kind != KIND_BY_SERIES or n_parts < 2:
            return [self]
        bounds = [n_series * part // n_parts for part in range(n_parts + 1)]
        parts = []
        for first, end in itertools.pairwise(bounds):
            folder = Path(f"{self.folder}-{first}-{end}")
            parts.append(replace(self, folder=folder, part=slice(first, end)))
        return parts


def _plan_jobs(setup: Setup, candidate: Candidate, study: StudyRecord | None) -> list[TrainingJob]:
    """The jobs of one candidate with its tuned values: one per seed, or one in all for a family
    that uses no seed; none if every tuning trial failed. Each has a key of everything that its
    result depends on.
    """
    tuned = candidate
    if study is not None:
        if study.best_params is None:
            return []
        tuned = candidate.with_values(study.best_params)
    spec = tuned.spec
    data = setup.data
    budget = setup.training_budget if spec.is_network else Budget(0, 1)
    data_digest = data.digest
    if spec.needs_vintages:
        data_digest = result_key(frame=data.digest, issued=data.vintages)
    digests = Digests(
        data=data_digest,
        config=result_key(
            task=task_digest(setup.task), borders=setup.borders, spec=spec.model_dump(mode="json")
        ),
        code=candidate_digest(spec, ENGINE) if data.digest else "",
    )
    jobs = []
    for seed in setup.tuning.seeds if spec.is_seeded else (0,):
        key = result_key(
            **digests.model_dump(exclude={"key"}),
            skip=candidate.skip,
            seed=seed,
            budget=asdict(budget),
            lock=lock_digest(data.paths),
        )
        keyed = digests.model_copy(update={"key": key})
        jobs.append(TrainingJob(tuned, seed, budget, folder=data.paths.memo / key, digests=keyed))
    return jobs


def _fill_candidate_folder(
    setup: Setup,
    candidate: Candidate,
    study: StudyRecord | None,
    jobs: list[TrainingJob],
    folder: Path,
) -> None:
    """Make the folder of one candidate and fill it from the cache, where each seed has the folder
    of its job: with the joined forecasts, the saved forecasters and record.json. A failed seed is
    in the record only.
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
    _run_record(setup, candidate, study, jobs, fits).write(folder / "record.json")


def _run_record(
    setup: Setup,
    candidate: Candidate,
    study: StudyRecord | None,
    jobs: list[TrainingJob],
    fits: list[SeedFit],
) -> RunRecord:
    """The record of one candidate from the fits of its `jobs`; there are none if every tuning trial
    failed.
    """
    failed = [fit for fit in fits if fit.status != "ok"]
    reason = "; ".join(f"seed {fit.seed}: {fit.reason}" for fit in failed).replace(".;", ";")
    trials = study.trials if study is not None else ()
    if not jobs:
        reason = f"every tuning trial failed: {trials[0].reason if trials else ''}"
    spec = jobs[0].candidate.spec if jobs else candidate.spec
    return RunRecord(
        dataset=setup.data.dataset,
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
        cost=_training_cost(setup, spec, study, fits),
        n_params=max((fit.n_params for fit in fits), default=0),
        refits=max((fit.refits for fit in fits), default=0),
        rows_seen=max((fit.rows_seen for fit in fits), default=0),
        diagnostics=_first_diagnostics(setup, jobs, fits),
        digests=jobs[0].digests if jobs else Digests(),
    )


def _training_cost(
    setup: Setup, spec: ModelSpec, study: StudyRecord | None, fits: list[SeedFit]
) -> TrainingCost:
    """The gradient steps that training and tuning were given, and those that they took. Fewer are
    taken where a training stops early (`gradient.fit`); they count up to the last evaluation. More
    are taken where a second fit follows, to which no steps are given.
    """
    if not spec.is_trained_by_gradient:
        return TrainingCost()
    steps_taken = sum(fit.steps_taken for fit in fits)
    tuning_steps = trial_steps = 0
    if study is not None:
        tuning_steps = len(study.trials) * study.gradient_steps
        trial_steps = sum(trial.steps_taken for trial in study.trials)
    return TrainingCost(
        gradient_steps=setup.training_budget.steps * len(fits),
        gradient_steps_taken=steps_taken,
        tuning_gradient_steps=tuning_steps,
        targets_learnt_from=(steps_taken + trial_steps) * spec.targets_per_step(setup.task),
    )


def _first_diagnostics(
    setup: Setup, jobs: list[TrainingJob], fits: list[SeedFit]
) -> Diagnostics | None:
    """The diagnostics of the first seed whose fit succeeded; None without one, and for a model that
    is no network.
    """
    for job, fit in zip(jobs, fits, strict=True):
        if fit.status == "ok" and job.candidate.spec.is_network:
            diagnosis = read_or_diagnose(setup.data, job.folder)
            return Diagnostics(seed=job.seed, loop=diagnosis.loop, arrays=diagnosis.arrays)
    return None


def _cost_path(setup: Setup, job: TrainingJob) -> Path:
    """The file with the seconds of a job."""
    return setup.data.paths.cost("memo") / f"{job.folder.name}.json"


def _tuning_seconds(setup: Setup, candidate: str) -> float:
    """The CPU seconds of a candidate's study, as stage `tune` stored them; 0 if it did not."""
    path = setup.data.paths.cost(setup.data.dataset) / f"{candidate}.tuning.json"
    return float(files.read_note(path).get("cpu_seconds", 0.0))


def _write_cost(setup: Setup, candidate: str, jobs: list[TrainingJob]) -> None:
    """Write .forecast/cost/<dataset>/<candidate>.json. It is no output of the stage, since no two
    runs take equally long.
    """
    costs = []
    for job in jobs:
        paths = [_cost_path(setup, part) for part in job.split(setup.n_series_to_split)]
        costs += [files.read_json(path) for path in paths if path.exists()]
    if not costs:
        return
    total = CandidateCost(
        cpu_seconds=sum(cost["cpu_seconds"] for cost in costs),
        wall_seconds=sum(cost["wall_seconds"] for cost in costs),
        tuning_cpu_seconds=_tuning_seconds(setup, candidate),
    )
    total.write(setup.data.paths.cost(setup.data.dataset) / f"{candidate}.json")
