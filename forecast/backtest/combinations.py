"""Combinations: weighted means of the forecasts of trained candidates, which cost no training.

    members    `networks`, `all`, or names. Of two that forecast the same only one counts. Of more
               than `MAX_MEMBERS` the best on validation are taken, with seats kept for models that
               are no networks.
    weights    `equal`, numbers, or `stacked`: the non-negative weights of sum 1 with the least
               absolute error on validation, shrunk towards equal weights by `PENALTY`. Where a rule
               names `networks` and others, the networks count as one member, their mean: they err
               alike, and look too good on validation, on which they were tuned.
    steady     names of candidates whose equal mean has `STEADY_SHARE` of the weight, whatever
               validation says, as few origins teach wrong weights.

`write_combination` reads the records and forecasts of the candidates and writes record.json,
forecasts.parquet and copies of the saved members. Candidates that failed, did not train or cannot
be served (`service`) are left out. A combination without a member is a failed record.

Members and weights that serve before the test block are learnt from validation errors alone
(`MemberErrors`). Each fold of validation is forecast with members and weights learnt on the other
folds, so that the validation error can be compared with that of a single model. With `refit` the
weights of the same members are learnt again at cutoffs after validation, from all errors known
there.

In the `RunRecord`, `members` are those that serve, with the newest weights before the test block,
and `weights` has a `DatedWeights` for each time that weights were learnt. A member of weight 0 is
in neither. The page and MLflow show the weights before the test block only; those of a later month,
and so which member fell to 0 then, are in record.json alone. Why it fell is recorded nowhere: it
follows from the errors that were known. Candidates that failed, did not train or are not in the run
are named in the record's `reason`, those beyond `MAX_MEMBERS` nowhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy  # its part is loaded at the first weights: a first forecast learns none

from forecast.backtest.timeline import RefitSchedule
from forecast.config.models import COMBINATION, MEMBER_GROUPS, Combination
from forecast.data.records import (
    DatedWeights,
    Digests,
    MemberRecipe,
    Ranking,
    Recipe,
    RunRecord,
    SeedFit,
    newest_weights,
    read_run_records,
)
from forecast.data.results import BASELINE
from forecast.forecaster.ensemble import list_served_models
from forecast.models.problem import VALIDATION_FOLDS
from forecast.system import files
from forecast.system.errors import ModelError, quote_names

MAX_MEMBERS = 12
"""Most members of one combination: a served forecast has no time for more."""
PENALTY = 0.2
"""Penalty on the squared distance from equal weights, in mean (weighted) squared errors of the best
member.

Chosen on the pieces of docs/research/weights-by-absolute-error.md.
"""
STEADY_SHARE = 1 / 3
"""Half was refused, by electricity and 84 months of flights (docs/research/short-histories.md)."""
STACKING_ROUNDS = 10
"""Rounds of the search for the least absolute error."""
ERROR_FLOOR = 0.1
"""Errors below this share of the mean error count by their squares."""
COMBINATION_RANKING: Ranking = "shipped"
FORECAST_KEYS = ["unique_id", "cutoff", "step", "ds", "block", "output", "y", "volatility"]
Weights = dict[str, float]
"""Weights by candidate; their sum is 1."""


@dataclass(frozen=True)
class MemberErrors:
    """Errors of the candidates that may be members, at the n targets that were observed."""

    members: tuple[str, ...]
    models: Mapping[str, str]
    """The model of each candidate."""
    kinds: Mapping[str, str]
    """The kind of model of each candidate."""
    cutoffs: np.ndarray
    """(n,): the cutoff that each target was forecast from."""
    horizon_ends: np.ndarray
    """(n,): the time of the last target of that cutoff, observed or not."""
    errors: np.ndarray
    """(n, members): actual minus forecast, over the mean absolute error of all members on the same
    series and output.
    """

    @classmethod
    def from_forecasts(
        cls,
        rows: pd.DataFrame,
        forecasts: Mapping[str, np.ndarray],
        records: Mapping[str, RunRecord],
    ) -> MemberErrors:
        """The errors of `forecasts` (by candidate, each (n,)) at the n `rows` of FORECAST_KEYS."""
        y = rows["y"].to_numpy()
        errors = np.column_stack([y - y_hat for y_hat in forecasts.values()])
        targets = [rows[column].to_numpy() for column in ("unique_id", "output")]
        mean_error = pd.Series(np.abs(errors).mean(axis=1)).groupby(targets).transform("mean")
        scaled = errors / mean_error.replace(0.0, 1.0).to_numpy()[:, None]
        is_observed = np.isfinite(scaled).all(axis=1)
        return cls(
            members=tuple(forecasts),
            models={name: records[name].model for name in forecasts},
            kinds={name: records[name].kind for name in forecasts},
            cutoffs=rows["cutoff"].to_numpy()[is_observed],
            horizon_ends=rows.groupby("cutoff")["ds"].transform("max").to_numpy()[is_observed],
            errors=scaled[is_observed],
        )

    def merge_groups(self, groups: Sequence[tuple[str, ...]]) -> MemberErrors:
        """One member for each group: its errors are the mean of the group's, its name is that of
        the group's first member.
        """
        means = []
        for group in groups:
            columns = [self.members.index(name) for name in group]
            means.append(self.errors[:, columns].mean(axis=1))
        first_names = tuple(group[0] for group in groups)
        return replace(self, members=first_names, errors=np.column_stack(means))

    def select_best(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """At most `MAX_MEMBERS` of `names`, in the order of `names`: first the models without a
        network that have the lowest mean absolute error, on two thirds of the seats, then the
        lowest errors of all that are left.

        Networks err alike, and a mean gains by members that do not.
        """
        loss = dict(zip(self.members, np.abs(self.errors).mean(axis=0), strict=True))
        ranked = sorted(sorted(names), key=loss.__getitem__)
        no_networks = [name for name in ranked if self.kinds[name] != "network"]
        seated = no_networks[: 2 * MAX_MEMBERS // 3]
        rest = [name for name in ranked if name not in seated]
        best = [*seated, *rest][:MAX_MEMBERS]
        return tuple(name for name in names if name in best)

    def split_folds(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Two masks (n,) for each fold of time: the targets to learn from, and those of the fold.

        Horizons that reach into the fold are in neither, so that no time is a target of both.
        """
        for times in np.array_split(np.unique(self.cutoffs), VALIDATION_FOLDS):
            if len(times):
                is_inside = np.isin(self.cutoffs, times)
                ends_before = self.horizon_ends <= times[0]
                begins_after = self.cutoffs >= self.horizon_ends[is_inside].max()
                yield ends_before | begins_after, is_inside

    def select_rows(self, mask: np.ndarray) -> MemberErrors:
        """The errors at the targets of `mask` (n,)."""
        return replace(
            self,
            cutoffs=self.cutoffs[mask],
            horizon_ends=self.horizon_ends[mask],
            errors=self.errors[mask],
        )


def learn_weights(rule: Combination, errors: MemberErrors) -> Weights:
    """The members that `rule` selects and their weights, without those of weight 0.

    `ModelError` if there is no member, or if one with a fixed weight is missing.
    """
    weights = _learn_without_steady(rule, errors)
    steady = _select_members(rule.steady, errors)
    if not steady:
        return weights
    shared = {name: (1 - STEADY_SHARE) * weight for name, weight in weights.items()}
    for name in steady:
        shared[name] = shared.get(name, 0.0) + STEADY_SHARE / len(steady)
    return shared


def _learn_without_steady(rule: Combination, errors: MemberErrors) -> Weights:
    """`learn_weights` of a rule as if it had no `steady`."""
    if isinstance(rule.weights, dict):
        return _fixed_weights(rule.weights, errors)
    members = errors.select_best(_select_members(rule.members, errors))
    if not members:
        raise ModelError(
            f"none of its members ({', '.join(rule.members)}) is in this run with forecasts"
        )
    groups = _group_members(rule, errors, members)
    if rule.weights == "equal":
        group_weights = np.full(len(groups), 1 / len(groups))
    else:
        group_weights = stack(errors.merge_groups(groups))
    weights = {}
    for group, group_weight in zip(groups, group_weights, strict=True):
        for name in group:
            weights[name] = float(group_weight) / len(group)
    return {name: weights[name] for name in members if weights[name] > 0}


def _group_members(
    rule: Combination, errors: MemberErrors, members: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """The members in groups that get one weight: every candidate is its own group, but all networks
    are one where the rule names `networks` and other members.
    """
    networks = tuple(name for name in members if errors.kinds[name] == "network")
    if "networks" not in rule.members or networks in ((), members):
        return [(name,) for name in members]
    return [networks, *((name,) for name in members if name not in networks)]


def _fixed_weights(weights: Mapping[str, float], errors: MemberErrors) -> Weights:
    """The weights of a rule with numbers, divided by their sum, by candidate. The rule may name
    models or candidates; `ModelError` if one of them is not in `errors`.
    """
    candidates = {model: name for name, model in errors.models.items()}
    candidates |= {name: name for name in errors.members}
    missing = [name for name in weights if name not in candidates]
    if missing:
        raise ModelError(
            f"weights name {quote_names(missing)}, which is not in this run or has failed; leave it"
            " out of `weights`, or put it back into the grid"
        )
    total = sum(weights.values())
    return {candidates[name]: weight / total for name, weight in weights.items() if weight > 0}


def _select_members(names: tuple[str, ...], errors: MemberErrors) -> tuple[str, ...]:
    """The candidates of `names`, which are groups, models or `all`.

    Of candidates with equal errors only the first is taken, as tuning may lead two entries to one
    model. Candidates whose errors are all zero are all taken: they may differ after validation.
    """
    distinct: dict[bytes | str, str] = {}
    for name, member_errors in zip(errors.members, errors.errors.T, strict=True):
        if {*names} & {"all", f"{errors.kinds[name]}s", errors.models[name]}:
            distinct.setdefault(member_errors.tobytes() if member_errors.any() else name, name)
    return tuple(distinct.values())


def stack(errors: MemberErrors) -> np.ndarray:
    """(members,): the weights with the least absolute error, shrunk towards equal weights; equal
    weights if fewer than two folds of validation leave errors to learn from.

    Iterated least squares: each target is divided by the root of its error in the round before
    (Schlossmacher 1973). Plain least squares would fit a few hard days, which have most of the
    squared error but not of the absolute error that is scored.
    """
    n_members = len(errors.members)
    weights = np.full(n_members, 1 / n_members)
    if sum(learns.any() for learns, _ in errors.split_folds()) < 2:
        return weights
    for _ in range(STACKING_ROUNDS):
        combined = np.abs(errors.errors @ weights)
        floor = ERROR_FLOOR * combined.mean() or 1.0
        divided = errors.errors / np.sqrt(np.maximum(combined, floor))[:, None]
        weights = solve_on_simplex(divided.T @ divided / len(divided), PENALTY)
    return weights


def solve_on_simplex(square: np.ndarray, penalty: float) -> np.ndarray:
    """(k,): the w >= 0 of sum 1 with the least w'Sw + penalty min(diag S) |w - 1/k|^2, where S
    (`square`, (k, k)) has the mean products of the errors.

    As sum w = 1 this is w'Aw with A = S + penalty min(diag S) I, and w is v / sum v of the v >= 0
    with the least v'Av - 2 sum v: non-negative least squares (Lawson & Hanson 1974).
    """
    count = len(square)
    size = float(np.trace(square)) / count
    if size == 0:
        return np.full(count, 1 / count)
    ridge = penalty * square.diagonal().min() + 1e-9 * size
    root = np.linalg.cholesky(square + ridge * np.eye(count)).T / np.sqrt(size)
    unscaled, _ = scipy.optimize.nnls(root, np.linalg.solve(root.T, np.ones(count)))
    return unscaled / unscaled.sum()


def write_combination(name: str, rule: Combination, trained: Path) -> None:
    """Fill the folder `name` in `trained`, from the candidates in `trained`: record.json,
    forecasts.parquet and the saved members.
    """
    records = read_run_records(trained)
    eligible, omissions = _eligible_members(rule, records)
    folder = trained / name
    folder.mkdir(parents=True)
    history: list[DatedWeights] = []
    weights: Weights = {}
    fit = SeedFit(seed=0, reason=omissions)
    try:
        history, table = _combine_forecasts(rule, eligible, *_read_forecasts(eligible, trained))
    except ModelError as error:
        fit = SeedFit(seed=0, status="failed", reason=str(error))
    else:
        test_start = table.loc[table["block"] == "test", "cutoff"].min()
        weights = newest_weights(history, test_start).weights
        for member in weights:
            for seed in list_served_models(trained / member):
                shutil.copytree(seed, folder / "members" / member / seed.name)
        files.write_frame(folder / "forecasts.parquet", table)
    record = _run_record(name, rule, history, weights, records, fit)
    record.write(folder / "record.json")


def _eligible_members(
    rule: Combination, records: Mapping[str, RunRecord]
) -> tuple[dict[str, RunRecord], str]:
    """The candidates that may be members, and a sentence on those that the rule names but are left
    out. A network takes part as shipped; as architecture alone only if it was not shipped.
    """
    servable = [
        record
        for record in records.values()
        if record.kind != COMBINATION and record.family != "service"
    ]
    as_shipped = (COMBINATION_RANKING, BASELINE)
    shipped = {record.model for record in servable if record.ranking in as_shipped}
    ranked = [r for r in servable if r.ranking in as_shipped or r.model not in shipped]
    weighted_members = rule.weights if isinstance(rule.weights, dict) else rule.members
    names = {*weighted_members, *rule.steady}
    named_records = [r for r in ranked if {"all", f"{r.kind}s", r.model, r.candidate} & names]
    known_members = (*MEMBER_GROUPS, *(record.model for record in ranked))
    members_by_reason = {
        "failed": [record.candidate for record in named_records if record.has_failed],
        "not in this run": [
            member for member in (*rule.members, *rule.steady) if member not in known_members
        ],
        "did not train": [record.candidate for record in named_records if record.is_untrained],
    }
    left_out = [
        f"{', '.join(members)} ({reason})"
        for reason, members in members_by_reason.items()
        if members
    ]
    eligible = {r.candidate: r for r in ranked if not r.has_failed and not r.is_untrained}
    return eligible, f"left out: {'; '.join(left_out)}" if left_out else ""


def _combine_forecasts(
    rule: Combination,
    records: Mapping[str, RunRecord],
    rows: pd.DataFrame,
    values: Mapping[str, np.ndarray],
) -> tuple[list[DatedWeights], pd.DataFrame]:
    """The weights in the order in which they were learnt, those of validation first, and the table
    of forecasts.

    Each fold of validation is forecast with weights learnt on the other folds. After validation the
    weights of the same members are learnt again at each refit of the rule, from all errors known
    then.
    """
    in_validation = (rows["block"] == "validation").to_numpy()
    cutoffs = rows["cutoff"].to_numpy()
    times = rows["ds"].to_numpy()
    validated = _select_rows(values, in_validation)
    on_validation = MemberErrors.from_forecasts(rows[in_validation], validated, records)
    history = [_date_weights(learn_weights(rule, on_validation), times[in_validation].max())]
    y_hat = weighted_mean(history[0].weights, values)
    for learns, forecasts in on_validation.split_folds():
        if learns.any():
            fold = in_validation & np.isin(cutoffs, on_validation.cutoffs[forecasts])
            weights = learn_weights(rule, on_validation.select_rows(learns))
            y_hat[fold] = weighted_mean(weights, _select_rows(values, fold))
    last_validated = cutoffs[in_validation].max()
    refits = RefitSchedule.of(rule.refit, np.unique(cutoffs)).after(last_validated)
    members: tuple[str, ...] = ()
    if refits:
        members = on_validation.select_best(_select_members(rule.members, on_validation))
        members += _select_members(rule.steady, on_validation)
    for refit in refits:
        is_known = times <= refit
        follows_refit = cutoffs >= refit
        known_forecasts = {name: values[name][is_known] for name in members}
        errors = MemberErrors.from_forecasts(rows[is_known], known_forecasts, records)
        weights = learn_weights(rule, errors)
        y_hat[follows_refit] = weighted_mean(weights, _select_rows(values, follows_refit))
        history.append(_date_weights(weights, refit))
    return history, rows.assign(seed=np.int32(0), y_hat=y_hat)


def _select_rows(values: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    """The forecasts at the rows of `mask`, by candidate."""
    return {name: y_hat[mask] for name, y_hat in values.items()}


def _date_weights(weights: Weights, learnt_until: np.datetime64) -> DatedWeights:
    return DatedWeights(weights=weights, learnt_until=pd.Timestamp(learnt_until).to_pydatetime())


def weighted_mean(weights: Weights, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,): the combined forecasts; `values` (n,) by candidate."""
    return np.asarray(sum(weight * values[name] for name, weight in weights.items()))


def _read_forecasts(
    records: Mapping[str, RunRecord], trained: Path
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The n rows of FORECAST_KEYS, and by candidate the mean forecast (n,) of its seeds.

    `ModelError` without any candidate, or if candidates were forecast at different cutoffs.
    """
    rows = pd.DataFrame()
    values: dict[str, np.ndarray] = {}
    for name in records:
        table = pd.read_parquet(trained / name / "forecasts.parquet")
        seeds = [seed_table for _, seed_table in table.groupby("seed", sort=True)]
        keys = seeds[0][FORECAST_KEYS].reset_index(drop=True)
        if rows.empty:
            rows = keys
        if not all(keys[key].equals(rows[key]) for key in FORECAST_KEYS):
            raise ModelError(f"{name} was forecast from other origins than {next(iter(values))}")
        values[name] = np.mean([seed_table["y_hat"].to_numpy() for seed_table in seeds], axis=0)
    if rows.empty:
        raise ModelError("no candidate has forecasts")
    return rows, values


def _run_record(
    name: str,
    rule: Combination,
    history: Sequence[DatedWeights],
    weights: Weights,
    records: Mapping[str, RunRecord],
    fit: SeedFit,
) -> RunRecord:
    """The record of a combination. Its members have their `weights`, the largest first; a failed
    combination has no member.

    fit: whether it succeeded, and its remark or reason
    """
    members = []
    for member in sorted(sorted(weights), key=weights.__getitem__, reverse=True):
        recipe = {field: getattr(records[member], field) for field in Recipe.model_fields}
        members.append(MemberRecipe(**recipe, weight=weights[member]))
    parts = [records[member] for member in weights]
    options = rule.model_dump(mode="json")
    return RunRecord(
        dataset=next((record.dataset for record in records.values()), ""),
        candidate=name,
        model=name,
        ranking=COMBINATION_RANKING,
        family=rule.family,
        kind=rule.kind,
        status=fit.status,
        reason=fit.reason,
        description=rule.summary,
        equation=rule.equation,
        source=rule.source,
        params=options,
        seeds=(fit,),
        members=tuple(members),
        n_params=sum(record.n_params for record in parts),
        refits=max((record.refits for record in parts), default=0),
        rows_seen=max((record.rows_seen for record in parts), default=0),
        weights=tuple(history),
        digests=Digests(
            data=parts[0].digests.data if parts else "",
            config=files.sha256_of(options),
            key=files.sha256_of([options, [record.digests.to_json() for record in parts]]),
        ),
    )
