"""A simple recurrent net with a skip connection through time (Lin, Horne, Tino & Giles 1996).

    h_t = f(x_t V + h_{t-1} W + h_{t-k} S + b)

From k steps back the gradient passes one matrix instead of k: a remedy against vanishing gradients. It has nothing to
do with the skip of the forecast (last value or ridge).
Weights: kernel V (I, u), recurrent_kernel W (u, u), skip_kernel S (u, u), bias (u,).
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Namespace, Weight, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell


@dataclass(frozen=True)
class TemporalSkip(ActivatedCell):
    """States h1 (the newest), h2, ... hk. `skip` is k."""

    skip: int = 12

    def check(self) -> None:
        require(self, "skip", self.skip >= 2, "at least 2 steps (1 is the cell `simple_rnn`)")

    def states(self) -> dict[str, int]:
        return {f"h{d}": self.units for d in range(1, self.skip + 1)}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return super().own_weights(inputs) | {"skip_kernel": Weight((self.units, self.units), "orthogonal")}

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        near = xp.matmul(states["h1"], w["recurrent_kernel"])
        far = xp.matmul(states[f"h{self.skip}"], w["skip_kernel"])
        h = activate(xp, self.activation, projected + near + far)
        older = {f"h{d}": states[f"h{d - 1}"] for d in range(2, self.skip + 1)}
        return h, {"h1": h, **older}


CELL = TemporalSkip
