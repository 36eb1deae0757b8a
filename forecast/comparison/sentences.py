"""The verdicts in plain words, for a reader who never met a p-value."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forecast.comparison.longrun import NO_CYCLES, Spacing, taken_out
from forecast.comparison.losses import ERRORS, FEW, LEARNT, NO_ACTUALS, SEVERAL
from forecast.config.experiment import COMBINATION, NAIVE
from forecast.data.records import RunRecord
from forecast.data.results import RANKING_TITLES

if TYPE_CHECKING:
    from forecast.comparison.verdicts import Test

TITLES = {ranking: title.capitalize() for ranking, title in RANKING_TITLES.items()}
LAST_VALUE = "repeating the last value"

OWN_BLOCKS = (
    "Blocks are shares of each series' own rows: a model may have learnt from later days of other"
    " series."
)


def sentences_of(
    dataset: str,
    chosen: Mapping[str, str],
    tests: Sequence[Test],
    tied: Mapping[str, Sequence[str]],
    left_out: Mapping[tuple[str, str], str],
    *,
    networks: Collection[str],
) -> list[str]:
    """The result of one dataset by `tests`, most important first; `networks` names the models that
    are one.
    """
    found: list[str] = []
    for ranking, best in chosen.items():
        found += _about_the_choice(ranking, best, tests, tied.get(ranking, []))
        own = [t for t in tests if t.ranking == ranking and t.model in networks]
        found += _about_networks(dataset, ranking, [t for t in own if t.family == "naive"])
        found += _about_skips(
            ranking, [t for t in tests if t.family == "skip" and t.ranking == ranking]
        )
    found += [
        (
            f"Left out for all models: {reason}."
            if key == NO_ACTUALS
            else f"{key[0]} ({TITLES.get(key[1], key[1]).lower()}) was not compared: {reason}."
        )
        for key, reason in left_out.items()
    ]
    notes = Counter(t.note for t in tests if t.note)
    return found + [
        f"{count} of the {len(tests)} tests: {note}." for note, count in sorted(notes.items())
    ]


def choice_in_words(choice: Mapping[str, Any]) -> list[str]:
    """The choice between LSTM and GRU as one sentence; none when one of the two was not
    compared.
    """
    if not choice:
        return []
    bound = f"upper 95 % bound of its extra error {percent(choice['upper'])}"
    sizes = "{gru:,} weights as tuned against {lstm:,}".format(
        **{"gru": 0, "lstm": 0, **choice["weights"]}
    )
    if choice["take"] == "gru":
        return [f"LSTM or GRU: take the GRU: {sizes}, and no worse ({bound}, wanted below +2 %)."]
    if choice["word"] == "equivalent":
        return [f"LSTM or GRU: keep the LSTM: the GRU is no worse ({bound}), but has {sizes}."]
    return [
        "LSTM or GRU: keep the LSTM; that the GRU is no worse was not shown"
        f" ({choice['note'] or bound})."
    ]


def cycles_in_words(n: int, spacing: Spacing) -> list[str]:
    """Which known cycles the tests took out of the losses of n origins, and which they could
    not.
    """
    step_size, cycles = spacing.get("step_size", 1), spacing.get("cycles", NO_CYCLES)
    known = taken_out(n, cycles, horizon=spacing["horizon"], step_size=step_size)
    said = [f"Tests take one harmonic of the {listing(known)} out of the losses."] if known else []
    for name in sorted(set(cycles) - set(known)):
        covered = n * step_size / cycles[name]
        said.append(
            f"The test block is {covered:.2f} {name}s long, no whole number of them or too few"
            f" origins: no harmonic of the {name} is taken out, and the tests count that cycle as"
            " dependence."
        )
    return said


def drift_in_words(drift: Iterable[Mapping[str, Any]]) -> list[str]:
    """In how many months of the test block a chosen row gains on the hardest reference, where most
    and least.
    """
    said = []
    for _, (one, *_) in itertools.groupby(drift, key=lambda one: one["ranking"]):
        gains = one["months"]
        most, least = max(gains, key=gains.__getitem__), min(gains, key=gains.__getitem__)
        turns = (
            f" Without {' or without '.join(one['turns'])} the difference has the other sign."
            * bool(one["turns"])
        )
        said.append(
            f"{TITLES.get(one['ranking'], one['ranking'])}: {one['model']} has a lower error than"
            f" {one['against']} in {sum(gain > 0 for gain in gains.values())} of {len(gains)}"
            f" months, most in {most} ({percent(-gains[most])}), least in {least}"
            f" ({percent(-gains[least])}).{turns}"
        )
    return said


REASONS = {
    FEW: "with so few the simpler row is preferred",
    LEARNT: "a combination with learnt weights depends less on the season of validation",
    SEVERAL: "a combination is preferred to a single row that cannot be told from it",
}
WITHIN = {1: "one standard error", 2: "two standard errors", 3: "three standard errors"}


def preferred_in_words(preferred: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rankings in which a row was taken although another one has the lower validation loss."""
    return [
        f"{TITLES.get(ranking, ranking)}: {found['model']} is taken instead of"
        f" {found['instead_of']}: on the {found['origins']} validation origins its extra error"
        f" ({percent(found['extra_loss'])}) is within {WITHIN[ERRORS[found.get('because', FEW)]]},"
        f" and {REASONS[found.get('because', FEW)]}."
        for ranking, found in preferred.items()
    ]


def gain_in_words(relative: float, mean: float, low: float, high: float) -> str:
    """`-12.3 %, 95 % interval -15.0 % to -9.6 %`: a relative difference with the limits of its
    mean, in its units.
    """
    if not all(map(math.isfinite, (relative, mean, low, high))) or mean == 0:
        return percent(relative)
    return (
        f"{percent(relative)}, 95 % interval {percent(low * relative / mean)} to"
        f" {percent(high * relative / mean)}"
    )


def warnings_in_words(
    chosen: Mapping[str, str],
    skill: Mapping[tuple[str, str], float],
    intervals: Sequence[Mapping[str, Any]],
    leaks: Sequence[Mapping[str, Any]],
    refused: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What a reader must not miss: a chosen row that loses to naive on test, leak alarms, intervals
    of a chosen row that cover too little or too much, levels refused with the origins they need.

    `skill` by model and ranking, against naive on test; `intervals`: the rows of all steps pooled.
    """
    said = []
    for ranking, model in chosen.items():
        gain = skill.get((model, ranking), skill.get((model, "baseline"), 0.0))
        if gain < 0:
            title = TITLES.get(ranking, ranking)
            said.append(
                f"{title}: {model}, chosen on validation, loses to {LAST_VALUE} on the test block"
                f" ({percent(-gain)})."
            )
    said += [
        f"Leak alarm: {leak['model']} on {leak['unique_id']}: {leak['reason']}." for leak in leaks
    ]
    for model in dict.fromkeys(chosen.values()):
        said += _missed(model, [row for row in intervals if row["model"] == model])
    reasons = Counter((entry["level"], entry["reason"]) for entry in refused)
    return said + [
        f"Refused: the {100 * level:g} % interval of {count} series: {reason}"
        for (level, reason), count in sorted(reasons.items())
    ]


def left_out_in_words(records: Iterable[RunRecord]) -> list[str]:
    """Of every combination the members that it was made without, or why it could not be made."""
    return [f"{r.model}: {r.reason}." for r in records if r.kind == COMBINATION and r.reason]


def _missed(model: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence per level whose intervals are off by more than is allowed, with the series that
    is furthest off.
    """
    said = []
    for level in sorted({float(row["level"]) for row in rows}):
        own = [row for row in rows if row["level"] == level]
        missed = sorted(
            (row for row in own if not row["inside"]), key=lambda row: -abs(row["coverage"] - level)
        )
        if missed:
            covered = f"{100 * missed[0]['coverage']:.1f} % of {missed[0]['series']}"
            where = f", the furthest of {len(missed)} series" if len(missed) > 1 else ""
            said.append(f"The {100 * level:g} % intervals of {model} cover {covered}{where}.")
    return said


def _about_the_choice(
    ranking: str, best: str, tests: Sequence[Test], tied: Sequence[str]
) -> list[str]:
    title = TITLES.get(ranking, ranking)
    nothing = (
        f"{title}: {LAST_VALUE} had the lowest validation error, so nothing is claimed over it."
    )
    lines = [nothing] if best == NAIVE else []
    own = [
        t
        for t in tests
        if t.family == "naive" and t.model == best and t.ranking in (ranking, "baseline")
    ]
    lines += [
        f"{title}: {best}, chosen on validation, is {_against(test, LAST_VALUE)}." for test in own
    ]
    lines[:1] = [f"{line}{_others(ranking, best, tests)}" for line in lines[:1]]
    others = [name for name in tied if name != best]
    if best in tied and others:
        lines.append(
            f"{title}: {best} is not alone at the top; the data cannot separate it from"
            f" {listing(others)}."
        )
    elif best in tied:
        lines.append(
            f"{title}: {best} is alone at the top; every other model was told apart from it."
        )
    elif tied:
        lines.append(
            f"{title}: {best} is not among the best on the test block; the best set is"
            f" {listing(tied)}."
        )
    return lines


def _others(ranking: str, best: str, tests: Sequence[Test]) -> str:
    """The lowest other row on test, and the hardest model that networks stand on, against the
    chosen row.
    """
    found = [t for t in tests if t.family == "best" and (t.ranking, t.against) == (ranking, best)]
    found.sort(key=lambda t: t.mean_difference)
    skips = {t.against for t in tests if t.family == "skip"} - {NAIVE}
    above = [t for t in found if t.model in skips][: best not in skips]
    said = [f"{t.model}, the lowest of the others, is {_against(t, 'it')}" for t in found[:1]]
    said += [f"{t.model} is {_against(t, 'it')}" for t in above if t is not found[0]]
    return f" {'; '.join(said)}." if said else ""


def _about_networks(dataset: str, ranking: str, tests: Sequence[Test]) -> list[str]:
    if not tests:
        return []
    title = TITLES.get(ranking, ranking)
    better, worse = ([t for t in tests if t.word == word] for word in ("better", "worse"))
    origins = f"{max(t.n for t in tests)} origins"
    looked_at = f"{len(tests)} network{'s' * (len(tests) > 1)}, {origins}"
    if not better and not worse:
        known = [t.p_holm for t in tests if not math.isnan(t.p_holm)]
        smallest = f"smallest adjusted {p_text(min(known))}" if known else "too few origins to test"
        return [
            f"{title}: no network on {dataset} is distinguishable from {LAST_VALUE} ({looked_at},"
            f" {smallest})."
        ]
    some = (
        f"{_count(len(better), len(tests))} on {dataset} beat {LAST_VALUE}: {_with_gain(better)}"
        f" (Holm, {origins})"
    )
    lines = [
        f"{title}:"
        f" {some if better else f'no network on {dataset} beats {LAST_VALUE} ({looked_at})'}."
    ]
    return lines + [f"{title}: worse than {LAST_VALUE}: {_with_gain(worse)}."] * bool(worse)


def _about_skips(ranking: str, tests: Sequence[Test]) -> list[str]:
    title, lines = TITLES.get(ranking, ranking), []
    better = [t for t in tests if t.word == "better"]
    rest = [t for t in tests if t.word != "better"]
    if better:
        lines.append(
            f"{title}: better than the skip alone ({listing(sorted({t.against for t in better}))}):"
            f" {_with_gain(better)} (one-sided, Holm)."
        )
    if rest:
        lines.append(
            f"{title}: skip: the network adds nothing, for {listing([_noted(t) for t in rest])}."
        )
    return lines


def _against(test: Test, other: str) -> str:
    size = gain_in_words(test.relative_difference, test.mean_difference, test.ci_low, test.ci_high)
    p = p_text(test.p_holm)
    if test.word in ("better", "worse"):
        return f"{test.word} than {other} (error {size}, {p}, {test.n} origins)"
    if test.word == "equivalent":
        return f"equivalent to {other} (error {size}, neither costs 2 % more than the other)"
    if test.word == "undecided":
        return f"not decided against {other}: {test.n} origins are too few"
    return f"not distinguishable from {other} (error {size}, {p}, {test.n} origins)"


def _noted(test: Test) -> str:
    return (
        f"{test.model} (worse, {percent(test.relative_difference)})"
        if test.word == "worse"
        else test.model
    )


def _with_gain(tests: Sequence[Test]) -> str:
    ordered = sorted(tests, key=lambda t: (t.relative_difference, t.model))
    return listing([f"{t.model} ({percent(t.relative_difference)})" for t in ordered])


def _count(some: int, total: int) -> str:
    if some == total:
        return "the one network" if total == 1 else f"all {total} networks"
    return f"{some} of {total} networks"


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return (
        names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
    )


def percent(share: float) -> str:
    """`-12.3 %` with its sign; a dash when it does not exist."""
    return f"{100 * share:+.1f} %" if math.isfinite(share) else "-"


def p_text(p: float) -> str:
    if math.isnan(p):
        return "no p"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
