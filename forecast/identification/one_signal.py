"""Nets whose tanh units all see one signal, for the search of `identify`.

Wiener, Hammerstein and Wiener-Hammerstein systems, and those with one nonlinearity in a feedback
(Lur'e), are linear but for functions of one signal s:

    v_t = f(s_t) + W3 z_t + b2,    s_t = c' z_t,    f(s) = W2 tanh(a s + b1)

So W1 = a c' (`narx`), where a is set: half of the units are twice as steep as the others, for an f
with a kink. There are few weights besides those of the linear system, which a net with `states`
has in its linear path. Once trained it is a plain `Narx`.

`add_bent_signal` begins such a net as a linear one; `OneSignal` is its least-squares problem.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forecast.identification.experiment import Array
from forecast.identification.narx import Narx
from forecast.training.levenberg_marquardt import LeastSquares

SPREAD = 1.5  # deviations of the signal over which the units are spread


def _steepness(units: int) -> Array:
    """a (units,)."""
    return np.resize([1.0, 2.0], units)


def add_bent_signal(net: Narx, linear: Array, rng: np.random.Generator) -> Array:
    """The weights of a linear net, for `net`, whose tanh units see a signal of random direction and
    do not act yet.
    """
    direction = SPREAD * rng.normal(size=net.regressors) / np.sqrt(net.regressors)
    b1 = SPREAD**2 * np.linspace(1.0, -1.0, net.hidden)
    w2 = np.zeros(net.outputs * net.hidden)
    return np.concatenate([np.outer(_steepness(net.hidden), direction).ravel(), b1, w2, linear])


class OneSignal(LeastSquares):
    """A least-squares problem of `net` whose weights are c, b1, W2, b2 and W3."""

    def __init__(self, problem: LeastSquares, net: Narx) -> None:
        """`problem` is one of all weights of `net`."""
        self.problem = problem
        self.steepness = _steepness(net.hidden)
        self.columns = net.regressors
        self.end = net.hidden * net.regressors
        self.n_weights = net.n_weights - self.end + self.columns
        self.n_residuals = problem.n_residuals

    def shrink(self, weights: Array) -> Array:
        """The weights of this problem, of those of the net, whose first unit is of steepness 1."""
        return np.concatenate([weights[: self.columns], weights[self.end :]])

    def expand(self, weights: Array) -> Array:
        """The weights of the net (n_weights,)."""
        w1 = np.outer(self.steepness, weights[: self.columns])
        return np.concatenate([w1.ravel(), weights[self.columns :]])

    def residuals(self, weights: Array) -> Array:
        """Those of the net."""
        return self.problem.residuals(self.expand(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows,) and the transposed Jacobian (n_weights, rows), block after block."""
        for residual, jacobian_t in self.problem.blocks(self.expand(weights)):
            by_unit = jacobian_t[: self.end].reshape(len(self.steepness), -1)
            by_signal = (self.steepness @ by_unit).reshape(self.columns, -1)
            yield residual, np.concatenate([by_signal, jacobian_t[self.end :]])
