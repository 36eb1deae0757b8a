"""The flat rules against Keras's own, variable by variable."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from forecast.training.optimizers import Schedule, Updater

STEPS, PEAK = 40, 0.05


def keras_rule(rule, rate, decay):
    return {
        "adam": lambda: keras.optimizers.AdamW(rate, weight_decay=decay, global_clipnorm=0.5),
        "sgd": lambda: keras.optimizers.SGD(rate, weight_decay=decay, global_clipnorm=0.5),
        "momentum": lambda: keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay, global_clipnorm=0.5),
    }[rule]()


def descend(variables, apply):
    """A bent bowl whose gradient is clipped at first and small at the end."""
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            loss = sum(tf.reduce_sum(tf.square(tf.cast(k + 1, tf.float32) * v - 1.0)) for k, v in enumerate(variables))
        apply(tape.gradient(loss, variables))


@pytest.mark.parametrize("rule", ["adam", "sgd", "momentum"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_the_same_steps_as_keras(rule, decay):
    start = [np.arange(6.0, dtype="float32").reshape(2, 3), np.full((4,), -2.0, "float32")]
    ours, theirs = ([tf.Variable(v) for v in start], [keras.Variable(v) for v in start])
    flat = Updater(ours, Constant(PEAK, STEPS), rule=rule, clip=0.5, weight_decay=decay)
    descend(ours, flat.apply)
    reference = keras_rule(rule, PEAK, decay)
    descend([v.value for v in theirs], lambda gradients: reference.apply(gradients, theirs))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5)


class Constant(Schedule):
    def rate(self, step):
        return tf.constant(self.peak)


def test_the_rate_rises_over_a_twentieth_and_falls_to_zero():
    schedule = Schedule(peak=1.0, steps=100)
    rates = [float(schedule.rate(tf.constant(step, tf.int64))) for step in (0, 4, 5, 52, 99, 100)]
    np.testing.assert_allclose(rates, [0.2, 1.0, 1.0, 0.5 + 0.5 * np.cos(np.pi * 47 / 95), 0.0003, 0.0], atol=3e-4)


def test_a_missing_gradient_counts_as_zero():
    used, unused = tf.Variable([1.0, 2.0]), tf.Variable([3.0])
    Updater([used, unused], Constant(0.1, 5), rule="sgd", clip=100.0).apply([tf.constant([1.0, 0.0]), None])
    np.testing.assert_allclose(used.numpy(), [0.9, 2.0], rtol=1e-6)
    assert unused.numpy() == [3.0]
