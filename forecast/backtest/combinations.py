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

from forecast.config.experiment import COMBINATION, GROUPS, Combination
from forecast.config.task import Task
from forecast.data.results import BASELINE
from forecast.forecaster.ensemble import served_seeds
from forecast.models.base import refit_moments
from forecast.models.problem import STRETCHES
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
        records: Mapping[str, Any],
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
        about = [{name: str(records[name][key]) for name in values} for key in ("model", "kind")]
        return cls(
            tuple(values),
            about[0],
            about[1],
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
        for own in np.array_split(np.arange(len(times)), STRETCHES):
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
    records = {
        path.parent.name: files.read_json(path) for path in sorted(trained.glob("*/record.json"))
    }
    eligible, left_out = _eligible(rule, records)
    folder = trained / name
    folder.mkdir(parents=True)
    try:
        part_of = partial(Part.of, records=eligible, task=task, best_set=best_set)
        stages, table = _combined(rule, part_of, *_forecasts(eligible, trained))
    except ModelFailure as error:
        files.write_json(
            folder / "record.json", _record(name, rule, {"": {}}, {}, records, str(error))
        )
        return
    shares = _served(stages, table)
    for member in shares:
        for seed in served_seeds(trained / member):
            shutil.copytree(seed, folder / "members" / member / seed.name)
    files.write_frame(folder / "forecasts.parquet", table)
    files.write_json(folder / "record.json", _record(name, rule, stages, shares, records, left_out))


def _served(stages: Mapping[str, Shares], table: pd.DataFrame) -> Shares:
    """The last weights that have seen no target of the test block, as no saved model has: a gate
    scores there.
    """
    start = table.loc[table["block"] == "test", "cutoff"].min()
    return [
        own
        for moment, own in stages.items()
        if not pd.Timestamp(moment or pd.Timestamp.min) > start
    ][-1]


def _eligible(rule: Combination, records: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What can be served, of a network its row with a skip where it has one, and a sentence on what
    the rule names and was left out.
    """
    rows = {
        n: r for n, r in records.items() if r["kind"] != COMBINATION and r["family"] != "service"
    }
    shipped = {
        record["model"] for record in rows.values() if record["ranking"] in (RANKING, BASELINE)
    }
    rows = {
        n: r
        for n, r in rows.items()
        if r["ranking"] in (RANKING, BASELINE) or r["model"] not in shipped
    }
    failed = [
        n
        for n, r in rows.items()
        if r["status"] != "ok" and ({n, r["model"], r["kind"] + "s"} & set(rule.members))
    ]
    known = {record["model"] for record in rows.values()}
    absent = [member for member in rule.members if member not in (*GROUPS, *known)]
    said = [f"left out: {', '.join(failed)} (failed)"] if failed else []
    said += [f"left out: {', '.join(absent)} (not in this run)"] if absent else []
    return {n: r for n, r in rows.items() if r["status"] == "ok"}, "; ".join(said)


def _combined(
    rule: Combination,
    part_of: Callable[..., Part],
    rows: pd.DataFrame,
    values: Mapping[str, np.ndarray],
) -> tuple[dict[str, Shares], pd.DataFrame]:
    """The weights by the time from which on they hold, those of validation by ""; and the table of
    forecasts.
    """
    inside = (rows["block"] == "validation").to_numpy()
    on_validation = part_of(rows[inside], {name: own[inside] for name, own in values.items()})
    stages = {"": settle(rule, on_validation)}
    y_hat = weighted(stages[""], values)
    cutoffs, times = rows["cutoff"].to_numpy(), rows["ds"].to_numpy()
    for other, own in on_validation.stretches():
        if other.any():
            here = inside & np.isin(cutoffs, on_validation.cutoffs[own])
            elsewhere = settle(rule, on_validation.where(other))
            y_hat[here] = weighted(elsewhere, {name: values[name][here] for name in elsewhere})
    moments = [
        moment
        for moment in refit_moments(rule.refit, np.unique(cutoffs))
        if moment > cutoffs[inside].max()
    ]
    members = on_validation.best(_members(rule, on_validation)) if moments else ()
    same = rule.model_copy(
        update={"members": tuple("all" if one == "tied" else one for one in rule.members)}
    )
    for moment in moments:
        known, here = times <= moment, cutoffs >= moment
        then = part_of(rows[known], {name: values[name][known] for name in members})
        again = settle(same, then, PENALTY * len(on_validation.errors) / len(then.errors))
        y_hat[here] = weighted(again, {name: values[name][here] for name in again})
        stages[pd.Timestamp(moment).isoformat()] = again
    return stages, rows.assign(seed=np.int32(0), y_hat=y_hat)


def weighted(shares: Shares, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The combined forecasts (n,)."""
    return np.asarray(sum(weight * values[name] for name, weight in shares.items()))


def _forecasts(
    records: Mapping[str, Any], trained: Path
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


def _record(
    name: str,
    rule: Combination,
    stages: Mapping[str, Shares],
    shares: Shares,
    records: Mapping[str, Any],
    reason: str,
) -> dict[str, Any]:
    """As stage `train` leaves it of every candidate; `members`: the recipes with `shares`, largest
    first.
    """
    members = [
        {
            "weight": weight,
            **{
                key: records[member][key]
                for key in ("candidate", "model", "params", "ranking", "skip")
            },
        }
        for member, weight in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    ]
    own = [records[member] for member in shares]
    numbers = {
        "n_params": sum(record["n_params"] for record in own),
        **{key: max((record[key] for record in own), default=0) for key in ("refits", "rows_seen")},
        "weights": stages,
    }
    empty: dict[str, Any] = {
        "skip": None,
        "skip_row": None,
        "tuned": {},
        "trials": [],
        "diagnostics": {},
    }
    spent = dict.fromkeys(
        ("gradient_steps", "gradient_steps_taken", "tuning_gradient_steps", "targets_learnt_from"),
        0,
    )
    return {
        **empty,
        **spent,
        **numbers,
        "dataset": next((record["dataset"] for record in records.values()), ""),
        "model": name,
        "candidate": name,
        "ranking": RANKING,
        "family": rule.family,
        "kind": rule.kind,
        "status": "ok" if shares else "failed",
        "reason": reason,
        "description": rule.summary,
        "equation": rule.equation,
        "source": rule.source,
        "params": rule.model_dump(mode="json"),
        "members": members,
        "seeds": [{"seed": 0, "status": "ok" if shares else "failed", "reason": reason}],
        "digests": {
            "data": next((record["digests"]["data"] for record in own), ""),
            "config": files.sha256_of(rule.model_dump(mode="json")),
            "key": files.sha256_of(
                [rule.model_dump(mode="json"), [record["digests"] for record in own]]
            ),
        },
    }
