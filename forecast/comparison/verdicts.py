"""One dataset's losses to its verdicts: the claims, the families of tests, who is tied with the
selected model, and sentences.

`compare` does it all, for stage `compare` (`comparing`), from losses on the test block and the
selection that validation made; it selects nothing. A pair of candidates is a `Hypothesis`, its test
(`paired_tests`) a `PairedTest` with its p after Holm's correction and the word of `verdict`.
Incomplete candidates are left out and named, untrained networks are not tested; without naive, to
which every verdict refers, it is an `InputError`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple, Unpack

import numpy as np
import pandas as pd

from forecast.comparison import paired_tests, sentences
from forecast.comparison.longrun import Spacing
from forecast.comparison.losses import Key, candidate_keys, keys_in_ranking, losses_by_origin
from forecast.comparison.paired_tests import MARGIN, ORIGINS, equivalence, non_overlapping
from forecast.config.experiment import HISTORICAL, NAIVE
from forecast.data.comparison_records import (
    ArchitectureChoice,
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


class Hypothesis(NamedTuple):
    """`candidate` and `against` have the same loss; shown in `ranking`."""

    ranking: str
    candidate: Key
    against: Key

    @property
    def pair(self) -> frozenset[Key]:
        """The two without their order."""
        return frozenset((self.candidate, self.against))


def compare(
    losses: pd.DataFrame,
    *,
    dataset: str,
    chosen: Mapping[str, str],
    weights: Mapping[str, int] | None = None,
    untrained: Collection[Untrained] = (),
    alpha: float = ALPHA,
    **spacing: Unpack[Spacing],
) -> Verdicts:
    """Every test of the protocol on the test block's losses.

    `losses` long: model, ranking (shipped | architecture | baseline), skip (of a network the
    baseline that is its skip alone), unique_id, cutoff, loss = mean over the horizon at that
    origin, scaled if there are several series. `chosen`: ranking to the model with the lowest
    validation loss. `weights`: of the tuned LSTM and GRU, architecture alone. `untrained`: networks
    that are their skip; they are no models of their own and are not tested.

    The claims, each pair of a selected candidate and a reference, are corrected together by Holm;
    so their words do not depend on what else ran, and a claim that is shown twice has one p and one
    word. The other pairs are corrected within their family: a pair of two families in each.

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
    selected = {
        ranking: find_candidate(means, chosen[ranking], ranking)
        for ranking in RANKINGS
        if ranking in chosen
    }
    historical = [(name, "baseline") for name in HISTORICAL if (name, "baseline") in means]
    references = list(dict.fromkeys((REFERENCE, *historical, *skips.values())))
    hypotheses = _hypotheses(means, skips, selected, historical)
    claims = {
        frozenset((winner, reference))
        for winner in selected.values()
        for reference in references
        if winner is not None
    }
    tests = _test_hypotheses(hypotheses, claims, means, alpha, spacing)
    tests = _require_historical(tests)
    tied = {
        ranking: _list_tied(tests, ranking, winner[0])
        for ranking, winner in selected.items()
        if winner is not None
    }
    choice = _choose_architecture(means, spacing, weights or {})
    networks = {model for model, _ in skips}  # a combination is none
    lines = [
        *sentences.describe_tests(dataset, chosen, tests, tied, networks=networks),
        *sentences.describe_untrained(untrained),
        *sentences.describe_left_out(left_out),
        *sentences.describe_notes(tests),
        *sentences.describe_choice(choice),
        *sentences.describe_cycles(len(means), spacing),
    ]
    return Verdicts(
        dataset=dataset,
        chosen=dict(chosen),
        tests=tuple(tests),
        tied=tied,
        untrained=tuple(untrained),
        choice=choice,
        sentences=tuple(lines),
    )


def _skip_by_network(losses: pd.DataFrame) -> dict[Key, Key]:
    """Every network to the baseline that is its skip alone."""
    networks = losses[["model", "ranking", "skip"]].dropna().drop_duplicates()
    return {
        (model, ranking): (skip, "baseline")
        for model, ranking, skip in networks.itertuples(index=False)
    }


def find_candidate(means: pd.DataFrame, model: str, ranking: str) -> Key | None:
    """The column of `means` that stands for `model` in `ranking`; None where it was left out."""
    return next((key for key in keys_in_ranking(means, ranking) if key[0] == model), None)


def _hypotheses(
    means: pd.DataFrame,
    skips: Mapping[Key, Key],
    selected: Mapping[str, Key | None],
    historical: Sequence[Key],
) -> dict[TestFamily, list[Hypothesis]]:
    """What each family tests: everybody against naive and against each of `historical`, networks
    against their skip, everybody against the selected candidate of the ranking.
    """
    candidates = candidate_keys(means)
    naive = [Hypothesis(key[1], key, REFERENCE) for key in candidates if key != REFERENCE]
    history = [
        Hypothesis(key[1], key, reference)
        for reference in historical
        for key in candidates
        if key not in (REFERENCE, *historical)
    ]
    networks = [key for key in candidates if key in skips and skips[key] in means]
    skip = [Hypothesis(key[1], key, skips[key]) for key in networks]
    best: list[Hypothesis] = []
    for ranking, winner in selected.items():
        if winner is None:
            continue
        rivals = [key for key in keys_in_ranking(means, ranking) if key != winner]
        best += [Hypothesis(ranking, key, winner) for key in rivals]
    return {"naive": naive, "history": history, "skip": skip, "best": best}


def _test_hypotheses(
    hypotheses: Mapping[TestFamily, Sequence[Hypothesis]],
    claims: Collection[frozenset[Key]],
    means: pd.DataFrame,
    alpha: float,
    spacing: Spacing,
) -> list[PairedTest]:
    """Every test of every family, with its word. A pair in `claims` is corrected together with the
    other claims, any other within its family; `corrected_for` counts the pairs that were.

    The p of a pair is that of the hypothesis that comes first, whichever way round.
    """
    losses = {key: _losses_of(means, key) for key in candidate_keys(means)}
    results: dict[Hypothesis, paired_tests.DieboldMariano] = {}
    pvalues: dict[TestFamily | Literal["claims"], dict[frozenset[Key], float]] = {"claims": {}}
    for family, family_hypotheses in hypotheses.items():
        pvalues[family] = {}
        for hypothesis in family_hypotheses:
            a, b = losses[hypothesis.candidate], losses[hypothesis.against]
            results[hypothesis] = paired_tests.diebold_mariano(a, b, **spacing)
            group = pvalues["claims" if hypothesis.pair in claims else family]
            group.setdefault(hypothesis.pair, results[hypothesis].p)
    adjusted = {
        group: dict(zip(by_pair, holm(list(by_pair.values())), strict=True))
        for group, by_pair in pvalues.items()
    }
    tests = []
    for family, family_hypotheses in hypotheses.items():
        for hypothesis in family_hypotheses:
            ranking, candidate, against = hypothesis
            test = results[hypothesis]
            group = adjusted["claims" if hypothesis.pair in adjusted["claims"] else family]
            p_holm = group[hypothesis.pair]
            word = verdict(
                test.mean_difference,
                p_holm,
                equivalent=_are_equivalent(losses[candidate], losses[against], spacing),
                enough=non_overlapping(test.n, **spacing) >= ORIGINS,
                alpha=alpha,
            )
            tests.append(
                PairedTest(
                    ranking=ranking,
                    family=family,
                    model=candidate[0],
                    against=against[0],
                    word=word,
                    p_holm=p_holm,
                    corrected_for=len(group),
                    **asdict(test),
                )
            )
    return tests


def _require_historical(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests, where "better" than naive is taken back, wherever the pair is shown, of candidates
    that are not better than each historical row too: they may owe it to the average change alone.
    """
    lacking: dict[tuple[str, str], str] = {}
    for test in tests:
        if test.family == "history" and test.word != "better":
            lacking[test.ranking, test.model] = test.against
    judged = []
    for test in tests:
        winner = test.model if test.against == NAIVE and test.word == "better" else ""
        if test.model == NAIVE and test.word == "worse":
            winner = test.against
        bar = lacking.get((test.ranking, winner), lacking.get(("baseline", winner)))
        if bar:
            note = f"better than naive, but not than {bar}"
            test = test.model_copy(update={"word": "not distinguishable", "note": note})
        judged.append(test)
    return judged


def _list_tied(tests: Sequence[PairedTest], ranking: str, winner: str) -> tuple[str, ...]:
    """The selected candidate, and whoever no test tells from it."""
    untold = [
        test.model
        for test in tests
        if (test.family, test.ranking, test.against) == ("best", ranking, winner)
        and test.word not in ("better", "worse")
    ]
    return (winner, *untold)


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


def _choose_architecture(
    means: pd.DataFrame, spacing: Spacing, weights: Mapping[str, int]
) -> ArchitectureChoice | None:
    """The GRU, where as tuned it has no more weights and is shown to cost no more than the
    margin; else the LSTM.
    """
    lstm, gru = ("lstm", "architecture"), ("gru", "architecture")
    if lstm not in means or gru not in means:
        return None
    test = equivalence(_losses_of(means, gru), _losses_of(means, lstm), **spacing)
    is_smaller = weights.get("gru", 0) <= weights.get("lstm", 0)
    return ArchitectureChoice(
        take="gru" if test.word == "equivalent" and is_smaller else "lstm",
        margin=MARGIN,
        wanted_origins=ORIGINS,
        weights=dict(weights),
        **asdict(test),
    )


def _losses_of(means: pd.DataFrame, key: Key) -> np.ndarray:
    return means[key].to_numpy(dtype=float)


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
