"""Nets with a state of their own: exact derivatives, their beginning as the linear model, and what
they are for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecast.identification import states
from forecast.identification.experiment import Experiment
from forecast.identification.narx import Memory, Narx
from forecast.identification.problems import ClosedLoop
from forecast.training import levenberg_marquardt as lm

START = 4


def net_of(inputs: int, outputs: int, order: int, hidden: int = 3, bound: float = 1.5) -> Narx:
    bounds = (-bound,) * outputs, (bound,) * outputs
    return states.with_states(Narx(inputs, outputs, (1,), (0,), 1, True, *bounds), order, hidden)


def draw_weights(net: Narx, experiments: list[Experiment], seed: int) -> np.ndarray:
    """The ARX model in states that are uncorrelated, with tanh units that do not act yet."""
    plain = replace(net, hidden=0)
    weights = states.whiten_states(plain, states.linear_weights(plain, experiments), experiments)
    return states.add_hidden_units(net, weights, np.random.default_rng(seed))


def experiment(inputs: int, outputs: int, rows: int = 40) -> Experiment:
    """A stable linear system of second order with some noise."""
    rng = np.random.default_rng(0)
    u, y = rng.normal(size=(rows, inputs)), np.zeros((rows, outputs))
    mixed = u @ rng.normal(size=(inputs, outputs)) if inputs else rng.normal(size=(rows, outputs))
    for t in range(2, rows):
        y[t] = 1.1 * y[t - 1] - 0.4 * y[t - 2] + 0.2 * mixed[t] + 0.1 * mixed[t - 1]
    return Experiment(u, y + 0.01 * rng.normal(size=y.shape))


@pytest.mark.parametrize(
    ("inputs", "outputs", "order"), [(1, 1, 2), (2, 1, 3), (1, 2, 2), (0, 1, 3)]
)
def test_the_jacobian_of_the_free_run_equals_central_differences(
    inputs: int, outputs: int, order: int
) -> None:
    net, e = net_of(inputs, outputs, order), experiment(inputs, outputs)
    problem = ClosedLoop(net, [e, e.part(slice(20))], START)
    rng = np.random.default_rng(1)
    weights = draw_weights(net, [e], 1) + 0.05 * rng.normal(size=net.n_weights)
    exact = np.concatenate([jacobian for _, jacobian in problem.blocks(weights)], axis=1)
    steps = 1e-6 * np.eye(len(weights))
    new = [ClosedLoop(net, [e, e.part(slice(20))], START) for _ in range(2)]
    up, down = (
        np.array([p.residuals(weights + s) for s in sign * steps])
        for p, sign in zip(new, (1, -1), strict=True)
    )
    assert np.abs(exact - (up - down) / 2e-6).max() < 1e-7 * (1 + np.abs(exact).max())


def test_newtons_run_is_that_of_one_row_after_another_and_of_the_loops() -> None:
    net, e = net_of(1, 1, 3), experiment(1, 1)
    weights = draw_weights(net, [e], 2) + 0.05
    stack = ClosedLoop(net, [e], START)
    newton = stack.run_by_newton(weights)
    assert newton is not None
    np.testing.assert_allclose(newton[START:], stack.run_stepwise(weights)[START:], atol=1e-10)
    before = net.loop(weights, net.begin(e.u), e.u[:START], e.y[:START])[1]
    np.testing.assert_allclose(
        net.loop(weights, before, e.u[START:])[0], newton[START:, :1], atol=1e-10
    )


@pytest.mark.parametrize("outputs", [1, 2])
def test_it_begins_as_the_linear_model_of_the_record(outputs: int) -> None:
    e = experiment(1, outputs, rows=300)
    net = net_of(1, outputs, 2, bound=50.0)
    weights = draw_weights(net, [e], 0)
    run = net.free_run(weights, e.u, e.y[:START])[START:, :outputs]
    assert np.sqrt(np.mean((run - e.y[START:]) ** 2)) < 0.1 * e.y.std()
    y_hat = net.free_run(weights, e.u, e.y)
    together = np.atleast_2d(np.cov(y_hat[:, outputs:], rowvar=False))
    assert together == pytest.approx(np.eye(net.states), abs=0.02)
    across = (y_hat - y_hat.mean(axis=0))[:, :outputs].T @ y_hat[:, outputs:]
    assert np.abs(across).max() < 0.02 * len(y_hat)


def test_a_free_run_begins_with_the_state_that_the_first_rows_show() -> None:
    """An arm that swings for a hundred rows, met in the middle of a swing and measured for ten."""
    net = states.with_states(Narx(1, 1, (1,), (0,), 1), 2, 0)
    transition, entry = np.array([[0.96, 0.24], [-0.24, 0.96]]), np.array([[0.1, 0.0], [0.2, 0.0]])
    weights = np.concatenate([np.zeros(2), np.hstack([transition, entry]).ravel()])
    rng = np.random.default_rng(0)
    u = rng.normal(size=(200, 1))
    truth = np.zeros((200, 2))
    truth[0] = [0.3, -1.5]
    for t in range(1, 200):
        truth[t] = transition @ truth[t - 1] + entry[:, 0] * u[t]
    y = truth[:, :1] + 0.001 * rng.normal(size=(200, 1))

    def error(memory: Memory) -> float:
        run, _ = net.loop(weights, memory, u[10:])
        return float(np.abs(run - truth[10:, :1])[:50].mean())

    _, without = net.loop(weights, net.begin(u), u[:10], y[:10])
    assert error(without) > 0.3
    assert error(net.absorb(weights, u[:10], y[:10])) < 0.02


def test_other_states_leave_the_outputs_as_they_were() -> None:
    """A second-order system sampled fast: in observer form its states are nearly the level."""
    u, v = np.repeat(np.random.default_rng(0).normal(size=10), 30), np.zeros((300, 2))
    for t in range(1, 300):
        v[t] = v[t - 1] + 0.03 * np.array([v[t - 1, 1], u[t] - v[t - 1, 0] - 0.6 * v[t - 1, 1]])
    e = Experiment(u, v[:, 0] / v[:, 0].std())
    net = states.with_states(Narx(1, 1, (1,), (0,), 1), 2, 0)
    before = states.linear_weights(net, [e])
    after = states.whiten_states(net, before, [e])
    paths = [weights[2:].reshape(2, -1) for weights in (before, after)]
    responses = [
        [(np.linalg.matrix_power(p[:, :2], k) @ p[:, 2:])[0] for k in range(100)] for p in paths
    ]
    np.testing.assert_allclose(responses[1], responses[0], atol=1e-9)
    rests = [
        np.linalg.solve(np.eye(2) - p[:, :2], w[:2])[0]
        for p, w in zip(paths, (before, after), strict=True)
    ]
    assert rests[1] == pytest.approx(rests[0], abs=1e-9)


def test_a_system_whose_state_nobody_measures_is_followed_to_its_noise() -> None:
    """Two tanks in a row of which the lower is measured."""
    rng = np.random.default_rng(0)
    u, upper, y = np.repeat(rng.uniform(-1.0, 1.0, 60), 8), 0.0, np.zeros(480)
    for t in range(1, len(u)):
        y[t] = y[t - 1] + 0.1 * (upper - y[t - 1])
        upper += 0.15 * (u[t] - upper - 0.5 * upper**3)
    y /= y.std()
    whole = Experiment(u, y + 0.02 * rng.normal(size=len(y)))
    first, last = whole.part(slice(360)), whole.part(slice(360, None))
    net = net_of(1, 1, 2, bound=10.0)
    start = draw_weights(net, [first], 0)
    result = lm.minimise(
        ClosedLoop(net, [first], START), start, options=lm.Options(max_iterations=40)
    )
    runs = [
        net.free_run(weights, last.u, last.y[:START])[20:, 0] for weights in (start, result.weights)
    ]
    linear, trained = (float(np.sqrt(np.mean((run - y[380:]) ** 2))) for run in runs)
    assert trained < 0.04 < linear
