"""The Keras layers of a network that are not recurrent: dense map, delay line, future frames, read-out.

Their weights start at zero and get their values from `assemble`. Shapes: B batch, T time, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from forecast.networks.cells import activate
from forecast.networks.layers.namespace import tensor_namespace


class Affine(keras.Layer):
    """`activation(x W + b)` at every step: `(B, T, C)` to `(B, T, units)`."""

    def __init__(self, units: int, activation: str = "linear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        z = tensor_namespace.matmul(x, tf.convert_to_tensor(self.kernel)) + self.bias
        return activate(tensor_namespace, self.activation, z)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "activation": self.activation}


@keras.saving.register_keras_serializable(package="forecast")
class Dense(Affine):
    """The hidden layer of a network."""


@keras.saving.register_keras_serializable(package="forecast")
class ReadOut(Affine):
    """`g(h U + b)` in the shape of a forecast: `(B, T, C)` to `(B, T, H, O, K)`."""

    def __init__(self, shape: Sequence[int], activation: str = "linear", **kwargs: Any) -> None:
        self.shape = tuple(shape)
        kwargs.pop("units", None)
        super().__init__(self.shape[0] * self.shape[1] * self.shape[2], activation, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(super().call(x), tf.concat([tf.shape(x)[:-1], self.shape], 0))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], *self.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": list(self.shape)}


@keras.saving.register_keras_serializable(package="forecast")
class FutureFrames(Affine):
    """What the known future of the next H steps tells: `tanh(flatten(future[t+1 .. t+H]) A + a)`.

    `(B, T + H, F)` to `(B, T, units)`. The product is a convolution over time, so no frame is ever copied out.
    """

    def __init__(self, horizon: int, units: int, activation: str = "tanh", **kwargs: Any) -> None:
        super().__init__(units, activation, **kwargs)
        self.horizon = horizon

    def build(self, input_shape: Sequence[int | None]) -> None:
        super().build((int(self.horizon * input_shape[-1]),))  # type: ignore[operator]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        filters = tf.reshape(tf.convert_to_tensor(self.kernel), [self.horizon, -1, self.units])
        z = tf.nn.conv1d(x[:, 1:], filters, stride=1, padding="VALID") + self.bias
        return activate(tensor_namespace, self.activation, z)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        steps = None if input_shape[1] is None else input_shape[1] - self.horizon
        return (input_shape[0], steps, self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "horizon": self.horizon}


def preceded(x: tf.Tensor, longest: int, earlier: tf.Tensor | None) -> tf.Tensor:
    """`x` after the rows that a delay of `longest` needs before its first: those given, else zeros."""
    return tf.pad(x, [[0, 0], [longest, 0], [0, 0]]) if earlier is None else tf.concat([earlier, x], 1)


@keras.saving.register_keras_serializable(package="forecast")
class DelayLine(keras.Layer):
    """Concatenates `x[t - d]` over `delays`: `(B, T, C)` to `(B, T, n C)`, and the rows the next chunk needs.

    The rows before the first, `earlier (B, max(delays), C)`, are zeros unless given.
    """

    def __init__(self, delays: Sequence[int], channels: Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delays = tuple(delays)
        self.channels = None if channels is None else tuple(channels)

    def call(self, x: tf.Tensor, earlier: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        if self.channels is not None:
            x = tf.gather(x, self.channels, axis=-1)
        steps, longest = tf.shape(x)[1], max(self.delays)
        padded = preceded(x, longest, earlier)
        taps = [padded[:, longest - d : longest - d + steps] for d in self.delays]
        return tf.concat(taps, -1), padded[:, steps:]

    def compute_output_shape(self, input_shape: Sequence[int | None], *_: Any) -> tuple[tuple[int | None, ...], ...]:
        batch, steps, width = input_shape
        width = width if self.channels is None else len(self.channels)
        return (batch, steps, len(self.delays) * int(width or 0)), (batch, max(self.delays), width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delays": list(self.delays), "channels": self.channels}


@keras.saving.register_keras_serializable(package="forecast")
class Joined(keras.Layer):
    """Several `(B, T, ...)` side by side (`concat`), or added (`sum`)."""

    def __init__(self, merge: str = "concat", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.merge = merge

    def call(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.concat(parts, -1) if self.merge == "concat" else tf.add_n(list(parts))

    def compute_output_shape(self, shapes: Sequence[Sequence[int | None]]) -> tuple[int | None, ...]:
        width = sum(int(shape[-1] or 0) for shape in shapes) if self.merge == "concat" else shapes[0][-1]
        return (*shapes[0][:-1], width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "merge": self.merge}
