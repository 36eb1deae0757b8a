"""The sums of a linear map over long lookbacks: those of the windows themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forecast.models import long_windows
from forecast.models.long_windows import LongWindows, suits_long_windows
from forecast.models.skip import (
    PENALTIES,
    PROFILE_HARMONICS,
    Skip,
    calendar_harmonics,
    design_of,
    products_matrix,
)
from tests.support import problems

TARGET = {"column": "sales", "max_missing": 0.2}
INPUTS = [{"column": "wind", "max_missing": 0.2}, {"column": "rain", "transform": "log1p"}]
ROWS = {"north": 300, "south": 260}


def problem_of(*, gaps=True, target=(TARGET,), **changes):
    changes = {"past_exogenous": INPUTS, **changes}
    return problems.problem_of(problems.frame(ROWS, gaps=gaps), target=list(target), **changes)


def richest(problem):
    task = problem.panel.task
    harmonics = calendar_harmonics(task.calendar_features, problem.most_train_rows)
    profile = calendar_harmonics(task.calendar_features, problem.most_train_rows, PROFILE_HARMONICS)
    return Skip(
        "linear",
        task.horizon,
        problem.panel.outputs,
        lags=task.lookback,
        profile=profile,
        harmonics=harmonics,
    )


def long_of(problem, uid, shape):
    future = problem.panel.by_id[uid].future
    lookback = problem.panel.task.lookback
    return LongWindows(shape, problem.channels, lookback - 1, problem.scaled(uid), future)


def direct_sums(problem, uid, cutoffs, shape):
    by_series = {name: cutoffs if name == uid else cutoffs[:0] for name in problem.panel.by_id}
    total = 0.0
    for windows, target in problem.examples("train", shape.horizon, cutoffs=by_series)():
        x, y, is_known = design_of(shape, windows, target, problem.channels)
        assert is_known.all()
        total = total + products_matrix(x, y)
    return total


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target": [TARGET, {"column": "price", "transform": "log"}]},
        {"calendar_features": [], "past_exogenous": []},
        {"lookback": 40},
    ],
)
def test_sums_over_long_windows_are_those_of_the_regular_windows_alone(gaps, changes):
    problem = problem_of(gaps=gaps, **changes)
    shape = richest(problem)
    for uid in ROWS:
        cutoffs = problem.rows(uid, "train")
        cutoffs = np.concatenate([cutoffs[:30], cutoffs[50:]])  # a fold leaves out a stretch
        long = long_of(problem, uid, shape)
        regular = cutoffs[long.is_regular[cutoffs]]
        assert gaps == (len(regular) < len(cutoffs))
        expected = direct_sums(problem, uid, regular, shape)
        np.testing.assert_allclose(
            long.sum_products(cutoffs), expected, rtol=0, atol=1e-12 * np.abs(expected).max()
        )


def test_columns_that_hold_changes_and_few_cutoffs_are_summed_over_windows():
    problem = problem_of()
    shape = richest(problem)
    enough = math.ceil(long_windows.MIN_OPERATIONS / shape.lags**2)
    assert suits_long_windows(shape, problem.channels, enough)
    assert not suits_long_windows(shape, problem.channels, enough - 1)
    changes = problems.shops()
    assert not suits_long_windows(shape, changes.channels, enough)


def test_series_of_many_gaps_are_summed_over_windows(monkeypatch):
    monkeypatch.setattr(long_windows, "MIN_OPERATIONS", 0)
    problem = problem_of()
    shape = richest(problem)
    cutoffs = {uid: problem.rows(uid, "train") for uid in ROWS}
    monkeypatch.setattr("forecast.models.problem.MIN_REGULAR_SHARE", 0.5)
    assert problem.long_windows(shape, cutoffs).keys() == cutoffs.keys()
    monkeypatch.setattr("forecast.models.problem.MIN_REGULAR_SHARE", 0.99)
    assert not problem.long_windows(shape, cutoffs)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_skip_of_long_lookbacks_is_that_of_the_windows(monkeypatch, gaps):
    direct = problem_of(gaps=gaps)
    expected = [direct.skip("linear", problems.HORIZON), direct.joined.skip("linear", 3)]
    monkeypatch.setattr("forecast.models.problem.MIN_REGULAR_SHARE", 0.0)
    monkeypatch.setattr(long_windows, "MIN_OPERATIONS", 0)
    calls = []
    summed = LongWindows.sum_products

    def count_blocks(self, cutoffs):
        calls.append(cutoffs)
        return summed(self, cutoffs)

    monkeypatch.setattr(LongWindows, "sum_products", count_blocks)
    problem = problem_of(gaps=gaps)
    skips = [problem.skip("linear", problems.HORIZON), problem.joined.skip("linear", 3)]
    assert calls
    assert skips == expected
    assert skips[0].change_weights == expected[0].change_weights
    assert skips[0].penalty in PENALTIES
    for skip, other in zip(skips, expected, strict=True):
        np.testing.assert_allclose(skip.coefficients, other.coefficients, rtol=0, atol=1e-9)
