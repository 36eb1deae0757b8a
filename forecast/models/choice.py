"""Penalty, lags, products and inputs of a ridge, by its errors on fifths of the history that it has
not seen.

`choose_linear_map` searches them for the linear skip (`forecast.models.skip`) and for ridge and
arx, which are that skip standing alone; `fold_cases` and `fold_errors` serve the linear maps of
`families/window_linear.py` as well. Nothing behind the validation block is looked at. A skip
without a map (`UnchangedSkip`) is returned where the last value is nearer than every ridge.

The sums over all rows but those of a stretch and its neighbourhood are the equations of a fit
without it (hv-block cross-validation, Racine 2000), so one pass over the data serves every fold and
every candidate. Of settings with about the same error the mean is taken:
docs/research/linear-part.md has what it scored later, and what the best one alone did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.models.skip import (
    PENALTIES,
    Examples,
    FeatureColumns,
    Skip,
    UnchangedSkip,
    design_of,
    fit_linear_map,
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


Folds = Callable[[], Iterable[FoldBatch]]
"""All batches; called once per pass over the data."""


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

    sums: np.ndarray
    """`products_matrix` of all that the fold learns from."""
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


def choose_linear_map(
    folds: Folds, train: Examples, channels: Layout, richest: Skip, lags: Sequence[int]
) -> Skip:
    """The mean of ridges on the train rows, of `richest` over any of the `lags`, weighted by the
    errors over `folds`; `ModelError` when none is finite. The search goes from the best of a few
    penalties one change at a time, while it helps. The mean is of all that it tried.

    Without any change where that is nearer: least squares goes for the mean, which on a series that
    mostly stays where it is (steps, stocks of spare parts) is further off than the last value.
    """
    largest = richest.with_lags(max(lags))
    errors_by_fold, last_value_error = _shape_errors(folds, largest, channels)
    error_of: dict[Skip, float] = {}

    def error(shape: Skip) -> float:
        mean = float(np.mean(errors_by_fold(shape)))
        error_of[shape] = mean if np.isfinite(mean) else np.inf
        return error_of[shape]

    best = min(_start_shapes(largest, lags), key=error)
    while True:
        neighbour = min(_neighbours(best, largest, channels, lags), key=error)
        if error(neighbour) >= error(best):
            break
        best = neighbour
    if not np.isfinite(error(best)):
        raise ModelError(
            "The linear skip has no finite error on validation: that block has no observed target,"
            " or an input overflows. Check the data, or move the dates under `splits`."
        )
    if last_value_error < error(best):
        return UnchangedSkip("linear", richest.horizon, richest.outputs, richest.season_length)
    weights = mean_weights(np.array([*error_of.values()]))
    weight_of = {
        shape: float(weight) for shape, weight in zip(error_of, weights, strict=True) if weight
    }
    return fit_linear_map(train, channels, largest.with_mean_of(weight_of))


def _start_shapes(largest: Skip, lags: Sequence[int]) -> Iterator[Skip]:
    """Every second penalty, with and without products, over each of `lags`."""
    shapes = [largest]
    if largest.harmonics:
        shapes.append(replace(largest, harmonics=()))
    for penalty in PENALTIES[::2]:
        for shape in shapes:
            yield from (replace(shape.with_lags(n), penalty=penalty) for n in lags)


def mean_weights(errors: np.ndarray) -> np.ndarray:
    """(settings,) weights of settings in a mean, by their errors (settings,); the sum is 1, and
    most are 0. Infinite errors have none.
    """
    steps = np.round((errors - errors.min()) / max(ERROR_STEP * errors.min(), np.finfo(float).tiny))
    weights = np.exp(-steps * ERROR_STEP / WEIGHT_SCALE)
    weights[weights < MIN_WEIGHT * weights.sum()] = 0.0
    return np.asarray(weights / weights.sum())


def steadiest_setting(errors: np.ndarray, penalties: int) -> int:
    """Of settings (shapes * penalties, folds) the one with the largest penalty, of the shape with
    the lowest error, whose errors by fold stay within one standard error of the lowest.
    """
    best = int(np.nanargmin(errors.mean(axis=1)))
    costs = errors[best : best - best % penalties + penalties] - errors[best]
    within = costs.mean(axis=1) <= costs.std(axis=1) / np.sqrt(max(errors.shape[1] - 1, 1))
    return best + int(np.flatnonzero(within)[-1])


def _shape_errors(
    folds: Folds, largest: Skip, channels: Layout
) -> tuple[Callable[[Skip], np.ndarray], float]:
    """A function from a shape, whose inputs are among those of `largest`, to its mean absolute
    errors (folds,), which remembers its results; and the mean error of the last value.
    """

    def parts(windows: Windows, target: np.ndarray) -> LinearBatch:
        change = (target - windows.last[:, None, :]).reshape(len(windows), -1)
        return LinearBatch(*design_of(largest, windows, target, channels), change)

    cases, windows = fold_cases(folds, parts)
    design = FeatureColumns(largest, channels, windows.future.shape[2])

    @cache
    def errors(shape: Skip) -> np.ndarray:
        return fold_errors(cases, design.columns_of(shape), shape.penalty)

    errors_of_last = [float(np.nanmean(np.abs(case.targets))) for case in cases]
    return errors, float(np.mean(errors_of_last or [np.inf]))


def fold_cases(
    folds: Folds, parts: Callable[[Windows, np.ndarray], LinearBatch]
) -> tuple[list[FoldCase], Windows]:
    """What each fold learns from and is scored on, and the windows of one batch. parts: what a
    linear map makes of windows and their targets. Rows that the same folds learn from are added up
    once.
    """
    sums_of_learners: dict[tuple[bool, ...], Any] = defaultdict(float)
    inputs_by_fold: dict[int, list[np.ndarray]] = defaultdict(list)
    targets_by_fold: dict[int, list[np.ndarray]] = defaultdict(list)
    for windows, target, is_learnt_by, fold in folds():
        batch = parts(windows, target)
        for learners in np.unique(is_learnt_by, axis=1).T:
            rows = batch.is_usable & (learners == is_learnt_by.T).all(axis=1)
            products = products_matrix(batch.inputs[rows], batch.aims[rows])
            sums_of_learners[tuple(learners)] = sums_of_learners[tuple(learners)] + products
        is_observed = np.isfinite(batch.scored_targets).any(axis=1)
        for k in np.unique(fold[(fold >= 0) & is_observed]):
            inputs_by_fold[k].append(batch.inputs[fold == k])
            targets_by_fold[k].append(batch.scored_targets[fold == k])
    cases = []
    for k, inputs in inputs_by_fold.items():
        sums = np.zeros_like(next(iter(sums_of_learners.values())))
        for learners, products in sums_of_learners.items():
            if learners[k]:
                sums = sums + products
        cases.append(FoldCase(sums, np.concatenate(inputs), np.concatenate(targets_by_fold[k])))
    return cases, windows


def fold_errors(cases: Sequence[FoldCase], columns: np.ndarray, penalty: float) -> np.ndarray:
    """By fold the mean absolute error of the ridge that reads these columns of the inputs."""
    errors = []
    for sums, x, targets in cases:
        slopes = solve_ridge(sums, columns, penalty, targets.shape[1])
        error = targets - x[:, columns] @ slopes[:-1] - slopes[-1]
        errors.append(np.abs(error)[np.isfinite(targets)].mean())
    return np.array(errors or [np.inf])


def _neighbours(
    shape: Skip, largest: Skip, channels: Layout, lags: Sequence[int]
) -> Iterator[Skip]:
    """The shapes that differ from `shape` in one thing (lags, products, later rows, one of the
    past-only inputs), at the same penalty and the next ones; first those that differ in the penalty
    alone.
    """
    changed = [shape]
    changed += [shape.with_lags(n) for n in _next_to(shape.lags, lags) if n != shape.lags]
    if largest.harmonics:
        harmonics = () if shape.harmonics else largest.harmonics
        changed.append(replace(shape, harmonics=harmonics).with_lags(shape.lags))
    if largest.leads:
        changed.append(replace(shape, leads=largest.leads - shape.leads))
    if inputs := set(channels.past_channels):
        unread_sets = [{*shape.unread} ^ {channel} for channel in sorted(inputs)]
        unread_sets += [inputs, set()]
        changed += [replace(shape, unread=tuple(sorted(unread))) for unread in unread_sets]
    for penalty in _next_to(shape.penalty, PENALTIES):
        yield from (replace(neighbour, penalty=penalty) for neighbour in changed)


def _next_to(value: float, steps: Sequence[Any]) -> Sequence[Any]:
    """Of rising `steps` the one before `value`, itself, and the one after it."""
    position = steps.index(value)
    return steps[max(position - 1, 0) : position + 2]
