"""Gated recurrent unit (Cho et al. 2014; `reset_after` as in cuDNN, Keras and torch).

    u = sigmoid(x V_u + h_{t-1} W_u + b_u)        update gate (Keras calls it z)
    r = sigmoid(x V_r + h_{t-1} W_r + b_r)        reset gate
    g = tanh(x V_g + (r * h_{t-1}) W_g + b_g)                   reset_after: false, the paper's form
    g = tanh(x V_g + b_g + r * (h_{t-1} W_g + d_g))             reset_after: true
    h_t = (1 - u) * g + u * h_{t-1}

Weights and gate order (z, r, h) are those of `keras.layers.GRU`: kernel (I, 3u), recurrent_kernel (u, 3u), bias (3u,);
with `reset_after` the bias is (2, 3u): its first row is added to the input's product, its second to the state's.
"""

from __future__ import annotations

from dataclasses import dataclass

from forecast.networks.cells.base import Array, Arrays, Cell, Namespace, Weight


@dataclass(frozen=True)
class GRU(Cell):
    """State h, which is the output."""

    reset_after: bool = True

    def own_weights(self, inputs: int) -> dict[str, Weight]:
        width = 3 * self.units
        return {
            "kernel": Weight((inputs, width), "glorot_uniform"),
            "recurrent_kernel": Weight((self.units, width), "orthogonal"),
            "bias": Weight((2, width) if self.reset_after else (width,), "zeros"),
        }

    def project(self, xp: Namespace, w: Arrays, x: Array) -> Array:
        return xp.matmul(x, w["kernel"]) + (w["bias"][0] if self.reset_after else w["bias"])

    def advance(self, xp: Namespace, w: Arrays, projected: Array, states: Arrays) -> tuple[Array, Arrays]:
        h = states["h"]
        u_x, r_x, g_x = xp.split(projected, 3)
        if self.reset_after:
            u_h, r_h, g_h = xp.split(xp.matmul(h, w["recurrent_kernel"]) + w["bias"][1], 3)
            u, r = xp.sigmoid(u_x + u_h), xp.sigmoid(r_x + r_h)
            g = xp.tanh(g_x + r * g_h)
        else:
            gates = 2 * self.units
            u_h, r_h = xp.split(xp.matmul(h, w["recurrent_kernel"][:, :gates]), 2)
            u, r = xp.sigmoid(u_x + u_h), xp.sigmoid(r_x + r_h)
            g = xp.tanh(g_x + xp.matmul(r * h, w["recurrent_kernel"][:, gates:]))
        h = (1 - u) * g + u * h
        return h, {"h": h}


CELL = GRU
