"""A dense layer over delayed rows: what a tapped delay line and the dense layer behind it compute, as a convolution.

Laying the delayed rows side by side copies every row as often as there are delays, and the gradient adds as many
padded copies again: four to eight times the cost of the convolution, whose products are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from forecast.networks.cells import activate
from forecast.networks.layers.blocks import Affine, preceded
from forecast.networks.layers.namespace import tensor_namespace

Line = tuple[tuple[int, ...], tuple[int, ...] | None]
"""The delays of a line, and the channels that it delays (None: all)."""


def evenly_spaced(delays: Sequence[int]) -> bool:
    """Whether a convolution can stand for these delays."""
    steps = {later - earlier for earlier, later in itertools.pairwise(delays)}
    return not steps or (len(steps) == 1 and min(steps) > 0)


@keras.saving.register_keras_serializable(package="forecast")
class DelayedDense(Affine):
    """`activation(sum_d x[t - d] W_d + b)` over the delays of one or several lines, `(B, T, C)` to `(B, T, units)`.

    The rows of W go by line, then delay, then channel, as after `DelayLine` and `Joined`. Returns the output and, for
    every line, the rows that the next chunk needs. Those before the first, `earlier (B, longest delay, channels)`
    of each line, are zeros unless given. `last`: the output at so many last steps alone.
    """

    def __init__(self, units: int, lines: Sequence[Line], activation: str = "linear", **kwargs: Any) -> None:
        super().__init__(units, activation, **kwargs)
        self.lines = tuple((tuple(d), None if c is None else tuple(c)) for d, c in lines)

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = int(input_shape[-1] or 0)
        self.widths = [width if channels is None else len(channels) for _, channels in self.lines]
        rows = sum(len(delays) * width for (delays, _), width in zip(self.lines, self.widths, strict=True))
        super().build((rows,))

    def call(
        self, x: tf.Tensor, earlier: Sequence[tf.Tensor] | None = None, last: int | None = None
    ) -> tuple[tf.Tensor, ...]:
        kernel, steps = tf.convert_to_tensor(self.kernel), tf.shape(x)[1]
        parts, after, row = [], [], 0
        for number, (delays, channels) in enumerate(self.lines):
            own = x if channels is None else tf.gather(x, channels, axis=-1)
            before = None if earlier is None else earlier[number]
            known = preceded(own, max(delays), before)
            after.append(known[:, steps:])
            size = len(delays) * self.widths[number]
            filters = tf.reshape(kernel[row : row + size], [len(delays), self.widths[number], self.units])
            parts.append(_delayed(known, filters, delays, steps if last is None else last))
            row += size
        z = (parts[0] if len(parts) == 1 else tf.add_n(parts)) + self.bias
        return activate(tensor_namespace, self.activation, z), *after

    def compute_output_shape(self, input_shape: Sequence[int | None], *_: Any) -> Any:
        batch, width = input_shape[0], input_shape[-1]
        lines = [(max(delays), width if channels is None else len(channels)) for delays, channels in self.lines]
        return (batch, None, self.units), *((batch, longest, own) for longest, own in lines)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "lines": [list(line) for line in self.lines]}


def _delayed(known: tf.Tensor, filters: tf.Tensor, delays: tuple[int, ...], steps: Any) -> tf.Tensor:
    """`sum_d known[t - d] filters[d]` at the last `steps`; `known` begins `max(delays)` rows before the first."""
    spacing = delays[1] - delays[0] if len(delays) > 1 else 1
    reach = delays[-1] - delays[0]
    seen = known[:, : tf.shape(known)[1] - delays[0]]
    return _spaced(seen[:, -(steps + reach) :], filters[::-1], spacing)


def _spaced(x: tf.Tensor, filters: tf.Tensor, spacing: int) -> tf.Tensor:
    """A convolution over every `spacing`-th row, from each row: TensorFlow has no gradient of it on a CPU, so the rows
    of each remainder become a series of their own."""
    if spacing == 1:
        return tf.nn.conv1d(x, filters, stride=1, padding="VALID")
    width, units = filters.shape[1], filters.shape[2]
    length = tf.shape(x)[1]
    kept = length - (filters.shape[0] - 1) * spacing
    x = tf.pad(x, [[0, 0], [0, -length % spacing], [0, 0]])
    series = tf.transpose(tf.reshape(x, [tf.shape(x)[0], -1, spacing, width]), [0, 2, 1, 3])
    each = tf.reshape(series, [-1, tf.shape(series)[2], width])
    z = tf.nn.conv1d(each, filters, stride=1, padding="VALID")
    back = tf.transpose(tf.reshape(z, [-1, spacing, tf.shape(z)[1], units]), [0, 2, 1, 3])
    return tf.reshape(back, [tf.shape(back)[0], -1, units])[:, :kept]
