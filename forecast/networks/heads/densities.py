"""Density heads, trained by their negative log likelihood: `Gaussian` (`head: gaussian`), and
`StudentT` for heavier tails (`head: student_t`).

In the equations p1, p2, p3 are the network's outputs, and s is the spread of the train residuals.
Three constants give an untrained network the distribution of the train residuals: with c
(`base.UNIT`) the scale at p2 = 0 is that of the residuals; with d (`SHIFT`) the degrees of freedom
nu at p3 = 0 are `FIRST_DOF`; and k = sqrt((nu - 2) / nu) turns the spread into the scale of that
Student t (`StudentT.fit`). Another density is a subclass of `Head` here.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import scipy

from forecast.networks.heads.base import (
    Array,
    Constants,
    Head,
    Maths,
    inverse_softplus,
    numpy_maths,
    positive_scale,
    residual_spread,
)
from forecast.networks.heads.distributions import Distribution

LEAST_DOF = 2.1
FIRST_DOF = 8.0
MOST_DOF = 200.0
"""The least, the first and the largest degrees of freedom. Above 2 the variance exists; at the
upper end the density is nearly normal, and ln Gamma is still accurate in float32.
"""
SHIFT = inverse_softplus(FIRST_DOF - LEAST_DOF)


class Gaussian(Head):
    """A normal density with its location beside the skip."""

    summary: ClassVar[str] = "A normal density: location and scale."
    equation: ClassVar[str] = (
        "y ~ N(skip + p1, (s (0.01 + softplus(p2 + c)))^2), s the train residuals' spread"
    )
    source: ClassVar[str] = "Nix & Weigend 1994"
    has_density: ClassVar[bool] = True
    parameters: ClassVar[int] = 2

    kind: Literal["gaussian"] = "gaussian"

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """The scale, (H, O), of the train residuals."""
        return {"scale": residual_spread(residual)}

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """The negative log likelihood of every value, (..., H, O)."""
        scale = self._scale(xp, raw, constants)
        error = (target - raw[..., 0]) / scale
        return 0.5 * error * error + xp.log(scale) + 0.5 * float(np.log(2 * np.pi))

    def distribution(
        self, raw: np.ndarray, skip_forecast: np.ndarray, constants: Constants
    ) -> Distribution:
        """The distribution of y (B, H, O)."""
        scale = self._scale(numpy_maths, raw, constants)
        return scipy.stats.norm(skip_forecast + raw[..., 0], scale)

    def _scale(self, xp: Maths, raw: Array, constants: Constants) -> Array:
        return positive_scale(xp, constants["scale"], raw[..., 1])


class StudentT(Head):
    """A Student t density with its location beside the skip."""

    summary: ClassVar[str] = "A Student t density: location, scale, degrees of freedom above 2."
    equation: ClassVar[str] = (
        "y ~ skip + p1 + s k (0.01 + softplus(p2 + c)) t(nu), nu = 2.1 + softplus(p3 + d)"
    )
    source: ClassVar[str] = "Lange, Little & Taylor 1989"
    has_density: ClassVar[bool] = True
    parameters: ClassVar[int] = 3

    kind: Literal["student_t"] = "student_t"

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """The scale, (H, O), of the train residuals."""
        return {"scale": residual_spread(residual) * np.sqrt((FIRST_DOF - 2) / FIRST_DOF)}

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """The negative log likelihood of every value, (..., H, O)."""
        scale, dof = self._scale_and_dof(xp, raw, constants)
        error = (target - raw[..., 0]) / scale
        constant = (
            xp.lgamma(0.5 * dof) - xp.lgamma(0.5 * dof + 0.5) + 0.5 * xp.log(float(np.pi) * dof)
        )
        return constant + xp.log(scale) + (0.5 * dof + 0.5) * xp.log1p(error * error / dof)

    def distribution(
        self, raw: np.ndarray, skip_forecast: np.ndarray, constants: Constants
    ) -> Distribution:
        """The distribution of y (B, H, O)."""
        scale, dof = self._scale_and_dof(numpy_maths, raw, constants)
        return scipy.stats.t(dof, skip_forecast + raw[..., 0], scale)

    def _scale_and_dof(self, xp: Maths, raw: Array, constants: Constants) -> tuple[Array, Array]:
        scale = positive_scale(xp, constants["scale"], raw[..., 1])
        return scale, xp.minimum(LEAST_DOF + xp.softplus(raw[..., 2] + SHIFT), MOST_DOF)
