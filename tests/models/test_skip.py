"""The closed-form part: ridge in closed form, fitted on train rows alone."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from sklearn.linear_model import Ridge

from forecast.config.task import CalendarFeature
from forecast.data import calendars, panel, splits
from forecast.data.columns import add_known_ahead
from forecast.data.windows import gather_windows, layout
from forecast.models import choice, skip
from forecast.models.choice import choose_linear_shape
from forecast.models.problem import Problem
from forecast.models.skip import (
    CALENDAR_HARMONICS,
    PENALTIES,
    PROFILE_HARMONICS,
    Skip,
    calendar_harmonics,
    calendar_products,
    calendar_terms,
    design_of,
    feature_names,
    fill_missing_targets,
    find_columns,
    fit_linear_map,
    levels_of,
    linear_features,
    products_matrix,
)
from forecast.system.errors import ModelError
from tests.support import problems

HORIZON = problems.HORIZON


def error_of(skip, batches, problem):
    """The mean absolute error of a skip over all observed targets."""
    errors = [np.abs(y - skip.forecast(windows, problem.channels)) for windows, y in batches()]
    return np.nanmean(np.concatenate(errors))


def windows_of(values, *, lookback, horizon=HORIZON, **column):
    """The one window that ends at the last row of a single series."""
    settings = layout(
        problems.task(
            target={"column": "y", "max_missing": 0.9, **column},
            past_exogenous=[],
            calendar_features=[],
        )
    )
    z = np.array(values, dtype=float)[:, None]
    at = np.array([len(z) - 1])
    return (
        gather_windows(
            z, np.zeros((len(z) + horizon, 0)), at, settings, lookback=lookback, horizon=horizon
        ),
        settings,
    )


def both(kind, values, season_length=4, horizon=6):
    windows, settings = windows_of(values, lookback=len(values), horizon=horizon)
    return Skip(kind, horizon, 1, season_length).forecast(windows, settings)[0, :, 0].tolist()


def choose_ridge(train, validation, channels, *, lags, horizon=HORIZON, harmonics=()):
    """The map of `choose_linear_shape`, one fold learnt from `train`, asked for `validation`."""

    def folds(*, sampled=True):
        for windows, target in train():
            yield windows, target, np.ones((1, len(windows)), dtype=bool), np.full(len(windows), -1)
        for windows, target in validation():
            yield (
                windows,
                target,
                np.zeros((1, len(windows)), dtype=bool),
                np.zeros(len(windows), dtype=int),
            )

    folds.sum_long = lambda shape, unused: (folds, {})
    richest = Skip(
        "linear",
        horizon,
        channels.outputs,
        reads_plans=bool(channels.future_channels),
        harmonics=harmonics,
    )
    shape = choose_linear_shape(folds, channels, richest, lags)
    return fitted_map(train, channels, shape)


def fitted_map(train, channels, shape):
    """`fit_linear_map` from the sums over the batches of `train`."""
    batches = list(train())
    sums = 0.0
    for windows, target in batches:
        x, y, is_known = design_of(shape, windows, target, channels)
        sums = sums + products_matrix(x[is_known], y[is_known])
    return fit_linear_map(sums, channels, shape)


def gathered(problem, block, horizon, lags, part):
    """Features and changes of every complete window of a block."""
    pairs = list(problem.examples(block, horizon)())
    x = np.concatenate(
        [
            linear_features(
                w,
                problem.channels,
                lags=lags,
                horizon=horizon,
                unread=part.unread,
                reads_level=part.reads_level,
            )
            for w, _ in pairs
        ]
    )
    y = np.concatenate(
        [
            (fill_missing_targets(w.last, target) - w.last[:, None, :]).reshape(len(w), -1)
            for w, target in pairs
        ]
    )
    complete = np.isfinite(y).all(axis=1)
    return x[complete], y[complete]


@cache
def turning(amplitude):
    """y[t] = amplitude * sin(2 pi hour / 24) * y[t-1] + noise: a law that turns with the hour of
    the day.
    """
    rng, time = np.random.default_rng(3), np.arange(900)
    y = np.zeros(len(time))
    for t in time[1:]:
        y[t] = amplitude * np.sin(2 * np.pi * (t % 24) / 24) * y[t - 1] + rng.normal()
    ds = pd.date_range("2024-01-01", periods=len(time), freq="h").as_unit("ns")
    long = pd.DataFrame({"unique_id": "a", "ds": ds, "y": y})
    return problems.problem_of(long, target={"column": "y"}, past_exogenous=[])


def test_last_repeats_the_last_observed_value():
    assert both("last", [1, 2, 3, np.nan]) == [3] * 6


def test_none_is_zero():
    assert both("none", [1, 2, 3, 4]) == [0] * 6


def test_seasonal_repeats_the_last_season_however_long_the_horizon():
    assert both("seasonal", [9, 1, 2, 3, 4], season_length=4) == [1, 2, 3, 4, 1, 2]


def test_seasonal_takes_the_first_row_where_the_window_is_shorter_than_a_season():
    assert both("seasonal", [5, 6], season_length=4) == [5, 5, 5, 6, 5, 5]


def test_a_setting_that_has_no_solution_on_the_train_rows_leaves_the_mean():
    y = np.random.default_rng(0).normal(size=(60, 1)).cumsum(axis=0)
    task = problems.task(target={"column": "y"}, past_exogenous=[], calendar_features=[])
    channels = layout(task)
    cutoffs = np.arange(8, 50)
    windows = gather_windows(
        y, np.zeros((60 + HORIZON, 0)), cutoffs, channels, lookback=8, horizon=HORIZON
    )
    target = np.stack([y[cutoff + 1 : cutoff + 1 + HORIZON] for cutoff in cutoffs])
    shape = Skip("linear", HORIZON, 1, penalty=1.0, lags=3)
    unsolvable = replace(shape, penalty=-1e9)  # no factor of Cholesky, as of collinear inputs

    def fitted(weights):
        return fitted_map(lambda: [(windows, target)], channels, shape.with_mean_of(weights))

    mean = fitted({shape: 0.5, unsolvable: 0.5})
    np.testing.assert_allclose(mean.coefficients, fitted({shape: 1.0}).coefficients)
    assert not np.isfinite(fitted({unsolvable: 1.0}).coefficients).any()


# with the last the shops' last values are nearer
def test_known_answer_of_levels_without_their_lowest_and_highest_quarter():
    values = np.array([1.0, 2.0, 3.0, 900.0, 4.0, 5.0])[None, :, None]
    assert levels_of(values, 1)[0, :, 0].tolist() == values[0, :, 0].tolist()
    assert levels_of(values, 4)[0, :, 0].tolist() == [2.5, 3.5, 4.5]


def test_the_levels_of_a_long_series_are_of_evenly_spread_rows():
    rows = np.arange(50_000.0)[:, None]
    levels = levels_of(rows, 48)[:, 0]
    every = round(levels[1] - levels[0])
    assert every == 3 and len(levels) == -(-(50_000 - 47) // every)
    assert levels == pytest.approx(23.5 + every * np.arange(len(levels)))


@pytest.mark.parametrize("penalty", PENALTIES[:-1])
def test_the_fitted_skip_is_the_mean_of_ridges_of_scikit_learn(penalty, monkeypatch):
    monkeypatch.setattr(choice, "PENALTIES", (penalty,))
    problem = problems.shops()
    train, validation = (problem.examples(block, HORIZON) for block in ("train", "validation"))
    ours = choose_ridge(train, validation, problem.channels, lags=[5])
    assert len(ours.mean_of) > 1  # with and without each input
    ours = replace(ours, change_weights={})
    theirs = [
        (
            weight,
            part,
            Ridge(alpha=penalty, solver="svd").fit(*gathered(problem, "train", HORIZON, 5, part)),
        )
        for part, weight in ours.mean_of
    ]
    for windows, _ in problem.examples("test", HORIZON)():
        expected = np.repeat(windows.last[:, None, :], HORIZON, axis=1)
        for weight, part, coefficients in theirs:
            x = linear_features(
                windows,
                problem.channels,
                lags=5,
                horizon=HORIZON,
                unread=part.unread,
                reads_level=part.reads_level,
            )
            expected = expected + weight * coefficients.predict(x).reshape(len(x), HORIZON, 2)
        np.testing.assert_allclose(ours.forecast(windows, problem.channels), expected, atol=1e-6)


def test_with_products_the_ridge_follows_a_law_that_turns_with_the_hour():
    problem = turning(0.9)
    fitted, test = problem.skip("linear", 1), problem.examples("test", 1)
    plain = choose_ridge(
        problem.examples("train", 1),
        problem.examples("validation", 1),
        problem.channels,
        horizon=1,
        lags=[2, 5, 10],
    )
    with_products, without = (error_of(skip, test, problem) for skip in (fitted, plain))
    assert fitted.harmonics == (2,) and with_products < 0.9 * without


@pytest.mark.parametrize("horizon", [1, 24])
def test_the_ridge_of_a_daily_profile_with_ar_errors_is_near_the_known_best(horizon):
    """y = s(hour) + e, e[t] = phi e[t-1] + noise: nobody errs less than s + phi^h e."""
    rng, phi = np.random.default_rng(5), 0.8
    profile = rng.normal(0, 3, 24)
    errors = lfilter([1.0], [1.0, -phi], rng.normal(size=4000))
    ds = pd.date_range("2024-01-01", periods=len(errors), freq="h").as_unit("ns")
    long = pd.DataFrame({"unique_id": "a", "ds": ds, "y": profile[ds.hour] + errors})
    changes = {"horizon": 24, "lookback": 48, "past_exogenous": []}
    problem = problems.problem_of(long, target={"column": "y"}, **changes)
    ridge = error_of(problem.skip("linear", horizon), problem.examples("test", horizon), problem)
    steps = np.arange(1, horizon + 1)
    rows = problem.rows("a", "test")[:, None]
    missed = np.abs(errors[rows + steps] - phi**steps * errors[rows]).mean()
    best = missed * np.ptp(problem.scaled("a")) / np.ptp(long["y"])
    assert ridge < 1.01 * best


@pytest.mark.parametrize(
    ("last", "read"), [(3.0, 3.0), (4.0, 4.0), (4.5, 2.75), (5.0, 1.0), (9.0, 1.0), (-0.5, 0.25)]
)
def test_known_answer_of_a_level_beyond_its_range(last, read):
    windows, settings = windows_of([2.0, last], lookback=2, horizon=1)
    half = Skip("linear", 1, 1, lags=2, coefficients=np.array([[0.0], [-0.5], [1.0]]))
    ranged = replace(half, level_ranges={str(windows.series[0]): [[0.0, 1.0, 4.0, 1]]})
    assert ranged.forecast(windows, settings).item() == pytest.approx(last + 1.0 - 0.5 * read)
    assert half.forecast(windows, settings).item() == pytest.approx(last + 1.0 - 0.5 * last)
    loaded = Skip.from_saved(json.loads(json.dumps(ranged.to_json())), ranged.to_arrays())
    assert loaded.level_ranges == ranged.level_ranges


@pytest.mark.parametrize("last", [9.0, -9.0])
def test_a_level_beyond_its_range_that_drives_growth_is_read_as_it_is(last):
    windows, settings = windows_of([2.0, last], lookback=2, horizon=1)
    grows = Skip("linear", 1, 1, lags=2, coefficients=np.array([[0.0], [0.5], [1.0]]))
    ranged = replace(grows, level_ranges={str(windows.series[0]): [[0.0, 1.0, 4.0, 1]]})
    assert ranged.forecast(windows, settings).item() == pytest.approx(1.5 * last + 1.0)


def test_a_loop_and_a_series_of_changes_have_no_level_to_leave():
    assert problems.shops().skip("linear", 1).level_ranges == {}
    fitted = problems.shops().skip("linear", HORIZON)
    assert bool(fitted.level_ranges) == fitted.reads_level


def test_known_answer_of_the_products():
    settings = layout(
        problems.task(
            target={"column": "y"},
            past_exogenous=[{"column": "x"}],
            calendar_features=["hour_of_day", "day_of_year"],
        )
    )
    z = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 7.0]])
    future = np.tile([np.sin(0.3), np.cos(0.3), np.sin(0.5), np.cos(0.5)], (4, 1))
    windows = gather_windows(z, future, np.array([2]), settings, lookback=3, horizon=1)
    hour = np.array([np.sin(0.3), np.cos(0.3), np.sin(0.6), np.cos(0.6)])
    day = np.array([np.sin(0.5), np.cos(0.5)])
    turning, state = np.concatenate([hour, day, np.outer(hour[:2], day).ravel()]), [1, 2 - 4, 4, 7]
    profile = np.concatenate([hour, day, np.outer(hour, day).ravel()])
    expected = np.concatenate([profile, np.outer(turning, state).ravel()])
    products = calendar_products(windows, settings, 1, ((2, 1), (2, 1)), 2)
    np.testing.assert_allclose(products[0], expected, atol=1e-6)
    alone = calendar_products(windows, settings, 1, ((2, 1), ()), 2)
    np.testing.assert_allclose(alone[0], profile, atol=1e-6)


def test_a_series_whose_last_value_is_nearer_than_every_ridge_keeps_it():
    problem = problems.shops()
    steady = [
        (w, np.repeat(w.last[:, None, :], HORIZON, axis=1))
        for w, _ in problem.examples("validation", HORIZON)()
    ]
    train = problem.examples("train", HORIZON)
    fitted = choose_ridge(train, lambda: steady, problem.channels, lags=[5])
    assert error_of(fitted, lambda: steady, problem) == 0.0
    assert fitted.change_weights == {"north": (0.0, 0.0), "south": (0.0, 0.0)}
    loaded = Skip.from_saved(fitted.to_json(), fitted.to_arrays())
    assert loaded.change_weights == fitted.change_weights


def test_it_sees_every_column_over_its_lags_and_the_calendar_of_the_first_step():
    windows = next(iter(problems.shops().examples("train", HORIZON)()))[0]
    x = linear_features(windows, problems.shops().channels, lags=5, horizon=HORIZON)
    sales, price, others, calendar = 5, 4, len(problems.task().past_exogenous) * 5, 2
    assert x.shape == (len(windows), sales + price + others + calendar)


@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize(
    ("step", "feature"), [("h", "hour_of_day"), ("D", "day_of_week"), ("MS", "month_of_year")]
)
def test_the_ridge_of_one_scaled_calendar_is_that_of_the_calendar_of_every_step(
    horizon, step, feature
):
    """The calendar of a later step is that of the first one, turned by a fixed angle."""
    rng, rows = np.random.default_rng(0), np.arange(120)
    times = pd.date_range("2024-01-01", periods=120 + horizon, freq=step)
    future = calendars.calendar_features(times, [feature])
    settings = layout(
        problems.task(target={"column": "y"}, past_exogenous=[], calendar_features=[feature])
    )
    z = rng.normal(size=(120, 1))
    windows = gather_windows(z, future, rows[6:], settings, lookback=6, horizon=horizon)
    ours = linear_features(windows, settings, lags=6, horizon=horizon)
    every_step = np.hstack([ours[:, :-2], windows.future[:, -horizon:].reshape(len(ours), -1)])
    target = rng.normal(size=len(ours)) + 3 * future[rows[6:], 0]
    y_hat, expected = (Ridge(alpha=10.0).fit(x, target).predict(x) for x in (ours, every_step))
    np.testing.assert_allclose(y_hat, expected, atol=1e-5)
    assert np.ptp(expected) > 1.0


def test_known_answer_of_the_features():
    windows, settings = windows_of([1, 2, 4, 8], lookback=3)
    assert linear_features(windows, settings, lags=3, horizon=HORIZON)[0, :3].tolist() == [
        -6,
        -4,
        8,
    ]
    windows, settings = windows_of([1, 2, 4, 8], lookback=3, difference_inputs=True)
    assert linear_features(windows, settings, lags=3, horizon=HORIZON)[0, :2].tolist() == [2, 4]


NAMED = {
    "change": lambda w, name, drifts: (
        w.past[:, -1 - name.lag, name.channel]
        - (0 if drifts[name.channel] else w.past[:, -1, name.channel])
    ),
    "level": lambda w, name, drifts: w.past[:, -1, name.channel],
    "input": lambda w, name, drifts: w.past[:, -1 - name.lag, name.channel],
    "lead": lambda w, name, drifts: w.past[:, -1 - name.lag, name.channel],
    "calendar": lambda w, name, drifts: np.ones(len(w)),
    "clock": lambda w, name, drifts: np.full(len(w), 2.0),  # the root of four steps
}


@pytest.mark.parametrize("drifts", [False, True])
@pytest.mark.parametrize(("outputs", "steps"), [(1, 1), (2, 1), (1, 4)])
@pytest.mark.parametrize("calendar", [(), ("hour_of_day", "day_of_year", "day_of_week")])
def test_every_column_of_the_inputs_is_what_its_name_says(
    drifts, outputs, steps, calendar, monkeypatch
):
    monkeypatch.setattr(skip, "PRODUCT_LAGS", 3)
    targets = [{"column": f"y{i}", "difference_inputs": drifts} for i in range(outputs)]
    task = problems.task(
        target=targets,
        past_exogenous=[{"column": "rain"}, {"column": "wind"}],
        calendar_features=list(calendar),
    )
    settings, rng = layout(task), np.random.default_rng(0)
    z, angle = rng.normal(size=(30, len(task.columns))), rng.uniform(0, 6, (34, len(calendar)))
    future = np.stack([np.sin(angle), np.cos(angle)], axis=2).reshape(34, -1)
    windows = gather_windows(z, future, np.arange(12, 20), settings, lookback=8, horizon=4)
    largest = Skip(
        "linear",
        4,
        outputs,
        lags=8,
        profile=(3, 0, 2)[: len(calendar)],
        harmonics=(2, 1, 2)[: len(calendar)],
        calendar_steps=steps,
    )
    x = largest.inputs(windows, settings)
    names = feature_names(largest, settings)
    assert len(names) == x.shape[1]
    drifting = dict(zip(settings.value, settings.difference_inputs, strict=True))
    for name, column in zip(names, x.T, strict=True):
        value = NAMED[name.quantity](windows, name, drifting).astype(float)
        value = value / np.sqrt(steps) if name.quantity == "clock" else value
        for feature, multiple, is_sine in name.waves:
            turn = angle[windows.rows + max(-name.lag, 1), feature] * multiple
            value = value * (np.sin(turn) if is_sine else np.cos(turn))
        np.testing.assert_allclose(column, value, atol=1e-5)
    for smaller in (
        Skip(
            "linear",
            4,
            outputs,
            lags=3,
            calendar_steps=steps,
            unread=(settings.value[-1],),
        ),
        replace(largest, lags=2),
    ):
        columns = find_columns(smaller, largest, settings)
        np.testing.assert_array_equal(x[:, columns], smaller.inputs(windows, settings))


def test_every_column_of_a_plan_is_what_its_name_says():
    plans = [{"column": "promo", "known_ahead": True}, {"column": "warmth", "known_ahead": True}]
    settings = layout(
        problems.task(past_exogenous=[], future_exogenous=plans, calendar_features=[])
    )
    z = np.random.default_rng(0).normal(size=(30, len(settings.value)))
    windows = gather_windows(
        z, np.empty((40, 0)), np.arange(12, 20), settings, lookback=8, horizon=HORIZON
    )
    varied = tuple(settings.future_channels[HORIZON:])
    largest = Skip(
        "linear", HORIZON, 2, lags=4, reads_plans=True, reads_past_plans=True, bent=varied
    )
    x = largest.inputs(windows, settings)
    names = feature_names(largest, settings)
    assert len(names) == x.shape[1] == len(set(names))
    plan = [name for name in names if name.quantity == "lead" and name.above is None]
    assert len(plan) == 2 * HORIZON + 2 * 3
    for name, column in zip(names, x.T, strict=True):
        if name.quantity == "lead":
            value = NAMED["lead"](windows, name, {})
            value = value if name.above is None else np.maximum(value.astype(float) - name.above, 0)
            np.testing.assert_array_equal(column, value)
    for smaller in (
        replace(largest, reads_past_plans=False),
        replace(largest, reads_plans=False, bent=()),
    ):
        columns = find_columns(smaller, largest, settings)
        np.testing.assert_array_equal(x[:, columns], smaller.inputs(windows, settings))


def planned(plan, effect, **changes):
    """A series of `effect` of a plan that is known ahead, with a little noise."""
    plans = [{"column": "plan", "known_ahead": True}]
    settings = problems.dataset(
        target=[{"column": "sales"}], past_exogenous=[], future_exogenous=plans, **changes
    )
    noise = np.random.default_rng(1).normal(0, 0.01, len(plan))
    days = pd.date_range("2024-01-01", periods=len(plan), freq="h")
    long = pd.DataFrame({"unique_id": "one", "ds": days, "sales": effect + noise, "plan": plan})
    shops = panel.from_frame(add_known_ahead(long, settings), "one", settings.task)
    return Problem.of(shops, splits.resolve_borders(shops, settings.splits))


def validation_error(problem):
    skip = problem.skip("linear", HORIZON)
    return error_of(skip, problem.examples("validation", HORIZON), problem)


def test_a_ridge_takes_the_promotion_of_the_newest_row_out_of_its_level():
    promotion = (np.random.default_rng(0).random(600) < 0.3).astype(float)
    wandering = np.cumsum(np.random.default_rng(2).normal(0, 0.02, 600))
    # what the level wanders in one to three steps, in deviations of the sales
    assert validation_error(planned(promotion, 5 + wandering + promotion)) < 0.15


def test_a_ridge_follows_a_load_that_rises_with_cold_and_with_heat():
    warmth = np.random.default_rng(0).normal(0, 1, 600)
    assert validation_error(planned(warmth, 5 + np.abs(warmth))) < 0.1


def test_a_ridge_follows_a_load_that_mild_weather_leaves_alone():
    warmth = np.random.default_rng(0).normal(0, 1, 600)
    load = np.maximum(-0.6 - warmth, 0) + 2 * np.maximum(warmth - 0.8, 0)
    assert validation_error(planned(warmth, 5 + load)) < 0.1


@pytest.mark.parametrize("harmonics", [(), (2,)])
def test_only_train_rows_reach_the_coefficients(harmonics, monkeypatch):
    monkeypatch.setattr(choice, "PENALTIES", (1.0,))
    long = problems.frame()
    before = problems.problem_of(long)
    is_later = long["ds"] > before.borders.train_end
    changed = long.assign(
        sales=long["sales"].mask(is_later, 1.01 * long["sales"]),
        rain=long["rain"].mask(is_later, 0.5),
    )
    after = problems.problem_of(changed)
    for horizon in (1, HORIZON):
        chosen_on = before.examples("validation", horizon)
        options = {"horizon": horizon, "lags": [3], "harmonics": harmonics}
        a, b = (
            choose_ridge(p.examples("train", horizon), chosen_on, p.channels, **options)
            for p in (before, after)
        )
        np.testing.assert_array_equal(a.coefficients, b.coefficients)


def test_rows_after_validation_change_neither_penalty_nor_coefficients():
    long = problems.frame()
    before = problems.problem_of(long)
    is_later = long["ds"] > before.borders.validation_end
    after = problems.problem_of(long.assign(sales=long["sales"].mask(is_later, 1e6)))
    a, b = (p.skip("linear", HORIZON) for p in (before, after))
    assert a.to_json() == b.to_json()
    np.testing.assert_array_equal(a.coefficients, b.coefficients)


@pytest.mark.parametrize(
    "problem", [problems.shops(), turning(0.9)], ids=["plain", "with products"]
)
def test_it_survives_being_saved(problem):
    fitted = problem.skip("linear", HORIZON)
    loaded = Skip.from_saved(json.loads(json.dumps(fitted.to_json())), fitted.to_arrays())
    np.testing.assert_array_equal(loaded.coefficients, fitted.coefficients)
    assert loaded.to_json() == fitted.to_json()


def test_without_two_complete_windows_there_is_nothing_to_fit():
    problem = problems.shops()
    pairs = [(w, np.full_like(t, np.nan)) for w, t in problem.examples("train", HORIZON)()]
    with pytest.raises(ModelError, match=r"found 0 complete .* at least 2 .* Give more rows"):
        choose_ridge(
            lambda: pairs, problem.examples("validation", HORIZON), problem.channels, lags=[2]
        )


def test_without_an_observed_validation_target_no_penalty_can_be_chosen():
    problem = problems.shops()
    pairs = [(w, np.full_like(t, np.nan)) for w, t in problem.examples("validation", HORIZON)()]
    with pytest.raises(ModelError, match="no finite error on validation"):
        choose_ridge(problem.examples("train", HORIZON), lambda: pairs, problem.channels, lags=[2])


def test_a_missing_target_lies_between_its_neighbours_and_one_behind_the_last_repeats_it():
    nan = np.nan
    target = np.array([[[nan], [3.0], [nan], [nan], [6.0], [nan]]])
    filled = fill_missing_targets(np.array([[1.0]]), target)[0, :, 0]
    np.testing.assert_array_equal(filled, [2, 3, 4, 5, 6, 6])


@pytest.mark.parametrize(("missing", "first"), [(6, 2.0), (7, 1.0)])
def test_a_night_without_rows_repeats_the_value_before_it(missing, first):
    target = np.array([[*[np.nan] * missing, missing + 2.0]])[:, :, None]
    filled = fill_missing_targets(np.array([[1.0]]), target)[0, :, 0]
    assert filled[0] == first and filled[-1] == missing + 2
    assert np.isnan(fill_missing_targets(np.array([[1.0]]), np.full((1, 3, 1), np.nan))).all()


def test_how_long_a_value_has_been_missing_is_no_feature_of_the_linear_map():
    """A line through gaps of an hour gives nonsense after a gap of two days."""
    short, settings = windows_of([1, 2, 3, 4, 5, 6, np.nan], lookback=6)
    long, _ = windows_of([1, 2, 6, np.nan, np.nan, np.nan, np.nan], lookback=6)
    assert linear_features(short, settings, lags=6, horizon=1).shape[1] == 6
    assert (
        linear_features(long, settings, lags=1, horizon=1).tolist()
        == linear_features(short, settings, lags=1, horizon=1).tolist()
    )


def test_every_calendar_feature_has_a_cycle_and_its_harmonics() -> None:
    names = set(get_args(CalendarFeature))
    assert set(CALENDAR_HARMONICS) == set(PROFILE_HARMONICS) == set(calendars._CYCLES) == names
    times = pd.date_range("2024-01-01", periods=3, freq="h")
    for name in names:
        assert calendars.calendar_features(times, [name]).shape == (3, 2)


@pytest.mark.parametrize("pairs", [CALENDAR_HARMONICS, PROFILE_HARMONICS])
def test_calendar_terms_of_the_weekday_draw_a_week_with_a_closed_day(pairs) -> None:
    times = pd.date_range("2024-01-01", periods=70, freq="D")
    calendar = calendars.calendar_features(times, ["day_of_week"])
    terms = calendar_terms(calendar, calendar_harmonics(["day_of_week"], 240, pairs))
    design = np.hstack([*terms, np.ones((70, 1))])
    sold = np.tile([5.0, 4.0, 4.0, 5.0, 7.0, 9.0, 0.0], 10)
    drawn = design @ np.linalg.lstsq(design, sold, rcond=None)[0]
    np.testing.assert_allclose(drawn, sold, atol=1e-5)


@pytest.mark.parametrize("name", calendars.MONTH_FEATURES)
def test_the_profile_of_the_days_of_the_month_draws_any_month(name) -> None:
    times = pd.date_range("2023-01-01", periods=730, freq="D")
    calendar = calendars.calendar_features(times, [name])
    terms = calendar_terms(calendar, calendar_harmonics([name], 730, PROFILE_HARMONICS))
    design = np.hstack([*terms, np.ones((730, 1))])
    by_day = np.random.default_rng(0).normal(size=31)
    place = times.day if name == "day_of_month" else times.days_in_month - times.day + 1
    sold = by_day[place - 1]
    drawn = design @ np.linalg.lstsq(design, sold, rcond=None)[0]
    np.testing.assert_allclose(drawn, sold, atol=1e-5)
    assert calendar_harmonics([name], 730) == (0,)


@pytest.mark.parametrize(("train_rows", "pairs"), [(239, 2), (240, 3)])
def test_few_rows_read_two_waves_of_the_weekday(train_rows, pairs) -> None:
    assert calendar_harmonics(["day_of_week"], train_rows) == (pairs,)
    waiting = {**PROFILE_HARMONICS, "day_of_week": 0}
    assert calendar_harmonics(["day_of_week"], train_rows, waiting) == (0,)


def test_calendar_terms_of_a_series_that_has_not_begun_have_their_columns() -> None:
    calendar = calendars.calendar_features(
        pd.date_range("2024-01-01", periods=50, freq="D"), ["day_of_year", "day_of_week"]
    )
    some, none = (calendar_terms(rows, (2, 3)) for rows in (calendar, calendar[:0]))
    assert [part.shape[1] for part in some] == [part.shape[1] for part in none] == [4, 6, 24]
