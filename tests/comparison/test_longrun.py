"""The standard error of the mean of dependent values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import signal

from forecast.comparison.longrun import (
    Dependence,
    _means_of_runs,
    _orthonormal_cosines,
    _orthonormal_waves,
    dependence,
    exact_inflation,
    standard_error,
)

RNG = np.random.default_rng(3)


def many_errors(samples: np.ndarray, allowed: Dependence) -> np.ndarray:
    return np.array([standard_error(sample, allowed).value for sample in samples])


def test_the_mean_square_error_of_independent_values_is_the_textbook_one():
    samples = RNG.normal(0, 2, (400, 365))
    errors = many_errors(samples, dependence(365, horizon=1))
    assert np.mean(errors**2) == pytest.approx(4 / 365, rel=0.1)


@pytest.mark.parametrize("run", [1, 7])
def test_dependence_widens_the_standard_error_by_the_known_factor(run):
    values = signal.lfilter([1], [1, -0.6], RNG.normal(size=30_000))
    allowed = Dependence(run, cosines=300, overlap_correlation=0.0)
    expected = 1 / (1 - 0.6) / np.sqrt(30_000)
    assert standard_error(values, allowed).value == pytest.approx(expected, rel=0.15)


def test_few_values_of_a_lasting_series_have_the_variance_of_their_mean():
    # of an AR(1) of .9 about 0: the mean of ten has a variance of .6 / (1 - .81), not of 100 / 10
    values = signal.lfilter([1], [1, -0.9], RNG.normal(size=(20_000, 310)), axis=1)[:, 300:]
    assert exact_inflation(0.9, 10) == pytest.approx(10 * values.mean(axis=1).var(), rel=0.05)
    assert exact_inflation(0.0, 10) == 1.0
    assert exact_inflation(0.9, 100_000) == pytest.approx(1 / (1 - 0.9) ** 2, rel=1e-3)


def test_a_difference_of_one_sign_that_drifts_slowly_over_twenty_weeks_is_found():
    weekly_means = [0.56, 0.62, 0.61, 0.64, 0.64, 0.59, 0.59, 0.57, 0.56, 0.60]
    weekly_means += [0.52, 0.45, 0.47, 0.51, 0.47, 0.45, 0.43, 0.41, 0.39, 0.43]
    differences = np.repeat(weekly_means, 7)
    error = standard_error(differences, dependence(140, horizon=7))
    assert differences.mean() > 3 * error.value


@pytest.mark.parametrize(("n", "horizon", "step_size"), [(1460, 24, 6), (755, 5, 1), (365, 14, 1)])
def test_means_over_overlapping_horizons_have_the_variance_that_the_overlap_gives(
    n, horizon, step_size
):
    steps = RNG.normal(size=(300, n * step_size + horizon))
    over_horizon = signal.lfilter(np.ones(horizon) / horizon, [1], steps, axis=1)
    samples = over_horizon[:, horizon::step_size][:, :n]
    errors = many_errors(samples, dependence(n, horizon=horizon, step_size=step_size))
    assert np.median(errors) == pytest.approx(samples.mean(axis=1).std(), rel=0.2)


def test_the_overlap_alone_correlates_neighbouring_runs_by_a_quarter():
    allowed = dependence(1000, horizon=10)
    assert allowed.run == 10
    # two neighbouring sums of ten triangles of twenty: B-splines, 1/6 over 2/3
    assert allowed.overlap_correlation == pytest.approx(0.25, abs=0.01)
    assert dependence(1000, horizon=1).overlap_correlation == 0.0


def test_a_cycle_that_comes_back_adds_nothing_to_the_standard_error():
    noise, year = RNG.normal(size=(20, 1460)), 5 * np.sin(2 * np.pi * np.arange(1460) / 1460)
    spacing = {"horizon": 24, "step_size": 6}
    without_cycles = dependence(1460, **spacing)
    with_cycles = dependence(1460, cycles={"day": 24.0, "year": 8760.0}, **spacing)
    plain = many_errors(noise, without_cycles)
    errors = many_errors(noise + year, with_cycles)
    assert np.mean(errors) == pytest.approx(np.mean(plain), rel=0.1)
    assert (many_errors(noise + year, without_cycles) > 5 * plain).all()


def test_cosines_are_orthogonal_to_the_constant_and_to_the_cycles():
    waves, cosines = _orthonormal_waves(200, (50.0,)), _orthonormal_cosines(200, 12, (50.0,))
    assert np.abs(waves.T @ cosines).max() < 1e-9
    assert cosines.T @ cosines == pytest.approx(np.eye(cosines.shape[1]), abs=1e-9)


def test_the_more_origins_the_more_degrees_of_freedom():
    counts = [dependence(n, horizon=24, step_size=6).cosines for n in (100, 224, 1460)]
    assert counts == sorted(counts) and counts[0] >= 4


@pytest.mark.parametrize(("separate", "n_cosines"), [(2, 1), (3, 2), (5, 2), (6, 3), (8, 4)])
@pytest.mark.parametrize("overlap", [4, 24])
def test_few_separate_horizons_leave_no_more_cosines_than_the_overlap_allows(
    separate, n_cosines, overlap
):
    allowed = dependence(separate * overlap, horizon=24, step_size=24 / overlap)
    assert allowed.cosines == n_cosines


def test_without_overlap_few_origins_keep_four_cosines():
    assert dependence(8, horizon=24, step_size=24).cosines == 4


def test_few_origins_shorten_the_runs_rather_than_leaving_none():
    assert dependence(30, horizon=24).run == 2
    assert dependence(10, horizon=24).run == 1


def test_runs_are_counted_from_the_newest_origin():
    assert _means_of_runs(np.arange(7.0), 3).tolist() == [2.0, 5.0]


def test_a_constant_has_no_variance():
    assert standard_error(np.full(50, 0.1), dependence(50, horizon=1)).value == 0.0
    unknown = np.append(np.full(49, 0.1), np.nan)
    assert np.isnan(standard_error(unknown, dependence(50, horizon=1)).value)


@given(arrays(float, st.integers(8, 60), elements=st.floats(-1e6, 1e6)), st.integers(1, 8))
def test_every_standard_error_is_finite_and_not_negative(values, horizon):
    error = standard_error(values, dependence(len(values), horizon=horizon))
    assert error.value >= 0 and np.isfinite(error.value) and error.dof >= 1
