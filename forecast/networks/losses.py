"""What a network is trained by, stopped early by and tuned by: one loss, named once.

A point forecast is scored by a row of `POINT_LOSSES`, the `loss` of an entry of
configs/models.yaml; every other head has a loss of its own. Both are a `ForecastLoss`: its
equation is written once, in the array functions of `Maths`, and serves the gradient in TensorFlow
and the validation loss in NumPy. The validation loss chooses the step that is kept, ends the
training early (`patience`) and ranks the trials of a study.

A new loss of points is one row of `POINT_LOSSES`, which sees forecast - actual alone, in scaled
units; a likelihood is a head's loss, which sees no more than that: that of a count, which needs the
raw value, has no place yet. A row has no parameter: a quantile of one fixed
level is one row. Where the user names the level, it is a field of a head (`networks.heads`), or a
field beside `loss` in `models.base.NetworkSpec`, which `point_loss` hands on and
`_nothing_is_ignored` refuses beside other losses. Levenberg-Marquardt minimises squares: an entry
with `trainer: lm` that names another `loss` than the default is refused
(`models.base.UNREAD_BY_LM`), and of its iterations the one with the lowest mean absolute error on
validation is kept. Scores, selection and gate judge a point forecast by absolute errors in any
case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from forecast.networks.heads.base import Array, FittedHead, Maths, numpy_maths
from forecast.system.errors import suggest_known

ErrorLoss = Callable[[Maths, Array], Array]
"""(array functions, forecast - actual) -> the loss of every error, of the same shape.

A loss that is not symmetric has to mind the sign: most textbooks write actual - forecast.
"""


def absolute_error(xp: Maths, error: Array) -> Array:
    """|e|"""
    return abs(error)


def squared_error(xp: Maths, error: Array) -> Array:
    """e^2"""
    return xp.square(error)


def huber(xp: Maths, error: Array) -> Array:
    """e^2 / 2 where |e| is below 1 scaled unit, |e| - 1/2 elsewhere (Huber 1964).

    As c (e - c / 2) with c = e cut to -1 ... 1, which is the gradient too: in three passes over the
    errors instead of ten.
    """
    slope = xp.stop_gradient(xp.maximum(xp.minimum(error, 1.0), -1.0))
    return slope * (error - 0.5 * slope)


@dataclass(frozen=True)
class PointLoss:
    """The loss of a point forecast.

    `of_error` trains; `of_validation_error` stops and tunes, and is the same unless `of_error` is
    only a smooth stand-in for it. `repr` tells losses apart where traced updates are kept, so a
    parameter of a loss stands in it, and the functions do not.
    """

    name: str
    of_error: ErrorLoss = field(repr=False)
    of_validation_error: ErrorLoss = field(repr=False)

    def loss(self, xp: Maths, raw: Array, target: Array, offset: Array | None) -> Array:
        """(..., H, O) that the gradient lowers; arguments as of `FittedHead.loss`, but a point has
        no offset.
        """
        return self.of_error(xp, xp.squeeze(raw) - target)

    def validation_losses(
        self, raw: np.ndarray, residual: np.ndarray, lead: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, H, O): as `FittedHead.validation_losses`."""
        return self.of_validation(raw[..., 0] - residual), np.isfinite(residual)

    def of_validation(self, error: np.ndarray) -> np.ndarray:
        """The validation loss of every error, of the same shape."""
        return self.of_validation_error(numpy_maths, error)


ForecastLoss = PointLoss | FittedHead
"""What trains a network, stops it and tunes it, all in scaled units."""

POINT_LOSSES = {
    loss.name: loss
    for loss in (
        PointLoss("smooth_mae", huber, absolute_error),
        PointLoss("mae", absolute_error, absolute_error),
        PointLoss("mse", squared_error, squared_error),
        PointLoss("huber", huber, huber),
    )
}
"""By the name that `loss` of an entry gives. `smooth_mae`, the default, is the mean absolute error
with a gradient that falls to zero at its minimum, as Huber's does.
"""

DEFAULT_LOSS = "smooth_mae"


def _require_loss(name: str) -> str:
    if name not in POINT_LOSSES:
        raise ValueError(f"unknown loss {name!r}.{suggest_known(name, POINT_LOSSES)}")
    return name


LossName = Annotated[str, AfterValidator(_require_loss)]
"""Looked up when an entry is checked: a row may come from a module of the user's own."""
