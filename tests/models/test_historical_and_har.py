"""The bars of prices and of volatility."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.forecaster import Budget, fit
from forecast.models import spec
from forecast.models.families.har import Har
from forecast.models.families.historical import HistoricalAverage
from forecast.models.families.historical import Spec as HistoricalSpec
from forecast.models.families.seasonal_naive import Spec as SeasonalNaive
from forecast.system.errors import ModelError
from tests.support import problems


def test_the_mean_change_of_the_whole_history_is_continued_from_the_last_value():
    y = np.array([1.0, 2.0, 2.0, 5.0, 9.0])
    forecast = HistoricalAverage("mean", 0).forecasts(y, np.array([2, 4]), horizon=2)
    assert forecast == pytest.approx(np.array([[2.5, 3.0], [11.0, 13.0]]))


def test_one_crash_moves_the_mean_change_and_not_the_median_one():
    y = np.cumsum([0.0, 1.0, 1.0, 1.0, -50.0, 1.0, 1.0])
    last = np.array([len(y) - 1])
    assert HistoricalAverage("median", 0).forecasts(y, last, horizon=1)[0, 0] == y[-1] + 1.0
    assert HistoricalAverage("mean", 0).forecasts(y, last, horizon=1)[0, 0] < y[-1] - 5.0


def test_no_change_is_known_at_the_first_row():
    forecast = HistoricalAverage("mean", 0).forecasts(
        np.array([3.0, 4.0]), np.array([0]), horizon=2
    )
    assert forecast.tolist() == [[3.0, 3.0]]


def test_nothing_after_the_origin_enters_a_historical_change():
    y = np.random.default_rng(0).normal(size=40).cumsum()
    with_later_rows = np.concatenate([y[:30], y[30:] * -7])
    origins = np.array([10, 29])
    for average in ("mean", "median"):
        model = HistoricalAverage(average, 0)
        assert np.array_equal(
            model.forecasts(y, origins, 5), model.forecasts(with_later_rows, origins, 5)
        )


def test_har_finds_the_coefficients_of_a_simulated_volatility():
    rng = np.random.default_rng(1)
    y = np.zeros(20_000)
    for t in range(22, len(y)):
        week, month = y[t - 5 : t].mean(), y[t - 22 : t].mean()
        y[t] = 0.1 + 0.3 * y[t - 1] + 0.4 * week + 0.2 * month + rng.normal(0, 0.5)
    model = Har.fit(y)
    assert model.coefficients == pytest.approx((0.3, 0.4, 0.2), abs=0.05)


def test_har_feeds_its_own_forecasts_back_into_the_means():
    model, y = Har(1.0, (0.5, 0.0, 0.0)), np.full(30, 4.0)
    assert model.forecasts(y, np.array([29]), horizon=3) == pytest.approx(
        np.array([[3.0, 2.5, 2.25]])
    )
    weekly = Har(0.0, (0.0, 1.0, 0.0)).forecasts(np.arange(30.0), np.array([29]), horizon=2)
    assert weekly == pytest.approx(np.array([[27.0, (26 + 27 + 28 + 29 + 27) / 5]]))


def test_too_few_rows_for_a_family_fail_its_row_and_not_the_run():
    with pytest.raises(ModelError, match=r"har cannot be fitted to 40 train rows .* it needs 44;"):
        spec({"family": "har"}, where="test").fit_series(np.arange(40.0), 1)
    with pytest.raises(ModelError, match=r"mstl .* 40 train rows with season 24: it needs two"):
        spec({"family": "mstl"}, where="test").fit_series(np.arange(40.0), 24)


def test_a_seasonal_forecast_reads_a_season_and_fails_where_the_history_has_none():
    """The oldest value of a shorter lookback stood for the one of a season ago."""
    problem = problems.problem_of(problems.frame(), lookback=5, season_length=7)
    model = fit(problem, SeasonalNaive(), skip=None, seed=0, budget=Budget(1, 1)).forecaster
    series = problem.panel.series[0]
    y_hat = model.predict(problem.panel, {series.unique_id: np.array([6, 7])})[series.unique_id]
    assert y_hat[:, 0, 0] == pytest.approx(series.values[[0, 1], 0])
    with pytest.raises(ModelError, match="season of 7 steps is longer than lookback=5"):
        model.predict(problem.panel, {series.unique_id: np.array([5])})
    rows = dict(zip(problem.panel.by_id, (np.array([6]), np.array([5])), strict=True))
    with pytest.raises(ModelError, match="season of 7 steps is longer than lookback=5"):
        model.predict(problem.panel, rows)  # windows of one width are joined


def test_of_values_the_history_is_averaged_and_with_a_season_by_its_step():
    y = np.array([1.0, 10.0, 3.0, 20.0, 5.0])
    level = HistoricalAverage("mean", 1).forecasts(y, np.array([1, 4]), horizon=2)
    assert level.tolist() == [[5.5, 5.5], [7.8, 7.8]]
    by_step = HistoricalAverage("mean", 2).forecasts(y, np.array([2, 4]), horizon=3)
    assert by_step.tolist() == [[10.0, 2.0, 10.0], [15.0, 3.0, 15.0]]
    assert HistoricalAverage("median", 1).forecasts(y, np.array([4]), horizon=1)[0, 0] == 5.0


@pytest.mark.parametrize(
    ("transform", "difference_inputs", "season"),
    [("log", True, 0), ("logdiff", False, 1), ("none", False, 1), ("log", False, 1)],
)
def test_the_level_of_a_price_drifts_and_anything_else_returns_to_its_average(
    transform, difference_inputs, season
):
    price = {"column": "price", "transform": transform, "difference_inputs": difference_inputs}
    problem = problems.problem_of(problems.frame(), target=[price])
    fits = HistoricalSpec(family="historical").fit(problem, seed=0).series
    assert {fit.model.season for of_series in fits.values() for fit in of_series} == {season}
