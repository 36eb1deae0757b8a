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

from forecast.layers.fused import SIGMOID, TANH, Fused, collector, rows, shifted, steps_of

Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]


@keras.saving.register_keras_serializable(package="forecast")
class GRU(Fused, keras.layers.GRU):
    """The Keras layer, its arguments, weights and results; only faster on a CPU. Weights: z, r, h from left to right."""

    def has_kernel(self) -> bool:
        return self.activation in TANH and self.recurrent_activation in SIGMOID

    def kernel(self, x: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        kernel, recurrent = tf.convert_to_tensor(self.cell.kernel), tf.convert_to_tensor(self.cell.recurrent_kernel)
        rows_of_bias = [2, 3 * self.units] if self.reset_after else [3 * self.units]
        bias = tf.convert_to_tensor(self.cell.bias) if self.use_bias else tf.zeros(rows_of_bias, x.dtype)
        h = (gru_reset_after if self.reset_after else gru_reset_before)(x, kernel, recurrent, bias, states[0])
        return h, [h[-1]]


@tf.custom_gradient
def gru_reset_after(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor
) -> tuple[tf.Tensor, Gradient]:
    """x `(T, B, C)`, bias `(2, 3U)`, h0 `(B, U)`: all h `(T, B, U)`."""
    steps, units = tf.shape(x)[0], recurrent.shape[0]
    projected = project(x, kernel, bias[0])
    inputs = steps_of(projected)

    def step(t: tf.Tensor, h: tf.Tensor, hs: tf.TensorArray, from_h: tf.TensorArray) -> tuple[Any, ...]:
        state_part = tf.matmul(h, recurrent) + bias[1]
        input_part = inputs.read(t)
        zr = tf.sigmoid(input_part[:, : 2 * units] + state_part[:, : 2 * units])
        g = tf.tanh(input_part[:, 2 * units :] + zr[:, units:] * state_part[:, 2 * units :])
        h = g + zr[:, :units] * (h - g)
        return t + 1, h, hs.write(t, h), from_h.write(t, state_part)

    empty = (collector(steps, h0.shape, x.dtype), collector(steps, [h0.shape[0], 3 * units], x.dtype))
    _, _, hs, from_h = tf.while_loop(lambda t, *_: t < steps, step, (0, h0, *empty), parallel_iterations=1)
    h = hs.stack()

    def gradient(dh: tf.Tensor) -> tuple[tf.Tensor, ...]:
        before, state_part = shifted(h0, h), from_h.stack()
        zr = tf.sigmoid(projected[..., : 2 * units] + state_part[..., : 2 * units])
        z, r, g_h = zr[..., :units], zr[..., units:], state_part[..., 2 * units :]
        g = tf.tanh(projected[..., 2 * units :] + r * g_h)
        to_g = (1 - z) * (1 - g * g)
        to_z, to_r = (before - g) * z * (1 - z), to_g * g_h * r * (1 - r)
        factors = steps_of(tf.concat([to_z, to_r, to_g * r], -1))
        zs, dhs, back = steps_of(z), steps_of(dh), tf.transpose(recurrent)

        def step_back(t: tf.Tensor, carried: tf.Tensor, ds: tf.TensorArray) -> tuple[Any, ...]:
            d = dhs.read(t) + carried
            carried = d * zs.read(t) + tf.matmul(tf.concat([d, d, d], 1) * factors.read(t), back)
            return t - 1, carried, ds.write(t, d)

        start = (steps - 1, tf.zeros_like(h0), collector(steps, h0.shape, x.dtype))
        _, dh0, ds = tf.while_loop(lambda t, *_: t >= 0, step_back, start, parallel_iterations=1)
        d = ds.stack()
        d_z, d_r, d_g = d * to_z, d * to_r, d * to_g
        at_input, at_state = rows(tf.concat([d_z, d_r, d_g], -1)), rows(tf.concat([d_z, d_r, d_g * r], -1))
        d_bias = tf.stack([tf.reduce_sum(at_input, 0), tf.reduce_sum(at_state, 0)])
        d_recurrent = tf.matmul(rows(before), at_state, transpose_a=True)
        return *project_gradient(x, kernel, at_input), d_recurrent, d_bias, dh0

    return h, gradient


@tf.custom_gradient
def gru_reset_before(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor
) -> tuple[tf.Tensor, Gradient]:
    """x `(T, B, C)`, bias `(3U,)`, h0 `(B, U)`: all h `(T, B, U)`."""
    steps, units = tf.shape(x)[0], recurrent.shape[0]
    to_gates, to_new = recurrent[:, : 2 * units], recurrent[:, 2 * units :]
    inputs = steps_of(project(x, kernel, bias))

    def step(t: tf.Tensor, h: tf.Tensor, hs: tf.TensorArray, acts: tf.TensorArray) -> tuple[Any, ...]:
        input_part = inputs.read(t)
        zr = tf.sigmoid(input_part[:, : 2 * units] + tf.matmul(h, to_gates))
        g = tf.tanh(input_part[:, 2 * units :] + tf.matmul(zr[:, units:] * h, to_new))
        h = g + zr[:, :units] * (h - g)
        return t + 1, h, hs.write(t, h), acts.write(t, tf.concat([zr, g], 1))

    empty = (collector(steps, h0.shape, x.dtype), collector(steps, [h0.shape[0], 3 * units], x.dtype))
    _, _, hs, acts = tf.while_loop(lambda t, *_: t < steps, step, (0, h0, *empty), parallel_iterations=1)
    h = hs.stack()

    def gradient(dh: tf.Tensor) -> tuple[tf.Tensor, ...]:
        before = shifted(h0, h)
        z, r, g = tf.split(acts.stack(), 3, -1)
        to_g, to_z, to_r = (1 - z) * (1 - g * g), (before - g) * z * (1 - z), before * r * (1 - r)
        factors, zs, rs, dhs = (steps_of(s) for s in (tf.concat([to_z, to_r, to_g], -1), z, r, dh))
        back_gates, back_new = tf.transpose(to_gates), tf.transpose(to_new)

        def step_back(t: tf.Tensor, carried: tf.Tensor, ats: tf.TensorArray) -> tuple[Any, ...]:
            d, factor = dhs.read(t) + carried, factors.read(t)
            d_g = d * factor[:, 2 * units :]
            d_reset = tf.matmul(d_g, back_new)
            d_gates = tf.concat([d, d_reset], 1) * factor[:, : 2 * units]
            carried = d * zs.read(t) + d_reset * rs.read(t) + tf.matmul(d_gates, back_gates)
            return t - 1, carried, ats.write(t, tf.concat([d_gates, d_g], 1))

        start = (steps - 1, tf.zeros_like(h0), collector(steps, [h0.shape[0], 3 * units], x.dtype))
        _, dh0, ats = tf.while_loop(lambda t, *_: t >= 0, step_back, start, parallel_iterations=1)
        at = rows(ats.stack())
        d_gates = tf.matmul(rows(before), at[:, : 2 * units], transpose_a=True)
        d_new = tf.matmul(rows(r * before), at[:, 2 * units :], transpose_a=True)
        return *project_gradient(x, kernel, at), tf.concat([d_gates, d_new], 1), tf.reduce_sum(at, 0), dh0

    return h, gradient


def project(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """`x kernel + bias` of all steps in one product: `(T, B, C)` to `(T, B, P)`."""
    shape = tf.concat([tf.shape(x)[:2], [kernel.shape[1]]], 0)
    out = tf.reshape(tf.matmul(rows(x), kernel) + bias, shape)
    out.set_shape([*x.shape[:2], kernel.shape[1]])
    return out


def project_gradient(x: tf.Tensor, kernel: tf.Tensor, at_input: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradients of x and kernel from that of the rows `(T * B, P)` of `project`."""
    d_x = tf.reshape(tf.matmul(at_input, kernel, transpose_b=True), tf.shape(x))
    return d_x, tf.matmul(rows(x), at_input, transpose_a=True)
