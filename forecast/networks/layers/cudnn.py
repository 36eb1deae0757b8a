"""The plain LSTM and GRU on a GPU, with all steps in one kernel of cuDNN, which comes with
TensorFlow.

A step of the general loop starts a dozen small kernels, and starting one takes longer than its
arithmetic (`python -m bench.gpu`, docs/README.md). The equations are those of `fused`. cuDNN wants
the weights matrix by matrix, each gate transposed, then all biases; its LSTM has a second bias,
which stays zero here, and its GRU has r before u.

Only one gradient may be taken of a pass: a second one is silently wrong, as with Keras's layers,
because cuDNN overwrites its memory. An empty batch is refused.
"""

from __future__ import annotations

import tensorflow as tf

from forecast.networks.cells.base import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.layers.fused import Tensors

GATE_ORDER = {LSTM: (0, 1, 2, 3), GRU: (1, 0, 2)}
"""The numbers of our gates in the order of cuDNN, for each cell that it has."""


def has_gpu() -> bool:
    """Whether TensorFlow sees an NVIDIA GPU, which this kernel needs."""
    return tf.test.is_built_with_cuda() and bool(tf.config.list_logical_devices("GPU"))


def run_cudnn(cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors) -> tf.Tensor:
    """The outputs `(T, B, units)` of the cell over x `(T, B, C)` from the states `first`."""
    states = [first[name][None] for name in cell.states()]
    outputs, *_ = tf.raw_ops.CudnnRNNV3(
        input=x,
        input_h=states[0],
        input_c=states[1] if len(states) == 2 else 0.0,
        params=flatten_weights(cell, w),
        sequence_lengths=tf.repeat(tf.shape(x)[:1], tf.shape(x)[1]),
        rnn_mode="lstm" if len(states) == 2 else "gru",
    )
    outputs.set_shape([*x.shape[:2], cell.units])
    return outputs


def flatten_weights(cell: Cell, w: Tensors) -> tf.Tensor:
    """The weights of the cell as the vector that cuDNN reads."""
    order = GATE_ORDER[type(cell)]

    def in_order(weight: tf.Tensor) -> tf.Tensor:
        gates = tf.split(weight, len(order), -1)
        return tf.concat([gates[k] for k in order], -1)

    bias = w["bias"]
    if bias.shape.rank == 1:
        bias = tf.stack([bias, tf.zeros_like(bias)])
    matrices = [tf.transpose(in_order(w[name])) for name in ("kernel", "recurrent_kernel")]
    return tf.concat([tf.reshape(part, [-1]) for part in (*matrices, in_order(bias))], 0)
