"""Nets whose tanh units see one signal: exact derivatives, and the systems they are for."""

from __future__ import annotations

import numpy as np
import pytest

from bench.simulated_systems import simulated as simulated_record
from forecast.identification import Candidate, Experiment, SearchSettings, identify
from forecast.identification.narx import Narx
from forecast.identification.problems import ClosedLoop
from forecast.identification.states import OneSignal, add_one_signal, with_states


@pytest.fixture
def net() -> Narx:
    return with_states(Narx(2, 1, (1,), (), 0, low=(-9.0,), high=(9.0,)), order=3, hidden=4)


def problem_of(net: Narx) -> OneSignal:
    rng = np.random.default_rng(0)
    e = Experiment(rng.normal(size=(60, 2)), rng.normal(size=(60, 1)))
    return OneSignal(ClosedLoop(net, [e], 3), net)


def begin(net: Narx, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    linear = 0.1 * rng.normal(size=net.outputs * (1 + net.regressors))
    return add_one_signal(net, linear, rng)


def test_the_jacobian_equals_central_differences(net: Narx) -> None:
    problem = problem_of(net)
    weights = problem.shrink(begin(net))
    weights += 0.1 * np.random.default_rng(2).normal(size=len(weights))
    assert len(weights) == problem.n_weights < net.n_weights
    exact = np.concatenate([jacobian for _, jacobian in problem.blocks(weights)], axis=1)
    error = np.concatenate([e for e, _ in problem.blocks(weights)])
    assert problem.loss(weights) == pytest.approx(error @ error, rel=1e-12)
    steps = 1e-6 * np.eye(len(weights))
    ends = (
        [np.concatenate([e for e, _ in problem.blocks(weights + s)]) for s in sign * steps]
        for sign in (1, -1)
    )
    numeric = (np.array(next(ends)) - np.array(next(ends))) / 2e-6
    assert np.abs(exact - numeric).max() < 1e-6 * (1 + np.abs(exact).max())


def test_weights_go_in_and_out_unchanged(net: Narx) -> None:
    problem, weights = problem_of(net), begin(net)
    np.testing.assert_allclose(problem.expand(problem.shrink(weights)), weights, rtol=1e-12)


def test_a_wiener_hammerstein_system_is_followed_to_its_noise() -> None:
    """A saturation between two filters: nets that bend each equation for itself are at 1.2."""
    first, last, noise = simulated_record("Wiener-Hammerstein")
    candidates = (Candidate("linear states", 3), Candidate("one signal", 4, 6))
    settings = SearchSettings(folds=2, candidates=candidates, refit_iterations=(25, 25))
    model = identify(first, settings=settings)
    run = model.simulate(last.u, last.y[: model.start]).y
    assert np.sqrt(np.mean((run - last.y)[model.start :] ** 2)) < 1.1 * noise
