"""Up or down: the probability that the value rises above the last observed one, by cross-entropy.

The skip speaks first: a logistic regression of the class on its lead (skip - last), fitted in
closed loop on the train rows (Newton's method), gives the log-odds that an untrained network
forecasts; the network adds to them. The head gives no distribution of values. Its point forecast is
the mean of a two-point one: up by the mean rise of the train rows, or down by their mean fall.

It is a `Head` like those of `densities`: another way to forecast a class is a class here with its
`kind`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import scipy

from forecast.networks.heads.base import Array, Constants, Head, Maths

TIE_TOLERANCE = 1e-5
"""Scaled units: a smaller change is rounding, and no change at all."""
# per example, on standardised leads: a class told apart without error has finite log-odds
PENALTY = 1e-3
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
    location_parameter: ClassVar[int | None] = None

    kind: Literal["updown"] = "updown"

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """Intercept and slope of the log-odds given the lead; mean rise and fall; each (H, O)."""
        change = residual + lead
        rose = change > TIE_TOLERANCE
        fell = change < -TIE_TOLERANCE
        rise = np.where(rose, change, 0.0).sum(axis=0) / np.maximum(rose.sum(axis=0), 1)
        fall = np.where(fell, -change, 0.0).sum(axis=0) / np.maximum(fell.sum(axis=0), 1)
        intercept, slope = _logistic(lead, rose, rose | fell)
        return {"intercept": intercept, "slope": slope, "rise": rise, "fall": fall}

    def target(self, residual: np.ndarray, lead: np.ndarray, constants: Constants) -> np.ndarray:
        """1 up, 0 down; no change is neither, and is left out."""
        change = residual + lead
        return np.where(change > TIE_TOLERANCE, 1.0, np.where(change < -TIE_TOLERANCE, 0.0, np.nan))

    def offset(self, lead: np.ndarray, constants: Constants) -> np.ndarray | None:
        """The log-odds of the skip, (N, H, O)."""
        return constants["intercept"] + constants["slope"] * lead

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """The cross-entropy of every class, (..., H, O)."""
        return xp.softplus((1.0 - 2.0 * target) * raw[..., 0])

    def rise_probability(
        self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """(B, H, O): P(y > last)."""
        return scipy.special.expit(raw[..., 0] + self.offset(base - last, constants))

    def point(
        self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, constants: Constants
    ) -> np.ndarray:
        """(B, H, O): the mean of the two points."""
        up = self.rise_probability(raw, base, last, constants)
        return last + up * constants["rise"] - (1.0 - up) * constants["fall"]

    def sample(
        self,
        raw: np.ndarray,
        base: np.ndarray,
        last: np.ndarray,
        constants: Constants,
        u: np.ndarray,
    ) -> np.ndarray:
        """(B, H, O): one of the two points each, up where u (uniform in (0, 1)) falls below the
        probability.
        """
        up = u < self.rise_probability(raw, base, last, constants)
        return np.where(up, last + constants["rise"], last - constants["fall"])


def _logistic(
    lead: np.ndarray, rose: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The logistic regression of `rose` on `lead` over the `known` examples, by Newton's method:
    intercept and slope (H, O) of the log-odds. The penalty keeps them finite where a class can be
    told without error.
    """
    count = np.maximum(known.sum(axis=0), 1)
    scale = np.sqrt(np.square(np.where(known, lead, 0.0)).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1.0)
    x = np.where(known, lead, 0.0) / scale
    intercept = np.zeros(scale.shape)
    slope = np.zeros(scale.shape)
    for _ in range(NEWTON_STEPS):
        p = scipy.special.expit(intercept + slope * x)
        error = np.where(known, rose - p, 0.0)
        weight = np.where(known, p * (1 - p), 0.0)
        ga = error.sum(axis=0) - PENALTY * count * intercept
        gb = (error * x).sum(axis=0) - PENALTY * count * slope
        haa = weight.sum(axis=0) + PENALTY * count
        hab = (weight * x).sum(axis=0)
        hbb = (weight * (x * x)).sum(axis=0) + PENALTY * count
        determinant = haa * hbb - hab**2
        intercept = intercept + (hbb * ga - hab * gb) / determinant
        slope = slope + (haa * gb - hab * ga) / determinant
    return intercept, slope / scale
