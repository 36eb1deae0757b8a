"""The loss of each value that a network is trained by: point errors, or what its head asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from forecast.networks.description import Network
from forecast.networks.heads import FittedHead

POINTWISE: dict[str, Callable[[Any], Any]] = {
    "mse": tf.square,
    "mae": tf.abs,
    "huber": lambda error: tf.where(tf.abs(error) < 1.0, 0.5 * tf.square(error), tf.abs(error) - 0.5),
}

ValueLoss = Callable[[Any, Any, Any], Any]
"""(raw output (..., H, O, K), target (..., H, O), offset (..., H, O) or None) -> losses (..., H, O)."""


class TensorMaths:
    """The array functions of `forecast.networks.heads.maths` in TensorFlow, float32."""

    def constant(self, values: np.ndarray) -> tf.Tensor:
        return tf.constant(values, tf.float32)

    def softplus(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softplus(x)

    def log(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(x)

    def log1p(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.log1p(x)

    def lgamma(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.lgamma(x)

    def maximum(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.maximum(a, b)

    def minimum(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.minimum(a, b)

    def cumsum(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cumsum(x, axis=-1)

    def concat(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.concat(parts, -1)

    def mean(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(x, axis=-1)

    def cross_entropy(self, logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(index, tf.int32), logits)


tensor_maths = TensorMaths()


def of(loss: str, head: FittedHead | None) -> ValueLoss:
    """The named point loss without a head, the head's own with one."""
    if head is None:
        return lambda output, target, offset: POINTWISE[loss](output[..., 0] - target)
    return lambda output, target, offset: head.loss(tensor_maths, output, target, offset)


class ReadOut:
    """The read-out of a network with a bins head, multiplied column by column as needed."""

    def __init__(self, network: Network, model: keras.Model) -> None:
        self.layer, self.shapes = model.get_layer("readout"), network.shapes

    def sampled_cross_entropy(self, hidden: tf.Tensor, target: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
        """(B, T, H, O): see the function; hidden (B, T, U), target (B, T, H, O), drawn (m,)."""
        shape = [self.shapes.horizon, self.shapes.outputs, self.shapes.parameters]
        kernel = tf.reshape(tf.convert_to_tensor(self.layer.kernel), [-1, *shape])
        return sampled_cross_entropy(
            hidden, kernel, tf.reshape(tf.convert_to_tensor(self.layer.bias), shape), target, drawn
        )


def sampled_cross_entropy(
    hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, target: tf.Tensor, drawn: tf.Tensor
) -> tf.Tensor:
    """-ln softmax of the target's logit with a partition function estimated from some of the other classes.

    hidden (B, T, U); kernel (U, H, O, n), bias (H, O, n); target (B, T, H, O) class numbers; drawn (m,) distinct
    classes, all equally likely. Z is estimated by e^true + (n - 1) / m' sum of e^logit over the m' drawn classes that
    are not the target (Bengio & Senecal 2008 with a uniform proposal; Jean et al. 2015): its expectation is Z, and it
    is Z when every class is drawn. Only the columns needed are multiplied.
    """
    target, classes = tf.cast(target, tf.int32), kernel.shape[-1]
    logits = tf.tensordot(hidden, tf.gather(kernel, drawn, axis=-1), 1) + tf.gather(bias, drawn, axis=-1)
    true = _own_logit(hidden, kernel, bias, target)
    others = tf.not_equal(drawn, target[..., None])
    count = tf.reduce_sum(tf.cast(others, hidden.dtype), axis=-1, keepdims=True)
    weight = tf.math.log(tf.cast(classes - 1, hidden.dtype) / tf.maximum(count, 1.0))
    negative = tf.where(others, logits + weight, tf.fill(tf.shape(logits), tf.constant(-1e9, hidden.dtype)))
    return tf.reduce_logsumexp(tf.concat([true[..., None], negative], -1), axis=-1) - true


def _own_logit(hidden: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """(B, T, H, O): the logit of each target's own class."""
    units, horizon, outputs, classes = kernel.shape
    place = tf.reshape(tf.range(horizon * outputs) * classes, (horizon, outputs)) + target
    columns = tf.gather(tf.reshape(tf.transpose(kernel, [1, 2, 3, 0]), [-1, units]), place)
    return tf.einsum("btu,bthou->btho", hidden, columns) + tf.gather(tf.reshape(bias, [-1]), place)
