"""The gate: may the challenger take the champion's place? Pure statistics on losses; nothing of
files or clocks.

`decide` gives a `GateVerdict` from `FreshLosses` (the newest origins) and `PairEvidence` (every
origin that this pair has counted): "better" by `sequential_test`, "equivalent" by an equivalence
test where the champion ages, "renewed" where it ages and the challenger is its recipe on newer
data, "first" where there is none, else "kept".

A gate that is asked every day is asked 250 times a year, and a test at 5 % then says "better" by
luck in every fifth year of two equal recipes or more. So evidence is gathered instead of asked for
anew: the loss difference of every origin enters one growing series once, and the series is compared
with a boundary that is valid at all times together (a confidence sequence).
docs/decisions/0009-a-gate-asked-every-day.md has the alternatives and the simulation.

Whatever says "better", "equivalent" or "renewed", the challenger must also lose less than naive on
the fresh origins. That guards against forecasts that have gone wrong and claims nothing; so the
reference is always naive, and not the bar of the run (`losses.select_bars`), which another run may
choose anew. Nothing is counted or written here (`evidence.Ledger`), and nothing promoted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy
from numpy.typing import NDArray

from forecast.comparison.longrun import (
    Spacing,
    dependence,
    limit_cosines,
    many_runs_inflation,
    standard_error,
)
from forecast.comparison.paired_tests import MARGIN, MINIMUM, equivalence, relative
from forecast.comparison.sentences import signed_percent
from forecast.operations.records import EquivalenceNumbers, GateNumbers, Outcome, SequentialTest
from forecast.system import files

FEWEST_COSINES = 5
"""Unless the overlap allows fewer."""
SHARE_OF_COSINES = 0.7
"""Of the cosines of a single test: a series that is looked at daily meets its worst day, and the
lowest frequencies are the least misled by errors that persist.
"""
WORSE_Z = -1.645
"""At or below it a recipe on newer data is shown to be worse: one-sided, 5 % at a single look."""
NO_CHAMPION_LOSS = (
    "the champion's forecasts are not finite there, or its recipe could not be fitted again"
)
SAME_RECIPE = "the challenger is the recipe that serves: both forecast the same at every origin"
Losses = NDArray[np.float64]
"""One mean scaled absolute error per origin, in the order of time."""


@dataclass(frozen=True)
class GateRules:
    """What a gate asks of a challenger."""

    alpha: float = 0.05
    """Chance of any "better" without a reason, over a year of looks."""
    margin: float = MARGIN
    """Relative loss up to which a challenger is equivalent."""
    min_fresh: int = 60
    """The fewest fresh origins that a gate decides on."""


@dataclass(frozen=True)
class FreshLosses:
    """Mean loss over horizon and series at each fresh origin (n,), in the order of time."""

    challenger: Losses
    naive: Losses
    """Of repeating the last value."""
    champion: Losses | None = None
    """Of the champion or its recipe; None while there is no champion."""


@dataclass(frozen=True)
class PairEvidence:
    """Losses of one pair of champion and recipe at every origin counted so far (m,), each once."""

    champion: Losses
    challenger: Losses
    pair_number: int
    """Which pair this is among those begun within a year, from 1."""
    n_first: int
    """Origins at the first look."""


@dataclass(frozen=True)
class GateVerdict:
    """`word`: better, equivalent, renewed and first promote; kept does not."""

    word: Outcome
    reason: str
    numbers: GateNumbers


def decide(
    fresh: FreshLosses,
    evidence: PairEvidence | None,
    spacing: Spacing,
    rules: GateRules,
    *,
    ageing: str = "",
    is_same_recipe: bool = False,
) -> GateVerdict:
    """The verdict. `ageing`: why the champion is stale or drifting, empty while it is neither;
    `is_same_recipe`: the challenger is the champion's recipe on newer data; `evidence`: None where
    the champion gave no forecasts to compare with; then any skill is enough.

    Promotes when the challenger is better (`sequential_test`), or equivalent to an ageing champion,
    or an ageing champion's recipe and not shown to be worse: what the leaderboard scored is that
    recipe, fitted again and again. In all these cases only with a lower loss than naive on the
    fresh origins. Without a champion, skill not below naive's is enough.
    """
    n_fresh = len(fresh.challenger)
    counts = GateNumbers(n_fresh=n_fresh, least_fresh=rules.min_fresh, ageing=ageing)
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
        # whatever has skill is better than forecasts that are not finite
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
    """The verdict on a challenger and a `champion` with finite losses.

    A rule about the newest weeks would look at `fresh`, which holds the newest 28 days or 60
    sessions by default (`Retraining.count_fresh_steps`): "better" already asks for a lower mean
    loss there (`difference`), "equivalent" does not.
    """
    sequence = sequential_test(
        evidence, spacing, alpha=pair_alpha(rules.alpha, evidence.pair_number)
    )
    same = equivalence(evidence.challenger, evidence.champion, margin=rules.margin, **spacing)
    # Two models with the same loss at every origin are one function: no number of origins is needed
    # to see it.
    is_identical = np.array_equal(fresh.challenger, champion)
    word = "equivalent" if is_identical else same.word
    difference = files.json_number(relative(fresh.challenger, champion)) or 0.0
    numbers = numbers.model_copy(
        update={
            "champion_loss": float(champion.mean()),
            "champion_skill": files.json_number(_skill(champion, fresh.naive)),
            "relative_difference": difference,
            "evidence": sequence,
            "pair_number": evidence.pair_number,
            "equivalence": EquivalenceNumbers(word=word, upper=same.upper, note=same.note),
        }
    )
    ageing = numbers.ageing
    described = _describe_test(sequence)
    is_not_worse = not sequence.note and sequence.z > WORSE_Z
    if sequence.is_better and difference < 0:
        verdict = GateVerdict("better", f"better than the champion: {described}", numbers)
    elif ageing and word == "equivalent":
        reason = f"no worse than the champion, which is {ageing}"
        verdict = GateVerdict("equivalent", reason, numbers)
    elif ageing and is_same_recipe and is_not_worse:
        reason = "the champion's recipe on newer data, not shown to be worse; the champion is "
        verdict = GateVerdict("renewed", f"{reason}{ageing}", numbers)
    elif is_identical:
        return GateVerdict("kept", SAME_RECIPE, numbers)
    else:
        reason = f"not shown to be better: {described}"
        if sequence.is_better:
            reason = f"better over all origins ({described}), not over the fresh ones"
        if ageing:
            reason += f"; nor to be no worse (the champion is {ageing}; {same.note or word})"
        return GateVerdict("kept", reason, numbers)
    skill = _skill(fresh.challenger, fresh.naive)
    if skill > 0:
        return verdict
    return GateVerdict(
        "kept", f"no better than repeating the last value ({_describe_skill(skill)})", numbers
    )


def _skill(loss: Losses, naive: Losses) -> float:
    """1 - mean loss / mean loss of repeating the last value. Where that one makes no error (NaN in
    `metrics.skill`) a verdict needs a number too: 0 for no loss, minus infinity for any other.
    """
    naive_mean = float(naive.mean())
    if naive_mean > 0:
        return 1 - float(loss.mean()) / naive_mean
    return -math.inf if loss.any() else 0.0


def _describe_skill(skill: float) -> str:
    """`-12.3 % skill`; of naive without an error there is no share."""
    return f"{signed_percent(skill)} skill" if math.isfinite(skill) else "which makes no error"


def sequential_test(evidence: PairEvidence, spacing: Spacing, *, alpha: float) -> SequentialTest:
    """Is the mean of champion - challenger above zero, whenever and however often this is asked?

    z is the normal quantile of the t ratio with the standard error and degrees of freedom of
    `longrun`; the boundary is the one-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe
    & Sekhon 2021, eq. 14), used with an estimated variance as an asymptotic confidence sequence
    (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024). Identical losses are z = 0.
    """
    difference = evidence.champion - evidence.challenger
    n = len(difference)
    start = SequentialTest(
        z=0.0,
        boundary=boundary(n / max(evidence.n_first, 1), alpha),
        n=n,
        mean_difference=float(difference.mean()) if n else None,
        alpha=alpha,
    )
    if n < MINIMUM:
        return start.model_copy(update={"note": f"{n} origins; {MINIMUM} are needed"})
    if not np.any(difference):
        return start.model_copy(update={"note": "identical losses"})
    allowed = dependence(n, **spacing)
    usual_cosines = max(FEWEST_COSINES, round(SHARE_OF_COSINES * allowed.cosines))
    cosines = limit_cosines(usual_cosines, n, **spacing)
    error = standard_error(difference, replace(allowed, cosines=cosines), many_runs_inflation)
    # ahead by one amount everywhere: only a sign, and no variance to judge it by
    if error.value == 0.0:
        return start.model_copy(update={"note": "no variance"})
    z = normal_score(float(difference.mean()) / error.value, error.dof)
    return start.model_copy(update={"z": z})


def boundary(information: float, alpha: float) -> float:
    """What z must reach: sqrt((1 + 1/v) (ln(1 + v) + 2 ln(1 / 2 alpha))).

    `information` is v, the origins counted over those at the first look.
    """
    v = max(information, 1e-9)
    return math.sqrt((1 + 1 / v) * (math.log1p(v) + 2 * math.log(1 / (2 * alpha))))


def pair_alpha(alpha: float, pair_number: int) -> float:
    """alpha's share of pair number k (from 1): 6 / (pi k)^2; over all k they sum to alpha."""
    return alpha * 6 / (math.pi * pair_number) ** 2


def normal_score(t: float, dof: float) -> float:
    """The standard normal quantile at the probability that a t ratio with `dof` has at `t`; tails
    stay finite.
    """
    tail = max(float(scipy.special.stdtr(dof, -abs(t))), 1e-300)
    return math.copysign(-float(scipy.special.ndtri(tail)), t)


def _describe_test(sequence: SequentialTest) -> str:
    note = f" ({sequence.note})" if sequence.note else ""
    return f"z = {sequence.z:.2f} over {sequence.n} origins, {sequence.boundary:.2f} needed{note}"
