"""Keras's recurrent layers with a faster loop on a CPU: what the three share, `LSTM` and `SimpleRNN` (GRU: `gru.py`).

A fast layer is the Keras layer of the same name with one method replaced, the loop over time. Everything else
(weights, names, initialisers, regularisers, configuration, saving, states) is inherited and therefore Keras's own.

    SimpleRNN   h_t = f(x_t V + h_{t-1} W + b); f' is written in terms of h, so nothing but h is stored
    LSTM        i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
                c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)      (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

TANH = (keras.activations.tanh, keras.ops.tanh, tf.tanh)
Array = Any  # a tf.TensorArray
SIGMOID = (keras.activations.sigmoid, keras.ops.sigmoid, tf.sigmoid)


class Fused:
    """Mixed into a `keras.layers.RNN`: runs `kernel` where it applies and Keras's own loop elsewhere.

    Keras's loop serves masks, recurrent dropout, `unroll`, activations or dtypes without a kernel, and every GPU
    (where Keras itself picks cuDNN).
    """

    dtypes: tuple[str, ...] = ("float32", "float64")

    def kernel(self, x: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """x `(T, B, C)` and states `(B, units)` give outputs `(T, B, units)` and the last states."""
        raise NotImplementedError

    def has_kernel(self) -> bool:
        """Whether the activations are those of the kernel."""
        raise NotImplementedError

    def applies(self) -> bool:
        """Whether `kernel` computes what this layer is configured to do, on this machine."""
        layer: Any = self
        return (
            layer.compute_dtype in self.dtypes
            and not layer.unroll
            and not layer.cell.recurrent_dropout
            and self.has_kernel()
            and not tf.config.list_logical_devices("GPU")
        )

    def inner_loop(
        self, sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool | None = False
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Keras's hook for the loop over time: last output `(B, units)`, outputs `(B, T or 1, units)`, last states."""
        layer: Any = self
        if any(m is not None for m in keras.tree.flatten(mask)) or not self.applies():
            loop: Any = super()
            return loop.inner_loop(sequences, initial_state, mask, training=training)
        if training and layer.cell.dropout:
            # One mask for all steps of a sequence, as Keras's own cells do it.
            sequences = sequences * layer.cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]
        x = tf.transpose(sequences, [1, 0, 2])
        outputs, states = self.kernel(tf.reverse(x, [0]) if layer.go_backwards else x, list(initial_state))
        last = outputs[-1]
        return last, tf.transpose(outputs, [1, 0, 2]) if layer.return_sequences else last[:, None], states


@functools.lru_cache(maxsize=256)
def compiled(function: Callable[..., Any], dtype: tf.DType, *ranks: int) -> Callable[..., Any]:
    """A function that returns its results and their gradient, traced once for all models of the process.

    TensorFlow keeps the graph of every traced `tf.custom_gradient` for ever, `keras.backend.clear_session()` or not.
    Traced into each model anew that is a leak of several MB a model; and in a short training, tracing is
    most of the time. Hence one `tf.function` with all sizes open; `ranks` are the arguments' numbers of axes.
    """
    signature = [tf.TensorSpec([None] * rank, dtype) for rank in ranks]
    return tf.function(tf.custom_gradient(function), input_signature=signature, autograph=False)


def shifted(first: tf.Tensor, sequence: tf.Tensor) -> tf.Tensor:
    """`(B, U)` before the first step and `(T, B, U)`: what each step found before it, `(T, B, U)`."""
    return tf.concat([first[None], sequence[:-1]], 0)


def rows(sequence: tf.Tensor) -> tf.Tensor:
    """`(T, B, U)` as the rows `(T * B, U)` of one matrix."""
    return tf.reshape(sequence, [-1, tf.shape(sequence)[-1]])


def steps_of(sequence: tf.Tensor) -> tf.TensorArray:
    """The steps of `(T, B, U)`, to be read inside a loop without copying them."""
    return collector(tf.shape(sequence)[0], sequence).unstack(sequence)


def collector(steps: tf.Tensor, like: tf.Tensor) -> tf.TensorArray:
    """An empty array for `steps` results of one loop, matrices of the dtype of `like`."""
    return tf.TensorArray(like.dtype, size=steps, element_shape=[None, None], clear_after_read=False)


def project(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """`x kernel + bias` of all steps in one product: `(T, B, C)` to `(T, B, P)`."""
    shape = tf.concat([tf.shape(x)[:2], tf.shape(kernel)[1:]], 0)
    return tf.reshape(tf.matmul(rows(x), kernel) + bias, shape)


def project_gradient(x: tf.Tensor, kernel: tf.Tensor, at_input: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradients of x and kernel from that of the rows `(T * B, P)` of `project`."""
    d_x = tf.reshape(tf.matmul(at_input, kernel, transpose_b=True), tf.shape(x))
    return d_x, tf.matmul(rows(x), at_input, transpose_a=True)


def column_sums(matrix: tf.Tensor) -> tf.Tensor:
    """The sum of the rows `(N, P)`, as a product: `(P,)`. TensorFlow's own reduction is several times slower."""
    return tf.matmul(tf.ones([1, tf.shape(matrix)[0]], matrix.dtype), matrix)[0]


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
