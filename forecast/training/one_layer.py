"""A network with one hidden layer as a function of its weights, and its exact Jacobian, in float64
by NumPy.

`OneLayer` holds the sizes alone; the weights are an argument, one flat vector in the order W1, b1,
W2, b2, W3, on which callers rely. `network_problem` trains such networks of the catalogue with it,
`forecast.identification` its NARX networks. Their units are tanh: another activation would be
written here, with its derivatives, in `network_problem.find_hidden_layer` and in the file of
`identification.export`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from forecast.training.levenberg_marquardt import Array


@dataclass(frozen=True)
class OneLayer:
    """The function of a network with one hidden layer:

        v = W2 tanh(W1 z + b1) + W3 z + b2

    z (d,) are the inputs of a row: delayed y and u, or the outputs of taps; `regressors` d,
    `hidden` K (0: no hidden layer), `outputs` O. The flat vector of weights (n_weights,) has W1 (K,
    d), b1 (K,), W2 (O, K), b2 (O,) and, if `linear`, W3 (O, d).
    """

    regressors: int
    hidden: int
    outputs: int
    linear: bool = True

    @property
    def n_weights(self) -> int:
        """The length of the flat vector."""
        hidden = self.hidden * (self.regressors + 1 + self.outputs)
        return hidden + self.outputs * (1 + self.linear * self.regressors)

    def split(self, weights: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Views W1, b1, W2, b2, W3 of the flat vector, or of several flat vectors (..., n_weights);
        W3 is zero without a linear path.
        """
        k, d, o = self.hidden, self.regressors, self.outputs
        several = weights.shape[:-1]
        w1, b1, w2, b2, w3 = np.split(weights, np.cumsum([k * d, k, o * k, o]), axis=-1)
        if not self.linear:
            w3 = np.zeros((*several, o * d), dtype=weights.dtype)
        w2 = w2.reshape(*several, o, k)
        return w1.reshape(*several, k, d), b1, w2, b2, w3.reshape(*several, o, d)

    def flatten(self, weights: Mapping[str, Array], layer_path: str) -> Array:
        """The flat vector (n_weights,) from the weights of a network by name. layer_path: the path
        of its hidden layer. The first K rows of the read-out's kernel (K + d, O) are W2, the others
        W3.
        """
        readout = weights["readout/kernel"]
        parts = [readout[: self.hidden].T, weights["readout/bias"], readout[self.hidden :].T]
        if self.hidden:
            parts = [weights[f"{layer_path}/kernel"].T, weights[f"{layer_path}/bias"], *parts]
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def unflatten(self, flat: Array, layer_path: str) -> dict[str, Array]:
        """The inverse of `flatten`: copies of the parts of `flat` (n_weights,) by name."""
        w1, b1, w2, b2, w3 = self.split(flat)
        weights_by_name = {}
        if self.hidden:
            weights_by_name = {
                f"{layer_path}/kernel": np.array(w1.T),
                f"{layer_path}/bias": np.array(b1),
            }
        readout = np.concatenate([w2.T, w3.T]) if self.linear else np.array(w2.T)
        return {**weights_by_name, "readout/kernel": readout, "readout/bias": np.array(b2)}

    def value(self, weights: Array, z: Array) -> Array:
        """v (rows, O) from z (rows, d)."""
        w1, b1, w2, b2, w3 = self.split(weights)
        return np.tanh(z @ w1.T + b1) @ w2.T + z @ w3.T + b2

    def of_row(self, weights: Array) -> Callable[[Array, Array], object]:
        """A function that evaluates a single row as fast as possible. It is called with z (d + 1,),
        the inputs and a one, and an array v (O,) that it writes to; for several flat vectors (runs,
        n_weights) with z (runs, d + 1) and v (runs, O).
        """
        w1, b1, w2, b2, w3 = self.split(weights)
        biases = np.concatenate([b1, b2], axis=-1)[..., None]
        stacked = np.concatenate([np.concatenate([w1, w3], axis=-2), biases], axis=-1)
        k = self.hidden

        def evaluate(z: Array, v: Array) -> None:
            sums = stacked.dot(z)
            np.add(w2.dot(np.tanh(sums[:k])), sums[k:], out=v)

        def evaluate_several(z: Array, v: Array) -> None:
            sums = np.matmul(stacked, z[..., None])
            np.add(np.matmul(w2, np.tanh(sums[:, :k])), sums[:, k:], out=v[..., None])

        if weights.ndim > 1:
            return evaluate_several
        return evaluate if k else stacked.dot

    def linearised(self, weights: Array, z: Array, columns: int) -> tuple[Array, Array]:
        """The outputs v (O, rows) for z (d, rows), and their derivatives dv/dz (O, columns, rows)
        by the first `columns` inputs.
        """
        w1, b1, w2, b2, w3 = self.split(weights)
        h = np.tanh(w1 @ z + b1[:, None])
        v = w2 @ h + w3 @ z + b2[:, None]
        through = (w2[:, None, :] * w1.T[:columns]).reshape(self.outputs * columns, self.hidden)
        slopes = through @ (1.0 - h**2) + w3[:, :columns].reshape(-1, 1)
        return v, slopes.reshape(self.outputs, columns, -1)

    def jacobian(self, weights: Array, z: Array) -> Array:
        """The derivatives of v by all weights for z (rows, d): (n_weights, rows, O)."""
        w1, b1, w2, _, _ = self.split(weights)
        # rows side by side in memory, as in the Jacobian
        h = np.asfortranarray(np.tanh(z @ w1.T + b1))
        z = np.asfortranarray(z)
        h_slope = 1.0 - h**2
        jacobian = np.zeros((self.n_weights, len(z), self.outputs))
        by_w1, by_b1, by_w2, by_b2, by_w3 = self.split(np.moveaxis(jacobian, 0, -1))
        for target in range(self.outputs):  # a loop over the few targets, vectorised over many rows
            slope = h_slope * w2[target]
            np.multiply(slope[:, :, None], z[:, None], out=by_w1[:, target])
            by_b1[:, target] = slope
            by_w2[:, target, target] = h
            by_b2[:, target, target] = 1.0
            by_w3[:, target, target] = z
        return jacobian
