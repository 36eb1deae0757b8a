"""Many tests at once, and the words a result is told in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Word = Literal["better", "worse", "not distinguishable", "equivalent", "undecided"]
ALPHA = 0.05


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment; the family-wise error stays below alpha whatever the dependence.

    A NaN (a test that could not be made) stays NaN and does not count.
    """
    p = np.asarray(pvalues, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order])) if len(order) else []
    return [float(value) for value in adjusted]


def verdict(
    mean_difference: float,
    p_holm: float,
    *,
    equivalent: bool,
    enough: bool,
    p_worse: float | None = None,
    alpha: float = ALPHA,
) -> Word:
    """The word for a against b.

    `mean_difference` below zero favours a. "better" or "worse" when the adjusted p is below `alpha`; then
    "equivalent" when that was shown both ways; "undecided" when the origins are too few (`enough` false) or there is
    no p; else "not distinguishable". In a one-sided family (does a beat b?) the other direction needs its own
    adjusted p, `p_worse`.
    """
    worse = p_holm if p_worse is None else p_worse
    if p_holm < alpha and mean_difference < 0:
        return "better"
    if worse < alpha and mean_difference > 0:
        return "worse"
    if equivalent:
        return "equivalent"
    return "not distinguishable" if enough and not math.isnan(p_holm) else "undecided"
