"""How often intervals hold: coverage by horizon step, reliability over levels, and the bands around both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from forecast.comparison import metrics
from forecast.forecaster.intervals import Array
from forecast.system.errors import InputError

BAND = 0.06  # least half-width of the band around a nominal coverage at one step


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
        rows.append(
            {"level": level, "observed": metrics.average(below.astype(float)), "n": n, "low": low, "high": high}
        )
    return pd.DataFrame(rows)


def _coverage_row(
    step: int, y: Array, lower: Array, upper: Array, level: float, *, band: float | None
) -> dict[str, float | int | bool]:
    n = int(np.isfinite(y).sum())
    covered = float(metrics.coverage(y, lower, upper))
    low, high = (level - band, level + band) if band is not None else binomial_band(level, n)
    return {
        "step": step,
        "n": n,
        "coverage": covered,
        "low": low,
        "high": high,
        "inside": low <= covered <= high,
        "width": float(metrics.interval_width(lower, upper)),
        "winkler": float(metrics.winkler(y, lower, upper, level=level)),
    }
