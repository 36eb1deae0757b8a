"""Quantiles that cannot cross: the median, and steps away from it that are positive by construction.

With levels t_1 < .. < 0.5 < .. < t_Q, gaps g_j between the train residuals' quantiles, and steps
d_j = g_j (0.01 + softplus(p_j + c)), which are above zero whatever p_j is:

    q(0.5) = skip + p(0.5)     q above it: + d, one after another     q below it: - d, one after another

Between the levels the quantile function is a straight line, beyond the outer ones the tails are exponential with the
slope that joins the two outermost levels (Park et al. 2022): every probability has its value, and paths can be drawn.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from forecast.networks.heads.base import LEAST, Array, Constants, Head, Maths, numpy_maths, positive, quantiles_of
from forecast.networks.heads.distributions import Distribution, Piecewise


class Quantiles(Head):
    summary: ClassVar[str] = "Quantiles that cannot cross, by the pinball loss."
    equation: ClassVar[str] = "q(0.5) = skip + p; q(t_j) = q(t_{j-1}) + g_j (0.01 + softplus(p_j + c)), likewise down"
    source: ClassVar[str] = "Koenker & Bassett 1978; Park et al. 2022 for the tails"

    kind: Literal["quantiles"] = "quantiles"
    levels: tuple[float, ...] = Field((0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975), min_length=3)

    @field_validator("levels")
    @classmethod
    def _ordered_around_the_median(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not all(a < b for a, b in pairwise((0.0, *levels, 1.0))) or 0.5 not in levels[1:-1]:
            raise ValueError(
                "wanted increasing levels between 0 and 1 with 0.5 inside, such as [0.1, 0.5, 0.9]; "
                "0.5 is the point forecast"
            )
        return levels

    @property
    def parameters(self) -> int:
        return len(self.levels)

    @property
    def fed_back(self) -> int | None:
        return self.median

    @property
    def median(self) -> int:
        return self.levels.index(0.5)

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        gaps = np.diff(quantiles_of(residual, np.array(self.levels)), axis=-1)
        return {"gaps": np.maximum(gaps, LEAST)}

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        error = target[..., None] - self._quantiles(xp, raw, constants)
        levels = xp.constant(np.array(self.levels))
        return 2.0 * xp.mean(xp.maximum(levels * error, (levels - 1.0) * error))

    def distribution(self, raw: np.ndarray, base: np.ndarray, constants: Constants) -> Distribution:
        knots = base[..., None] + self._quantiles(numpy_maths, raw, constants)
        levels = np.array(self.levels)
        low = (knots[..., 1] - knots[..., 0]) / np.log(levels[1] / levels[0])
        high = (knots[..., -1] - knots[..., -2]) / np.log((1 - levels[-2]) / (1 - levels[-1]))
        return Piecewise(knots, np.broadcast_to(levels, knots.shape), low, high)

    def point(self, raw: np.ndarray, base: np.ndarray, last: np.ndarray, constants: Constants) -> np.ndarray:
        return base + raw[..., self.median]

    def _quantiles(self, xp: Maths, raw: Array, constants: Constants) -> Array:
        """(..., Q) beside the skip."""
        place, gaps = self.median, constants["gaps"]
        middle = raw[..., place : place + 1]
        below = xp.constant(gaps[..., :place]) * positive(xp, raw[..., :place])
        above = xp.constant(gaps[..., place:]) * positive(xp, raw[..., place + 1 :])
        down = xp.cumsum(below[..., ::-1])[..., ::-1]
        return xp.concat([middle - down, middle, middle + xp.cumsum(above)])
