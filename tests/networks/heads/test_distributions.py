"""Predictive distributions against themselves: densities integrate, quantiles
come back.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from scipy import integrate

from forecast.networks.heads.distributions import Piecewise, quantiles
from forecast.networks.heads.piecewise import Bins, Quantiles

LEVELS = np.array([1e-4, 0.01, 0.2, 0.5, 0.77, 0.99, 1 - 1e-4])
RNG = np.random.default_rng(0)


def from_bins() -> Piecewise:
    residual = RNG.normal(size=(400, 2, 1)) * [[[1.0], [3.0]]]
    head = Bins(count=9)
    return head.distribution(
        RNG.normal(size=(2, 2, 1, 9)), RNG.normal(size=(2, 2, 1)), head.fit(residual, residual)
    )


def from_quantiles() -> Piecewise:
    residual = RNG.normal(size=(400, 2, 1)) * [[[1.0], [3.0]]]
    head = Quantiles()
    return head.distribution(
        RNG.normal(size=(2, 2, 1, 7)), RNG.normal(size=(2, 2, 1)), head.fit(residual, residual)
    )


MADE = {
    "bins": from_bins(),
    "quantiles": from_quantiles(),
}
EVERY = pytest.mark.parametrize("distribution", MADE.values(), ids=MADE)


@EVERY
def test_a_quantile_comes_back_as_its_level(distribution):
    for level in LEVELS:
        u = np.full((2, 2, 1), level)
        np.testing.assert_allclose(distribution.cdf(distribution.ppf(u)), u, rtol=1e-7)


@EVERY
def test_quantiles_increase_with_the_level(distribution):
    values = quantiles(distribution, LEVELS, (2, 2, 1))
    assert values.shape == (2, 2, 1, len(LEVELS)) and (np.diff(values, axis=-1) > 0).all()


@EVERY
def test_the_density_integrates_to_the_probability_between_two_values(distribution):
    low, high = (distribution.ppf(np.full((2, 2, 1), u)) for u in (1e-3, 0.999))
    grid = np.linspace(low, high, 20_001)
    parts = {field.name: getattr(distribution, field.name) for field in fields(distribution)}
    broadcast = type(distribution)(
        **{k: np.broadcast_to(v, (len(grid), *v.shape)) for k, v in parts.items()}
    )
    mass = integrate.trapezoid(np.exp(broadcast.logpdf(grid)), grid, axis=0)
    np.testing.assert_allclose(mass, 0.998, atol=5e-4)


@EVERY
def test_a_missing_value_has_no_density_and_no_probability(distribution):
    nothing = np.full((2, 2, 1), np.nan)
    assert (
        np.isnan(distribution.logpdf(nothing)).all() and np.isnan(distribution.cdf(nothing)).all()
    )


def test_between_two_knots_the_probability_is_shared_evenly_and_tails_are_exponential():
    piecewise = Piecewise(
        np.array([0.0, 1.0, 3.0]), np.array([0.2, 0.6, 0.9]), np.array(2.0), np.array(0.5)
    )
    assert piecewise.cdf(np.array(2.0)) == pytest.approx(0.75)
    assert piecewise.ppf(np.array(0.4)) == pytest.approx(0.5)
    assert np.exp(piecewise.logpdf(np.array(2.0))) == pytest.approx(0.15)
    assert piecewise.cdf(np.array(-2.0)) == pytest.approx(0.2 * np.exp(-1))
    assert 1 - piecewise.cdf(np.array(4.0)) == pytest.approx(0.1 * np.exp(-2))
    assert np.exp(piecewise.logpdf(np.array(4.0))) == pytest.approx(0.1 * np.exp(-2) / 0.5)
