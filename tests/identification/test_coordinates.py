"""Other coordinates for past outputs: the same nets, exact derivatives, and what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.identification.coordinates import InCoordinates, difference_coordinates
from forecast.identification.experiment import Experiment
from forecast.identification.narx import Narx
from forecast.identification.problems import ClosedLoop, OpenLoop
from forecast.training import levenberg_marquardt as lm


def experiment(outputs: int = 1) -> Experiment:
    rng = np.random.default_rng(0)
    return Experiment(
        rng.normal(size=(60, 2)), np.cumsum(0.1 * rng.normal(size=(60, outputs)), axis=0)
    )


@pytest.mark.parametrize(("outputs", "hidden"), [(1, 3), (2, 3), (1, 0)])
@pytest.mark.parametrize("kind", [OpenLoop, ClosedLoop])
def test_the_jacobian_in_coordinates_equals_central_differences(
    kind: type, outputs: int, hidden: int
) -> None:
    net = Narx(2, outputs, (1, 2, 3), (0, 2), hidden)
    problem = kind(net, [experiment(outputs)], 3)
    within = InCoordinates(problem, difference_coordinates(net, [experiment(outputs)]))
    weights = 0.02 * np.random.default_rng(1).normal(size=within.n_weights)
    exact = np.concatenate([jacobian for _, jacobian in within.blocks(weights)], axis=1)
    error = np.concatenate([e for e, _ in within.blocks(weights)])
    assert within.loss(weights) == pytest.approx(error @ error, rel=1e-12)
    steps = 1e-6 * np.eye(len(weights))
    ends = (
        [np.concatenate([e for e, _ in within.blocks(weights + s)]) for s in sign * steps]
        for sign in (1, -1)
    )
    numeric = (np.array(next(ends)) - np.array(next(ends))) / 2e-6
    assert np.abs(exact - numeric).max() < 1e-7 * (1 + np.abs(exact).max())


def test_weights_go_in_and_out_unchanged() -> None:
    net = Narx(2, 2, (1, 2, 3), (0, 2), 3)
    weights = np.random.default_rng(2).normal(size=net.n_weights)
    coordinates = difference_coordinates(net, [experiment(2)])
    np.testing.assert_allclose(
        coordinates.to_plain(coordinates.from_plain(weights)), weights, atol=1e-12
    )


def test_the_difference_of_the_output_is_learnt_and_its_path_begins_at_the_last_one() -> None:
    net, e = Narx(2, 1, (1, 2, 3), (0, 2), 3), experiment()
    weights = difference_coordinates(net, [e]).to_plain(np.zeros(net.n_weights))
    z = net.open_loop_regressors(e, 3)
    np.testing.assert_allclose(net.layer.value(weights, z), e.y[2:-1])


def test_a_mass_with_friction_sampled_fast_is_followed_better_in_differences() -> None:
    """200 rows a second: neighbouring outputs differ in the third digit, and the free run
    integrates twice.
    """
    rng = np.random.default_rng(0)
    force = np.repeat(rng.normal(size=60), 20)
    place, speed = np.zeros(len(force)), 0.0
    for t in range(1, len(force)):
        speed += 0.005 * (force[t - 1] - 0.5 * speed - 0.3 * np.tanh(5 * speed))
        place[t] = place[t - 1] + 0.005 * speed
    e = Experiment(force / force.std(), place / place.std())
    net = Narx(1, 1, (1, 2, 3), (0, 1), 3)
    start = 0.1 * np.random.default_rng(1).normal(size=net.n_weights)
    errors = []
    for seen in (difference_coordinates(net, [e]), None):
        weights = start
        for problem in (OpenLoop(net, [e], 3), ClosedLoop(net, [e], 3)):
            within = InCoordinates(problem, seen) if seen else problem
            found = lm.minimise(within, weights, options=lm.Options(max_iterations=30))
            weights = found.weights
        errors.append(found.curve[-1][1])
    assert errors[0] < 0.2 * errors[1]
