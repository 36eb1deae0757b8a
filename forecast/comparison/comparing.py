"""Stage `compare` of one dataset: from its candidates' forecasts to every table, test and alarm
that is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast.comparison import metrics, scores
from forecast.comparison.distribution_scores import distribution_scores
from forecast.comparison.error_diagnostics import copy_check, leak_alarm, one_step
from forecast.comparison.intervals import interval_tables, is_chosen, target_of
from forecast.comparison.longrun import Spacing
from forecast.comparison.losses import COLUMNS, choose, preferred, variance_parts
from forecast.comparison.multiple_comparisons import ranked
from forecast.comparison.paired_tests import change_by_step
from forecast.comparison.scores import Cube, Scored
from forecast.comparison.sentences import (
    OWN_BLOCKS,
    left_out_in_words,
    preferred_in_words,
    warnings_in_words,
)
from forecast.comparison.verdicts import compare
from forecast.config.experiment import (
    NAIVE,
    Combination,
    Evaluation,
    Tuning,
    load_evaluation,
    load_tuning,
)
from forecast.config.paths import ProjectPaths
from forecast.config.task import SessionCalendar, Task, load_task
from forecast.data.calendars import cycles
from forecast.data.records import RunRecord
from forecast.data.results import MEAN, PER_SERIES, SPREAD, Results
from forecast.data.splits import Borders
from forecast.system import files
from forecast.system.errors import InputError

SERVICE = "service"
DIGITS = "%.12g"


@dataclass(frozen=True)
class Compared:
    """What is written of one dataset: `tables` by the name of their file, and verdicts.json."""

    tables: dict[str, pd.DataFrame]
    bands: pd.DataFrame
    residuals: list[dict[str, Any]]
    verdicts: dict[str, Any]


def compare_dataset(paths: ProjectPaths, dataset: str) -> None:
    """Stage `compare`: data/compared/<dataset>/: the tables, bands.parquet, residuals.json,
    verdicts.json.
    """
    frame = files.read_frame(paths.frame(dataset))
    borders = Borders.from_json(files.read_json(paths.borders(dataset)))
    evaluation, tuning = load_evaluation(paths.configs), load_tuning(paths.configs)
    found = compared(
        Results(paths, dataset), frame, load_task(paths.task(dataset)), borders, evaluation, tuning
    )
    write_compared(paths.compared(dataset), found)


def write_compared(target: Path, found: Compared) -> None:
    """Fill data/compared/<dataset> with the tables, the residuals and the verdicts."""
    with files.atomic_directory(target) as folder:
        for name, table in found.tables.items():
            if name in PER_SERIES:
                files.write_frame(folder / f"{name}.parquet", table)
            else:
                files.write_text(
                    folder / f"{name}.csv", table.to_csv(index=False, float_format=DIGITS)
                )
        files.write_json(folder / "residuals.json", found.residuals)
        files.write_frame(folder / "bands.parquet", found.bands)
        files.write_json(folder / "verdicts.json", found.verdicts)


def compared(
    results: Results,
    frame: pd.DataFrame,
    task: Task,
    borders: Borders,
    evaluation: Evaluation,
    tuning: Tuning,
) -> Compared:
    """`results`: those of stage `train`; `frame`, `borders`: those of stage `prepare`.

    `InputError` when networks had unequal budgets, or nothing is there to score against.
    """
    scored, references = scores.score(results, frame, task, borders)
    reference = references["test"]
    exempt = check_same_budget(results.records.values(), tuning)
    ours = [s for s in scored if s.record.family != SERVICE]  # its row cannot be served
    validation = losses(ours, reference.scale, "validation")
    chosen = choose(validation)
    rules = {s.record.model: s.record.params for s in ours if s.record.kind == Combination.kind}
    learnt = [name for name, rule in rules.items() if Combination(**rule).is_learnt]
    rather = preferred(validation, chosen, rules, learnt, **_spacing(task))
    chosen |= {ranking: found["model"] for ranking, found in rather.items()}
    test = losses(scored, reference.scale, "test")
    intervals = interval_tables(scored, reference.last, task, evaluation.levels, chosen)
    sizes = {s.record.model: s.record.n_params for s in ours if s.record.ranking == "architecture"}
    verdicts = _verdicts(results.name, test, chosen, task, evaluation, sizes)
    tables = {
        "leaderboard": leaderboard(scored, chosen, results.name),
        "by_step": _labelled([(s, s.by_step) for s in scored]),
        "by_series": _labelled([(s, s.by_series) for s in scored]),
        "intervals": intervals.intervals,
        "reliability": intervals.reliability,
        "variance": (
            variance_parts(test, _by_seed(scored), **_spacing(task))
            if verdicts["tests"]
            else pd.DataFrame()
        ),
        "change_by_step": _changes(scored, task),
        "distributions": distribution_scores(results, reference.last, evaluation.levels),
    }
    decided = {"refused_levels": intervals.refused, "preferred": rather}
    said = [*verdicts["sentences"], *preferred_in_words(rather)]
    verdicts |= {
        **_alarms(scored, task),
        **decided,
        "exempt_from_budget": exempt,
        "sentences": said,
    }
    pooled: list[dict[str, Any]] = intervals.intervals.query("step == 0").to_dict("records")  # type: ignore[assignment]
    verdicts["warnings"] = warnings_in_words(
        chosen, _skill(scored), pooled, verdicts["leaks"], intervals.refused
    )
    verdicts["warnings"] += left_out_in_words(results.records.values()) + [OWN_BLOCKS] * bool(
        borders.own
    )
    return Compared(tables, intervals.bands, _residuals(scored, task), verdicts)


def _boards(scored: list[Scored]) -> dict[tuple[str, str], pd.DataFrame]:
    """The boards by model and ranking, without the candidates that failed."""
    return {(s.record.model, s.record.ranking): s.board for s in scored if s.board is not None}


def _skill(scored: list[Scored]) -> dict[tuple[str, str], float]:
    return {
        key: float(b.loc[b["seed"] == MEAN, "skill"].iloc[0]) for key, b in _boards(scored).items()
    }


def _by_seed(scored: list[Scored]) -> dict[tuple[str, str], list[float]]:
    return {
        key: b.loc[~b["seed"].isin([MEAN, SPREAD]), "mase"].tolist()
        for key, b in _boards(scored).items()
    }


def leaderboard(scored: list[Scored], chosen: Mapping[str, str], dataset: str) -> pd.DataFrame:
    """The tidy rows of one dataset; a failed candidate is one row with its status."""
    parts = []
    for candidate in scored:
        record = candidate.record
        common = {
            "dataset": dataset,
            "model": record.model,
            "ranking": record.ranking,
            "skip": record.skip,
        }
        if candidate.board is None or candidate.validation is None:
            parts.append(
                pd.DataFrame([{**common, "seed": MEAN, "status": "failed", "n_origins": 0}])
            )
            continue
        board = candidate.board.assign(status="ok", **common)
        board["n_params"] = record.n_params
        scaled = candidate.validation.set_index("seed")["mase"]
        board["validation_mase"] = board["seed"].map(scaled)
        board["chosen"] = is_chosen(candidate, chosen) & (board["seed"] == MEAN)
        parts.append(board)
    table = pd.concat(parts, ignore_index=True)
    table["chosen"] = table["chosen"].fillna(False).astype(bool)
    table["n_params"] = table["n_params"].fillna(0).astype(int)
    table["n_origins"] = table["n_origins"].astype(int)
    return table[metrics.leaderboard_columns()]


def losses(scored: list[Scored], scale: Mapping[str, float], block: str) -> pd.DataFrame:
    """Long (`losses.COLUMNS`): absolute error over the train scale, mean over the horizon, of the
    mean of the seeds' forecasts, which serves. `skip` is the row that is the candidate's skip
    standing alone.
    """
    parts = []
    for candidate in scored:
        found = candidate.blocks.get(block, ())
        if found:
            names, cutoffs = (
                [c.series for c in found for _ in c.y],
                np.concatenate([c.cutoffs for c in found]),
            )
            loss = np.concatenate([_loss(c) / scale[c.series] for c in found])
            own = pd.DataFrame({"unique_id": names, "cutoff": cutoffs, "loss": loss})
            record = candidate.record
            parts.append(
                own.assign(model=record.model, ranking=record.ranking, skip=record.skip_model)
            )
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _loss(cube: Cube) -> np.ndarray:
    """(n,): the absolute error of the seeds' mean; an origin counts as its known steps: their mean
    is the MAE.
    """
    error = np.abs(cube.y - cube.ensemble)
    known = np.isfinite(error).sum(axis=1)
    usual = known.sum() / max(np.count_nonzero(known), 1) or 1.0
    return np.where(known > 0, np.nansum(error, axis=1) / usual, np.nan)


def _verdicts(
    name: str,
    test: pd.DataFrame,
    chosen: dict[str, str],
    task: Task,
    evaluation: Evaluation,
    sizes: Mapping[str, int],
) -> dict[str, Any]:
    weights = {name: sizes[name] for name in ("lstm", "gru") if name in sizes}
    verdicts = compare(
        test,
        dataset=name,
        chosen=chosen,
        weights=weights,
        alpha=evaluation.alpha,
        reps=evaluation.bootstrap_repetitions,
        seed=evaluation.bootstrap_seed,
        **_spacing(task),
    )
    ranks = ranked(test, alpha=evaluation.alpha)
    return {**verdicts.as_dict(), "ranks": ranks.as_dict() if ranks else None}


def _spacing(task: Task) -> Spacing:
    around = cycles(task.calendar, task.calendar_features)
    return Spacing(
        horizon=task.horizon,
        season_length=task.season_length,
        step_size=task.step_size,
        cycles=around,
    )


def _labelled(tables: list[tuple[Scored, pd.DataFrame | None]]) -> pd.DataFrame:
    about = ["model", "ranking"]
    parts = [table.assign(**one.record.labels) for one, table in tables if table is not None]
    joined = pd.concat(parts, ignore_index=True)
    return joined[[*about, *joined.columns.drop(about)]]


def _changes(scored: list[Scored], task: Task) -> pd.DataFrame:
    """Per candidate and step the change of its error against naive, mean over series, with its 95 %
    band.

    A candidate without rows has other origins than naive, or series whose origins differ.
    """
    naive = {
        cube.series: abs(cube.y_hat[0] - cube.y)
        for s in scored
        if s.name == NAIVE
        for cube in s.blocks["test"]
    }
    spacing = _spacing(task)
    rows: list[dict[str, Any]] = []
    for candidate in scored:
        tested = candidate.blocks.get("test", ())
        pairs = [(abs(c.ensemble - c.y), naive[c.series]) for c in tested if c.series in naive]
        if len({errors.shape for pair in pairs for errors in pair}) == 1:
            about = candidate.record.labels
            found = zip(*change_by_step(pairs, **spacing), strict=True)
            rows += [
                {**about, "step": k, "change": c, "low": a, "high": b}
                for k, (c, a, b) in enumerate(found, 1)
            ]
    return pd.DataFrame(rows, columns=["model", "ranking", "step", "change", "low", "high"])


def _residuals(scored: list[Scored], task: Task) -> list[dict[str, Any]]:
    """Residual diagnostics: autocorrelation and bias of the one-step test errors of every first
    seed, per series.
    """
    found = []
    steps = {"season_length": task.season_length, "step_size": task.step_size}
    for about, cube in _tested(scored):
        left = one_step(
            cube.y[:, 0],
            cube.y_hat[0, :, 0],
            transform=target_of(cube.series, task).transform,
            **steps,
        )
        found += [{**about, "series": cube.series, "seed": cube.seeds[0], **left}] if left else []
    return found


def _tested(scored: list[Scored]) -> Iterator[tuple[dict[str, str], Cube]]:
    for candidate in scored:
        about = candidate.record.labels
        yield from ((about, cube) for cube in candidate.blocks.get("test", ()))


def _alarms(scored: list[Scored], task: Task) -> dict[str, list[dict[str, Any]]]:
    """Copies of the last value, and on declared prices what is too good to be true; judged on the
    seed mean.
    """
    found: dict[str, list[dict[str, Any]]] = {"copies": [], "leaks": []}
    steps = {"horizon": task.horizon, "step_size": task.step_size}
    for about, cube in _tested(scored):
        arguments = (cube.y, cube.ensemble, cube.last)
        if copy := copy_check(*arguments, **steps):
            found["copies"].append({**about, "unique_id": cube.series, "reason": copy})
        priced = (
            isinstance(task.calendar, SessionCalendar) and target_of(cube.series, task).is_price
        )
        if priced and (reasons := leak_alarm(*arguments, **steps)):
            found["leaks"].append({**about, "unique_id": cube.series, "reason": "; ".join(reasons)})
    return found


def check_same_budget(records: Iterable[RunRecord], tuning: Tuning) -> list[dict[str, str]]:
    """The networks exempt from a part of the check, `{"model", "ranking", "why"}`; `InputError`
    naming every other.

    `records`: those of the train stage. Baselines are not tuned, and a failed model is in no
    comparison. A network trained by Levenberg-Marquardt takes no gradient steps, so its trials and
    steps are not compared with the budget: its seeds are, and its CPU seconds stand in the ledger
    beside everybody's.
    """
    exempt, faults = [], []
    for record in records:
        if not record.is_network or record.has_failed:
            continue
        by_gradient = record.params.get("trainer", "gradient") == "gradient"
        if not by_gradient:
            about = record.labels
            exempt.append(
                {
                    **about,
                    "why": "trained by Levenberg-Marquardt, whose iterations are no gradient steps",
                }
            )
        faults += [
            f"{record.candidate} has {fault}"
            for fault in _faults(record, tuning, by_gradient=by_gradient)
        ]
    if faults:
        raise InputError(
            f"Not the same budget for every network, so nothing is compared: {'; '.join(faults)}."
            " The budget of configs/tuning.yaml is for all; run `dvc repro` to train these models"
            " with it."
        )
    return exempt


def _faults(record: RunRecord, tuning: Tuning, *, by_gradient: bool) -> list[str]:
    """What this network was given and should not have been, in words."""
    seeds = sorted(seed.seed for seed in record.seeds)
    found = (
        [] if seeds == sorted(tuning.seeds) else [f"seeds {seeds}, wanted {sorted(tuning.seeds)}"]
    )
    if not by_gradient:
        return found
    given = {
        "tuning trials": (len(record.trials), tuning.n_trials),
        "gradient steps in tuning": (
            record.cost.tuning_gradient_steps,
            tuning.n_trials * tuning.trial_steps,
        ),
        "gradient steps in training": (
            record.cost.gradient_steps,
            tuning.final_steps * len(tuning.seeds),
        ),
    }
    return found + [
        f"{has} {what}, wanted {wanted}" for what, (has, wanted) in given.items() if has != wanted
    ]
