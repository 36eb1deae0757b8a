"""The gate: the statistical test of whether a challenger may replace the champion.

`decide` judges from `FreshLosses` (the newest origins) and `PairEvidence` (all origins of this pair
so far): "better" by `sequential_test` with a lower loss at the newest origins, or where the
champion has no finite forecasts; "equivalent" by an equivalence test, if the champion is ageing;
"renewed" if it is ageing and the challenger is its recipe on newer data and not shown to be worse;
"first" without a champion; else "kept".

A gate may be asked every day. Of two equal recipes a fixed test at 5 % would then call the
challenger better in more than half of all years. So the loss difference of each origin enters one
growing series once, and the series is compared with a boundary that is valid at all times together
(a confidence sequence); docs/decisions/0009-a-gate-asked-every-day.md has the alternatives and the
simulation.

The challenger must also beat naive at the fresh origins, as a guard against broken forecasts;
without a champion it may equal it. The reference is naive, not the run's strongest simple forecast
(`losses.select_bars`), since another run may select another one.

A loss is one number per origin, the mean over its horizon, targets and series (`evidence`), and all
origins count alike: nothing is judged by hour, weekday or series. The numbers behind a decision are
`records.GateNumbers`, stored by `pending`; a further limit is a field of
`config.operation.Retraining` and of `GateRules`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from forecast.comparison.longrun import (
    Spacing,
    asymptotic_inflation,
    dependence,
    limit_cosines,
    standard_error,
)
from forecast.comparison.paired_tests import EQUIVALENCE_MARGIN, MINIMUM, equivalence, relative
from forecast.comparison.sentences import signed_percent
from forecast.operations.records import EquivalenceNumbers, GateNumbers, Outcome, SequentialTest
from forecast.system import files

FEWEST_GATE_COSINES = 5
"""The fewest cosines of the variance estimate, unless the overlap of horizons allows fewer."""
SHARE_OF_COSINES = 0.7
"""The number of cosines relative to that of a single test. A daily test meets its worst day, and
estimates from fewer, lower frequencies are less misled by persistent errors.
"""
WORSE_Z = -1.645
"""At or below this z a recipe on newer data is shown to be worse (one-sided, 5 % at one look)."""
NO_CHAMPION_LOSS = (
    "the champion's forecasts are not finite there, or its recipe could not be fitted again"
)
SAME_FORECASTS = "the challenger is the recipe that serves: both forecast the same at every origin"
Losses = NDArray[np.float64]
"""Mean scaled absolute errors (n,), one per origin, in the order of time."""


@dataclass(frozen=True)
class GateRules:
    """The settings of a gate."""

    alpha: float = 0.05
    """Probability of a wrong "better" in a year of daily tests."""
    margin: float = EQUIVALENCE_MARGIN
    """Relative loss difference up to which a challenger is equivalent."""
    min_fresh: int = 60
    """The fewest fresh origins on which a gate decides."""


@dataclass(frozen=True)
class FreshLosses:
    """The losses at the fresh origins; n is equal for all."""

    challenger: Losses
    naive: Losses
    """Those of repeating the last value."""
    champion: Losses | None = None
    """Those of the champion or its recipe; None without a champion."""


@dataclass(frozen=True)
class PairEvidence:
    """The losses of one pair of champion and challenger at all origins so far."""

    champion: Losses
    challenger: Losses
    pair_number: int
    """The number of this pair among those that began within a year, from 1."""
    n_first: int
    """How many origins there were at the first test."""


@dataclass(frozen=True)
class GateVerdict:
    """The gate's outcome and its numbers."""

    word: Outcome
    reason: str
    numbers: GateNumbers


def decide(
    fresh: FreshLosses,
    evidence: PairEvidence | None,
    spacing: Spacing,
    rules: GateRules,
    *,
    ageing_reason: str = "",
    is_same_recipe: bool = False,
) -> GateVerdict:
    """Decide whether the challenger is promoted.

    It is promoted when it is better (`sequential_test`), or equivalent to an ageing champion, or an
    ageing champion's recipe on newer data and not shown to be worse; in all these cases only with a
    lower loss than naive at the fresh origins. Without a champion a loss not above naive's is
    enough.

    ageing_reason: why the champion is stale or drifting, empty where it is neither. is_same_recipe:
    whether the challenger is the champion's recipe on newer data. evidence: None without a
    champion, and where it has no finite forecasts: there a lower loss than naive is enough.
    """
    n_fresh = len(fresh.challenger)
    counts = GateNumbers(n_fresh=n_fresh, least_fresh=rules.min_fresh, ageing_reason=ageing_reason)
    if n_bad := int((~np.isfinite(fresh.challenger)).sum()):
        return GateVerdict(
            "kept", f"the challenger's loss is not finite at {n_bad} origins", counts
        )
    if n_fresh < rules.min_fresh:
        return GateVerdict(
            "kept", f"not enough fresh origins ({n_fresh}; {rules.min_fresh} are needed)", counts
        )
    skill = _skill(fresh.challenger, fresh.naive)
    numbers = counts.model_copy(
        update={
            "naive_loss": float(fresh.naive.mean()),
            "challenger_loss": float(fresh.challenger.mean()),
            "challenger_skill": files.json_number(skill),
        }
    )
    if fresh.champion is None:
        if skill >= 0:
            return GateVerdict(
                "first",
                f"there is no champion; skill against naive {signed_percent(skill)}",
                numbers,
            )
        return GateVerdict(
            "kept",
            f"worse than naive ({_describe_skill(skill)}); there is no champion yet",
            numbers,
        )
    if evidence is None or not np.isfinite(fresh.champion).all():
        # a challenger with skill is better than a champion without finite forecasts
        if skill > 0:
            return GateVerdict("better", NO_CHAMPION_LOSS, numbers)
        return GateVerdict(
            "kept",
            f"{NO_CHAMPION_LOSS}, but no better than naive ({_describe_skill(skill)})",
            numbers,
        )
    return _compare(fresh, fresh.champion, evidence, spacing, rules, numbers, is_same_recipe)


def _compare(
    fresh: FreshLosses,
    champion: Losses,
    evidence: PairEvidence,
    spacing: Spacing,
    rules: GateRules,
    numbers: GateNumbers,
    is_same_recipe: bool,
) -> GateVerdict:
    """Decide between a challenger and a champion with finite losses.

    "better" also asks for a lower mean loss at the fresh origins, "equivalent" and "renewed" do
    not. A challenger that is no better than the naive forecast is never taken.
    """
    sequence = sequential_test(
        evidence, spacing, alpha=pair_alpha(rules.alpha, evidence.pair_number)
    )
    same = equivalence(evidence.challenger, evidence.champion, margin=rules.margin, **spacing)
    # two models with equal losses at every origin are taken for the same function, however few
    # origins there are
    is_identical = np.array_equal(fresh.challenger, champion)
    equivalence_word = "equivalent" if is_identical else same.word
    relative_change = files.json_number(relative(fresh.challenger, champion)) or 0.0
    numbers = numbers.model_copy(
        update={
            "champion_loss": float(champion.mean()),
            "champion_skill": files.json_number(_skill(champion, fresh.naive)),
            "relative_difference": relative_change,
            "evidence": sequence,
            "pair_number": evidence.pair_number,
            "equivalence": EquivalenceNumbers(
                word=equivalence_word, upper=same.upper, note=same.note
            ),
        }
    )
    ageing_reason = numbers.ageing_reason
    described = _describe_test(sequence)
    is_not_worse = not sequence.note and sequence.z > WORSE_Z
    outcome: Outcome = "kept"
    if sequence.is_better and relative_change < 0:
        outcome = "better"
        reason = f"better than the champion: {described}"
    elif ageing_reason and equivalence_word == "equivalent":
        outcome = "equivalent"
        reason = f"no worse than the champion, which is {ageing_reason}"
    elif ageing_reason and is_same_recipe and is_not_worse:
        outcome = "renewed"
        reason = (
            f"the champion's recipe on newer data, not shown to be worse; the champion is"
            f" {ageing_reason}"
        )
    elif is_identical:
        reason = SAME_FORECASTS
    else:
        reason = f"not shown to be better: {described}"
        if sequence.is_better:
            reason = f"better over all origins ({described}), not over the fresh ones"
        if ageing_reason:
            outcome_of_same = same.note or equivalence_word
            reason += f"; nor to be no worse (the champion is {ageing_reason}; {outcome_of_same})"
    skill = _skill(fresh.challenger, fresh.naive)
    if outcome != "kept" and skill <= 0:
        outcome = "kept"
        reason = f"no better than repeating the last value ({_describe_skill(skill)})"
    return GateVerdict(outcome, reason, numbers)


def _skill(loss: Losses, naive: Losses) -> float:
    """1 - mean of `loss` / mean of `naive`, the losses of repeating the last value.

    Where that makes no error it is 0 without a loss, else minus infinity; `metrics.skill` is NaN
    there, which a verdict cannot compare.
    """
    naive_mean = float(naive.mean())
    if naive_mean > 0:
        return 1 - float(loss.mean()) / naive_mean
    return -math.inf if loss.any() else 0.0


def _describe_skill(skill: float) -> str:
    """`-12.3 % skill`, or a clause where naive makes no error and there is no percentage."""
    return f"{signed_percent(skill)} skill" if math.isfinite(skill) else "which makes no error"


def sequential_test(evidence: PairEvidence, spacing: Spacing, *, alpha: float) -> SequentialTest:
    """Test whether the mean of champion - challenger is above zero; valid however often it is made.

    z is the normal quantile of the t ratio, with the standard error and degrees of freedom of
    `longrun`. The boundary is the one-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe
    & Sekhon 2021, eq. 14), used with an estimated variance as an asymptotic confidence sequence
    (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024). z is 0 where a `note` says why there is no
    test: too few origins, identical losses or an equal difference at every origin.
    """
    gain = evidence.champion - evidence.challenger
    n = len(gain)
    start = SequentialTest(
        z=0.0,
        boundary=boundary(n / max(evidence.n_first, 1), alpha),
        n=n,
        mean_difference=float(gain.mean()) if n else None,
        alpha=alpha,
    )
    if n < MINIMUM:
        return start.model_copy(update={"note": f"{n} origins; {MINIMUM} are needed"})
    if not np.any(gain):
        return start.model_copy(update={"note": "identical losses"})
    allowed = dependence(n, **spacing)
    usual_cosines = max(FEWEST_GATE_COSINES, round(SHARE_OF_COSINES * allowed.cosines))
    cosines = limit_cosines(usual_cosines, n, **spacing)
    error = standard_error(gain, replace(allowed, cosines=cosines), asymptotic_inflation)
    # the same difference at every origin: there is no variance to judge it by
    if error.value == 0.0:
        return start.model_copy(update={"note": "no variance"})
    z = normal_score(float(gain.mean()) / error.value, error.dof)
    return start.model_copy(update={"z": z})


def boundary(information: float, alpha: float) -> float:
    """The boundary that z must reach: sqrt((1 + 1/v) (ln(1 + v) + 2 ln(1 / 2 alpha))).

    information: v, the number of origins / their number at the first test.
    """
    v = max(information, 1e-9)
    return math.sqrt((1 + 1 / v) * (math.log1p(v) + 2 * math.log(1 / (2 * alpha))))


def pair_alpha(alpha: float, pair_number: int) -> float:
    """The part of alpha for pair number k (from 1): alpha 6 / (pi k)²; all parts sum to alpha."""
    return alpha * 6 / (math.pi * pair_number) ** 2


def normal_score(t: float, dof: float) -> float:
    """The z that a standard normal variable exceeds as often as a variable of Student's t
    distribution with `dof` degrees of freedom exceeds `t`; finite also in the far tails.
    """
    tail = max(float(scipy.special.stdtr(dof, -abs(t))), 1e-300)
    return math.copysign(-float(scipy.special.ndtri(tail)), t)


def _describe_test(sequence: SequentialTest) -> str:
    note = f" ({sequence.note})" if sequence.note else ""
    return f"z = {sequence.z:.2f} over {sequence.n} origins, {sequence.boundary:.2f} needed{note}"
