"""The array functions of `forecast.networks.cells` in TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class TensorNamespace:
    """The TensorFlow form of `networks.cells.Namespace`; gradients flow through everything but `stop_gradient`."""

    def matmul(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        if a.shape.rank == 2:
            return tf.matmul(a, b)
        # One large product: a batched one with a broadcast second factor is many small ones.
        shape = tf.concat([tf.shape(a)[:-1], [b.shape[-1]]], 0)
        out = tf.reshape(tf.matmul(tf.reshape(a, [-1, b.shape[0]]), b), shape)
        out.set_shape([*a.shape[:-1], b.shape[-1]])
        return out

    def tanh(self, x: tf.Tensor) -> tf.Tensor:
        return tf.tanh(x)

    def sigmoid(self, x: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(x)

    def relu(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x)

    def softplus(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softplus(x)

    def concat(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.concat(parts, -1)

    def split(self, x: tf.Tensor, parts: int) -> Sequence[tf.Tensor]:
        pieces: Sequence[tf.Tensor] = tf.split(x, parts, -1)
        return pieces

    def take(self, x: tf.Tensor, columns: Sequence[int]) -> tf.Tensor:
        return tf.gather(x, tuple(columns), axis=-1)

    def stop_gradient(self, x: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(x)

    def zeros(self, batch: Any, size: int, like: tf.Tensor) -> tf.Tensor:
        return tf.zeros([batch, size], like.dtype)

    def rows(self, vector: tf.Tensor, batch: Any) -> tf.Tensor:
        return tf.repeat(vector[None], batch, axis=0)


tensor_namespace = TensorNamespace()
