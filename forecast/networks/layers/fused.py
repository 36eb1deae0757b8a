"""The recurrences of the commonest cells over time, faster than `scan` on a CPU: the plain LSTM, GRU and simple net.

    simple  h_t = tanh(x_t V + h_{t-1} W + b)
    lstm    i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
            c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)          (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
    gru     z, r = sigmoid(x V + h_{t-1} W + b),  h_t = (1 - z) * g + z * h_{t-1}
            g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))          reset_after: true (cuDNN, Keras, torch)

They run in numba (`kernels`), where a step is one product and one pass over its values; in a loop of TensorFlow every
operation takes several microseconds. Arrays there have the batch last, as in `networks.inference.steppers`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from forecast.networks.cells import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import SimpleRNN
from forecast.networks.inference.steppers import aligned

Array = Any  # a tf.TensorArray


@functools.lru_cache(maxsize=256)
def compiled(function: Callable[..., Any], dtype: tf.DType, *ranks: int) -> Callable[..., Any]:
    """A function that returns its results and their gradient, traced once for all models of the process.

    TensorFlow keeps the graph of every traced `tf.custom_gradient` for ever, `keras.backend.clear_session()` or not.
    Traced into each model anew that is a leak of several MB a model; and in a short training, tracing is
    most of the time. Hence one `tf.function` with all sizes open; `ranks` are the arguments' numbers of axes.
    """
    signature = [tf.TensorSpec([None] * rank, dtype) for rank in ranks]
    return tf.function(tf.custom_gradient(function), input_signature=signature, autograph=False)


def rows(sequence: tf.Tensor) -> tf.Tensor:
    """`(T, B, U)` as the rows `(T * B, U)` of one matrix."""
    return tf.reshape(sequence, [-1, tf.shape(sequence)[-1]])


def steps_of(sequence: tf.Tensor) -> tf.TensorArray:
    """The steps of `(T, B, U)`, to be read inside a loop without copying them."""
    return collector(tf.shape(sequence)[0], sequence).unstack(sequence)


def collector(steps: tf.Tensor, like: tf.Tensor) -> tf.TensorArray:
    """An empty array for `steps` results of one loop, matrices of the dtype of `like`."""
    return tf.TensorArray(like.dtype, size=steps, element_shape=[None, None], clear_after_read=False)


def traced(function: Callable[..., Any], x: tf.Tensor, *given: tf.Tensor) -> list[tf.Tensor]:
    """All states `(T, U, B)` of a recurrence of this module: x `(T, C, B)`, weights, first states `(B, U)`."""
    ranks = (len(one.shape) for one in (x, *given))
    found: list[tf.Tensor] = tf.nest.flatten(compiled(function, x.dtype, *ranks)(x, *given))
    for sequence in found:
        sequence.set_shape([x.shape[0], given[1].shape[0], x.shape[2]])
    return found


LARGE = 2**14  # values of a matrix


@dataclass(frozen=True)
class Recurrence:
    """A cell in `kernels`: what is done with its weights, and how many blocks of U rows are kept of a step."""

    kind: str
    kept: int
    rows: Callable[..., np.ndarray]
    apart: Callable[[np.ndarray, int], tuple[np.ndarray, ...]]

    def recur(self, *given: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        """For `traced`: x, kernel, recurrent kernel, bias and the first states to all states, and their gradient."""
        dtype, first, count = given[0].dtype, tf.shape(given[1])[0] + 1, len(given) - 4
        seen, c, kept = tf.numpy_function(self.forward, given, [dtype] * 3, stateful=False)

        def gradient(*d_states: tf.Tensor) -> Any:
            arguments = (*given[1:4], seen, c, kept, *d_states)
            return tf.numpy_function(self.backward, arguments, [dtype] * len(given), stateful=False)

        return [seen[1:, first:], c[1:]][:count], gradient

    def forward(self, x: np.ndarray, *given: np.ndarray) -> tuple[np.ndarray, ...]:
        """`[x; 1; h]` before every step, c, and what the gradient needs of a step."""
        from forecast.networks.inference import kernels

        *weights, h0 = given[:4]
        (steps, inputs, batch), units = x.shape, h0.shape[1]
        seen = aligned((steps + 1, inputs + 1 + units, batch), x.dtype)
        seen[:-1, :inputs], seen[:, inputs], seen[0, inputs + 1 :] = x, 1, h0.T
        c = aligned((steps + 1, units if given[4:] else 0, batch), x.dtype)
        for c0 in given[4:]:
            c[0] = c0.T
        kept = aligned((steps, self.kept * units, batch), x.dtype)
        kernels.there(getattr(kernels, self.kind), blocked(self.rows(*weights).T, 32), seen, c, kept, inputs)
        return seen, c, kept

    def backward(self, *given: np.ndarray) -> tuple[np.ndarray, ...]:
        """The gradients of x, the weights and the first states."""
        from forecast.networks.inference import kernels

        *weights, seen, c, kept, dh = given[:7]
        inputs, (steps, _, batch), rows = len(weights[0]), dh.shape, self.rows(*weights)
        dx, d_rows, dc = aligned((steps, inputs, batch), dh.dtype), np.zeros_like(rows), given[7] if given[7:] else c
        blocks = blocked(np.concatenate([rows[:inputs], rows[inputs + 1 :]]), 8)
        d_first = kernels.back(getattr(kernels, self.kind), blocks, seen, c, kept, dh, dc, dx, d_rows)
        return dx, *self.apart(d_rows, inputs), *(d.T for d in d_first[: len(given) - 6])


def blocked(matrix: np.ndarray, block: int) -> np.ndarray:
    """A large one in blocks of so many rows, if these go into it: products are a fifth faster."""
    rows, columns = matrix.shape
    block = block if matrix.size > LARGE and rows % block == 0 else rows
    found = aligned((rows // block, block, columns), matrix.dtype)
    found[:] = matrix.reshape(found.shape)
    return found


def stacked(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The weights of `[x; 1; h]`."""
    return np.concatenate([kernel, bias[None], recurrent])


def apart(d_rows: np.ndarray, inputs: int) -> tuple[np.ndarray, ...]:
    return d_rows[:inputs], d_rows[inputs + 1 :], d_rows[inputs]


def gru_stacked(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """For the sums z, r, g and g's of h."""
    gates = 2 * len(recurrent)
    of_x, of_h = (
        stacked(kernel, np.zeros_like(recurrent), bias[0]),
        stacked(np.zeros_like(kernel), recurrent, bias[1]),
    )
    return np.concatenate([(of_x + of_h)[:, :gates], of_x[:, gates:], of_h[:, gates:]], 1)


def gru_apart(d_rows: np.ndarray, inputs: int) -> tuple[np.ndarray, ...]:
    gates, of_x, of_h = np.split(d_rows, np.array([2, 3]) * (len(d_rows) - inputs - 1), 1)
    d_kernel, _, d_bias = apart(np.concatenate([gates, of_x], 1), inputs)
    _, d_recurrent, d_state_bias = apart(np.concatenate([gates, of_h], 1), inputs)
    return d_kernel, d_recurrent, np.stack([d_bias, d_state_bias])


RECURRENCES: dict[type[Cell], Callable[..., Any]] = {
    LSTM: Recurrence("LSTM", 5, stacked, apart).recur,
    GRU: Recurrence("GRU", 4, gru_stacked, gru_apart).recur,
    SimpleRNN: Recurrence("SIMPLE", 0, stacked, apart).recur,
}
