"""Penalty, lags, products and inputs of a ridge, by its errors on fifths of the history that it has
not seen.

The sums over all rows but those of a stretch and its neighbourhood are the equations of a fit
without it (hv-block cross-validation, Racine 2000), so one pass over the data serves every fold and
every candidate. Of settings with about the same error the mean is taken: docs/protocol.md has what
it scored later, and what the best one alone did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

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
    products_of,
    ridge,
)
from forecast.system.errors import ModelFailure

Folds = Callable[[], Iterable[tuple[Windows, np.ndarray, np.ndarray, np.ndarray]]]
"""Gives windows, their scaled targets (B, H, O), which of them each fold learns from (K, B), and
the fold in which each is asked for (B,), or -1.
"""
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Inputs (B, features), what a fit learns them to give (B, outputs), of which rows (B,), and what
is wanted, NaN where it is not known.
"""
Case = tuple[np.ndarray, np.ndarray, np.ndarray]
"""`products_of` what a fold learns from; inputs and wanted values where it is asked."""

NEAR, STEP = 0.02, 0.005
"""A setting whose error lies the first share above the lowest has e times less weight in the mean.

Errors count in steps of the second: so weights are a choice, and a trifle in validation moves no
coefficient of the train rows.
"""
LEAST = 0.01
"""Weight from which on a setting is in the mean."""


def choose_linear_map(
    folds: Folds, train: Examples, channels: Layout, richest: Skip, lags: Sequence[int]
) -> Skip:
    """The mean of ridges on the train rows, of `richest` over any of the `lags`, weighted by the
    errors over `folds`; `ModelFailure` when none is finite. The search goes from the best of a few
    penalties one change at a time, while it helps. The mean is of all that it tried.

    Without any change where that is nearer: least squares goes for the mean, which on a series that
    mostly stays where it is (steps, stocks of spare parts) is further off than the last value.
    """
    largest = richest.with_lags(max(lags))
    plain = [largest, replace(largest, harmonics=())] if largest.harmonics else [largest]
    first = [shape.with_lags(n) for shape in plain for n in lags]
    errors, unchanged = _errors(folds, largest, channels)
    tried: dict[Skip, float] = {}

    def error(shape: Skip) -> float:
        mean = float(np.mean(errors(shape)))
        tried[shape] = mean if np.isfinite(mean) else np.inf
        return tried[shape]

    best = min(
        (replace(shape, penalty=penalty) for penalty in PENALTIES[::2] for shape in first),
        key=error,
    )
    while error(found := min(_neighbours(best, largest, channels, lags), key=error)) < error(best):
        best = found
    if not np.isfinite(error(best)):
        raise ModelFailure(
            "The linear skip has no finite error on validation: that block has no observed target,"
            " or an input overflows. Check the data, or move the dates under `splits`."
        )
    weights = mean_weights(np.array([*tried.values()]))
    near = {shape: float(weight) for shape, weight in zip(tried, weights, strict=True) if weight}
    if unchanged < error(best):
        return UnchangedSkip("linear", richest.horizon, richest.outputs, richest.season_length)
    return fit_linear_map(train, channels, largest.with_mean_of(near))


def mean_weights(errors: np.ndarray) -> np.ndarray:
    """Of settings in a mean, by their errors; the sum is 1."""
    steps = np.round((errors - errors.min()) / max(STEP * errors.min(), np.finfo(float).tiny))
    weights = np.exp(-steps * STEP / NEAR)
    weights[weights < LEAST * weights.sum()] = 0.0
    return np.asarray(weights / weights.sum())


def steadiest_setting(errors: np.ndarray, penalties: int) -> int:
    """Of settings (shapes * penalties, folds) the one with the largest penalty, of the shape with
    the lowest error, whose errors by fold stay within one standard error of the lowest.
    """
    best = int(np.nanargmin(errors.mean(axis=1)))
    costs = errors[best : best - best % penalties + penalties] - errors[best]
    within = costs.mean(axis=1) <= costs.std(axis=1) / np.sqrt(max(errors.shape[1] - 1, 1))
    return best + int(np.flatnonzero(within)[-1])


def _errors(
    folds: Folds, largest: Skip, channels: Layout
) -> tuple[Callable[[Skip], np.ndarray], float]:
    """Of a shape whose inputs are among those of `largest` the error by fold; and the mean one of
    the last value.
    """

    def parts(windows: Windows, target: np.ndarray) -> Parts:
        change = (target - windows.last[:, None, :]).reshape(len(windows), -1)
        return *design_of(largest, windows, target, channels), change

    cases, windows = fold_cases(folds, parts)
    design = FeatureColumns(largest, channels, windows.future.shape[2])

    @cache
    def errors(shape: Skip) -> np.ndarray:
        return fold_errors(cases, design.columns_of(shape), shape.penalty)

    errors_of_last = [float(np.nanmean(np.abs(change))) for *_, change in cases]
    return errors, float(np.mean(errors_of_last or [np.inf]))


def fold_cases(
    folds: Folds, parts: Callable[[Windows, np.ndarray], Parts]
) -> tuple[list[Case], Windows]:
    """What each fold learns from and is asked for; and the windows of one batch.

    Rows that the same folds learn from are added up once.
    """
    sums: dict[tuple[bool, ...], Any] = defaultdict(float)
    asked: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for windows, target, learns, fold in folds():
        x, y, known, wanted = parts(windows, target)
        for learnt in np.unique(learns, axis=1).T:
            own = known & (learnt == learns.T).all(axis=1)
            sums[tuple(learnt)] = sums[tuple(learnt)] + products_of(x[own], y[own])
        for k in np.unique(fold[(fold >= 0) & np.isfinite(wanted).any(axis=1)]):
            asked[k].append((x[fold == k], wanted[fold == k]))
    joined = {
        k: [np.concatenate(part) for part in zip(*own, strict=True)] for k, own in asked.items()
    }
    none = np.zeros_like(next(iter(sums.values())))
    learnt_by = {k: sum((own for learnt, own in sums.items() if learnt[k]), none) for k in joined}
    return [(learnt_by[k], x, wanted) for k, (x, wanted) in joined.items()], windows


def fold_errors(cases: Sequence[Case], columns: np.ndarray, penalty: float) -> np.ndarray:
    """By fold the mean absolute error of the ridge that reads these columns of the inputs."""
    wrong = []
    for sums, x, wanted in cases:
        slopes = ridge(sums, columns, penalty, wanted.shape[1])
        wrong.append(
            np.abs(wanted - x[:, columns] @ slopes[:-1] - slopes[-1])[np.isfinite(wanted)].mean()
        )
    return np.array(wrong or [np.inf])


def _neighbours(
    shape: Skip, largest: Skip, channels: Layout, lags: Sequence[int]
) -> Iterator[Skip]:
    """What differs in one thing, at the same penalty and the next ones; first in the penalty
    alone.
    """
    at, place = lags.index(shape.lags), PENALTIES.index(shape.penalty)
    inputs = set(channels.past_channels)
    changed = [
        shape,
        *(shape.with_lags(n) for n in lags[max(at - 1, 0) : at + 2] if n != shape.lags),
    ]
    if largest.harmonics:
        turned = replace(shape, harmonics=() if shape.harmonics else largest.harmonics)
        changed.append(turned.with_lags(shape.lags))
    if largest.leads:
        changed.append(replace(shape, leads=largest.leads - shape.leads))
    if inputs:
        left_out = (
            *({*shape.unread} ^ {channel} for channel in sorted(inputs)),
            inputs,
            set[int](),
        )
        changed += [replace(shape, unread=tuple(sorted(others))) for others in left_out]
    for penalty in PENALTIES[max(place - 1, 0) : place + 2]:
        yield from (replace(one, penalty=penalty) for one in changed)
