"""The gate: may the challenger take the champion's place? Pure statistics on losses; nothing of
files or clocks.

A gate that is asked every day is asked 250 times a year, and a test at 5 % then says "better" by
luck in every fifth year of two equal recipes or more. So evidence is gathered instead of asked for
anew: the loss difference of every origin enters one growing series once, and the series is compared
with a boundary that is valid at all times together (a confidence sequence).
docs/decisions/0009-a-gate-asked-every-day.md has the alternatives and the simulation.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from forecast.comparison.longrun import Spacing, dependence, mean_error
from forecast.comparison.paired_tests import MARGIN, MINIMUM, equivalence, relative
from forecast.comparison.sentences import percent
from forecast.system import files

Array = NDArray[np.float64]
Outcome = Literal["better", "equivalent", "first", "kept"]


@dataclass(frozen=True)
class GateRules:
    """alpha: chance of any "better" without a reason, over all looks; margin: of "equivalent",
    relative loss.
    """

    alpha: float = 0.05
    margin: float = MARGIN
    min_fresh: int = 60


@dataclass(frozen=True)
class FreshLosses:
    """Mean loss over horizon and series at each fresh origin (n,), time order: the champion's
    recipe, the challenger, repeating the last value. `champion` is None while there is none.
    """

    challenger: Array
    naive: Array
    champion: Array | None = None


@dataclass(frozen=True)
class PairEvidence:
    """Losses of one (champion, recipe) pair over every origin counted so far (m,), each once, the
    fresh ones included.

    `test`: which pair this is among those begun within a year, from 1; `first`: origins at the
    first look.
    """

    champion: Array
    challenger: Array
    pair_number: int
    n_first: int


@dataclass(frozen=True)
class GateVerdict:
    """`word`: better, equivalent and first promote; kept does not.

    `numbers`: everything it was decided on.
    """

    word: Outcome
    reason: str
    numbers: dict[str, Any]


def decide(
    fresh: FreshLosses,
    evidence: PairEvidence | None,
    steps: Spacing,
    rules: GateRules,
    *,
    ageing: str = "",
) -> GateVerdict:
    """The verdict. `ageing`: why the champion is stale or drifting, empty while it is neither.

    Promotes when the challenger is better (`always_valid`), or equivalent to an ageing champion; in
    both cases only with a lower loss than naive on the fresh origins. Without a champion, skill not
    below naive's is enough.
    """
    numbers: dict[str, Any] = {
        "n_fresh": len(fresh.challenger),
        "least_fresh": rules.min_fresh,
        "ageing": ageing,
    }
    if not np.isfinite(fresh.challenger).all():
        bad = int((~np.isfinite(fresh.challenger)).sum())
        return GateVerdict("kept", f"the challenger's loss is not finite at {bad} origins", numbers)
    if len(fresh.challenger) < rules.min_fresh:
        few = f"not enough fresh origins ({len(fresh.challenger)}; {rules.min_fresh} are needed)"
        return GateVerdict("kept", few, numbers)
    numbers |= _means(fresh)
    skill = numbers["challenger_skill"]
    if fresh.champion is None:
        if skill >= 0:
            return GateVerdict(
                "first", f"there is no champion; skill against naive {percent(skill)}", numbers
            )
        return GateVerdict(
            "kept", f"worse than naive ({percent(skill)} skill); there is no champion yet", numbers
        )
    if evidence is None or not np.isfinite(fresh.champion).all():
        return _without_a_champion(skill, numbers)
    sequence = sequential_test(evidence, steps, alpha=pair_alpha(rules.alpha, evidence.pair_number))
    same = equivalence(evidence.challenger, evidence.champion, margin=rules.margin, **steps)
    # Two models with the same loss at every origin are one function: no number of origins is needed
    # to see it.
    word = "equivalent" if np.array_equal(fresh.challenger, fresh.champion) else same.word
    numbers |= {"evidence": asdict(sequence), "test": evidence.pair_number}
    numbers["equivalence"] = {
        "word": word,
        "upper": files.json_number(same.upper),
        "note": same.note,
    }
    return _judged(sequence, word, skill, numbers, ageing)


def _judged(
    sequence: SequentialTest, same: str, skill: float, numbers: dict[str, Any], ageing: str
) -> GateVerdict:
    ahead = numbers["relative_difference"] < 0
    if sequence.better and ahead and skill > 0:
        return GateVerdict(
            "better", f"better than the champion: {_describe_test(sequence)}", numbers
        )
    if ageing and same == "equivalent" and skill > 0:
        return GateVerdict("equivalent", f"no worse than the champion, which is {ageing}", numbers)
    if (sequence.better or (ageing and same == "equivalent")) and not skill > 0:
        return GateVerdict(
            "kept", f"no better than repeating the last value ({percent(skill)} skill)", numbers
        )
    reason = f"not shown to be better: {_describe_test(sequence)}"
    if ageing:
        reason += (
            f"; nor to be no worse (the champion is {ageing};"
            f" {numbers['equivalence']['note'] or same})"
        )
    return GateVerdict("kept", reason, numbers)


def _without_a_champion(skill: float, numbers: dict[str, Any]) -> GateVerdict:
    """The champion forecasts what is not finite: whatever has skill is better."""
    numbers = {
        name: value
        for name, value in numbers.items()
        if not name.startswith(("champion", "relative"))
    }
    if skill > 0:
        return GateVerdict("better", "the champion's forecasts are not finite", numbers)
    return GateVerdict(
        "kept", f"the champion's forecasts are not finite, but skill is {percent(skill)}", numbers
    )


@dataclass(frozen=True)
class SequentialTest:
    """Where the evidence stands: `z` (above zero: the challenger is ahead) against the `boundary`
    of `alpha`.
    """

    z: float
    boundary: float
    n: int
    mean_difference: float
    alpha: float
    note: str = ""

    @property
    def better(self) -> bool:
        return self.z >= self.boundary


def sequential_test(evidence: PairEvidence, steps: Spacing, *, alpha: float) -> SequentialTest:
    """Is the mean of champion - challenger above zero, whenever and however often this is asked?

    z is the normal quantile of the t ratio with the standard error and degrees of freedom of
    `longrun`; the boundary is the one-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe
    & Sekhon 2021, eq. 14), used with an estimated variance as an asymptotic confidence sequence
    (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024). Identical losses are z = 0.
    """
    difference = evidence.champion - evidence.challenger
    n = len(difference)
    mean = float(difference.mean()) if n else math.nan
    limit = boundary(n / max(evidence.n_first, 1), alpha)
    if n < MINIMUM:
        return SequentialTest(0.0, limit, n, mean, alpha, f"{n} origins; {MINIMUM} are needed")
    if not np.any(difference):
        return SequentialTest(0.0, limit, n, mean, alpha, "identical losses")
    error = mean_error(difference, dependence(n, **steps))
    # ahead by one amount everywhere: only a sign, and no variance to judge it by
    if error.value == 0.0:
        return SequentialTest(0.0, limit, n, mean, alpha, "no variance")
    return SequentialTest(normal_score(mean / error.value, error.dof), limit, n, mean, alpha)


def boundary(information: float, alpha: float) -> float:
    """What |z| must reach: sqrt((1 + 1/v) (ln(1 + v) + 2 ln(1 / 2 alpha))), v = n over n at the
    first look.
    """
    v = max(information, 1e-9)
    return math.sqrt((1 + 1 / v) * (math.log1p(v) + 2 * math.log(1 / (2 * alpha))))


def pair_alpha(alpha: float, test: int) -> float:
    """alpha's share of the `test`-th pair (from 1): 6 / (pi k)^2, which sum to alpha over all k."""
    return alpha * 6 / (math.pi * test) ** 2


def normal_score(t: float, dof: float) -> float:
    """The standard normal quantile at the probability that a t ratio with `dof` has at `t`; tails
    stay finite.
    """
    tail = max(float(special.stdtr(dof, -abs(t))), 1e-300)
    return math.copysign(-float(special.ndtri(tail)), t)


def _means(fresh: FreshLosses) -> dict[str, Any]:
    naive, challenger = float(fresh.naive.mean()), float(fresh.challenger.mean())
    found = {"naive_loss": naive, "challenger_loss": challenger}
    found["challenger_skill"] = 1 - challenger / naive if naive > 0 else 0.0
    if fresh.champion is not None:
        found["champion_loss"] = float(fresh.champion.mean())
        found["champion_skill"] = 1 - found["champion_loss"] / naive if naive > 0 else 0.0
        found["relative_difference"] = (
            files.json_number(relative(fresh.challenger, fresh.champion)) or 0.0
        )
    return found


def _describe_test(sequence: SequentialTest) -> str:
    note = f" ({sequence.note})" if sequence.note else ""
    return f"z = {sequence.z:.2f} over {sequence.n} origins, {sequence.boundary:.2f} needed{note}"
