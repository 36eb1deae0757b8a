"""A simple recurrent net with a skip connection through time (Lin, Horne, Tino & Giles 1996).

    h_t = f(x_t V + h_{t-1} W + h_{t-k} S + b)

From k steps back the gradient passes one matrix instead of k: a remedy against vanishing gradients. It has nothing to
do with the skip of the forecast (last value or ridge).
Weights: kernel V (I, u), recurrent_kernel W (u, u), skip_kernel S (u, u), bias (u,).
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
class TemporalSkip(Cell):
    """States h1 (the newest), h2, ... hk. `skip` is k."""

    skip: int = 12
    activation: HiddenActivation = "tanh"

    def check(self) -> None:
        require_one_of(self, "activation", HiddenActivation)
        require(self, "skip", self.skip >= 2, "at least 2 steps (1 is the cell `simple_rnn`)")

    def states(self) -> dict[str, int]:
        return {f"h{d}": self.units for d in range(1, self.skip + 1)}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        square = Weight((self.units, self.units), "orthogonal")
        return simple_weights(inputs, self.units) | {"skip_kernel": square}

    def project(self, xp: Namespace, w: Mapping[str, Array], x: Array) -> Array:
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Mapping[str, Array], projected: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        near = xp.matmul(states["h1"], w["recurrent_kernel"])
        far = xp.matmul(states[f"h{self.skip}"], w["skip_kernel"])
        h = activate(xp, self.activation, projected + near + far)
        older = {f"h{d}": states[f"h{d - 1}"] for d in range(2, self.skip + 1)}
        return h, {"h1": h, **older}


CELL = TemporalSkip
