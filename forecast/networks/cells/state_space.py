"""A neural state-space model: the next state is a multilayer perceptron of input and state, shared by all steps
(Zamarreno & Vega 1998; Suykens, Vandewalle & De Moor 1996).

    a^1 = f(x_t V + h_{t-1} W + b)
    a^l = f(a^{l-1} V_l + b_l)          l = 2 ... L, one for each width in `hidden`, the last of width `units`
    h_t = a^L
    y_t = g(h_t)                        the read-out, outside the cell

Weights: kernel V (I, hidden_1), recurrent_kernel W (u, hidden_1), bias (hidden_1,); kernel_l, bias_l for l = 2 ... L.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from forecast.networks.cells.base import Array, Arrays, Namespace, Weight, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell


@dataclass(frozen=True)
class StateSpace(ActivatedCell):
    """State h, which is the output. `hidden`: the widths of the layers between (x, h) and the new h, at least one."""

    hidden: tuple[int, ...] = (32,)

    def check(self) -> None:
        wanted = "at least one width of 1 or more (without one it is the cell `simple_rnn`)"
        require(self, "hidden", len(self.hidden) > 0 and min(self.hidden) >= 1, wanted)

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        first = self.hidden[0]
        weights = {
            "kernel": Weight((inputs, first), "glorot_uniform"),
            "recurrent_kernel": Weight((self.units, first), "orthogonal"),
            "bias": Weight((first,), "zeros"),
        }
        widths = (*self.hidden, self.units)
        for level, (before, after) in enumerate(pairwise(widths), start=2):
            weights[f"kernel_{level}"] = Weight((before, after), "glorot_uniform")
            weights[f"bias_{level}"] = Weight((after,), "zeros")
        return weights

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        a = activate(xp, self.activation, projected + xp.matmul(states["h"], w["recurrent_kernel"]))
        for level in range(2, len(self.hidden) + 2):
            a = activate(xp, self.activation, xp.matmul(a, w[f"kernel_{level}"]) + w[f"bias_{level}"])
        return a, {"h": a}


CELL = StateSpace
