import sys
from unittest.mock import patch

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_pinball_loss

from forecast.comparison import metrics

RNG = np.random.default_rng(11)
Y = RNG.normal(1, 2, 300)
MEAN, SCALE = RNG.normal(1, 1, 300), RNG.gamma(2, 1, 300) + 0.1


@pytest.fixture(scope="module")
def scoringrules():
    """Without numba, with which it compiles for five seconds all that it has."""
    with patch.dict(sys.modules, {"numba": None}):
        import scoringrules

    return scoringrules


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_pinball_equals_scikit_learn(probability):
    assert metrics.pinball(Y, MEAN, probability) == pytest.approx(
        mean_pinball_loss(Y, MEAN, alpha=probability), rel=1e-12
    )


def test_crps_of_quantiles_equals_scoringrules_and_tends_to_the_normal_one(scoringrules):
    probabilities = (np.arange(500) + 0.5) / 500
    quantiles = stats.norm.ppf(probabilities, MEAN[:, None], SCALE[:, None])
    crps = metrics.crps_quantiles(Y, quantiles, probabilities)
    assert crps == pytest.approx(
        scoringrules.crps_quantile(Y, quantiles, probabilities).mean(), rel=1e-12
    )
    assert crps == pytest.approx(scoringrules.crps_normal(Y, MEAN, SCALE).mean(), rel=1e-3)


@pytest.mark.parametrize("nominal", [0.8, 0.95])
def test_winkler_equals_the_interval_score_of_scoringrules(scoringrules, nominal):
    expected = scoringrules.interval_score(Y, MEAN - SCALE, MEAN + SCALE, 1 - nominal).mean()
    table = metrics.coverage_by_step(
        *((values[None, :, None]) for values in (Y, MEAN - SCALE, MEAN + SCALE)), nominal=nominal
    )
    assert table["winkler"][0].tolist() == [pytest.approx(expected, rel=1e-12)] * 2


def test_coverage_and_width_by_horizon_step():
    y = np.array([[1.0, 5.0], [2.0, np.nan], [9.0, 6.0], [3.0, 7.0]])
    lower, upper = np.zeros((4, 2)), np.array([[3.0, 6.0]] * 4)
    each = {
        k: v[0]
        for k, v in metrics.coverage_by_step(y[None], lower[None], upper[None], nominal=0.8).items()
    }
    assert each["coverage"].tolist() == [pytest.approx(5 / 7), 0.75, pytest.approx(2 / 3)]
    assert each["n"].tolist() == [7, 4, 3]
    assert each["width"].tolist() == [4.5, 3.0, 6.0]
    assert each["winkler"][1] == pytest.approx(3 + 10 * 6 / 4)


def test_few_values_are_allowed_more_than_three_points_around_the_level():
    """Of eight values no share lies within three points of 80 %."""
    few, many = (
        metrics.coverage_by_step(
            np.arange(n, dtype=float)[None, :, None] % 8,
            np.zeros((1, n, 1)),
            np.full((1, n, 1), 6.0),
            nominal=0.8,
        )
        for n in (8, 8000)
    )
    assert few["coverage"][0, 0] == many["coverage"][0, 0] == 7 / 8
    assert few["inside"][0, 0] and not many["inside"][0, 0]
    assert many["low"][0, 0] == pytest.approx(0.77) and many["high"][0, 0] == pytest.approx(0.83)


def test_coverage_of_many_series_is_to_the_bit_that_of_each_cell_on_its_own():
    noise = np.random.default_rng(3)
    y, lower = noise.normal(size=(7, 11, 3)), noise.normal(-1, 1, (7, 11, 3))
    upper = lower + noise.random((7, 11, 3)) * 3
    y[noise.random(y.shape) < 0.2] = np.nan
    whole = metrics.coverage_by_step(y, lower, upper, nominal=0.8)
    for series in range(7):
        for step in range(4):
            part = (
                slice(series, series + 1),
                slice(None),
                slice(None) if step == 0 else slice(step - 1, step),
            )
            alone = metrics.coverage_by_step(y[part], lower[part], upper[part], nominal=0.8)
            assert all(
                whole[name][series, step] == alone[name][0, 0]
                for name in ("coverage", "winkler", "width")
            )
            actual, low, high = y[part].ravel(), lower[part].ravel(), upper[part].ravel()
            is_inside = ((low <= actual) & (actual <= high))[np.isfinite(actual)]
            assert (
                whole["coverage"][series, step] == is_inside.mean()
                and whole["width"][series, step] == (high - low).mean()
            )


def test_missing_actuals_are_left_out_and_missing_forecasts_are_not():
    assert metrics.pinball([0.0, np.nan], [1.0, 0.0], 0.9) == pytest.approx(0.1)
    lower = np.array([[[-1.0], [np.nan]]])
    table = metrics.coverage_by_step(np.zeros((1, 2, 1)), lower, np.ones((1, 2, 1)), nominal=0.8)
    assert np.isnan(table["coverage"]).all() and np.isnan(table["winkler"]).all()


def test_an_event_s_probability_is_scored_by_its_square():
    assert metrics.brier([True, False, True], [1.0, 0.5, 0.5]) == pytest.approx(0.5 / 3)
