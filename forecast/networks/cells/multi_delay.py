"""A layer-recurrent net whose feedback comes through several delays (MATLAB's `layrecnet(1:2, ...)`).

    h_t = f(x_t V + sum_d h_{t-d} W_d + b)          d in `delays`

Weights: kernel V (I, u), bias (u,), and recurrent_kernel (n u, u): the W_d of the n delays one below the other,
in the order of `delays`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from forecast.networks.cells.base import (
    Array,
    Cell,
    HiddenActivation,
    Namespace,
    Weight,
    activate,
    require,
    require_one_of,
)


@dataclass(frozen=True)
class MultiDelay(Cell):
    """States h1 (the newest), h2, ... up to the largest delay."""

    delays: tuple[int, ...] = (1, 2)
    activation: HiddenActivation = "tanh"

    def check(self) -> None:
        require_one_of(self, "activation", HiddenActivation)
        rising = all(a < b for a, b in pairwise(self.delays))
        require(
            self, "delays", rising and min(self.delays, default=0) >= 1, "rising whole numbers from 1, e.g. [1, 2]"
        )

    def states(self) -> dict[str, int]:
        return {f"h{d}": self.units for d in range(1, self.delays[-1] + 1)}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return {
            "kernel": Weight((inputs, self.units), "glorot_uniform"),
            "recurrent_kernel": Weight((len(self.delays) * self.units, self.units), "orthogonal"),
            "bias": Weight((self.units,), "zeros"),
        }

    def project(self, xp: Namespace, w: Mapping[str, Array], x: Array) -> Array:
        return xp.matmul(x, w["kernel"]) + w["bias"]

    def advance(
        self, xp: Namespace, w: Mapping[str, Array], projected: Array, states: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        delayed = xp.concat([states[f"h{d}"] for d in self.delays])
        h = activate(xp, self.activation, projected + xp.matmul(delayed, w["recurrent_kernel"]))
        older = {f"h{d}": states[f"h{d - 1}"] for d in range(2, self.delays[-1] + 1)}
        return h, {"h1": h, **older}


CELL = MultiDelay
