"""Other coordinates for the past outputs of a NARX net: the same nets, other steps and another weight decay.

A system that integrates, or is sampled much faster than it moves, has nearly equal y_{t-1}, y_{t-2}, ...: what tells
them apart is their differences, small beside the level. In `differences` a net sees instead, each of unit size,

    y_{t-1},  y_{t-1} - y_{t-2},  y_{t-1} - 2 y_{t-2} + y_{t-3},  ...

and its linear path begins at y_t = y_{t-1}, so that what is learnt is the difference of the output. In `increments` it
does not see y_{t-1}: the differenced output, of a system that moves alike wherever it is. All are linear in z, so the
trained net is a plain `Narx`; Levenberg-Marquardt's damping and the weight decay act in the new coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
from scipy.special import binom

from forecast.training.levenberg_marquardt import LeastSquares
from forecast.training.narx.experiment import Array, Experiment
from forecast.training.narx.net import Narx


@dataclass(frozen=True)
class Coordinates:
    """The plain weights are `matrix` (n_weights, m) @ those in the coordinates + `offset`."""

    matrix: Array
    offset: Array

    def inward(self, weights: Array) -> Array:
        """The plain weights in these coordinates, without what they do not see."""
        return np.asarray(np.linalg.lstsq(self.matrix, weights - self.offset, rcond=None)[0])

    def outward(self, weights: Array) -> Array:
        """Weights in these coordinates as the plain ones of the net."""
        return np.asarray(self.matrix @ weights + self.offset)


class InCoordinates:
    """A least-squares problem of a NARX net with a linear path, its weights in other coordinates."""

    def __init__(self, problem: LeastSquares, coordinates: Coordinates) -> None:
        self.problem, self.coordinates = problem, coordinates
        self.n_weights, self.n_residuals = coordinates.matrix.shape[1], problem.n_residuals

    def loss(self, weights: Array) -> float:
        return self.problem.loss(self.coordinates.outward(weights))

    def validation(self, weights: Array) -> float | None:
        return self.problem.validation(self.coordinates.outward(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        for error, plain in self.problem.blocks(self.coordinates.outward(weights)):
            yield error, self.coordinates.matrix.T @ plain


def differences(net: Narx, experiments: Sequence[Experiment]) -> Coordinates:
    """The level and the differences of the past outputs, each in its own standard deviations."""
    return _coordinates(net, _differences(net, experiments))


def increments(net: Narx, experiments: Sequence[Experiment]) -> Coordinates:
    """The differences alone: the increment of y whatever its level, and a system that integrates has no level."""
    return _coordinates(net, _differences(net, experiments)[net.measured_outputs :])


def _coordinates(net: Narx, seen: Array) -> Coordinates:
    """Those of a net that sees seen @ z, its linear path beginning at the last output."""
    o, k = net.outputs, net.hidden
    others = np.eye(k + o * k + o)  # the weights that no column of z goes through
    matrix = block_diag(np.kron(np.eye(k), seen.T), others, np.kron(np.eye(o), seen.T))
    offset = np.zeros(net.n_weights)
    offset[-o * net.regressors :].reshape(o, -1)[: net.measured_outputs, :o] = np.eye(net.measured_outputs, o)
    return Coordinates(matrix, offset)


def _differences(net: Narx, experiments: Sequence[Experiment]) -> Array:
    """(d, d): z with the differences of y in its place, those of order 0, the level, first."""
    o, n = net.outputs, len(net.y_delays)
    matrix = np.eye(net.regressors)
    for order in range(n):
        taps = [(-1) ** j * binom(order, j) for j in range(order + 1)]
        for output in range(net.measured_outputs):
            values = [np.convolve(e.y[:, output], taps, "valid") for e in experiments]
            size = float(np.nanstd(np.concatenate(values))) or 1.0
            matrix[order * o + output] = 0.0
            matrix[order * o + output, output : (order + 1) * o : o] = np.array(taps) / size
    return matrix
