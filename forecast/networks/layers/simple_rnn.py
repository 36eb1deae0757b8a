"""`keras.layers.SimpleRNN` with a hand-written gradient: `h_t = f(x_t V + h_{t-1} W + b)`.

f is tanh, the sigmoid, ReLU, softplus or linear; f' is written in terms of h, so nothing but h is stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from forecast.networks.layers.fused import SIGMOID, TANH, Fused, collector, compiled, rows, shifted, steps_of
from forecast.networks.layers.gru import Array, column_sums, project, project_gradient

Function = Callable[[tf.Tensor], tf.Tensor]

# f and f' as a function of f's value.
SLOPES: dict[str, tuple[Function, Function]] = {
    "tanh": (tf.tanh, lambda h: 1 - h * h),
    "sigmoid": (tf.sigmoid, lambda h: h * (1 - h)),
    "relu": (tf.nn.relu, lambda h: tf.cast(h > 0, h.dtype)),
    "softplus": (tf.nn.softplus, lambda h: -tf.math.expm1(-h)),
    "linear": (tf.identity, tf.ones_like),
}


@keras.saving.register_keras_serializable(package="forecast")
class SimpleRNN(Fused, keras.layers.SimpleRNN):
    """The Keras layer, its arguments, weights and results; only faster on a CPU."""

    def has_kernel(self) -> bool:
        return self.function_name() in SLOPES

    def function_name(self) -> str:
        """The activation's name in `SLOPES`, or an empty string."""
        if self.activation in TANH:
            return "tanh"
        if self.activation in SIGMOID:
            return "sigmoid"
        known = (keras.activations.relu, keras.activations.softplus, keras.activations.linear)
        return self.activation.__name__ if self.activation in known else ""

    def kernel(self, x: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        kernel, recurrent = tf.convert_to_tensor(self.cell.kernel), tf.convert_to_tensor(self.cell.recurrent_kernel)
        bias = tf.convert_to_tensor(self.cell.bias) if self.use_bias else tf.zeros([self.units], x.dtype)
        h = simple(x, kernel, recurrent, bias, states[0], self.function_name())
        return h, [h[-1]]


def simple(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor, name: str
) -> tf.Tensor:
    """x `(T, B, C)`, h0 `(B, U)`: all h `(T, B, U)`, with the activation `name` of `SLOPES`."""
    h = compiled(_recurrence(name), x.dtype, 3, 2, 2, 1, 2)(x, kernel, recurrent, bias, h0)
    h.set_shape([*x.shape[:2], recurrent.shape[0]])
    return h


@functools.cache
def _recurrence(name: str) -> Callable[..., Any]:
    function, slope = SLOPES[name]

    def recur(
        x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        steps = tf.shape(x)[0]
        inputs = steps_of(project(x, kernel, bias))

        def step(t: tf.Tensor, h: tf.Tensor, hs: Array) -> tuple[Any, ...]:
            h = function(inputs.read(t) + tf.matmul(h, recurrent))
            return t + 1, h, hs.write(t, h)

        start = (0, h0, collector(steps, x))
        _, _, hs = tf.while_loop(lambda t, *_: t < steps, step, start, parallel_iterations=1)
        h = hs.stack()

        def gradient(dh: tf.Tensor) -> tuple[tf.Tensor, ...]:
            slopes, dhs, back = steps_of(slope(h)), steps_of(dh), tf.transpose(recurrent)

            def step_back(t: tf.Tensor, carried: tf.Tensor, ds: Array) -> tuple[Any, ...]:
                d = (dhs.read(t) + carried) * slopes.read(t)
                return t - 1, tf.matmul(d, back), ds.write(t, d)

            start = (steps - 1, tf.zeros_like(h0), collector(steps, x))
            _, dh0, ds = tf.while_loop(lambda t, *_: t >= 0, step_back, start, parallel_iterations=1)
            at = rows(ds.stack())
            d_recurrent = tf.matmul(rows(shifted(h0, h)), at, transpose_a=True)
            return *project_gradient(x, kernel, at), d_recurrent, column_sums(at), dh0

        return h, gradient

    return recur
