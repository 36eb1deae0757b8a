"""The head `updown`: the probability that the target rises above its last observed value, trained
by cross-entropy.

A logistic regression of the class on the skip's lead (skip - last), fitted on the train rows by
Newton's method, gives the log-odds of the skip; the network's output is added to them. The head has
no distribution of values. Its point forecast is the mean of two outcomes: up by the mean rise of
the train rows, or down by their mean fall.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import scipy

from forecast.networks.heads.base import Array, Constants, Head, Maths, mean_where

TIE_TOLERANCE = 1e-5
"""A smaller change, in scaled units, is rounding and counts as none."""
PENALTY = 1e-3
"""Ridge penalty per example on standardised leads, so that log-odds stay finite where the classes
can be separated.
"""
NEWTON_STEPS = 12


class UpDown(Head):
    """The probability that a value rises above the last observed one."""

    summary: ClassVar[str] = "The probability of a rise, by cross-entropy."
    equation: ClassVar[str] = (
        "P(y > last) = s(a + b (skip - last) + p); y = last + P rise - (1 - P) fall"
    )
    source: ClassVar[str] = "Leitch & Tanner 1991; Cox 1958"

    uses_lead: ClassVar[bool] = True
    compares_with_last: ClassVar[bool] = True
    has_distribution: ClassVar[bool] = False
    parameters: ClassVar[int] = 1
    location_index: ClassVar[int | None] = None

    kind: Literal["updown"] = "updown"

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """The intercept and slope of the log-odds by the lead, and the mean rise and fall; each (H,
        O).
        """
        change = residual + lead
        rose = change > TIE_TOLERANCE
        fell = change < -TIE_TOLERANCE
        intercept, slope = _fit_logistic(lead, rose, rose | fell)
        return {
            "intercept": intercept,
            "slope": slope,
            "rise": mean_where(rose, change),
            "fall": mean_where(fell, -change),
        }

    def target(self, residual: np.ndarray, lead: np.ndarray, constants: Constants) -> np.ndarray:
        """1 for a rise, 0 for a fall, NaN for no change (N, H, O)."""
        change = residual + lead
        return np.where(change > TIE_TOLERANCE, 1.0, np.where(change < -TIE_TOLERANCE, 0.0, np.nan))

    def offset(self, lead: np.ndarray, constants: Constants) -> np.ndarray | None:
        """The log-odds of the skip, (N, H, O)."""
        return constants["intercept"] + constants["slope"] * lead

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """The cross-entropy of every class, (..., H, O)."""
        return xp.softplus((1.0 - 2.0 * target) * raw[..., 0])

    def rise_probability(
        self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """P(y > last), (B, H, O)."""
        return scipy.special.expit(raw[..., 0] + self.offset(skip_forecast - last, constants))

    def point(
        self, raw: np.ndarray, skip_forecast: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """The mean of the two outcomes (B, H, O)."""
        up = self.rise_probability(raw, skip_forecast, last, constants)
        return last + up * constants["rise"] - (1.0 - up) * constants["fall"]

    def sample(
        self,
        raw: np.ndarray,
        skip_forecast: np.ndarray,
        last: np.ndarray,
        constants: Constants,
        u: np.ndarray,
    ) -> np.ndarray:
        """One of the two outcomes (B, H, O): up where `u` (B, H, O) lies below the probability of a
        rise.
        """
        up = u < self.rise_probability(raw, skip_forecast, last, constants)
        return np.where(up, last + constants["rise"], last - constants["fall"])


def _fit_logistic(
    lead: np.ndarray, rose: np.ndarray, has_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The intercept and slope (H, O) of a logistic regression of `rose` on `lead`, over the
    examples that `has_class`; all arguments are (N, H, O).
    """
    count = np.maximum(has_class.sum(axis=0), 1)
    scale = np.sqrt(mean_where(has_class, np.square(lead)))
    scale = np.where(scale > 0, scale, 1.0)
    x = np.where(has_class, lead, 0.0) / scale
    intercept = np.zeros(scale.shape)
    slope = np.zeros(scale.shape)
    for _ in range(NEWTON_STEPS):
        p = scipy.special.expit(intercept + slope * x)
        error = np.where(has_class, rose - p, 0.0)
        weight = np.where(has_class, p * (1 - p), 0.0)
        # gradient g and negative Hessian h of the penalised log likelihood by intercept and slope
        g0 = error.sum(axis=0) - PENALTY * count * intercept
        g1 = (error * x).sum(axis=0) - PENALTY * count * slope
        h00 = weight.sum(axis=0) + PENALTY * count
        h01 = (weight * x).sum(axis=0)
        h11 = (weight * (x * x)).sum(axis=0) + PENALTY * count
        determinant = h00 * h11 - h01**2
        intercept = intercept + (h11 * g0 - h01 * g1) / determinant
        slope = slope + (h00 * g1 - h01 * g0) / determinant
    return intercept, slope / scale
