"""Softmax over value bins of the difference from the skip: any shape of density, learnt as a classification.

The edges are quantiles of the train residuals, one set per step and output, so the bins are equally full on train and
logits of zero stand for the train residuals' own distribution. Inside a bin the density is uniform; the two outer bins
have exponential tails with the mean distance found on train (its maximum likelihood).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import special

from forecast.networks.heads.base import LEAST, Array, Constants, Head, Maths, quantiles_of, spread_of
from forecast.networks.heads.distributions import Distribution, Piecewise

MANY, DRAWN = 128, 64
FALLBACK = 0.01
"""Of the train residuals' spread: the least mean distance of a tail from its edge."""
LIGHTEST = 1e-9
"""The least probability of a bin: keeps what stands between two knots invertible."""


class Bins(Head):
    summary: ClassVar[str] = "Probabilities of value bins, by cross-entropy."
    equation: ClassVar[str] = "P(y - skip in bin j) = softmax(p)_j; edges: quantiles of the train residuals"
    source: ClassVar[str] = "Weigend & Srivastava 1995; Jean et al. 2015 for the sampled softmax"
    has_density: ClassVar[bool] = True
    is_discrete: ClassVar[bool] = True

    kind: Literal["bins"] = "bins"
    count: int = Field(32, ge=3, le=4096, description="number of bins")
    sampled: int | None = Field(
        None, ge=0, description="bins drawn per gradient step instead of all; 0: all; default: 64 above 128 bins"
    )

    @property
    def parameters(self) -> int:
        return self.count

    @property
    def fed_back(self) -> int | None:
        return None

    @property
    def drawn(self) -> int:
        wanted = (DRAWN if self.count > MANY else 0) if self.sampled is None else self.sampled
        return wanted if wanted < self.count - 1 else 0

    def fit(self, residual: np.ndarray, lead: np.ndarray) -> dict[str, np.ndarray]:
        edges = quantiles_of(residual, np.arange(1, self.count) / self.count)
        least = np.maximum(FALLBACK * spread_of(residual), LEAST)
        low = np.maximum(_mean_excess(edges[..., 0] - residual), least)
        high = np.maximum(_mean_excess(residual - edges[..., -1]), least)
        return {"edges": edges, "low": low, "high": high}

    def target(self, residual: np.ndarray, lead: np.ndarray, constants: Constants) -> np.ndarray:
        """The bin's number; an edge belongs to the bin below it."""
        number = (constants["edges"] < residual[..., None]).sum(axis=-1).astype(np.float64)
        return np.where(np.isfinite(residual), number, np.nan)

    def loss(self, xp: Maths, raw: Array, target: Array, constants: Constants) -> Array:
        return xp.cross_entropy(raw, target)

    def log_probabilities(self, raw: np.ndarray) -> np.ndarray:
        """(..., n): ln softmax."""
        return np.asarray(special.log_softmax(raw, axis=-1))

    def bin_values(self, base: np.ndarray, constants: Constants) -> np.ndarray:
        """(..., n): the median of every bin, which stands for it in the most probable path; base (..., H, O)."""
        edges = constants["edges"]
        first = edges[..., :1] - constants["low"][..., None] * np.log(2)
        last = edges[..., -1:] + constants["high"][..., None] * np.log(2)
        middle = (edges[..., 1:] + edges[..., :-1]) / 2
        return base[..., None] + np.concatenate([first, middle, last], axis=-1)

    def distribution(self, raw: np.ndarray, base: np.ndarray, constants: Constants) -> Distribution:
        probability = np.maximum(np.exp(self.log_probabilities(raw)), LIGHTEST)
        cumulative = np.cumsum(probability, axis=-1)
        cumulative = cumulative[..., :-1] / cumulative[..., -1:]
        knots = base[..., None] + constants["edges"]
        low, high = (np.broadcast_to(constants[name], base.shape) for name in ("low", "high"))
        return Piecewise(knots, cumulative, low, high)


def _mean_excess(beyond: np.ndarray) -> np.ndarray:
    """(H, O): the mean of what is above zero; zero where nothing is."""
    above = np.where(beyond > 0, beyond, 0.0)
    return above.sum(axis=0) / np.maximum((beyond > 0).sum(axis=0), 1)
