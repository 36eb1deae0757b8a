"""What a linear map reads is chosen on stretches of all seasons, each forecast from rows that do not touch it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from forecast import models
from forecast.forecaster import Budget, fit
from forecast.models import choice
from forecast.models.problem import FOLDS
from forecast.models.skip import PENALTIES, Skip
from tests.support import problems

H = problems.HORIZON


def hours(rows=900, *, turn=0.0, inputs=None, season=0.0):
    """y follows its last value by a law that turns with the hour, and the inputs of the row before."""
    rng, time = np.random.default_rng(3), np.arange(rows)
    inputs = inputs or {}
    columns = {name: rng.normal(size=rows) for name in inputs}
    y = season * np.sin(2 * np.pi * time / 24)
    for t in time[1:]:
        y[t] += turn * np.sin(2 * np.pi * (t % 24) / 24) * y[t - 1] + rng.normal()
        y[t] += sum(weight * columns[name][t - 1] for name, weight in inputs.items())
    ds = pd.date_range("2024-01-01", periods=rows, freq="h").as_unit("ns")
    long = pd.DataFrame({"unique_id": "a", "ds": ds, "y": y, **columns})
    return problems.problem_of(long, target={"column": "y"}, past_exogenous=[{"column": name} for name in inputs])


def errors_of(problem):
    largest = Skip("linear", H, 1, lags=10, harmonics=(2,), product_lags=10)
    return largest, choice._errors(problem.folds(H), largest, problem.channels)[0]


def test_no_fold_learns_from_an_origin_whose_lookback_or_horizon_touches_what_it_is_asked_for():
    problem = problems.problem_of(problems.frame({"north": 400, "south": 300}), step_size=1)
    task, asked_for = problem.panel.task, []
    for windows, _, learns, fold in problem.folds(H)():
        asked_for.append((windows.rows, learns, fold))
        assert learns.shape == (FOLDS, len(windows)) and learns.any(axis=1).all()
    assert len(asked_for) == 2  # a batch per series
    for rows, learns, fold in asked_for:
        assert set(fold.tolist()) == set(range(FOLDS))
        for k in range(FOLDS):
            own, taught = rows[fold == k], rows[learns[k]]
            first, last = taught - task.lookback + 1, taught + task.horizon
            targets = own[:, None] + np.arange(1, task.horizon + 1)
            assert not ((targets[:, :, None] >= first) & (targets[:, :, None] <= last)).any()
    ends = {uid: cut.validation[1] - 1 for uid, cut in problem.blocks.items()}
    assert [int(rows[-1]) + H for rows, *_ in asked_for] == list(ends.values())


def test_the_error_of_a_shape_is_that_of_a_ridge_fitted_to_what_each_fold_learns_from():
    problem = hours(turn=0.9, inputs={"rain": 0.5})
    (largest, error_of), batches = errors_of(problem), list(problem.folds(H)())
    channel = problem.channels.value[1]
    for shape in (
        replace(largest, penalty=1.0),
        replace(largest, penalty=100.0, harmonics=(), product_lags=0, lags=3, unread=(channel,)),
        replace(largest, penalty=0.01, lags=5, product_lags=5),
    ):
        x = np.concatenate([shape.inputs(windows, problem.channels) for windows, *_ in batches])
        y = np.concatenate([(target - windows.last[:, None])[:, :, 0] for windows, target, *_ in batches])
        learns = np.concatenate([learnt for *_, learnt, _ in batches], axis=1)
        fold, errors = np.concatenate([fold for *_, fold in batches]), []
        for k in range(FOLDS):
            ridge = Ridge(alpha=shape.penalty, solver="svd").fit(x[learns[k]], y[learns[k]])
            errors.append(np.abs(y[fold == k] - ridge.predict(x[fold == k])).mean())
        np.testing.assert_allclose(error_of(shape), errors, rtol=1e-6)


@pytest.mark.parametrize("turn", [0.0, 0.9])
def test_the_search_ends_within_a_standard_error_and_a_hundredth_of_the_best_of_the_whole_grid(turn):
    problem = hours(turn=turn)
    fitted, (largest, error_of) = problem.skip("linear", H), errors_of(problem)
    errors = []
    for lags, harmonics, penalty in itertools.product(problem.panel.task.candidate_lags(), ((), (2,)), PENALTIES):
        shape = replace(largest, lags=lags, harmonics=harmonics, product_lags=lags, penalty=penalty)
        errors.append(error_of(shape))
    best = min(errors, key=np.mean)
    cost = error_of(fitted) - best
    assert np.mean(cost) <= np.std(cost, ddof=1) / np.sqrt(FOLDS) + 0.01 * np.mean(best)
    assert fitted.harmonics == ((2,) if turn else ())


def test_the_penalty_is_the_largest_within_a_standard_error_of_the_same_shape():
    problem = hours(turn=0.9)
    fitted, (_, error_of) = problem.skip("linear", H), errors_of(problem)
    same = {penalty: error_of(replace(fitted, penalty=penalty)) for penalty in PENALTIES}
    costs = {penalty: error - min(same.values(), key=np.mean) for penalty, error in same.items()}
    within = [penalty for penalty, cost in costs.items() if np.mean(cost) <= np.std(cost, ddof=1) / np.sqrt(FOLDS)]
    assert fitted.penalty == max(within)


def test_an_input_that_does_not_help_is_not_read_and_one_that_does_is():
    problem = hours(inputs={"rain": 1.0, "dice": 0.0, "dust": 0.0})
    dice = list(problem.channels.value[2:])
    fitted = problem.skip("linear", H)
    assert list(fitted.unread) == dice
    spec = models.spec({"family": "ridge"}, where="ridge")
    assert "'dice', 'dust'" in fit(problem, spec, skip=None, seed=0, budget=Budget(1, 1)).note
    windows = next(iter(problem.examples("test", H)()))[0]
    changed = replace(windows, past=windows.past.copy())
    changed.past[:, :, dice] += 5
    expected = fitted.forecast(windows, problem.channels)
    np.testing.assert_array_equal(fitted.forecast(changed, problem.channels), expected)
    again = Skip.from_saved(fitted.to_json(), fitted.to_arrays())
    np.testing.assert_array_equal(again.forecast(changed, problem.channels), expected)


def test_rows_that_hold_no_whole_period_of_a_cycle_are_judged_on_validation_alone():
    long = problems.frame({"north": 400, "south": 300})
    short = problems.problem_of(long, calendar_features=["day_of_year"])
    for windows, _, learns, fold in short.folds(H)():
        uid = "north" if windows.rows[-1] + H == short.blocks["north"].validation[1] - 1 else "south"
        assert learns.shape[0] == 1 and set(fold.tolist()) == {-1, 0}
        assert windows.rows[learns[0]].tolist() == short.rows(uid, "train").tolist()
        assert set(windows.rows[fold == 0]) <= set(
            range(short.blocks[uid].validation[0] - 1, len(short.panel.by_id[uid]))
        )
