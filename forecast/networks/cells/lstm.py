"""Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000).

    i, f, o = sigmoid(x V + h_{t-1} W + b)        input, forget and output gate
    g       = tanh(x V + h_{t-1} W + b)
    c_t     = f * c_{t-1} + i * g
    h_t     = o * tanh(c_t)

Weights and gate order (i, f, g, o; Keras calls g the candidate c) are those of `keras.layers.LSTM`: kernel (I, 4u),
recurrent_kernel (u, 4u), bias (4u,). The forget bias starts at 1 (Jozefowicz, Zaremba & Sutskever 2015), so that a new
cell remembers.
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Cell, Namespace, Weight


@dataclass(frozen=True)
class LSTM(Cell):
    """States h (the output) and c, `units` each."""

    def states(self) -> dict[str, int]:
        return {"h": self.units, "c": self.units}

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        return {
            "kernel": Weight((inputs, 4 * self.units), "glorot_uniform"),
            "recurrent_kernel": Weight((self.units, 4 * self.units), "orthogonal"),
            "bias": Weight((4 * self.units,), "forget_bias"),
        }

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        i, f, g, o = xp.split(projected + xp.matmul(states["h"], w["recurrent_kernel"]), 4)
        c = xp.sigmoid(f) * states["c"] + xp.sigmoid(i) * xp.tanh(g)
        h = xp.sigmoid(o) * xp.tanh(c)
        return h, {"h": h, "c": c}


CELL = LSTM
