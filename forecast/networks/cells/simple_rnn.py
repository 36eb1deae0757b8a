"""The simple recurrent net with full back-propagation through time (Rumelhart, Hinton & Williams 1986; Werbos 1990).

    h_t = f(x_t V + h_{t-1} W + b)

f is tanh, the sigmoid, ReLU (Le, Jaitly & Hinton 2015) or its smooth form ln(1 + e^x).
Weights are those of `keras.layers.SimpleRNN`: kernel V (I, u), recurrent_kernel W (u, u), bias (u,).
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
    require_one_of,
    simple_weights,
)


@dataclass(frozen=True)
class SimpleRNN(Cell):
    """State h, which is the output."""

    activation: HiddenActivation = "tanh"

    def check(self) -> None:
        require_one_of(self, "activation", HiddenActivation)

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return simple_weights(inputs, self.units)

    def project(self, xp: Namespace, w: Mapping[str, Array], x: Array) -> Array:
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Mapping[str, Array], projected: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        h = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        return h, {"h": h}


CELL = SimpleRNN
