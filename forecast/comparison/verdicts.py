"""One dataset's losses to its verdicts: three families of tests, the tied-best set, and
sentences.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from forecast.comparison import paired_tests
from forecast.comparison.longrun import Spacing
from forecast.comparison.losses import Key, by_origin, keys, members
from forecast.comparison.multiple_comparisons import gatekept, model_confidence_set
from forecast.comparison.paired_tests import (
    MARGIN,
    ORIGINS,
    DieboldMariano,
    equivalence,
    non_overlapping,
)
from forecast.comparison.sentences import (
    choice_in_words,
    cycles_in_words,
    drift_in_words,
    sentences_of,
)
from forecast.config.experiment import NAIVE
from forecast.data.results import RANKINGS
from forecast.system.errors import InputError
from forecast.system.files import json_number

Family = Literal["naive", "skip", "best"]
Word = Literal["better", "worse", "not distinguishable", "equivalent", "undecided"]
ALPHA = 0.05
REFERENCE: Key = (NAIVE, "baseline")


@dataclass(frozen=True, kw_only=True)
class Test(DieboldMariano):
    """One row of verdicts.json.

    `p_holm` is adjusted within the family (`gatekept`), the confidence limits are not.
    """

    ranking: str
    family: Family
    model: str
    against: str
    p_holm: float
    word: Word

    __test__ = False  # pytest must not collect it


@dataclass(frozen=True)
class Verdicts:
    """What data/compared/<dataset>/verdicts.json holds; `tied` is the model confidence set of each
    ranking.

    `choice`: the numbers behind the rule "LSTM, then GRU when equivalent and no larger"; empty when
    one of the two was not compared. `drift`: by month the gain of each chosen row over the
    references (`drift_by_month`).
    """

    dataset: str
    chosen: dict[str, str]
    tests: tuple[Test, ...]
    tied: dict[str, list[str]]
    sentences: tuple[str, ...]
    choice: dict[str, Any] = field(default_factory=dict)
    drift: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: a number that does not exist is null."""
        content = asdict(self)
        content["tests"] = [
            {k: json_number(v) for k, v in t.items() if k != "dof"} for t in content["tests"]
        ]
        content["choice"] = {k: json_number(v) for k, v in self.choice.items()}
        return content


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
    baseline row that is its skip alone), unique_id, cutoff, loss = mean over the horizon at that
    origin, scaled if there are several series. `chosen`: ranking to the model with the lowest
    validation loss. `weights`: of the tuned LSTM and GRU, architecture alone. Within each family
    the chosen rows and the references are corrected first (`gatekept`), a hypothesis that stands in
    both rankings counted once. The skip family is one-sided.
    """
    means, left_out = by_origin(losses)
    if means.empty and all(kind == "series" for _, kind in left_out):
        reasons = sentences_of(dataset, {}, [], {}, left_out, networks=())
        return Verdicts(
            dataset, {}, (), {}, ("No model can be compared: no series has a scale.", *reasons)
        )
    if REFERENCE not in means:
        reason = left_out.get(REFERENCE, "it has no row")
        raise InputError(
            f"The reference {NAIVE!r} cannot be compared with on {dataset}: {reason}. Every verdict"
            " needs it."
        )
    skips = _skips(losses)
    tops = {
        ranking: find(means, chosen[ranking], ranking) for ranking in RANKINGS if ranking in chosen
    }
    references = list(dict.fromkeys((REFERENCE, *skips.values())))
    first = {*tops.values(), *references}
    families: tuple[tuple[Family, list[Hypothesis]], ...] = (
        ("naive", [(key[1], key, REFERENCE) for key in keys(means) if key != REFERENCE]),
        (
            "skip",
            [
                (key[1], key, skips[key])
                for key in keys(means)
                if key in skips and skips[key] in means
            ],
        ),
        (
            "best",
            [
                (r, key, top)
                for r, top in tops.items()
                if top
                for key in members(means, r)
                if key != top
            ],
        ),
    )
    tests = [
        test
        for name, rows in families
        for test in _family(name, rows, first, means, alpha, spacing)
    ]
    networks = {model for model, _ in skips}  # a combination is none
    tied = {}
    for ranking in tops:
        own = means[members(means, ranking)].droplevel("ranking", axis=1)
        tied[ranking] = model_confidence_set(own, size=alpha, reps=reps, seed=seed, **spacing)
    sentences = sentences_of(dataset, dict(chosen), tests, tied, left_out, networks=networks)
    drift = drift_by_month(means, chosen, references)
    choice = _lstm_or_gru(means, spacing, weights or {})
    sentences += [
        *drift_in_words(drift),
        *choice_in_words(choice),
        *cycles_in_words(len(means), spacing),
    ]
    return Verdicts(
        dataset, dict(chosen), tuple(tests), tied, tuple(sentences), choice, tuple(drift)
    )


def _skips(losses: pd.DataFrame) -> dict[Key, Key]:
    """Every network's skip alone."""
    networks = losses[["model", "ranking", "skip"]].dropna().drop_duplicates()
    return {
        (model, ranking): (skip, "baseline")
        for model, ranking, skip in networks.itertuples(index=False)
    }


Hypothesis = tuple[str, Key, Key]  # ranking shown, a, b


def find(means: pd.DataFrame, model: str, ranking: str) -> Key | None:
    return next((key for key in members(means, ranking) if key[0] == model), None)


def _family(
    family: Family,
    rows: list[Hypothesis],
    first: set[Key | None],
    means: pd.DataFrame,
    alpha: float,
    spacing: Spacing,
) -> list[Test]:
    """The tests of one family; those of the rows in `first` are corrected before the others and
    without them.
    """
    unique = sorted(
        dict.fromkeys((a, b) for _, a, b in rows), key=lambda pair: pair[0] not in first
    )
    ahead = sum(a in first for a, _ in unique)
    alternative: Literal["less", "two-sided"] = "less" if family == "skip" else "two-sided"
    raw = {
        (a, b): paired_tests.diebold_mariano(
            _values(means, a), _values(means, b), alternative=alternative, **spacing
        )
        for a, b in unique
    }
    adjusted, worse = (
        dict(zip(unique, itertools.chain(*gatekept(p[:ahead], p[ahead:])), strict=True))
        for p in ([raw[pair].p for pair in unique], [_two_sided(raw[pair]) for pair in unique])
    )
    tests = []
    for ranking, a, b in rows:
        measured = raw[a, b]
        word = verdict(
            measured.mean_difference,
            adjusted[a, b],
            equivalent=_equivalent(_values(means, a), _values(means, b), spacing),
            enough=non_overlapping(measured.n, **spacing) >= ORIGINS,
            p_worse=worse[a, b] if family == "skip" else None,
            alpha=alpha,
        )
        about: dict[str, Any] = {
            "ranking": ranking,
            "family": family,
            "model": a[0],
            "against": b[0],
            "word": word,
        }
        tests.append(Test(**asdict(measured), **about, p_holm=adjusted[a, b]))
    return tests


def _two_sided(test: DieboldMariano) -> float:
    return (
        paired_tests.tail(test.statistic, test.dof, "two-sided")
        if math.isfinite(test.statistic)
        else test.p
    )


def verdict(
    difference: float,
    p: float,
    *,
    equivalent: bool,
    enough: bool,
    p_worse: float | None = None,
    alpha: float = ALPHA,
) -> Word:
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


def _equivalent(a: np.ndarray, b: np.ndarray, spacing: Spacing) -> bool:
    """Neither costs more than the margin over the other: both halves of the two one-sided tests."""
    return all(equivalence(x, y, **spacing).word == "equivalent" for x, y in ((a, b), (b, a)))


def _lstm_or_gru(
    means: pd.DataFrame, spacing: Spacing, weights: Mapping[str, int]
) -> dict[str, Any]:
    """The choice rule: the GRU, where as tuned it has no more weights and is shown to cost no more
    than the margin.
    """
    lstm, gru = ("lstm", "architecture"), ("gru", "architecture")
    if lstm not in means or gru not in means:
        return {}
    found = equivalence(_values(means, gru), _values(means, lstm), **spacing)
    smaller = weights.get("gru", 0) <= weights.get("lstm", 0)
    take = "gru" if found.word == "equivalent" and smaller else "lstm"
    return {
        "take": take,
        "margin": MARGIN,
        "wanted_origins": ORIGINS,
        "weights": dict(weights),
        **asdict(found),
    }


def drift_by_month(
    means: pd.DataFrame, chosen: Mapping[str, str], references: Iterable[Key]
) -> list[dict[str, Any]]:
    """The share of each reference's loss that a chosen row saves in every month of cutoffs, hardest
    reference first.

    `turns`: the months without any one of which the sign of the whole difference turns. A month
    with less than half of the usual origins is left out; nothing of fewer than four months.
    """
    months = pd.DatetimeIndex(means.index).strftime("%Y-%m")
    sizes = months.value_counts()
    whole = months.isin(sizes.index[2 * sizes >= sizes.median()])
    means, months = means[whole], months[whole]
    found: list[dict[str, Any]] = []
    order = sorted(
        (key for key in references if key in means), key=lambda key: _values(means, key).mean()
    )
    pairs = [
        (r, best, key)
        for r, m in chosen.items()
        if (best := find(means, m, r))
        for key in order
        if key != best
    ]
    for ranking, best, against in pairs if months.nunique() > 3 else ():
        gain, loss = (
            part.groupby(months).sum() for part in (means[against] - means[best], means[against])
        )
        turns = gain.index[(gain.sum() - gain) * gain.sum() < 0].to_list()
        shares = (gain / loss.where(loss > 0)).fillna(0.0).to_dict()
        rows = {"ranking": ranking, "model": best[0], "against": against[0]}
        found.append({**rows, "months": shares, "turns": turns})
    return found


def _values(means: pd.DataFrame, key: Key) -> np.ndarray:
    return means[key].to_numpy(dtype=float)
