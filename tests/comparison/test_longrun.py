import numpy as np
import pytest

from forecast.comparison.longrun import bandwidth, bartlett_moments, mean_error

RNG = np.random.default_rng(3)


def explicit_moments(n: int, lag: int) -> tuple[float, float]:
    """The same two moments from the n x n matrix of the quadratic form."""
    position = np.arange(n)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - position) / (lag + 1))
    centring = np.eye(n) - 1 / n
    form = centring @ weights @ centring / n
    return float(np.trace(form)), float(np.trace(form) ** 2 / np.trace(form @ form))


@pytest.mark.parametrize(("n", "lag"), [(10, 0), (40, 7), (60, 23), (25, 23)])
def test_moments_equal_those_of_the_explicit_quadratic_form(n, lag):
    assert bartlett_moments(n, lag) == pytest.approx(explicit_moments(n, lag), rel=1e-10)


def test_without_a_lag_it_is_the_harvey_leybourne_newbold_correction_with_its_degrees_of_freedom():
    n, h = 50, 1
    assert bartlett_moments(n, 0) == pytest.approx(((n + 1 - 2 * h + h * (h - 1) / n) / n, n - 1))


def test_a_longer_lag_costs_degrees_of_freedom():
    assert bartlett_moments(500, 4)[1] > bartlett_moments(500, 30)[1] > bartlett_moments(500, 200)[1] > 1


def test_the_lag_covers_the_horizon_and_a_season_counted_in_origins():
    assert bandwidth(100, horizon=24, season=1, stride=1) == 23
    assert bandwidth(100, horizon=1, season=48, stride=1) == 48
    assert bandwidth(1457, horizon=24, season=24, stride=6) == 50  # 1.3 sqrt(n) is longer than a day of 4 origins
    assert bandwidth(10, horizon=24, season=24, stride=1) == 8


def test_the_standard_error_of_independent_values_is_the_textbook_one():
    values = RNG.normal(0, 2, 100_000)
    assert mean_error(values, lag=10).value == pytest.approx(2 / np.sqrt(100_000), rel=0.05)


def test_dependence_widens_the_standard_error_by_the_known_factor():
    noise = RNG.normal(size=200_000)
    values = np.empty_like(noise)
    values[0] = noise[0]
    for t in range(1, len(noise)):
        values[t] = 0.6 * values[t - 1] + noise[t]
    assert mean_error(values, lag=100).value == pytest.approx(1 / (1 - 0.6) / np.sqrt(200_000), rel=0.05)


def test_a_constant_has_no_variance_and_says_so():
    error = mean_error(np.full(50, 0.1), lag=5)
    assert (error.value, error.method) == (0.0, "none")
