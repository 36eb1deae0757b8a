"""The simple recurrent net with full back-propagation through time (Rumelhart, Hinton & Williams 1986; Werbos 1990).

    h_t = f(x_t V + h_{t-1} W + b)

f is tanh, the sigmoid, ReLU (Le, Jaitly & Hinton 2015) or its smooth form ln(1 + e^x).
Weights are those of `keras.layers.SimpleRNN`: kernel V (I, u), recurrent_kernel W (u, u), bias (u,).
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import (
    Array,
    Arrays,
    Cell,
    HiddenActivation,
    Namespace,
    Weight,
    activate,
    require_one_of,
)


@dataclass(frozen=True)
class ActivatedCell(Cell):
    """A cell with one activation f by name, and the weights of the simple net unless it says otherwise."""

    activation: HiddenActivation = "tanh"

    def __post_init__(self) -> None:
        require_one_of(self, "activation", HiddenActivation)
        super().__post_init__()

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return {
            "kernel": Weight((inputs, self.units), "glorot_uniform"),
            "recurrent_kernel": Weight((self.units, self.units), "orthogonal"),
            "bias": Weight((self.units,), "zeros"),
        }


@dataclass(frozen=True)
class SimpleRNN(ActivatedCell):
    """State h, which is the output."""

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        h = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        return h, {"h": h}


CELL = SimpleRNN
