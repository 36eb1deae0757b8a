"""The recurrences with a kernel of their own against `keras.layers` with equal weights: results,
gradients, states.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from forecast.networks import cells
from forecast.networks.layers.scan import Scan, run_cell

UNITS, STEPS, BATCH, CHANNELS = 5, 7, 3, 4
PAIRS = {
    "LSTM": ("lstm", keras.layers.LSTM, {}),
    "GRU reset after": ("gru", keras.layers.GRU, {}),
    "GRU reset before": ("gru", keras.layers.GRU, {"reset_after": False}),
    "GRU reset before, backwards": (
        "gru",
        keras.layers.GRU,
        {"reset_after": False, "go_backwards": True},
    ),
} | {
    f"SimpleRNN {name}": ("simple_rnn", keras.layers.SimpleRNN, {"activation": name})
    for name in ("tanh", "sigmoid", "relu", "softplus")
}


def draw_array(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype("float32")


def pair(name: str, units: int = UNITS, channels: int = CHANNELS) -> tuple[Scan, keras.layers.RNN]:
    """Both layers with the same weights, small enough that nothing grows over time."""
    cell, make, arguments = PAIRS[name]
    options = {key: value for key, value in arguments.items() if key != "go_backwards"}
    our_layer = Scan(
        cells.get(cell, units, options), go_backwards=arguments.get("go_backwards", False)
    )
    layers = our_layer, make(units, return_sequences=True, return_state=True, **arguments)
    for layer in layers:
        layer.build((None, None, channels))
    values = [
        draw_array(k, *weight.shape, scale=0.3 * (UNITS / units) ** 0.5)
        for k, weight in enumerate(our_layer.get_weights())
    ]
    for layer in layers:
        layer.set_weights(values)
    return layers


def call_from(layer: keras.Layer, x: tf.Tensor, states: list[tf.Tensor]) -> list[tf.Tensor]:
    """The outputs of all steps and the last states, from first `states`."""
    if not isinstance(layer, Scan):
        return layer(x, initial_state=states)
    w = {name: tf.convert_to_tensor(variable) for name, variable in layer.w.items()}
    first = dict(zip(layer.cell.states(), states, strict=True))
    outputs, *sequences = run_cell(layer.cell, w, x, first, all_states=True)
    return [outputs, *(sequence[:, -1] for sequence in sequences)]


def outputs_and_gradients(
    layer: keras.Layer, x: np.ndarray, states: list[np.ndarray]
) -> list[np.ndarray]:
    """Every output and the gradient of everything differentiable, of a loss that weighs all outputs
    differently.
    """
    x, states = tf.constant(x), [tf.constant(state) for state in states]
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        result = call_from(layer, x, states)
        loss = tf.add_n(
            [tf.reduce_sum(m * draw_array(50 + k, *m.shape)) for k, m in enumerate(result)]
        )
    return [
        m.numpy() for m in [*result, *tape.gradient(loss, [x, *states, *layer.trainable_variables])]
    ]


@pytest.mark.parametrize("name", [name for name in PAIRS if "backwards" not in name])
def test_results_and_gradients_equal_keras(name: str) -> None:
    our_layer, stock = pair(name)
    states = [draw_array(90 + k, BATCH, UNITS) for k in range(len(our_layer.cell.states()))]
    x = draw_array(80, BATCH, STEPS, CHANNELS)
    for ours, theirs in zip(
        outputs_and_gradients(our_layer, x, states),
        outputs_and_gradients(stock, x, states),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "SimpleRNN tanh"])
def test_a_large_net_whose_products_are_taken_in_blocks_equals_keras(name: str) -> None:
    our_layer, stock = pair(name, units=160, channels=64)
    states = [draw_array(90 + k, 41, 160) for k in range(len(our_layer.cell.states()))]
    x = draw_array(80, 41, STEPS, 64)
    for ours, theirs in zip(
        outputs_and_gradients(our_layer, x, states),
        outputs_and_gradients(stock, x, states),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["LSTM", "GRU reset after", "GRU reset before, backwards", "SimpleRNN tanh"]
)
def test_gradient_without_states_in_a_compiled_step_equals_keras(name: str) -> None:
    x = draw_array(81, BATCH, STEPS, CHANNELS)

    def gradients(layer: keras.Layer) -> list[np.ndarray]:
        @tf.function(autograph=False)
        def step(x: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x)[0][:, -1] ** 2)
            return tape.gradient(loss, layer.trainable_variables)

        return [g.numpy() for g in step(x)]

    for ours, theirs in zip(*(gradients(layer) for layer in pair(name)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["LSTM", "GRU reset after", "GRU reset before", "SimpleRNN softplus"]
)
@pytest.mark.parametrize("rubbish", [np.nan, 1e30])
def test_nothing_after_t_changes_a_bit_before_it(name: str, rubbish: float) -> None:
    layer, _ = pair(name)
    x = draw_array(85, BATCH, STEPS, CHANNELS)
    changed = x.copy()
    changed[:, 4:] = rubbish
    assert layer(x)[0].numpy()[:, :4].tobytes() == layer(changed)[0].numpy()[:, :4].tobytes()


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "GRU reset before", "SimpleRNN tanh"])
def test_weights_names_and_shapes_are_those_of_keras(name: str) -> None:
    our_layer, stock = pair(name)
    for ours, theirs in zip(our_layer.weights, stock.weights, strict=True):
        assert (ours.name, ours.shape) == (theirs.name, theirs.shape)
