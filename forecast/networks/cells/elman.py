"""Elman's simple recurrent network: the hidden state copied to context units, and learning one step deep (Elman 1990).

    h_t = sigma(x_t V + stop_gradient(h_{t-1}) W + b)

The equation of the simple recurrent net; what differs is the gradient, which stops at h_{t-1}: the context is an input
like any other, so V, W and b learn from the current step alone. In NumPy both are the same function.
Weights: kernel V (I, u), recurrent_kernel W (u, u), bias (u,).
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
class Elman(Cell):
    """State h, which is the output. `activation` is sigma of the equation."""

    activation: HiddenActivation = "tanh"

    def check(self) -> None:
        require_one_of(self, "activation", HiddenActivation)
        # The gradient stops at h_{t-1}, so a learnt first state would never learn.
        require(
            self, "h_init", self.h_init != "learnt", "'zero' or 'random', because no gradient reaches a first state"
        )

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return simple_weights(inputs, self.units)

    def project(self, xp: Namespace, w: Mapping[str, Array], x: Array) -> Array:
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Mapping[str, Array], projected: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        context = xp.stop_gradient(states["h"])
        h = activate(xp, self.activation, projected + xp.matmul(context, w["recurrent_kernel"]))
        return h, {"h": h}


CELL = Elman
