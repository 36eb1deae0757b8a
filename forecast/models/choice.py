"""Chooses the shape of a linear map by cross-validation: penalty, lags, products, inputs, and the
share of its change for every series.

`choose_linear_shape` does so for the linear skip (`forecast.models.skip`), and so for ridge, arx
and rectify; `families/window_linear.py` chooses its maps with the functions for folds and means
here. Nothing after the validation block is read.

The normal equations of a fit without a fold and its neighbourhood are sums over the other rows
(hv-block cross-validation, Racine 2000), so one pass over the data serves all folds and shapes. The
result is a weighted mean of the shapes with about the lowest error (docs/research/linear-part.md).
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
    Moments,
    Skip,
    centre_sums,
    design_of,
    find_columns,
    mean_of_ridges,
    products_matrix,
    solve_ridge,
)
from forecast.system.errors import ModelError


class FoldBatch(NamedTuple):
    """A batch of cutoffs of train and validation, with the folds of cross-validation."""

    windows: Windows
    target: np.ndarray
    """(B, H, O), scaled."""
    is_learnt_by: np.ndarray
    """(folds, B): which cutoffs each fold learns from."""
    fold: np.ndarray
    """(B,): the fold in which a cutoff is scored, or -1."""


SumsByLearners = dict[tuple[bool, ...], Any]
"""The summed `products_matrix` of rows, by which folds learn from these rows (a bool per fold)."""


class Folds(Protocol):
    """The history in folds of cross-validation; called once per pass over the data."""

    def __call__(self, *, sampled: bool = True) -> Iterable[FoldBatch]:
        """Batches of all windows, of which a random sample is scored; or, not `sampled`, batches of
        those windows that are scored in some fold.
        """

    def sum_long(self, shape: Skip, unused: Collection[str]) -> tuple[Folds, SumsByLearners]:
        """The sums over the cutoffs of series with long lookbacks, made without windows; and these
        folds without learning from those cutoffs again. Series in `unused` are left out.
        """


class LinearBatch(NamedTuple):
    """A batch of cutoffs as the regression of a linear map."""

    inputs: np.ndarray
    """(B, features)."""
    targets: np.ndarray
    """(B, outputs): the targets of a fit, missing steps filled."""
    is_usable: np.ndarray
    """(B,): whether a fit may learn from a cutoff."""
    scored_targets: np.ndarray
    """(B, outputs): the targets that score the map, NaN where missing."""


class FoldCase(NamedTuple):
    """One fold: the moments that it learns from, and the cutoffs that score it."""

    moments: Moments
    inputs: np.ndarray
    """(n, features) of the scored cutoffs."""
    targets: np.ndarray
    """(n, outputs) of the scored cutoffs, NaN where missing."""


WEIGHT_SCALE = 0.02
"""A setting whose error is this share above the lowest has a weight in the mean that is 1/e."""
ERROR_STEP = 0.005
"""Errors are rounded to multiples of this share of the lowest, so that tiny changes in validation
leave the weights, and so the coefficients, as they are.
"""
MIN_WEIGHT = 0.01
"""A setting with a smaller weight is left out of the mean."""
CHANGE_SHARES = np.linspace(0.0, 1.0, 11)
"""The shares of the forecast change that are tried for a series."""
SURE = 1.5
"""Standard errors that are added to the mean error of a share."""
BORROWED_STRETCHES = 5
"""How many stretches with the mean and variance of all series are added to those of each series."""
USUAL_SPREAD = 0.4
"""Standard deviation over stretches of the loss of the whole change, in units of the error of the
last value; assumed for a single series, whose one or two stretches do not show it.
"""
LEVEL_GAIN = 0.01
"""The share by which the level of the target must lower the error to be read. A map that reads the
level pulls a series back that leaves the fitted range, which no fold inside the history shows. A
one-step map always reads it, because its closed loop diverges without.
"""


def choose_linear_shape(folds: Folds, channels: Layout, richest: Skip, lags: Sequence[int]) -> Skip:
    """The shape of a mean of ridges, chosen among the shapes inside `richest` over the `lags`, with
    the share of its change for every series. `ModelError` where no ridge has a finite error.

    One map for all series does not help some of them (step functions, stocks of spare parts, random
    walks). Their share is 0, and the shape is chosen once more without them.
    """
    shape = _choose_shape(folds, channels, richest, lags)
    if unused := shape.unused_series:
        # the remaining series may be too few for every fold to learn from
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
    """The weighted mean of all shapes that a search tried, by their errors over `folds`, and the
    shares of the series. The search starts at the best of `_start_shapes` and goes to the best
    neighbour while that lowers the error. Series in `unused` are left out. `ModelError` where no
    error is finite.
    """
    largest = replace(richest, lags=max(lags))
    cases = _cases_of(folds, largest, channels, unused)
    searched = largest
    if len(cases) == 1:
        # a single fold cannot separate a late effect of a plan from the time of year
        searched = replace(largest, reads_past_plans=False, bent=())
    error_of: dict[Skip, float] = {}

    def error(shape: Skip) -> float:
        if shape not in error_of:
            columns = find_columns(shape, largest, channels)
            mean = float(np.mean(fold_errors(cases, columns, shape.penalty)))
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
        fold: mean_of_ridges(case.moments, largest, channels, weight_of.items())
        for fold, case in cases.items()
    }
    errors_of_series = _errors_by_share(folds, maps, largest, channels)
    return replace(largest.with_mean_of(weight_of), change_weights=weigh_changes(errors_of_series))


def _errors_by_share(
    folds: Folds, maps: Mapping[int, np.ndarray], largest: Skip, channels: Layout
) -> dict[str, np.ndarray]:
    """By series, the mean absolute errors (stretches, outputs, shares) in scaled units of the last
    value plus each of `CHANGE_SHARES` of the change that the map of the fold forecasts. maps: by
    fold. A stretch is as many cutoffs as the horizon has steps; NaN where it has no observation.
    """
    stretches: dict[str, list[np.ndarray]] = defaultdict(list)
    errors: dict[str, list[np.ndarray]] = defaultdict(list)
    for windows, target, _, fold in folds(sampled=False):
        for k in set(fold[fold >= 0]) & set(maps):
            scored = windows.select(fold == k)
            scored_target = target[fold == k]
            change = largest.inputs(scored, channels) @ maps[k][:-1] + maps[k][-1]
            shares_of_change = change.reshape(scored_target.shape)[..., None] * CHANGE_SHARES
            misses = np.abs((scored_target - scored.last[:, None])[..., None] - shares_of_change)
            is_known = np.isfinite(misses)
            count = is_known.sum(axis=1)
            means = np.nansum(misses, axis=1) / np.where(count, count, np.nan)
            for uid in np.unique(scored.series):
                is_own = scored.series == uid
                stretches[str(uid)].append(scored.rows[is_own] // largest.horizon)
                errors[str(uid)].append(means[is_own])
    return {
        uid: _mean_by_group(np.concatenate(stretches[uid]), np.concatenate(each))
        for uid, each in errors.items()
    }


def _mean_by_group(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n_groups, outputs, shares): the means of `values` (n, outputs, shares) over the rows with
    the same number in `groups` (n,), numbers in rising order; NaN where a group has a NaN.
    """
    names, position = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, position, values)
    return sums / np.bincount(position)[:, None, None]


def weigh_changes(errors: Mapping[str, np.ndarray]) -> dict[str, tuple[float, ...]]:
    """By series, the share of the change for each output: the one with the lowest error relative to
    the last value after `SURE` standard errors are added, so that a share is above 0 only where the
    map is surely better than the last value.

    errors: by series (stretches, outputs, shares).
    """
    relative = [_relative_losses(each) for each in errors.values()]
    shares = [_surest_shares(losses) for losses in zip(*relative, strict=True)]
    return {uid: tuple(each) for uid, *each in zip(errors, *shares, strict=True)}


def _relative_losses(errors: np.ndarray) -> list[np.ndarray]:
    """For each output the losses (known stretches, shares) of one series: its `errors` (stretches,
    outputs, shares) minus those of the last value, divided by the mean of the latter.
    """
    by_output = []
    for each in errors.swapaxes(0, 1):
        known = each[np.isfinite(each).all(axis=1)]
        losses = known - known[:, :1]
        by_output.append(losses / (known[:, 0].mean() if known[:, 0].any() else 1.0))
    return by_output


def _surest_shares(losses: Sequence[np.ndarray]) -> list[float]:
    """For one output, the share of `CHANGE_SHARES` of each series with the lowest mean loss plus
    `SURE` standard errors. losses: of each series (stretches, shares).

    `BORROWED_STRETCHES` stretches with the mean and variance of all series are added to each. For a
    single series they enter the variance alone, with the variance of `USUAL_SPREAD`.
    """
    known = [each for each in losses if len(each)] or [np.zeros((1, len(CHANGE_SHARES)))]
    mean_of_all = np.mean([each.mean(axis=0) for each in known], axis=0)
    centred = np.concatenate([each - each.mean(axis=0) for each in known])
    variance_of_all = (centred**2).sum(axis=0) / max(len(centred) - len(known), 1)
    n_borrowed = BORROWED_STRETCHES
    if len(losses) == 1:  # the mean of all would be its own
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
    """The shapes with every second penalty, with and without `harmonics`, over each of `lags`."""
    for penalty in PENALTIES[::2]:
        for shape in (largest, replace(largest, harmonics=())):
            yield from (replace(shape, lags=n, penalty=penalty) for n in lags)


def mean_weights(errors: np.ndarray) -> np.ndarray:
    """The weights (settings,) of settings in a mean, by their errors (settings,). Their sum is 1,
    and most are 0, as are those of infinite errors.
    """
    steps = np.round((errors - errors.min()) / max(ERROR_STEP * errors.min(), np.finfo(float).tiny))
    weights = np.exp(-steps * ERROR_STEP / WEIGHT_SCALE)
    weights[weights < MIN_WEIGHT * weights.sum()] = 0.0
    return weights / weights.sum()


def steadiest_setting(errors: np.ndarray, penalties: int) -> int:
    """The index of the setting with the largest penalty whose error is within one standard error
    of the lowest, among those of the shape with the lowest error. errors: (shapes * penalties,
    folds), penalties rising.
    """
    best = int(np.nanargmin(errors.mean(axis=1)))
    costs = errors[best : best - best % penalties + penalties] - errors[best]
    within = costs.mean(axis=1) <= costs.std(axis=1) / np.sqrt(max(errors.shape[1] - 1, 1))
    return best + int(np.flatnonzero(within)[-1])


def _cases_of(
    folds: Folds, largest: Skip, channels: Layout, unused: Collection[str]
) -> dict[int, FoldCase]:
    """The folds as regressions on the inputs of `largest`. The series in `unused` neither teach nor
    score.
    """

    def make_batch(windows: Windows, target: np.ndarray) -> LinearBatch:
        change = (target - windows.last[:, None, :]).reshape(len(windows), -1)
        is_used = ~np.isin(windows.series, [*unused])
        change[~is_used] = np.nan
        x, y, is_known = design_of(largest, windows, target, channels)
        return LinearBatch(x, y, is_known & is_used, change)

    return fold_cases(*folds.sum_long(largest, unused), make_batch)


def fold_cases(
    folds: Folds, sums: SumsByLearners, make_batch: Callable[[Windows, np.ndarray], LinearBatch]
) -> dict[int, FoldCase]:
    """The `FoldCase` of each fold with a scored cutoff.

    make_batch: the regression of a batch of windows and targets. sums: those that were computed
    before. Rows that the same folds learn from are summed once.
    """
    sums_of_learners: SumsByLearners = defaultdict(float, sums)
    inputs_by_fold: dict[int, list[np.ndarray]] = defaultdict(list)
    targets_by_fold: dict[int, list[np.ndarray]] = defaultdict(list)
    for windows, target, is_learnt_by, fold in folds():
        batch = make_batch(windows, target)
        for learners in np.unique(is_learnt_by, axis=1).T:
            if sums and not learners.any():
                continue
            rows = batch.is_usable & (learners == is_learnt_by.T).all(axis=1)
            products = products_matrix(batch.inputs[rows], batch.targets[rows])
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
    return cases


def fold_errors(cases: Mapping[int, FoldCase], columns: np.ndarray, penalty: float) -> np.ndarray:
    """(folds,): the mean absolute error in each fold of the ridge on these `columns`."""
    errors = []
    for moments, x, targets in cases.values():
        slopes = solve_ridge(moments, columns, penalty, targets.shape[1])
        residuals = targets - x[:, columns] @ slopes[:-1] - slopes[-1]
        errors.append(np.abs(residuals)[np.isfinite(targets)].mean())
    return np.array(errors or [np.inf])


def _neighbours(
    shape: Skip, largest: Skip, channels: Layout, lags: Sequence[int]
) -> Iterator[Skip]:
    """The shapes that differ from `shape` in one property (lags, products, known-future inputs, one
    past-only input or all of them), each with the same penalty and the next lower and higher one.
    """
    harmonics = () if shape.harmonics else largest.harmonics
    inputs = channels.past_channels
    unread_sets = [{*shape.unread} ^ {channel} for channel in inputs]
    changed = [
        shape,
        *(replace(shape, lags=n) for n in _next_to(shape.lags, lags)),
        replace(shape, harmonics=harmonics),
        replace(shape, reads_plans=largest.reads_plans != shape.reads_plans),
        replace(shape, reads_past_plans=largest.reads_past_plans != shape.reads_past_plans),
        replace(shape, bent=() if shape.bent else largest.bent),
        *(replace(shape, unread=tuple(sorted(each))) for each in [*unread_sets, inputs, ()]),
    ]
    for penalty in _next_to(shape.penalty, PENALTIES):
        yield from (replace(neighbour, penalty=penalty) for neighbour in changed)


def _next_to(value: float, steps: Sequence[Any]) -> Sequence[Any]:
    """The neighbours of `value` in the rising `steps`, and `value` itself between them."""
    position = steps.index(value)
    return steps[max(position - 1, 0) : position + 2]
