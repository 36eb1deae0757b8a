"""The decoder of `forecast.networks.description.EncoderDecoder`: H steps from the encoder's states
at every t.

    d_k, states_k = decoder(concat(p_{k-1}, e_t, future[t + k]), states_{k-1}),   p_k = g(d_k U + b)

The B * T steps from which the decoder starts are the batch of its loop. It is fed with its own
forecasts in training too. `Decoder` is the layer, `FedBack` its cell joined with the read-out. For
the LSTM and the simple cell the linear read-out is folded into the weights of the cell, so that its
fast loop can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict

import keras
import tensorflow as tf

from forecast.networks.cells.base import Cell, Namespace, Weight
from forecast.networks.cells.gated import LSTM
from forecast.networks.cells.simple import SimpleRNN
from forecast.networks.description import EncoderDecoder
from forecast.networks.layers.feedforward import Shape, tensor_namespace
from forecast.networks.layers.fused import Tensors
from forecast.networks.layers.scan import add_weights, loop_over_time, run_cell

READOUT = ("readout.kernel", "readout.bias")


class DecoderInputs(TypedDict, total=False):
    """The inputs of a `Decoder`."""

    encoded: Required[tf.Tensor]
    """(B, T, units): the encoder's outputs."""
    states: Required[Tensors]
    """The encoder's states after every step, (B, T, size) by name."""
    future: tf.Tensor
    """(B, T + H, F), only for a network with known-future channels."""


class Decoder(keras.Layer):
    """From `DecoderInputs` to forecasts `(B, T, H, O, K)`. The weights of the read-out
    ("readout/...") belong to this layer, because each step needs them.
    """

    def __init__(self, block: EncoderDecoder, shape: Sequence[int], **kwargs: Any) -> None:
        """block: the cell and what it is fed; shape: (H, O, K). `kwargs`: Keras's own settings."""
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.block = block
        self.cell = block.cell_object

    def build(self, input_shape: Mapping[str, Shape]) -> None:
        """Make the weights, zero until `assemble` gives them values."""
        _, outputs, parameters = self.shape
        future = input_shape.get("future", (0,))[-1]
        width = outputs * self.block.feedback + input_shape["encoded"][-1] + future
        size = outputs * parameters
        weights = self.cell.weight_specs(width)
        for name, shape in zip(READOUT, ((self.cell.units, size), (size,)), strict=True):
            weights[name] = Weight(shape, "zeros")
        self.w = add_weights(self, weights)

    def compute_output_shape(self, input_shape: Mapping[str, Shape]) -> Shape:
        """The shape of the forecasts."""
        return *input_shape["encoded"][:2], *self.shape

    def call(self, inputs: DecoderInputs) -> tf.Tensor:
        """The layer's output, see the class."""
        encoded = inputs["encoded"]
        horizon, outputs, parameters = self.shape
        leading = tf.shape(encoded)[:2]
        w = {name: tf.convert_to_tensor(variable) for name, variable in self.w.items()}
        first = {name: flatten_steps(state) for name, state in inputs["states"].items()}
        parts = [tf.repeat(flatten_steps(encoded)[:, None], horizon, axis=1)]
        if "future" in inputs:
            parts.append(gather_frames(inputs["future"], leading[1], horizon))
        x = tf.concat(parts, -1)
        if self.block.feedback:
            y = self._free_run(w, x, first)
        else:
            cell_weights = {name: value for name, value in w.items() if name not in READOUT}
            y = read_out(w, run_cell(self.cell, cell_weights, x, first)[0])
        return tf.reshape(y, tf.concat([leading, [horizon, outputs, parameters]], 0))

    def _free_run(self, w: Tensors, x: tf.Tensor, first: Tensors) -> tf.Tensor:
        """The forecasts (N, H, O * K) of N = B * T rows, each fed back into the next step. x (N, H,
        columns): the inputs that are not fed back; first: the states before the first step.
        """
        _, outputs, parameters = self.shape
        columns = tuple(output * parameters + self.block.parameter for output in range(outputs))
        if type(self.cell) in (LSTM, SimpleRNN):
            return self._run_folded(w, x, first, columns)
        steps = FedBack(units=outputs * parameters, cell=self.cell, columns=columns)
        y = loop_over_time(
            steps, w, tf.transpose(x, [1, 0, 2]), {**first, FED_BACK: zero_forecast(x, outputs)}
        )
        return tf.transpose(y, [1, 0, 2])

    def _run_folded(
        self, w: Tensors, x: tf.Tensor, first: Tensors, columns: tuple[int, ...]
    ) -> tf.Tensor:
        """`_free_run` of a cell whose output is its recurrent state and whose sums are linear in
        the input: the read-out that is fed back is then part of the recurrent product, so the fast
        loop of the plain cell can run with the recurrent kernel W + U V and the bias b + c V.

        U, c: the fed-back columns of the read-out; V: the rows of the input kernel that read them.
        The first step, which has nothing fed back, uses the cell as it is.
        """
        read_in, given = tf.split(w["kernel"], [len(columns), x.shape[-1]])
        back, constant = (tf.gather(w[name], columns, axis=-1) for name in READOUT)
        folded = {
            "kernel": given,
            "recurrent_kernel": w["recurrent_kernel"] + tf.matmul(back, read_in),
            "bias": w["bias"] + tf.linalg.matvec(read_in, constant, transpose_a=True),
        }
        # a split, because the gradient of a slice is slow, see `last_rows`
        first_step, rest = tf.split(x, [1, self.shape[0] - 1], 1)
        start = tf.concat([zero_forecast(x, len(columns)), first_step[:, 0]], -1)
        d, states = self.cell.step(tensor_namespace, w, start, first)
        following = [run_cell(self.cell, folded, rest, states)[0]] if x.shape[1] != 1 else []
        return read_out(w, tf.concat([d[:, None], *following], 1))


FED_BACK = "forecast"


@dataclass(frozen=True, kw_only=True)
class FedBack(Cell):
    """The cell of the decoder joined with the read-out; the forecast that is fed back is one more
    state. `units`: the columns of the read-out; `columns`: those that are fed back.
    """

    cell: Cell
    columns: tuple[int, ...]

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return {**self.cell.states(), FED_BACK: len(self.columns)}

    def project(self, xp: Namespace, w: Tensors, x: tf.Tensor) -> tf.Tensor:
        """The input as it is."""
        return x

    def advance(
        self, xp: Namespace, w: Tensors, projected: tf.Tensor, states: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """One step: the forecast and the new states."""
        d, new = self.cell.step(xp, w, xp.concat([states[FED_BACK], projected]), states)
        y = read_out(w, d)
        return y, {**new, FED_BACK: xp.take(y, self.columns)}


def zero_forecast(x: tf.Tensor, outputs: int) -> tf.Tensor:
    """The zeros `(N, outputs)` that are fed back at the first step of `x (N, H, C)`."""
    return tf.zeros([tf.shape(x)[0], outputs], x.dtype)


def read_out(w: Tensors, d: tf.Tensor) -> tf.Tensor:
    """The read-out `d U + b` of decoder outputs: `(..., units)` to `(..., O * K)`."""
    kernel, bias = (w[name] for name in READOUT)
    return tensor_namespace.matmul(d, kernel) + bias


def flatten_steps(x: tf.Tensor) -> tf.Tensor:
    """`(B, T, C)` as rows `(B * T, C)`."""
    return tf.reshape(x, [-1, x.shape[-1]])


def gather_frames(future: tf.Tensor, steps: tf.Tensor, horizon: int) -> tf.Tensor:
    """The H future rows `(B * T, H, F)` after each of T `steps`, of future `(B, T + H, F)`."""
    rows = tf.range(steps)[:, None] + tf.range(1, horizon + 1)
    return tf.reshape(tf.gather(future, rows, axis=1), [-1, horizon, future.shape[-1]])
