"""What a recurrent cell is: one equation, written once, run by Keras and by NumPy.

    output_t, states_t = step(x_t, states_{t-1})

A cell is written in two halves so that a loop may take the input's half out of it and do all steps
in one product: `project` (what needs x alone, any number of leading axes) and `advance` (what needs
the states). Both use the array functions of a `Namespace` alone, which is NumPy's here,
TensorFlow's in `forecast.networks.layers.feedforward`.

A cell derives from `Cell` (`ActivatedCell`, where it has one activation) and adds `own_weights`,
`advance` and what differs of `states` and `project`; with that alone it runs everywhere. Faster
ways exist for the commonest cells only: `inference.steppers`, `layers.fused`, `native`.
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
"""`forget_bias`: zeros, but ones in the second of four equal parts (gates i, f, c, o);
`forget_bias_first_third`: ones in the first of three (gates f, c, o); `normal`: standard deviation
0.1.
"""

HiddenActivation = Literal["tanh", "sigmoid", "relu", "softplus"]


@dataclass(frozen=True)
class Weight:
    """A weight before it has values."""

    shape: tuple[int, ...]
    initializer: Initializer


def recurrent_layer(
    inputs: int, states: int, width: int, bias: Initializer = "zeros"
) -> dict[str, Weight]:
    """The weights of `x V + h W + b`: `inputs` columns of x and `states` of h into `width`."""
    return {
        "kernel": Weight((inputs, width), "glorot_uniform"),
        "recurrent_kernel": Weight((states, width), "orthogonal"),
        "bias": Weight((width,), bias),
    }


@dataclass(frozen=True)
class Cell:
    """B batch, I inputs; every array of a step has the batch first. The states before the first
    step are zero.
    """

    units: int

    def states(self) -> dict[str, int]:
        """Name and size of every state: `{"h": units}` unless the cell says otherwise."""
        return {"h": self.units}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation, for an input of `inputs` columns: one layer unless the cell
        says otherwise.
        """
        return recurrent_layer(inputs, self.units, self.units)

    def initial_states(self, xp: Namespace, w: Arrays, batch: int) -> dict[str, Array]:
        """The states before the first step, each `(B, size)`, in the dtype of the weights."""
        like = next(iter(w.values()))
        return {name: xp.zeros(batch, size, like) for name, size in self.states().items()}

    def decaying_sum(self) -> tuple[tuple[int, ...], float] | None:
        """The columns of x whose decaying sum is the only state, and the decay; None: the net makes
        its states itself.
        """
        return None

    def project(self, xp: Namespace, w: Arrays, x: Array) -> Array:
        """The part of the equation that needs the input alone: x `(..., I)`, result `(..., P)`."""
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Arrays, projected: Array, states: Arrays
    ) -> tuple[Array, Arrays]:
        """The rest of a step: projected `(B, P)` and states `(B, size)` give output `(B, units)`
        and new states.
        """
        raise NotImplementedError

    def step(self, xp: Namespace, w: Arrays, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """One time step: x `(B, I)` and states `(B, size)` give the output `(B, units)` and the new
        states.
        """
        return self.advance(xp, w, self.project(xp, w, x), states)

    def join_states(self, states: Arrays) -> np.ndarray:
        """NumPy's states side by side in their order, `(B, sizes)`; `split_states` takes them
        apart again.
        """
        return np.concatenate([states[name] for name in self.states()], axis=1)

    def split_states(self, joined: np.ndarray) -> dict[str, np.ndarray]:
        """The states by name, from all side by side `(B, sizes)`."""
        sizes = self.states()
        parts = np.split(joined, np.cumsum(list(sizes.values()))[:-1], axis=1)
        return dict(zip(sizes, parts, strict=True))


@dataclass(frozen=True)
class ActivatedCell(Cell):
    """A cell with one activation f by name."""

    activation: HiddenActivation = "tanh"


def require(cell: object, option: str, holds: bool, requirement: str) -> None:
    """Raise InputError naming cell, option, value and what is wanted instead, unless `holds`."""
    if not holds:
        value = getattr(cell, option)
        raise InputError(
            f"Cell {type(cell).__name__}: `{option}` is {value!r}; wanted: {requirement}. Change"
            f" `{option}`."
        )


Array = Any
"""A NumPy array or a TensorFlow tensor: a cell does not care which."""

Arrays = Mapping[str, Array]
"""The weights of a cell, or its states, by name."""


class Namespace:
    """NumPy's form, of the reference loops, the export and the service; TensorFlow's overrides it
    whole. All functions keep the dtype of their arguments; `axis` is always the last.
    """

    def matmul(self, a: Array, b: Array) -> Array:
        """`a (..., m) @ b (m, n)`: `(..., n)`, whatever the number of leading axes."""
        # One large product: NumPy would run a stack of small ones for more than two axes.
        return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[-1])

    def tanh(self, x: Array) -> Array:
        """tanh of every value."""
        return np.tanh(x)

    def sigmoid(self, x: Array) -> Array:
        """Stable for any finite x: no overflow, exactly 0 and 1 far out."""
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
        """x, through which no gradient flows."""
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
