"""Scores of quantiles, intervals, samples and densities, of which lower is better; coverage with its allowed band."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from forecast.comparison.metrics.points import average
from forecast.system.errors import InputError

Array = NDArray[np.float64]
BAND = 0.06  # least half-width of the band around a nominal coverage at one step


def pinball(y: ArrayLike, quantile: ArrayLike, level: float) -> float:
    """Mean quantile loss at `level` in (0, 1) (Koenker & Bassett 1978), in the unit of `y`."""
    if not 0 < level < 1:
        raise InputError(f"Quantile level {level}; wanted strictly between 0 and 1 (0.9 = the 90 % quantile).")
    actual, forecast = _known(y, quantile)
    return average(np.maximum(level * (actual - forecast), (level - 1) * (actual - forecast)))


def crps_quantiles(y: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> float:
    """Continuous ranked probability score from a quantile grid: twice the mean pinball loss over the levels.

    `y` (...), `quantiles` (..., Q), `levels` (Q,). It tends to the CRPS as the levels fill (0, 1) evenly
    (Gneiting & Ranjan 2011); with few levels it is a score of these quantiles only.
    """
    grid = np.asarray(quantiles, dtype=float)
    each = [pinball(y, grid[..., i], float(level)) for i, level in enumerate(np.asarray(levels, dtype=float))]
    return 2.0 * average(np.asarray(each))


def crps_samples(y: ArrayLike, samples: ArrayLike) -> float:
    """CRPS of samples (..., M): E|X - y| - E|X - X'| / 2 over all M x M pairs (Gneiting & Raftery 2007, eq. 21)."""
    actual, drawn = np.asarray(y, dtype=float), np.sort(np.asarray(samples, dtype=float), axis=-1)
    known = np.isfinite(actual)
    actual, drawn = actual[known], drawn[known]
    size = drawn.shape[-1]
    weights = (2 * np.arange(1, size + 1) - size - 1) / size**2  # of a sorted sample: sum of all |x_i - x_j| / (2 M^2)
    return average(np.mean(np.abs(drawn - actual[..., None]), axis=-1) - drawn @ weights)


def crps_gaussian(y: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> float:
    """CRPS of a normal density with standard deviation `scale` (Gneiting et al. 2005, eq. 5)."""
    actual, centre, width = _known(y, mean, _positive(scale))
    z = (actual - centre) / width
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return average(width * (z * (2 * special.ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)))


def log_score_gaussian(y: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> float:
    """Mean negative log density of a normal with standard deviation `scale`."""
    actual, centre, width = _known(y, mean, _positive(scale))
    return average(0.5 * ((actual - centre) / width) ** 2 + np.log(width) + 0.5 * np.log(2 * np.pi))


def log_score_student(y: ArrayLike, dof: ArrayLike, location: ArrayLike, scale: ArrayLike) -> float:
    """Mean negative log density of a Student t; `scale` multiplies a standard t, so is not a standard deviation."""
    actual, nu, centre, width = _known(y, _positive(dof), location, _positive(scale))
    constant = special.gammaln(nu / 2) - special.gammaln((nu + 1) / 2) + 0.5 * np.log(nu * np.pi) + np.log(width)
    return average(constant + (nu + 1) / 2 * np.log1p(((actual - centre) / width) ** 2 / nu))


def brier(happened: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared distance of the probability of an event from 1 (it happened) or 0 (Brier 1950)."""
    return average((np.asarray(probability, dtype=float) - np.asarray(happened, dtype=float)) ** 2)


def log_score_event(happened: ArrayLike, probability: ArrayLike) -> float:
    """Mean -ln of the probability given to what came (Good 1952); infinite when that was 0."""
    event, chance = np.asarray(happened, dtype=bool), np.asarray(probability, dtype=float)
    with np.errstate(divide="ignore"):
        return average(-np.log(np.where(event, chance, 1.0 - chance)))


def winkler(
    y: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, level: float, axis: int | None = None
) -> float | Array:
    """Interval score (Winkler 1972; Gneiting & Raftery 2007, eq. 43) of a central interval that should cover `level`.

    The width plus 2 / (1 - level) times the distance by which it missed. `axis=0` gives one score per step.
    """
    if not 0 < level < 1:
        raise InputError(f"Interval level {level}; wanted strictly between 0 and 1 (0.95 = 95 %).")
    actual, low, high = _aligned(y, lower, upper)
    missed = np.maximum(low - actual, 0) + np.maximum(actual - high, 0)
    return _over_known(high - low + 2 / (1 - level) * missed, actual, axis)


def coverage(y: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, axis: int | None = None) -> float | Array:
    """Share of the actuals inside [lower, upper], ends included; `axis=0` gives one share per step."""
    actual, low, high = _aligned(y, lower, upper)
    inside = np.where(np.isfinite(low + high) | np.isinf(low + high), (low <= actual) & (actual <= high), np.nan)
    return _over_known(inside, actual, axis)


def interval_width(lower: ArrayLike, upper: ArrayLike, *, axis: int | None = None) -> float | Array:
    """Mean width of the intervals, in the unit of the data; `axis=0` gives one width per step."""
    low, high = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
    return _over_known(high - low, np.zeros_like(low), axis)


def coverage_by_step(y: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, level: float) -> pd.DataFrame:
    """step, n, coverage, low, high, inside, width, winkler: one row per step, and step 0 for all of them pooled.

    `low` and `high` are the binomial 95 % band around `level`, at least 6 points wide on each side because origins
    are dependent (3 points when pooled, the tolerance of the protocol).
    """
    actual, low, high = (np.asarray(a, dtype=float) for a in (y, lower, upper))
    rows = [_coverage_row(0, actual, low, high, level, band=0.03)]
    rows += [
        _coverage_row(h + 1, actual[:, [h]], low[:, [h]], high[:, [h]], level, band=None)
        for h in range(actual.shape[1])
    ]
    return pd.DataFrame(rows)


def binomial_band(level: float, n: int, *, least: float = BAND) -> tuple[float, float]:
    """`level` plus and minus 1.96 sqrt(level (1 - level) / n), at least `least`, inside [0, 1]."""
    half = max(least, 1.96 * math.sqrt(level * (1 - level) / n)) if n else 1.0
    return max(0.0, level - half), min(1.0, level + half)


def reliability(y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]) -> pd.DataFrame:
    """level, observed, n, low, high: how often the actual lay at or below each quantile, for a reliability diagram.

    `y` (n, H), `quantiles` (n, H, Q). The band assumes one independent outcome per origin, not per step.
    """
    actual, grid = np.asarray(y, dtype=float), np.asarray(quantiles, dtype=float)
    if grid.shape != (*actual.shape, len(levels)):
        raise InputError(f"Quantiles {grid.shape} for actuals {actual.shape} and {len(levels)} levels do not fit.")
    known = np.isfinite(actual)
    n = int(known.any(axis=-1).sum()) if actual.ndim > 1 else int(known.sum())
    rows = []
    for position, level in enumerate(levels):
        low, high = binomial_band(level, n, least=0.0)
        below = actual[known] <= grid[..., position][known]
        rows.append({"level": level, "observed": average(below.astype(float)), "n": n, "low": low, "high": high})
    return pd.DataFrame(rows)


def _coverage_row(
    step: int, y: Array, lower: Array, upper: Array, level: float, *, band: float | None
) -> dict[str, float | int | bool]:
    n = int(np.isfinite(y).sum())
    covered = float(coverage(y, lower, upper))
    low, high = (level - band, level + band) if band is not None else binomial_band(level, n)
    return {
        "step": step,
        "n": n,
        "coverage": covered,
        "low": low,
        "high": high,
        "inside": low <= covered <= high,
        "width": float(interval_width(lower, upper)),
        "winkler": float(winkler(y, lower, upper, level=level)),
    }


def _over_known(values: Array, actual: Array, axis: int | None) -> float | Array:
    known = np.isfinite(actual)
    if axis is None:
        return average(values[known])
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _known(y: ArrayLike, *others: ArrayLike) -> tuple[Array, ...]:
    actual, *rest = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (y, *others)))
    known = np.isfinite(actual)
    return tuple(a[known] for a in (actual, *rest))


def _aligned(y: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array, Array]:
    actual, low, high = (np.asarray(a, dtype=float) for a in (y, lower, upper))
    if not actual.shape == low.shape == high.shape:
        raise InputError(
            f"Actuals {actual.shape}, lower ends {low.shape} and upper ends {high.shape} differ in shape."
        )
    if np.any(low > high):
        raise InputError(
            f"{int(np.sum(low > high))} intervals have their lower end above the upper. Sort the quantiles."
        )
    return actual, low, high


def _positive(values: ArrayLike) -> Array:
    given = np.asarray(values, dtype=float)
    if np.any(given <= 0):
        raise InputError(f"A density has scale or degrees of freedom {float(np.nanmin(given)):g}; wanted above zero.")
    return given
