"""Predictive distributions of many values at once, each with its own parameters: quantiles,
probabilities, densities; and the copula that joins the steps of a direct forecast.

A distribution of shape (...) has one value per forecast, e.g. (B, H, O). `Piecewise` is a
`Distribution`, as are those of SciPy. All arrays are float64.

A direct head gives one distribution per step without their dependence. That is a Gaussian copula
(Sklar 1959; Nelsen 2006, 2.3): `correlation` turns the forecast probability of each validation
target into a normal score and takes the correlation of these scores over steps and outputs, shrunk
towards independence by d / (n + d) for d scores at n origins, as validation origins are few.
`draw_uniforms` draws from it. A recursive family needs no copula, because drawn values are fed
back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy
from numpy.typing import ArrayLike


class Distribution(Protocol):
    """A continuous distribution with the methods of SciPy, such as `scipy.stats.norm(mean, sd)`."""

    def ppf(self, u: np.ndarray) -> np.ndarray:
        """The quantile at the probability `u` (...) in (0, 1)."""

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """The probability of a value up to `x` (...)."""

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        """ln of the density at `x` (...); NaN for NaN."""


def quantiles(
    distribution: Distribution, probabilities: ArrayLike, shape: tuple[int, ...]
) -> np.ndarray:
    """(*shape, Q): the quantiles of a distribution of `shape` at `probabilities` (Q,)."""
    of_each = [
        distribution.ppf(np.full(shape, float(probability)))
        for probability in np.asarray(probabilities, dtype=float)
    ]
    return np.stack(of_each, axis=-1)


@dataclass(frozen=True)
class Piecewise:
    """A distribution that is uniform between neighbouring knots and has exponential tails.

    knots (..., m) in rising order; cumulative (..., m): the probability up to each knot, rising
    inside (0, 1); low_tail, high_tail (...): the mean distance of the tails from the first and the
    last knot.
    """

    knots: np.ndarray
    cumulative: np.ndarray
    low_tail: np.ndarray
    high_tail: np.ndarray

    def ppf(self, u: np.ndarray) -> np.ndarray:
        """The quantile at the probability `u`."""
        first = self.cumulative[..., 0]
        last = self.cumulative[..., -1]
        x0, f0, width, mass = self._piece((self.cumulative < u[..., None]).sum(axis=-1))
        between = x0 + width * np.clip((u - f0) / mass, 0.0, 1.0)
        below = self.knots[..., 0] + self.low_tail * np.log(np.minimum(u / first, 1.0))
        above = self.knots[..., -1] - self.high_tail * np.log(
            np.minimum((1.0 - u) / (1.0 - last), 1.0)
        )
        return np.where(u < first, below, np.where(u > last, above, between))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """The probability of a value up to x."""
        x0, f0, width, mass = self._piece((self.knots < x[..., None]).sum(axis=-1))
        between = f0 + mass * np.clip((x - x0) / width, 0.0, 1.0)
        p_below, p_above = self._tails(x)
        return self._choose_piece(x, p_below, between, 1.0 - p_above)

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        """ln of the density at x."""
        _, _, width, mass = self._piece((self.knots < x[..., None]).sum(axis=-1))
        p_below, p_above = self._tails(x)
        with np.errstate(divide="ignore"):
            between = np.log(mass / width)
            below = np.log(p_below / self.low_tail)
            above = np.log(p_above / self.high_tail)
        return self._choose_piece(x, below, between, above)

    def _choose_piece(
        self, x: np.ndarray, below: np.ndarray, between: np.ndarray, above: np.ndarray
    ) -> np.ndarray:
        """`below`, `between` or `above`, by where x lies relative to the knots; NaN for NaN."""
        not_below = np.where(x > self.knots[..., -1], above, between)
        result = np.where(x < self.knots[..., 0], below, not_below)
        return np.where(np.isnan(x), np.nan, result)

    def _tails(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probability below x in the lower tail, and above x in the upper tail; that of the
        whole tail where x does not lie in it.
        """
        below = self.cumulative[..., 0] * np.exp(
            np.minimum((x - self.knots[..., 0]) / self.low_tail, 0.0)
        )
        above = (1.0 - self.cumulative[..., -1]) * np.exp(
            np.minimum((self.knots[..., -1] - x) / self.high_tail, 0.0)
        )
        return below, above

    def _piece(self, right: np.ndarray) -> tuple[np.ndarray, ...]:
        """The left knot, the probability up to it, the width and the probability of the piece whose
        right knot is number `right`.
        """
        right = np.clip(right, 1, self.knots.shape[-1] - 1)[..., None]

        def ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            left = np.take_along_axis(values, right - 1, axis=-1)
            return left[..., 0], np.take_along_axis(values, right, axis=-1)[..., 0]

        x0, x1 = ends(self.knots)
        f0, f1 = ends(self.cumulative)
        return x0, f0, x1 - x0, f1 - f0


MIN_ORIGINS = 10
"""With fewer complete origins, steps are taken as independent."""
MIN_PROBABILITY = 1e-6


def correlation(probabilities: np.ndarray) -> np.ndarray:
    """The Gaussian copula of D = H * O values: the correlation (D, D) of the normal scores of
    `probabilities` (N, D), the forecast probabilities up to each actual, NaN where one is missing;
    shrunk towards independence. The identity for fewer than `MIN_ORIGINS` complete rows.
    """
    size = probabilities.shape[1]
    complete = probabilities[np.isfinite(probabilities).all(axis=1)]
    if len(complete) < MIN_ORIGINS:
        return np.eye(size)
    scores = scipy.special.ndtri(np.clip(complete, MIN_PROBABILITY, 1 - MIN_PROBABILITY))
    spread = np.where(scores.std(axis=0) > 0, scores.std(axis=0), 1.0)
    centred = (scores - scores.mean(axis=0)) / spread
    correlations = centred.T @ centred / len(complete)
    np.fill_diagonal(correlations, 1.0)
    share = size / (len(complete) + size)
    return (1 - share) * correlations + share * np.eye(size)


def draw_uniforms(
    dependence: np.ndarray | None, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Random numbers of `shape` in (0, 1) from the Gaussian copula `dependence` (D, D) over the
    last axis, which has D values; None: independent ones.
    """
    if dependence is None:
        return np.clip(rng.random(shape), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    drawn = rng.standard_normal(shape) @ np.linalg.cholesky(dependence).T
    return np.clip(scipy.special.ndtr(drawn), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
