"""MATLAB's performance functions, missing values left out."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from forecast.identification.experiment import columns
from forecast.system.errors import InputError

Measure = Literal["mse", "mae", "sse", "sae", "rmse"]


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
