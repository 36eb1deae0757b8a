"""`keras.layers.GRU`, both forms, with a hand-written gradient.

    z, r = sigmoid(x V + h_{t-1} W + b)
    g    = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))      reset_after: true (cuDNN, Keras, torch)
    g    = tanh(x V_g + b_g + (r * h_{t-1}) W_g)            reset_after: false (Cho et al. 2014)
    h_t  = (1 - z) * g + z * h_{t-1}

What the loops must do one step after the other is kept small: the input's products are one matrix product before the
loop, every elementwise factor of the backward pass is computed for all steps at once before its loop, and the weights'
gradients are one matrix product after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from forecast.networks.layers.fused import (
    SIGMOID,
    TANH,
    Array,
    Fused,
    collector,
    column_sums,
    compiled,
    project,
    project_gradient,
    rows,
    shifted,
    steps_of,
)

Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]


@keras.saving.register_keras_serializable(package="forecast")
class GRU(Fused, keras.layers.GRU):
    """The Keras layer, its arguments, weights and results; only faster on a CPU. Gates in the order z, r, h."""

    def has_kernel(self) -> bool:
        return self.activation in TANH and self.recurrent_activation in SIGMOID

    def kernel(self, x: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        kernel, recurrent = tf.convert_to_tensor(self.cell.kernel), tf.convert_to_tensor(self.cell.recurrent_kernel)
        rows_of_bias = [2, 3 * self.units] if self.reset_after else [3 * self.units]
        bias = tf.convert_to_tensor(self.cell.bias) if self.use_bias else tf.zeros(rows_of_bias, x.dtype)
        h = gru(x, kernel, recurrent, bias, states[0], self.reset_after)
        return h, [h[-1]]


def gru(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor, reset_after: bool
) -> tf.Tensor:
    """x `(T, B, C)`, h0 `(B, U)`, bias `(2, 3U)` or, without `reset_after`, `(3U,)`: all h `(T, B, U)`."""
    function, rank = (_reset_after, 2) if reset_after else (_reset_before, 1)
    h = compiled(function, x.dtype, 3, 2, 2, rank, 2)(x, kernel, recurrent, bias, h0)
    h.set_shape([*x.shape[:2], recurrent.shape[0]])
    return h


def _reset_after(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor
) -> tuple[tf.Tensor, Gradient]:
    steps, units = tf.shape(x)[0], tf.shape(recurrent)[0]
    gates_and_new = tf.stack([2 * units, units])
    inputs = steps_of(project(x, kernel, bias[0]))

    def step(t: tf.Tensor, h: tf.Tensor, hs: Array, zs: Array, rs: Array, gs: Array, states: Array) -> tuple[Any, ...]:
        gates_x, g_x = tf.split(inputs.read(t), gates_and_new, 1, num=2)
        gates_h, g_h = tf.split(tf.matmul(h, recurrent) + bias[1], gates_and_new, 1, num=2)
        z, r = tf.split(tf.sigmoid(gates_x + gates_h), 2, 1)
        g = tf.tanh(g_x + r * g_h)
        h = g + z * (h - g)
        return t + 1, h, hs.write(t, h), zs.write(t, z), rs.write(t, r), gs.write(t, g), states.write(t, g_h)

    empty = [collector(steps, x) for _ in range(5)]
    _, _, *kept = tf.while_loop(lambda t, *_: t < steps, step, (0, h0, *empty), parallel_iterations=1)
    h = kept[0].stack()

    def gradient(dh: tf.Tensor) -> tuple[tf.Tensor, ...]:
        z, r, g, g_h = (array.stack() for array in kept[1:])
        # h - g = z (h_before - g), so the factor of z's pre-activation needs no h_before.
        to_g, to_z = (1 - z) * (1 - g * g), (h - g) * (1 - z)
        to_state = to_g * r
        factors = steps_of(tf.concat([to_z, to_state * (1 - r) * g_h, to_state], 2))
        dhs, zs, back = steps_of(dh), steps_of(z), tf.transpose(recurrent)

        def step_back(t: tf.Tensor, carried: tf.Tensor, ds: Array, ats: Array) -> tuple[Any, ...]:
            d = dhs.read(t) + carried
            at = tf.tile(d, [1, 3]) * factors.read(t)
            return t - 1, d * zs.read(t) + tf.matmul(at, back), ds.write(t, d), ats.write(t, at)

        start = (steps - 1, tf.zeros_like(h0), collector(steps, x), collector(steps, x))
        _, dh0, ds, ats = tf.while_loop(lambda t, *_: t >= 0, step_back, start, parallel_iterations=1)
        at_state = rows(ats.stack())
        at_input = tf.concat([at_state[:, : 2 * units], rows(ds.stack() * to_g)], 1)
        d_bias = tf.stack([column_sums(at_input), column_sums(at_state)])
        d_recurrent = tf.matmul(rows(shifted(h0, h)), at_state, transpose_a=True)
        return *project_gradient(x, kernel, at_input), d_recurrent, d_bias, dh0

    return h, gradient


def _reset_before(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor
) -> tuple[tf.Tensor, Gradient]:
    steps, units = tf.shape(x)[0], tf.shape(recurrent)[0]
    to_gates, to_new = recurrent[:, : 2 * units], recurrent[:, 2 * units :]
    gates_and_new = tf.stack([2 * units, units])
    inputs = steps_of(project(x, kernel, bias))

    def step(t: tf.Tensor, h: tf.Tensor, hs: Array, zs: Array, rs: Array, gs: Array) -> tuple[Any, ...]:
        gates_x, g_x = tf.split(inputs.read(t), gates_and_new, 1, num=2)
        z, r = tf.split(tf.sigmoid(gates_x + tf.matmul(h, to_gates)), 2, 1)
        g = tf.tanh(g_x + tf.matmul(r * h, to_new))
        h = g + z * (h - g)
        return t + 1, h, hs.write(t, h), zs.write(t, z), rs.write(t, r), gs.write(t, g)

    empty = [collector(steps, x) for _ in range(4)]
    _, _, *kept = tf.while_loop(lambda t, *_: t < steps, step, (0, h0, *empty), parallel_iterations=1)
    h = kept[0].stack()

    def gradient(dh: tf.Tensor) -> tuple[tf.Tensor, ...]:
        (z, r, g), before = (array.stack() for array in kept[1:]), shifted(h0, h)
        reset = r * before
        to_new_steps, to_z, to_r = (steps_of(f) for f in ((1 - z) * (1 - g * g), (h - g) * (1 - z), reset * (1 - r)))
        dhs, zs, rs = steps_of(dh), steps_of(z), steps_of(r)
        back_gates, back_new = tf.transpose(to_gates), tf.transpose(to_new)

        def step_back(t: tf.Tensor, carried: tf.Tensor, gates: Array, news: Array) -> tuple[Any, ...]:
            d = dhs.read(t) + carried
            at_new = d * to_new_steps.read(t)
            d_reset = tf.matmul(at_new, back_new)
            at_gates = tf.concat([d * to_z.read(t), d_reset * to_r.read(t)], 1)
            carried = d * zs.read(t) + d_reset * rs.read(t) + tf.matmul(at_gates, back_gates)
            return t - 1, carried, gates.write(t, at_gates), news.write(t, at_new)

        start = (steps - 1, tf.zeros_like(h0), collector(steps, x), collector(steps, x))
        _, dh0, gates, news = tf.while_loop(lambda t, *_: t >= 0, step_back, start, parallel_iterations=1)
        at_gates, at_new = rows(gates.stack()), rows(news.stack())
        d_gates = tf.matmul(rows(before), at_gates, transpose_a=True)
        d_new = tf.matmul(rows(reset), at_new, transpose_a=True)
        at = tf.concat([at_gates, at_new], 1)
        return *project_gradient(x, kernel, at), tf.concat([d_gates, d_new], 1), column_sums(at), dh0

    return h, gradient
