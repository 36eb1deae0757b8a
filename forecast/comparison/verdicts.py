"""One dataset's losses to its verdicts: three families of tests, the confidence sets, and
sentences.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple, Unpack

import numpy as np
import pandas as pd

from forecast.comparison import paired_tests, sentences
from forecast.comparison.longrun import Spacing
from forecast.comparison.losses import Key, candidate_keys, keys_in_ranking, losses_by_origin
from forecast.comparison.multiple_comparisons import gatekeep, model_confidence_set
from forecast.comparison.paired_tests import (
    MARGIN,
    ORIGINS,
    DieboldMariano,
    equivalence,
    non_overlapping,
)
from forecast.config.experiment import NAIVE
from forecast.data.comparison_records import (
    ArchitectureChoice,
    MonthlyGain,
    PairedTest,
    TestFamily,
    TestWord,
    Verdicts,
)
from forecast.data.results import RANKINGS
from forecast.system.errors import InputError

ALPHA = 0.05
REFERENCE: Key = (NAIVE, "baseline")


class Hypothesis(NamedTuple):
    """`candidate` and `against` have the same loss; shown in `ranking`."""

    ranking: str
    candidate: Key
    against: Key


def compare(
    losses: pd.DataFrame,
    *,
    dataset: str,
    chosen: Mapping[str, str],
    weights: Mapping[str, int] | None = None,
    alpha: float = ALPHA,
    reps: int = 1000,
    seed: int = 0,
    **spacing: Unpack[Spacing],
) -> Verdicts:
    """Every test of the protocol on the test block's losses.

    `losses` long: model, ranking (shipped | architecture | baseline), skip (of a network the
    baseline that is its skip alone), unique_id, cutoff, loss = mean over the horizon at that
    origin, scaled if there are several series. `chosen`: ranking to the model with the lowest
    validation loss. `weights`: of the tuned LSTM and GRU, architecture alone. Within each family
    the selected candidates and the references are corrected first (`gatekeep`), a hypothesis that
    stands in both rankings counted once. The skip family is one-sided.

    Raises:
        InputError: the losses of naive, to which every verdict refers, are missing or incomplete.
    """
    means, left_out = losses_by_origin(losses)
    if means.empty and all(kind == "series" for _, kind in left_out):
        reasons = sentences.describe_left_out(left_out)
        without_scale = "No model can be compared: no series has a scale."
        return Verdicts(dataset=dataset, sentences=(without_scale, *reasons))
    if REFERENCE not in means:
        reason = left_out.get(REFERENCE, "it has no row")
        raise InputError(
            f"The reference {NAIVE!r} cannot be compared with on {dataset}: {reason}. Every verdict"
            " needs it."
        )
    skips = _skip_by_network(losses)
    selected = {
        ranking: find_candidate(means, chosen[ranking], ranking)
        for ranking in RANKINGS
        if ranking in chosen
    }
    references = list(dict.fromkeys((REFERENCE, *skips.values())))
    gate = {*selected.values(), *references}
    tests: list[PairedTest] = []
    for family, hypotheses in _hypotheses(means, skips, selected).items():
        tests += _test_family(family, hypotheses, gate, means, alpha, spacing)
    tied: dict[str, tuple[str, ...]] = {}
    for ranking in selected:
        ranked = means[keys_in_ranking(means, ranking)].droplevel("ranking", axis=1)
        confidence_set = model_confidence_set(ranked, size=alpha, reps=reps, seed=seed, **spacing)
        tied[ranking] = tuple(confidence_set)
    drift = gains_by_month(means, chosen, references)
    choice = _choose_architecture(means, spacing, weights or {})
    networks = {model for model, _ in skips}  # a combination is none
    lines = [
        *sentences.describe_tests(dataset, chosen, tests, tied, networks=networks),
        *sentences.describe_left_out(left_out),
        *sentences.describe_notes(tests),
        *sentences.describe_drift(drift),
        *sentences.describe_choice(choice),
        *sentences.describe_cycles(len(means), spacing),
    ]
    return Verdicts(
        dataset=dataset,
        chosen=dict(chosen),
        tests=tuple(tests),
        tied=tied,
        choice=choice,
        drift=tuple(drift),
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
    means: pd.DataFrame, skips: Mapping[Key, Key], selected: Mapping[str, Key | None]
) -> dict[TestFamily, list[Hypothesis]]:
    """What each family tests: everybody against naive, networks against their skip, everybody
    against the selected candidate of the ranking.
    """
    candidates = candidate_keys(means)
    naive = [Hypothesis(key[1], key, REFERENCE) for key in candidates if key != REFERENCE]
    networks = [key for key in candidates if key in skips and skips[key] in means]
    skip = [Hypothesis(key[1], key, skips[key]) for key in networks]
    best: list[Hypothesis] = []
    for ranking, winner in selected.items():
        if winner is None:
            continue
        rivals = [key for key in keys_in_ranking(means, ranking) if key != winner]
        best += [Hypothesis(ranking, key, winner) for key in rivals]
    return {"naive": naive, "skip": skip, "best": best}


def _test_family(
    family: TestFamily,
    hypotheses: Sequence[Hypothesis],
    gate: set[Key | None],
    means: pd.DataFrame,
    alpha: float,
    spacing: Spacing,
) -> list[PairedTest]:
    """The tests of one family; those of the candidates in `gate` are corrected before the others
    and without them.
    """
    distinct = dict.fromkeys((each.candidate, each.against) for each in hypotheses)
    pairs = sorted(distinct, key=lambda pair: pair[0] not in gate)
    n_first = sum(candidate in gate for candidate, _ in pairs)
    alternative: Literal["less", "two-sided"] = "less" if family == "skip" else "two-sided"
    measured = {
        (candidate, against): paired_tests.diebold_mariano(
            _losses_of(means, candidate),
            _losses_of(means, against),
            alternative=alternative,
            **spacing,
        )
        for candidate, against in pairs
    }
    p_holm = _adjust([measured[pair].p for pair in pairs], n_first)
    p_worse = p_holm
    if family == "skip":
        p_worse = _adjust([_two_sided_p(measured[pair]) for pair in pairs], n_first)
    place = {pair: number for number, pair in enumerate(pairs)}
    tests = []
    for ranking, candidate, against in hypotheses:
        number = place[candidate, against]
        test = measured[candidate, against]
        word = verdict(
            test.mean_difference,
            p_holm[number],
            equivalent=_are_equivalent(
                _losses_of(means, candidate), _losses_of(means, against), spacing
            ),
            enough=non_overlapping(test.n, **spacing) >= ORIGINS,
            p_worse=p_worse[number],
            alpha=alpha,
        )
        numbers = asdict(test)
        del numbers["dof"]
        tests.append(
            PairedTest(
                ranking=ranking,
                family=family,
                model=candidate[0],
                against=against[0],
                word=word,
                p_holm=p_holm[number],
                **numbers,
            )
        )
    return tests


def _adjust(pvalues: Sequence[float], n_first: int) -> list[float]:
    """p adjusted by `gatekeep`, the first `n_first` hypotheses before the others."""
    return list(itertools.chain(*gatekeep(pvalues[:n_first], pvalues[n_first:])))


def _two_sided_p(test: DieboldMariano) -> float:
    if not math.isfinite(test.statistic):
        return test.p
    return paired_tests.tail(test.statistic, test.dof, "two-sided")


def verdict(
    difference: float,
    p: float,
    *,
    equivalent: bool,
    enough: bool,
    p_worse: float | None = None,
    alpha: float = ALPHA,
) -> TestWord:
    """The word for a against b.

    `difference` of the means: below zero it favours a. "better" or "worse" when `p`, adjusted, is
    below `alpha`; then "equivalent" when that was shown both ways; "undecided" when the origins are
    too few (`enough` false) or there is no p; else "not distinguishable". In a one-sided family
    (does a beat b?) the other direction needs its own adjusted p, `p_worse`.
    """
    worse = p if p_worse is None else p_worse
    if p < alpha and difference < 0:
        return "better"
    if worse < alpha and difference > 0:
        return "worse"
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


def gains_by_month(
    means: pd.DataFrame, chosen: Mapping[str, str], references: Iterable[Key]
) -> list[MonthlyGain]:
    """The share of each reference's loss that a selected candidate saves in every month of
    cutoffs, hardest reference first.

    A month with less than half of the usual origins is left out; nothing of fewer than four months.
    """
    months = pd.DatetimeIndex(means.index).strftime("%Y-%m")
    sizes = months.value_counts()
    is_whole = months.isin(sizes.index[2 * sizes >= sizes.median()])
    means = means[is_whole]
    months = months[is_whole]
    if months.nunique() <= 3:
        return []
    compared = [key for key in references if key in means]
    compared.sort(key=lambda key: _losses_of(means, key).mean())
    gains = []
    for ranking, model in chosen.items():
        selected = find_candidate(means, model, ranking)
        for reference in compared:
            if selected is None or selected == reference:
                continue
            gain = (means[reference] - means[selected]).groupby(months).sum()
            loss = means[reference].groupby(months).sum()
            shares = (gain / loss.where(loss > 0)).fillna(0.0)
            turns = gain.index[(gain.sum() - gain) * gain.sum() < 0]
            gains.append(
                MonthlyGain(
                    ranking=ranking,
                    model=selected[0],
                    against=reference[0],
                    months={str(month): float(share) for month, share in shares.items()},
                    turns=tuple(turns),
                )
            )
    return gains


def _losses_of(means: pd.DataFrame, key: Key) -> np.ndarray:
    return means[key].to_numpy(dtype=float)
