"""The Keras layers that are not recurrent: dense layer, delay line, segments, future frames,
read-out; and `TensorNamespace`, the array functions of cells in TensorFlow.

`wiring` makes a layer for each block. Layers compute every step of `(B, T, C)`, some on demand the
`last` ones alone; rows before the first are zeros. Weights are zero until `assemble` sets them.
Every layer gives the shape of its output, because Keras would trace the layer to find it, which is
most of the time of building a model.

`DelayedDense` computes a delay line and the dense layer after it as one convolution. Concatenating
the delayed rows would copy every row once per delay, and again in the gradient, which takes four to
eight times as long.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from forecast.networks import description
from forecast.networks.cells.base import Namespace, activate
from forecast.networks.description import Taps
from forecast.networks.layers.fused import traced_function

Shape = Sequence[Any]
"""The sizes of a tensor, None where one is open, or those of several tensors."""


class Affine(keras.Layer):
    """`activation(x W + b)` at every step: `(B, T, C)` to `(B, T, units)`."""

    def __init__(self, units: int, activation: str = "linear", **kwargs: Any) -> None:
        """units: columns of the output. `kwargs`: Keras's own settings."""
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation

    def build(self, input_shape: Shape) -> None:
        """Make the weights, zero until `assemble` gives them values."""
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer="zeros"
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output."""
        return input_shape[0], None, self.units

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The layer's output, see the class."""
        z = tensor_namespace.matmul(x, tf.convert_to_tensor(self.kernel)) + self.bias
        return activate(tensor_namespace, self.activation, z)


class ReadOut(Affine):
    """`h U + b` reshaped to forecasts: `(B, T, C)` to `(B, T, H, O, K)`, or at the `last` forecasts
    alone. With `parts`, each of `parts` neighbouring steps gives H / parts steps of one forecast:
    `(B, T parts, C)` to `(B, T, H, O, K)`.
    """

    def __init__(self, shape: Sequence[int], parts: int = 1, **kwargs: Any) -> None:
        """shape: (H, O, K); parts: as in the class. `kwargs`: Keras's own settings."""
        self.shape = tuple(shape)
        self.parts = parts
        super().__init__(self.shape[0] // parts * self.shape[1] * self.shape[2], **kwargs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output."""
        return input_shape[0], None, *self.shape

    def call(self, x: tf.Tensor, last: int | None = None) -> tf.Tensor:
        """The layer's output, see the class."""
        if last:
            x = last_rows(x, last * self.parts)
        return tf.reshape(super().call(x), tf.concat([tf.shape(x)[:1], [-1], self.shape], 0))


class FutureFrames(Affine):
    """`tanh(flatten(future[t+1 .. t+H]) A + a)`, the projection of the known-future inputs: `(B, T
    + H, F)` to `(B, T, units)`. It is computed as a convolution over time, without copying frames.
    """

    def __init__(self, horizon: int, units: int, **kwargs: Any) -> None:
        """horizon: H; units: columns of the output. `kwargs`: Keras's own settings."""
        super().__init__(units, **kwargs)
        self.horizon = horizon

    def build(self, input_shape: Shape) -> None:
        """Make the weights, zero until `assemble` gives them values."""
        super().build((self.horizon * input_shape[-1],))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The layer's output, see the class."""
        filters = tf.reshape(tf.convert_to_tensor(self.kernel), [self.horizon, -1, self.units])
        return tf.tanh(convolve(x[:, 1:], filters) + self.bias)


def convolve(x: tf.Tensor, filters: tf.Tensor, spacing: int = 1) -> tf.Tensor:
    """The valid convolution (B, T - (K - 1) spacing, units) of x (B, T, width) with filters (K,
    width, units), whose delays are `spacing` rows apart.

    The gradient by the filters is computed as another convolution, of x with the gradient of the
    result. That takes a third of the time of TensorFlow's operation, which is half of a training
    step of `tdnn` (docs/research/seconds.md) and supports no spacing on a CPU.
    """
    return tf.ensure_shape(
        traced_function(_convolution(spacing), x.dtype, 3, 3)(x, filters),
        [x.shape[0], None, filters.shape[2]],
    )


@functools.cache
def _convolution(spacing: int) -> Callable[..., Any]:
    """The function that `convolve` traces: gives the convolution and its gradient function."""

    def convolution(x: tf.Tensor, filters: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        def gradient(dz: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            """The gradients by x and by the filters."""
            reach = tf.shape(x)[1] - tf.shape(dz)[1]
            dx = tf.nn.conv2d(
                tf.pad(dz, [[0, 0], [reach, reach], [0, 0]])[:, None],
                tf.transpose(tf.reverse(filters, [0]), [0, 2, 1])[None],
                1,
                "VALID",
                dilations=(1, spacing),
            )
            # as conv2d of `width` images with B channels and T columns
            d_filters = tf.nn.conv2d(
                tf.transpose(x, [2, 1, 0])[:, None],
                tf.transpose(dz, [1, 0, 2])[None],
                (1, spacing),
                "VALID",
            )
            return dx[:, 0], tf.transpose(d_filters[:, 0], [1, 0, 2])

        z = tf.nn.conv2d(x[:, None], filters[None], 1, "VALID", dilations=(1, spacing))[:, 0]
        return z, gradient

    return convolution


def last_rows(x: tf.Tensor, count: Any) -> tf.Tensor:
    """`x[:, -count:]` of x `(B, T, ...)`, computed by a split, because the gradient of a slice
    takes seven times as long.
    """
    first = tf.maximum(tf.shape(x)[1] - count, 0)
    return tf.split(x, [first, -1], 1)[1]


def pad_before(x: tf.Tensor, longest: int) -> tf.Tensor:
    """`x (B, T, C)` with `longest` rows of zeros before it."""
    return tf.pad(x, [[0, 0], [longest, 0], [0, 0]])


def select_channels(x: tf.Tensor, line: Taps) -> tf.Tensor:
    """The channels of `x (B, T, C)` that the delay line reads."""
    return x if line.channels is None else tf.gather(x, line.channels, axis=-1)


def count_channels(line: Taps, input_shape: Shape) -> int:
    """How many channels of a tensor of this shape the delay line reads."""
    return input_shape[-1] if line.channels is None else len(line.channels)


class DelayLine(keras.Layer):
    """Concatenates `x[t - d]` over the n `delays` of `line`, of the c channels that it reads:
    `(B, T, C)` to `(B, T, n c)`; rows before the first are zeros.
    """

    def __init__(self, line: Taps, **kwargs: Any) -> None:
        """line: which channels are delayed, and how far. `kwargs`: Keras's own settings."""
        super().__init__(**kwargs)
        self.line = line

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output."""
        n_columns = len(self.line.delays) * count_channels(self.line, input_shape)
        return input_shape[0], None, n_columns

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The layer's output, see the class."""
        x = select_channels(x, self.line)
        steps = tf.shape(x)[1]
        longest = max(self.line.delays)
        padded = pad_before(x, longest)
        taps = [padded[:, longest - d : longest - d + steps] for d in self.line.delays]
        return tf.concat(taps, -1)


class CutSegments(keras.Layer):
    """`(B, T, channels + projected)` to `(B, count, length * channels + projected)`: the newest
    `count * length` rows cut into `count` segments; see `Segments` in `networks.description`.
    """

    def __init__(self, block: description.Segments, channels: int, **kwargs: Any) -> None:
        """block: how many segments of which length; channels: those of the past. `kwargs`: Keras's
        own settings.
        """
        super().__init__(**kwargs)
        self.block = block
        self.channels = channels

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output."""
        longer = (self.block.length - 1) * self.channels
        return input_shape[0], self.block.count, input_shape[-1] + longer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The layer's output, see the class."""
        width = x.shape[-1]
        length = self.block.length
        count = self.block.count
        rows = length * count
        is_relative = [float(column in self.block.relative) for column in range(width)]
        level = last_rows(x, 1) * tf.constant(is_relative, x.dtype)
        newest = last_rows(pad_before(x, rows), rows) - level
        cut = tf.reshape(newest, [-1, count, length, width])
        past = tf.reshape(cut[..., : self.channels], [-1, count, length * self.channels])
        return tf.concat([past, cut[:, :, -1, self.channels :]], -1)


class Joined(keras.Layer):
    """Several tensors `(B, T, C)` side by side, or their `last` steps alone."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the output."""
        return input_shape[0][0], None, sum(shape[-1] for shape in input_shape)

    def call(self, parts: Sequence[tf.Tensor], last: int | None = None) -> tf.Tensor:
        """The layer's output, see the class."""
        if last:
            parts = [last_rows(part, last) for part in parts]
        return tf.concat(parts, -1)


class TensorNamespace(Namespace):
    """The array functions of `networks.cells.base.Namespace` in TensorFlow, with gradients."""

    tanh = staticmethod(tf.tanh)
    sigmoid = staticmethod(tf.sigmoid)
    relu = staticmethod(tf.nn.relu)
    softplus = staticmethod(tf.nn.softplus)
    stop_gradient = staticmethod(tf.stop_gradient)

    def matmul(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """`a (..., m) @ b (m, n)` as one product."""
        if a.shape.rank == 2:
            return tf.matmul(a, b)
        # one large product: a batched one with a broadcast second factor is many small ones
        shape = tf.concat([tf.shape(a)[:-1], [b.shape[-1]]], 0)
        out = tf.reshape(tf.matmul(tf.reshape(a, [-1, b.shape[0]]), b), shape)
        out.set_shape([*a.shape[:-1], b.shape[-1]])
        return out

    def concat(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """Tensors side by side on the last axis."""
        return tf.concat(parts, -1)

    def split(self, x: tf.Tensor, parts: int) -> Sequence[tf.Tensor]:
        """`parts` equal pieces of the last axis."""
        return tf.split(x, parts, -1)

    def take(self, x: tf.Tensor, columns: Sequence[int]) -> tf.Tensor:
        """The given columns of the last axis."""
        return tf.gather(x, tuple(columns), axis=-1)

    def zeros(self, batch: Any, size: int, like: tf.Tensor) -> tf.Tensor:
        """Zeros `(batch, size)` in the dtype of `like`."""
        return tf.zeros([batch, size], like.dtype)


tensor_namespace = TensorNamespace()


def is_evenly_spaced(delays: Sequence[int]) -> bool:
    """Whether the delays rise by the same number of rows, so that a convolution can read them."""
    steps = {following - preceding for preceding, following in itertools.pairwise(delays)}
    return not steps or (len(steps) == 1 and min(steps) > 0)


class DelayedDense(Affine):
    """`activation(sum_d x[t - d] W_d + b)` over the delays of one or several delay lines: `(B, T,
    C)` to `(B, T, units)`, or at the `last` steps alone. The rows of W are ordered by line, delay
    and channel, as after `DelayLine` and `Joined`.
    """

    def __init__(
        self, units: int, lines: Sequence[Taps], activation: str = "linear", **kwargs: Any
    ) -> None:
        """units: columns of the output; lines: the delay lines, side by side. `kwargs`: Keras's own
        settings.
        """
        super().__init__(units, activation, **kwargs)
        self.lines = tuple(lines)

    def build(self, input_shape: Shape) -> None:
        """Make the weights, zero until `assemble` gives them values."""
        self.sizes = [len(line.delays) * count_channels(line, input_shape) for line in self.lines]
        super().build((sum(self.sizes),))

    def call(self, x: tf.Tensor, last: int | None = None) -> tf.Tensor:
        """The layer's output, see the class."""
        steps = tf.shape(x)[1] if last is None else last
        parts = []
        kernels = tf.split(tf.convert_to_tensor(self.kernel), self.sizes)
        for line, kernel in zip(self.lines, kernels, strict=True):
            delays = line.delays
            delayed = select_channels(x, line)
            filters = tf.reshape(kernel, [len(delays), delayed.shape[-1], self.units])
            known = pad_before(delayed, max(delays))
            parts.append(_convolve_delays(known, filters, delays, steps))
        z = (parts[0] if len(parts) == 1 else tf.add_n(parts)) + self.bias
        return activate(tensor_namespace, self.activation, z)


def _convolve_delays(
    known: tf.Tensor, filters: tf.Tensor, delays: tuple[int, ...], steps: Any
) -> tf.Tensor:
    """(B, `steps`, units): `sum_d known[t - d] filters[d]` at the last `steps` rows of `known` (B,
    T, width), which has `max(delays)` more rows before them. filters (delays, width, units); the
    delays are evenly spaced.
    """
    spacing = delays[1] - delays[0] if len(delays) > 1 else 1
    if delays[0]:
        known = known[:, : tf.shape(known)[1] - delays[0]]
    rows = last_rows(known, steps + delays[-1] - delays[0])
    return convolve(rows, tf.reverse(filters, [0]), spacing)
