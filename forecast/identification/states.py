"""NARX nets with states of their own, which the search of `identify` begins as linear models.

An ARX model of order n has the same outputs as n - 1 states per output that are fed back beside y
(observer form):

    y_t   = A_1 y_{t-1} + B_0 u_t + B_1 u_{t-1} + x1_{t-1}
    xk_t  = A_{k+1} y_{t-1} + B_{k+1} u_{t-1} + x{k+1}_{t-1}

Training on the free run then adds tanh units to both equations (`add_hidden_units`). A few measured
rows determine such states.

Wiener, Hammerstein and Wiener-Hammerstein systems, and those with one nonlinearity in a feedback
(Lur'e), are linear but for functions of one signal s:

    v_t = f(s_t) + W3 z_t + b2,    s_t = c' z_t,    f(s) = W2 tanh(a s + b1)

So in a net of kind "one signal" all tanh units see s: W1 = a c' (`narx`). The steepness a is fixed,
every other unit twice as steep, for an f with a kink. Such a net has few weights beside those of
the linear system. `add_one_signal` begins it, `OneSignal` is its least-squares problem; once
trained it is a plain `Narx`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from forecast.identification.delays import arx_regressors
from forecast.identification.experiment import Array, Experiment
from forecast.identification.narx import Narx, random_hidden_weights
from forecast.identification.problems import ClosedLoop
from forecast.training.levenberg_marquardt import LeastSquares

MAX_POLE = 0.999  # a time constant of a thousand rows
STATE_BOUND = 20.0  # deviations of a state: where it is clipped
SPREAD = 1.5  # deviations of the one signal over which its tanh units are spread


def with_states(net: Narx, order: int, hidden: int) -> Narx:
    """A net on y_{t-1}, u_t, u_{t-1} and `order` - 1 states for every output, with the inputs and
    bounds of `net`.
    """
    states = net.outputs * (order - 1)
    return Narx(
        net.inputs,
        net.outputs + states,
        y_delays=(1,),
        u_delays=(0, 1) if net.inputs else (),
        hidden=hidden,
        low=(*(net.low or ()), *(-STATE_BOUND,) * states),
        high=(*(net.high or ()), *(STATE_BOUND,) * states),
        held_back_rows=net.held_back_rows,
        states=states,
    )


def linear_weights(net: Narx, experiments: Sequence[Experiment]) -> Array:
    """The weights (n_weights,) of a linear net with states that has the outputs of the ARX model
    fitted one step ahead.
    """
    o, width, inputs = net.measured_outputs, net.outputs, net.inputs
    order = width // o
    x, y = arx_regressors(experiments, order, order)
    solution = np.linalg.lstsq(x, y, rcond=None)[0]
    y_part = solution[:width].reshape(order, o, o).swapaxes(1, 2)
    u_part = solution[width:-1].reshape(order + 1, inputs, o).swapaxes(1, 2)
    of_u = np.zeros((width, inputs))
    of_u[:o] = u_part[0]
    of_past_u = u_part[1:].reshape(width, inputs)
    path = np.hstack([y_part.reshape(width, o), np.eye(width, width - o), of_u, of_past_u])
    bias = np.zeros(width)
    bias[:o] = solution[-1]
    return np.concatenate([bias, path.ravel()])


def _split(net: Narx, weights: Array) -> tuple[Array, Array]:
    """The bias (O,) and the kernel (O, d) of a linear net."""
    return weights[: net.outputs], weights[net.outputs :].reshape(net.outputs, -1)


def largest_pole(net: Narx, weights: Array) -> float:
    """The largest modulus of the poles of a linear net with states."""
    feedback = _split(net, weights)[1][:, : net.outputs]
    return float(np.abs(np.linalg.eigvals(feedback)).max())


def limit_poles(net: Narx, weights: Array) -> Array:
    """The weights of a linear net with states, all poles moved towards 0 where one is larger than
    `MAX_POLE`, since a fit one step ahead may give an unstable model.
    """
    weights = weights.copy()
    path = _split(net, weights)[1]
    path[:, : net.outputs] *= MAX_POLE / max(MAX_POLE, largest_pole(net, weights))
    return weights


def whiten_states(net: Narx, weights: Array, experiments: Sequence[Experiment]) -> Array:
    """The weights of the same linear model with other states: of mean 0 and deviation 1,
    uncorrelated with each other and with y. In observer form the states of a system that is
    sampled fast are nearly equal.
    """
    o, width = net.measured_outputs, net.outputs
    bias, path = _split(net, weights)
    runs = np.concatenate([net.free_run(weights, e.u, e.y) for e in experiments])
    means = runs.mean(axis=0)
    # QR instead of a covariance, which loses the differences of nearly equal states to rounding
    centred = (runs - means) / np.sqrt(len(runs))
    _, factor = np.linalg.qr(np.vstack([centred, 1e-10 * np.eye(width)]))
    # each row of the inverse gives a state that is uncorrelated with y and the states before
    change = np.linalg.inv(factor.T * np.sign(np.diag(factor)))
    change[:o] = np.eye(o, width)
    means = change @ means
    means[:o] = 0.0
    path = change @ np.hstack([path[:, :width] @ np.linalg.inv(change), path[:, width:]])
    bias = change @ bias + path[:, :width] @ means - means
    return np.concatenate([bias, path.ravel()])


def add_hidden_units(net: Narx, linear: Array, rng: np.random.Generator) -> Array:
    """The weights of a linear net, for `net`: with random tanh units that do not act yet."""
    w1, b1 = random_hidden_weights(net, rng)
    return np.concatenate([w1, b1, np.zeros(net.outputs * net.hidden), linear])


def _steepness(units: int) -> Array:
    """a (units,) of the units that see one signal."""
    return np.resize([1.0, 2.0], units)


def add_one_signal(net: Narx, linear: Array, rng: np.random.Generator) -> Array:
    """The weights of a linear net, for `net`: with tanh units that see one signal of random
    direction and do not act yet.
    """
    direction = SPREAD * rng.normal(size=net.regressors) / np.sqrt(net.regressors)
    b1 = SPREAD**2 * np.linspace(1.0, -1.0, net.hidden)
    w2 = np.zeros(net.outputs * net.hidden)
    return np.concatenate([np.outer(_steepness(net.hidden), direction).ravel(), b1, w2, linear])


class OneSignal(LeastSquares):
    """The least-squares problem of a net whose tanh units see one signal, by c, b1, W2, b2, W3."""

    def __init__(self, problem: ClosedLoop, net: Narx) -> None:
        """`problem`: the one of all weights of `net`."""
        self.problem = problem
        self.steepness = _steepness(net.hidden)
        self.columns = net.regressors
        self.end = net.hidden * net.regressors
        self.n_weights = net.n_weights - self.end + self.columns
        self.n_residuals = problem.n_residuals

    def shrink(self, weights: Array) -> Array:
        """The weights of this problem from those of the net, whose first unit has steepness 1."""
        return np.concatenate([weights[: self.columns], weights[self.end :]])

    def expand(self, weights: Array) -> Array:
        """The weights (n_weights,) of the net from those of this problem."""
        w1 = np.outer(self.steepness, weights[: self.columns])
        return np.concatenate([w1.ravel(), weights[self.columns :]])

    def residuals(self, weights: Array) -> Array:
        """The residuals (rows,) of the net."""
        return self.problem.residuals(self.expand(weights))

    def blocks(self, weights: Array) -> Iterator[tuple[Array, Array]]:
        """Residuals (rows,) and the transposed Jacobian (n_weights, rows), block after block."""
        return self.problem.blocks(self.expand(weights), self._combine)

    def _combine(self, derivatives: Array) -> Array:
        """The derivatives by the weights of this problem, from those by the net's weights
        (n_weights, rows, O).
        """
        by_unit = derivatives[: self.end].reshape(len(self.steepness), -1)
        by_signal = (self.steepness @ by_unit).reshape(self.columns, *derivatives.shape[1:])
        return np.concatenate([by_signal, derivatives[self.end :]])
