"""What the three fast recurrent layers share: when they may use their own kernel, and the way into and out of it.

A fast layer is the Keras layer of the same name with one method replaced, the loop over time. Everything else
(weights, names, initialisers, regularisers, configuration, saving, states) is inherited and therefore Keras's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

TANH = (keras.activations.tanh, keras.ops.tanh, tf.tanh)
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
