"""A normal density around skip + network, its scale from the network too; trained by its negative log likelihood."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from forecast.networks.heads.base import FLOOR, Array, Constants, Head, Maths, inverse_softplus, numpy_maths, spread_of
from forecast.networks.heads.distributions import Distribution, Normal

UNIT = inverse_softplus(1.0 - FLOOR)


class Gaussian(Head):
    summary: ClassVar[str] = "A normal density: location and scale."
    equation: ClassVar[str] = "y ~ N(skip + p1, (s (0.01 + softplus(p2 + c)))^2), s the train residuals' spread"
    source: ClassVar[str] = "Nix & Weigend 1994"
    has_density: ClassVar[bool] = True

    kind: Literal["gaussian"] = "gaussian"

    @property
    def parameters(self) -> int:
        return 2

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        return {"scale": spread_of(residual)}

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        scale = self._scale(xp, raw, constants)
        error = (target - raw[..., 0]) / scale
        return 0.5 * error * error + xp.log(scale) + 0.5 * float(np.log(2 * np.pi))

    def distribution(self, raw: np.ndarray, base: np.ndarray, constants: Constants) -> Distribution:
        return Normal(base + raw[..., 0], self._scale(numpy_maths, raw, constants))

    def point(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, constants: Constants) -> np.ndarray:
        return base + raw[..., 0]

    def _scale(self, xp: Maths, raw: Array, constants: Constants) -> Array:
        return xp.constant(constants["scale"]) * (FLOOR + xp.softplus(raw[..., 1] + UNIT))
