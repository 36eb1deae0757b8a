"""The base class of recurrent cells: one equation, written once, run by Keras and by NumPy.

    output_t, states_t = step(x_t, states_{t-1})

A step has two halves: `project` needs the input x alone, so that a loop can compute it for all
steps in one product, and `advance` needs the states. Both use only the array functions of a
`Namespace`: NumPy's here, TensorFlow's in `forecast.networks.layers.feedforward`.

A cell derives from `Cell` (or `ActivatedCell`, with one activation) and writes `weight_specs`,
`advance`, and `states` and `project` where they differ; then it runs everywhere. The commonest
cells have faster code in `inference.steppers`, `layers.fused`, `layers.cudnn` and `native`.

Another activation is a name in `HiddenActivation` and a function of every namespace: `Namespace`
here (which the exported file copies), `layers.feedforward.TensorNamespace`, and, where NumPy's has
no complex form, that of `training.forward_mode`. The faster code computes tanh alone; the family
`elman` lists its activations itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from forecast.system.errors import InputError

Initializer = Literal[
    "glorot_uniform",
    "orthogonal",
    "zeros",
    "normal",
    "forget_bias",
    "forget_bias_first_third",
]
"""`forget_bias`: zeros, but ones in the second of four equal parts (sums i, f, g, o);
`forget_bias_first_third`: ones in the first of three (sums f, g, o); `normal`: standard deviation
0.1.
"""

HiddenActivation = Literal["tanh", "sigmoid", "relu", "softplus"]


@dataclass(frozen=True)
class Weight:
    """The shape and the initializer of a weight."""

    shape: tuple[int, ...]
    initializer: Initializer


def recurrent_layer(
    inputs: int, states: int, width: int, bias: Initializer = "zeros"
) -> dict[str, Weight]:
    """The weights of `x V + h W + b` from `inputs` columns of x and `states` columns of h to
    `width` columns.
    """
    return {
        "kernel": Weight((inputs, width), "glorot_uniform"),
        "recurrent_kernel": Weight((states, width), "orthogonal"),
        "bias": Weight((width,), bias),
    }


@dataclass(frozen=True)
class Cell:
    """The equation of one step. B batch, I inputs; all arrays of a step have the batch first. The
    states before the first step are zero.
    """

    units: int

    def states(self) -> dict[str, int]:
        """The size of every state by name; by default `{"h": units}`."""
        return {"h": self.units}

    def weight_specs(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation for an input of `inputs` columns; by default one recurrent
        layer.
        """
        return recurrent_layer(inputs, self.units, self.units)

    def initial_states(self, xp: Namespace, w: Arrays, batch: int) -> dict[str, Array]:
        """The states before the first step, each `(B, size)`, in the dtype of the weights."""
        like = next(iter(w.values()))
        return {name: xp.zeros(batch, size, like) for name, size in self.states().items()}

    def decaying_sum(self) -> tuple[tuple[int, ...], float] | None:
        """For a cell whose only state is a decaying sum of columns of x: these columns, and the
        decay. None for any other cell.
        """
        return None

    def project(self, xp: Namespace, w: Arrays, x: Array) -> Array:
        """The part of the equation that needs the input alone: x `(..., I)` to `(..., P)`."""
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: the output `(B, units)` and the new states, from `projected` `(B, P)`
        and the states `(B, size)`. It must not change an array that it is given.
        """
        raise NotImplementedError

    def step(self, xp: Namespace, w: Arrays, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """One time step: the output `(B, units)` and the new states, from x `(B, I)` and the states
        `(B, size)`.
        """
        return self.advance(xp, w, self.project(xp, w, x), states)

    def join_states(self, states: Arrays) -> np.ndarray:
        """All states side by side as one NumPy array `(B, sizes)`; the inverse of
        `split_states`.
        """
        return np.concatenate([states[name] for name in self.states()], axis=1)

    def split_states(self, joined: np.ndarray) -> dict[str, np.ndarray]:
        """The states by name from an array of all states side by side `(B, sizes)`."""
        sizes = self.states()
        parts = np.split(joined, np.cumsum(list(sizes.values()))[:-1], axis=1)
        return dict(zip(sizes, parts, strict=True))


@dataclass(frozen=True)
class ActivatedCell(Cell):
    """A cell with one activation function, given by name."""

    activation: HiddenActivation = "tanh"


def require(cell: object, option: str, holds: bool, requirement: str) -> None:
    """`InputError` that names the cell, the option and its value, unless `holds`."""
    if not holds:
        value = getattr(cell, option)
        raise InputError(
            f"Cell {type(cell).__name__}: `{option}` is {value!r}; wanted: {requirement}. Change"
            f" `{option}`."
        )


Array = Any
"""A NumPy array or a TensorFlow tensor."""

Arrays = Mapping[str, Array]
"""The weights or states of a cell by name."""


class Namespace:
    """The array functions that cells are written with, in NumPy; `TensorNamespace` overrides all of
    them. They keep the dtype of their arguments and work along the last axis.
    """

    def matmul(self, a: Array, b: Array) -> Array:
        """`a (..., m) @ b (m, n)`: `(..., n)`, for any number of leading axes."""
        # one large product: with more than two axes NumPy would compute many small ones
        return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[-1])

    def tanh(self, x: Array) -> Array:
        """tanh of every value."""
        return np.tanh(x)

    def sigmoid(self, x: Array) -> Array:
        """The logistic function, without overflow."""
        half = x.dtype.type(0.5)
        return half * np.tanh(half * x) + half

    def relu(self, x: Array) -> Array:
        """max(x, 0) of every value."""
        return np.maximum(x, x.dtype.type(0))

    def softplus(self, x: Array) -> Array:
        """The smoothed ReLU `ln(1 + e^x)`, without overflow."""
        return np.logaddexp(x, x.dtype.type(0))

    def concat(self, parts: Sequence[Array]) -> Array:
        """The parts side by side on the last axis."""
        return np.concatenate(parts, axis=-1)

    def split(self, x: Array, parts: int) -> Sequence[Array]:
        """`parts` equal pieces of the last axis, in order."""
        size = x.shape[-1] // parts
        return [x[..., k * size : (k + 1) * size] for k in range(parts)]

    def take(self, x: Array, columns: Sequence[int]) -> Array:
        """The given columns of the last axis, in the given order."""
        return x[..., list(columns)]

    def stop_gradient(self, x: Array) -> Array:
        """x as it is, but without a gradient. In NumPy nothing is stopped: the derivatives of
        Levenberg-Marquardt, by complex steps through the cell, are whole.
        """
        return x

    def zeros(self, batch: Any, size: int, like: Array) -> Array:
        """Zeros `(batch, size)` in the dtype of `like`."""
        return np.zeros((batch, size), like.dtype)


numpy_namespace = Namespace()


def activate(xp: Namespace, name: str, x: Array) -> Array:
    """The activation function `name` of x: tanh, sigmoid, relu, softplus or linear."""
    if name == "linear":
        return x
    return getattr(xp, name)(x)
