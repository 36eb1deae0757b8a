"""What a recurrent cell is: one equation, written once, run by Keras and by NumPy.

    output_t, states_t = step(x_t, states_{t-1})

A cell is written in two halves so that a loop may take the input's half out of it and do all steps in one product:
`project` (what needs x alone, any number of leading axes) and `advance` (what needs the states).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from forecast.networks.cells.namespace import Array, Namespace
from forecast.system.errors import InputError

Initializer = Literal[
    "glorot_uniform", "orthogonal", "zeros", "ones", "normal", "forget_bias", "forget_bias_first_third"
]
"""`forget_bias`: zeros, but ones in the second of four equal parts (gates i, f, c, o);
`forget_bias_first_third`: ones in the first of three (gates f, c, o); `normal`: standard deviation 0.1."""

HiddenActivation = Literal["tanh", "sigmoid", "relu", "softplus"]
InitialState = Literal["zero", "learnt", "random"]


@dataclass(frozen=True)
class Weight:
    """A weight before it has values. `trainable=False`: drawn once, never changed."""

    shape: tuple[int, ...]
    initializer: Initializer
    trainable: bool = True


@dataclass(frozen=True)
class Cell:
    """B batch, I inputs; every array of a step has the batch first.

    `h_init`: the state before the first step is zero, a trained vector (`learnt`), or a vector drawn once with the
    initial weights (`random`); the last two are weights named `initial_<state>`.
    """

    units: int
    h_init: InitialState = "zero"

    def __post_init__(self) -> None:
        require(self, "units", self.units >= 1, "a whole number of at least 1")
        require_one_of(self, "h_init", InitialState)
        self.check()

    def check(self) -> None:
        """Raise InputError on options that make no sense (see `require`)."""

    def states(self) -> dict[str, int]:
        """Name and size of every state: `{"h": units}` unless the cell says otherwise."""
        return {"h": self.units}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation, for an input of `inputs` columns."""
        raise NotImplementedError

    def weights(self, inputs: int) -> dict[str, Weight]:
        """The weights of the equation and those of the initial states, in a fixed order."""
        return {**self.own_weights(inputs), **self._initial_weights()}

    def initial(self, xp: Namespace, w: Mapping[str, Array], batch: int) -> dict[str, Array]:
        """The states before the first step, each `(B, size)`."""
        like = next(iter(w.values()))
        if self.h_init == "zero":
            return {name: xp.zeros(batch, size, like) for name, size in self.states().items()}
        return {name: xp.rows(w[f"initial_{name}"], batch) for name in self.states()}

    def project(self, xp: Namespace, w: Mapping[str, Array], x: Array) -> Array:
        """The part of the equation that needs the input alone: x `(..., I)`, result `(..., P)`."""
        raise NotImplementedError

    def advance(
        self, xp: Namespace, w: Mapping[str, Array], projected: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """The rest of a step: projected `(B, P)` and states `(B, size)` give output `(B, units)` and new states."""
        raise NotImplementedError

    def step(
        self, xp: Namespace, w: Mapping[str, Array], x: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """One time step: x `(B, I)` and states `(B, size)` give the output `(B, units)` and the new states."""
        return self.advance(xp, w, self.project(xp, w, x), states)

    def _initial_weights(self) -> dict[str, Weight]:
        if self.h_init == "zero":
            return {}
        learnt = self.h_init == "learnt"
        initializer: Initializer = "zeros" if learnt else "normal"
        return {f"initial_{name}": Weight((size,), initializer, learnt) for name, size in self.states().items()}


def require(cell: object, option: str, holds: bool, wanted: str) -> None:
    """Raise InputError naming cell, option, value and what is wanted instead, unless `holds`."""
    if not holds:
        found = getattr(cell, option)
        raise InputError(f"Cell {type(cell).__name__}: `{option}` is {found!r}; wanted: {wanted}. Change `{option}`.")


def require_one_of(cell: object, option: str, choices: object) -> None:
    """Raise InputError unless the option's value is one of the Literal type `choices`."""
    known = get_args(choices)
    require(cell, option, getattr(cell, option) in known, " or ".join(map(repr, known)))


def simple_weights(inputs: int, units: int) -> dict[str, Weight]:
    """Keras's weights of `f(x kernel + h recurrent_kernel + bias)`."""
    return {
        "kernel": Weight((inputs, units), "glorot_uniform"),
        "recurrent_kernel": Weight((units, units), "orthogonal"),
        "bias": Weight((units,), "zeros"),
    }
