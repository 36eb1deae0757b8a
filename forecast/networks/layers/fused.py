"""The recurrences of the commonest cells over time, faster than `scan` on a CPU: the plain LSTM, GRU and simple net.

    simple      h_t = tanh(x_t V + h_{t-1} W + b)
    block_lstm  i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
                c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)      (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
    gru         z, r = sigmoid(x V + h_{t-1} W + b),  h_t = (1 - z) * g + z * h_{t-1}
                g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))      reset_after: true (cuDNN, Keras, torch)

The LSTM is TensorFlow's own kernel. The others run in NumPy, where an operation on 32 units takes a microsecond and in
a loop of TensorFlow several. Arrays there have the batch last, as in `networks.inference.steppers`; what no step needs
of another is computed for some steps at a time, while their rows are in the cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.linalg import get_blas_funcs

from forecast.networks.cells import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.cells.simple import SimpleRNN
from forecast.networks.inference.steppers import aligned, gru_step

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
    """All states `(T, B, U)` of a recurrence of this module: x `(T, B, C)`, weights, first states `(B, U)`."""
    ranks = (len(one.shape) for one in (x, *given))
    found: list[tf.Tensor] = tf.nest.flatten(compiled(function, x.dtype, *ranks)(x, *given))
    for sequence in found:
        sequence.set_shape([*x.shape[:2], given[1].shape[0]])
    return found


def block_lstm(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor, c0: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[Any, ...]]]:
    """All h and all c, and their gradient.

    The gradient TensorFlow 2.21 registers for BlockLSTMV2 is that of BlockLSTM, whose gates lie in another order
    (i, c, f, o): it is wrong. The right operation, BlockLSTMGradV2, exists and is called here by name.
    """
    none = tf.zeros([tf.shape(recurrent)[0]], x.dtype)
    weights = {"w": tf.concat([kernel, recurrent], 0), "b": bias, "wci": none, "wcf": none, "wco": none}
    given = {"seq_len_max": tf.shape(x, tf.int64)[0], "x": x, "cs_prev": c0, "h_prev": h0, **weights}
    made = tf.raw_ops.BlockLSTMV2(**given, cell_clip=0.0, use_peephole=False)

    def gradient(dh: tf.Tensor, dc: tf.Tensor) -> tuple[Any, ...]:
        g = tf.raw_ops.BlockLSTMGradV2(**given, **made._asdict(), cs_grad=dc, h_grad=dh, use_peephole=False)
        return g.x_grad, *tf.split(g.w_grad, [tf.shape(kernel)[0], -1]), g.b_grad, g.h_prev_grad, g.cs_prev_grad

    return (made.h, made.cs), gradient


def in_numpy(forward: Callable[..., Any], backward: Callable[..., Any], kept: int) -> Callable[..., Any]:
    """The recurrence of a cell whose one state is h, for `traced`. `forward(x, kernel, recurrent, bias, h0)` gives all
    h and `kept` more, from which `backward(kernel, recurrent, *kept, dh)` makes the gradients of these five."""
    quietly = np.errstate(all="ignore")  # a training that diverges says so itself

    def recur(*given: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
        h, *seen = tf.numpy_function(quietly(forward), given, [given[0].dtype] * (1 + kept), stateful=False)

        def gradient(dh: tf.Tensor) -> Any:
            arguments = (given[1], given[2], *seen, dh)
            return tf.numpy_function(quietly(backward), arguments, [dh.dtype] * 5, stateful=False)

        return h, gradient

    return recur


def begun(x: np.ndarray, h0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[x; 1; h_{t-1}]` of every step, `(T + 1, C + 1 + U, B)`, and its part h, of which the first is filled in."""
    (steps, batch, inputs), units = x.shape, h0.shape[1]
    seen = aligned((steps + 1, inputs + 1 + units, batch), x.dtype)
    seen[:-1, :inputs], seen[:, inputs], seen[0, inputs + 1 :] = x.swapaxes(1, 2), 1, h0.T
    return seen, seen[:, inputs + 1 :]


def simple_forward(x: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, h0: np.ndarray) -> Any:
    seen, h = begun(x, h0)
    weights, z = np.concatenate([kernel, bias[None], recurrent]).T.copy(), np.empty_like(h[0])
    for now, after in zip(seen, h[1:], strict=False):
        np.matmul(weights, now, z)
        np.tanh(z, after)
    return h[1:].swapaxes(1, 2), seen


def simple_backward(kernel: np.ndarray, recurrent: np.ndarray, seen: np.ndarray, dh: np.ndarray) -> Any:
    h, at = seen[:, len(kernel) + 1 :], dh.swapaxes(1, 2).copy()
    slopes, carried = 1 - h[1:] * h[1:], np.zeros_like(h[0])
    for d, slope in zip(at[::-1], slopes[::-1], strict=True):
        np.add(d, carried, d)
        np.multiply(d, slope, d)
        np.matmul(recurrent, d, carried)
    return *gradients(at, seen, kernel, recurrent), carried.T


def gradients(at: np.ndarray, seen: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray) -> tuple[Any, ...]:
    """Of x, kernel, recurrent kernel and bias, from those of all that is summed up, `at (T, P, B)`: x goes into the
    first rows and h into the last. BLAS adds up in place, which NumPy's product does not."""
    inputs, width = kernel.shape
    gemm = get_blas_funcs("gemm", dtype=at.dtype)
    d_kernel, d_recurrent = (np.zeros(w.shape, w.dtype, order="F") for w in (kernel, recurrent))
    for d, given in zip(at, seen, strict=False):
        gemm(1, given[:inputs].T, d[:width].T, 1, d_kernel, 1, 0, 1)
        gemm(1, given[inputs + 1 :].T, d[-width:].T, 1, d_recurrent, 1, 0, 1)
    return at[:, :width].swapaxes(1, 2) @ kernel.T, d_kernel, d_recurrent, (at @ seen[0, inputs]).sum(0)  # by ones


def gru_forward(x: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, h0: np.ndarray) -> Any:
    """Kept: z, r, g and r * (h_{t-1} W_g + d_g), `(T, 4 U, B)`. sigmoid(a) is taken as tanh(a/2)/2 + 1/2."""
    inputs, gates = len(kernel), 2 * len(recurrent)
    (seen, h), half = begun(x, h0), np.array(0.5, x.dtype)
    both = np.concatenate([kernel, bias.sum(0, keepdims=True), recurrent])
    to_gates = half * both[:, :gates].T.copy()
    to_new = np.concatenate([kernel, bias[:1]])[:, gates:].T.copy()
    to_state = np.concatenate([bias[1:], recurrent])[:, gates:].T.copy()
    kept = aligned((len(x), 2 * gates, x.shape[1]), x.dtype)
    parts = parted(kept)
    np.matmul(to_new, seen[:-1, : inputs + 1], parts[3])
    for now, before, after, z_r, z, r, g, g_h in zip(seen, h, h[1:], *parts, strict=False):
        np.matmul(to_gates, now, z_r)
        np.matmul(to_state, now[inputs:], g_h)
        gru_step(half, z_r, z, r, g, g_h, before, after)
    return h[1:].swapaxes(1, 2), seen, kept


def parted(kept: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of four parts `(T, 4 U, B)` the first two together, and each alone."""
    units = kept.shape[1] // 4
    return kept[:, : 2 * units], *(kept[:, first : first + units] for first in range(0, 4 * units, units))


def gru_backward(kernel: np.ndarray, recurrent: np.ndarray, seen: np.ndarray, kept: np.ndarray, dh: np.ndarray) -> Any:
    """`at`: the gradients of what is summed up in g, z, r and the state's part of g; the first three are x's."""
    units, h, turned, found = len(recurrent), seen[:, len(kernel) + 1 :], np.roll(kernel, len(recurrent), 1), []
    carried, q, size = np.zeros_like(h[0]), np.empty_like(h[0]), max(1, 2**14 // max(1, h[0].size))  # steps L2 holds
    for last in range(len(dh), 0, -size):
        part = slice(max(last - size, 0), last)
        z_r, z, r, g, reset = parted(kept[part])
        less, ds, at = 1 - z_r, dh[part].swapaxes(1, 2).copy(), np.empty_like(kept[part])
        to_z, to_r, to_g = less[:, :units], less[:, units:], 1 - g * g
        to_g *= to_z
        to_r *= reset
        to_z *= h[1:][part] - g  # h - g = z (h_before - g)
        each = ds, to_z, to_r, to_g, z, r, at[:, units:], *parted(at)[1:]
        for d, by_z, by_r, by_g, z, r, d_state, d_g, d_z, d_r, d_h in zip(*(one[::-1] for one in each), strict=True):
            np.add(d, carried, d)
            np.multiply(d, by_g, d_g)
            np.multiply(d, by_z, d_z)
            np.multiply(d_g, by_r, d_r)
            np.multiply(d_g, r, d_h)
            np.multiply(d, z, carried)
            np.matmul(recurrent, d_state, q)
            np.add(carried, q, carried)
        found.append(gradients(at, seen[part], turned, recurrent))
    dx, *parts = zip(*found[::-1], strict=True)
    d_kernel, d_recurrent, sums = (np.add.reduce(part) for part in parts)
    d_bias = np.stack([np.roll(sums[: 3 * units], -units), sums[units:]])
    return np.concatenate(dx), np.roll(d_kernel, -units, 1), d_recurrent, d_bias, carried.T


RECURRENCES: dict[type[Cell], Callable[..., Any]] = {
    LSTM: block_lstm,
    GRU: in_numpy(gru_forward, gru_backward, kept=2),
    SimpleRNN: in_numpy(simple_forward, simple_backward, kept=1),
}
