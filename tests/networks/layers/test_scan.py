"""Any cell as a Keras layer: its results, its gradient, its states."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from forecast.networks import cells
from forecast.networks.cells.base import numpy_namespace
from forecast.networks.layers.feedforward import tensor_namespace
from forecast.networks.layers.scan import Scan, loop_over_time
from forecast.networks.weights import draw

UNITS, STEPS, BATCH, CHANNELS = 3, 6, 2, 4
OPTIONS = {
    "jordan": {"targets": (0, 2)},
    "temporal_skip": {"skip": 3},
    "lstm_variant": {"forget": "coupled"},
    "state_space": {"hidden": (5, 4)},
}
CELLS = [(name, OPTIONS.get(name, {})) for name in sorted(cells.catalogue())]
RESET_BEFORE = ("gru", {"reset_after": False})


def built(
    name: str, options: dict[str, object], dtype: str = "float32"
) -> tuple[Scan, dict[str, np.ndarray]]:
    """The layer and its weights, none of them zero."""
    layer = Scan(cells.get(name, UNITS, options), dtype=dtype)
    layer.build((None, None, CHANNELS))
    rng = np.random.default_rng(0)
    weights = {
        key: (draw(weight, key, 1, dtype) + rng.normal(0, 0.2, weight.shape)).astype(dtype)
        for key, weight in layer.cell.weight_specs(CHANNELS).items()
    }
    for key, value in weights.items():
        layer.w[key].assign(value)
    return layer, weights


def inputs(dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(5).normal(size=(BATCH, STEPS, CHANNELS)).astype(dtype)


@pytest.mark.parametrize(
    ("name", "options", "dtype", "tolerance"),
    [
        *((*cell, "float64", 1e-10) for cell in (*CELLS, RESET_BEFORE)),
        *((name, {}, "float32", 1e-5) for name in ("elman", "gru", "lstm", "simple_rnn")),
    ],
)
def test_layer_equals_the_cell_stepped_in_numpy(
    name: str, options: dict, dtype: str, tolerance: float
) -> None:
    layer, weights = built(name, options, dtype)
    x = inputs(dtype)
    states = layer.cell.initial_states(numpy_namespace, weights, BATCH)
    outputs = []
    for t in range(STEPS):
        y, states = layer.cell.step(numpy_namespace, weights, x[:, t], states)
        outputs.append(y)
    (result,) = layer(x)
    np.testing.assert_allclose(result, np.stack(outputs, 1), atol=tolerance)


@pytest.mark.parametrize(("name", "options"), CELLS, ids=str)
def test_gradient_equals_that_of_the_unrolled_equation(name: str, options: dict) -> None:
    layer, weights = built(name, options, "float64")
    cell, x = layer.cell, tf.constant(inputs("float64"))
    w = {key: tf.constant(value) for key, value in weights.items()}
    rng = np.random.default_rng(7)
    first = {
        key: tf.constant(rng.normal(size=(BATCH, size))) for key, size in cell.states().items()
    }
    weigh = rng.normal(size=(STEPS, BATCH, UNITS))

    def unrolled(x: tf.Tensor, w: dict, states: dict) -> tf.Tensor:
        outputs = []
        for t in range(STEPS):
            y, states = cell.step(tensor_namespace, w, x[:, t], states)
            outputs.append(y)
        return tf.stack(outputs)

    def scanned(x: tf.Tensor, w: dict, states: dict) -> tf.Tensor:
        return loop_over_time(cell, w, tf.transpose(x, [1, 0, 2]), states)

    def gradients(run) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch([x, w, first])
            loss = tf.reduce_sum(run(x, w, first) * weigh)
        return keras.tree.flatten(tape.gradient(loss, [x, w, first], unconnected_gradients="zero"))

    for ours, expected in zip(gradients(scanned), gradients(unrolled), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_gradient_of_elman_stops_at_the_previous_state_but_not_that_of_the_simple_net() -> None:
    def reaches_the_first_row(name: str) -> bool:
        layer, _ = built(name, {})
        x = tf.constant(inputs())
        with tf.GradientTape() as tape:
            tape.watch(x)
            last_output = layer(x)[0][:, -1]
        return bool(np.any(tape.gradient(last_output, x)[:, 0]))

    assert reaches_the_first_row("simple_rnn")
    assert not reaches_the_first_row("elman")


@pytest.mark.parametrize(("name", "options"), CELLS, ids=str)
def test_states_of_every_step_are_those_of_the_cell_stepped_in_numpy(
    name: str, options: dict
) -> None:
    plain, weights = built(name, options)
    revealing = Scan(cells.get(name, UNITS, options), all_states=True)
    revealing.build((None, None, CHANNELS))
    for key, value in weights.items():
        revealing.w[key].assign(value)
    x = inputs()
    outputs, *sequences = revealing(x)
    np.testing.assert_array_equal(plain(x)[0], outputs)
    states = plain.cell.initial_states(numpy_namespace, weights, BATCH)
    for t in range(STEPS):
        _, states = plain.cell.step(numpy_namespace, weights, x[:, t], states)
        for sequence, state in zip(sequences, states.values(), strict=True):
            np.testing.assert_allclose(sequence[:, t], state, atol=1e-5)


def test_backwards_reads_the_sequence_from_its_end() -> None:
    layer, weights = built("elman", {})
    backwards = Scan(cells.get("elman", UNITS), go_backwards=True)
    backwards.build((None, None, CHANNELS))
    for key, value in weights.items():
        backwards.w[key].assign(value)
    np.testing.assert_array_equal(backwards(inputs())[0], layer(inputs()[:, ::-1])[0])
