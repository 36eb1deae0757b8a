"""Whether the closed loop of a trained net can be trusted on its own: the verdict of `backtest.diagnostics.loop`.

A tanh net never leaves the range of its read-out, so a loop that is lost may still be finite: it sits at a bound, or
two runs that began next to each other part. Both are seen here; `Model.parallel` itself notices only what overflows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecast.backtest.diagnostics.loop import FreeRun, free_run
from forecast.data.windows import Layout, Windows
from forecast.identification.experiment import Experiment
from forecast.identification.model import Model
from forecast.models.skip import Skip
from forecast.networks.inference.feedback import refuse_open
from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]
ROWS = 48  # before the free run, beside those that fill the delays


def stability(model: Model, experiment: Experiment) -> FreeRun:
    """The loop closed over the end of the experiment for 96 rows, the inputs held: its verdict, reach and exponent.

    `verdict`: "stable", "marginal", "sensitive", "drifting" or "unstable"; reach in standard deviations of y.
    """
    network = model.network
    refuse_open(network)
    rows = min(model.start + ROWS, len(experiment))
    if rows <= model.start or np.isnan(experiment.y[-rows:]).any():
        raise InputError(
            f"The loop is judged from the last {model.start + ROWS} rows of the experiment, more than {model.start} "
            "of them, with y measured in all. Cut the experiment where they are."
        )
    columns = model.inputs + model.outputs
    none, no = (-1,) * columns, (False,) * columns
    z = np.hstack([model.scaling.scale_y(experiment.y), _acting(model, experiment)])[None, -rows:]
    future = np.zeros((1, rows, 0))
    windows = Windows(z, z, future, z[:, -1, : model.outputs], np.array([len(experiment) - 1]))
    channels = Layout(tuple(range(columns)), none, none, no, no, model.outputs)
    return free_run(network, dict(model.weights), Skip("none", 1, model.outputs), windows, channels)


def _acting(model: Model, experiment: Experiment) -> Array:
    """(T, I): beside y[t] the input that acts on y[t + 1]; the last one is held where it is not measured yet."""
    u = model.scaling.scale_u(experiment.u)
    rows = np.arange(len(u)) + 1 - model.net.shift
    return u[np.clip(rows, 0, len(u) - 1)]
