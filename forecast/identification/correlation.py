"""Correlations over delays with their 95 % bands: what the errors of a net still contain, and what drives a series.

The bands are those of white noise, 1.96 / sqrt(n) (Box, Jenkins, Reinsel & Ljung 2015, 2.1.6), so they hold for
one-step errors alone: errors over several steps are correlated however good the net is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecast.system.errors import InputError

Array = npt.NDArray[np.float64]
NORMAL = 1.959963984540054


@dataclass(frozen=True)
class Correlation:
    """`values[k]` belongs to `lags[k]`; within `band` of zero it is not told from none."""

    lags: npt.NDArray[np.int64]
    values: Array
    band: float

    @property
    def significant(self) -> tuple[int, ...]:
        """The lags whose correlation leaves the band."""
        return tuple(int(lag) for lag in self.lags[np.abs(self.values) > self.band])


def autocorrelation(series: Array | Sequence[Array], longest: int = 20) -> Correlation:
    """Of a series (T,), or of several without looking from one into the next; gaps (NaN) are passed over."""
    parts = _parts(series)
    found = _over_lags(parts, parts, range(longest + 1))
    return Correlation(np.arange(longest + 1), found, NORMAL / np.sqrt(_count(parts)))


def cross_correlation(u: Array | Sequence[Array], error: Array | Sequence[Array], longest: int = 20) -> Correlation:
    """Of u[t - lag] with error[t], lags from -longest to longest: right of 0 is what u still could explain."""
    before, after = _parts(u), _parts(error)
    if [len(p) for p in before] != [len(p) for p in after]:
        raise InputError("u and the errors have different numbers of rows; wanted one of each for every time.")
    lags = range(-longest, longest + 1)
    return Correlation(np.array(lags), _over_lags(before, after, lags), NORMAL / np.sqrt(_count(after)))


def partial_autocorrelation(acf: Array) -> Array:
    """From the autocorrelations at lags 0, 1, ...: what each lag adds beyond the shorter ones (Durbin 1960)."""
    found, phi = np.zeros(len(acf)), np.zeros(0)
    found[0] = 1.0
    for k in range(1, len(acf)):
        rest = 1.0 - phi @ acf[1:k]
        found[k] = (acf[k] - phi @ acf[k - 1 : 0 : -1]) / rest if rest > 1e-12 else 0.0
        phi = np.append(phi - found[k] * phi[::-1], found[k])
    return found


def _parts(series: Array | Sequence[Array]) -> list[Array]:
    given = [series] if isinstance(series, np.ndarray) else list(series)
    parts = [np.asarray(part, np.float64).reshape(len(part), -1)[:, 0] for part in given]
    if not parts or not any(np.isfinite(part).any() for part in parts):
        raise InputError("No observed value to correlate. Give the errors of at least one run.")
    mean = np.nanmean(np.concatenate(parts))
    return [part - mean for part in parts]


def _count(parts: list[Array]) -> int:
    return sum(int(np.isfinite(part).sum()) for part in parts)


def _over_lags(before: list[Array], after: list[Array], lags: Sequence[int]) -> Array:
    scale = np.sqrt(sum(float(np.nansum(p**2)) for p in before) * sum(float(np.nansum(p**2)) for p in after))
    sums = [sum(_product(b, a, lag) for b, a in zip(before, after, strict=True)) for lag in lags]
    return np.array(sums) / scale if scale > 0 else np.zeros(len(sums))


def _product(before: Array, after: Array, lag: int) -> float:
    """The sum of before[t - lag] * after[t]."""
    if abs(lag) >= len(after):
        return 0.0
    first, second = (before[: len(before) - lag], after[lag:]) if lag >= 0 else (before[-lag:], after[:lag])
    return float(np.nansum(first * second))
