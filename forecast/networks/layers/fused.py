"""The recurrences of the commonest cells over time, faster than `scan` on a CPU: the plain LSTM, GRU and simple net.

    simple      h_t = f(x_t V + h_{t-1} W + b); f' is written in terms of h, so nothing but h is stored
    block_lstm  i, f, o = sigmoid(x V + h_{t-1} W + b),  g = tanh(x V + h_{t-1} W + b)
                c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t)      (Hochreiter & Schmidhuber 1997; Gers et al. 2000)
    gru         z, r = sigmoid(x V + h_{t-1} W + b),  h_t = (1 - z) * g + z * h_{t-1}
                g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))      reset_after: true (cuDNN, Keras, torch)

What the loops must do one step after the other is kept small: the input's products are one matrix product before the
loop, the weights' gradients one after it. The elementwise factors of the GRU's backward pass are computed inside its
loop: for all steps at once they are arrays that no cache holds, a tenth of a step with 64 units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

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


# f and f' as a function of f's value.
SLOPES: dict[str, tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]]] = {
    "tanh": (tf.tanh, lambda h: 1 - h * h),
    "sigmoid": (tf.sigmoid, lambda h: h * (1 - h)),
    "relu": (tf.nn.relu, lambda h: tf.cast(h > 0, h.dtype)),
    "softplus": (tf.nn.softplus, lambda h: -tf.math.expm1(-h)),
}


@functools.cache
def simple(name: str) -> Callable[..., Any]:
    """The simple net with the activation `name` of `SLOPES`."""
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


def gru(
    x: tf.Tensor, kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, h0: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
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
        dhs, back = steps_of(dh), tf.transpose(recurrent)

        def step_back(t: tf.Tensor, carried: tf.Tensor, ds: Array, ats: Array) -> tuple[Any, ...]:
            h, z, r, g, g_h = (array.read(t) for array in kept)
            d = dhs.read(t) + carried
            # h - g = z (h_before - g), so the factor of z's pre-activation needs no h_before.
            new = 1 - z
            to_g, to_z = new * (1 - g * g), (h - g) * new
            to_state = to_g * r
            at = tf.concat([d * to_z, d * (to_state * (1 - r) * g_h), d * to_state], 1)
            return t - 1, d * z + tf.matmul(at, back), ds.write(t, d * to_g), ats.write(t, at)

        start = (steps - 1, tf.zeros_like(h0), collector(steps, x), collector(steps, x))
        _, dh0, ds, ats = tf.while_loop(lambda t, *_: t >= 0, step_back, start, parallel_iterations=1)
        at_state = rows(ats.stack())
        at_input = tf.concat([at_state[:, : 2 * units], rows(ds.stack())], 1)
        d_bias = tf.stack([column_sums(at_input), column_sums(at_state)])
        d_recurrent = tf.matmul(rows(shifted(h0, h)), at_state, transpose_a=True)
        return *project_gradient(x, kernel, at_input), d_recurrent, d_bias, dh0

    return h, gradient
