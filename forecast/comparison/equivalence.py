"""Evidence that one forecaster is no worse than another by more than a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from forecast.comparison.dm import MINIMUM, _pair, non_overlapping, relative
from forecast.comparison.longrun import Dependence, dependence, mean_error

MARGIN = 0.02
ORIGINS = 30


@dataclass(frozen=True)
class Equivalence:
    """`word`: "equivalent" or "undecided"; `upper`: one-sided 95 % bound of the relative loss increase of a over b."""

    word: str
    relative_difference: float
    upper: float
    n: int
    non_overlapping: int
    note: str = ""


def equivalence(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    *,
    horizon: int,
    season: int,
    stride: int = 1,
    margin: float = MARGIN,
    origins: int = ORIGINS,
) -> Equivalence:
    """Is a no more than `margin` worse than b? Not finding a difference is no evidence; a narrow bound is.

    The relative loss increase is R = mean(a) / mean(b) - 1; its standard error comes from the linearised series
    (a - (1 + R) b) / mean(b) with the variance of `longrun` (delta method). "equivalent" when the one-sided 95 %
    upper bound of R is below `margin` on at least `origins` origins whose horizons do not overlap (the
    non-inferiority half of Schuirmann's 1987 two one-sided tests; ask again with a and b exchanged for both halves).
    """
    a, b = _pair(loss_a, loss_b)
    n, separate = len(a), non_overlapping(len(a), horizon=horizon, stride=stride)
    increase = 0.0 if np.array_equal(a, b) else relative(a, b)
    if n < MINIMUM or not math.isfinite(increase):
        reason = "the reference makes no error" if n >= MINIMUM else f"{n} origins"
        return Equivalence("undecided", increase, math.nan, n, separate, reason)
    upper = _upper_bound(a, b, increase, dependence(n, horizon=horizon, season=season, stride=stride))
    if separate < origins:
        return Equivalence(
            "undecided", increase, upper, n, separate, f"{separate} non-overlapping origins; {origins} are needed"
        )
    word = "equivalent" if upper < margin else "undecided"
    return Equivalence(word, increase, upper, n, separate)


def _upper_bound(a: np.ndarray, b: np.ndarray, increase: float, allowed: Dependence) -> float:
    reference = float(b.mean()) if np.any(b) else 1.0
    error = mean_error((a - (1 + increase) * b) / reference, allowed)
    return increase + float(special.stdtrit(error.dof, 0.95)) * error.value
