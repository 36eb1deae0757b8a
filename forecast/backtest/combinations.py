"""Combinations of trained candidates: the weighted mean of their forecasts, which costs no
training.

    members    networks, tied (the best set on validation), all, or names; of more than `MOST` the
    best on validation,
               with seats for rows that are no networks
    weights    equal; numbers; or stacked: the non-negative weights of sum 1 with the least absolute
    error on
               validation, shrunk towards equal weights by `PENALTY`. `networks` beside others count
               as one, their mean: they err alike, and validation, on which they were tuned,
               flatters them

Both are settled by the validation rows alone: `settle` is handed nothing else. What a combination
forecasts inside validation is made with the members and weights that the other stretches of
validation settle, so that its validation error can be compared with those of rows that learnt
nothing there. With `refit` the weights of the same members are learnt again behind validation, at
each of its moments on every error known there; the pull towards equal weights stays that of as many
errors as validation has, so it fades as more are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from forecast.backtest.timeline import RefitSchedule
from forecast.config.experiment import COMBINATION, MEMBER_GROUPS, Combination
from forecast.config.task import Task
from forecast.data.records import (
    DatedWeights,
    Digests,
    Member,
    Recipe,
    RunRecord,
    SeedFit,
    newest_weights,
    read_run_records,
)
from forecast.data.results import BASELINE
from forecast.forecaster.ensemble import served_seeds
from forecast.models.problem import VALIDATION_FOLDS
from forecast.system import files
from forecast.system.errors import ModelFailure, quote_names

MOST = 12
"""Members of one combination: what a served forecast has time for."""
PENALTY = 0.2
"""Of the squared distance from equal weights, in mean (weighted) squared errors of the best member.

Chosen on the pieces of docs/protocol.md.
"""
ROUNDS, FLOOR = 10, 0.1
"""Of the search for the least absolute error: errors below this share of the mean one count by
their squares.
"""
RANKING = "shipped"
KEYS = ["unique_id", "cutoff", "step", "ds", "block", "output", "y", "volatility"]
BestSet = Callable[..., list[str]]
"""As `forecast.comparison.multiple_comparisons.model_confidence_set`: who cannot be told from the
best.
"""
Shares = dict[str, float]
"""Candidate to its weight; the sum is 1."""


@dataclass(frozen=True)
class Part:
    """Errors (n, members) at n targets, each series' and output's in units of its mean absolute
    error over all members; a target that was not observed is left out. `kinds`: of each member's
    record; `models`: its model.
    """

    names: tuple[str, ...]
    models: Mapping[str, str]
    kinds: Mapping[str, str]
    cutoffs: np.ndarray
    errors: np.ndarray
    task: Task
    best_set: BestSet

    @classmethod
    def of(
        cls,
        rows: pd.DataFrame,
        values: Mapping[str, np.ndarray],
        records: Mapping[str, RunRecord],
        task: Task,
        best_set: BestSet,
    ) -> Part:
        """`rows`: KEYS of one block; `values`: forecasts of every member at them."""
        errors = np.column_stack([rows["y"].to_numpy() - own for own in values.values()])
        size = pd.Series(np.abs(errors).mean(axis=1)).groupby(
            [rows[c].to_numpy() for c in ("unique_id", "output")]
        )
        scaled = errors / size.transform("mean").replace(0.0, 1.0).to_numpy()[:, None]
        known = np.isfinite(scaled).all(axis=1)
        return cls(
            tuple(values),
            {name: records[name].model for name in values},
            {name: records[name].kind for name in values},
            rows["cutoff"].to_numpy()[known],
            scaled[known],
            task,
            best_set,
        )

    def averaged(self, groups: Sequence[tuple[str, ...]]) -> Part:
        """The mean of each group as one member, by the name of its first."""
        means = [
            self.errors[:, [self.names.index(name) for name in group]].mean(axis=1)
            for group in groups
        ]
        return replace(
            self, names=tuple(group[0] for group in groups), errors=np.column_stack(means)
        )

    def best(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """At most `MOST` of `names`, those with the lowest error, in their order.

        The best of those that are no networks, up to two thirds of the seats, are in: networks err
        alike, and a mean gains by members that do not.
        """
        loss = dict(zip(self.names, np.abs(self.errors).mean(axis=0), strict=True))
        ranked = sorted(names, key=lambda name: (loss[name], name))
        first = [name for name in ranked if self.kinds[name] != "network"][: 2 * MOST // 3]
        kept = [*first, *(name for name in ranked if name not in first)][:MOST]
        return tuple(name for name in names if name in kept)

    def stretches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(elsewhere, inside) of each stretch of time as masks; no target of the one is a target of
        the other.
        """
        times = np.unique(self.cutoffs)
        at = np.searchsorted(times, self.cutoffs)
        gap = ceil(self.task.horizon / self.task.step_size_in("validation")) - 1
        for own in np.array_split(np.arange(len(times)), VALIDATION_FOLDS):
            if len(own):
                yield (at < own[0] - gap) | (at > own[-1] + gap), (at >= own[0]) & (at <= own[-1])

    def where(self, mask: np.ndarray) -> Part:
        return replace(self, cutoffs=self.cutoffs[mask], errors=self.errors[mask])


def everybody(losses: pd.DataFrame, **steps: int) -> list[str]:
    """The best set where nothing is compared."""
    return list(losses.columns)


def settle(rule: Combination, part: Part, penalty: float = PENALTY) -> Shares:
    """The weight of every member, from the errors of `part`; `ModelFailure` where none is left, or
    one is missing.
    """
    if isinstance(rule.weights, dict):
        return _given(rule.weights, part)
    members = part.best(_members(rule, part))
    if not members:
        raise ModelFailure(
            f"none of its members ({', '.join(rule.members)}) is in this run with forecasts"
        )
    groups = _counted(rule, part, members)
    equal = rule.weights == "equal"
    weights = (
        np.full(len(groups), 1 / len(groups)) if equal else stacked(part.averaged(groups), penalty)
    )
    shares = {
        name: float(own) / len(group)
        for group, own in zip(groups, weights, strict=True)
        for name in group
    }
    return {name: shares[name] for name in members if shares[name] > 0}


def _counted(rule: Combination, part: Part, members: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What counts as one member: every row alone, but the group `networks` where the rule names
    others beside it.
    """
    several = tuple(
        name for name in members if part.kinds[name] == "network" and "networks" in rule.members
    )
    if several in ((), members):
        return [(name,) for name in members]
    return [several, *((name,) for name in members if name not in several)]


def _given(weights: Mapping[str, float], part: Part) -> Shares:
    known = {
        **{model: name for name, model in part.models.items()},
        **{name: name for name in part.names},
    }
    gone = [name for name in weights if name not in known]
    if gone:
        raise ModelFailure(
            f"weights name {quote_names(gone)}, which is not in this run or has failed; leave it"
            " out of `weights`, or put it back into the grid"
        )
    total = sum(weights.values())
    return {known[name]: weight / total for name, weight in weights.items() if weight > 0}


def _members(rule: Combination, part: Part) -> tuple[str, ...]:
    wanted: set[str] = set()
    for member in rule.members:
        if member == "networks":
            wanted |= {name for name in part.names if part.kinds[name] == "network"}
        elif member == "tied":
            wanted |= set(tied(part))
        else:
            wanted |= {name for name in part.names if member in ("all", part.models[name])}
    return tuple(name for name in part.names if name in wanted)


def tied(part: Part) -> list[str]:
    """The candidates that the losses of `part` cannot tell from the best."""
    losses = pd.DataFrame(np.abs(part.errors), columns=part.names).groupby(part.cutoffs).mean()
    step_size = part.task.step_size_in("validation")
    about = {
        "horizon": part.task.horizon,
        "season_length": part.task.season_length,
        "step_size": step_size,
    }
    return part.best_set(losses, **about)


def stacked(part: Part, penalty: float = PENALTY) -> np.ndarray:
    """(members,) weights with the least absolute error, shrunk towards equal ones; equal where
    validation is too short to be tried on stretches that did not enter them.

    Least squares, each target divided by its error of the round before (Schlossmacher 1973): a few
    hard days have the most of the squares, and not of what is scored.
    """
    tried = sum(other.any() for other, _ in part.stretches())
    weights = np.full(len(part.names), 1 / len(part.names))
    for _ in range(ROUNDS if tried > 1 else 0):
        error = np.abs(part.errors @ weights)
        divided = part.errors / np.sqrt(np.maximum(error, FLOOR * error.mean() or 1.0))[:, None]
        weights = simplex(divided.T @ divided / len(divided), penalty)
    return weights


def simplex(square: np.ndarray, penalty: float) -> np.ndarray:
    """The w >= 0 of sum 1 with the least w'Sw + penalty min(diag S) |w - 1/k|^2, S the mean
    products of the errors.

    As sum w = 1 this is w'Aw with A = S + penalty min(diag S) I, and w is v / sum v of the v >= 0
    with the least v'Av - 2 sum v: non-negative least squares (Lawson & Hanson 1974).
    """
    count = len(square)
    size = float(np.trace(square)) / count
    if size == 0:
        return np.full(count, 1 / count)
    drawn = penalty * square.diagonal().min() + 1e-9 * size
    root = np.linalg.cholesky(square + drawn * np.eye(count)).T / np.sqrt(size)
    found, _ = nnls(root, np.linalg.solve(root.T, np.ones(count)))
    return np.asarray(found / found.sum())


def combine(name: str, rule: Combination, task: Task, trained: Path, best_set: BestSet) -> None:
    """Fill trained/<name>/ from the candidates beside it: record.json, forecasts.parquet and the
    saved members.
    """
    records = read_run_records(trained)
    eligible, omissions = _eligible_members(rule, records)
    folder = trained / name
    folder.mkdir(parents=True)
    try:
        errors_of = partial(Part.of, records=eligible, task=task, best_set=best_set)
        history, table = _combined(rule, errors_of, *_forecasts(eligible, trained))
    except ModelFailure as error:
        record = _failed_record(name, rule, records, str(error))
    else:
        test_start = table.loc[table["block"] == "test", "cutoff"].min()
        weights = newest_weights(history, test_start).weights
        record = _run_record(name, rule, history, weights, records, omissions)
        for member in weights:
            for seed in served_seeds(trained / member):
                shutil.copytree(seed, folder / "members" / member / seed.name)
        files.write_frame(folder / "forecasts.parquet", table)
    record.write(folder / "record.json")


def _eligible_members(
    rule: Combination, records: Mapping[str, RunRecord]
) -> tuple[dict[str, RunRecord], str]:
    """The candidates that can be served, and a sentence on what the rule names and is left out.

    Of a network it is the candidate of the ranking as shipped, where there is one.
    """
    servable = {
        name: record
        for name, record in records.items()
        if record.kind != COMBINATION and record.family != "service"
    }
    as_shipped = (RANKING, BASELINE)
    shipped = {record.model for record in servable.values() if record.ranking in as_shipped}
    ranked = {
        name: record
        for name, record in servable.items()
        if record.ranking in as_shipped or record.model not in shipped
    }
    failed = [
        name
        for name, record in ranked.items()
        if record.has_failed and {name, record.model, record.kind + "s"} & set(rule.members)
    ]
    models = {record.model for record in ranked.values()}
    absent = [member for member in rule.members if member not in (*MEMBER_GROUPS, *models)]
    sentences = [f"left out: {', '.join(failed)} (failed)"] if failed else []
    sentences += [f"left out: {', '.join(absent)} (not in this run)"] if absent else []
    eligible = {name: record for name, record in ranked.items() if not record.has_failed}
    return eligible, "; ".join(sentences)


def _combined(
    rule: Combination,
    errors_of: Callable[..., Part],
    rows: pd.DataFrame,
    values: Mapping[str, np.ndarray],
) -> tuple[list[DatedWeights], pd.DataFrame]:
    """The weights through the blocks, those of validation first, and the table of forecasts.

    Inside validation each fold is forecast with the weights that the other folds settle.
    """
    in_validation = (rows["block"] == "validation").to_numpy()
    cutoffs, times = rows["cutoff"].to_numpy(), rows["ds"].to_numpy()
    on_validation = errors_of(
        rows[in_validation], {name: y_hat[in_validation] for name, y_hat in values.items()}
    )
    history = [_dated(settle(rule, on_validation), times[in_validation].max())]
    y_hat = weighted(history[0].weights, values)
    for learns, forecasts in on_validation.stretches():
        if learns.any():
            fold = in_validation & np.isin(cutoffs, on_validation.cutoffs[forecasts])
            weights = settle(rule, on_validation.where(learns))
            y_hat[fold] = weighted(weights, {name: values[name][fold] for name in weights})
    last_validated = cutoffs[in_validation].max()
    refits = RefitSchedule.of(rule.refit, np.unique(cutoffs)).after(last_validated)
    members = on_validation.best(_members(rule, on_validation)) if refits else ()
    same_members = tuple("all" if member == "tied" else member for member in rule.members)
    later_rule = rule.model_copy(update={"members": same_members})
    for refit in refits:
        known, later = times <= refit, cutoffs >= refit
        errors = errors_of(rows[known], {name: values[name][known] for name in members})
        penalty = PENALTY * len(on_validation.errors) / len(errors.errors)
        weights = settle(later_rule, errors, penalty)
        y_hat[later] = weighted(weights, {name: values[name][later] for name in weights})
        history.append(_dated(weights, refit))
    return history, rows.assign(seed=np.int32(0), y_hat=y_hat)


def _dated(weights: Shares, learnt_until: np.datetime64) -> DatedWeights:
    return DatedWeights(weights=weights, learnt_until=pd.Timestamp(learnt_until).to_pydatetime())


def weighted(shares: Shares, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The combined forecasts (n,)."""
    return np.asarray(sum(weight * values[name] for name, weight in shares.items()))


def _forecasts(
    records: Mapping[str, RunRecord], trained: Path
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """KEYS of every origin, and each candidate's forecasts there, the mean over its seeds."""
    rows, values = pd.DataFrame(), dict[str, np.ndarray]()
    for name in records:
        table = pd.read_parquet(trained / name / "forecasts.parquet")
        seeds = [own for _, own in table.groupby("seed", sort=True)]
        keys = seeds[0][KEYS].reset_index(drop=True)
        rows = keys if rows.empty else rows
        if not all(keys[key].equals(rows[key]) for key in KEYS):
            raise ModelFailure(f"{name} was forecast from other origins than {next(iter(values))}")
        values[name] = np.mean([own["y_hat"].to_numpy() for own in seeds], axis=0)
    if rows.empty:
        raise ModelFailure("no candidate has forecasts")
    return rows, values


def _run_record(
    name: str,
    rule: Combination,
    history: Sequence[DatedWeights],
    weights: Shares,
    records: Mapping[str, RunRecord],
    omissions: str,
) -> RunRecord:
    """As stage `train` leaves it of every candidate; members with their `weights`, the largest
    first.
    """
    members = []
    for member, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        recipe = {field: getattr(records[member], field) for field in Recipe.model_fields}
        members.append(Member(**recipe, weight=weight))
    parts = [records[member] for member in weights]
    return RunRecord(
        **_description(name, rule, records),
        status="ok",
        reason=omissions,
        members=tuple(members),
        n_params=sum(record.n_params for record in parts),
        refits=max(record.refits for record in parts),
        rows_seen=max(record.rows_seen for record in parts),
        seeds=(SeedFit(seed=0, reason=omissions),),
        weights=tuple(history),
        digests=_digests(rule, parts),
    )


def _failed_record(
    name: str, rule: Combination, records: Mapping[str, RunRecord], reason: str
) -> RunRecord:
    return RunRecord(
        **_description(name, rule, records),
        status="failed",
        reason=reason,
        seeds=(SeedFit(seed=0, status="failed", reason=reason),),
        digests=_digests(rule, []),
    )


def _description(name: str, rule: Combination, records: Mapping[str, RunRecord]) -> dict[str, Any]:
    """The fields of a record that the rule alone decides, by name."""
    return {
        "dataset": next((record.dataset for record in records.values()), ""),
        "candidate": name,
        "model": name,
        "ranking": RANKING,
        "family": rule.family,
        "kind": rule.kind,
        "description": rule.summary,
        "equation": rule.equation,
        "source": rule.source,
        "params": rule.model_dump(mode="json"),
    }


def _digests(rule: Combination, parts: Sequence[RunRecord]) -> Digests:
    options = rule.model_dump(mode="json")
    return Digests(
        data=parts[0].digests.data if parts else "",
        config=files.sha256_of(options),
        key=files.sha256_of([options, [record.digests.to_json() for record in parts]]),
    )
