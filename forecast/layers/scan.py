"""Any cell of `forecast.cells` as a Keras layer: its step, repeated over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from forecast import cells
from forecast.cells import Cell
from forecast.layers.fused import collector, steps_of
from forecast.layers.namespace import tensor_namespace


@keras.saving.register_keras_serializable(package="forecast")
class Scan(keras.Layer):
    """`(B, T, C)` to outputs `(B, T, units)` and the last states, in the order of the cell's `states()`.

    Without `initial_state` it starts from the cell's own initial states (zero, learnt or random). With `go_backwards` it
    reads the sequence from its end, and its outputs are in that order.
    """

    def __init__(
        self, cell: str, units: int, options: Mapping[str, Any] | None = None, go_backwards: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.go_backwards = go_backwards
        self.options = dict(options or {})
        self.cell_name = cell
        self.cell: Cell = cells.get(cell, units, self.options)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.w = {
            name: self.add_weight(name=name, shape=weight.shape, initializer="zeros", trainable=weight.trainable)
            for name, weight in self.cell.weights(int(input_shape[-1] or 0)).items()
        }

    def call(self, x: tf.Tensor, initial_state: Sequence[tf.Tensor] | None = None) -> tuple[tf.Tensor, ...]:
        w = {name: tf.convert_to_tensor(variable) for name, variable in self.w.items()}
        if initial_state is None:
            states = self.cell.initial(tensor_namespace, w, tf.shape(x)[0])
        else:
            states = dict(zip(self.cell.states(), initial_state, strict=True))
        x = tf.transpose(x, [1, 0, 2])
        outputs, last = scan(self.cell, w, tf.reverse(x, [0]) if self.go_backwards else x, states)
        return tf.transpose(outputs, [1, 0, 2]), *(last[name] for name in self.cell.states())

    def compute_output_shape(self, input_shape: Sequence[int | None], *_: Any) -> tuple[tuple[int | None, ...], ...]:
        batch, steps, _width = input_shape
        return (batch, steps, self.cell.units), *((batch, size) for size in self.cell.states().values())

    def get_config(self) -> dict[str, Any]:
        own = {"cell": self.cell_name, "units": self.cell.units, "options": self.options}
        own["go_backwards"] = self.go_backwards
        return {**super().get_config(), **own}


def scan(
    cell: Cell, w: Mapping[str, tf.Tensor], x: tf.Tensor, states: Mapping[str, tf.Tensor]
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """x `(T, B, C)` and the first states: outputs `(T, B, units)` and the last states."""
    steps, names = tf.shape(x)[0], list(cell.states())
    inputs = steps_of(cell.project(tensor_namespace, w, x))

    def step(t: tf.Tensor, found: tuple[tf.Tensor, ...], outputs: tf.TensorArray) -> tuple[Any, ...]:
        y, new = cell.advance(tensor_namespace, w, inputs.read(t), dict(zip(names, found, strict=True)))
        return t + 1, tuple(new[name] for name in names), outputs.write(t, y)

    first = tuple(states[name] for name in names)
    empty = collector(steps, tf.TensorShape([first[0].shape[0], cell.units]), x.dtype)
    _, last, outputs = tf.while_loop(lambda t, *_: t < steps, step, (0, first, empty), parallel_iterations=1)
    return outputs.stack(), dict(zip(names, last, strict=True))
