"""Encoder-decoder: free run against teacher forcing."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from forecast.networks.description import EncoderDecoder, Network, Shapes
from forecast.networks.layers import assemble as layers
from forecast.networks.layers.decoder import gather_frames, shifted_targets
from forecast.networks.layers.wiring import Wiring

HORIZON, STEPS, BATCH = 3, 5, 2
SHAPES = Shapes(
    channels=2, future_channels=1, horizon=HORIZON, outputs=2, lookback=STEPS, parameters=3
)


def network(**more: object) -> Network:
    return Network((EncoderDecoder("seq", "lstm", 4, parameter=1, **more),), SHAPES)


def inputs() -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "past": tf.constant(rng.normal(size=(BATCH, STEPS, 2)), tf.float32),
        "future": tf.constant(rng.normal(size=(BATCH, STEPS + HORIZON, 1)), tf.float32),
    }


def model_with_weights(net: Network):
    model = layers.assemble(net, seed=0)
    rng = np.random.default_rng(1)
    weights = layers.get_weights(model)
    layers.set_weights(
        model, {key: rng.normal(0, 0.5, w.shape).astype("float32") for key, w in weights.items()}
    )
    return model


def test_teacher_who_repeats_the_models_own_forecasts_changes_nothing() -> None:
    net = network()
    model = model_with_weights(net)
    free = model(inputs())
    taught = Wiring.sharing_layers(net, model).teacher_forced(None)(
        {**inputs(), "teacher": free[..., 1]}
    )
    np.testing.assert_allclose(taught, free, atol=1e-6)


def test_what_is_taught_at_a_step_reaches_later_steps_alone() -> None:
    net = network()
    forced = Wiring.sharing_layers(net, model_with_weights(net)).teacher_forced(None)
    teacher = np.zeros((BATCH, STEPS, HORIZON, 2), "float32")
    before = forced({**inputs(), "teacher": tf.constant(teacher)}).numpy()
    teacher[:, :, 1] = 1
    after = forced({**inputs(), "teacher": tf.constant(teacher)}).numpy()
    np.testing.assert_array_equal(before[:, :, :2], after[:, :, :2])
    assert np.any(before[:, :, 2] != after[:, :, 2])


def test_gradient_of_the_free_run_equals_finite_differences() -> None:
    net = network()
    model = layers.assemble(net, seed=0, dtype="float64")
    rng = np.random.default_rng(1)
    weights = {key: rng.normal(0, 0.5, w.shape) for key, w in layers.get_weights(model).items()}
    x = {key: tf.cast(value, tf.float64) for key, value in inputs().items()}

    def loss(weights: dict[str, np.ndarray]) -> float:
        layers.set_weights(model, weights)
        return float(tf.reduce_sum(model(x) ** 2))

    layers.set_weights(model, weights)
    variables = dict(layers.named_weights(model))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(x) ** 2)
    gradients = dict(
        zip(variables, tape.gradient(value, [v.value for v in variables.values()]), strict=True)
    )
    for name, weight in weights.items():
        direction = rng.normal(size=weight.shape)
        up, down = (loss(weights | {name: weight + sign * 1e-6 * direction}) for sign in (1, -1))
        assert (up - down) / 2e-6 == pytest.approx(
            float(np.sum(gradients[name] * direction)), rel=1e-5
        ), name


def test_frames_are_the_future_rows_one_to_h_steps_ahead() -> None:
    future = tf.constant(np.arange(2 * 6, dtype="float32").reshape(2, 6, 1))
    rows = gather_frames(future, tf.constant(4), 2).numpy()[..., 0]
    assert rows.tolist() == [[1, 2], [2, 3], [3, 4], [4, 5], [7, 8], [8, 9], [9, 10], [10, 11]]


def test_what_is_fed_back_is_the_target_of_the_step_before_and_zero_at_first() -> None:
    teacher = tf.constant([[[[1.0], [2.0], [3.0]]]])
    assert shifted_targets(teacher).numpy()[..., 0].tolist() == [[0, 1, 2]]
