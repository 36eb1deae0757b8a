"""NLinear, DLinear and climatology with AR: linear maps of the target's own window."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from sklearn.linear_model import Ridge

from forecast.data import panel, splits
from forecast.data.windows import fill_gaps
from forecast.forecaster import Budget, Forecaster, Problem, fit
from forecast.models import spec
from forecast.models.families import window_linear
from forecast.models.skip import PENALTIES
from tests.support import problems


def fitted(problem: Problem, **options: object) -> Forecaster:
    entry = spec({"family": "window_linear", **options}, where="test")
    return fit(problem, entry, skip=None, seed=0, budget=Budget(1, 1)).forecaster


def anomalies(rows: int = 6000, **entry_keys: object) -> Problem:
    """A day of hours, and AR(1) departures from it with phi = 0.9; the entry has `entry_keys`."""
    hours = np.arange(rows)
    noise = lfilter([1.0], [1.0, -0.9], np.random.default_rng(0).normal(size=rows))
    y = 10 + 5 * np.sin(2 * np.pi * hours / 24) + noise
    ds = pd.date_range("2024-01-01", periods=rows, freq="h")
    entry = problems.dataset(
        target={"column": "y"},
        past_exogenous=[],
        horizon=6,
        lookback=24,
        season_length=24,
        splits={"train": 0.6, "validation": 0.2, "calibration": 0.1},
        **entry_keys,
    )
    known = panel.from_frame(pd.DataFrame({"unique_id": "y", "ds": ds, "y": y}), "y", entry.task)
    return Problem.of(known, splits.resolve_borders(known, entry.splits))


def test_nlinear_is_the_ridge_of_scikit_learn_on_differences_to_the_last_value() -> None:
    problem = problems.problem_of(problems.frame(gaps=False))
    ours = fitted(problem).weights
    xs, ys = [], []
    for windows, target in problem.examples("train", problems.HORIZON)():
        window = fill_gaps(windows.z[:, :, :1])[0][:, :, 0]
        xs.append(window - window[:, -1:])
        ys.append(target[:, :, 0] - window[:, -1:])
    x, y = np.concatenate(xs), np.concatenate(ys)
    theirs = np.zeros_like(ours["0/map"])
    assert len(ours["0/mean_of"]) > 1 and ours["0/mean_of"][:, 0].sum() == pytest.approx(1)
    for weight, lags, penalty in ours["0/mean_of"]:
        ridge = Ridge(alpha=penalty).fit(x[:, -int(lags) :], y)
        theirs[-int(lags) - 1 : -1] += weight * ridge.coef_.T
        theirs[-1] += weight * ridge.intercept_
    np.testing.assert_allclose(ours["0/map"], theirs, atol=1e-8)


def test_weights_are_those_of_the_errors_on_the_folds() -> None:
    problem = anomalies(1500)
    batches = list(problem.folds(6)())
    windows = np.concatenate([fill_gaps(batch.z[:, :, :1])[0][:, :, 0] for batch, *_ in batches])
    x, y = (
        windows - windows[:, -1:],
        np.concatenate([target[:, :, 0] for _, target, *_ in batches]) - windows[:, -1:],
    )
    learns, fold = (
        np.concatenate([of_batch for *_, of_batch, _ in batches], axis=1),
        np.concatenate([target for *_, target in batches]),
    )
    errors = {}
    for lags, penalty in itertools.product(problem.panel.task.candidate_lags(), PENALTIES):
        fits = [
            Ridge(alpha=penalty, solver="svd").fit(x[fold_rows, -lags:], y[fold_rows])
            for fold_rows in learns
        ]
        y_hats = [ridge.predict(x[fold == k, -lags:]) for k, ridge in enumerate(fits)]
        errors[lags, penalty] = np.mean(
            [np.abs(y[fold == k] - y_hat).mean() for k, y_hat in enumerate(y_hats)]
        )
    lowest = min(errors.values())
    raw = {
        shape: np.exp(-0.25 * np.round((error - lowest) / (0.005 * lowest)))
        for shape, error in errors.items()
    }
    large = {shape: weight for shape, weight in raw.items() if weight >= 0.01 * sum(raw.values())}
    weights_of_fit = {
        (lags, penalty): weight for weight, lags, penalty in fitted(problem).weights["0/mean_of"]
    }
    assert weights_of_fit == pytest.approx(
        {shape: weight / sum(large.values()) for shape, weight in large.items()}, rel=1e-5
    )


def test_climatology_lets_a_departure_from_the_usual_day_fade_as_it_does() -> None:
    problem = anomalies()
    forecaster = fitted(problem, form="climatology")
    assert forecaster.weights["0/mean_of"][:, 0].tolist() == [1.0]
    rows = problem.rows("y", "test")
    y_hat = forecaster.predict(problem.panel, {"y": rows})["y"][:, :, 0]
    steps, y = np.arange(1, 7), problem.panel.by_id["y"].values[:, 0]
    usual = lambda at: 10 + 5 * np.sin(2 * np.pi * at / 24)  # noqa: E731
    best = usual(rows[:, None] + steps) + 0.9**steps * (y[rows] - usual(rows))[:, None]
    assert np.abs(y_hat - best).mean() < 0.25


def test_without_calendar_features_the_climatology_is_the_mean() -> None:
    problem = anomalies(2000, calendar_features=[])  # as `add` writes it of months and quarters
    forecaster = fitted(problem, form="climatology")
    start, stop = problem.blocks["y"].train
    mean = problem.scaled("y")[start:stop, 0].mean()
    np.testing.assert_allclose(forecaster.weights["0/climatology"], [mean], atol=1e-6)
    one_row = {"y": problem.rows("y", "test")[:1]}
    many_rows = {"y": problem.rows("y", "test")[:50]}
    first, all_of_them = (
        forecaster.predict(problem.panel, rows)["y"] for rows in (one_row, many_rows)
    )
    assert np.isfinite(all_of_them).all()
    np.testing.assert_allclose(first[0], all_of_them[0], atol=1e-8)


def test_a_climatology_that_is_fitted_again_keeps_its_waves_of_the_weekday() -> None:
    entry = spec({"family": "window_linear", "form": "climatology"}, where="test")
    few, more = (anomalies(rows, calendar_features=["day_of_week"]) for rows in (390, 480))
    first = entry.fit(few, seed=0).arrays
    refitted = entry.fit(more, seed=0, chosen=first).arrays
    assert first["harmonics"].tolist() == refitted["harmonics"].tolist() == [2]
    assert entry.fit(more, seed=0).arrays["harmonics"].tolist() == [3]


def test_dlinear_sees_a_moving_average_and_what_it_leaves() -> None:
    window = np.arange(12.0)[None, :] ** 2
    mean = window_linear._moving_average(window, 5)
    np.testing.assert_allclose(mean[0, 2:-2], np.convolve(window[0], np.ones(5) / 5, mode="valid"))
    np.testing.assert_allclose(mean[0, 0], (0 + 0 + 0 + 1 + 4) / 5)
    problem = anomalies(2000)
    forecaster = fitted(problem, form="dlinear")
    naive = fit(
        problem, spec({"family": "naive"}, where="test"), skip=None, seed=0, budget=Budget(1, 1)
    ).forecaster
    rows = {"y": problem.rows("y", "test")}
    expected = problem.panel.by_id["y"].values[rows["y"][:, None] + np.arange(1, 7), 0]
    errors = [
        np.abs(model.predict(problem.panel, rows)["y"][:, :, 0] - expected).mean()
        for model in (forecaster, naive)
    ]
    assert errors[0] < 0.6 * errors[1]


def test_a_climatology_without_a_season_is_left_out() -> None:
    assert "needs a season" in spec(
        {"family": "window_linear", "form": "climatology"}, where="test"
    ).reason_unsuited(1)


def test_a_climatology_without_calendar_inputs_departs_from_the_mean() -> None:
    problem = problems.problem_of(problems.frame(), calendar_features=[])
    forecaster = fitted(problem, form="climatology")
    train = [problem.scaled(uid)[slice(*blocks.train), 0] for uid, blocks in problem.blocks.items()]
    mean = np.nanmean(np.concatenate(train))
    np.testing.assert_allclose(forecaster.weights["0/climatology"], [mean], atol=1e-12)
    for rows in (problem.rows("north", "test"), np.array([40])):
        forecasts = forecaster.predict(problem.panel, {"north": rows})["north"]
        assert np.isfinite(forecasts).all()


@pytest.mark.parametrize("form", ["nlinear", "dlinear", "climatology"])
def test_every_form_forecasts_through_gaps_of_two_targets(form: str) -> None:
    problem = problems.shops()
    forecasts = fitted(problem, form=form).predict(
        problem.panel, {"north": problem.rows("north", "test")}
    )
    assert np.isfinite(forecasts["north"]).all() and forecasts["north"].shape[1:] == (
        problems.HORIZON,
        2,
    )


def test_a_map_that_multiplies_is_held_to_the_range_of_the_fit_and_its_width() -> None:
    problem = anomalies(1500)
    model = fitted(problem)
    model.weights["0/map"][:] *= 1e6
    series = problem.panel.series[0]
    (forecasts,) = model.predict_windows([(series, np.array([999]))])
    fitted_rows = series.values[slice(*problem.blocks["y"].train), 0]
    low = fitted_rows.min() - np.ptp(fitted_rows)
    high = fitted_rows.max() + np.ptp(fitted_rows)
    assert low - 1e-9 <= forecasts.min() and forecasts.max() <= high + 1e-9
    assert np.isclose(forecasts, low).any() or np.isclose(forecasts, high).any()


def test_behind_a_level_that_rose_forecasts_stay_a_width_of_the_fit_around_the_last_value() -> None:
    problem = anomalies(1500)
    scaling = problem.scaling
    last = np.array([[100.0]])
    width = np.ptp(scaling.ranges["y"][:, 0]) / scaling.scale["y"][0]
    forecasts = np.array([[[1e9], [100.5], [-1e9], [np.inf]]])
    limited = scaling.hold_to_range(forecasts, last, "y")[0, :, 0]
    lowest = (scaling.input_bounds("y")[0, 0] - scaling.centre["y"][0]) / scaling.scale["y"][0]
    assert limited == pytest.approx([100 + width, 100.5, lowest, np.inf])
