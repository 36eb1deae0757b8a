"""Any cell of `forecast.networks.cells` as a Keras layer, `Scan`, which repeats its step over time.

`run_cell` chooses the fastest way: machine code for the plain LSTM, GRU and simple cell (`fused`),
on a GPU `cudnn` for the first two, one convolution for a state that is a decaying sum of inputs,
and `loop_over_time`, with a gradient of its own, for every other cell.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from forecast.networks.cells.base import Cell, Namespace, Weight
from forecast.networks.layers.cudnn import GATE_ORDER, has_gpu, run_cudnn
from forecast.networks.layers.feedforward import Shape, last_rows, tensor_namespace
from forecast.networks.layers.fused import (
    FUSED_CELLS,
    Tensors,
    register_recurrences,
    run_fused,
    traced_function,
)

TensorArray = Any  # a tf.TensorArray
# TensorFlow aborts the process where a second thread registers an operation again
REGISTERING = threading.Lock()
MAX_FUSED_UNITS = 384
"""The largest cell that `fused` runs: with 32 windows of 24 rows a training step of the LSTM takes
.5 times as long as the loop at 384 units, and 1.2 times at 512.
"""


class Scan(keras.Layer):
    """A recurrent layer: `(B, T, C)` to outputs `(B, T, units)`, from states of zero.

    With `go_backwards` it reads the sequence from its end, and its outputs are in that order. With
    `all_states` it also returns the states of every step `(B, T, size)`, in the order of the cell's
    `states()`. With `parts` the outputs are `(B, parts, units)`.
    """

    def __init__(
        self,
        cell: Cell,
        go_backwards: bool = False,
        all_states: bool = False,
        parts: int = 0,
        **kwargs: Any,
    ) -> None:
        """cell: what is repeated; the options as in the class. `kwargs`: Keras's own settings."""
        super().__init__(**kwargs)
        self.go_backwards = go_backwards
        self.all_states = all_states
        self.parts = parts
        self.cell = cell

    def build(self, input_shape: Shape) -> None:
        """Make the weights, zero until `assemble` gives them values."""
        width = input_shape[-1]
        weights = self.cell.weight_specs(width)
        if self.parts:
            weights["embedding"] = Weight((self.parts, width), "zeros")
        self.w = add_weights(self, weights)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shapes of all that the layer returns."""
        batch = input_shape[0]
        sizes = self.cell.states().values() if self.all_states else ()
        sequences = [(batch, None, size) for size in sizes]
        return (batch, self.parts or None, self.cell.units), *sequences

    def call(self, x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The layer's output, see the class."""
        w = {name: tf.convert_to_tensor(variable) for name, variable in self.w.items()}
        first = self.cell.initial_states(tensor_namespace, w, tf.shape(x)[0])
        if self.go_backwards:
            x = tf.reverse(x, [1])
        outputs, *sequences = run_cell(self.cell, w, x, first, self.all_states)
        if self.parts:
            states = {"h": last_rows(outputs, 1)}
            outputs, _ = self.cell.step(tensor_namespace, w, w["embedding"], states)
        return outputs, *sequences


def add_weights(layer: keras.Layer, weights: Mapping[str, Weight]) -> dict[str, keras.Variable]:
    """New weights of a layer by name, zero until `assemble` gives them values."""
    return {
        name: layer.add_weight(name=name, shape=weight.shape, initializer="zeros")
        for name, weight in weights.items()
    }


def run_cell(
    cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors, all_states: bool = False
) -> list[tf.Tensor]:
    """The outputs `(B, T, units)` of the cell over x `(B, T, C)` from the states `first` and, with
    `all_states`, the states of every step; in the fastest way for the cell, see the module. cuDNN
    does not give all states.
    """
    if has_fused_kernel(cell, x.dtype):
        states = run_fused(cell, w, x, first, all_states)
        return [states[0], *states] if all_states else states[:1]
    x = tf.transpose(x, [1, 0, 2])
    decaying_sum = cell.decaying_sum()
    if decaying_sum is not None:
        before = {name: sum_with_decay(x, state, *decaying_sum) for name, state in first.items()}
        outputs, new = cell.step(tensor_namespace, w, x, before)
        sequences = [outputs, *new.values()]
    elif all_states:
        sizes = [cell.units, *cell.states().values()]
        revealing = StateRevealingCell(units=sum(sizes), cell=cell)
        sequences = tf.split(loop_over_time(revealing, w, x, first), sizes, -1)
    elif has_cudnn_kernel(cell):
        sequences = [run_cudnn(cell, w, x, first)]
    else:
        sequences = [loop_over_time(cell, w, x, first)]
    sequences = [tf.transpose(sequence, [1, 0, 2]) for sequence in sequences]
    return sequences if all_states else sequences[:1]


def has_fused_kernel(cell: Cell, dtype: tf.DType) -> bool:
    """Whether `fused` runs the cell: the LSTM, GRU or simple cell without options, with at most
    `MAX_FUSED_UNITS` units, in float32, on a machine without a GPU where the kernels can be loaded.
    """
    with REGISTERING:
        return (
            type(cell) in FUSED_CELLS
            and has_no_option(cell)
            and cell.units <= MAX_FUSED_UNITS
            and dtype == tf.float32
            and not tf.config.list_logical_devices("GPU")
            and register_recurrences()
        )


def has_cudnn_kernel(cell: Cell) -> bool:
    """Whether cuDNN runs the cell: the LSTM or GRU without options, on a GPU."""
    return type(cell) in GATE_ORDER and has_no_option(cell) and has_gpu()


def has_no_option(cell: Cell) -> bool:
    """Whether all options of the cell have their defaults."""
    return cell == type(cell)(cell.units)


def sum_with_decay(
    x: tf.Tensor, first: tf.Tensor, columns: Sequence[int], decay: float
) -> tf.Tensor:
    """The states before every step `(T, B, m)` of a cell whose state is a decaying sum of m
    `columns` of its input x `(T, B, C)` (`Cell.decaying_sum`), from `first` `(B, m)`; computed by
    one convolution, without a gradient.
    """
    steps = tf.shape(x)[0]
    count = len(columns)
    y = tf.stop_gradient(tensor_namespace.take(x, columns))
    # later rows are left out instead of multiplied by zero, because zero times NaN is NaN
    padded = tf.concat([tf.zeros_like(y[1:]), first[None], y[:-1]], 0)
    powers = decay ** tf.cast(tf.range(steps)[::-1], x.dtype)
    sequences = tf.transpose(tf.reshape(padded, [-1, tf.shape(first)[0] * count]))[..., None]
    sums = tf.nn.conv1d(sequences, powers[:, None, None], stride=1, padding="VALID")
    return tf.reshape(tf.transpose(sums[..., 0]), [steps, -1, count])


@dataclass(frozen=True, kw_only=True)
class StateRevealingCell(Cell):
    """A cell whose output `(B, units)` is that of `cell` and its new states side by side."""

    cell: Cell

    def states(self) -> dict[str, int]:
        """The size of every state by name."""
        return self.cell.states()

    def project(self, xp: Namespace, w: Tensors, x: tf.Tensor) -> tf.Tensor:
        """The part of the equation that needs the input alone."""
        return self.cell.project(xp, w, x)

    def advance(
        self, xp: Namespace, w: Tensors, projected: tf.Tensor, states: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """The rest of a step: output and new states."""
        y, new = self.cell.advance(xp, w, projected, states)
        return xp.concat([y, *(new[name] for name in self.states())]), new


def loop_over_time(cell: Cell, w: Tensors, x: tf.Tensor, first: Tensors) -> tf.Tensor:
    """The outputs `(T, B, units)` of the cell over x `(T, B, C)` from the states `first`.

    It has a gradient of its own: TensorFlow's loop would store every intermediate result of every
    step and add up the gradients by the weights step by step. Here only the states are stored. The
    backward loop takes the gradient by the states alone; that by the weights is computed by one
    `advance` with all steps as rows of one batch.
    """
    states = [first[name] for name in cell.states()]
    projected = cell.project(tensor_namespace, w, x)
    ranks = (3, *(2 for _ in states), *(weight.shape.rank for weight in w.values()))
    outputs = traced_function(_loop_of(cell, tuple(w)), x.dtype, *ranks)(
        projected, *states, *w.values()
    )
    outputs.set_shape([*x.shape[:2], cell.units])
    return outputs


@functools.lru_cache(maxsize=256)
def _loop_of(cell: Cell, weights: tuple[str, ...]) -> Callable[..., Any]:
    """`_loop` of one cell, cached, so that equal cells share one function and one trace."""

    def loop(*given: tf.Tensor) -> Any:
        return _loop(cell, weights, *given)

    return loop


def _loop(
    cell: Cell, weights: Sequence[str], projected: tf.Tensor, *given: tf.Tensor
) -> tuple[tf.Tensor, Callable[..., tuple[Any, ...]]]:
    """The function that `loop_over_time` traces: gives the outputs (T, B, units) and their gradient
    function.

    projected (T, B, P): the result of `cell.project`; given: the first states, then the weights, in
    the order of their names. Each step stores the states before it; the backward loop reads them,
    computes the step again and takes its gradient by the states alone.
    """
    names = list(cell.states())
    first = given[: len(names)]
    w = dict(zip(weights, given[len(names) :], strict=True))
    steps = tf.shape(projected)[0]
    inputs = unstack_steps(projected)

    def advance(row: tf.Tensor, states: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        y, new = cell.advance(tensor_namespace, w, row, dict(zip(names, states, strict=True)))
        return [y, *(new[name] for name in names)]

    def differentiate(row: tf.Tensor, states: Any, sources: Any, d_results: Any) -> Any:
        """The gradients by `sources` from those by the results of `advance`, computed again."""
        with tf.GradientTape() as tape:
            tape.watch(sources)
            results = advance(row, states)
        return tape.gradient(results, sources, d_results, unconnected_gradients="zero")

    def step(
        t: tf.Tensor,
        states: Sequence[tf.Tensor],
        ys: TensorArray,
        states_before: Sequence[TensorArray],
    ) -> tuple[Any, ...]:
        """Take step t: write its output and the states before it; returns the states after it."""
        y, *new = advance(inputs.read(t), states)
        written = [
            array.write(t, state) for array, state in zip(states_before, states, strict=True)
        ]
        return t + 1, new, ys.write(t, y), written

    outputs_array = new_tensor_array(steps, projected)
    start = 0, list(first), outputs_array, [new_tensor_array(steps, projected) for _ in first]

    def has_step(t: tf.Tensor, *_: Any) -> tf.Tensor:
        return t < steps

    _, _, outputs, state_arrays = tf.while_loop(has_step, step, start, parallel_iterations=1)

    def gradient(d_outputs: tf.Tensor) -> tuple[Any, ...]:
        """The gradients by `projected`, the first states and the weights, from those by the
        outputs.
        """
        d_ys = unstack_steps(d_outputs)

        def step_back(
            t: tf.Tensor, d_new: Sequence[tf.Tensor], ds: Sequence[TensorArray]
        ) -> tuple[Any, ...]:
            """Write the gradient by the states after step t; returns that by the states before."""
            states_before = [array.read(t) for array in state_arrays]
            d_results = [d_ys.read(t), *d_new]
            d_before = differentiate(inputs.read(t), states_before, states_before, d_results)
            return t - 1, d_before, [array.write(t, d) for array, d in zip(ds, d_new, strict=True)]

        def is_inside(t: tf.Tensor, *_: Any) -> tf.Tensor:
            return t >= 0

        d_last = [tf.zeros_like(state) for state in first]
        start = (steps - 1, d_last, [new_tensor_array(steps, projected) for _ in first])
        _, d_first, ds = tf.while_loop(is_inside, step_back, start, parallel_iterations=1)
        # the gradient by the weights: one step with all rows at once
        all_projected = flatten_time(projected)
        all_before = [flatten_time(array.stack()) for array in state_arrays]
        d_results = [flatten_time(d_outputs), *(flatten_time(array.stack()) for array in ds)]
        d_all, d_w = differentiate(all_projected, all_before, [all_projected, w], d_results)
        return tf.reshape(d_all, tf.shape(projected)), *d_first, *(d_w[name] for name in weights)

    return outputs.stack(), gradient


def flatten_time(sequence: tf.Tensor) -> tf.Tensor:
    """`(T, B, U)` reshaped to `(T * B, U)`."""
    return tf.reshape(sequence, [-1, tf.shape(sequence)[-1]])


def unstack_steps(sequence: tf.Tensor) -> tf.TensorArray:
    """The steps of `(T, B, U)` as a TensorArray, to be read inside a loop without copies."""
    return new_tensor_array(tf.shape(sequence)[0], sequence).unstack(sequence)


def new_tensor_array(steps: tf.Tensor, like: tf.Tensor) -> tf.TensorArray:
    """An empty TensorArray for `steps` matrices of the dtype of `like`."""
    return tf.TensorArray(
        like.dtype, size=steps, element_shape=[None, None], clear_after_read=False
    )
