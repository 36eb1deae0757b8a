"""The recurrences of the commonest cells over time, faster than `scan` on a CPU: the plain LSTM, GRU and simple net.

    simple  h_t = tanh(x_t V + h_{t-1} W + b)
    lstm    i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
            c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)          (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
    gru     z, r = sigmoid(x V + h_{t-1} W + b),  h_t = (1 - z) * g + z * h_{t-1}
            g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))          reset_after: true (cuDNN, Keras, torch)

They run in numba (`kernels`), where a step is one product and one pass over its values; in a loop of TensorFlow every
operation takes several microseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import script_ops

from forecast.networks.cells import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import SimpleRNN
from forecast.networks.inference.steppers import aligned

# For every array that a Python function returns, `np_asarray` of this private module parses NumPy's version: 20 us.
if compat := getattr(script_ops, "numpy_compat", None):
    script_ops.numpy_compat = SimpleNamespace(**{**vars(compat), "np_asarray": np.asarray})

Array = Any  # a tf.TensorArray
Tensors = Mapping[str, tf.Tensor]


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


def traced(cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors, whole: bool) -> list[tf.Tensor]:
    """From x `(B, T, C)`: h `(B, T, U)` and, of an LSTM, c after every step or, unless `whole`, after the last."""
    bias = tf.reshape(w["bias"], [-1, w["kernel"].shape[1]])
    given = x, tf.concat([w["kernel"], bias, w["recurrent_kernel"]], 0), *(first[name] for name in cell.states())
    function = WHOLE[type(cell), whole].recur
    found: list[tf.Tensor] = tf.nest.flatten(compiled(function, x.dtype, *(len(one.shape) for one in given))(*given))
    steps = x.shape[1], x.shape[1] if whole else 1
    return [tf.ensure_shape(one, [x.shape[0], count, cell.units]) for one, count in zip(found, steps, strict=False)]


@dataclass(frozen=True)
class Recurrence:
    """A cell in `kernels`: its biases, and how many blocks of U values a step keeps."""

    kind: str
    biases: int
    kept: int
    whole: bool = False

    def recur(self, *given: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        """For `traced`: x, weights and the first states to the states, and their gradient."""
        dtype, weights = given[0].dtype, given[1]
        h, tape = tf.numpy_function(self.forward, given, [dtype] * 2, stateful=False)

        def gradient(*d_states: tf.Tensor) -> Any:
            back = tf.numpy_function(self.backward, (weights, tape, *d_states), [dtype] * 3, stateful=False)
            return *back[:2], *(back[2][k] for k in range(len(d_states)))

        return [h, *(self.later(tape, tf.shape(weights)[0], first) for first in given[3:])], gradient

    def later(self, tape: tf.Tensor, rows: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """c after the steps, `(B, T, U)`, or after the last."""
        (batch, units), steps = tf.unstack(tf.shape(first)), tape[1:] if self.whole else tape[-1:]
        found = tf.reshape(steps[:, batch * rows : batch * (rows + units)], [-1, batch, units])
        return tf.transpose(found, [1, 0, 2])

    def forward(self, x: np.ndarray, weights: np.ndarray, *first: np.ndarray) -> tuple[np.ndarray, ...]:
        """h, and what the gradient needs of every step."""
        from forecast.networks.inference import kernels

        (batch, steps, _), units = x.shape, first[0].shape[1]
        h = aligned((batch, steps, units), x.dtype)
        tape = aligned((steps + 1, batch * (len(weights) + self.kept * units)), x.dtype)
        kernels.there(getattr(kernels, self.kind), x, weights, first[0], first[-1], h, tape)
        return h, tape

    def backward(self, weights: np.ndarray, tape: np.ndarray, *d_states: np.ndarray) -> tuple[np.ndarray, ...]:
        """The gradients of x, the weights and the first states."""
        from forecast.networks.inference import kernels

        batch, steps, units = d_states[0].shape
        dx = aligned((batch, steps, len(weights) - self.biases - units), weights.dtype)
        d_weights, d_first = np.zeros_like(weights), np.empty((len(d_states), batch, units), weights.dtype)
        kernels.back(getattr(kernels, self.kind), weights, tape, d_states[0], d_states[-1], dx, d_weights, d_first)
        return dx, d_weights, d_first


RECURRENCES = {LSTM: Recurrence("LSTM", 1, 5), GRU: Recurrence("GRU", 2, 4), SimpleRNN: Recurrence("SIMPLE", 1, 1)}
# Made once, as `compiled` tells their methods apart by the objects.
WHOLE = {(cell, whole): replace(one, whole=whole) for cell, one in RECURRENCES.items() for whole in (False, True)}
