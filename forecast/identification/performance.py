"""How good a trained net is: its error, and whether its closed loop is stable.

A tanh net never leaves the range of its read-out, so a loop that is lost may still be finite: it stays at a bound, or
two runs that begin next to each other separate. `stability` sees both; `Model.parallel` notices only what overflows.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from forecast.backtest.diagnostics.loop import FreeRun, free_run
from forecast.data.windows import Layout, Windows
from forecast.identification.model import Model
from forecast.models.skip import Skip
from forecast.networks.inference.feedback import refuse_open
from forecast.system.errors import InputError
from forecast.training.narx.experiment import Experiment, columns

Array = npt.NDArray[np.float64]
Measure = Literal["mse", "mae", "sse", "sae", "rmse"]
ROWS = 48  # before the free run, beside those that fill the delays


def perform(
    y: npt.ArrayLike, forecast: npt.ArrayLike, weight: npt.ArrayLike | None = None, measure: Measure = "mse"
) -> float:
    """The error of `forecast` (T, O) against the measured y (T, O), in the units of y; NaN in either is not counted.

    `weight` (T, O) or (T,), as `Experiment.weight`, multiplies the squared (or absolute) errors.
    """
    measured, found = columns("y", y), columns("forecast", forecast)
    if measured.shape != found.shape:
        raise InputError(f"y has shape {measured.shape} and the forecast {found.shape}; wanted equal shapes.")
    error = measured - found
    size = np.abs(error) if measure in ("mae", "sae") else error**2
    if weight is not None:
        size = size * columns("weight", weight)
    counted = size[np.isfinite(size)]
    if not len(counted):
        raise InputError("No row has both a measured value and a forecast. Leave out the rows that fill the delays.")
    total = counted.sum() if measure in ("sse", "sae") else counted.mean()
    return float(np.sqrt(total) if measure == "rmse" else total)


def stability(model: Model, experiment: Experiment) -> FreeRun:
    """The loop closed for 96 rows from the end of the experiment, the inputs held at their last values.

    `verdict`: "stable", "marginal", "sensitive", "drifting" or "unstable", by the pipeline's own test
    (`backtest.diagnostics.loop`); `reach` in standard deviations of y; `exponent` per step.
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
