"""Elman's simple recurrent network: the hidden state copied to context units, and learning one step deep (Elman 1990).

    h_t = sigma(x_t V + stop_gradient(h_{t-1}) W + b)

The equation of the simple recurrent net; what differs is the gradient, which stops at h_{t-1}: the context is an input
like any other, so V, W and b learn from the current step alone. In NumPy both are the same function.

    dE_t/dW = h_{t-1}^T e_t,   dE_t/dV = x_t^T e_t,   e_t = dE_t/dh_t * sigma'(.)

The full gradient of `simple_rnn` adds to these what h_{t-1} itself owes to V and W, back to the first row: what it
takes to learn a cause that lies several steps back.

Weights: kernel V (I, u), recurrent_kernel W (u, u), bias (u,).
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Namespace, activate, require
from forecast.networks.cells.simple_rnn import ActivatedCell


@dataclass(frozen=True)
class Elman(ActivatedCell):
    """State h, which is the output. `activation` is sigma of the equation."""

    def check(self) -> None:
        # The gradient stops at h_{t-1}, so a learnt first state would never learn.
        require(
            self, "h_init", self.h_init != "learnt", "'zero' or 'random', because no gradient reaches a first state"
        )

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        context = xp.stop_gradient(states["h"])
        h = activate(xp, self.activation, projected + xp.matmul(context, w["recurrent_kernel"]))
        return h, {"h": h}


CELL = Elman
