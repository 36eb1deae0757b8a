"""One dataset's losses to its verdicts: the claims, the families of tests, who is tied with the
selected model, and sentences.

`compare` does it all, for stage `compare` (`comparing`), from losses on the test block and the
selection that validation made; it selects nothing. A pair of candidates is a `Hypothesis`, its test
(`paired_tests`) a `PairedTest` with its p after Holm's correction and the word of `verdict`.
Incomplete candidates are left out and named, untrained networks are not tested; without naive, to
which every verdict refers, it is an `InputError`.

`family` is a family of hypotheses here (`TestFamily`, by what a candidate is tested against), and
never the kind of a model (`forecast.models.families`). The next kind of claim is a `TestFamily`
with its hypotheses in `_hypotheses`, and its sentence in `sentences`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd

from forecast.comparison import paired_tests, sentences
from forecast.comparison.longrun import Spacing
from forecast.comparison.losses import Key, candidate_keys, keys_in_ranking, losses_by_origin
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
REFERENCE: Key = (NAIVE, "baseline")
NOTHING_COMPARED = "No model can be compared: no series has a scale and actuals."


Pair = frozenset[Key]


class Hypothesis(NamedTuple):
    """`candidate` and `against` have the same loss; shown in `ranking`."""

    ranking: str
    candidate: Key
    against: Key

    @property
    def pair(self) -> Pair:
        """The two without their order."""
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
    """Every test of the protocol on the test block's losses.

    `losses` long: model, ranking (shipped | architecture | baseline), skip (of a network the
    baseline that is its skip alone), unique_id, cutoff, loss = mean over the horizon at that
    origin, scaled if there are several series. `chosen`: ranking to the selected model
    (`select_models`); `bars`: the simple forecasts near the lowest of them there, that one first
    (`losses.select_bars`). `untrained`: networks that are their skip; they are no models of their
    own and are not tested. `by_rule` as in `name_choice`.

    "Better" than the bar, the first of `bars` from which no selected candidate drifts, means better
    than each of them in one test: its p is the highest of theirs, which needs no correction for
    their number (intersection-union, Berger 1982). A further bar from which a candidate drifts need
    not be beaten (`_find_hardest`).

    The claims, each pair of a selected candidate and the bar or a skip, are corrected together by
    Holm, and so are its pairs with the other simple forecasts; so their words do not depend on what
    else ran, and a claim that is shown twice has one p and one word. The other pairs are corrected
    within their family: a pair of two families in each.

    Raises:
        InputError: the losses of naive, to which every verdict refers, are missing or incomplete.
    """
    means, left_out = losses_by_origin(losses)
    if means.empty and all(kind == "series" for _, kind in left_out):
        reasons = sentences.describe_left_out(left_out)
        return Verdicts(dataset=dataset, sentences=(NOTHING_COMPARED, *reasons))
    if REFERENCE not in means:
        reason = left_out.get(REFERENCE, "it has no row")
        raise InputError(
            f"The reference {NAIVE!r} cannot be compared with on {dataset}: {reason}. Every verdict"
            " needs it."
        )
    skips = _skip_by_network(losses)
    not_tested = {(network.model, network.ranking) for network in untrained}
    means = means[[key for key in candidate_keys(means) if key not in not_tested]]
    # without the rankings whose selected model was left out
    selected = {
        ranking: key
        for ranking in RANKINGS
        for key in keys_in_ranking(means, ranking)
        if key[0] == chosen.get(ranking)
    }
    winners = list(selected.values())
    near = [(name, "baseline") for name in bars if (name, "baseline") in means] or [REFERENCE]
    bar_keys = _put_drifting_last(near, winners, means, spacing)
    references = list(dict.fromkeys((*bar_keys, REFERENCE)))
    bar = bar_keys[0][0]
    hypotheses = _hypotheses(means, skips, selected, references)
    groups = {frozenset((winner, key)): "references" for winner in winners for key in references}
    for winner in winners:
        groups |= {frozenset((winner, key)): "claims" for key in (bar_keys[0], *skips.values())}
    tests = _test_hypotheses(hypotheses, groups, bar_keys, means, alpha, spacing)
    tied = {ranking: _list_tied(tests, ranking, winner[0]) for ranking, winner in selected.items()}
    networks = {model for model, _ in skips}  # a combination is none
    bar_names = [name for name, _ in bar_keys]
    lines = [
        *sentences.describe_tests(
            dataset, chosen, tests, networks=networks, bars=bar_names, by_rule=by_rule
        ),
        *sentences.describe_bars(bar_names, tests),
        *sentences.describe_untrained(untrained),
        *sentences.describe_left_out(left_out),
        *sentences.describe_notes(tests),
        *sentences.describe_cycles(len(means), spacing),
    ]
    return Verdicts(
        dataset=dataset,
        chosen=dict(chosen),
        by_rule=tuple(by_rule),
        bar=bar,
        tests=tuple(tests),
        tied=tied,
        untrained=tuple(untrained),
        sentences=tuple(lines),
    )


def _put_drifting_last(
    bars: Sequence[Key], winners: Sequence[Key], means: pd.DataFrame, spacing: Spacing
) -> list[Key]:
    """`bars`, with those put last that have a higher loss than every selected candidate where the
    difference drifts through the whole test block, so that no test says how long it will last. A
    bar that is selected keeps its place.
    """

    def is_drifting(bar: Key) -> bool:
        if bar in winners or not winners:
            return False
        tests = [
            paired_tests.diebold_mariano(means[winner], means[bar], **spacing) for winner in winners
        ]
        return all(test.is_drift and test.mean_difference < 0 for test in tests)

    return sorted(bars, key=is_drifting)


def _skip_by_network(losses: pd.DataFrame) -> dict[Key, Key]:
    """Every network to the baseline that is its skip alone."""
    networks = losses[["model", "ranking", "skip"]].dropna().drop_duplicates()
    return {
        (model, ranking): (skip, "baseline")
        for model, ranking, skip in networks.itertuples(index=False)
    }


def _hypotheses(
    means: pd.DataFrame,
    skips: Mapping[Key, Key],
    selected: Mapping[str, Key],
    references: Sequence[Key],
) -> dict[TestFamily, list[Hypothesis]]:
    """What each family tests: everybody against the bar, the first of `references`, and against
    each of the others, networks against their skip, everybody against the selected candidate of the
    ranking.
    """
    candidates = candidate_keys(means)
    bar, *others = references
    against_bar = [Hypothesis(key[1], key, bar) for key in candidates if key != bar]
    against_others = [
        Hypothesis(key[1], key, reference)
        for reference in others
        for key in candidates
        if key != reference
    ]
    # a network whose skip is the last value has no model to beat: the bar judges it, as all others
    models = {*candidates} - {REFERENCE}
    skip = [Hypothesis(key[1], key, skips[key]) for key in candidates if skips.get(key) in models]
    best: list[Hypothesis] = []
    for ranking, winner in selected.items():
        rivals = [key for key in keys_in_ranking(means, ranking) if key != winner]
        best += [Hypothesis(ranking, key, winner) for key in rivals]
    return {"bar": against_bar, "reference": against_others, "skip": skip, "best": best}


def _test_hypotheses(
    hypotheses: Mapping[TestFamily, Sequence[Hypothesis]],
    groups: Mapping[Pair, str],
    bars: Sequence[Key],
    means: pd.DataFrame,
    alpha: float,
    spacing: Spacing,
) -> list[PairedTest]:
    """Every test of every family, with its word. A pair in `groups` is corrected together with the
    others of its group, any other within its family; `corrected_for` counts the pairs that were.

    The p of a pair is that of the hypothesis that comes first, whichever way round. A
    candidate with a lower loss than the bar has the p against the hardest of `bars`; where that
    says "better", it is better than each of the bars that were tested.
    """
    losses = {key: means[key].to_numpy(dtype=float) for key in candidate_keys(means)}
    results = {
        each: paired_tests.diebold_mariano(losses[each.candidate], losses[each.against], **spacing)
        for each in chain.from_iterable(hypotheses.values())
    }
    hardest = _find_hardest(bars, results)
    places = _place_pairs(hypotheses, groups, results, hardest)
    pvalues: dict[str, dict[Pair, float]] = {}
    for place in places.values():
        pvalues.setdefault(place.group, {}).setdefault(place.pair, place.p)
    adjusted = {
        group: dict(zip(by_pair, holm(list(by_pair.values())), strict=True))
        for group, by_pair in pvalues.items()
    }
    tests = []
    below_all: dict[Key, float] = {}
    for (family, hypothesis), (group, pair, lower, _) in places.items():
        ranking, candidate, against = hypothesis
        test = results[hypothesis]
        p_holm = adjusted[group][pair]
        if family == "bar" and lower in hardest:
            below_all[lower] = p_holm
        elif lower in below_all and hypothesis.pair <= {lower, *hardest[lower].tested_bars}:
            p_holm = min(p_holm, below_all[lower])
        word = verdict(
            test.mean_difference,
            p_holm,
            equivalent=_are_equivalent(losses[candidate], losses[against], spacing),
            enough=non_overlapping(test.n, **spacing) >= ORIGINS,
            alpha=alpha,
        )
        rival = hardest[candidate].bar if len(pair) == 1 and test.p < alpha <= p_holm else ""
        if rival:
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


class Place(NamedTuple):
    """Where a hypothesis is corrected: in which group, as which pair, with which p; `lower` is the
    candidate with the lower mean loss.
    """

    group: str
    pair: Pair
    lower: Key
    p: float


class HardestBar(NamedTuple):
    """The highest p of a candidate's tests against the bars, 1 for a bar with the lower loss, and
    which bar has it; `tested_bars`: those that the candidate has to beat.
    """

    p: float
    bar: str
    tested_bars: frozenset[Key]


def _place_pairs(
    hypotheses: Mapping[TestFamily, Sequence[Hypothesis]],
    groups: Mapping[Pair, str],
    results: Mapping[Hypothesis, paired_tests.DieboldMariano],
    hardest: Mapping[Key, HardestBar],
) -> dict[tuple[TestFamily, Hypothesis], Place]:
    """The place of every hypothesis of every family; a candidate below the bar stands for all bars,
    with the p of the hardest one.
    """
    places = {}
    for family, family_hypotheses in hypotheses.items():
        for hypothesis in family_hypotheses:
            test, pair = results[hypothesis], hypothesis.pair
            group, p = groups.get(pair, family), test.p
            lower = hypothesis.candidate if test.mean_difference < 0 else hypothesis.against
            if family == "bar" and lower in hardest and hardest[lower].p > p:
                pair, p = frozenset({lower}), hardest[lower].p
            places[family, hypothesis] = Place(group, pair, lower, p)
    return places


def _find_hardest(
    bars: Sequence[Key], results: Mapping[Hypothesis, paired_tests.DieboldMariano]
) -> dict[Key, HardestBar]:
    """Which of `bars` is the hardest for each candidate that is no bar itself.

    A bar after the first that has the higher loss need not be beaten where the difference drifts
    through the whole test block, as that from a mean of all history does through a season: the test
    says neither that the candidate is better nor that it is not.
    """
    against_bars: dict[Key, list[tuple[float, Key]]] = {}
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


def _list_tied(tests: Sequence[PairedTest], ranking: str, winner: str) -> tuple[str, ...]:
    """The selected model `winner`, and the models whose test against it is a tie."""
    ties = [
        test.model
        for test in tests
        if (test.family, test.ranking, test.against) == ("best", ranking, winner) and test.is_tie
    ]
    return (winner, *ties)


def verdict(
    difference: float,
    p: float,
    *,
    equivalent: bool,
    enough: bool,
    alpha: float = ALPHA,
) -> TestWord:
    """The word for a against b.

    `difference` of the means: below zero it favours a. "better" or "worse" when `p`, adjusted, is
    below `alpha`; then "equivalent" when that was shown both ways; "undecided" when the origins are
    too few (`enough` false) or there is no p; else "not distinguishable".
    """
    if p < alpha and difference != 0:
        return "better" if difference < 0 else "worse"
    if equivalent:
        return "equivalent"
    return "not distinguishable" if enough and not math.isnan(p) else "undecided"


def _are_equivalent(a: np.ndarray, b: np.ndarray, spacing: Spacing) -> bool:
    """Neither costs more than the margin over the other: both halves of the two one-sided tests."""
    return all(equivalence(x, y, **spacing).word == "equivalent" for x, y in ((a, b), (b, a)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment: the family-wise error, whatever the dependence; a NaN
    does not count.
    """
    p = np.asarray(pvalues, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted.tolist()
