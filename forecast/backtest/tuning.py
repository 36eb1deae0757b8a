"""Stage `tune`: runs one study per candidate that has a search space, in parallel.

`tune_candidates` takes a `Setup`, read from a project's files or made in memory. It writes one
`StudyRecord` per such candidate, which stage `train` reads. Every trial is one fit
on the train rows (`ValidationLoss`), scored on the validation block; later rows are in neither the
data nor the key. A finished study lies in the cache under its key (`study_key`) and is not run
again. `forecast.backtest.studies` draws the trials.

Trials, steps and seeds are those of configs/tuning.yaml for all models: stage `compare` refuses
networks that had other ones (`comparison.comparing.check_same_budget`).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path

from forecast.backtest.backtest import (
    load_problem,
    make_fitting_item,
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
from forecast.backtest.setup import Setup
from forecast.backtest.studies import StudyStore, TrialOutcome, run_study
from forecast.data.records import StudyRecord, best_trial
from forecast.forecaster import fit
from forecast.models.search import Params, Space
from forecast.system import files, postgres, workers
from forecast.system.progress import Piece

ENGINE = "forecast.forecaster.fitting"
TUNING_BLOCKS = ("train", "validation")
TUNING_BORDERS = ("train_end", "validation_end", "by_series")
"""The entries of `Borders.to_json` that a trial depends on."""


def trial_space(setup: Setup, candidate: Candidate) -> Space:
    """The search space of a candidate's trials; for one of `models_with_fixed_values` without the
    fields that its entry sets. Empty: it is not tuned.
    """
    space = dict(candidate.spec.search_space())
    if candidate.model in setup.models_with_fixed_values:
        for name in candidate.spec.model_fields_set:
            space.pop(name, None)
    return space


def tune_candidates(setup: Setup, models: tuple[str, ...] = (), *, jobs: int) -> None:
    """Write data/tuned/<dataset>/<candidate>.json for every candidate of the grid (or of `models`
    and the reference models) that has a search space.
    """
    only = add_references(models, setup.models)
    grid, _ = plan_candidates(setup.models, only, season_length=setup.task.season_length)
    shared = replace(setup, storage=postgres.team_database())
    tune(shared, grid, setup.data.paths.tuned(setup.data.dataset), jobs=jobs)


def tune(setup: Setup, planned: list[Candidate], target: Path, *, jobs: int) -> None:
    """Run the study of every candidate with a search space, fill `target` with `<candidate>.json`,
    and show the progress.

    A study in the cache is not run again; candidates of equal configuration share one study. One
    error names every study with a bug, after all others are stored.
    """
    setup = replace(setup, data=share_shapes(setup.data))
    tunable = [candidate for candidate in planned if trial_space(setup, candidate)]
    cached_files = {}
    missing: dict[Path, Candidate] = {}
    for candidate in tunable:
        path = setup.data.paths.studies / f"{study_key(setup, candidate)}.json"
        cached_files[candidate.name] = path
        # two names for one configuration share a study; progress counts the second as finished
        if not path.exists():
            missing.setdefault(path, candidate)
    ordered = _order_studies(list(missing.values()), jobs)
    items = [
        make_fitting_item(candidate.spec, candidate.name, run_candidate_study, (setup, candidate))
        for candidate in ordered
    ]
    pieces = {candidate.name: Piece(candidate.spec.kind) for candidate in tunable}
    finished = [candidate.name for candidate in tunable if candidate not in ordered]
    label = f"tune {setup.data.dataset}"
    for outcome in workers.run_with_progress(items, label, pieces, jobs=jobs, finished=finished):
        if not outcome.error:
            record, cpu_seconds = outcome.value
            # a study that was complete already keeps the cost of when it was run
            if cpu_seconds:
                cost = setup.data.paths.cost(setup.data.dataset) / f"{outcome.name}.tuning.json"
                files.write_json(cost, {"cpu_seconds": cpu_seconds})
            record.write(cached_files[outcome.name])
    with files.atomic_directory(target) as temporary:
        for candidate in tunable:
            record = StudyRecord.read(cached_files[candidate.name])
            record = record.model_copy(update={"model": candidate.model})
            record.write(temporary / f"{candidate.name}.json")
        if not tunable:
            # DVC warns of an empty folder at each run
            files.write_text(temporary / "nothing-to-tune.txt", "No model here is tuned.\n")


def _order_studies(candidates: list[Candidate], n_workers: int) -> list[Candidate]:
    """The `candidates`, which come in the order of the grid, in the order in which workers take
    their studies: networks (one or more per worker) but for the last two per worker, then the other
    families, then these last networks.

    Some networks come first because loky judges a worker's memory by its first task, and replaces a
    worker that loads TensorFlow later; the new one spends 4 CPU seconds on imports. Some come
    last because a study of another family takes as long as two of networks: as the last one it
    would leave all other workers idle.
    """
    # A grid begins with quick models. Models are taken from its beginning and its end in turn: so
    # the time left is soon known, and the slowest model is not the last.
    remaining = list(dict.fromkeys(candidate.model for candidate in candidates))
    turns: list[str] = []
    while remaining:
        turns.append(remaining.pop(0))
        remaining.reverse()
    mixed = sorted(candidates, key=lambda candidate: turns.index(candidate.model))
    # Trial k has the same values in both rankings of a model, and so the same traced updates: the
    # two studies stand `n_workers` apart, so that one worker takes both.
    ordered = workers.interleave_groups(mixed, attrgetter("model"), n_workers)
    networks = [candidate for candidate in ordered if candidate.spec.is_network]
    others = [candidate for candidate in ordered if not candidate.spec.is_network]
    n_before = max(n_workers, len(networks) - 2 * n_workers)
    return [*networks[:n_before], *others, *networks[n_before:]]


def run_candidate_study(setup: Setup, candidate: Candidate) -> tuple[StudyRecord, float]:
    """Run the study of one candidate in this process; returns its record and the CPU seconds."""
    space = trial_space(setup, candidate)
    objective = ValidationLoss(setup, candidate)
    key = study_key(setup, candidate)
    trials = run_study(
        space,
        objective,
        key=key,
        n_trials=setup.tuning.n_trials,
        seed=setup.tuning.base_seed,
        store=StudyStore(
            setup.data.paths.studies, setup.storage, f"{setup.data.dataset} {candidate.name}"
        ),
        defaults={name: getattr(candidate.spec, name) for name in space},
    )
    best = best_trial(trials)
    record = StudyRecord(
        model=candidate.model,
        skip=candidate.skip,
        study=key,
        n_trials=setup.tuning.n_trials,
        gradient_steps=setup.trial_budget.steps,
        best=None if best is None else best.number,
        trials=trials,
    )
    return record, objective.cpu_seconds


@dataclass
class ValidationLoss:
    """The objective of a study: the validation loss of a candidate with the values of a trial."""

    setup: Setup
    candidate: Candidate
    cpu_seconds: float = 0.0
    """CPU seconds of all trials so far."""

    def __call__(self, params: Params, number: int) -> TrialOutcome:
        """Fit on the train rows; returns the validation loss and its curve over the steps."""
        started = time.process_time()
        try:
            fitted = fit(
                load_problem(self.setup.data, TUNING_BLOCKS),
                self.candidate.spec.with_values(params),
                skip=self.candidate.skip,
                seed=self.setup.tuning.base_seed,
                budget=self.setup.trial_budget,
            )
        finally:
            self.cpu_seconds += time.process_time() - started
        return TrialOutcome(fitted.validation_loss, fitted.curve)


def study_key(setup: Setup, candidate: Candidate) -> str:
    """The cache key of a study, made from its data, search space, budget, seed, code and versions.
    Rows after the validation block do not enter it, nor does the code where the data are in memory,
    so that no other run finds the study (`PreparedData.digest`).
    """
    borders = {name: end for name, end in setup.borders.items() if name in TUNING_BORDERS}
    return result_key(
        data=setup.data.digest,
        task=task_digest(setup.task),
        borders=borders,
        spec=candidate.spec.model_dump(mode="json", exclude={"refit"}),  # a trial is one fit
        space={name: repr(dimension) for name, dimension in trial_space(setup, candidate).items()},
        skip=candidate.skip,
        budget=asdict(setup.trial_budget),
        n_trials=setup.tuning.n_trials,
        seed=setup.tuning.base_seed,
        code=candidate_digest(candidate.spec, ENGINE) if setup.data.digest else "",
        lock=lock_digest(setup.data.paths),
    )
