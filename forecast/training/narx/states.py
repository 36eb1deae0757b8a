"""NARX nets with a state of their own, begun as the linear model of the record in observer form.

An ARX model of order n has the same outputs as n - 1 states per output that are fed back beside y:

    y_t   = A_1 y_{t-1} + B_0 u_t + B_1 u_{t-1} + x1_{t-1}
    xk_t  = A_{k+1} y_{t-1} + B_{k+1} u_{t-1} + x{k+1}_{t-1}

From there training on the free run bends both equations by the tanh units. A few measured rows settle such a state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.training.narx.experiment import Array, Experiment, arx_regressors, delayed
from forecast.training.narx.net import Narx

FARTHEST = 20.0  # deviations: where a state is held


def with_states(net: Narx, order: int, hidden: int) -> Narx:
    """A net on y_{t-1}, u_t, u_{t-1} and `order` - 1 states for every output, otherwise like the one given."""
    extra = net.outputs * (order - 1)
    low, high = ((*(bound or ()), *(far,) * extra) for bound, far in ((net.low, -FARTHEST), (net.high, FARTHEST)))
    delays = (0, 1) if net.inputs else ()
    return Narx(net.inputs, net.outputs + extra, (1,), delays, hidden, True, low, high, net.dead_times, extra)


def initial(net: Narx, experiments: Sequence[Experiment], rng: np.random.Generator) -> Array:
    """Weights of the linear model, the states in their own deviations; random tanh units that do not act yet."""
    o, width, inputs = net.measured_outputs, net.outputs, net.inputs
    order = width // o
    held = [e.changed(u=delayed(e.u, net.dead_times or (0,) * inputs)) for e in experiments]
    x, y = arx_regressors(held, order, order)
    *parts, one = np.split(np.linalg.lstsq(x, y, rcond=None)[0].T, [*range(o, width + 1, o), x.shape[1] - 1], axis=1)
    now, *ahead = np.split(parts.pop(), order + 1, axis=1)
    linear, bias = np.zeros((width, net.regressors)), np.zeros(width)
    linear[:, :o] = np.vstack(parts)
    linear[:o, width : width + inputs] = now
    linear[:, width + inputs :] = np.vstack(ahead)
    linear[: width - o, o:width] = np.eye(width - o)
    bias[:o] = one[:, 0]
    w1 = rng.normal(size=net.hidden * net.regressors) * 0.7 / np.sqrt(net.regressors)
    silent = np.concatenate([w1, rng.uniform(-1.0, 1.0, size=net.hidden), np.zeros(width * net.hidden)])
    runs = [net.free_run(np.concatenate([silent, bias, linear.ravel()]), e.u, e.y) for e in experiments]
    size = np.std(np.concatenate(runs), axis=0)
    size[:o], size[size == 0] = 1.0, 1.0
    linear[:, :width] *= size
    return np.concatenate([silent, bias / size, (linear / size[:, None]).ravel()])
