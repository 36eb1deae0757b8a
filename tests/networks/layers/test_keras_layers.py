"""The fast layers against `keras.layers` with the same weights: results, gradients, states, configuration, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing  # Keras's own layer checks; it has no public name

from forecast.networks.layers.fused import LSTM, SimpleRNN
from forecast.networks.layers.gru import GRU

# Keras 3.15 converts its variables in a way that NumPy 2.4 is leaving behind (model.save, weights compared by Keras).
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

UNITS, STEPS, BATCH, CHANNELS = 5, 7, 3, 4
PAIRS = {
    "LSTM": (LSTM, keras.layers.LSTM, {}),
    "LSTM without bias, backwards": (LSTM, keras.layers.LSTM, {"use_bias": False, "go_backwards": True}),
    "GRU reset after": (GRU, keras.layers.GRU, {}),
    "GRU reset after without bias": (GRU, keras.layers.GRU, {"use_bias": False}),
    "GRU reset before": (GRU, keras.layers.GRU, {"reset_after": False}),
    "GRU reset before, backwards": (GRU, keras.layers.GRU, {"reset_after": False, "go_backwards": True}),
} | {
    f"SimpleRNN {name}": (SimpleRNN, keras.layers.SimpleRNN, {"activation": name})
    for name in ("tanh", "sigmoid", "relu", "softplus", "linear")
}


def drawn(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype("float32")


def same_weights(*layers: keras.layers.RNN) -> None:
    """Builds the layers and gives them the same weights, small enough that nothing grows over time."""
    for layer in layers:
        layer.build((None, None, CHANNELS))
    values = [drawn(k, *weight.shape, scale=0.3) for k, weight in enumerate(layers[0].get_weights())]
    for layer in layers:
        layer.set_weights(values)


def pair(name: str, **more: object) -> tuple[keras.layers.RNN, keras.layers.RNN]:
    own, stock, arguments = PAIRS[name]
    layers = own(UNITS, **arguments, **more), stock(UNITS, **arguments, **more)
    same_weights(*layers)
    return layers


def outputs_and_gradients(layer: keras.layers.RNN, x: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
    """Every output and the gradient of everything differentiable, of a loss that weighs all outputs differently."""
    x, states = tf.constant(x), [tf.constant(state) for state in states]
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        made = layer(x, initial_state=states)
        loss = tf.add_n([tf.reduce_sum(m * drawn(50 + k, *m.shape)) for k, m in enumerate(made)])
    return [m.numpy() for m in [*made, *tape.gradient(loss, [x, *states, *layer.trainable_variables])]]


@pytest.mark.parametrize("name", PAIRS)
def test_results_and_gradients_equal_keras(name: str) -> None:
    own, stock = pair(name, return_sequences=True, return_state=True)
    assert own.applies()
    count = len(keras.tree.flatten(own.cell.state_size))
    states = [drawn(90 + k, BATCH, UNITS) for k in range(count)]
    x = drawn(80, BATCH, STEPS, CHANNELS)
    for ours, theirs in zip(
        outputs_and_gradients(own, x, states), outputs_and_gradients(stock, x, states), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_gradient_without_states_in_a_compiled_step_equals_keras(name: str) -> None:
    x = drawn(81, BATCH, STEPS, CHANNELS)

    def gradients(layer: keras.layers.RNN) -> list[np.ndarray]:
        @tf.function(autograph=False)
        def step(x: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x) ** 2)
            return tape.gradient(loss, layer.trainable_variables)

        return [g.numpy() for g in step(x)]

    for ours, theirs in zip(*(gradients(layer) for layer in pair(name)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradient_tensorflow_registers_for_its_fused_lstm_is_still_wrong() -> None:
    # When this fails, TensorFlow has mended it, and the gradient in forecast.networks.layers.fused can go.
    own, _ = pair("LSTM")
    h0 = tf.zeros([BATCH, UNITS])
    x = tf.constant(drawn(82, STEPS, BATCH, CHANNELS))
    kernel, recurrent, bias = (tf.constant(w) for w in own.get_weights())
    none = tf.zeros([UNITS])
    with tf.GradientTape() as tape:
        tape.watch(bias)
        h = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.constant(STEPS, tf.int64), x=x, cs_prev=h0, h_prev=h0, w=tf.concat([kernel, recurrent], 0),
            wci=none, wcf=none, wco=none, b=bias, cell_clip=0.0, use_peephole=False,
        ).h  # fmt: skip
        loss = tf.reduce_sum(h**2)
    right = outputs_gradient_of_bias(own, x)
    assert np.abs(tape.gradient(loss, bias) - right).max() > 1e-2


def outputs_gradient_of_bias(layer: keras.layers.RNN, x: tf.Tensor) -> np.ndarray:
    layer.return_sequences = True
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.transpose(x, [1, 0, 2])) ** 2)
    return tape.gradient(loss, layer.cell.bias.value).numpy()


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "GRU reset before", "SimpleRNN tanh"])
@pytest.mark.parametrize(
    "delegated", [{"recurrent_dropout": 0.5}, {"unroll": True}, {"activation": "selu"}, {"mask": True}], ids=str
)
def test_what_has_no_kernel_is_left_to_keras(name: str, delegated: dict[str, object]) -> None:
    arguments = dict(delegated)
    padded = tf.sequence_mask([STEPS, 3, STEPS - 1], STEPS)
    mask = padded if arguments.pop("mask", False) else None
    own, stock = PAIRS[name][:2]
    layers = [make(UNITS, **({**PAIRS[name][2], **arguments})) for make in (own, stock)]
    same_weights(*layers)
    x = drawn(83, BATCH, STEPS, CHANNELS)
    ours, theirs = (layer(x, mask=mask).numpy() for layer in layers)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "GRU reset before", "SimpleRNN tanh"])
def test_two_chunks_with_the_state_handed_over_equal_one_pass(name: str) -> None:
    layer, _ = pair(name, return_sequences=True, return_state=True)
    x = drawn(84, BATCH, STEPS, CHANNELS)
    whole, *last = layer(x)
    first, *states = layer(x[:, :3])
    second, *end = layer(x[:, 3:], initial_state=states)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    for a, b in zip(end, last, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "GRU reset before", "SimpleRNN softplus"])
@pytest.mark.parametrize("rubbish", [np.nan, 1e30])
def test_nothing_after_t_changes_a_bit_before_it(name: str, rubbish: float) -> None:
    layer, _ = pair(name, return_sequences=True)
    x = drawn(85, BATCH, STEPS, CHANNELS)
    changed = x.copy()
    changed[:, 4:] = rubbish
    assert layer(x).numpy()[:, :4].tobytes() == layer(changed).numpy()[:, :4].tobytes()


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "SimpleRNN tanh"])
def test_dropout_is_one_mask_for_all_steps_and_scales_what_is_left(name: str) -> None:
    layer = PAIRS[name][0](UNITS, dropout=0.5, seed=1, return_sequences=True)
    same_weights(layer)
    x = np.ones((BATCH, STEPS, CHANNELS), "float32")
    plain = PAIRS[name][0](UNITS, return_sequences=True)
    same_weights(plain)
    mask = layer.cell.get_dropout_mask(tf.ones([BATCH, CHANNELS])).numpy()
    layer.cell.reset_dropout_mask()
    layer.cell.seed_generator.state.assign([1, 0])
    np.testing.assert_allclose(layer(x, training=True), plain(x * mask[:, None]), atol=1e-6)
    assert set(np.unique(mask)) == {0.0, 2.0}


@pytest.mark.parametrize("name", ["LSTM", "GRU reset before", "SimpleRNN relu"])
def test_saved_model_is_loaded_as_the_same_layer_with_the_same_results(name: str, tmp_path: Path) -> None:
    own, _, arguments = PAIRS[name]
    model = keras.Sequential([keras.Input((None, CHANNELS)), own(UNITS, **arguments), keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is own
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    x = drawn(86, BATCH, STEPS, CHANNELS)
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("name", ["LSTM", "GRU reset after", "GRU reset before", "SimpleRNN tanh"])
def test_weights_names_shapes_and_first_values_are_those_of_keras(name: str) -> None:
    own, stock, arguments = PAIRS[name]
    layers = []
    for make in (own, stock):
        keras.utils.set_random_seed(3)
        layers.append(make(UNITS, name="same", **arguments))
        layers[-1].build((None, None, CHANNELS))
    for ours, theirs in zip(*(layer.weights for layer in layers), strict=True):
        assert ours.path == theirs.path
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def keras_checks() -> Callable[..., None]:
    case = testing.TestCase()
    case.setUp()
    return case.run_layer_test


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")  # by Keras's checks to Keras itself
def test_layers_pass_keras_own_checks(keras_checks: Callable[..., None], layer: type[keras.layers.RNN]) -> None:
    common = {"expected_num_trainable_weights": 3, "expected_num_non_trainable_weights": 0, "supports_masking": True}
    keras_checks(
        layer,
        init_kwargs={"units": 3, "dropout": 0.5},
        input_shape=(3, 2, 4),
        call_kwargs={"training": True},
        expected_output_shape=(3, 3),
        **common,
    )
    keras_checks(
        layer,
        init_kwargs={"units": 3, "return_sequences": True, "kernel_regularizer": "l2", "recurrent_regularizer": "l2"},
        input_shape=(3, 2, 4),
        expected_output_shape=(3, 2, 3),
        expected_num_losses=2,
        **common,
    )
