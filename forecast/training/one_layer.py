"""The map of a net with one hidden layer and its exact Jacobian, in float64 by NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.training.levenberg_marquardt import Array


@dataclass(frozen=True)
class OneLayer:
    """The map of every net with one hidden layer, and its exact derivative: the one Jacobian that
    all of them share.

        v = W2 tanh(W1 z + b1) + W3 z + b2

    z is what the net sees in a row: delayed y and u, or the taps of a network of the catalogue
    (`network_problem`); `regressors` d, `hidden` K (0: none), `outputs` O.

    Its weights are one flat vector (n_weights,): W1 (K, d), b1 (K,), W2 (O, K), b2 (O,) and, if
    `linear`, W3 (O, d).
    """

    regressors: int
    hidden: int
    outputs: int
    linear: bool = True

    @property
    def n_weights(self) -> int:
        return self.hidden * (self.regressors + 1 + self.outputs) + self.outputs * (
            1 + self.linear * self.regressors
        )

    def split(self, weights: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Views W1, b1, W2, b2, W3 of the flat vector; zeros for W3 without a linear path."""
        k, d, o = self.hidden, self.regressors, self.outputs
        a, b = k * (d + 1), k * (d + 1 + o)  # where W2 and b2 begin
        w3 = (
            weights[b + o :].reshape(o, d) if self.linear else np.zeros((o, d), dtype=weights.dtype)
        )
        return (
            weights[: k * d].reshape(k, d),
            weights[k * d : a],
            weights[a:b].reshape(o, k),
            weights[b : b + o],
            w3,
        )

    def flatten(self, named: Mapping[str, Array], layer: str) -> Array:
        """The flat vector of the weights by name of a network whose hidden layer has the path
        `layer`.
        """
        readout = named["readout/kernel"]
        first, linear = readout[: self.hidden], readout[self.hidden :]
        hidden = [named[f"{layer}/kernel"].T, named[f"{layer}/bias"]] if self.hidden else []
        parts = (*hidden, first.T, named["readout/bias"], linear.T)
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def unflatten(self, flat: Array, layer: str) -> dict[str, Array]:
        """The inverse of `flatten`."""
        w1, b1, w2, b2, w3 = self.split(flat)
        readout = np.concatenate([w2.T, w3.T]) if self.linear else w2.T
        hidden = {f"{layer}/kernel": w1.T, f"{layer}/bias": b1} if self.hidden else {}
        return {
            name: np.array(w)
            for name, w in {**hidden, "readout/kernel": readout, "readout/bias": b2}.items()
        }

    def value(self, weights: Array, z: Array) -> Array:
        """v (rows, O) from z (rows, d)."""
        w1, b1, w2, b2, w3 = self.split(weights)
        return np.asarray(np.tanh(z @ w1.T + b1) @ w2.T + z @ w3.T + b2)

    def linearised(self, weights: Array, z: Array, columns: int) -> tuple[Array, Array]:
        """v (O, rows) and dv/dz (O, columns, rows) for the first columns of z (d, rows)."""
        w1, b1, w2, b2, w3 = self.split(weights)
        h = np.tanh(w1 @ z + b1[:, None])
        through = (w2[:, None, :] * w1.T[:columns]).reshape(self.outputs * columns, self.hidden)
        found = through @ (1.0 - h**2) + w3[:, :columns].reshape(-1, 1)
        return np.asarray(w2 @ h + w3 @ z + b2[:, None]), np.asarray(
            found.reshape(self.outputs, columns, -1)
        )

    def jacobian(self, weights: Array, z: Array) -> Array:
        """dv/dw at fixed z, transposed: (n_weights, rows, O)."""
        w1, b1, w2, _, _ = self.split(weights)
        h = np.tanh(z @ w1.T + b1).T
        k, d, o = self.hidden, self.regressors, self.outputs
        shape = (len(z), o)
        zt = np.ascontiguousarray(z.T)
        out = np.zeros((self.n_weights, *shape))
        slope = (1.0 - h**2)[:, :, None] * w2.T[:, None, :]
        np.multiply(slope[:, None], zt[None, :, :, None], out=out[: k * d].reshape(k, d, *shape))
        out[k * d : k * (d + 1)] = slope
        at = k * (d + 1)
        for target in range(o):
            out[at + target * k : at + (target + 1) * k, :, target] = h
            out[at + o * k + target, :, target] = 1.0
            if self.linear:
                first = at + o * (k + 1) + target * d
                out[first : first + d, :, target] = zt
        return out
