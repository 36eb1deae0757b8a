"""The transforms by which a column is modelled, each with its inverse: one row of `TRANSFORMS`.

A model sees `to_model_units(value)`, of `diff` and `logdiff` its change from the row before.
Intervals take their errors as differences of `to_model_units`, of `diff` and `logdiff` too. A new
transform is one row here and its name in `config.task.TransformName`; one that inputs known ahead
may have, also in `config.datasets.FutureColumn`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Formula = Callable[[np.ndarray], np.ndarray]
"""From an array to one of the same shape, value by value; NaN stays NaN."""


def logit(share: np.ndarray) -> np.ndarray:
    """ln of the odds of a share strictly between 0 and 1."""
    return np.log(share) - np.log1p(-share)


def inverse_logit(log_odds: np.ndarray) -> np.ndarray:
    """The share of which `logit` made these log odds."""
    return 0.5 * (1.0 + np.tanh(0.5 * log_odds))


def log_slope_of_log(raw: np.ndarray) -> np.ndarray:
    """ln of 1 / y"""
    return -np.log(raw)


def log_slope_of_log1p(raw: np.ndarray) -> np.ndarray:
    """ln of 1 / (1 + y)"""
    return -np.log1p(raw)


def log_slope_of_logit(raw: np.ndarray) -> np.ndarray:
    """ln of 1 / (y (1 - y))"""
    return -np.log(raw) - np.log1p(-raw)


@dataclass(frozen=True)
class Transform:
    """A scale of values, there and back.

    to_model_units, to_raw: raw values to that scale, and its exact inverse. log_slope: ln of the
    derivative of `to_model_units` at raw values; added to the log density in model units it gives
    the log density of raw values. lower, upper: the bounds of raw values, which lie strictly
    between them. takes_changes: a model sees the change on that scale from one row to the next;
    such a transform is not asked for its `log_slope`.
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
        """Whether model units are raw ones, as those of `diff` are too."""
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
