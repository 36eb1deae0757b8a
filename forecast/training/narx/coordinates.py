"""Other coordinates for the past outputs of a NARX net: the same nets, other steps and another weight decay.

A system that integrates, or is sampled much faster than it moves, has nearly equal y_{t-1}, y_{t-2}, ...: what tells
them apart is their differences, small beside the level. In `differences` a net sees instead, each of unit size,

    y_{t-1},  y_{t-1} - y_{t-2},  y_{t-1} - 2 y_{t-2} + y_{t-3},  ...

and its linear path begins at y_t = y_{t-1}, so that what is learnt is the difference of the output. Both are linear in
z, so the trained net is a plain `Narx`; Levenberg-Marquardt's damping and the weight decay act in the new coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import binom

from forecast.training.levenberg_marquardt import LeastSquares
from forecast.training.narx.experiment import Experiment
from forecast.training.narx.net import Narx

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """`matrix` (d, d): what the net sees is matrix @ z; `offset` (O, d): what its linear path has before training."""

    net: Narx
    matrix: Array
    offset: Array

    def inward(self, weights: Array) -> Array:
        """The plain weights in these coordinates."""
        w1, b1, w2, b2, w3 = self.net.split(weights)
        first, linear = (np.linalg.solve(self.matrix.T, w.T).T for w in (w1, w3 - self.offset))
        return np.concatenate([first.ravel(), b1, w2.ravel(), b2, linear.ravel()])

    def outward(self, weights: Array) -> Array:
        """Weights in these coordinates as the plain ones of the net."""
        w1, b1, w2, b2, w3 = self.net.split(weights)
        first, linear = w1 @ self.matrix, w3 @ self.matrix + self.offset
        return np.concatenate([first.ravel(), b1, w2.ravel(), b2, linear.ravel()])

    def jacobian(self, plain: Array) -> Array:
        """The transposed Jacobian (n_weights, rows) by the weights in these coordinates, from the plain one."""
        k, d, o = self.net.hidden, self.net.regressors, self.net.outputs
        turned, last = plain.copy(), self.net.n_weights - o * d
        for part, units in ((slice(0, k * d), k), (slice(last, None), o)):
            turned[part] = (self.matrix @ plain[part].reshape(units, d, plain.shape[1])).reshape(
                units * d, plain.shape[1]
            )
        return turned


class InCoordinates:
    """A least-squares problem of a NARX net with a linear path, its weights in other coordinates."""

    def __init__(self, problem: LeastSquares, coordinates: Coordinates) -> None:
        self.problem, self.coordinates = problem, coordinates
        self.n_weights, self.n_residuals, self.overhead = problem.n_weights, problem.n_residuals, problem.overhead

    def loss(self, weights: Array) -> float:
        return self.problem.loss(self.coordinates.outward(weights))

    def validation(self, weights: Array) -> float | None:
        return self.problem.validation(self.coordinates.outward(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        for error, plain in self.problem.blocks(self.coordinates.outward(weights)):
            yield error, self.coordinates.jacobian(plain)


def plain(net: Narx, experiments: Sequence[Experiment]) -> Coordinates:
    """z as it is."""
    return Coordinates(net, np.eye(net.regressors), np.zeros((net.outputs, net.regressors)))


def differences(net: Narx, experiments: Sequence[Experiment]) -> Coordinates:
    """The level and the differences of the past outputs, each in its own standard deviations."""
    o, n = net.outputs, len(net.y_delays)
    matrix = np.eye(net.regressors)
    for order in range(n):
        taps = [(-1) ** j * binom(order, j) for j in range(order + 1)]
        for output in range(o):
            row = np.zeros(n)
            row[: order + 1] = taps
            values = [np.convolve(e.y[:, output], taps, "valid") for e in experiments]
            size = float(np.nanstd(np.concatenate(values)))
            matrix[order * o + output, : n * o] = 0.0
            matrix[order * o + output, output : n * o : o] = row / (size if size > 0 else 1.0)
    offset = np.zeros((o, net.regressors))
    offset[:, :o] = np.eye(o)
    return Coordinates(net, matrix, offset)
