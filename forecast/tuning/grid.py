"""The tune stage: one study per network and ranking, over the cores, on the tuning slice alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forecast import files, workers
from forecast.config.datasets import Dataset
from forecast.evaluation import digests
from forecast.evaluation.backtest import Place, load_problem
from forecast.evaluation.candidates import Candidate
from forecast.forecaster import Budget
from forecast.tuning.results import StudyResult, TrialOutcome
from forecast.tuning.study import run_study

ENGINE = "forecast.forecaster.fitting"
BLOCKS = ("train", "validation")


@dataclass(frozen=True)
class Plan:
    """What every study of a dataset shares. `state`: the folder of studies and cost; `storage`: a database URL."""

    place: Place
    dataset: Dataset
    state: Path
    budget: Budget
    n_trials: int
    seed: int
    borders: Mapping[str, str]
    storage: str | None = None


def tune(
    plan: Plan,
    planned: list[Candidate],
    target: Path,
    *,
    jobs: int,
    advance: Callable[[str], None] = lambda name: None,
) -> None:
    """Study every candidate with a search space and fill `target` with `<candidate>.json`.

    Raises one error naming every study with a bug, after all others are done and kept.
    """
    tunable = [c for c in planned if c.spec.space()]
    outcomes = []
    tasks = [workers.Task(c.name, study, (plan, c)) for c in tunable]
    for outcome in workers.run(tasks, jobs=jobs):
        outcomes.append(outcome)
        advance(outcome.name)
    workers.raise_failures(outcomes, what=f"tune {plan.place.dataset}")
    results: dict[str, StudyResult] = {outcome.name: outcome.value for outcome in outcomes}
    with files.atomic_directory(target) as temporary:
        for c in tunable:
            content = results[c.name].to_json(model=c.model, skip=c.skip, gradient_steps=plan.budget.steps)
            files.write_json(temporary / f"{c.name}.json", content)


def study(plan: Plan, candidate: Candidate) -> StudyResult:
    """One study in this process: each trial trains on the train rows and is scored on validation."""
    from forecast.layers.runtime import prepare_runtime

    prepare_runtime(threads=1, deterministic=True)
    space = candidate.spec.space()
    defaults = {name: getattr(candidate.spec, name) for name in space}
    cpu = time.process_time()

    def objective(params: dict[str, Any], number: int) -> TrialOutcome:
        from forecast.forecaster import fit

        problem = load_problem(plan.place, BLOCKS)
        spec = candidate.spec.with_values(params)
        fitted = fit(problem, spec, skip=candidate.skip, seed=plan.seed, budget=plan.budget)
        return TrialOutcome(fitted.validation_loss, fitted.curve)

    result = run_study(
        space,
        objective,
        key=study_key(plan, candidate),
        n_trials=plan.n_trials,
        seed=plan.seed,
        folder=plan.state / "studies",
        defaults=defaults,
        storage=plan.storage,
    )
    if (spent := time.process_time() - cpu) > 1.0:  # a study read back from its journal costs nothing new
        cost = plan.state / "cost" / plan.place.dataset / f"{candidate.name}.tuning.json"
        files.write_json(cost, {"cpu_seconds": spent})
    return result


def study_key(plan: Plan, candidate: Candidate) -> str:
    """Data slice, search space, budget, seed, code and versions; rows after the validation block are not in it."""
    borders = {name: plan.borders[name] for name in ("train_end", "validation_end")}
    return digests.key(
        data=plan.place.digest,
        dataset=digests.dataset_digest(plan.dataset),
        borders=borders,
        spec=candidate.spec.model_dump(mode="json"),
        space={name: repr(dimension) for name, dimension in candidate.spec.space().items()},
        skip=candidate.skip,
        budget=asdict(plan.budget),
        n_trials=plan.n_trials,
        seed=plan.seed,
        code=digests.candidate_digest(candidate.spec, ENGINE),
        lock=digests.lock_digest(Path(plan.place.root)),
    )
