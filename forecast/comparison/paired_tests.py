"""Two models on the same origins: the Diebold-Mariano test, and equivalence.

Pure functions of losses (n,), one per origin in time order; variances and degrees of freedom come
from `longrun`, so dependent origins are allowed for. Nothing is corrected for several tests here,
and no word is given (`verdicts`). With fewer origins than a test needs it is not made, and says so.

`diebold_mariano` gives a `DieboldMariano`, `equivalence` an `Equivalence` (no worse than a margin).
Losses of other lengths, or not finite, are an `InputError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Unpack

import numpy as np
import scipy  # its part is loaded at the first test: `retrain` asks none where nothing is due
from numpy.typing import ArrayLike

from forecast.comparison.longrun import (
    Array,
    Dependence,
    Spacing,
    StandardError,
    count_overlapping,
    dependence,
    standard_error,
)
from forecast.system.errors import InputError, plural

MINIMUM = 8
"""Fewest origins of a test."""
ROUNDING = 1e-12
"""Losses that differ by no more of their size are one loss, computed in another order."""
MARGIN = 0.02
"""The extra loss, as a share, that equivalence allows."""
ORIGINS = 30
"""Fewest origins, with horizons that do not overlap, of an equivalence."""
DRIFT_ORIGINS = 20
"""The same of a drift: in fewer runs chance looks like a random walk."""
FAR_APART = 3
"""Ratio of two means from which their plain difference is looked at too. At 2 alike forecasters
with wild losses would be told apart too often (docs/research/paired-tests.md).
"""


@dataclass(frozen=True)
class DieboldMariano:
    """One test. `mean_difference` = mean loss of a - mean loss of b, so below zero a is better.

    `p`, of the two-sided test, is NaN when nothing can be said, and `note` says why; `ci_low` and
    `ci_high` are the 95 % limits of the mean difference, and `n` counts origins. `detectable`: the
    smallest true difference in the direction of this one, as a share of the mean loss of b, that a
    test at 5 % finds in four of five samples like this one. `statistic` is a t ratio with `dof`
    degrees of freedom; `relative_difference` the mean difference as a share of the mean loss of b.
    `is_drift`: the difference drifts through the whole block as a random walk does, so that the
    test leaves no bound of it.

    Each field has its namesake in `data.comparison_records.PairedTest`, which is written.
    """

    statistic: float
    p: float
    n: int
    dof: float
    mean_difference: float
    relative_difference: float
    ci_low: float
    ci_high: float
    detectable: float
    is_drift: bool = False
    note: str = ""


def diebold_mariano(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    **spacing: Unpack[Spacing],
) -> DieboldMariano:
    """Test that a and b have the same expected loss (Diebold & Mariano 1995; reading of Giacomini &
    White 2006).

    `loss_a`, `loss_b` (n,): mean loss over the horizon at each origin, the same origins in time
    order. The variance and the t distribution are those of `longrun`, of the losses as shares of
    their means: a season in which both err more is no doubt about who errs less
    (`_compare_means`). Where a is the same share of b at every origin there is no variance, and a
    sign test on non-overlapping origins that differ takes its place; identical losses give
    statistic 0 and p 1.
    """
    a, b = _pair(loss_a, loss_b)
    n = len(a)
    horizon, step_size = spacing["horizon"], spacing.get("step_size", 1)
    overlap = count_overlapping(**spacing)
    needed = max(MINIMUM, 2 * overlap)
    if n < needed:
        note = (
            f"too few separate horizons to test: {plural(n, 'origin')} of horizon {horizon} at step"
            f" size {step_size:.3g}, a test needs {needed}"
        )
        return _result(math.nan, math.nan, StandardError(math.nan, math.nan), a, b, note)
    if np.allclose(a, b, rtol=ROUNDING, atol=0.0):
        return _result(0.0, 1.0, StandardError(0.0, n - 1.0), a, b, "identical losses")
    difference, error = _compare_means(a, b, dependence(n, **spacing))
    if error.value == 0.0:
        blocks = np.flatnonzero(a != b) // overlap
        n_separate = len(np.unique(blocks))
        p = min(1.0, 2 * 0.5**n_separate)  # all these differences have one sign
        return _result(
            math.copysign(math.inf, difference),
            p,
            error,
            a,
            b,
            f"no variance: sign test on {plural(n_separate, 'origin')}",
        )
    statistic = difference / error.value
    p = float(2 * scipy.special.stdtr(error.dof, -abs(statistic)))
    result = _result(statistic, p, error, a, b)
    is_drift = error.is_drift and math.isnan(result.ci_high)
    return replace(result, is_drift=is_drift and non_overlapping(n, **spacing) >= DRIFT_ORIGINS)


def _compare_means(a: Array, b: Array, allowed: Dependence) -> tuple[float, StandardError]:
    """The difference of the mean losses over the root of their mean square, and its standard error.

    The error is that of a / mean(a) - b / mean(b), the linearised ratio (delta method): a level
    that both share is in neither. It is exact where both losses have the same relative noise. A
    mean that is not above zero has no ratio: there the plain difference is tested.

    Where one mean is `FAR_APART` times the other, the smaller of this error and that of a - b
    counts: a model that errs little may err twice as much in some weeks, which a ratio sees, and
    is all the same far below the other in each of them.
    """
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if min(mean_a, mean_b) <= 0:
        return mean_a - mean_b, standard_error(a - b, allowed)
    shares_a, shares_b = a / mean_a, b / mean_b
    error = standard_error(shares_a - shares_b, allowed, level=shares_a + shares_b)
    scale = math.sqrt((mean_a**2 + mean_b**2) / 2)
    if max(mean_a, mean_b) > FAR_APART * min(mean_a, mean_b):
        plain = standard_error((a - b) / scale, allowed)
        error = min(error, plain, key=attrgetter("value"))
    return (mean_a - mean_b) / scale, error


def non_overlapping(n: int, **spacing: Unpack[Spacing]) -> int:
    """How many of n origins have horizons that share no target."""
    return (n - 1) // count_overlapping(**spacing) + 1 if n else 0


def _result(
    statistic: float, p: float, error: StandardError, a: Array, b: Array, note: str = ""
) -> DieboldMariano:
    """The record of a test, with what follows from `error`: the 95 % limits of the mean difference,
    and the relative difference that would be found in four of five cases.

    These three are NaN where the standard error is, or where it leaves no bound; mean and relative
    difference stay numbers.
    """
    mean_a = float(np.mean(a)) if len(a) else math.nan
    mean_b = float(np.mean(b)) if len(b) else math.nan
    quantile = float(scipy.special.stdtrit(error.dof, 0.975))
    found_in_four_of_five = quantile + float(scipy.special.stdtrit(error.dof, 0.8))
    if min(mean_a, mean_b) > 0:
        factor = _factor_within(quantile * error.value)
        low, high = mean_a / factor - mean_b, mean_a * factor - mean_b
        factor = _factor_within(found_in_four_of_five * error.value)
        detectable = 1 - 1 / factor if mean_a < mean_b else factor - 1
    else:
        half_width = quantile * error.value
        low, high = mean_a - mean_b - half_width, mean_a - mean_b + half_width
        detectable = found_in_four_of_five * error.value / mean_b if mean_b > 0 else math.nan
    return DieboldMariano(
        statistic,
        p,
        len(a),
        error.dof,
        mean_a - mean_b,
        relative(a, b),
        ci_low=low,
        ci_high=high,
        detectable=detectable,
        note=note,
    )


def _factor_within(difference: float) -> float:
    """The factor between two means whose difference over the root of their mean square is
    `difference`; NaN where no factor is as large.
    """
    share = 1 - difference**2 / 2
    return math.exp(math.acosh(1 / share)) if share > 0 else math.nan


def relative(a: Array, b: Array) -> float:
    """Mean loss of a over that of b, minus 1; NaN when b makes no error."""
    reference = float(np.mean(b)) if len(b) else 0.0
    return float(np.mean(a)) / reference - 1 if reference > 0 else math.nan


def _pair(loss_a: ArrayLike, loss_b: ArrayLike) -> tuple[Array, Array]:
    """Both as float64; `InputError` for a loss that is not finite."""
    a = np.asarray(loss_a, dtype=float)
    b = np.asarray(loss_b, dtype=float)
    is_bad = ~(np.isfinite(a) & np.isfinite(b))
    if is_bad.any():
        raise InputError(
            f"{is_bad.sum()} of {len(a)} origins have a loss that"
            " is not finite. Leave out the model that returned it: dropping its hardest origins"
            " would flatter it."
        )
    return a, b


@dataclass(frozen=True)
class Equivalence:
    """`word`: "equivalent" or "undecided"; `upper`: the one-sided 95 % limit of the loss increase
    of a over b, as a share; `note`: why nothing could be said.
    """

    word: str
    upper: float
    note: str = ""


def equivalence(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    *,
    margin: float = MARGIN,
    **spacing: Unpack[Spacing],
) -> Equivalence:
    """Is a no more than `margin` worse than b? Not finding a difference is no evidence; a narrow
    bound is.

    The relative loss increase is R = mean(a) / mean(b) - 1; its standard error comes from the
    linearised series (a - (1 + R) b) / mean(b) with the variance of `longrun` (delta method).
    "equivalent" when the one-sided 95 % upper bound of R is below `margin` on at least `ORIGINS`
    origins whose horizons do not overlap (the non-inferiority half of Schuirmann's 1987 two
    one-sided tests; ask again with a and b exchanged for both halves).
    """
    a, b = _pair(loss_a, loss_b)
    n = len(a)
    if n < MINIMUM:
        return Equivalence("undecided", math.nan, f"{n} origins")
    same = np.array_equal(a, b)
    if not same and not math.isfinite(relative(a, b)):
        return Equivalence("undecided", math.nan, "the reference makes no error")
    upper = 0.0
    if not same:
        upper = _upper_limit_of_increase(a, b, dependence(n, **spacing))
    n_separate = non_overlapping(n, **spacing)
    if n_separate < ORIGINS:
        few = f"{n_separate} non-overlapping origins; {ORIGINS} are needed"
        return Equivalence("undecided", upper, few)
    return Equivalence("equivalent" if upper < margin else "undecided", upper)


def _upper_limit_of_increase(a: Array, b: Array, allowed: Dependence) -> float:
    """The one-sided 95 % upper limit of the loss increase of a over b; NaN where there is none."""
    reference = float(b.mean())
    increase = float(a.mean()) / reference - 1
    residuals = (a - (1 + increase) * b) / reference
    # of a model without an error there is nothing to divide
    alike = a / (1 + increase) if increase > -1 else np.zeros_like(a)
    error = standard_error(residuals, allowed, level=(alike + b) / reference)
    room = float(scipy.special.stdtrit(error.dof, 0.95)) * error.value
    return increase + room if math.isfinite(room) else math.nan
