import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from forecast.comparison import metrics

RNG = np.random.default_rng(7)
Y, Y_HAT, TRAIN = RNG.gamma(3, 2, 200), RNG.gamma(3, 2, 200), RNG.gamma(3, 2, 300)


def peers(function, **options) -> float:
    frame = pd.DataFrame({"unique_id": "a", "ds": range(200), "y": Y, "model": Y_HAT})
    return float(function(frame, models=["model"], **options)["model"].iloc[0])


def train_frame() -> pd.DataFrame:
    return pd.DataFrame({"unique_id": "a", "ds": range(300), "y": TRAIN})


def test_mae_and_rmse_equal_scikit_learn():
    assert metrics.mae(Y, Y_HAT) == pytest.approx(mean_absolute_error(Y, Y_HAT), rel=1e-14)
    assert metrics.rmse(Y, Y_HAT) == pytest.approx(root_mean_squared_error(Y, Y_HAT), rel=1e-14)


@pytest.mark.parametrize("season_length", [1, 24])
def test_errors_over_their_scale_equal_utilsforecast(season_length):
    from utilsforecast import losses

    reference = {"seasonality": season_length, "train_df": train_frame()}
    scale = metrics.insample_scale(TRAIN, season_length=season_length)
    squared = metrics.insample_scale(TRAIN, season_length=season_length, squared=True)
    assert metrics.mae(Y, Y_HAT) / scale == pytest.approx(
        peers(losses.mase, **reference), rel=1e-12
    )
    assert metrics.rmse(Y, Y_HAT) / squared == pytest.approx(
        peers(losses.rmsse, **reference), rel=1e-12
    )


def test_smape_is_two_hundred_times_the_ratio_of_utilsforecast():
    from utilsforecast import losses

    # utilsforecast reports sMAPE on 0-1 (the M4 formula divided by 200); here it is M4's own 0-200
    assert metrics.smape(Y, Y_HAT) == pytest.approx(200 * peers(losses.smape), rel=1e-12)
    assert metrics.smape([1.0], [3.0]) == pytest.approx(100.0)


def test_qlike_is_zero_of_a_perfect_forecast_and_dearer_below_than_above():
    assert metrics.qlike([1.0, 4.0], [1.0, 4.0]) == 0.0
    assert metrics.qlike([1.0], [2.0]) == pytest.approx(0.5 + np.log(2.0) - 1.0)
    assert metrics.qlike([2.0], [1.0]) == pytest.approx(2.0 - np.log(2.0) - 1.0)


@pytest.mark.parametrize(("y", "y_hat"), [([0.0, 1.0], [1.0, 1.0]), ([1.0], [-1.0]), ([], [])])
def test_qlike_says_nothing_unless_every_value_is_above_zero(y, y_hat):
    assert metrics.qlike(y, y_hat) is None


@pytest.mark.parametrize("actuals", [[-1.0, 2.0], [0.0, 2.0], []])
def test_smape_is_left_out_where_values_cross_zero(actuals):
    assert metrics.smape(actuals, np.ones(len(actuals))) is None


@pytest.mark.parametrize("values", [[0.1 + 0.2, 0.3, 0.3], [3.0, 3.0, 3.0]])
def test_a_constant_training_part_has_no_scale(values):
    assert np.isnan(metrics.insample_scale(values, season_length=1))


def test_a_training_part_shorter_than_a_season_has_no_scale():
    assert np.isnan(metrics.insample_scale(np.arange(10.0), season_length=24))


def test_missing_actuals_are_left_out_but_a_missing_forecast_is_not_forgiven():
    assert metrics.mae([1.0, np.nan, 3.0], [2.0, 9.0, 3.0]) == 0.5
    assert np.isnan(metrics.mae([1.0, 2.0], [1.0, np.nan]))
    assert np.isnan(metrics.mae([np.nan], [1.0]))


def test_skill_is_the_share_of_naive_loss_saved():
    assert metrics.skill(0.75, 1.0) == 0.25
    assert np.isnan(metrics.skill(0.0, 0.0))


def test_direction_counts_hits_and_gives_the_base_rate():
    last = np.array([10.0, 10.0, 10.0, 10.0])[:, None]
    y = np.array([11.0, 12.0, 9.0, 10.0])[:, None]  # up, up, down, no change: left out
    y_hat = np.array([10.5, 9.5, 9.9, 11.0])[:, None]
    accuracy, base = metrics.directional_accuracy(y, y_hat, last)
    assert (accuracy, base) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_a_forecast_of_no_change_makes_no_call_even_after_log_and_exp():
    last = RNG.gamma(3, 100, 50)[:, None]
    y = last * (1 + RNG.normal(0, 0.01, (50, 5)))
    repeated = np.exp(np.log(last)) + np.zeros((1, 5))
    assert metrics.directional_accuracy(y, repeated, last)[0] == 0.5


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=1, max_size=20))
def test_rmse_is_never_below_mae(pairs):
    y, y_hat = np.array(pairs, dtype=float).T
    assert metrics.rmse(y, y_hat) >= metrics.mae(y, y_hat) * (1 - 1e-12)
