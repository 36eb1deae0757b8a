"""The losses of networks. One loss trains a network, chooses the step that is kept, ends the
training early (`patience`) and ranks the trials of a study.

The loss of a point head is a row of `POINT_LOSSES`, the `loss` of an entry of configs/models.yaml;
every other head has a loss of its own. Both are a `ForecastLoss`: its equation is written once with
the array functions of `Maths`, and is used in TensorFlow for the gradient and in NumPy for the
validation loss. Another point loss is a row of `POINT_LOSSES`, a function of forecast - actual in
scaled units without options (its constants are fixed); a loss with options belongs in a head
(`networks.heads`).

Levenberg-Marquardt minimises squared errors whatever `loss` is, so an entry with `trainer: lm` and
another `loss` than the default is refused; of its iterations the one with the lowest mean absolute
error on validation is kept.

The skip beside the network is fitted by least squares, and its penalty chosen by absolute errors,
whatever `loss` is; trees have losses of their own (`families.sklearn`). A network with the pinball
loss of one quantile as its loss would forecast this quantile, around which its intervals would lie,
and be scored as if it were a median; the head `quantiles` has the pinball loss of several.

No `loss` reaches the comparison: a leaderboard has absolute and squared scores of every model
(`comparison.metrics`), and models are selected and tested, members weighted
(`backtest.combinations`) and challengers judged (`operations.evidence`) by absolute errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from forecast.networks.heads.base import Array, FittedHead, Maths, numpy_maths
from forecast.system.errors import suggest_known

ErrorLoss = Callable[[Maths, Array], Array]
"""A function of array functions and errors that gives the loss of every error, in the same shape.
The error is forecast - actual, the opposite sign of most textbooks.
"""


def absolute_error(xp: Maths, error: Array) -> Array:
    """|e|"""
    return abs(error)


def squared_error(xp: Maths, error: Array) -> Array:
    """e^2"""
    return xp.square(error)


def huber(xp: Maths, error: Array) -> Array:
    """e^2 / 2 where |e| is below 1 scaled unit, |e| - 1/2 elsewhere (Huber 1964).

    It is computed as c (e - c / 2), where c is e clipped to -1 ... 1 and the gradient too: three
    passes over the errors instead of ten.
    """
    slope = xp.stop_gradient(xp.maximum(xp.minimum(error, 1.0), -1.0))
    return slope * (error - 0.5 * slope)


@dataclass(frozen=True)
class PointLoss:
    """The loss of a point forecast. `of_error` trains; `of_validation_error` stops and tunes, and
    is another function only where `of_error` is a smooth approximation of it.

    The `repr`, which has the functions, is part of the key of traced trainings
    (`training.gradient`): equal texts share a trace.
    """

    name: str
    of_error: ErrorLoss
    of_validation_error: ErrorLoss

    def loss(self, xp: Maths, raw: Array, target: Array, offset: Array | None) -> Array:
        """The training loss (..., H, O); arguments as in `FittedHead.loss`, without an offset."""
        return self.of_error(xp, xp.squeeze(raw) - target)

    def validation_losses(
        self, raw: np.ndarray, residual: np.ndarray, lead: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The validation losses (B, H, O) and which are known, see
        `FittedHead.validation_losses`; unknown ones are NaN.
        """
        return self.of_validation(raw[..., 0] - residual), np.isfinite(residual)

    def of_validation(self, error: np.ndarray) -> np.ndarray:
        """The validation loss of every error, in the same shape."""
        return self.of_validation_error(numpy_maths, error)


ForecastLoss = PointLoss | FittedHead
"""A loss of forecasts in scaled units."""

POINT_LOSSES = {
    loss.name: loss
    for loss in (
        PointLoss("smooth_mae", huber, absolute_error),
        PointLoss("mae", absolute_error, absolute_error),
        PointLoss("mse", squared_error, squared_error),
        PointLoss("huber", huber, huber),
    )
}
"""By the name in `loss` of an entry. `smooth_mae`, the default, validates by the absolute error and
trains by Huber's, whose gradient falls to zero at the minimum.
"""

DEFAULT_LOSS = "smooth_mae"


def _require_loss(name: str) -> str:
    if name not in POINT_LOSSES:
        raise ValueError(f"unknown loss {name!r}.{suggest_known(name, POINT_LOSSES)}")
    return name


LossName = Annotated[str, AfterValidator(_require_loss)]
"""The name of a point loss, checked when an entry is read, as users may add rows."""
