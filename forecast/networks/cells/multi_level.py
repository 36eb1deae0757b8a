"""Stacked layers with feedback across levels: a higher layer's delayed output enters the lower ones
(the ungated form of Chung, Gulcehre, Cho & Bengio 2015).

    h^l_t = f(h^{l-1}_t V_l + sum_{m >= l} h^m_{t-1} W_{l,m} + b_l)         h^0_t = x_t,  l = 1 ... L

The output is the top layer h^L. Weights of level 1: kernel (I, u), recurrent_kernel (L u, u), bias (u,); of a level
l > 1: kernel_l (u, u), recurrent_kernel_l ((L - l + 1) u, u), bias_l (u,). The W_{l,m} lie one below the other, m = l
first.
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Namespace, Weight, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell


@dataclass(frozen=True)
class MultiLevel(ActivatedCell):
    """States h1 (the lowest layer) ... hL (the output), `units` each. `levels` is L."""

    levels: int = 2

    def check(self) -> None:
        require(self, "levels", self.levels >= 2, "at least 2 (1 is the cell `simple_rnn`)")

    def states(self) -> dict[str, int]:
        return {f"h{level}": self.units for level in range(1, self.levels + 1)}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        weights = {}
        for level in range(1, self.levels + 1):
            above = (self.levels - level + 1) * self.units
            weights[_at("kernel", level)] = Weight(
                (inputs if level == 1 else self.units, self.units), "glorot_uniform"
            )
            weights[_at("recurrent_kernel", level)] = Weight((above, self.units), "orthogonal")
            weights[_at("bias", level)] = Weight((self.units,), "zeros")
        return weights

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        new: dict[str, Array] = {}
        below = projected
        for level in range(1, self.levels + 1):
            if level > 1:
                below = xp.matmul(new[f"h{level - 1}"], w[_at("kernel", level)]) + w[_at("bias", level)]
            above = xp.concat([states[f"h{m}"] for m in range(level, self.levels + 1)])
            new[f"h{level}"] = activate(
                xp, self.activation, below + xp.matmul(above, w[_at("recurrent_kernel", level)])
            )
        return new[f"h{self.levels}"], new


def _at(name: str, level: int) -> str:
    return name if level == 1 else f"{name}_{level}"


CELL = MultiLevel
