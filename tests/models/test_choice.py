"""A linear map is the mean of what does well on fifths of the history, forecast from rows that do
not touch them.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import forecast
from forecast import models
from forecast.backtest.timeline import RefitSchedule
from forecast.forecaster import Budget, fit
from forecast.models import choice, skip
from forecast.models.problem import HISTORY_FOLDS
from forecast.models.skip import PENALTIES, Skip, design_of, find_columns
from tests.support import problems

H = problems.HORIZON


def hours(rows=900, *, turn=0.0, inputs=None, season=0.0):
    """y follows its last value by a law that turns with the hour, and the inputs of the row
    before.
    """
    rng, time = np.random.default_rng(3), np.arange(rows)
    inputs = inputs or {}
    columns = {name: rng.normal(size=rows) for name in inputs}
    y = season * np.sin(2 * np.pi * time / 24)
    for t in time[1:]:
        y[t] += turn * np.sin(2 * np.pi * (t % 24) / 24) * y[t - 1] + rng.normal()
        y[t] += sum(weight * columns[name][t - 1] for name, weight in inputs.items())
    ds = pd.date_range("2024-01-01", periods=rows, freq="h").as_unit("ns")
    long = pd.DataFrame({"unique_id": "a", "ds": ds, "y": y, **columns})
    return problems.problem_of(
        long, target={"column": "y"}, past_exogenous=[{"column": name} for name in inputs]
    )


def errors_of(problem):
    largest = Skip("linear", H, 1, lags=10, profile=(12,), harmonics=(2,))
    channels = problem.channels
    cases = choice._cases_of(problem.folds(H), largest, channels, ())
    return largest, lambda shape: choice.fold_errors(
        cases, find_columns(shape, largest, channels), shape.penalty
    )


def test_no_fold_learns_from_an_origin_whose_lookback_or_horizon_touches_what_it_is_asked_for():
    problem = problems.problem_of(problems.frame({"north": 400, "south": 300}), step_size=1)
    task, asked_for = problem.panel.task, []
    for windows, _, learns, fold in problem.folds(H)():
        asked_for.append((windows.rows, learns, fold))
        assert learns.shape == (HISTORY_FOLDS, len(windows)) and learns.any(axis=1).all()
    assert len(asked_for) == 2  # a batch per series
    for rows, learns, fold in asked_for:
        # contiguous
        assert len(np.unique(fold[fold >= 0])) == 1 + np.count_nonzero(np.diff(fold[fold >= 0]))
        for k in range(HISTORY_FOLDS):
            asked_rows, taught = rows[fold == k], rows[learns[k]]
            first, last = taught - task.lookback + 1, taught + task.horizon
            targets = asked_rows[:, None] + np.arange(1, task.horizon + 1)
            assert not ((targets[:, :, None] >= first) & (targets[:, :, None] <= last)).any()
    assert {k for *_, fold in asked_for for k in fold} == set(range(HISTORY_FOLDS))
    ends = {uid: cut.validation[1] - 1 for uid, cut in problem.blocks.items()}
    assert [int(rows[-1]) + H for rows, *_ in asked_for] == list(ends.values())


def test_the_error_of_a_shape_is_that_of_a_ridge_fitted_to_what_each_fold_learns_from():
    problem = hours(turn=0.9, inputs={"rain": 0.5})
    (largest, error_of), batches = errors_of(problem), list(problem.folds(H)())
    channel = problem.channels.value[1]
    for shape in (
        replace(largest, penalty=1.0),
        replace(largest, penalty=100.0, harmonics=(), lags=3, unread=(channel,)),
        replace(largest, penalty=0.01, lags=5),
    ):
        x = np.concatenate([shape.inputs(windows, problem.channels) for windows, *_ in batches])
        y = np.concatenate(
            [(target - windows.last[:, None])[:, :, 0] for windows, target, *_ in batches]
        )
        learns = np.concatenate([learnt for *_, learnt, _ in batches], axis=1)
        fold, errors = np.concatenate([fold for *_, fold in batches]), []
        for k in range(HISTORY_FOLDS):
            ridge = Ridge(alpha=shape.penalty, solver="svd").fit(x[learns[k]], y[learns[k]])
            errors.append(np.abs(y[fold == k] - ridge.predict(x[fold == k])).mean())
        np.testing.assert_allclose(error_of(shape), errors, rtol=1e-6)


@pytest.mark.parametrize("turn", [0.0, 0.9])
def test_the_mean_of_what_was_tried_has_the_best_of_the_whole_grid_and_weights_by_the_errors(turn):
    problem = hours(turn=turn)
    fitted, (largest, error_of) = problem.skip("linear", H), errors_of(problem)
    errors = []
    for lags, harmonics, penalty in itertools.product(
        problem.panel.task.candidate_lags(), ((), (2,)), PENALTIES
    ):
        shape = replace(largest, lags=lags, harmonics=harmonics, penalty=penalty)
        errors.append(error_of(shape))
    best = min(map(np.mean, errors))
    parts = fitted.mean_of
    assert sum(weight for _, weight in parts) == pytest.approx(1)
    mean_errors = [float(np.mean(error_of(part))) for part, _ in parts]
    assert min(mean_errors) <= 1.005 * best
    expected = np.exp(
        -0.25 * np.round((np.array(mean_errors) - min(mean_errors)) / (0.005 * min(mean_errors)))
    )
    np.testing.assert_allclose(
        [weight for _, weight in parts], expected / expected.sum(), rtol=1e-6
    )
    with_products = sum(weight for part, weight in parts if part.harmonics)
    assert with_products == pytest.approx(1) if turn else 0 < with_products < 0.7


def test_a_second_fit_is_the_mean_of_the_same_settings_on_more_rows():
    problem = hours(turn=0.9, inputs={"rain": 0.5})
    chosen, refitted = problem.skip("linear", H), problem.joined.skip("linear", H)
    assert refitted.mean_of == chosen.mean_of and len(refitted.mean_of) > 2
    windows = next(iter(problem.examples("test", H)()))[0]
    weighted = sum(
        weight * problem.joined.fit_linear_skip(H, part).forecast(windows, problem.channels)
        for part, weight in chosen.mean_of
    )
    np.testing.assert_allclose(refitted.forecast(windows, problem.channels), weighted, atol=1e-9)


def test_the_linear_map_of_a_refit_is_that_of_its_rows_alone():
    frame = problems.frame({"north": 400, "south": 300})
    problem, fresh = (problems.problem_of(frame, step_size=1) for _ in range(2))
    cutoffs = problem.panel.series[0].ds[[250, 270, 330]]
    schedule = RefitSchedule(tuple(cutoffs))
    shape = problem.skip("linear", H)
    for known in [problem.joined, *(schedule.problem_at(problem, each) for each in cutoffs)]:
        alone = fresh.with_rows(known.panel, known.blocks, object())
        alone._train_sums = {}
        np.testing.assert_allclose(
            known.skip("linear", H).coefficients,
            alone.fit_linear_skip(H, shape).coefficients,
            atol=1e-9,
        )


def test_over_all_refits_of_a_backtest_a_cutoff_enters_the_sums_at_most_twice(monkeypatch):
    problem = problems.problem_of(problems.frame({"north": 400}), step_size=1)
    schedule = RefitSchedule(tuple(problem.panel.series[0].ds[240:400:20]))
    problem.skip("linear", H)
    summed = []
    monkeypatch.setattr(
        "forecast.models.problem.design_of",
        lambda shape, windows, *rest: (
            summed.extend(windows.rows),
            design_of(shape, windows, *rest),
        )[1],
    )
    for known in [
        problem.joined,
        *(schedule.problem_at(problem, each) for each in schedule.cutoffs),
    ]:
        known.skip("linear", H)
    assert len(schedule.cutoffs) > 5 and 0 < max(np.bincount(summed)) <= 2


def test_the_steadiest_setting_has_the_largest_penalty_within_a_standard_error():
    errors = np.array(
        [[5, 5, 5, 5], [4, 4, 4, 4], [9, 9, 9, 9], [2, 3, 2, 3], [2, 3, 3, 3], [3, 4, 3, 4.0]]
    )
    # 0.25 above the lowest with a standard error of 0.25; the last one 1
    assert choice.steadiest_setting(errors, 3) == 4
    assert choice.steadiest_setting(errors[:3], 3) == 1


def test_a_trifle_in_the_errors_moves_no_weight():
    errors = np.random.default_rng(0).uniform(1, 1.1, size=50)
    weights = choice.mean_weights(errors)
    np.testing.assert_array_equal(
        choice.mean_weights(errors * (1 + 1e-7 * np.sin(np.arange(50)))), weights
    )
    assert len(np.unique(weights)) > 5


def test_errors_of_nothing_have_a_weight():
    np.testing.assert_array_equal(
        choice.mean_weights(np.array([0.0, 1.0, 0.0, np.inf])), [0.5, 0, 0.5, 0]
    )


def test_in_the_mean_an_input_that_helps_is_read_and_one_that_does_not_has_less_weight():
    problem = hours(inputs={"rain": 1.0, "dice": 0.0, "dust": 0.0})
    rain, dice, dust = problem.channels.value[1:]
    parts = problem.skip("linear", H).mean_of
    left_out = {
        channel: sum(weight for part, weight in parts if channel in part.unread)
        for channel in (rain, dice, dust)
    }
    assert left_out[rain] == 0 and min(left_out[dice], left_out[dust]) > 0.2


def test_an_input_that_no_part_of_the_mean_reads_is_named_and_changes_nothing(monkeypatch):
    for name in ("WEIGHT_SCALE", "ERROR_STEP"):
        monkeypatch.setattr(choice, name, 1e-9)  # the best one alone
    problem = hours(inputs={"rain": 1.0, "dice": 0.0, "dust": 0.0})
    dice = [problem.channels.value[-1]]
    fitted = problem.skip("linear", H)
    assert list(fitted.unread) == dice
    spec = models.spec({"family": "ridge"}, where="ridge")
    assert "does not read 'dust'" in fit(problem, spec, skip=None, seed=0, budget=Budget(1, 1)).note
    windows = next(iter(problem.examples("test", H)()))[0]
    changed = replace(windows, past=windows.past.copy())
    changed.past[:, :, dice] += 5
    expected = fitted.forecast(windows, problem.channels)
    np.testing.assert_array_equal(fitted.forecast(changed, problem.channels), expected)
    loaded = Skip.from_saved(fitted.to_json(), fitted.to_arrays())
    np.testing.assert_array_equal(loaded.forecast(changed, problem.channels), expected)


def test_rows_too_few_for_five_parts_are_judged_on_validation_alone():
    long = problems.frame({"north": 80, "south": 70})
    short = problems.problem_of(long, step_size=1)
    for windows, _, learns, fold in short.folds(H)():
        uid = (
            "north" if windows.rows[-1] + H == short.blocks["north"].validation[1] - 1 else "south"
        )
        assert learns.shape[0] == 1 and set(fold.tolist()) == {-1, 0}
        assert windows.rows[learns[0]].tolist() == short.rows(uid, "train").tolist()
        assert set(windows.rows[fold == 0]) <= set(
            range(short.blocks[uid].validation[0] - 1, len(short.panel.by_id[uid]))
        )


def test_the_only_cutoff_of_a_short_validation_block_chooses_a_linear_map():
    """Scored was every third cutoff from the first of train on, which may be none of validation."""
    months = pd.date_range("2018-01-01", periods=60, freq="MS")
    y = 10 + np.sin(np.arange(60) * np.pi / 6) + 0.1 * np.random.default_rng(0).normal(size=60)
    line = pd.DataFrame({"ds": months, "y": y})
    with pytest.warns(UserWarning, match="`predict` will refuse `levels`"):
        model = forecast.fit(line, "ridge", freq="MS", horizon=12, lookback=7, n_jobs=1)
    assert len(model.predict()) == 12


def test_of_few_rows_a_map_of_one_step_is_scored_on_every_cutoff_of_the_folds(monkeypatch):
    problem = problems.problem_of(problems.frame({"north": 400}), step_size=H)
    for horizon, enough, spacing in ((1, 1000, 1), (H, 1000, H), (1, 10, H)):
        monkeypatch.setattr("forecast.models.problem.MIN_SCORED_CUTOFFS", enough)
        ((_, _, _, fold),) = problem.folds(horizon)()
        assert np.unique(np.diff(np.flatnonzero(fold >= 0))).tolist() == [spacing]


def test_a_closed_loop_follows_a_seasonal_random_walk_about_as_well_as_least_squares():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=900)
    rng.normal(size=900)
    y = np.concatenate([rng.normal(0, 5, 12), np.zeros(888)])
    for t in range(12, 900):
        y[t] = y[t - 12] + noise[t]
    y = y[200:]
    walk = pd.DataFrame({"ds": pd.date_range("1960-01-01", periods=700, freq="MS"), "y": y})
    model = forecast.fit(walk, "arx", freq="MS", horizon=6, n_jobs=1)
    tested = model.cross_validation(n_windows=40, step_size=6)
    error = (tested.y - tested.arx).abs().mean()
    first = walk.index[walk.ds == tested.cutoff.min()][0]
    lagged = [y[13 - lag : 700 - lag] for lag in range(1, 14)]
    design = np.column_stack([np.ones(700 - 13), *lagged])
    slopes = np.linalg.lstsq(design[: first - 12], y[13 : first + 1], rcond=None)[0]
    missed = []
    for origin in range(first, first + 240, 6):
        known = list(y[: origin + 1])
        for _ in range(6):
            known.append(slopes[0] + slopes[1:] @ known[:-14:-1])
        missed.append(np.abs(y[origin + 1 : origin + 7] - known[-6:]))
    assert error < 1.15 * np.mean(missed)


def test_a_ridge_is_solved_once_and_kept_up_to_a_size(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    sums = skip.products_matrix(x, x[:, :1] + rng.normal(size=(40, 1)))
    solved = []
    monkeypatch.setattr(skip, "MAX_SOLVED_BYTES", 96)  # two ridges of six numbers
    moments = skip.centre_sums(sums)
    for penalty in (0.1, 1.0, 10.0, 0.1, 10.0):
        solved.append(skip.solve_ridge(moments, np.arange(5), penalty, 1))
        fresh = skip.solve_ridge(skip.centre_sums(sums), np.arange(5), penalty, 1)
        np.testing.assert_array_equal(solved[-1], fresh)
    assert solved[3] is solved[0] and solved[4] is not solved[2]
    fewer = skip.solve_ridge(moments, np.arange(4), 0.1, 1)
    assert len(fewer) == 5
