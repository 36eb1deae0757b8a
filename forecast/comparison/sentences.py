"""The verdicts in sentences, for readers who do not know p-values.

Each `describe_*` takes records of stage `compare` (tests, alarms, unsupported levels) and returns
whole sentences, the most important first; `describe_difference` and `describe_p` return parts of
one. `verdicts` and `comparing` put them into verdicts.json; the terminal, the report, MLflow and
the Python door print them. Nothing is tested or decided here. The page has forms of its own for
differences and p (`report.text`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import pandas as pd

from forecast.comparison.longrun import (
    MANY_HORIZONS,
    NO_CYCLES,
    Spacing,
    count_overlapping,
    removable_cycles,
)
from forecast.comparison.losses import LeftOut
from forecast.comparison.metrics import ALL_STEPS_BAND
from forecast.config.models import COMBINATION, JUDGED_STEPS, NAIVE, Tuning
from forecast.data.comparison_records import (
    Alarm,
    PairedTest,
    TestWord,
    UnsupportedLevel,
    Untrained,
    name_choice,
)
from forecast.data.records import RunRecord
from forecast.data.results import RANKING_TITLES, as_reported
from forecast.system.errors import plural

FAR_TOO_LOW = 0.1
"""The lowest coverage of a series is reported if it is further below its level than this."""
MOST_PAIRS = 3
"""Most pairs of models that one sentence names."""
BAR_WORDS = {
    NAIVE: "repeating the last value",
    "seasonal_naive": "repeating the last season",
    "seasonal_mean": "the seasonal mean",
    "historical_mean": "the historical mean",
    "historical_median": "the historical median",
    "lookback_mean": "the mean of the lookback",
    "drift": "the line through the lookback",
}
"""What each simple forecast does, in words; any of them may be a bar (`losses.select_bars`)."""
_PREPOSITIONS = {"not distinguishable": "from", "undecided": "against"}
LEAVE_OUT = (
    " It has no score. Leave it out (`grids` in configs/models.yaml, in Python `models`), or give"
    " series that fail a dataset of their own."
)


class EqualShares(NamedTuple):
    """A combination whose weights were left equal on validation."""

    members: list[str]
    """The members of equal weight; the mean of the networks may be one of them."""
    is_learnt_later: bool
    """Whether the weights differ in a later block."""


def title_of(ranking: str) -> str:
    """The title of a ranking at the beginning of a sentence: `As shipped`."""
    return RANKING_TITLES.get(ranking, ranking).capitalize()


def describe_tests(
    dataset: str,
    chosen: Mapping[str, str],
    tests: Sequence[PairedTest],
    *,
    networks: Collection[str],
    bars: Sequence[str],
    by_rule: Collection[str],
) -> list[str]:
    """The results of each ranking, each sentence after the title of its ranking.

    chosen: the selected model of each ranking
    networks: the models that are networks
    bars: the simple forecasts that "better" has to beat; changes of error are against the first
    by_rule: as in `name_choice`
    """
    sentences: list[str] = []
    for ranking, best in chosen.items():
        of_ranking = [test for test in tests if test.ranking == ranking]
        networks_against_bar = [t for t in of_ranking if t.family == "bar" and t.model in networks]
        against_best = [t for t in of_ranking if (t.family, t.against) == ("best", best)]
        results = [
            *_describe_selected(ranking, best, tests, bars, name_choice(best, by_rule)),
            *_describe_tied(best, against_best),
            *_describe_networks(dataset, networks_against_bar),
            *_describe_skips([t for t in of_ranking if t.family == "skip"]),
        ]
        sentences += [f"{title_of(ranking)}: {result}" for result in results]
    return sentences


def describe_bars(bars: Sequence[str], tests: Sequence[PairedTest]) -> list[str]:
    """Which simple forecasts "better" has to beat, and which of them need not be beaten where the
    difference from them drifts.
    """
    names = listing([BAR_WORDS[name] for name in bars])
    lines = [f"Better means better than {names}, the lowest of the simple forecasts on validation."]
    drifting = {test.against for test in tests if _is_drifting_bar(test, bars)}
    if drifting:
        listed = listing([BAR_WORDS[name] for name in bars if name in drifting])
        lines.append(
            f"Where the difference from {listed} drifts through the whole test block, better"
            " means better than the others."
        )
    return lines


def _is_drifting_bar(test: PairedTest, bars: Sequence[str]) -> bool:
    """Whether this test is against a bar after the first that need not be beaten: the model has the
    lower error, and the difference drifts, so that no test says for how long it will last. A model
    with the higher error is not better than the bar, whether the difference drifts or not.
    """
    return test.against in bars[1:] and test.is_drift and (test.mean_difference or 0.0) < 0


def compose_untrained_sentence(networks: Sequence[str], skips: Sequence[str]) -> str:
    """The sentence on networks whose forecasts are those of their skips alone."""
    return (
        f"{listing(networks)} did not train: in no seed was a step better on validation than"
        f" {listing(skips)} alone, so the forecasts are the same."
    )


def describe_untrained(untrained: Collection[Untrained]) -> list[str]:
    """Which networks forecast by their skip alone in all seeds, by ranking."""
    sentences = []
    for ranking in dict.fromkeys(network.ranking for network in untrained):
        of_ranking = [network for network in untrained if network.ranking == ranking]
        networks = [network.model for network in of_ranking]
        skips = sorted({network.same_as for network in of_ranking})
        sentence = compose_untrained_sentence(networks, skips)
        sentences.append(f"{title_of(ranking)}: {sentence} They are not counted as models.")
    return sentences


def describe_short_budget(tuning: Tuning, records: Iterable[RunRecord]) -> str:
    """A warning that the last training of the networks takes too few steps to judge them by; empty
    from `JUDGED_STEPS` on, and without networks.
    """
    if tuning.final_steps >= JUDGED_STEPS or not any(record.is_network for record in records):
        return ""
    trials = f"{plural(tuning.n_trials, 'trial')} of {plural(tuning.trial_steps, 'step')}"
    final = f"{plural(tuning.final_steps, 'step')} for each of {plural(len(tuning.seeds), 'seed')}"
    return (
        f"Networks had {trials} and {final} (a quick budget), too few to judge them by: repeat with"
        f' `final_steps: {JUDGED_STEPS}` (in configs/tuning.yaml; in Python `tuning="full"`) before'
        " you conclude."
    )


def describe_left_out(left_out: LeftOut) -> list[str]:
    """Which candidates, series and origins were not compared, and why."""
    sentences = [
        f"{model} ({title_of(ranking).lower()}) was not compared: {reason}."
        for (model, ranking), reason in left_out.candidates.items()
    ]
    sentences += [
        f"{series} (series) was not compared: its train part has no scale (constant, or one"
        " season), or its origins no actual."
        for series in left_out.series
    ]
    if left_out.origins:
        sentences.append(f"Left out for all models: {left_out.origins}.")
    return sentences


def describe_notes(tests: Sequence[PairedTest]) -> list[str]:
    """Which tests could not be made as usual, a sentence for each reason: it names a few pairs, or
    counts many.
    """
    sentences = []
    for note in sorted({test.note for test in tests if test.note}):
        tests_of_note = [test for test in tests if test.note == note]
        pairs = list(
            dict.fromkeys(f"{test.model} against {test.against}" for test in tests_of_note)
        )
        subject = f"Test of {listing(pairs)}"
        if len(pairs) > MOST_PAIRS:
            subject = f"{len(tests_of_note)} of the {len(tests)} tests"
        sentences.append(f"{subject}: {note}.")
    return sentences


def describe_cycles(n: int, spacing: Spacing) -> list[str]:
    """Which known cycles the tests removed from the losses of n origins, and which they could not
    remove.
    """
    step_size = spacing.get("step_size", 1)
    cycles = spacing.get("cycles", NO_CYCLES)
    n_separate = n // count_overlapping(**spacing)
    removed = removable_cycles(n, cycles, horizon=spacing["horizon"], step_size=step_size)
    sentences = []
    if removed:
        sentences.append(
            f"The tests remove one harmonic of the {listing(removed)} from the losses."
        )
    for name in sorted(set(cycles) - set(removed)):
        covered = n * step_size / cycles[name]
        sentences.append(
            f"The test block holds {covered:.2f} {name}s and"
            f" {plural(n_separate, 'separate horizon')}; wanted whole {name}s and at least"
            f" {MANY_HORIZONS} horizons. So the tests remove no harmonic of the {name} and count"
            " this cycle as dependence."
        )
    return sentences


def describe_selection(chosen: Mapping[str, str], lowest: Mapping[str, str]) -> list[str]:
    """The rankings in which a combination is selected although another model has the lowest
    validation loss (`lowest`).
    """
    return [
        f"{title_of(ranking)}: {chosen[ranking]} is selected because its weights are learnt;"
        f" {model} has the lowest loss on validation."
        for ranking, model in lowest.items()
        if model != chosen[ranking]
    ]


def describe_unlearnt(chosen: Mapping[str, str], unlearnt: Mapping[str, EqualShares]) -> list[str]:
    """Which selected combinations are the plain mean of their members at first, since validation is
    too short to learn weights. `unlearnt`: by model.
    """
    sentences = []
    for ranking, model in chosen.items():
        if model not in unlearnt:
            continue
        shares = unlearnt[model]
        begins = ", at first" if shares.is_learnt_later else ","
        learning = " Its weights are learnt from later errors." if shares.is_learnt_later else ""
        sentences.append(
            f"{title_of(ranking)}: validation has too few rows to compare models on:"
            f" {model}{begins} the plain mean of {listing(shares.members)}, is"
            f" {name_choice(model, unlearnt)} and hardly tested.{learning}"
        )
    return sentences


def describe_difference(test: PairedTest) -> str:
    """The relative difference of a test with its limits: `-12.3 %, 95 % interval -15.0 % to -9.6
    %`.
    """
    limits = test.relative_limits
    if limits is None:
        return signed_percent(test.relative_difference)
    low, high = map(signed_percent, limits)
    return f"{signed_percent(test.relative_difference)}, 95 % interval {low} to {high}"


def describe_warnings(
    chosen: Mapping[str, str],
    tests: Sequence[PairedTest],
    intervals: pd.DataFrame,
    leaks: Sequence[Alarm],
    unsupported: Sequence[UnsupportedLevel],
) -> list[str]:
    """Warnings: a selected model with a higher error on test than a simple forecast, leak alarms,
    intervals of the selected model that cover too little or too much, levels without an interval.

    intervals: the rows of all steps together (step 0) with INTERVAL_COLUMNS
    """
    sentences = []
    for ranking, model in chosen.items():
        lower = [
            f"{BAR_WORDS[test.against]} ({signed_percent(test.relative_difference)})"
            for test in tests
            if test.model == model and test.ranking in (ranking, "baseline")
            if test.family in ("bar", "reference") and (test.relative_difference or 0.0) > 0
        ]
        if lower:
            sentences.append(
                f"{title_of(ranking)}: {model} is selected and has a higher error on the test block"
                f" than {listing(lower)}."
            )
    sentences += [f"Leak alarm: {leak.model} on {leak.unique_id}: {leak.reason}." for leak in leaks]
    for ranking, model in chosen.items():
        sentences += _describe_missed_levels(model, ranking, intervals)
    for level in sorted({entry.level for entry in unsupported}):
        first, *others = [entry for entry in unsupported if entry.level == level]
        series = first.series
        if others:
            series = f"{1 + len(others)} series, such as {series}"
        sentences.append(f"No {level:g} % interval of {series}: {first.reason}")
    return list(dict.fromkeys(sentences))  # a baseline may be chosen in both rankings


def describe_failures(records: Collection[RunRecord]) -> list[str]:
    """Which models have no score, or none in one ranking, with the reason and what to do; which
    members each combination lacks, or why it could not be made.
    """
    scored = {record.model for record in records if not record.has_failed}
    sentences = []
    for record in filter(attrgetter("reason"), records):
        name, advice = record.model, "" if record.kind == COMBINATION else LEAVE_OUT
        if advice and name in scored:
            name, advice = f"{name} ({RANKING_TITLES[record.ranking]})", " It has no score there."
        sentences.append(f"{name}: {record.reason.rstrip('.')}.{advice}")
    return list(dict.fromkeys(sentences))


def describe_twins(twins: Iterable[Sequence[str]]) -> list[str]:
    """Which models forecast the same, such as two entries to which tuning gave equal values; the
    models of one list forecast the same.
    """
    return [f"{listing(models)} forecast the same; count them as one model." for models in twins]


def _describe_missed_levels(model: str, ranking: str, intervals: pd.DataFrame) -> list[str]:
    """A sentence for each level that the intervals of a model miss by more than is allowed.

    Of several series the mean coverage is judged, allowing for two of its standard errors, since
    the coverage of a single series is mostly noise; if the mean is right, the lowest series is
    named where it is far too low. Series without actuals do not count. A network in both rankings
    is a different model in each.
    """
    if intervals.empty:
        return []
    of_model = intervals[(intervals["model"] == model) & intervals["coverage"].notna()]
    name = model
    if of_model["ranking"].nunique() > 1:
        of_model = of_model[of_model["ranking"] == ranking]
        name = f"{model} ({RANKING_TITLES[ranking]})"
    sentences = []
    for level in sorted(of_model["level"].unique()):
        rows = of_model[of_model["level"] == level]
        coverage = rows["coverage"].to_numpy(dtype=float)
        covered = f"{100 * coverage.mean():.1f} %"
        if len(rows) == 1:
            is_missed = not bool(rows["inside"].iloc[0])
            covered += " of the test values"
        else:
            std_error = float(coverage.std(ddof=1)) / math.sqrt(len(rows))
            off = abs(float(coverage.mean()) - level / 100)
            is_missed = off > max(ALL_STEPS_BAND, 2 * std_error)
            covered += f" (standard error {100 * std_error:.1f} points) over {len(rows)} series"
        if is_missed:
            sentences.append(f"The {level:g} % intervals of {name} cover {covered}.")
            continue
        lowest = rows.loc[rows["coverage"].idxmin()]
        if not lowest["inside"] and lowest["coverage"] < level / 100 - FAR_TOO_LOW:
            sentences.append(
                f"The {level:g} % intervals of {name} cover {100 * lowest['coverage']:.0f} %"
                f" of {lowest['series']}, the least of {len(rows)} series."
            )
    return sentences


def _describe_selected(
    ranking: str, best: str, tests: Sequence[PairedTest], bars: Sequence[str], choice: str
) -> list[str]:
    """The selected model `best` against the bars, unless it is the first bar itself; then against
    the lowest of the other models and the hardest skip. `choice`: how it was selected.
    """
    bar = bars[0]
    lines = []
    if best == bar:
        words = BAR_WORDS[bar]
        lines.append(f"{words} had the lowest validation error, so no gain over it is claimed.")
    of_best = [t for t in tests if t.model == best and t.ranking in (ranking, "baseline")]
    for test in of_best:
        words = BAR_WORDS.get(test.against, test.against)
        if test.family == "bar":
            outcome = _outcome(test, words)
            if test.is_kept_from_better:
                outcome = _outcome_of_hardest(test, of_best)
            lines.append(f"{best}, {choice}, is {outcome}.")
        elif _is_drifting_bar(test, bars):
            size = signed_percent(test.relative_difference)
            lines.append(
                f"{words} (error {size}) was not asked: the difference drifts through the whole"
                " test block."
            )
    if lines:
        lines[0] += _describe_rivals(ranking, best, tests, bar)
    return lines


def _outcome_of_hardest(test: PairedTest, tests: Sequence[PairedTest]) -> str:
    """The outcome for a model that is better than the bar but not than another simple forecast,
    with the figures of both. `tests`: all tests of this model.
    """
    rival = next(t for t in tests if t.against == test.not_better_than)
    corrected = test.model_copy(update={"p": rival.p})  # the claim is tested by the hardest bar
    words = f"{test.word} {_PREPOSITIONS[test.word]} the simple forecasts"
    against_bar = f"{test.against} (error {describe_difference(test)}, {p_text(test.p)})"
    size = describe_difference(rival)
    against_rival = f"{rival.against} (error {size}, {describe_p(corrected)}, {test.n} origins)"
    return f"{words}: better than {against_bar}, but not than {against_rival}"


def _describe_tied(best: str, against_best: Sequence[PairedTest]) -> list[str]:
    """Which models are better than the selected one; which are tied with it, with the differences
    that the tests would detect; about which models the tests decide nothing.
    """
    sentences = []
    better = with_word("better", against_best)
    if better:
        sentences.append(f"better than {best}: {_list_differences(better)}.")
    ties = [test for test in against_best if test.is_tie]
    if ties:
        listed = _list_differences(ties)
        sentences.append(f"no test distinguishes {best} from {listed}{_describe_detectable(ties)}.")
    undecided = [t for t in against_best if t.word not in ("better", "worse") and not t.is_tie]
    if undecided:
        sentences.append(f"no test decides between {best} and {_list_differences(undecided)}.")
    if len(with_word("worse", against_best)) == len(against_best) > 0:
        sentences.append(f"the tests distinguish every other model from {best}.")
    return sentences


def _describe_detectable(tests: Sequence[PairedTest]) -> str:
    """The differences that the tests would find in four of five samples; empty if none is known, or
    the forecasts are the same.
    """
    sizes = sorted((t.detectable, t.model) for t in tests if t.detectable)
    if not sizes:
        return ""
    lowest, first_model = sizes[0]
    highest, last_model = sizes[-1]
    reach = percent(lowest)
    if len(sizes) > 1:
        reach += f" ({first_model}) to {percent(highest)} ({last_model})"
    return f"; with these origins a difference of {reach} is found in four of five samples"


def _describe_rivals(ranking: str, best: str, tests: Sequence[PairedTest], bar: str) -> str:
    """The other model with the lowest error on test, and the skip with the lowest error, each
    against the selected model `best`; empty without other models.
    """
    rivals = [t for t in tests if t.family == "best" and (t.ranking, t.against) == (ranking, best)]
    if not rivals:
        return ""
    rivals.sort(key=lambda test: test.mean_difference or 0.0)
    skips = {test.against for test in tests if test.family == "skip"}
    lowest = rivals[0]
    parts = [f"{lowest.model}, the lowest of the others, is {_outcome(lowest, best)}"]
    if lowest.model == bar:  # its test is reported before
        parts = [f"{bar} is the lowest of the others"]
    hardest_skip = next((test for test in rivals if test.model in skips), None)
    if best not in skips and hardest_skip is not None and hardest_skip is not lowest:
        parts.append(f"{hardest_skip.model} is {_outcome(hardest_skip, best)}")
    return f" {'; '.join(parts)}."


def _describe_networks(dataset: str, tests: Sequence[PairedTest]) -> list[str]:
    """Which networks are better and which worse than the bar, or that no test distinguishes one
    from it; empty without networks. `tests`: those of the networks against the bar.
    """
    if not tests:
        return []
    bar = BAR_WORDS[tests[0].against]
    better = with_word("better", tests)
    worse = with_word("worse", tests)
    origins = plural(max(test.n for test in tests), "origin")
    looked_at = f"{plural(len(tests), 'network')}, {origins}"
    if not better and not worse:
        pvalues = [test.p_holm for test in tests if test.p_holm is not None]
        smallest = "too few separate horizons to test"
        if pvalues:
            smallest = f"smallest adjusted {p_text(min(pvalues))}"
        return [f"no network on {dataset} is distinguishable from {bar} ({looked_at}, {smallest})."]
    lines = [f"no network on {dataset} beats {bar} ({looked_at})."]
    if better:
        count = f"{len(better)} of {len(tests)} networks"
        if len(better) == len(tests):
            count = "the only network" if len(tests) == 1 else f"all {len(tests)} networks"
        beat = "beats" if len(better) == 1 else "beat"
        listed = f"{_list_differences(better)} (Holm, {origins})"
        lines = [f"{count} on {dataset} {beat} {bar}: {listed}."]
    if worse:
        lines.append(f"worse than {bar}: {_list_differences(worse)}.")
    return lines


def _describe_skips(tests: Sequence[PairedTest]) -> list[str]:
    """Which networks are better than their skip alone, and for which no gain is shown. `tests`:
    those of the networks against their skips.
    """
    better = with_word("better", tests)
    lines = []
    if better:
        skips = listing(sorted({test.against for test in better}))
        lines.append(f"better than the skip alone ({skips}): {_list_differences(better)} (Holm).")
    others = []
    for test in tests:
        if test.word == "worse":
            others.append(f"{test.model} (worse, {signed_percent(test.relative_difference)})")
        elif test.word != "better":
            others.append(test.model)
    if others:
        lines.append(f"no gain over the skip alone is shown for {listing(others)}.")
    return lines


def _outcome(test: PairedTest, other: str) -> str:
    """The outcome of a test against `other`, in words: `better than ridge (error -2.0 %, 95 %
    interval ..., p = 0.013, 300 origins)`.
    """
    size = describe_difference(test)
    p = describe_p(test)
    if test.word in ("better", "worse"):
        return f"{test.word} than {other} (error {size}, {p}, {test.n} origins)"
    if test.word == "equivalent":
        return f"equivalent to {other} (error {size}, neither error is 2 % above the other)"
    if test.word == "undecided" and test.p is None:
        return f"undecided against {other}: {plural(test.n, 'origin')}, too few separate horizons"
    remark = ""
    if test.detectable is not None and not test.is_beyond_detectable:
        remark = f"; {percent(test.detectable)} would be found in four of five samples"
    elif test.is_drift:
        remark = "; the difference drifts through the whole test block, which leaves no bound of it"
    elif test.detectable is None and test.word == "undecided":
        remark = "; too few separate horizons to find any difference"
    note = f": {test.note}" if test.note else ""
    words = f"{test.word} {_PREPOSITIONS[test.word]} {other}{note}"
    return f"{words} (error {size}, {p}, {test.n} origins{remark})"


def describe_p(test: PairedTest) -> str:
    """The p of a test without and with correction: `p = 0.013, 0.026 corrected for 2 tests`."""
    if test.p is None or test.p_holm is None or test.corrected_for < 2:
        return p_text(test.p_holm)
    corrected = p_text(test.p_holm).removeprefix("p ").removeprefix("= ")  # `0.026` or `< 0.001`
    # larger than any correction of p: it is that of the test against a harder simple forecast
    if test.p_holm > max(1.001 * test.corrected_for * test.p, 0.001):
        corrected += " against another simple forecast near it,"
    return f"{p_text(test.p)}, {corrected} corrected for {test.corrected_for} tests"


def _list_differences(tests: Sequence[PairedTest]) -> str:
    """The models with their differences, lowest first: `gru (-3.1 %) and lstm (-2.0 %)`."""
    ordered = sorted(tests, key=lambda test: (test.relative_difference or 0.0, test.model))
    return listing(
        [f"{test.model} ({signed_percent(test.relative_difference)})" for test in ordered]
    )


def describe_pair(tests: Iterable[PairedTest], a: str, b: str, ranking: str) -> list[str]:
    """A sentence for each test of one of the two models against the other, in `ranking`; without a
    test a sentence that says so.
    """
    described = [
        test.sentence
        for test in tests
        if {test.model, test.against} == {a, b} and test.ranking in (ranking, "baseline")
    ]
    return described or ["This pair was not tested: a difference of the means alone says little."]


def with_word(word: TestWord, tests: Iterable[PairedTest]) -> list[PairedTest]:
    """The tests with this verdict."""
    return [test for test in tests if test.word == word]


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty without any name."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def signed_percent(share: float | None) -> str:
    """`-12.3 %` with its sign, `-0.02 %` where one decimal would show zero for 0.001 % or more; a
    dash when it does not exist.
    """
    if share is None or not math.isfinite(share):
        return "-"
    value = 100 * as_reported(share)
    return f"{value:+.1g} %" if 0.001 <= abs(value) < 0.05 else f"{value:+z.1f} %"


def p_text(p: float | None) -> str:
    """`p = 0.013`, `p = 0.12` from 0.1 on, `p < 0.001`, or `no p`."""
    if p is None:
        return "no p"
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def percent(share: float) -> str:
    """`12.3 %`: as `signed_percent`, without a plus."""
    return signed_percent(share).removeprefix("+")
