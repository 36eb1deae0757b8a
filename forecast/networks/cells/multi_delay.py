"""A layer-recurrent net whose feedback comes through several delays (MATLAB's `layrecnet(1:2, ...)`).

    h_t = f(x_t V + sum_d h_{t-d} W_d + b)          d in `delays`

Weights: kernel V (I, u), bias (u,), and recurrent_kernel (n u, u): the W_d of the n delays one below the other,
in the order of `delays`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from forecast.networks.cells.base import Array, Arrays, Namespace, Weight, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell


@dataclass(frozen=True)
class MultiDelay(ActivatedCell):
    """States h1 (the newest), h2, ... up to the largest delay."""

    delays: tuple[int, ...] = (1, 2)

    def check(self) -> None:
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

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        delayed = xp.concat([states[f"h{d}"] for d in self.delays])
        h = activate(xp, self.activation, projected + xp.matmul(delayed, w["recurrent_kernel"]))
        older = {f"h{d}": states[f"h{d - 1}"] for d in range(2, self.delays[-1] + 1)}
        return h, {"h1": h, **older}


CELL = MultiDelay
