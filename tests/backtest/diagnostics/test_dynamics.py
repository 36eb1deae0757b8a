"""A recurrent layer as a dynamical system, on laws whose answers are known: ReLU on positive
numbers is linear.
"""

from __future__ import annotations

import numpy as np
import pytest

from forecast.backtest.diagnostics.dynamics import (
    Layer,
    Walk,
    collect_states,
    dynamics,
    jacobians,
    spectral_radius,
)
from forecast.backtest.diagnostics.examine import gradient_by_lag, spread_lags
from forecast.networks import cells, inference
from forecast.networks.description import Dense, Network, Recurrent, Shapes, Taps
from forecast.networks.weights import weight_shapes
from tests.contract.families import EVERY_NETWORK, network, random_weights
from tests.support import problems

T, B = 40, 3


def layer(cell, units, weights, rows=T, **options):
    made = cells.get(cell, units, options)
    inputs = max(w.shape[0] for name, w in weights.items() if name == "kernel")
    x = np.random.default_rng(0).uniform(0.5, 1.5, (rows, B, inputs))
    return Layer(cell, made, weights, x)


def linear(w, rows=T):
    """h_t = h_{t-1} W + x_t, every number positive."""
    units = len(w)
    weights = {
        "kernel": np.eye(units),
        "recurrent_kernel": np.array(w, float),
        "bias": np.ones(units),
    }
    return layer("simple_rnn", units, weights, rows, activation="relu")


def test_of_a_linear_law_radius_exponent_and_decay_are_those_of_its_matrix():
    found = dynamics(linear([[0.9, 0.0], [0.0, 0.5]]))
    k = np.arange(T + 1)
    assert (found.radius_of, found.states) == ("W", 2)
    assert found.spectral_radius == pytest.approx(0.9)
    assert found.lyapunov == pytest.approx(np.log(0.9), abs=1e-3)
    np.testing.assert_allclose(
        found.decay, np.sqrt((0.9 ** (2 * k) + 0.5 ** (2 * k)) / 2), rtol=1e-6
    )


def test_a_matrix_that_mixes_has_the_exponent_of_its_largest_eigenvalue():
    w = np.array([[0.3, 0.2, 0.4], [0.5, 0.1, 0.2], [0.2, 0.6, 0.3]])
    largest = np.abs(np.linalg.eigvals(w)).max()
    assert dynamics(linear(w)).lyapunov == pytest.approx(np.log(largest), abs=1e-6)


@pytest.mark.parametrize(("w", "rows"), [(0.5, 7), (0.8, 21), (0.1, 2)])
def test_memory_is_the_rows_until_one_percent_is_left(w, rows):
    assert dynamics(linear([[w]])).memory == rows


def test_what_never_fades_has_no_memory_length():
    found = dynamics(linear([[1.05]], rows=20))
    assert found.memory is None and found.lyapunov == pytest.approx(np.log(1.05), abs=1e-6)


def test_an_lstm_whose_gates_ignore_the_state_forgets_at_the_rate_of_its_forget_gate():
    u = 2
    bias = np.repeat([0.0, 1.0, 0.0, 0.0], u)
    weights = {
        "kernel": np.zeros((1, 4 * u)),
        "recurrent_kernel": np.zeros((u, 4 * u)),
        "bias": bias,
    }
    forget = 1 / (1 + np.exp(-1.0))
    found = dynamics(layer("lstm", u, weights))
    assert (found.radius_of, found.states) == ("Jacobian", 4)
    assert found.spectral_radius == pytest.approx(forget) and found.lyapunov == pytest.approx(
        np.log(forget)
    )
    assert found.saturated == 0


def test_the_context_of_jordan_fades_with_alpha():
    weights = {"recurrent_kernel": np.ones((1, 4)), "bias": np.zeros(4)}
    x = np.random.default_rng(0).normal(size=(T, B, 1))
    found = dynamics(Layer("jordan", cells.get("jordan", 4, {"alpha": 0.5}), weights, x))
    assert found.spectral_radius == pytest.approx(0.5) and found.lyapunov == pytest.approx(
        np.log(0.5)
    )


def test_a_layer_driven_to_its_limits_is_saturated():
    weights = {
        "kernel": np.full((1, 3), 50.0),
        "recurrent_kernel": 0.1 * np.eye(3),
        "bias": np.zeros(3),
    }
    found = dynamics(layer("simple_rnn", 3, weights))
    assert found.saturated == 1 and found.memory == 1
    assert dynamics(linear([[0.5]])).saturated is None


def test_the_jacobian_of_tanh_is_the_slope_times_w():
    w = np.random.default_rng(1).normal(0, 0.5, (3, 3))
    made = layer(
        "simple_rnn", 3, {"kernel": np.ones((1, 3)), "recurrent_kernel": w, "bias": np.zeros(3)}
    )
    visited = collect_states(made)
    h = visited[-1]
    expected = (1 - h**2)[:, :, None] * w.T[None]
    np.testing.assert_allclose(jacobians(made, visited), expected, atol=1e-8)


def test_the_radius_of_a_large_matrix_is_off_by_less_than_one_percent():
    w = np.random.default_rng(2).normal(0, 1 / np.sqrt(200), (200, 200))
    assert spectral_radius(w) == pytest.approx(np.abs(np.linalg.eigvals(w)).max(), rel=0.01)
    # a shift: nothing is left after 200 steps
    assert spectral_radius(np.diag(np.ones(199), 1)) == 0


@EVERY_NETWORK
def test_the_walk_ends_with_the_forecast(family):
    shops, net = problems.shops(), network(family)
    weights = {name: w.astype(np.float64) for name, w in random_weights(net).items()}
    given = next(
        shops.windows("north", shops.rows("north", "test")[:4], horizon=net.shapes.horizon)
    )
    walk = Walk(net, weights)
    out = walk.through(given.past, given.future)
    wanted = inference.forward(net, weights, given.past, given.future)
    np.testing.assert_allclose(out.transpose(2, 0, 1).reshape(wanted.shape), wanted, atol=1e-12)


def test_the_gradient_by_lag_of_a_linear_law_is_the_norm_of_its_matrix_product():
    net = Network((Recurrent("r", "simple_rnn", 2, {"activation": "relu"}),), Shapes(2, 0, 3, 1, 8))
    rng = np.random.default_rng(3)
    w = {name: rng.uniform(0.1, 0.5, made.shape) for name, made in weight_shapes(net).items()}
    lags = [0, 1, 2, 5, 7]
    found = gradient_by_lag(net, w, rng.uniform(0.5, 1, (B, 8, 2)), None, lags)
    product = [
        w["r/kernel"] @ np.linalg.matrix_power(w["r/recurrent_kernel"], k) @ w["readout/kernel"]
        for k in lags
    ]
    np.testing.assert_allclose(found, [np.linalg.norm(p) for p in product], rtol=1e-6)


def test_beyond_its_taps_a_network_without_recurrence_has_no_gradient():
    net = Network((Taps("taps", (0, 1, 2)), Dense("hidden", 4)), Shapes(1, 0, 1, 1, 8))
    w = {name: np.full(made.shape, 0.2) for name, made in weight_shapes(net).items()}
    found = gradient_by_lag(net, w, np.ones((B, 8, 1)), None, list(range(8)))
    assert (found[:3] > 0).all() and not found[3:].any()


@pytest.mark.parametrize("lookback", [1, 2, 7, 168, 1000])
def test_lags_reach_from_the_origin_to_the_first_row(lookback):
    lags = spread_lags(lookback)
    assert lags[0] == 0 and lags[-1] == lookback - 1 and len(set(lags)) == len(lags) <= 16
