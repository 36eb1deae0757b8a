"""The transforms of columns and their inverses, in `TRANSFORMS`.

A model sees `to_model_units(value)`, or for `diff` and `logdiff` its change from the row before.
Errors of intervals are differences of `to_model_units`, also for `diff` and `logdiff`. A new
transform is a row here and a name in `config.task.TransformName`; if inputs known ahead may have
it, also in `config.datasets.FutureColumn`. A transform has no fitted numbers (as the lambda of Box
and Cox would be): these would belong to `data.scaling.Scaling`, which is fitted on the train rows
and saved with every model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Formula = Callable[[np.ndarray], np.ndarray]
"""A function of an array, value by value; NaN stays NaN."""


def logit(share: np.ndarray) -> np.ndarray:
    """ln of the odds of a share strictly between 0 and 1."""
    return np.log(share) - np.log1p(-share)


def inverse_logit(log_odds: np.ndarray) -> np.ndarray:
    """The share whose `logit` are these log odds."""
    return 0.5 * (1.0 + np.tanh(0.5 * log_odds))


def log_slope_of_log(raw: np.ndarray) -> np.ndarray:
    """ln of 1 / y, the derivative of ln y."""
    return -np.log(raw)


def log_slope_of_log1p(raw: np.ndarray) -> np.ndarray:
    """ln of 1 / (1 + y), the derivative of ln(1 + y)."""
    return -np.log1p(raw)


def log_slope_of_logit(raw: np.ndarray) -> np.ndarray:
    """ln of 1 / (y (1 - y)), the derivative of `logit`."""
    return -np.log(raw) - np.log1p(-raw)


@dataclass(frozen=True)
class Transform:
    """A scale of values.

    to_model_units, to_raw: from raw values to the scale, and back. log_slope: ln of the derivative
    of `to_model_units` at raw values; a log density in model units plus it is the log density of
    raw values. lower, upper: raw values are strictly between them. takes_changes: a model sees the
    change on this scale from row to row; such a transform has no `log_slope`.
    """

    name: str
    to_model_units: Formula = np.asarray
    to_raw: Formula = np.asarray
    log_slope: Formula = np.zeros_like
    lower: float = -math.inf
    upper: float = math.inf
    takes_changes: bool = False

    @property
    def has_raw_units(self) -> bool:
        """Whether model units are raw units, or, for `diff`, changes in raw units."""
        return self.to_model_units is np.asarray

    @property
    def is_log(self) -> bool:
        """Whether a change in these units is a relative change of the raw value."""
        return self.to_model_units is np.log


TRANSFORMS = {
    row.name: row
    for row in (
        Transform("none"),
        Transform("log", np.log, np.exp, log_slope_of_log, lower=0.0),
        Transform("diff", takes_changes=True),
        Transform("logdiff", np.log, np.exp, lower=0.0, takes_changes=True),
        Transform("log1p", np.log1p, np.expm1, log_slope_of_log1p, lower=-1.0),
        Transform("logit", logit, inverse_logit, log_slope_of_logit, lower=0.0, upper=1.0),
    )
}
"""By the name that `transform` of a column gives."""
