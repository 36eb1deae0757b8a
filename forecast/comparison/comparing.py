"""Stage `compare` of one dataset: makes all tables, tests and alarms from the forecasts of its
candidates.

`compare_dataset` reads the files of stages `prepare` and `train` and writes
data/compared/<dataset>/; the Python door and the audit call `compare_candidates`. A provider's own
forecasts are scored but never selected. Networks with unequal budgets are refused
(`check_same_budget`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecast.comparison import metrics, scores, sentences
from forecast.comparison.distribution_scores import distribution_scores
from forecast.comparison.error_diagnostics import (
    NEAR_NAIVE,
    describe_copy,
    describe_leaks,
)
from forecast.comparison.explaining import explain_selected
from forecast.comparison.intervals import interval_tables, is_chosen, target_of
from forecast.comparison.levels import level_scores
from forecast.comparison.losses import (
    LOSS_COLUMNS,
    losses_by_cutoff,
    mean_steps_between,
    select_bars,
    select_models,
)
from forecast.comparison.low_medians import describe_low_medians
from forecast.comparison.scores import ForecastCube, Reference, ScoredCandidate
from forecast.comparison.verdicts import compare
from forecast.config.models import (
    NAIVE,
    Combination,
    Evaluation,
    Tuning,
    load_evaluation,
    load_tuning,
)
from forecast.config.paths import ProjectPaths
from forecast.config.task import SessionCalendar, Task, TaskColumn
from forecast.data.calendars import cycles
from forecast.data.comparison_records import (
    Alarm,
    BudgetExemption,
    UnsupportedLevel,
    Untrained,
    Verdicts,
)
from forecast.data.records import RunRecord
from forecast.data.results import MEAN, PARQUET_TABLES, Results
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.errors import InputError
from forecast.system.processes import return_memory

SERVICE = "service"
"""The family of a provider's own forecasts, which are scored but never selected."""
CSV_DIGITS = "%.12g"


@dataclass(frozen=True)
class Comparison:
    """The tables and verdicts that stage `compare` writes for one dataset."""

    tables: dict[str, pd.DataFrame]
    """By file name; those of `PARQUET_TABLES` are written as Parquet, the others as CSV."""
    verdicts: Verdicts


def compare_dataset(paths: ProjectPaths, dataset: str) -> None:
    """Write data/compared/<dataset>/: the tables, verdicts.json, and a copy of quality.json of
    stage `prepare`, so that the report reads one folder.
    """
    results = Results(paths, dataset)
    frame = results.frame
    comparison = compare_candidates(
        results,
        frame,
        results.task,
        results.borders,
        load_evaluation(paths.configs),
        load_tuning(paths.configs),
    )
    return_memory()
    selected = results.candidate(comparison.verdicts.chosen.get("shipped", ""), "shipped")
    if selected is not None:
        comparison.tables["explanation"] = explain_selected(results, selected, frame, results.task)
    with files.atomic_directory(paths.compared(dataset)) as folder:
        for name, table in comparison.tables.items():
            if name in PARQUET_TABLES:
                files.write_frame(folder / f"{name}.parquet", table)
            else:
                files.write_text(folder / f"{name}.csv", table_text(table))
        comparison.verdicts.write(folder / "verdicts.json")
        shutil.copyfile(paths.quality(dataset), folder / "quality.json")


def table_text(table: pd.DataFrame) -> str:
    """A table as CSV, numbers to 12 significant digits."""
    return table.to_csv(index=False, float_format=CSV_DIGITS, lineterminator="\n")


def compare_candidates(
    results: Results,
    frame: pd.DataFrame,
    task: Task,
    borders: Borders,
    evaluation: Evaluation,
    tuning: Tuning,
) -> Comparison:
    """Score all candidates, select models on validation, test them on test. Nothing is written.

    results: with the records and forecasts of stage `train`
    frame, borders: those of stage `prepare`

    `InputError` if networks had unequal budgets, or if naive lacks forecasts.
    """
    scored, reference = scores.score_candidates(results, frame, task, borders)
    records = results.records.values()
    exempt = check_same_budget(records, tuning)
    selectable = [s for s in scored if s.record.family != SERVICE]  # it cannot be served
    chosen, lowest, bars = _select_on_validation(selectable, reference.scale)
    unlearnt = _find_unlearnt(records)
    lowest = {r: model for r, model in lowest.items() if chosen[r] not in unlearnt}
    test = block_losses(scored, reference.scale, "test")
    tables, unsupported = _make_tables(results, scored, chosen, reference, task, evaluation)
    verdicts = compare(
        test,
        dataset=results.name,
        chosen=chosen,
        bars=bars,
        by_rule=[model for model in chosen.values() if model in unlearnt],
        untrained=_list_untrained(records),
        alpha=evaluation.alpha,
        horizon=task.horizon,
        step_size=mean_steps_between(test["cutoff"], task.calendar, task.step_size),
        cycles=cycles(task.calendar, task.calendar_features),
    )
    leaks = _find_leaks(scored, task)
    all_steps = tables["intervals"].query("step == 0")
    short_budget = sentences.describe_short_budget(tuning, records)
    warnings = [
        describe_low_medians(results, chosen.get("shipped", ""), task),
        *sentences.describe_unlearnt(chosen, unlearnt),
        *sentences.describe_warnings(chosen, verdicts.tests, all_steps, leaks, unsupported),
        *sentences.describe_failures(records),
        *sentences.describe_twins(_find_twins(scored)),
        short_budget,
    ]
    complete = verdicts.model_copy(
        update={
            "lowest": lowest,
            "copies": tuple(_find_copies(scored, task)),
            "leaks": tuple(leaks),
            "unsupported_levels": tuple(unsupported),
            "exempt_from_budget": tuple(exempt),
            "short_budget": short_budget,
            "sentences": (*verdicts.sentences, *sentences.describe_selection(chosen, lowest)),
            "warnings": tuple(filter(None, warnings)),
        }
    )
    return Comparison(tables, complete)


def _select_on_validation(
    candidates: list[ScoredCandidate], scale: Mapping[str, float]
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """By ranking the selected model and the one with the lowest loss, and the bars. Of combinations
    with learnt weights one is selected if there is any.
    """
    losses, _ = losses_by_cutoff(block_losses(candidates, scale, "validation"))
    chosen = select_models(losses, _learnt_combinations(candidates))
    return chosen, select_models(losses), select_bars(losses)


def _make_tables(
    results: Results,
    scored: list[ScoredCandidate],
    chosen: Mapping[str, str],
    reference: Reference,
    task: Task,
    evaluation: Evaluation,
) -> tuple[dict[str, pd.DataFrame], list[UnsupportedLevel]]:
    """The tables of `Comparison`, and the interval levels that the errors do not support."""
    interval_parts, unsupported = interval_tables(
        scored, task, evaluation.levels, chosen, reference.scale
    )
    return_memory()
    tables = {
        "leaderboard": build_leaderboard(scored, chosen, results.name),
        "by_step": _join_labelled([(s.record, s.by_step) for s in scored]),
        "by_series": _join_labelled([(s.record, s.by_series) for s in scored]),
        **interval_parts,
        "distributions": distribution_scores(results, reference.last, evaluation.levels),
    }
    if task.hierarchy:
        tables["levels"] = level_scores(results, scored, reference.scale, task)
    return tables, unsupported


def _list_untrained(records: Iterable[RunRecord]) -> list[Untrained]:
    """The networks that forecast by their skip alone in every seed."""
    return [
        Untrained(**record.labels, same_as=record.skip_model or NAIVE)
        for record in records
        if record.is_untrained
    ]


def _learnt_combinations(candidates: list[ScoredCandidate]) -> list[str]:
    """The models of `candidates` that are combinations with weights learnt on validation."""
    combinations = [s.record for s in candidates if s.record.kind == Combination.kind]
    return [record.model for record in combinations if Combination(**record.params).is_learnt]


def _find_unlearnt(records: Iterable[RunRecord]) -> dict[str, sentences.EqualShares]:
    """By model the combinations whose weights should be learnt but were left equal on validation.
    Where networks and others are members, the networks together may have one share.
    """
    runs = list(records)
    networks = {run.candidate for run in runs if run.is_network}
    unlearnt = {}
    for run in runs:
        if not (run.weights and Combination(**run.params).is_learnt):
            continue
        shares = run.weights[0].weights
        alone = {name: weight for name, weight in shares.items() if name not in networks}
        if alone and len(alone) < len(shares):
            together = sum(weight for name, weight in shares.items() if name in networks)
            shares = {**alone, "the mean of the networks": together}
        equal = list(shares.values())
        if len(equal) > 1 and np.allclose(equal, equal[0], rtol=1e-9):
            is_learnt_later = any(d.weights != run.weights[0].weights for d in run.weights)
            unlearnt[run.model] = sentences.EqualShares(list(shares), is_learnt_later)
    return unlearnt


def build_leaderboard(
    scored: list[ScoredCandidate], chosen: Mapping[str, str], dataset: str
) -> pd.DataFrame:
    """The leaderboard of one dataset: a row for each candidate and seed, one for the mean of its
    seeds, and of several seeds one for their spread; a failed candidate has one row.
    """
    parts = []
    for candidate in scored:
        record = candidate.record
        labels = {"dataset": dataset, **record.labels, "skip": record.skip}
        if candidate.board is None:
            failed = {**labels, "seed": MEAN, "status": "failed", "n_origins": 0}
            parts.append(pd.DataFrame([failed]))
            continue
        board = candidate.board.assign(status="ok", **labels)
        board["n_params"] = record.n_params
        board["chosen"] = is_chosen(candidate, chosen) & (board["seed"] == MEAN)
        parts.append(board)
    table = pd.concat(parts, ignore_index=True)
    table["chosen"] = table["chosen"].eq(True)  # missing for a failed candidate
    table["n_params"] = table["n_params"].fillna(0).astype(int)
    table["n_origins"] = table["n_origins"].astype(int)
    return table[metrics.leaderboard_columns()]


def block_losses(
    scored: list[ScoredCandidate], scale: Mapping[str, float], block: str
) -> pd.DataFrame:
    """The losses of all candidates in `block`, long, with LOSS_COLUMNS: the absolute error of the
    mean of the seeds' forecasts, averaged over the horizon (`_origin_losses`), over the MASE scale
    of the series.

    scale: `Reference.scale`. A squared loss would be divided by `Reference.squared_scale`, which
    is there for every series; the module docstring of `comparison.losses` names who else computes
    this loss.
    """
    parts = []
    for candidate in scored:
        cubes = candidate.blocks.get(block, ())
        if not cubes:
            continue
        series = np.array([cube.series for cube in cubes], dtype=object)
        columns = {
            "model": candidate.record.model,
            "ranking": candidate.record.ranking,
            "skip": candidate.record.skip_model,
            "unique_id": np.repeat(series, [len(cube.y) for cube in cubes]),
            "cutoff": np.concatenate([cube.cutoffs for cube in cubes]),
            "loss": np.concatenate([_origin_losses(cube) / scale[cube.series] for cube in cubes]),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)[LOSS_COLUMNS]


def _origin_losses(cube: ForecastCube) -> np.ndarray:
    """(n,): the absolute error of the seeds' mean, summed over the known steps of an origin and
    divided by the mean number of known steps, so that the mean over the origins is the MAE.
    """
    error = np.abs(cube.y - cube.seed_mean)
    n_known = np.isfinite(error).sum(axis=1)
    mean_known = n_known.sum() / max(np.count_nonzero(n_known), 1) or 1.0
    return np.where(n_known > 0, np.nansum(error, axis=1) / mean_known, np.nan)


def _join_labelled(tables: list[tuple[RunRecord, pd.DataFrame | None]]) -> pd.DataFrame:
    """The tables of all candidates as one, with model and ranking as first columns."""
    parts = [table.assign(**record.labels) for record, table in tables if table is not None]
    joined = pd.concat(parts, ignore_index=True)
    labels = ["model", "ranking"]
    return joined[[*labels, *joined.columns.drop(labels)]]


def _find_leaks(scored: list[ScoredCandidate], task: Task) -> list[Alarm]:
    """Alarms about forecasts of prices that are too good to be true; only of days of a session
    calendar.
    """
    has_days = isinstance(task.calendar, SessionCalendar)
    prices = [column for column in task.target if column.is_price and has_days]
    return _raise_alarms(scored, prices, task, describe_leaks)


def _find_copies(scored: list[ScoredCandidate], task: Task) -> list[Alarm]:
    """Alarms about copies of the last value, for candidates whose error is near that of naive."""
    near = []
    for candidate in scored:
        if candidate.board is None or candidate.name == NAIVE:
            continue
        skill = candidate.board.loc[candidate.board["seed"] == MEAN, "skill"]
        if (skill.abs() <= NEAR_NAIVE).all():
            near.append(candidate)
    return _raise_alarms(near, task.target, task, describe_copy)


def _find_twins(scored: Iterable[ScoredCandidate]) -> list[list[str]]:
    """Lists of models with the same errors in every series; networks are not looked at."""
    twins: dict[bytes, list[str]] = {}
    for candidate in scored:
        if candidate.by_series is not None and not candidate.record.is_network:
            errors = candidate.by_series["mae"].to_numpy(dtype=float)
            twins.setdefault(errors.tobytes(), []).append(candidate.record.model)
    return [models for models in twins.values() if len(models) > 1]


def _raise_alarms(
    candidates: Iterable[ScoredCandidate],
    targets: Collection[TaskColumn],
    task: Task,
    describe: Callable[..., str],
) -> list[Alarm]:
    """An alarm for each candidate and series of `targets` for which `describe` returns a reason,
    judged on the mean of the seeds in the test block.
    """
    alarms = []
    for candidate in candidates:
        for cube in candidate.blocks.get("test", ()):
            if target_of(cube.series, task) not in targets:
                continue
            reason = describe(
                cube.y, cube.seed_mean, cube.last, horizon=task.horizon, step_size=task.step_size
            )
            if reason:
                labels = candidate.record.labels
                alarms.append(Alarm(**labels, unique_id=cube.series, reason=reason))
    return alarms


def check_same_budget(records: Iterable[RunRecord], tuning: Tuning) -> list[BudgetExemption]:
    """Check that every network had the budget of `tuning`; returns the networks that are exempt
    from a part of it. `InputError` names all networks with another budget.

    Baselines and failed models are not checked. A network trained by Levenberg-Marquardt takes no
    gradient steps, so only its seeds are checked; its CPU seconds are in the cost table.
    """
    exempt = []
    faults = []
    for record in records:
        if not record.is_network or record.has_failed:
            continue
        by_gradient = record.params.get("trainer", "gradient") == "gradient"
        if not by_gradient:
            why = "trained by Levenberg-Marquardt, whose iterations are no gradient steps"
            exempt.append(BudgetExemption(**record.labels, why=why))
        differences = _budget_differences(record, tuning, by_gradient=by_gradient)
        faults += [f"{record.candidate} has {difference}" for difference in differences]
    if faults:
        raise InputError(
            f"Not the same budget for every network, so nothing is compared: {'; '.join(faults)}."
            " The budget of configs/tuning.yaml is for all; run `dvc repro` to train these models"
            " with it."
        )
    return exempt


def _budget_differences(record: RunRecord, tuning: Tuning, *, by_gradient: bool) -> list[str]:
    """How the budget of a network differs from `tuning`, in words: in its seeds and, if it was
    trained `by_gradient`, in its trials and steps.
    """
    seeds = sorted(fit.seed for fit in record.seeds)
    differences = []
    if seeds != sorted(tuning.seeds):
        differences.append(f"seeds {seeds}, wanted {sorted(tuning.seeds)}")
    if not by_gradient:
        return differences
    counts = (
        ("tuning trials", len(record.trials), tuning.n_trials),
        (
            "gradient steps in tuning",
            record.cost.tuning_gradient_steps,
            tuning.n_trials * tuning.trial_steps,
        ),
        (
            "gradient steps in training",
            record.cost.gradient_steps,
            tuning.final_steps * len(tuning.seeds),
        ),
    )
    return differences + [
        f"{spent} {what}, wanted {budget}" for what, spent, budget in counts if spent != budget
    ]
