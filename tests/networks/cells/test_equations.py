"""Every cell against its equation, written a second time in plain Python numbers, unit by unit."""

from __future__ import annotations

from math import exp, log1p, tanh

import numpy as np
import pytest

from forecast.networks import cells
from forecast.networks.cells.base import numpy_namespace as xp

ACTIVATIONS = {
    "tanh": tanh,
    "sigmoid": lambda z: 1 / (1 + exp(-z)),
    "relu": lambda z: max(z, 0.0),
    "softplus": lambda z: log1p(exp(z)),
}
sigmoid = ACTIVATIONS["sigmoid"]


def dot(vector, matrix, column):
    return sum(value * matrix[row][column] for row, value in enumerate(vector))


def simple_rnn(xs, w, units, f=tanh):
    h, outputs = [0.0] * units, []
    for x in xs:
        h = [
            f(dot(x, w["kernel"], j) + dot(h, w["recurrent_kernel"], j) + w["bias"][j])
            for j in range(units)
        ]
        outputs.append(h)
    return outputs


def lstm(xs, w, units):
    h, c, outputs = [0.0] * units, [0.0] * units, []
    for x in xs:
        z = [
            dot(x, w["kernel"], k) + dot(h, w["recurrent_kernel"], k) + w["bias"][k]
            for k in range(4 * units)
        ]
        for j in range(units):
            i, f, g, o = (z[part * units + j] for part in range(4))
            c[j] = sigmoid(f) * c[j] + sigmoid(i) * tanh(g)
            z[j] = sigmoid(o) * tanh(c[j])
        h = z[:units]
        outputs.append(h)
    return outputs


def gru(xs, w, units, reset_after):
    h, outputs = [0.0] * units, []
    b, d = w["bias"] if reset_after else (w["bias"], [0.0] * 3 * units)
    for x in xs:
        gates = [
            dot(x, w["kernel"], k) + b[k] + dot(h, w["recurrent_kernel"], k) + d[k]
            for k in range(2 * units)
        ]
        u, r = ([sigmoid(z) for z in gates[part * units : (part + 1) * units]] for part in range(2))
        new = []
        for j in range(units):
            column = 2 * units + j
            if reset_after:
                recurrent = r[j] * (dot(h, w["recurrent_kernel"], column) + d[column])
            else:
                recurrent = dot([r[m] * h[m] for m in range(units)], w["recurrent_kernel"], column)
            g = tanh(dot(x, w["kernel"], column) + b[column] + recurrent)
            new.append((1 - u[j]) * g + u[j] * h[j])
        h = new
        outputs.append(h)
    return outputs


def jordan(xs, w, units, alpha):
    """Targets are column 2 and column 0, in this order; the input has 4 columns."""
    mu, outputs = [0.0, 0.0], []
    for x in xs:
        mu = [alpha * mu[0] + x[2], alpha * mu[1] + x[0]]
        z = [
            dot([x[1], x[3]], w["kernel"], j) + dot(mu, w["recurrent_kernel"], j) + w["bias"][j]
            for j in range(units)
        ]
        outputs.append([tanh(value) for value in z])
    return outputs


def state_space(xs, w, units):
    """Two hidden layers of 5 and 4."""
    h, outputs = [0.0] * units, []
    for x in xs:
        a = [
            tanh(dot(x, w["kernel"], j) + dot(h, w["recurrent_kernel"], j) + w["bias"][j])
            for j in range(5)
        ]
        a = [tanh(dot(a, w["kernel_2"], j) + w["bias_2"][j]) for j in range(4)]
        h = [tanh(dot(a, w["kernel_3"], j) + w["bias_3"][j]) for j in range(units)]
        outputs.append(h)
    return outputs


def delayed(xs, w, units, matrices):
    """`matrices`: delay -> matrix of that delay."""
    outputs = []
    for t, x in enumerate(xs):
        z = [dot(x, w["kernel"], j) + w["bias"][j] for j in range(units)]
        for delay, matrix in matrices.items():
            if t >= delay:
                z = [z[j] + dot(outputs[t - delay], matrix, j) for j in range(units)]
        outputs.append([tanh(value) for value in z])
    return outputs


def multi_level(xs, w, units):
    """Two levels; the lower one also sees the higher one's output of the step before."""
    low, high, outputs = [0.0] * units, [0.0] * units, []
    for x in xs:
        both = [*low, *high]
        low = [
            tanh(dot(x, w["kernel"], j) + dot(both, w["recurrent_kernel"], j) + w["bias"][j])
            for j in range(units)
        ]
        z = [
            dot(low, w["kernel_2"], j) + dot(high, w["recurrent_kernel_2"], j) + w["bias_2"][j]
            for j in range(units)
        ]
        high = [tanh(value) for value in z]
        outputs.append(high)
    return outputs


def lstm_variant(xs, w, units, forget="gate", output="tanh", peepholes="current"):
    order = {"gate": "ifgo", "none": "igo", "coupled": "fgo"}[forget]
    rows = {name: row for row, name in enumerate(order.replace("g", ""))}
    h, c, outputs = [0.0] * units, [0.0] * units, []
    for x in xs:
        columns = range(len(order) * units)
        z = [
            dot(x, w["kernel"], k) + dot(h, w["recurrent_kernel"], k) + w["bias"][k]
            for k in columns
        ]
        new_h = []
        for j in range(units):
            part = {name: z[place * units + j] for place, name in enumerate(order)}
            peep = {
                name: w["peephole"][row][j] if peepholes != "none" else 0.0
                for name, row in rows.items()
            }
            f = sigmoid(part["f"] + peep["f"] * c[j]) if "f" in part else 1.0
            i = sigmoid(part["i"] + peep["i"] * c[j]) if "i" in part else 1 - f
            new = f * c[j] + i * tanh(part["g"])
            o = sigmoid(part["o"] + peep["o"] * (new if peepholes == "current" else c[j]))
            c[j] = new
            new_h.append(o * (tanh(new) if output == "tanh" else new))
        h = new_h
        outputs.append(h)
    return outputs


def block(matrix, place, size):
    return matrix[place * size : (place + 1) * size]


CASES = {
    "lstm": ("lstm", {}, lstm),
    "gru, reset after": ("gru", {}, lambda xs, w, u: gru(xs, w, u, True)),
    "gru, reset before": ("gru", {"reset_after": False}, lambda xs, w, u: gru(xs, w, u, False)),
    **{
        f"{cell}, {name}": (
            cell,
            {"activation": name},
            lambda xs, w, u, f=f: simple_rnn(xs, w, u, f),
        )
        for name, f in ACTIVATIONS.items()
        for cell in ("simple_rnn", "elman")
    },
    "jordan": (
        "jordan",
        {"targets": [2, 0], "alpha": 0.3},
        lambda xs, w, u: jordan(xs, w, u, 0.3),
    ),
    "state_space": ("state_space", {"hidden": [5, 4]}, state_space),
    "multi_delay": (
        "multi_delay",
        {"delays": [1, 3]},
        lambda xs, w, u: delayed(
            xs, w, u, {d: block(w["recurrent_kernel"], k, u) for k, d in enumerate((1, 3))}
        ),
    ),
    "temporal_skip": (
        "temporal_skip",
        {"skip": 4},
        lambda xs, w, u: delayed(xs, w, u, {1: w["recurrent_kernel"], 4: w["skip_kernel"]}),
    ),
    "multi_level": ("multi_level", {}, multi_level),
    "fully_connected": (
        "fully_connected",
        {"hidden": 2},
        lambda xs, w, u: [h[:u] for h in simple_rnn(xs, w, u + 2)],
    ),
    **{
        f"lstm_variant, {options}": (
            "lstm_variant",
            options,
            lambda xs, w, u, o=options: lstm_variant(xs, w, u, **o),
        )
        for options in (
            {},
            {"forget": "none", "peepholes": "none"},
            {"forget": "coupled", "peepholes": "previous"},
            {"forget": "none", "peepholes": "current"},
            {"output": "linear", "peepholes": "previous"},
        )
    },
}


def random_weights(cell, inputs, rng):
    return {
        name: rng.normal(0, 0.7, weight.shape) for name, weight in cell.weight_specs(inputs).items()
    }


def run(cell, w, xs):
    """The cell's outputs over `xs (B, T, I)`: `(B, T, units)`."""
    states, outputs = cell.initial_states(xp, w, len(xs)), []
    for t in range(xs.shape[1]):
        output, states = cell.step(xp, w, xs[:, t], states)
        outputs.append(output)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("case", CASES)
def test_a_cell_computes_its_equation(case):
    name, options, reference = CASES[case]
    cell, rng = cells.get(name, 3, options), np.random.default_rng(5)
    w, xs = random_weights(cell, 4, rng), rng.normal(size=(2, 7, 4))
    expected = [
        reference(x.tolist(), {key: value.tolist() for key, value in w.items()}, 3) for x in xs
    ]
    np.testing.assert_allclose(run(cell, w, xs), expected, rtol=0, atol=1e-13)


def test_every_cell_has_an_equation_here():
    assert {name for name, _, _ in CASES.values()} == set(cells.catalogue())


@pytest.mark.parametrize("case", CASES)
def test_float32_weights_give_float32_close_to_float64(case):
    name, options, _ = CASES[case]
    cell, rng = cells.get(name, 3, options), np.random.default_rng(6)
    w, xs = random_weights(cell, 4, rng), rng.normal(size=(2, 7, 4))
    single = run(
        cell, {key: value.astype("float32") for key, value in w.items()}, xs.astype("float32")
    )
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, run(cell, w, xs), rtol=1e-4, atol=1e-5)


def outputs_of(name, options, w, xs):
    """One unit, one window: the outputs as a list of numbers."""
    cell = cells.get(name, 1, options)
    arrays = {key: np.array(value, dtype=float) for key, value in w.items()}
    return run(cell, arrays, np.array([xs], dtype=float))[0, :, 0].tolist()


def test_simple_recurrence_in_numbers():
    w = {"kernel": [[1]], "recurrent_kernel": [[0.5]], "bias": [0]}
    assert outputs_of("simple_rnn", {"activation": "relu"}, w, [[1], [2], [-4], [1]]) == [
        1,
        2.5,
        0,
        1,
    ]
    assert outputs_of("elman", {"activation": "relu"}, w, [[1], [2], [-4], [1]]) == [1, 2.5, 0, 1]


def test_jordan_context_in_numbers():
    # Columns: y, u. mu = 1, 2.5, 3.25 for y = 1, 2, 2 and alpha = 1/2; h = 10 u + mu.
    w = {"kernel": [[10]], "recurrent_kernel": [[1]], "bias": [0]}
    options = {"activation": "relu", "alpha": 0.5}
    assert outputs_of("jordan", options, w, [[1, 0], [2, 1], [2, 0]]) == [1, 12.5, 3.25]


def test_jordan_without_other_inputs_needs_no_kernel():
    w = {"recurrent_kernel": [[2]], "bias": [1]}
    assert cells.get("jordan", 1).weight_specs(1).keys() == w.keys()
    assert outputs_of("jordan", {"activation": "relu"}, w, [[1], [2]]) == [3, 6]


def test_feedback_over_several_delays_in_numbers():
    # h = 1; 2 + 1/2; 4 + 5/4 + 2 * 1
    w = {"kernel": [[1]], "recurrent_kernel": [[0.5], [2]], "bias": [0]}
    assert outputs_of("multi_delay", {"activation": "relu"}, w, [[1], [2], [4]]) == [1, 2.5, 7.25]


def test_a_temporal_skip_brings_the_state_of_k_steps_before():
    # W = 0 and S = 1: only h_{t-3} comes back.
    w = {"kernel": [[1]], "recurrent_kernel": [[0]], "skip_kernel": [[1]], "bias": [0]}
    xs = [[1], [2], [3], [4], [5], [6], [7]]
    assert outputs_of("temporal_skip", {"activation": "relu", "skip": 3}, w, xs) == [
        1,
        2,
        3,
        5,
        7,
        9,
        12,
    ]


def test_the_higher_level_reaches_the_lower_one_a_step_later():
    # low = x + high_before, high = low.
    w = {"kernel": [[1]], "recurrent_kernel": [[0], [1]], "bias": [0]}
    w |= {"kernel_2": [[1]], "recurrent_kernel_2": [[0]], "bias_2": [0]}
    assert outputs_of("multi_level", {"activation": "relu"}, w, [[1], [1], [1]]) == [1, 2, 3]


def test_a_hidden_unit_of_the_fully_connected_net_reaches_the_output_a_step_later():
    w = {"kernel": [[0, 1]], "recurrent_kernel": [[0, 0], [1, 0]], "bias": [0, 0]}
    options = {"activation": "relu", "hidden": 1}
    assert outputs_of("fully_connected", options, w, [[3], [5], [0]]) == [0, 3, 5]


def test_state_space_layers_in_numbers():
    w = {
        "kernel": [[1]],
        "recurrent_kernel": [[1]],
        "bias": [0],
        "kernel_2": [[0.5]],
        "bias_2": [1],
    }
    assert outputs_of("state_space", {"activation": "relu", "hidden": [1]}, w, [[2], [2]]) == [2, 3]


def test_lstm_with_open_gates_in_numbers():
    # All gates 1/2, candidate tanh(x): c = tanh(1) / 2 = 0.3807970779778824, then half of it, then
    # half again.
    w = {"kernel": [[0, 0, 1, 0]], "recurrent_kernel": [[0, 0, 0, 0]], "bias": [0, 0, 0, 0]}
    expected = [0.18169974219452625, 0.09406533405666026, 0.04745635720450601]
    assert outputs_of("lstm", {}, w, [[1], [0], [0]]) == pytest.approx(expected, abs=1e-15)


def test_without_a_forget_gate_the_cell_state_is_a_sum():
    w = {"kernel": [[0, 1, 0]], "recurrent_kernel": [[0, 0, 0]], "bias": [0, 0, 0]}
    options = {"forget": "none", "output": "linear", "peepholes": "none"}
    quarter = tanh(1) / 4  # input gate 1/2, output gate 1/2
    assert outputs_of("lstm_variant", options, w, [[1], [0], [1]]) == pytest.approx(
        [quarter, quarter, 2 * quarter]
    )


def test_gru_with_half_open_gates_in_numbers():
    # u = 1/2: h is half way from the old state to tanh(x) = 0.7615941559557649.
    w = {"kernel": [[0, 0, 1]], "recurrent_kernel": [[0, 0, 0]], "bias": [[0, 0, 0], [0, 0, 0]]}
    expected = [0.3807970779778824, 0.1903985389889412]
    assert outputs_of("gru", {}, w, [[1], [0]]) == pytest.approx(expected, abs=1e-15)
