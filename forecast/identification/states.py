"""NARX nets with a state of their own, begun as the linear model of the record in observer form.

An ARX model of order n has the same outputs as n - 1 states per output that are fed back beside y:

    y_t   = A_1 y_{t-1} + B_0 u_t + B_1 u_{t-1} + x1_{t-1}
    xk_t  = A_{k+1} y_{t-1} + B_{k+1} u_{t-1} + x{k+1}_{t-1}

From there training on the free run bends both equations by the tanh units. A few measured rows
settle such a state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.identification.experiment import Array, Experiment, arx_regressors
from forecast.identification.narx import Narx

FARTHEST = 20.0  # deviations: where a state is held


def with_states(net: Narx, order: int, hidden: int) -> Narx:
    """A net on y_{t-1}, u_t, u_{t-1} and `order` - 1 states for every output, otherwise like the
    one given.
    """
    extra = net.outputs * (order - 1)
    low, high = (
        (*(bound or ()), *(far,) * extra)
        for bound, far in ((net.low, -FARTHEST), (net.high, FARTHEST))
    )
    delays = (0, 1) if net.inputs else ()
    return Narx(
        net.inputs,
        net.outputs + extra,
        (1,),
        delays,
        hidden,
        True,
        low,
        high,
        net.dead_times,
        extra,
    )


def linear(net: Narx, experiments: Sequence[Experiment]) -> Array:
    """Weights of the ARX model, for a net without tanh units."""
    o, width, inputs = net.measured_outputs, net.outputs, net.inputs
    order = width // o
    x, y = arx_regressors(experiments, order, order)
    *parts, one = np.split(
        np.linalg.lstsq(x, y, rcond=None)[0].T, [*range(o, width + 1, o), x.shape[1] - 1], axis=1
    )
    now, *ahead = np.split(parts.pop(), order + 1, axis=1)
    path, bias = np.zeros((width, net.regressors)), np.zeros(width)
    path[:, :o] = np.vstack(parts)
    path[:o, width : width + inputs] = now
    path[:, width + inputs :] = np.vstack(ahead)
    path[: width - o, o:width] = np.eye(width - o)
    bias[:o] = one[:, 0]
    return np.concatenate([bias, path.ravel()])


def whitened(net: Narx, weights: Array, experiments: Sequence[Experiment], beside: int) -> Array:
    """The same linear net, its states of mean 0 and deviation 1, uncorrelated with each other and
    with the first `beside` outputs: in observer form the states of a system that is sampled fast
    are nearly equal.
    """
    o, width = net.measured_outputs, net.outputs
    bias, path = weights[:width], weights[width:].reshape(width, -1)
    runs = np.concatenate([net.free_run(weights, e.u, e.y) for e in experiments])
    y, x = runs[:, :beside], runs[:, o:]
    through = np.linalg.lstsq(y - y.mean(axis=0), x - x.mean(axis=0), rcond=None)[0].T
    size, axes = np.linalg.eigh(np.atleast_2d(np.cov(x - y @ through.T, rowvar=False)))
    turn = (axes / np.sqrt(np.maximum(size, 1e-12 * size.max() + 1e-24))).T
    change = np.eye(width)
    change[o:, :beside], change[o:, o:] = -turn @ through, turn
    middle = np.concatenate([np.zeros(o), (runs @ change.T).mean(axis=0)[o:]])
    path = change @ np.hstack([path[:, :width] @ np.linalg.inv(change), path[:, width:]])
    return np.concatenate([change @ bias + path[:, :width] @ middle - middle, path.ravel()])


def bent(net: Narx, weights: Array, rng: np.random.Generator) -> Array:
    """The linear net with random tanh units that do not act yet."""
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    return np.concatenate(
        [w1, rng.uniform(-1.0, 1.0, size=net.hidden), np.zeros(net.outputs * net.hidden), weights]
    )
