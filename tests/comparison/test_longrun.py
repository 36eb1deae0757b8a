import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import signal

from forecast.comparison.longrun import (
    Dependence,
    _bartlett,
    bartlett_moments,
    batch_means,
    dependence,
    mean_error,
)

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


@pytest.mark.parametrize("cycles", [(40.0,), (40.0, 7.0), (2.0,)])
def test_the_degrees_of_freedom_that_harmonics_cost_are_those_of_the_explicit_quadratic_form(
    cycles,
):
    n, lag = 40, 7
    position = np.arange(n)
    waves = [f(2 * np.pi * position / period) for period in cycles for f in (np.cos, np.sin)]
    columns = np.column_stack([np.ones(n), *waves])
    off = np.eye(n) - columns @ np.linalg.pinv(columns, rcond=1e-10)
    form = off @ np.maximum(0, 1 - np.abs(position[:, None] - position) / (lag + 1)) @ off / n
    wanted = float(np.trace(form)), float(np.trace(form) ** 2 / np.trace(form @ form))
    assert bartlett_moments(n, lag, cycles) == pytest.approx(wanted, rel=1e-10)


def test_a_cycle_that_comes_back_adds_nothing_to_the_standard_error():
    noise, year = RNG.normal(size=1460), 5 * np.sin(2 * np.pi * np.arange(1460) / 1460)
    spacing = {"horizon": 24, "season_length": 24, "step_size": 6}
    plain = mean_error(noise, dependence(1460, **spacing))
    told = mean_error(
        noise + year, dependence(1460, cycles={"day": 24.0, "year": 8760.0}, **spacing)
    )
    untold = mean_error(noise + year, dependence(1460, **spacing))
    assert told.value == pytest.approx(plain.value, rel=0.1) and untold.value > 10 * plain.value


def test_without_a_lag_it_is_the_harvey_leybourne_newbold_correction_with_its_degrees_of_freedom():
    n, h = 50, 1
    assert bartlett_moments(n, 0) == pytest.approx(((n + 1 - 2 * h + h * (h - 1) / n) / n, n - 1))


def test_a_longer_lag_costs_degrees_of_freedom():
    assert (
        bartlett_moments(500, 4)[1]
        > bartlett_moments(500, 30)[1]
        > bartlett_moments(500, 200)[1]
        > 1
    )


@pytest.mark.parametrize(
    ("n", "horizon", "season_length", "step_size", "run"),
    [
        (100, 24, 1, 1, 12),
        (100, 1, 48, 1, 1),
        (1457, 24, 24, 6, 8),
        (753, 5, 1, 1, 10),
        (2000, 24, 168, 1, 24),
    ],
)
def test_the_lag_covers_the_horizon_and_a_season_counted_in_origins(
    n, horizon, season_length, step_size, run
):
    allowed = dependence(n, horizon=horizon, season_length=season_length, step_size=step_size)
    assert allowed.run == run
    assert allowed.origins >= max((horizon - 1) / step_size, season_length / step_size)


def test_the_bartlett_estimate_equals_the_weighted_sum_of_autocovariances():
    values = RNG.normal(size=50)
    centred, lag = values - values.mean(), 6
    weighted = sum(
        (1 - abs(j) / (lag + 1)) * float(centred[abs(j) :] @ centred[: 50 - abs(j)]) / 50
        for j in range(-lag, lag + 1)
    )
    assert _bartlett(centred, lag, ()).value ** 2 * 50 * bartlett_moments(50, lag)[
        0
    ] == pytest.approx(weighted)


def test_few_origins_shorten_the_runs_and_the_lag_rather_than_leaving_none():
    assert dependence(10, horizon=24, season_length=24, step_size=1) == Dependence(run=1, lag=7)


def test_runs_are_counted_from_the_newest_origin():
    assert batch_means(np.arange(7.0), 3).tolist() == [2.0, 5.0]


INDEPENDENT = Dependence(run=1, lag=10)


def test_the_standard_error_of_independent_values_is_the_textbook_one():
    values = RNG.normal(0, 2, 100_000)
    assert mean_error(values, INDEPENDENT).value == pytest.approx(2 / np.sqrt(100_000), rel=0.05)


@pytest.mark.parametrize("run", [1, 7])
def test_dependence_widens_the_standard_error_by_the_known_factor(run):
    values = signal.lfilter([1], [1, -0.6], RNG.normal(size=200_000))
    found = mean_error(values, Dependence(run, lag=100 // run)).value
    assert found == pytest.approx(1 / (1 - 0.6) / np.sqrt(200_000), rel=0.05)


def test_origins_that_fill_no_run_still_count_in_the_mean():
    values = RNG.normal(size=59)
    all_runs, one_left = (
        mean_error(values[1:], Dependence(2, 5)),
        mean_error(values, Dependence(2, 5)),
    )
    assert one_left.value == pytest.approx(all_runs.value * np.sqrt(58 / 59))


def test_a_constant_has_no_variance_and_says_so():
    error = mean_error(np.full(50, 0.1), INDEPENDENT)
    assert (error.value, error.method) == (0.0, "none")


def test_a_variance_estimate_that_is_not_above_zero_falls_back_to_the_next_and_says_so():
    # from this ratio the autoregression leaves nothing over, so the pre-whitened estimate is zero
    decay = (-0.32853890905224636) ** np.arange(50)
    error = mean_error(decay, Dependence(run=1, lag=10))
    assert error.method == "Bartlett" and error.value > 0


@given(arrays(float, st.integers(8, 60), elements=st.floats(-1e6, 1e6)), st.integers(1, 8))
def test_no_variance_is_negative_whatever_the_differences(values, horizon):
    error = mean_error(
        values, dependence(len(values), horizon=horizon, season_length=1, step_size=1)
    )
    assert np.isfinite(error.value) and error.value >= 0
