"""Encoder-decoder: the free run and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from forecast.networks.description import EncoderDecoder, Network, Shapes
from forecast.networks.layers import assemble as layers
from forecast.networks.layers.decoder import gather_frames

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
