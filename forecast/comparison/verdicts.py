"""The verdicts on one dataset: all paired tests with Holm's correction, which models are tied with
the selected one, and the sentences.

`compare` makes them for stage `compare` (`comparing`), from losses on the test block; models were
selected on validation before. Each `Hypothesis` is a pair of candidates with equal expected loss;
its test (`paired_tests`) becomes a `PairedTest` with its corrected p and the word of `verdict`.

`family` means here a family of hypotheses (`TestFamily`: what a candidate is tested against), not
the family of a model. Another kind of claim is a `TestFamily` with its hypotheses in `_hypotheses`
and a sentence in `sentences`.

`alpha` is that of configs/evaluation.yaml; no file sets the margin of "equivalent"
(`paired_tests.EQUIVALENCE_MARGIN`). The gate of a retraining tests by itself (`operations.gate`),
with alpha and margin of configs/retraining.yaml. The corrected p is stored in verdicts.json
(`PairedTest.p_holm`) and shown by the page (`report.text`) and `Board`; MLflow has the words and
sentences of the tests alone (`tracking.runs.verdict_tags`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, product
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd

from forecast.comparison import paired_tests, sentences
from forecast.comparison.longrun import Spacing
from forecast.comparison.losses import (
    CandidateKey,
    LeftOut,
    candidate_keys,
    keys_in_ranking,
    losses_by_cutoff,
)
from forecast.comparison.paired_tests import ORIGINS, equivalence, non_overlapping
from forecast.config.models import NAIVE
from forecast.data.comparison_records import (
    PairedTest,
    TestFamily,
    TestWord,
    Untrained,
    Verdicts,
)
from forecast.data.results import RANKINGS
from forecast.system.errors import InputError

ALPHA = 0.05
REFERENCE: CandidateKey = (NAIVE, "baseline")
NOTHING_COMPARED = "No model can be compared: no series has a scale and actuals."
Pair = frozenset[CandidateKey]


class Hypothesis(NamedTuple):
    """That `candidate` and `against` have the same expected loss; shown in `ranking`."""

    ranking: str
    candidate: CandidateKey
    against: CandidateKey

    @property
    def pair(self) -> Pair:
        """The two candidates, in no order."""
        return frozenset((self.candidate, self.against))


def compare(
    losses: pd.DataFrame,
    *,
    dataset: str,
    chosen: Mapping[str, str],
    bars: Sequence[str] = (NAIVE,),
    by_rule: Collection[str] = (),
    untrained: Collection[Untrained] = (),
    alpha: float = ALPHA,
    **spacing: Unpack[Spacing],
) -> Verdicts:
    """Every test of the protocol on the losses of the test block.

    losses: long, with LOSS_COLUMNS; `skip` of a network is the baseline that is its skip alone
    chosen: the selected model of each ranking (`losses.select_models`)
    bars: the simple forecasts that "better" has to beat in one test (`_find_hardest`), the lowest
        first (`losses.select_bars`)
    by_rule: as in `name_choice`
    untrained: networks that forecast by their skip alone; they are not tested
    spacing: how the origins lie (`Spacing`)

    `InputError` if the losses of naive, to which every verdict refers, are missing or incomplete.
    """
    losses_of, left_out = losses_by_cutoff(losses)
    if losses_of.empty and not left_out.candidates:
        reasons = sentences.describe_left_out(left_out)
        return Verdicts(dataset=dataset, sentences=(NOTHING_COMPARED, *reasons))
    _require_reference(losses_of, left_out, dataset)
    skips = _skip_by_network(losses)
    not_tested = {(network.model, network.ranking) for network in untrained}
    losses_of = losses_of[[key for key in candidate_keys(losses_of) if key not in not_tested]]
    selected = _find_selected(losses_of, chosen)
    bar_keys = _order_bars(bars, selected.values(), losses_of, spacing)
    references = list(dict.fromkeys((*bar_keys, REFERENCE)))
    hypotheses = _hypotheses(losses_of, skips, selected, references)
    groups = _group_pairs(selected.values(), references, [bar_keys[0], *skips.values()])
    tests = _test_hypotheses(hypotheses, groups, bar_keys, losses_of, alpha, spacing)
    tied = {ranking: _list_tied(tests, ranking, model) for ranking, (model, _) in selected.items()}
    networks = {model for model, _ in skips}  # a combination has no skip
    bar_names = [name for name, _ in bar_keys]
    lines = [
        *sentences.describe_tests(
            dataset, chosen, tests, networks=networks, bars=bar_names, by_rule=by_rule
        ),
        *sentences.describe_bars(bar_names, tests),
        *sentences.describe_untrained(untrained),
        *sentences.describe_left_out(left_out),
        *sentences.describe_notes(tests),
        *sentences.describe_cycles(len(losses_of), spacing),
    ]
    return Verdicts(
        dataset=dataset,
        chosen=dict(chosen),
        by_rule=tuple(by_rule),
        bar=bar_names[0],
        tests=tuple(tests),
        tied=tied,
        untrained=tuple(untrained),
        sentences=tuple(lines),
    )


def _require_reference(losses_of: pd.DataFrame, left_out: LeftOut, dataset: str) -> None:
    """`InputError` without losses of naive."""
    if REFERENCE not in losses_of:
        reason = left_out.candidates.get(REFERENCE, "it has no row")
        raise InputError(
            f"The reference {NAIVE!r} cannot be compared with on {dataset}: {reason}. Every verdict"
            " needs it."
        )


def _find_selected(losses_of: pd.DataFrame, chosen: Mapping[str, str]) -> dict[str, CandidateKey]:
    """The selected candidate by ranking, without the rankings whose selected model was left out."""
    return {
        ranking: key
        for ranking in RANKINGS
        for key in keys_in_ranking(losses_of, ranking)
        if key[0] == chosen.get(ranking)
    }


def _order_bars(
    bars: Sequence[str],
    selected_keys: Collection[CandidateKey],
    losses_of: pd.DataFrame,
    spacing: Spacing,
) -> list[CandidateKey]:
    """Those of `bars` that have losses (naive without any), with those last that have a higher loss
    than every selected candidate by a difference that drifts, so that no test says how long it will
    last. A selected bar stays.
    """
    keys = [(name, "baseline") for name in bars if (name, "baseline") in losses_of] or [REFERENCE]

    def is_drifting(bar: CandidateKey) -> bool:
        if bar in selected_keys or not selected_keys:
            return False
        tests = [
            paired_tests.diebold_mariano(losses_of[key], losses_of[bar], **spacing)
            for key in selected_keys
        ]
        return all(test.is_drift and test.mean_difference < 0 for test in tests)

    return sorted(keys, key=is_drifting)


def _skip_by_network(losses: pd.DataFrame) -> dict[CandidateKey, CandidateKey]:
    """The baseline that is a network's skip alone, by network."""
    networks = losses[["model", "ranking", "skip"]].dropna().drop_duplicates()
    return {
        (model, ranking): (skip, "baseline")
        for model, ranking, skip in networks.itertuples(index=False)
    }


def _hypotheses(
    losses_of: pd.DataFrame,
    skips: Mapping[CandidateKey, CandidateKey],
    selected: Mapping[str, CandidateKey],
    references: Sequence[CandidateKey],
) -> dict[TestFamily, list[Hypothesis]]:
    """The hypotheses of each family: every candidate against the bar, which is the first of
    `references`; every candidate against each of the other references; networks against their skip;
    the candidates of each ranking against its selected one.
    """
    candidates = candidate_keys(losses_of)
    bar, *others = references
    against_bar = [Hypothesis(key[1], key, bar) for key in candidates if key != bar]
    against_others = [
        Hypothesis(key[1], key, reference)
        for reference in others
        for key in candidates
        if key != reference
    ]
    # a network on the last value has no skip model but naive, which is among the references
    skip_models = {*candidates} - {REFERENCE}
    skip = [
        Hypothesis(key[1], key, skips[key]) for key in candidates if skips.get(key) in skip_models
    ]
    best: list[Hypothesis] = []
    for ranking, selected_key in selected.items():
        rivals = [key for key in keys_in_ranking(losses_of, ranking) if key != selected_key]
        best += [Hypothesis(ranking, key, selected_key) for key in rivals]
    return {"bar": against_bar, "reference": against_others, "skip": skip, "best": best}


def _group_pairs(
    selected_keys: Collection[CandidateKey],
    references: Sequence[CandidateKey],
    claimed: Sequence[CandidateKey],
) -> dict[Pair, str]:
    """The group of each pair of a selected candidate and a simple forecast or skip, whose pairs are
    corrected together by Holm's procedure; all other pairs are corrected within their family.

    The claims are the pairs with the bar or a skip (`claimed`), and the other `references` are a
    group of their own. So their words do not depend on which other models ran, and a claim that is
    shown twice has one p and one word.
    """
    groups: dict[Pair, str] = {
        frozenset(pair): "references" for pair in product(selected_keys, references)
    }
    return groups | {frozenset(pair): "claims" for pair in product(selected_keys, claimed)}


def _test_hypotheses(
    hypotheses: Mapping[TestFamily, Sequence[Hypothesis]],
    groups: Mapping[Pair, str],
    bars: Sequence[CandidateKey],
    losses_of: pd.DataFrame,
    alpha: float,
    spacing: Spacing,
) -> list[PairedTest]:
    """Every test of every family, with its word; `groups`: as `_group_pairs` makes them.

    A candidate with a lower loss than the bar has the p against the hardest of `bars`; where this p
    says "better", the candidate is better than each of the bars that were tested.
    """
    losses = {key: losses_of[key].to_numpy(dtype=float) for key in candidate_keys(losses_of)}
    results = {
        hypothesis: paired_tests.diebold_mariano(
            losses[hypothesis.candidate], losses[hypothesis.against], **spacing
        )
        for hypothesis in chain.from_iterable(hypotheses.values())
    }
    hardest = _find_hardest(bars, results)
    corrections = _plan_corrections(hypotheses, groups, results, hardest)
    adjusted = _correct_within_groups(corrections.values())
    tests = []
    p_against_bars: dict[CandidateKey, float] = {}  # of a candidate with a lower loss than a bar
    for (family, hypothesis), (group, pair, lower, _) in corrections.items():
        ranking, candidate, against = hypothesis
        test = results[hypothesis]
        p_holm = adjusted[group][pair]
        if family == "bar" and lower in hardest:
            p_against_bars[lower] = p_holm
        # that against the hardest bar also holds for each other bar that was tested
        elif lower in p_against_bars and hypothesis.pair <= {lower, *hardest[lower].tested_bars}:
            p_holm = min(p_holm, p_against_bars[lower])
        word = verdict(
            test.mean_difference,
            p_holm,
            equivalent=_are_equivalent(losses[candidate], losses[against], spacing),
            enough=non_overlapping(test.n, **spacing) >= ORIGINS,
            alpha=alpha,
        )
        rival = ""
        # a pair of the candidate alone: another bar is harder (`_plan_corrections`)
        if len(pair) == 1 and test.p < alpha <= p_holm:
            rival = hardest[candidate].bar
            test = replace(test, note=f"better than {against[0]}, but not than {rival}")
        tests.append(
            PairedTest(
                ranking=ranking,
                family=family,
                model=candidate[0],
                against=against[0],
                word=word,
                p_holm=p_holm,
                corrected_for=len(adjusted[group]),
                not_better_than=rival,
                **asdict(test),
            )
        )
    return tests


class Correction(NamedTuple):
    """The group in which a hypothesis is corrected, and the pair that counts there with its p."""

    group: str
    pair: Pair
    lower: CandidateKey
    """The candidate with the lower mean loss."""
    p: float


class HardestBar(NamedTuple):
    """The bar against which a candidate has the highest p; p counts as 1 where the bar has the
    lower loss.
    """

    p: float
    bar: str
    tested_bars: frozenset[CandidateKey]
    """The bars that the candidate has to beat."""


def _plan_corrections(
    hypotheses: Mapping[TestFamily, Sequence[Hypothesis]],
    groups: Mapping[Pair, str],
    results: Mapping[Hypothesis, paired_tests.DieboldMariano],
    hardest: Mapping[CandidateKey, HardestBar],
) -> dict[tuple[TestFamily, Hypothesis], Correction]:
    """How each hypothesis of each family is corrected. A candidate with a lower loss than the bar
    is tested against all bars at once, with the p of the hardest.
    """
    corrections = {}
    for family, family_hypotheses in hypotheses.items():
        for hypothesis in family_hypotheses:
            test, pair = results[hypothesis], hypothesis.pair
            group, p = groups.get(pair, family), test.p
            lower = hypothesis.candidate if test.mean_difference < 0 else hypothesis.against
            if family == "bar" and lower in hardest and hardest[lower].p > p:
                pair, p = frozenset({lower}), hardest[lower].p
            corrections[family, hypothesis] = Correction(group, pair, lower, p)
    return corrections


def _correct_within_groups(corrections: Iterable[Correction]) -> dict[str, dict[Pair, float]]:
    """The corrected p of each pair, by group; the first p of a pair counts."""
    pvalues: dict[str, dict[Pair, float]] = {}
    for correction in corrections:
        pvalues.setdefault(correction.group, {}).setdefault(correction.pair, correction.p)
    return {
        group: dict(zip(by_pair, holm(list(by_pair.values())), strict=True))
        for group, by_pair in pvalues.items()
    }


def _find_hardest(
    bars: Sequence[CandidateKey], results: Mapping[Hypothesis, paired_tests.DieboldMariano]
) -> dict[CandidateKey, HardestBar]:
    """The hardest of `bars` for each candidate that is no bar itself: better than the bars in one
    test means that the highest p of theirs says so, which needs no correction for their number
    (intersection-union test, Berger 1982).

    A bar after the first with a higher loss than the candidate need not be beaten if the difference
    drifts through the whole test block, as that from a mean of all history does through a season:
    such a test says neither that the candidate is better nor that it is not.
    """
    against_bars: dict[CandidateKey, list[tuple[float, CandidateKey]]] = {}
    for (_, candidate, against), test in results.items():
        if against not in bars or candidate in bars:
            continue
        is_lower = test.mean_difference < 0
        if is_lower and against != bars[0] and test.is_drift:
            continue
        p = test.p if is_lower else 1.0
        against_bars.setdefault(candidate, []).append((p, against))
    hardest = {}
    for candidate, pairs in against_bars.items():
        p, (bar, _) = max(pairs)
        hardest[candidate] = HardestBar(p, bar, frozenset(against for _, against in pairs))
    return hardest


def _list_tied(tests: Sequence[PairedTest], ranking: str, selected: str) -> tuple[str, ...]:
    """The model `selected`, and the models whose test against it is a tie."""
    ties = [
        test.model
        for test in tests
        if (test.family, test.ranking, test.against) == ("best", ranking, selected) and test.is_tie
    ]
    return (selected, *ties)


def verdict(
    difference: float,
    p: float,
    *,
    equivalent: bool,
    enough: bool,
    alpha: float,
) -> TestWord:
    """The word for a model a against a model b.

    difference: the mean loss of a minus that of b
    p: corrected for the number of tests; NaN if there is none
    equivalent: whether equivalence was shown in both directions
    enough: whether there are origins enough for "not distinguishable"

    "better" or "worse" if p is below `alpha`; else "equivalent" if that was shown; else "undecided"
    with too few origins or no p; else "not distinguishable".
    """
    if p < alpha and difference != 0:
        return "better" if difference < 0 else "worse"
    if equivalent:
        return "equivalent"
    return "not distinguishable" if enough and not math.isnan(p) else "undecided"


def _are_equivalent(a: np.ndarray, b: np.ndarray, spacing: Spacing) -> bool:
    """Whether neither loss is above the other by more than the margin (two one-sided tests)."""
    return all(equivalence(x, y, **spacing).word == "equivalent" for x, y in ((a, b), (b, a)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """The p-values adjusted by Holm's (1979) step-down procedure, which bounds the family-wise
    error under any dependence. A NaN stays NaN and does not count.
    """
    p = np.asarray(pvalues, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted.tolist()
