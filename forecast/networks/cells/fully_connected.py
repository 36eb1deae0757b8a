"""The fully connected recurrent net: every unit feeds every unit, the output units included (Williams & Zipser 1989).

    s_t = f(x_t V + s_{t-1} W + b)          s: `hidden` units and `units` output units together
    output_t = the output units' part of s_t

Unlike the simple recurrent net, what is read out is part of the state and is fed back, and a hidden unit reaches the
output one step later, through W: there is no layer in between.
Weights: kernel V (I, n), recurrent_kernel W (n, n), bias (n,); n = units + hidden, the output units first.
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Namespace, Weight, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell


@dataclass(frozen=True)
class FullyConnected(ActivatedCell):
    """State h of `units + hidden`; the output is its first `units`."""

    hidden: int = 16

    def check(self) -> None:
        require(self, "hidden", self.hidden >= 1, "at least 1 (with 0 it is the cell `simple_rnn`)")

    def states(self) -> dict[str, int]:
        return {"h": self.units + self.hidden}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        size = self.units + self.hidden
        return {
            "kernel": Weight((inputs, size), "glorot_uniform"),
            "recurrent_kernel": Weight((size, size), "orthogonal"),
            "bias": Weight((size,), "zeros"),
        }

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        h = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        return h[:, : self.units], {"h": h}


CELL = FullyConnected
