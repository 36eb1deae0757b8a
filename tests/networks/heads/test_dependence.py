"""The copula: what goes in comes back, and few origins mean independence."""

from __future__ import annotations

import numpy as np
from scipy import special

from forecast.networks.heads.distributions import MIN_ORIGINS, correlation, draw_uniforms

WANTED = np.array([[1.0, 0.8, 0.2], [0.8, 1.0, 0.5], [0.2, 0.5, 1.0]])


def draw_ranks(n: int, seed: int = 0) -> np.ndarray:
    return draw_uniforms(WANTED, (n, 3), np.random.default_rng(seed))


def test_the_correlation_of_normal_scores_is_found_again():
    np.testing.assert_allclose(correlation(draw_ranks(20_000)), WANTED, atol=0.02)


def test_each_step_alone_stays_uniform():
    u = draw_ranks(20_000)
    for level in (0.1, 0.5, 0.9):
        np.testing.assert_allclose((u < level).mean(axis=0), level, atol=0.01)


def test_few_origins_are_shrunk_towards_independence_and_fewer_are_independent():
    n = 27
    estimate, u = correlation(draw_ranks(n)), draw_ranks(n)
    scores = special.ndtri(u)
    # 27 / (27 + 3)
    np.testing.assert_allclose(estimate, 0.9 * np.corrcoef(scores.T) + 0.1 * np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(correlation(draw_ranks(MIN_ORIGINS - 1)), np.eye(3))


def test_origins_with_a_missing_actual_and_steps_that_never_vary_are_survived():
    u = draw_ranks(200)
    u[::7, 1] = np.nan
    u[:, 2] = 0.5
    estimate = correlation(u)
    assert (
        np.isfinite(np.linalg.cholesky(estimate)).all()
        and estimate[0, 2] == 0
        and estimate[0, 1] > 0.6
    )
