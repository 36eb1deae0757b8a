"""Jordan's network: the context is the fed-back output, with a memory of its own (Jordan 1986).

    mu_t = alpha mu_{t-1} + y_{t-1}                 or, with `average`, alpha mu_{t-1} + (1 - alpha) y_{t-1}
    h_t  = f(x_t V + mu_t W + b)
    y_t  = g(h_t U + d)                             the read-out, outside the cell

Here a step's input row already holds the newest observed y among its columns (`targets`), and the output forecasts the
next one. So the row of time s brings y_s into the context and h is the hidden state of time s + 1:

    mu = alpha mu + y_s;   h = f(u_s V + mu W + b)      u_s: the row's other columns; y_s reaches h through mu alone

The feedback weight is fixed at 1 and not learnt; y is in the scaled units of the input. Series-parallel and parallel
use differ in what the caller writes in the target columns: the measured y, or the network's own one-step output.
Weights for m targets: kernel V (I - m, u), absent when the row holds targets alone; recurrent_kernel W (m, u);
bias (u,).
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Namespace, Weight, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell
from forecast.system.errors import InputError


@dataclass(frozen=True)
class Jordan(ActivatedCell):
    """State mu `(B, m)`. `targets`: the columns of the block's input that carry y, in output order."""

    targets: tuple[int, ...] = (0,)
    alpha: float = 0.5
    average: bool = False

    def check(self) -> None:
        require(self, "alpha", 0 <= self.alpha < 1, "at least 0 and below 1, or the context never forgets")
        require(self, "h_init", self.h_init == "zero", "'zero', because the context is made of data, not learnt")
        unique = len(set(self.targets)) == len(self.targets) > 0
        require(self, "targets", unique and min(self.targets) >= 0, "different column numbers from 0, at least one")

    def states(self) -> dict[str, int]:
        return {"mu": len(self.targets)}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        if max(self.targets) >= inputs:
            raise InputError(
                f"Cell Jordan: `targets` {self.targets} asks for column {max(self.targets)}, but its input has only "
                f"{inputs} (0 is the first). Place the cell first in the network, or change `targets`."
            )
        others = inputs - len(self.targets)
        kernel = {"kernel": Weight((others, self.units), "glorot_uniform")} if others else {}
        return kernel | {
            "recurrent_kernel": Weight((len(self.targets), self.units), "glorot_uniform"),
            "bias": Weight((self.units,), "zeros"),
        }

    def project(self, xp: Namespace, w: Arrays, x: Array) -> Array:
        y = xp.take(x, self.targets)
        if "kernel" not in w:
            return y
        others = [column for column in range(x.shape[-1]) if column not in self.targets]
        return xp.concat([y, xp.matmul(xp.take(x, others), w["kernel"])])

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        count = len(self.targets)
        share = 1 - self.alpha if self.average else 1
        mu = self.alpha * states["mu"] + share * projected[:, :count]
        z = xp.matmul(mu, w["recurrent_kernel"]) + w["bias"]
        if "kernel" in w:
            z = z + projected[:, count:]
        return activate(xp, self.activation, z), {"mu": mu}


CELL = Jordan
