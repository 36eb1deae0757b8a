"""The plain LSTM and GRU on a GPU, all steps in one kernel: cuDNN's, which TensorFlow brings.

A step of the general loop starts a dozen small kernels, and starting one takes longer than its
arithmetic (`python -m bench.gpu`, docs/README.md). The equations are those of `fused`; the layout
of the weights is cuDNN's: matrix by matrix, each gate's rows transposed, then all biases. Its LSTM
has a second bias, which stays zero here; its GRU has r before u.

A pass has one gradient: a second one of the same pass is wrong without a word, with Keras's layers
too, as cuDNN overwrites what it kept. A training takes one; a batch without windows it refuses.
"""

from __future__ import annotations

import tensorflow as tf

from forecast.networks.cells.base import Cell
from forecast.networks.cells.gated import GRU, LSTM
from forecast.networks.layers.fused import Tensors

GATE_ORDER = {LSTM: (0, 1, 2, 3), GRU: (1, 0, 2)}
"""For each cell that cuDNN has, which of our gates its first one is, and so on."""


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU of NVIDIA's, for which alone it has this kernel."""
    return tf.test.is_built_with_cuda() and bool(tf.config.list_logical_devices("GPU"))


def run_cudnn(cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors) -> tf.Tensor:
    """The cell over x `(T, B, C)` from the states `first`: outputs `(T, B, units)`."""
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
    """The cell's weights as the one vector that cuDNN reads."""
    order = GATE_ORDER[type(cell)]

    def in_order(weight: tf.Tensor) -> tf.Tensor:
        gates = tf.split(weight, len(order), -1)
        return tf.concat([gates[k] for k in order], -1)

    bias = w["bias"]
    if bias.shape.rank == 1:
        bias = tf.stack([bias, tf.zeros_like(bias)])
    matrices = [tf.transpose(in_order(w[name])) for name in ("kernel", "recurrent_kernel")]
    return tf.concat([tf.reshape(part, [-1]) for part in (*matrices, in_order(bias))], 0)
