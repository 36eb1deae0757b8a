"""Heads for distributions of any shape, in pieces: `Quantiles` (`head: quantiles`) forecasts
quantiles, trained by the pinball loss; `Bins` (`head: bins`) forecasts the probabilities of value
bins between quantiles of the train residuals, trained by cross-entropy.

Another head of this kind is a subclass of `Head` here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import scipy
from pydantic import Field, field_validator

from forecast.networks.heads.base import (
    MIN_SPREAD,
    Array,
    Constants,
    Head,
    Maths,
    mean_where,
    numpy_maths,
    positive_scale,
    residual_spread,
)
from forecast.networks.heads.distributions import Distribution, Piecewise

MIN_TAIL_SHARE = 0.01
"""The least mean distance of a tail from its edge, as a share of the train residuals' spread."""
MIN_BIN_PROBABILITY = 1e-9
"""The least probability of a bin, so that the cumulative distribution can be inverted."""


class Quantiles(Head):
    """Quantiles that cannot cross: the median, and positive steps away from it.

    With probabilities t_1 < .. < 0.5 < .. < t_Q, gaps g_j between the train residuals' quantiles,
    and steps d_j = g_j (0.01 + softplus(p_j + c)) > 0:

        q(0.5) = skip + p(0.5)
        the next quantiles above it: + d, one after another
        the next quantiles below it: - d, one after another

    Between quantiles the quantile function is linear; the tails beyond the outer ones are
    exponential with the slope between the two outermost quantiles (Park et al. 2022).
    """

    summary: ClassVar[str] = "Quantiles that cannot cross, by the pinball loss."
    equation: ClassVar[str] = (
        "q(0.5) = skip + p; q(t_j) = q(t_{j-1}) + g_j (0.01 + softplus(p_j + c)), likewise down"
    )
    source: ClassVar[str] = "Koenker & Bassett 1978; Park et al. 2022 for the tails"

    kind: Literal["quantiles"] = "quantiles"
    probabilities: tuple[float, ...] = Field(
        (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975), min_length=3
    )

    @field_validator("probabilities")
    @classmethod
    def _require_median(cls, probabilities: tuple[float, ...]) -> tuple[float, ...]:
        """`probabilities` as they are; ValueError unless they increase and 0.5 lies inside."""
        is_increasing = all(a < b for a, b in pairwise((0.0, *probabilities, 1.0)))
        if not is_increasing or 0.5 not in probabilities[1:-1]:
            raise ValueError(
                "wanted increasing probabilities between 0 and 1 with 0.5 inside, such as"
                " [0.1, 0.5, 0.9]; 0.5 is the point forecast"
            )
        return probabilities

    @property
    def parameters(self) -> int:
        """K: one for each probability."""
        return len(self.probabilities)

    @property
    def location_index(self) -> int | None:
        """The index of the median."""
        return self.median

    @property
    def median(self) -> int:
        """The index of the median among the probabilities."""
        return self.probabilities.index(0.5)

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """The gaps between the train residuals' quantiles, (H, O, Q - 1)."""
        gaps = np.diff(residual_quantiles(residual, np.array(self.probabilities)), axis=-1)
        return {"gaps": np.maximum(gaps, MIN_SPREAD)}

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """Twice the mean pinball loss over the probabilities (..., H, O); for the median alone it
        would be the absolute error.
        """
        error = target[..., None] - self._quantiles(xp, raw, constants)
        probabilities = xp.constant(np.array(self.probabilities))
        return 2.0 * xp.mean(xp.maximum(probabilities * error, (probabilities - 1.0) * error))

    def distribution(
        self, raw: np.ndarray, skip_forecast: np.ndarray, constants: Constants
    ) -> Distribution:
        """The distribution of y (B, H, O): linear between the quantiles, with exponential tails."""
        knots = skip_forecast[..., None] + self._quantiles(numpy_maths, raw, constants)
        probabilities = np.array(self.probabilities)
        low = (knots[..., 1] - knots[..., 0]) / np.log(probabilities[1] / probabilities[0])
        high = (knots[..., -1] - knots[..., -2]) / np.log(
            (1 - probabilities[-2]) / (1 - probabilities[-1])
        )
        return Piecewise(knots, np.broadcast_to(probabilities, knots.shape), low, high)

    def _quantiles(self, xp: Maths, raw: Array, constants: Constants) -> Array:
        """The quantiles (..., Q) in rising order, as differences from the skip."""
        median = self.median
        gaps = constants["gaps"]
        middle = raw[..., median : median + 1]
        below = positive_scale(xp, gaps[..., :median], raw[..., :median])
        above = positive_scale(xp, gaps[..., median:], raw[..., median + 1 :])
        down = xp.cumsum(below[..., ::-1])[..., ::-1]
        return xp.concat([middle - down, middle, middle + xp.cumsum(above)])


class Bins(Head):
    """A softmax over bins of the difference from the skip, learnt as a classification.

    The edges are quantiles of the train residuals of each step and output, so the bins are equally
    full on train, and logits of zero stand for the distribution of the train residuals. The density
    is uniform inside a bin; the two outer bins have exponential tails with the mean distance of the
    train residuals.
    """

    summary: ClassVar[str] = "Probabilities of value bins, by cross-entropy."
    equation: ClassVar[str] = (
        "P(y - skip in bin j) = softmax(p)_j; edges: quantiles of the train residuals"
    )
    source: ClassVar[str] = "Weigend & Srivastava 1995"
    has_density: ClassVar[bool] = True
    location_index: ClassVar[int | None] = None

    kind: Literal["bins"] = "bins"
    count: int = Field(32, ge=3, le=4096, description="number of bins")

    @property
    def parameters(self) -> int:
        """K: one logit for each bin."""
        return self.count

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        """Edges (H, O, count - 1) and mean distances of the tails (H, O) of the train residuals."""
        edges = residual_quantiles(residual, np.arange(1, self.count) / self.count)
        least = np.maximum(MIN_TAIL_SHARE * residual_spread(residual), MIN_SPREAD)
        below, above = edges[..., 0] - residual, residual - edges[..., -1]
        low = np.maximum(mean_where(below > 0, below), least)
        high = np.maximum(mean_where(above > 0, above), least)
        return {"edges": edges, "low": low, "high": high}

    def target(self, residual: np.ndarray, lead: np.ndarray, constants: Constants) -> np.ndarray:
        """The index (N, H, O) of the bin that holds the residual; an edge belongs to the bin below
        it.
        """
        number = (constants["edges"] < residual[..., None]).sum(axis=-1).astype(np.float64)
        return np.where(np.isfinite(residual), number, np.nan)

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        """The cross-entropy of every value's bin, (..., H, O)."""
        return xp.cross_entropy(raw, target)

    def distribution(
        self, raw: np.ndarray, skip_forecast: np.ndarray, constants: Constants
    ) -> Distribution:
        """The distribution of y (B, H, O): uniform inside the bins, with exponential tails."""
        log_probability = scipy.special.log_softmax(raw, axis=-1)
        probability = np.maximum(np.exp(log_probability), MIN_BIN_PROBABILITY)
        cumulative = np.cumsum(probability, axis=-1)
        cumulative = cumulative[..., :-1] / cumulative[..., -1:]
        knots = skip_forecast[..., None] + constants["edges"]
        low, high = (
            np.broadcast_to(constants[name], skip_forecast.shape) for name in ("low", "high")
        )
        return Piecewise(knots, cumulative, low, high)


def residual_quantiles(residual: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(H, O, Q): the quantiles of `residual` (N, H, O) over the examples, made strictly increasing,
    so that no bin is empty.
    """
    min_gap = 1e-3 * residual_spread(residual)
    # zeros for a step that was never observed
    observed = np.where(np.isfinite(residual).any(axis=0), residual, 0.0)
    quantiles = np.moveaxis(np.nanquantile(observed, probabilities, axis=0), 0, -1)
    for number in range(1, len(probabilities)):
        quantiles[..., number] = np.maximum(
            quantiles[..., number], quantiles[..., number - 1] + min_gap
        )
    return quantiles
