"""Penalty, lags, products and inputs of a ridge, by its errors on fifths of the history that it has
not seen; and how much of its change every series is given.

`choose_linear_shape` searches them for the linear skip (`forecast.models.skip`) and for ridge and
arx, which are that skip standing alone; `fold_cases` and `fold_errors` serve the linear maps of
`families/window_linear.py` as well. Nothing after the validation block is looked at.

The sums over all rows but those of a stretch and its neighbourhood are the equations of a fit
without it (hv-block cross-validation, Racine 2000), so one pass over the data serves every fold and
every candidate. Of settings with about the same error the mean is taken:
docs/research/linear-part.md has what it scored later, and what the best one alone did.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.models.skip import (
    PENALTIES,
    FeatureColumns,
    Moments,
    Skip,
    centre_sums,
    design_of,
    index_features,
    mean_of_ridges,
    products_matrix,
    solve_ridge,
)
from forecast.system.errors import ModelError


class FoldBatch(NamedTuple):
    """A batch of cutoffs of train and validation, with the folds of cross-validation."""

    windows: Windows
    target: np.ndarray
    """(B, H, O) scaled."""
    is_learnt_by: np.ndarray
    """(folds, B): which cutoffs each fold learns from."""
    fold: np.ndarray
    """(B,): the fold in which a cutoff is scored, or -1."""


SumsByLearners = dict[tuple[bool, ...], Any]
"""By which folds learn from the rows, their `products_matrix`."""


class Folds(Protocol):
    """The history in folds, a batch of windows at a time; called once per pass over the data."""

    def __call__(self, *, sampled: bool = True) -> Iterable[FoldBatch]:
        """Every window, learnt from or not, of which a random sample is scored; or all that are
        ever scored.
        """

    def sum_long(self, shape: Skip, unused: Collection[str]) -> tuple[Folds, SumsByLearners]:
        """The sums over cutoffs of long lookbacks, made without windows, and the folds in which
        these are not learnt from again; no series of `unused` is in the sums.
        """


class LinearBatch(NamedTuple):
    """What a linear map makes of a batch of cutoffs."""

    inputs: np.ndarray
    """(B, features)."""
    aims: np.ndarray
    """(B, outputs): what a fit learns the inputs to give."""
    is_usable: np.ndarray
    """(B,): whether a fit may learn from a cutoff."""
    scored_targets: np.ndarray
    """(B, outputs): what the map is scored against, NaN where missing."""


class FoldCase(NamedTuple):
    """One fold: the sums that it learns from, and the cutoffs that score it."""

    moments: Moments
    """Of all that the fold learns from."""
    inputs: np.ndarray
    """(B, features)."""
    targets: np.ndarray
    """(B, outputs), NaN where missing."""


WEIGHT_SCALE = 0.02
"""A setting whose error lies this share above the lowest has e times less weight in the mean."""
ERROR_STEP = 0.005
"""Errors count in steps of this share of the lowest: so weights are a choice, and a trifle in
validation moves no coefficient of the train rows.
"""
MIN_WEIGHT = 0.01
"""Weight from which on a setting is in the mean."""
CHANGE_SHARES = np.linspace(0.0, 1.0, 11)
"""Shares of the forecast change that are tried for a series."""
SURE = 1.5
"""A share counts by its error and so many standard errors more."""
BORROWED_STRETCHES = 5
"""So many stretches with the mean and variance of all series are added to those of each series."""
USUAL_SPREAD = 0.4
"""Deviation, from stretch to stretch, of the loss of a whole change, in units of the error of the
last value: a series alone borrows it, since one or two stretches do not show it.
"""
LEVEL_GAIN = 0.01
"""Lower error by which the level of the target must earn its place: where a series leaves the range
that it was fitted on, which no fold inside the history shows, a map of the level pulls it back. Of
one step, which a closed loop repeats, the level is always read: it holds the loop.
"""


def choose_linear_shape(folds: Folds, channels: Layout, richest: Skip, lags: Sequence[int]) -> Skip:
    """The shape of a mean of ridges, of `richest` over any of the `lags`, with the share of its
    change that every series is given; `ModelError` when no ridge has a finite error.

    One map for all series is no use to some of them (steps, stocks of spare parts, random walks).
    They are given none of it, and it is chosen once more without them: what they do not follow they
    do not bend.
    """
    shape = _choose_shape(folds, channels, richest, lags)
    if unused := shape.unused_series:
        # the series that are left may be too few for every fold to learn from
        with contextlib.suppress(ModelError):
            richest = replace(richest, reads_level=shape.reads_level)
            shape = _choose_shape(folds, channels, richest, lags, unused)
    return shape


def _choose_shape(
    folds: Folds,
    channels: Layout,
    richest: Skip,
    lags: Sequence[int],
    unused: Collection[str] = (),
) -> Skip:
    """The mean of all that a search tried, weighted by the errors over `folds`, and the shares of
    the series; no ridge sees one of `unused`. The search goes from the best of a few penalties one
    change at a time, while it helps. `ModelError` where no error is finite.
    """
    largest = richest.with_lags(max(lags))
    cases, design = _cases_of(folds, largest, channels, unused)
    searched = largest
    if len(cases) == 1:
        # one block cannot tell a late effect of a plan from the time of year
        searched = replace(largest, plan_lags=0, bent=())
    error_of: dict[Skip, float] = {}

    def error(shape: Skip) -> float:
        if shape not in error_of:
            mean = float(np.mean(fold_errors(cases, design.columns_of(shape), shape.penalty)))
            error_of[shape] = mean if np.isfinite(mean) else np.inf
        return error_of[shape]

    best = min(_start_shapes(searched, lags), key=error)
    without_level = [replace(best, reads_level=False, penalty=each) for each in PENALTIES[::2]]
    steadier = min(without_level, key=error)
    if richest.horizon > 1 and error(best) > (1 - LEVEL_GAIN) * error(steadier):
        best = steadier
    while True:
        neighbour = min(_neighbours(best, searched, channels, lags), key=error)
        if error(neighbour) >= error(best):
            break
        best = neighbour
    if not np.isfinite(error(best)):
        raise ModelError(
            "The linear skip has no finite error on validation: that block has no observed target,"
            " or an input overflows. Check the data, or move the dates under `splits`."
        )
    tried = [shape for shape in error_of if shape.reads_level == best.reads_level]
    weights = mean_weights(np.array([error_of[shape] for shape in tried]))
    weight_of = {
        shape: float(weight) for shape, weight in zip(tried, weights, strict=True) if weight
    }
    maps = {
        fold: mean_of_ridges(
            case.moments, design, [*weight_of.items()], richest.horizon * richest.outputs
        )
        for fold, case in cases.items()
    }
    errors_of_series = _errors_by_share(folds, maps, largest, channels)
    return replace(largest.with_mean_of(weight_of), change_weights=weigh_changes(errors_of_series))


def _errors_by_share(
    folds: Folds, maps: Mapping[int, np.ndarray], largest: Skip, channels: Layout
) -> dict[str, np.ndarray]:
    """By series the mean absolute errors (stretches, outputs, shares) in scaled units of the last
    value with each of `CHANGE_SHARES` of the change added that the map of the fold forecasts. A
    stretch is a horizon of cutoffs; NaN where nothing was observed in it.
    """
    stretches: dict[str, list[np.ndarray]] = defaultdict(list)
    errors: dict[str, list[np.ndarray]] = defaultdict(list)
    for windows, target, _, fold in folds(sampled=False):
        for k in set(fold[fold >= 0]) & set(maps):
            scored = windows.select(fold == k)
            scored_target = target[fold == k]
            change = largest.inputs(scored, channels) @ maps[k][:-1] + maps[k][-1]
            shares_of_change = change.reshape(scored_target.shape)[..., None] * CHANGE_SHARES
            missed = np.abs((scored_target - scored.last[:, None])[..., None] - shares_of_change)
            is_known = np.isfinite(missed)
            count = is_known.sum(axis=1)
            means = np.nansum(missed, axis=1) / np.where(count, count, np.nan)
            for uid in np.unique(scored.series):
                is_own = scored.series == uid
                stretches[str(uid)].append(scored.rows[is_own] // largest.horizon)
                errors[str(uid)].append(means[is_own])
    return {
        uid: _mean_by_group(np.concatenate(stretches[uid]), np.concatenate(each))
        for uid, each in errors.items()
    }


def _mean_by_group(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n_groups, outputs, shares): the means of `values` (n, outputs, shares) over the rows of
    each group, groups (n,) in rising order; NaN where a value of the group is.
    """
    names, position = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, position, values)
    return sums / np.bincount(position)[:, None, None]


def weigh_changes(errors: Mapping[str, np.ndarray]) -> dict[str, tuple[float, ...]]:
    """The share of the change for each output of each series: the one whose error, less that of the
    last value, is lowest when `SURE` standard errors are added. So what is not surely better is the
    last value.

    errors: by series (stretches, outputs, shares).
    """
    relative = [_relative_losses(each) for each in errors.values()]
    shares = [_surest_shares(losses) for losses in zip(*relative, strict=True)]
    return {uid: tuple(each) for uid, *each in zip(errors, *shares, strict=True)}


def _relative_losses(errors: np.ndarray) -> list[np.ndarray]:
    """How much larger `errors` (stretches, outputs, shares) are than those of the last value, in
    units of the mean of these: for each output (known stretches, shares).
    """
    by_output = []
    for each in errors.swapaxes(0, 1):
        known = each[np.isfinite(each).all(axis=1)]
        losses = known - known[:, :1]
        by_output.append(losses / (known[:, 0].mean() if known[:, 0].any() else 1.0))
    return by_output


def _surest_shares(losses: Sequence[np.ndarray]) -> list[float]:
    """For one output, by series: of `CHANGE_SHARES` the one whose mean loss plus `SURE` standard
    errors is least. losses: of each series (stretches, shares).

    Each series also counts `BORROWED_STRETCHES` stretches with the mean and the variance of all
    series. Where there is only one series, these have no mean and the variance of `USUAL_SPREAD`.
    """
    known = [each for each in losses if len(each)] or [np.zeros((1, len(CHANGE_SHARES)))]
    mean_of_all = np.mean([each.mean(axis=0) for each in known], axis=0)
    centred = np.concatenate([each - each.mean(axis=0) for each in known])
    variance_of_all = (centred**2).sum(axis=0) / max(len(centred) - len(known), 1)
    n_borrowed = BORROWED_STRETCHES  # that count in the mean; in the variance all do
    if len(losses) == 1:  # its mean, borrowed from itself, would be evidence twice
        n_borrowed = 0
        variance_of_all = (USUAL_SPREAD * CHANGE_SHARES) ** 2
    shares = []
    for each in losses:
        n_stretches = max(len(each) + n_borrowed, 1)
        mean = (each.sum(axis=0) + n_borrowed * mean_of_all) / n_stretches
        deviations = each - each.sum(axis=0) / max(len(each), 1)
        squares = (deviations**2).sum(axis=0) + BORROWED_STRETCHES * variance_of_all
        degrees_of_freedom = len(each) + BORROWED_STRETCHES - 1
        bound = mean + SURE * np.sqrt(squares / (n_stretches * degrees_of_freedom))
        shares.append(float(CHANGE_SHARES[bound.argmin()]))
    return shares


def _start_shapes(largest: Skip, lags: Sequence[int]) -> Iterator[Skip]:
    """Every second penalty, with and without products (`harmonics`), over each of `lags`."""
    for penalty in PENALTIES[::2]:
        for shape in (largest, replace(largest, harmonics=())):
            yield from (replace(shape.with_lags(n), penalty=penalty) for n in lags)


def mean_weights(errors: np.ndarray) -> np.ndarray:
    """(settings,) weights of settings in a mean, by their errors (settings,); the sum is 1, and
    most are 0. Infinite errors have none.
    """
    steps = np.round((errors - errors.min()) / max(ERROR_STEP * errors.min(), np.finfo(float).tiny))
    weights = np.exp(-steps * ERROR_STEP / WEIGHT_SCALE)
    weights[weights < MIN_WEIGHT * weights.sum()] = 0.0
    return weights / weights.sum()


def steadiest_setting(errors: np.ndarray, penalties: int) -> int:
    """The number of the setting with the largest penalty whose errors stay within one standard
    error of the lowest, among those of the shape that has the lowest; errors: (shapes * penalties,
    folds).
    """
    best = int(np.nanargmin(errors.mean(axis=1)))
    costs = errors[best : best - best % penalties + penalties] - errors[best]
    within = costs.mean(axis=1) <= costs.std(axis=1) / np.sqrt(max(errors.shape[1] - 1, 1))
    return best + int(np.flatnonzero(within)[-1])


def _cases_of(
    folds: Folds, largest: Skip, channels: Layout, unused: Collection[str]
) -> tuple[dict[int, FoldCase], FeatureColumns]:
    """The cases of the folds without the series `unused`, with the inputs of `largest`, and where
    those of smaller shapes stand among them.
    """

    def parts(windows: Windows, target: np.ndarray) -> LinearBatch:
        """Features and changes of the windows, those of unused series unknown."""
        change = (target - windows.last[:, None, :]).reshape(len(windows), -1)
        is_used = ~np.isin(windows.series, [*unused])
        change[~is_used] = np.nan
        x, y, is_known = design_of(largest, windows, target, channels)
        return LinearBatch(x, y, is_known & is_used, change)

    cases, windows = fold_cases(*folds.sum_long(largest, unused), parts)
    return cases, index_features(largest, channels, windows.future.shape[2])


def fold_cases(
    folds: Folds, sums: SumsByLearners, parts: Callable[[Windows, np.ndarray], LinearBatch]
) -> tuple[dict[int, FoldCase], Windows]:
    """What each fold learns from and is scored on, and the windows of one batch. parts: what a
    linear map makes of windows and their targets. Rows that the same folds learn from are added up
    once; `sums` are those that were made before.
    """
    sums_of_learners: SumsByLearners = defaultdict(float, sums)
    inputs_by_fold: dict[int, list[np.ndarray]] = defaultdict(list)
    targets_by_fold: dict[int, list[np.ndarray]] = defaultdict(list)
    for windows, target, is_learnt_by, fold in folds():
        batch = parts(windows, target)
        for learners in np.unique(is_learnt_by, axis=1).T:
            if sums and not learners.any():
                continue
            rows = batch.is_usable & (learners == is_learnt_by.T).all(axis=1)
            products = products_matrix(batch.inputs[rows], batch.aims[rows])
            sums_of_learners[tuple(learners)] = sums_of_learners[tuple(learners)] + products
        is_observed = np.isfinite(batch.scored_targets).any(axis=1)
        for k in np.unique(fold[(fold >= 0) & is_observed]):
            inputs_by_fold[k].append(batch.inputs[fold == k])
            targets_by_fold[k].append(batch.scored_targets[fold == k])
    cases = {}
    for k, inputs in inputs_by_fold.items():
        total = np.zeros_like(next(iter(sums_of_learners.values())))
        for learners, products in sums_of_learners.items():
            if learners[k]:
                total = total + products
        cases[k] = FoldCase(
            centre_sums(total), np.concatenate(inputs), np.concatenate(targets_by_fold[k])
        )
    return cases, windows


def fold_errors(cases: Mapping[int, FoldCase], columns: np.ndarray, penalty: float) -> np.ndarray:
    """(folds,) the mean absolute error of the ridge that reads these columns of the inputs."""
    errors = []
    for moments, x, targets in cases.values():
        slopes = solve_ridge(moments, columns, penalty, targets.shape[1])
        residuals = targets - x[:, columns] @ slopes[:-1] - slopes[-1]
        errors.append(np.abs(residuals)[np.isfinite(targets)].mean())
    return np.array(errors or [np.inf])


def _neighbours(
    shape: Skip, largest: Skip, channels: Layout, lags: Sequence[int]
) -> Iterator[Skip]:
    """The shapes that differ from `shape` in one thing (lags, products, later rows, one of the
    past-only inputs or all of them), at the same penalty and the next ones; first those that differ
    in the penalty alone.
    """
    harmonics = () if shape.harmonics else largest.harmonics
    plan_lags = 0 if shape.plan_lags else largest.plan_lags
    inputs = channels.past_channels
    unread_sets = [{*shape.unread} ^ {channel} for channel in inputs]
    changed = [
        shape,
        *(shape.with_lags(n) for n in _next_to(shape.lags, lags)),
        replace(shape, harmonics=harmonics).with_lags(shape.lags),
        replace(shape, leads=largest.leads - shape.leads),
        replace(shape, plan_lags=plan_lags).with_lags(shape.lags),
        replace(shape, bent=() if shape.bent else largest.bent),
        *(replace(shape, unread=tuple(sorted(each))) for each in [*unread_sets, inputs, ()]),
    ]
    for penalty in _next_to(shape.penalty, PENALTIES):
        yield from (replace(neighbour, penalty=penalty) for neighbour in changed)


def _next_to(value: float, steps: Sequence[Any]) -> Sequence[Any]:
    """The one of the rising `steps` before `value`, itself, and the one after it."""
    position = steps.index(value)
    return steps[max(position - 1, 0) : position + 2]
