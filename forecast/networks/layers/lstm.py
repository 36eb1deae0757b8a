"""`keras.layers.LSTM` on TensorFlow's fused CPU kernel.

i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)         (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from forecast.networks.layers.fused import SIGMOID, TANH, Fused, compiled


@keras.saving.register_keras_serializable(package="forecast")
class LSTM(Fused, keras.layers.LSTM):
    """The Keras layer, its arguments, weights and results; only faster on a CPU. Gates in the order i, f, c, o."""

    dtypes = ("float32",)

    def has_kernel(self) -> bool:
        return self.activation in TANH and self.recurrent_activation in SIGMOID

    def kernel(self, x: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        kernel, recurrent = tf.convert_to_tensor(self.cell.kernel), tf.convert_to_tensor(self.cell.recurrent_kernel)
        bias = tf.convert_to_tensor(self.cell.bias) if self.use_bias else tf.zeros([4 * self.units], x.dtype)
        h, c = block_lstm(x, kernel, recurrent, bias, *states)
        return h, [h[-1], c[-1]]


def block_lstm(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor, c0: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """x `(T, B, C)`, states `(B, U)`: all h and all c, each `(T, B, U)`."""
    h, c = compiled(_block_lstm, x.dtype, 3, 2, 2, 1, 2, 2)(x, kernel, recurrent, bias, h0, c0)
    for sequence in (h, c):
        sequence.set_shape([*x.shape[:2], recurrent.shape[0]])
    return h, c


def _block_lstm(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor, c0: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[Any, ...]]]:
    """`block_lstm` and its gradient.

    The gradient TensorFlow 2.21 registers for BlockLSTMV2 is that of BlockLSTM, whose gates lie in another order
    (i, c, f, o): it is wrong. The right operation, BlockLSTMGradV2, exists and is called here by name.
    """
    no_peephole = tf.zeros([tf.shape(recurrent)[0]], x.dtype)
    given = {
        "seq_len_max": tf.shape(x, tf.int64)[0],
        "x": x,
        "cs_prev": c0,
        "h_prev": h0,
        "w": tf.concat([kernel, recurrent], 0),
        "wci": no_peephole,
        "wcf": no_peephole,
        "wco": no_peephole,
        "b": bias,
    }
    made = tf.raw_ops.BlockLSTMV2(**given, cell_clip=0.0, use_peephole=False)

    def gradient(dh: tf.Tensor, dc: tf.Tensor) -> tuple[Any, ...]:
        back = {"cs_grad": dc, "h_grad": dh, "use_peephole": False}
        g, inputs = tf.raw_ops.BlockLSTMGradV2(**given, **made._asdict(), **back), tf.shape(kernel)[0]
        return g.x_grad, g.w_grad[:inputs], g.w_grad[inputs:], g.b_grad, g.h_prev_grad, g.cs_prev_grad

    return (made.h, made.cs), gradient
