"""Level and differences of y in the place of its past values, for training nets of `identify`.

A system that integrates, or is sampled much faster than it moves, has nearly equal y_{t-1},
y_{t-2}, ...: what tells them apart is their differences, small beside the level. So the search
trains its nets on delays in other coordinates of what they see (`narx`'s z_t), each of unit size,

    y_{t-1},  y_{t-1} - y_{t-2},  y_{t-1} - 2 y_{t-2} + y_{t-3},  ...

and their linear path begins at y_t = y_{t-1}, so that what is learnt is the difference of the
output. `difference_coordinates` gives the `Coordinates` of a net on its experiments,
`InCoordinates` a least-squares problem in them. All of it is linear in z, so the trained net is a
plain `Narx`: only the damping of Levenberg-Marquardt and the weight decay act otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, pascal

from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx
from forecast.training.levenberg_marquardt import LeastSquares


@dataclass(frozen=True)
class Coordinates:
    """A linear change of the weights: plain weights = `matrix` @ weights in them + `offset`.

    `matrix` (n_weights, n_weights), `offset` (n_weights,).
    """

    matrix: Array
    offset: Array

    def from_plain(self, weights: Array) -> Array:
        """The plain weights in these coordinates."""
        return np.asarray(np.linalg.solve(self.matrix, weights - self.offset))

    def to_plain(self, weights: Array) -> Array:
        """Weights in these coordinates as the plain ones of the net (n_weights,)."""
        return np.asarray(self.matrix @ weights + self.offset)


class InCoordinates:
    """A least-squares problem of a NARX net with a linear path, its weights in `coordinates`."""

    def __init__(self, problem: LeastSquares, coordinates: Coordinates) -> None:
        """`problem` is one of the plain weights."""
        self.problem = problem
        self.coordinates = coordinates
        self.n_weights = coordinates.matrix.shape[1]
        self.n_residuals = problem.n_residuals

    def loss(self, weights: Array) -> float:
        """The sum of squared residuals."""
        return self.problem.loss(self.coordinates.to_plain(weights))

    def validation(self, weights: Array) -> float | None:
        """The error on held-out rows, by which weights are kept; None without any."""
        return self.problem.validation(self.coordinates.to_plain(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows,) and the transposed Jacobian (m, rows), block after block."""
        for residual, jacobian_t in self.problem.blocks(self.coordinates.to_plain(weights)):
            yield residual, self.coordinates.matrix.T @ jacobian_t


def difference_coordinates(net: Narx, experiments: Sequence[Experiment]) -> Coordinates:
    """The level and the differences of the past outputs, each in its own standard deviations."""
    regressors = _difference_matrix(net, experiments)
    o, k = net.outputs, net.hidden
    unchanged = np.eye(k + o * k + o)  # the weights that no column of z goes through
    matrix = block_diag(
        np.kron(np.eye(k), regressors.T), unchanged, np.kron(np.eye(o), regressors.T)
    )
    offset = np.zeros(net.n_weights)
    linear_path = offset[-o * net.regressors :].reshape(o, -1)
    linear_path[: net.measured_outputs, :o] = np.eye(net.measured_outputs, o)
    return Coordinates(matrix, offset)


def _difference_matrix(net: Narx, experiments: Sequence[Experiment]) -> Array:
    """(d, d), which z is multiplied by: the rows of past y become its differences, in deviations of
    each, those of order 0 (the level itself) first; the rows of u stay.
    """
    orders, o = len(net.y_delays), net.outputs
    taps = pascal(orders, "lower") * (-1.0) ** np.arange(orders)
    unchanged = net.regressors - orders * o
    matrix = block_diag(np.kron(taps, np.eye(o)), np.eye(unchanged))
    z = np.concatenate([net.open_loop_regressors(e, orders) for e in experiments])
    deviations = np.nanstd(z @ matrix.T, axis=0)
    deviations[orders * o :] = 1.0
    return np.asarray(matrix / np.where(deviations > 0, deviations, 1.0)[:, None])
