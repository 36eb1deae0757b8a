"""The fully connected recurrent net: every unit feeds every unit, the output units included (Williams & Zipser 1989).

    s_t = f(x_t V + s_{t-1} W + b)          s: `hidden` units and `units` output units together
    output_t = the output units' part of s_t

Unlike the simple recurrent net, what is read out is part of the state and is fed back, and a hidden unit reaches the
output one step later, through W: there is no layer in between.
Weights: kernel V (I, n), recurrent_kernel W (n, n), bias (n,); n = units + hidden, the output units first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forecast.networks.cells.base import (
    Array,
    Cell,
    HiddenActivation,
    Namespace,
    Weight,
    activate,
    require,
    require_one_of,
    simple_weights,
)


@dataclass(frozen=True)
class FullyConnected(Cell):
    """State h of `units + hidden`; the output is its first `units`."""

    hidden: int = 16
    activation: HiddenActivation = "tanh"

    def check(self) -> None:
        require_one_of(self, "activation", HiddenActivation)
        require(self, "hidden", self.hidden >= 1, "at least 1 (with 0 it is the cell `simple_rnn`)")

    def states(self) -> dict[str, int]:
        return {"h": self.units + self.hidden}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return simple_weights(inputs, self.units + self.hidden)

    def project(self, xp: Namespace, w: Mapping[str, Array], x: Array) -> Array:
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Mapping[str, Array], projected: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        h = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        return h[:, : self.units], {"h": h}


CELL = FullyConnected
