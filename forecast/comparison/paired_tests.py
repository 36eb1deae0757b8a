"""Tests of two models on the same origins: `diebold_mariano` for a difference, `equivalence` for no
more than a margin of extra loss.

They take losses (n,), one per origin in time order, and allow for their dependence (`longrun`).
p-values are corrected for several tests in `verdicts`, not here. With too few origins there is no
p, and a note says why. Limits of a difference are those of 95 % whatever `alpha` is, and are not
corrected; the words "95 %" stand in `sentences` and `report.text`, too.
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
"""Losses with a smaller relative difference are equal but for rounding."""
EQUIVALENCE_MARGIN = 0.02
"""The extra loss, as a share, that equivalence allows; `sentences` says it as 2 %. The gate takes
`margin` of configs/retraining.yaml, whose default `config.operation` has once more.
"""
ORIGINS = 30
"""Fewest origins with horizons that do not overlap for "equivalent" and "not distinguishable"."""
DRIFT_ORIGINS = 20
"""The same for a drift: with fewer runs chance looks like a random walk."""
FAR_APART = 3
"""Ratio of two mean losses above which their plain difference is tested too. At 2, similar
forecasters with wild losses would be distinguished too often (docs/research/paired-tests.md).
"""


@dataclass(frozen=True)
class DieboldMariano:
    """The test of model a against model b; `data.comparison_records.PairedTest` has its fields."""

    p: float
    """Of the two-sided test; NaN if nothing can be said, and `note` says why."""
    n: int
    """The number of origins."""
    dof: float
    """The degrees of freedom of the t ratio."""
    mean_difference: float
    """The mean loss of a minus that of b: below zero a is better."""
    relative_difference: float
    """The mean difference over the mean loss of b."""
    ci_low: float
    ci_high: float
    """The 95 % limits of the mean difference."""
    detectable: float
    """The smallest true difference on the side of this one, over the mean loss of b, that a test at
    5 % finds in four of five samples like this one.
    """
    is_drift: bool = False
    """Whether the difference drifts as a random walk does, so that the test leaves no bound of it.
    """
    note: str = ""


def diebold_mariano(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    **spacing: Unpack[Spacing],
) -> DieboldMariano:
    """Test that a and b have the same expected loss (Diebold & Mariano 1995; as Giacomini & White
    2006 read it).

    loss_a, loss_b: (n,), the mean loss over the horizon at each origin, in time order
    spacing: how the origins lie (`Spacing`)

    The test uses losses as shares of their means, so that a season in which both models err more
    does not blur which errs less (`_compare_means`); variance and degrees of freedom are those of
    `longrun`. With too few origins p is NaN, and identical losses give p 1. If a is the same
    multiple of b at every origin there is no variance, and a sign test on non-overlapping origins
    takes the place. `InputError` if a loss is not finite.
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
        return _result(math.nan, StandardError(math.nan, math.nan), a, b, note)
    if (np.abs(a - b) <= ROUNDING * np.abs(b)).all():
        return _result(1.0, StandardError(0.0, n - 1.0), a, b, "identical losses")
    difference, error = _compare_means(a, b, dependence(n, **spacing))
    if error.value == 0.0:
        blocks = np.flatnonzero(a != b) // overlap
        n_separate = len(np.unique(blocks))
        p = min(1.0, 2 * 0.5**n_separate)  # all differences have the same sign
        return _result(
            p,
            error,
            a,
            b,
            f"no variance: sign test on {plural(n_separate, 'origin')}",
        )
    p = float(2 * scipy.special.stdtr(error.dof, -abs(difference) / error.value))
    result = _result(p, error, a, b)
    is_drift = error.is_like_random_walk and math.isnan(result.ci_high)
    return replace(result, is_drift=is_drift and non_overlapping(n, **spacing) >= DRIFT_ORIGINS)


def _compare_means(a: Array, b: Array, allowed: Dependence) -> tuple[float, StandardError]:
    """The difference of the mean losses over the root of their mean square, and its standard error.

    The error is that of the linearised ratio a / mean(a) - b / mean(b) (delta method), from which a
    common level cancels; it is exact if both losses have the same relative noise. Without a ratio,
    if a mean is not above zero, the plain difference is tested.

    If one mean is more than `FAR_APART` times the other, the smaller one of this error and that of
    a - b counts: a model with small errors may err twice as much in some weeks, which widens the
    error of the ratio, though it stays far below the other model in each of them.
    """
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if min(mean_a, mean_b) <= 0:
        return mean_a - mean_b, standard_error(a - b, allowed)
    shares_a, shares_b = a / mean_a, b / mean_b
    std_error = standard_error(shares_a - shares_b, allowed, level=shares_a + shares_b)
    scale = math.sqrt((mean_a**2 + mean_b**2) / 2)
    if max(mean_a, mean_b) > FAR_APART * min(mean_a, mean_b):
        plain = standard_error((a - b) / scale, allowed)
        std_error = min(std_error, plain, key=attrgetter("value"))
    return (mean_a - mean_b) / scale, std_error


def non_overlapping(n: int, **spacing: Unpack[Spacing]) -> int:
    """How many of n origins have horizons without a common target."""
    return (n - 1) // count_overlapping(**spacing) + 1 if n else 0


def _result(p: float, error: StandardError, a: Array, b: Array, note: str = "") -> DieboldMariano:
    """The record of a test. The limits of the mean difference and the detectable difference follow
    from `error`; they are NaN if the standard error is NaN or leaves no bound.
    """
    mean_a, mean_b = _mean(a), _mean(b)
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
    `difference`; NaN if no factor gives so large a difference.
    """
    share = 1 - difference**2 / 2
    return math.exp(math.acosh(1 / share)) if share > 0 else math.nan


def relative(a: Array, b: Array) -> float:
    """The mean loss of a over that of b, minus 1; NaN if b makes no error."""
    reference = _mean(b)
    return _mean(a) / reference - 1 if reference > 0 else math.nan


def _mean(losses: Array) -> float:
    """NaN if there are none."""
    return float(np.mean(losses)) if len(losses) else math.nan


def _pair(loss_a: ArrayLike, loss_b: ArrayLike) -> tuple[Array, Array]:
    """Both losses as float64; `InputError` if one is not finite."""
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
    """Whether model a is no more than a margin worse than model b."""

    word: str
    """"equivalent" (shown to be no more than the margin worse; this half alone) or "undecided"."""
    upper: float
    """The one-sided upper 95 % limit of the extra loss of a over b, as a share."""
    note: str = ""
    """Why the test could not be made, or cannot show an equivalence."""


def equivalence(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    *,
    margin: float = EQUIVALENCE_MARGIN,
    **spacing: Unpack[Spacing],
) -> Equivalence:
    """Test that a is no more than `margin` worse than b: one half of the two one-sided tests of
    Schuirmann (1987); exchange a and b for the other half.

    loss_a, loss_b, spacing: as in `diebold_mariano`
    margin: the extra loss that is allowed, as a share

    "equivalent" if the one-sided 95 % upper limit of the extra loss R = mean(a) / mean(b) - 1 is
    below `margin`, on at least `ORIGINS` origins whose horizons do not overlap. The standard error
    of R is that of the linearised series (a - (1 + R) b) / mean(b) (delta method, `longrun`).
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
    """The one-sided upper 95 % limit of the extra loss of a over b, as a share; NaN if there is no
    limit.
    """
    reference = float(b.mean())
    increase = float(a.mean()) / reference - 1
    residuals = (a - (1 + increase) * b) / reference
    # a model without an error has no factor to divide by
    alike = a / (1 + increase) if increase > -1 else np.zeros_like(a)
    std_error = standard_error(residuals, allowed, level=(alike + b) / reference)
    room = float(scipy.special.stdtrit(std_error.dof, 0.95)) * std_error.value
    return increase + room if math.isfinite(room) else math.nan
