"""Losses become verdicts."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from forecast.comparison.losses import losses_by_cutoff, select_bars
from forecast.comparison.sentences import (
    describe_failures,
    describe_notes,
    describe_p,
    describe_warnings,
    signed_percent,
)
from forecast.comparison.verdicts import compare, verdict
from forecast.data.comparison_records import Alarm, PairedTest, UnsupportedLevel, Untrained
from forecast.system.errors import InputError
from tests.support.records import paired_test, run_record

SKIP_OF = {"shipped": "ridge", "architecture": "naive", "baseline": None}


def table(gaps: dict[tuple[str, str], float], *, n: int = 300, noise: float = 0.3) -> pd.DataFrame:
    """Each (model, ranking): a shared difficulty, the model's gap, and noise; networks are a mean
    of two.
    """
    rng = np.random.default_rng(4)
    difficulty = 2 + rng.gamma(4, 0.5, n)
    frames = [
        pd.DataFrame(
            {
                "model": model,
                "ranking": ranking,
                "skip": SKIP_OF[ranking],
                "unique_id": "a",
                "cutoff": pd.date_range("2024-01-01", periods=n),
                "loss": (
                    difficulty
                    + gap
                    + rng.normal(0, noise, (1 if ranking == "baseline" else 2, n)).mean(axis=0)
                ),
            }
        )
        for (model, ranking), gap in gaps.items()
    ]
    return pd.concat(frames, ignore_index=True)


def verdicts(gaps, chosen, bars=("naive",), **options):
    arguments = {
        "dataset": "weather",
        "chosen": chosen,
        "bars": bars,
        "horizon": 1,
    }
    return compare(table(gaps, **options), **arguments)


BETTER = {
    ("naive", "baseline"): 0.0,
    ("ridge", "baseline"): -0.5,
    ("lstm", "shipped"): -0.8,
    ("gru", "shipped"): -0.5,
    ("lstm", "architecture"): 0.5,
}
CHOSEN = {"shipped": "lstm", "architecture": "ridge"}


def test_the_three_families_hold_the_tests_they_should():
    tests = verdicts(BETTER, CHOSEN).tests
    pairs = {(t.family, t.ranking, t.model, t.against) for t in tests}
    assert pairs == {
        ("bar", "baseline", "ridge", "naive"),
        ("bar", "shipped", "lstm", "naive"),
        ("bar", "shipped", "gru", "naive"),
        ("bar", "architecture", "lstm", "naive"),
        ("skip", "shipped", "lstm", "ridge"),
        ("skip", "shipped", "gru", "ridge"),
        ("best", "shipped", "naive", "lstm"),
        ("best", "shipped", "ridge", "lstm"),
        ("best", "shipped", "gru", "lstm"),
        ("best", "architecture", "naive", "ridge"),
        ("best", "architecture", "lstm", "ridge"),
    }


def test_the_words_follow_the_losses():
    words = {(t.family, t.ranking, t.model): t.word for t in verdicts(BETTER, CHOSEN).tests}
    assert words["bar", "shipped", "lstm"] == "better"
    assert words["bar", "architecture", "lstm"] == "worse"
    assert words["skip", "shipped", "lstm"] == "better"
    assert words["skip", "shipped", "gru"] in ("not distinguishable", "equivalent")
    assert ("skip", "architecture", "lstm") not in words  # the last value is no model
    assert words["best", "shipped", "naive"] == "worse"


def test_the_end_of_an_interval_beside_zero_keeps_its_sign():
    assert [signed_percent(share) for share in (-0.009, -0.0002, 0.00004, 0.0)] == [
        "-0.9 %",
        "-0.02 %",
        "+0.004 %",
        "+0.0 %",
    ]


def test_the_sentences_tell_it_in_plain_words():
    result = verdicts(BETTER, CHOSEN)
    text = "\n".join(result.sentences)
    assert (
        "As shipped: lstm, selected on validation, is better than repeating the last value" in text
    )
    assert "As shipped: the tests distinguish every other model from lstm" in text and result.tied[
        "shipped"
    ] == ("lstm",)
    assert "As shipped: no gain over the skip alone is shown for gru." in text
    assert "Architecture alone: worse than repeating the last value: lstm" in text


def test_beside_the_chosen_row_stand_the_lowest_other_and_the_linear_model_each_once():
    first = verdicts(BETTER, {"shipped": "gru"}).sentences[0]
    assert re.search(
        r"origins\)\. lstm, the lowest of the others, is better than gru \(error -[\d.]+ %, 95 %",
        first,
    )
    assert (
        re.search(r"; ridge is (equivalent to|not distinguishable from) gru \(error", first)
        and "arx" not in first
    )
    alone = verdicts(BETTER, {"shipped": "lstm"}).sentences[0]
    assert (
        alone.count("ridge") + alone.count("gru") == 2
        and alone.count(" is worse than lstm (error +") == 2
    )
    linear = verdicts(BETTER, {"shipped": "ridge"}).sentences[0]
    assert "lstm, the lowest of the others, is better than ridge" in linear and ";" not in linear


def test_the_lowest_other_row_is_said_once_where_it_is_the_linear_model():
    gaps = {key: gap for key, gap in BETTER.items() if key[0] != "gru"}
    first = verdicts(gaps, {"shipped": "lstm"}).sentences[0]
    assert (
        first.count("ridge, the lowest of the others, is worse than lstm (error +")
        == first.count("ridge")
        == 1
    )


def test_a_grid_that_cannot_beat_naive_says_so():
    gaps = {("naive", "baseline"): 0.0, ("lstm", "shipped"): 0.01, ("gru", "shipped"): -0.01}
    text = "\n".join(verdicts(gaps, {"shipped": "naive"}, noise=2.0).sentences)
    assert (
        "no network on weather is distinguishable from repeating the last value (2 networks, 300"
        " origins" in text
    )
    assert "repeating the last value had the lowest validation error" in text


def test_a_claim_has_one_p_and_one_word_wherever_it_is_shown():
    chosen = {"shipped": "ridge", "architecture": "ridge"}
    for noise in (0.3, 1.5, 6.0):
        p_and_word: dict[frozenset[tuple[str, str]], set[tuple[float, bool]]] = {}
        for test in verdicts(BETTER, chosen, noise=noise).tests:
            networks = {(test.model, test.ranking)} if test.ranking != "baseline" else set()
            pair = frozenset({test.model, test.against, *networks})
            p_and_word.setdefault(pair, set()).add((test.p_holm, test.word in ("better", "worse")))
        claims = p_and_word[frozenset({"ridge", "naive"})]
        assert len(claims) == 1 and next(iter(claims))[0] == pytest.approx(
            next(t.p for t in verdicts(BETTER, chosen, noise=noise).tests if t.model == "ridge")
        )


CONSTANTS = ("historical_mean", "historical_median", "lookback_mean")
RETURNS = {
    ("naive", "baseline"): 0.9,
    **{(name, "baseline"): 0.0 for name in CONSTANTS},
    ("ridge", "baseline"): 0.0,
    ("lstm", "shipped"): 0.02,
    ("gru", "shipped"): -0.4,
}
"""Of a series that scatters about its mean every model is far below the last value."""


def test_where_the_last_value_is_no_bar_better_means_better_than_the_mean():
    result = verdicts(RETURNS, {"shipped": "lstm"}, bars=CONSTANTS)
    against_bar = {t.model: t for t in result.tests if t.family == "bar"}
    assert {t.against for t in against_bar.values()} == {"historical_mean"} == {result.bar}
    words = {model: test.word for model, test in against_bar.items()}
    assert {words["ridge"], words["lstm"]} <= {"equivalent", "not distinguishable"}
    assert words["gru"] == "better" and words["naive"] == "worse"
    text = "\n".join(result.sentences)
    assert "better than repeating the last value" not in text
    assert (
        "Better means better than the historical mean, the historical median and the mean of the"
        " lookback, the lowest of the simple forecasts on validation." in result.sentences
    )


def test_who_is_better_than_one_constant_and_not_than_its_neighbour_is_not_better():
    gaps = RETURNS | {("historical_median", "baseline"): -0.4}
    result = verdicts(gaps, {"shipped": "lstm"}, bars=CONSTANTS)
    (gru,) = [t for t in result.tests if (t.family, t.model) == ("bar", "gru")]
    assert gru.p < 0.001 and gru.p_holm > 0.05 and gru.word == "not distinguishable"
    assert gru.note == "better than historical_mean, but not than historical_median"
    assert gru.not_better_than == "historical_median"
    assert gru.sentence == (
        f"gru against historical_mean and historical_median: not distinguishable"
        f" ({signed_percent(gru.relative_difference)}, p {gru.p_holm:.3g} against historical_median"
        f" after Holm for {gru.corrected_for} tests)."
    )
    chosen = verdicts(gaps, {"shipped": "gru"}, bars=CONSTANTS)
    (rival,) = [t for t in chosen.tests if (t.model, t.against) == ("gru", "historical_median")]
    assert re.search(
        "gru, selected on validation, is not distinguishable from the simple forecasts: better than"
        r" historical_mean \(error -[^()]*, p < 0.001\), but not than historical_median \(error"
        rf" {re.escape(signed_percent(rival.relative_difference))}, [^()]*p = {rival.p:.2f}, ",
        chosen.sentences[0],
    )
    # the rows that it is better than are not tied with it, however the claim ended
    assert {*CONSTANTS, "naive"} & {*chosen.tied["shipped"]} == {"historical_median"}


def drifting_median(first: float, last: float) -> pd.DataFrame:
    """Losses of which those of the historical median grow through the whole block, from `first` to
    `last` times theirs.
    """
    losses = table(RETURNS)
    is_drifting = losses["model"] == "historical_median"
    growth = np.linspace(0, 1, is_drifting.sum()) ** 4
    losses.loc[is_drifting, "loss"] *= first + (last - first) * growth
    return losses


@pytest.mark.parametrize(
    ("factors", "is_better"), [((0.9, 7.0), True), ((0.2, 3.0), False)], ids=["above", "below"]
)
def test_a_bar_whose_difference_lasts_as_long_as_the_test_block_is_asked_where_it_is_lower(
    factors, is_better
):
    losses = drifting_median(*factors)
    result = compare(losses, dataset="d", chosen={"shipped": "gru"}, bars=CONSTANTS, horizon=12)
    (drifting,) = [t for t in result.tests if (t.model, t.against) == ("gru", "historical_median")]
    (against_bar,) = [t for t in result.tests if (t.family, t.model) == ("bar", "gru")]
    assert drifting.is_drift and drifting.word not in ("better", "worse")
    assert (against_bar.word == "better") == is_better
    reason = "was not asked: the difference drifts through the whole test block."
    assert any(reason in sentence for sentence in result.sentences) == is_better
    general = "Where the difference from the historical median drifts through the whole test block"
    assert any(general in sentence for sentence in result.sentences) == is_better


def test_where_the_difference_from_the_lowest_simple_forecast_drifts_the_next_is_the_bar():
    bars = ("historical_median", "historical_mean", "lookback_mean")
    result = compare(
        drifting_median(0.9, 7.0), dataset="d", chosen={"shipped": "gru"}, bars=bars, horizon=12
    )
    assert result.bar == "historical_mean"
    (against_bar,) = [t for t in result.tests if (t.family, t.model) == ("bar", "gru")]
    assert (against_bar.word, against_bar.against) == ("better", "historical_mean")
    reason = "was not asked: the difference drifts through the whole test block."
    assert any(reason in sentence for sentence in result.sentences)


def test_a_simple_forecast_that_is_selected_stays_the_bar_of_what_drifts_from_it():
    bars = ("historical_median", "historical_mean", "lookback_mean")
    losses = drifting_median(0.9, 7.0)
    alone = losses[losses["model"] == "gru"].assign(ranking="architecture", skip="naive")
    result = compare(
        pd.concat([losses, alone]),
        dataset="d",
        chosen={"shipped": "historical_median", "architecture": "gru"},
        bars=bars,
        horizon=12,
    )
    assert result.bar == "historical_median"
    assert "so no gain over it is claimed" in result.sentences[0]


def test_the_only_bar_stays_and_its_drift_is_told():
    result = compare(
        drifting_median(0.9, 7.0),
        dataset="d",
        chosen={"shipped": "gru"},
        bars=("historical_median",),
        horizon=12,
    )
    (against_bar,) = [t for t in result.tests if (t.family, t.model) == ("bar", "gru")]
    assert result.bar == against_bar.against == "historical_median"
    assert against_bar.word not in ("better", "worse")
    assert "the difference drifts through the whole test block, which leaves" in result.sentences[0]


def test_a_bar_from_which_one_wild_origin_leaves_no_bound_is_asked():
    losses = table(RETURNS)
    place = losses.index[losses["model"] == "historical_median"][150]
    losses.loc[place, "loss"] += 2000
    result = compare(losses, dataset="d", chosen={"shipped": "gru"}, bars=CONSTANTS, horizon=1)
    (wild,) = [t for t in result.tests if (t.model, t.against) == ("gru", "historical_median")]
    (against_bar,) = [t for t in result.tests if (t.family, t.model) == ("bar", "gru")]
    assert wild.mean_difference < 0 and wild.ci_high is None and not wild.is_drift
    assert against_bar.p < 0.001 and against_bar.word == "not distinguishable"


def test_who_is_better_by_less_than_a_margin_and_not_than_a_neighbour_is_equivalent_to_the_bar():
    gaps = {
        ("naive", "baseline"): 0.4,
        ("ridge", "baseline"): 0.0,
        ("historical_mean", "baseline"): 0.0,
        ("historical_median", "baseline"): -0.04,
        ("gru", "shipped"): -0.04,
    }
    bars = ("historical_mean", "historical_median")
    result = verdicts(gaps, {"shipped": "gru"}, bars=bars, noise=0.02)
    (gru,) = [t for t in result.tests if (t.family, t.model) == ("bar", "gru")]
    assert gru.word == "equivalent" and gru.not_better_than == "historical_median"
    assert (
        "gru, selected on validation, is equivalent to the historical mean (error"
        in (result.sentences[0])
    )


def test_more_constants_that_say_the_same_cost_no_power():
    tests = {}
    for bars in (CONSTANTS[:1], CONSTANTS):
        result = verdicts(RETURNS, {"shipped": "gru"}, bars=bars, noise=3.0)
        tests[bars] = next(t for t in result.tests if (t.family, t.model) == ("bar", "gru"))
        assert tests[bars].corrected_for <= 3  # the bars are one claim, beside the ridge
    one_bar, all_bars = tests.values()
    assert one_bar.p == all_bars.p < 0.05 and one_bar.p_holm <= all_bars.p_holm


@pytest.mark.parametrize("winner", ["gru", "ridge"])
@pytest.mark.parametrize("noise", [0.3, 1.5, 3.0, 6.0])
def test_who_is_better_is_tied_with_no_simple_forecast_near_the_bar(winner, noise):
    for gap in (0.0, -0.1, -0.3):
        gaps = RETURNS | {("historical_median", "baseline"): gap, (winner, "shipped"): -0.4}
        if winner == "ridge":
            gaps = RETURNS | {("ridge", "baseline"): -0.4, ("historical_median", "baseline"): gap}
        result = verdicts(gaps, {"shipped": winner}, bars=CONSTANTS, noise=noise)
        (claim,) = [t for t in result.tests if (t.family, t.model) == ("bar", winner)]
        of_bars = [t for t in result.tests if t.family == "best" and t.model in CONSTANTS]
        assert (claim.word == "better") == all(test.word == "worse" for test in of_bars)
        assert not (claim.word == "better" and {*CONSTANTS} & {*result.tied["shipped"]})
        for test in of_bars:
            if test.model == "historical_mean" and not claim.note:
                assert (test.p_holm < 0.05) == (claim.p_holm < 0.05)


def test_the_bar_is_the_simple_forecast_with_the_lowest_validation_loss_and_those_near_it():
    returns = {("gru", "shipped"): -1.0, ("ridge", "baseline"): -1.0, ("naive", "baseline"): 1.0}
    returns |= {("historical_mean", "baseline"): 0.0, ("historical_median", "baseline"): 0.1}
    near = {("naive", "baseline"): 0.0, ("gru", "shipped"): -1.0}
    bars = [select_bars(losses_by_cutoff(table(each))[0]) for each in (returns, near)]
    assert bars == [["historical_mean", "historical_median"], ["naive"]]


def test_a_network_that_did_not_train_is_one_sentence_and_no_model():
    same = Untrained(model="gru", ranking="shipped", same_as="ridge")
    options = {"dataset": "weather", "chosen": CHOSEN, "horizon": 1}
    result = compare(table(BETTER), **options, untrained=[same])
    assert not [t for t in result.tests if t.model == "gru"]
    assert "gru" not in result.tied["shipped"]
    (sentence,) = [line for line in result.sentences if "did not train" in line]
    assert sentence.startswith("As shipped: gru did not train: in no seed was a step better on")


def test_what_a_test_could_have_seen_stands_beside_the_word():
    gaps = {("naive", "baseline"): 0.0, ("ridge", "baseline"): 0.1, ("lstm", "shipped"): -0.1}
    result = verdicts(gaps, {"shipped": "lstm"}, noise=6.0)
    tests = {t.model: t for t in result.tests if t.family == "best"}
    assert all(t.word == "not distinguishable" and t.detectable > 0.1 for t in tests.values())
    assert re.search(
        r"no test distinguishes lstm from .* a difference of [\d.]+ % \((naive|ridge)\) to [\d.]+ %"
        r" \((naive|ridge)\) is found in four of five samples",
        result.sentences[1],
    )


def test_nothing_is_said_to_be_found_between_forecasts_that_are_the_same():
    same = {("naive", "baseline"): 0.0, ("ridge", "baseline"): 0.0}
    result = verdicts(same, {"shipped": "naive"}, noise=0.0)
    assert any("distinguishes naive from ridge (+0.0 %)" in line for line in result.sentences)
    assert "found in four of five" not in " ".join(result.sentences)


def test_a_large_difference_over_three_years_of_weeks_is_seen():
    rng = np.random.default_rng(2)
    shared = np.convolve(rng.gamma(2, 1, 171), np.ones(12) / 12, mode="valid")
    weeks = pd.date_range("2021-01-03", periods=160, freq="7D")
    frames = [
        pd.DataFrame({"model": model, "cutoff": weeks, "loss": factor * shared})
        for model, factor in (("naive", 1.0), ("seasonal_naive", 2.7))
    ]
    losses = pd.concat(frames).assign(ranking="baseline", skip=None, unique_id="a")
    result = compare(losses, dataset="weeks", chosen={"shipped": "naive"}, horizon=12)
    (test,) = [t for t in result.tests if t.family == "bar"]
    assert test.word == "worse" and test.p_holm < 0.01 and result.tied["shipped"] == ("naive",)


def test_the_word_of_the_chosen_row_against_the_references_ignores_the_rest_of_the_grid():
    filler = {(f"filler_{i}", "shipped"): 0.01 * i for i in range(20)}
    few, many = (verdicts(gaps, CHOSEN, noise=1.5) for gaps in (BETTER, BETTER | filler))
    for family, model in (
        ("bar", "lstm"),
        ("skip", "lstm"),
        ("best", "ridge"),
    ):
        narrow, wide = (
            next(
                t
                for t in result.tests
                if (t.family, t.model) == (family, model) and t.ranking != "architecture"
            )
            for result in (few, many)
        )
        assert (narrow.p_holm, narrow.word) == (wide.p_holm, wide.word)


def test_a_model_that_returned_nan_is_a_sentence_not_a_crash():
    losses = table(BETTER)
    losses.loc[losses["model"] == "gru", "loss"] = np.nan
    result = compare(losses, dataset="weather", chosen=CHOSEN, horizon=1)
    assert (
        "gru (as shipped) was not compared: 300 of its losses are not finite." in result.sentences
    )
    assert not [t for t in result.tests if t.model == "gru"]


def test_a_dataset_without_any_scale_is_a_sentence_not_a_crash():
    losses = table(BETTER).assign(loss=np.nan)
    result = compare(losses, dataset="weather", chosen={}, horizon=1)
    assert result.sentences[0] == "No model can be compared: no series has a scale and actuals."
    assert result.to_json()["tests"] == [] and "a (series) was not compared" in result.sentences[1]


def test_too_few_origins_leave_every_word_undecided_and_the_json_without_nan():
    result = verdicts(BETTER, CHOSEN, n=6)
    assert {t.word for t in result.tests} == {"undecided"}
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["tests"][0]["p"] is None


def test_no_row_is_tied_by_a_test_of_too_few_origins():
    gaps = {("naive", "baseline"): 0.0, ("ridge", "baseline"): -2.5, ("lstm", "shipped"): -2.5}
    result = verdicts(gaps, {"shipped": "lstm"}, n=12)
    first, second, *_ = result.sentences
    assert result.tied["shipped"] == ("lstm",) and "too few" not in first
    assert "better than repeating the last value (error" in first
    assert "ridge, the lowest of the others, is undecided against lstm (error" in first
    assert second.startswith("As shipped: no test decides between lstm and ridge (")


@pytest.mark.parametrize(
    ("word", "difference", "is_tie"),
    [
        ("equivalent", 0.012, True),
        ("not distinguishable", -0.009, True),
        ("not distinguishable", 0.012, False),  # found before the correction, not after it
        ("undecided", 0.005, False),
        ("worse", 0.03, False),
    ],
)
def test_a_tie_is_a_decided_test_that_found_no_detectable_difference(word, difference, is_tie):
    test = paired_test("gru", "best", word, relative_difference=difference, detectable=0.01)
    assert test.is_tie == is_tie


def test_where_no_difference_would_be_detected_nothing_is_tied():
    test = paired_test("gru", "best", "not distinguishable", detectable=None)
    assert not test.is_tie


def test_the_json_has_the_agreed_keys():
    content = verdicts(BETTER, CHOSEN).to_json()
    assert {"dataset", "chosen", "tests", "sentences"} <= set(content)
    assert {
        "ranking",
        "family",
        "model",
        "against",
        "p",
        "p_holm",
        "mean_difference",
        "relative_difference",
        "ci_low",
        "ci_high",
        "n",
        "detectable",
        "corrected_for",
        "word",
    } <= set(content["tests"][0])


def test_without_its_reference_there_is_no_verdict():
    with pytest.raises(
        InputError, match="'naive' cannot be compared with on weather: it has no row"
    ):
        verdicts({("lstm", "shipped"): 0.0}, {"shipped": "lstm"})


@pytest.mark.parametrize(
    ("difference", "p", "equivalent", "enough", "word"),
    [
        (-1.0, 0.01, False, True, "better"),
        (1.0, 0.01, False, True, "worse"),
        (-1.0, 0.2, False, True, "not distinguishable"),
        (-0.01, 0.2, True, True, "equivalent"),
        (-1.0, 0.2, False, False, "undecided"),
        (-1.0, float("nan"), False, True, "undecided"),
    ],
)
def test_every_word_has_its_condition(difference, p, equivalent, enough, word):
    assert verdict(difference, p, equivalent=equivalent, enough=enough, alpha=0.05) == word


def test_a_cycle_that_the_block_does_not_cover_whole_is_left_in_and_said():
    result = compare(
        table(BETTER),
        dataset="weather",
        chosen=CHOSEN,
        horizon=1,
        cycles={"year": 365.2425, "week": 7.0},
    ).sentences
    assert "The tests remove one harmonic of the week from the losses." in result
    assert any(
        line.startswith("The test block holds 0.82 years and 300 separate horizons; wanted whole")
        for line in result
    )


def test_one_origin_without_any_actual_stops_no_comparison_and_is_said():
    losses = table(BETTER)
    losses.loc[losses["cutoff"] == losses["cutoff"].iloc[7], "loss"] = np.nan
    result = compare(losses, dataset="weather", chosen=CHOSEN, horizon=1)
    assert {test.n for test in result.tests} == {299}
    assert (
        "Left out for all models: 1 of the 300 origins have no actual in their whole horizon."
        in result.sentences
    )


def test_what_a_reader_must_not_miss_is_said():
    intervals = [
        {
            "model": "lstm",
            "ranking": "shipped",
            "series": name,
            "level": 80.0,
            "coverage": covered,
            "inside": covered > 0.77,
        }
        for name, covered in (("a", 0.75), ("b", 0.7), ("c", 0.6))
    ]
    refused = [
        UnsupportedLevel(
            series=name,
            level=95.0,
            reason=f"{origins} calibration errors ... at least 19",
            candidates=(),
        )
        for name, origins in (("a", 10), ("b", 12))
    ]
    leak = Alarm(
        model="gru",
        ranking="shipped",
        unique_id="a",
        reason="MAE 40.0 % below repeating the last value",
    )
    tests = [
        paired_test("lstm", "bar", "worse", relative_difference=0.021),
        paired_test(
            "lstm", "reference", "worse", against="lookback_mean", relative_difference=0.01
        ),
        paired_test("ridge", "bar", "better", ranking="baseline", relative_difference=-0.4),
    ]
    assert describe_warnings(
        {"shipped": "lstm", "architecture": "ridge"},
        tests,
        pd.DataFrame(intervals),
        [leak],
        refused,
    ) == [
        (
            "As shipped: lstm is selected and has a higher error on the test block than"
            " repeating the last value (+2.1 %) and the mean of the lookback (+1.0 %)."
        ),
        "Leak alarm: gru on a: MAE 40.0 % below repeating the last value.",
        "The 80 % intervals of lstm cover 68.3 % (standard error 4.4 points) over 3 series.",
        "No 95 % interval of 2 series, such as a: 10 calibration errors ... at least 19",
    ]
    (one_refused,) = describe_warnings({}, [], pd.DataFrame(), [], refused[:1])
    assert one_refused.startswith("No 95 % interval of a: 10 calibration errors")
    assert describe_warnings({"shipped": "ridge"}, tests, pd.DataFrame(), [], []) == []
    # a series without actuals hides no other, and has no coverage of its own
    empty = {**intervals[0], "series": "d", "coverage": np.nan, "inside": False}
    selection = ({"shipped": "lstm"}, [])
    (warning,) = describe_warnings(*selection, pd.DataFrame([*intervals, empty]), [], [])
    assert warning.endswith("over 3 series.")
    assert not describe_warnings(*selection, pd.DataFrame([empty]), [], [])
    # a store that is off by chance among others that are not is no alarm
    intervals[0]["coverage"], intervals[1]["coverage"] = 0.95, 0.9
    intervals[2]["inside"] = True
    assert not describe_warnings({"shipped": "lstm"}, [], pd.DataFrame(intervals), [], [])


def test_a_single_series_that_is_covered_far_too_seldom_is_named():
    rows = [
        {
            "model": "ridge",
            "ranking": "shipped",
            "series": name,
            "level": 80.0,
            "coverage": covered,
            "inside": covered > 0.7,
        }
        for name, covered in (("Altstadt", 0.84), ("Hafen", 0.68), ("Bergdorf", 0.84))
    ]
    selection = ({"shipped": "ridge"}, [])
    assert describe_warnings(*selection, pd.DataFrame(rows), [], []) == [
        "The 80 % intervals of ridge cover 68 % of Hafen, the least of 3 series."
    ]
    rows[1]["coverage"] = 0.75
    assert not describe_warnings(*selection, pd.DataFrame(rows), [], [])


def test_a_p_that_no_correction_makes_is_said_to_be_of_another_test():
    test = paired_test("ridge", "bar", "undecided", p=0.05, p_holm=0.41, corrected_for=3)
    assert describe_p(test) == (
        "p = 0.050, 0.41 against another simple forecast near it, corrected for 3 tests"
    )
    corrected = paired_test("ridge", "bar", "undecided", p=0.05, p_holm=0.15, corrected_for=3)
    assert describe_p(corrected) == "p = 0.050, 0.15 corrected for 3 tests"


def test_intervals_of_one_ranking_are_not_hidden_by_those_of_the_other():
    rows = [
        {
            "model": "lstm",
            "ranking": ranking,
            "series": name,
            "level": 95.0,
            "coverage": covered,
            "inside": covered > 0.9,
        }
        for ranking, covered in (("shipped", 0.5), ("architecture", 0.95))
        for name in ("a", "b", "c")
    ]
    covers_half = (
        "The 95 % intervals of lstm (as shipped) cover 50.0 % (standard error 0.0 points) over 3"
        " series."
    )
    intervals = pd.DataFrame(rows)
    for chosen in ({"shipped": "lstm"}, {"shipped": "lstm", "architecture": "lstm"}):
        assert describe_warnings(chosen, [], intervals, [], []) == [covers_half]
    assert describe_warnings({"architecture": "lstm"}, [], intervals, [], []) == []
    of_a_baseline = intervals[intervals["ranking"] == "shipped"].assign(ranking="baseline")
    both = {"shipped": "lstm", "architecture": "lstm"}
    assert describe_warnings(both, [], of_a_baseline, [], []) == [
        covers_half.replace(" (as shipped)", "")
    ]


def test_the_interval_of_the_gain_stands_beside_the_word():
    text = "\n".join(verdicts(BETTER, CHOSEN).sentences)
    assert re.search(
        r"better than repeating the last value \(error -\d.*95 % interval -[\d.]+ % to -[\d.]+ %",
        text,
    )


def test_a_combination_made_without_a_failed_member_says_so_by_its_name():
    mix = run_record("mix", kind="combination", reason="left out: lstm.linear (failed)")
    complete = run_record("mix", kind="combination")
    network = run_record("lstm.linear")
    assert describe_failures([mix, complete, network]) == ["mix: left out: lstm.linear (failed)."]


def test_models_that_failed_are_told_once_with_the_reason_and_what_to_do():
    reason = "seed 0: auto_ets forecasts of series 'a', 'b' are not finite"
    records = [
        *[
            run_record("auto_ets", status="failed", reason=reason, ranking=name)
            for name in ("shipped", "architecture")
        ],
        run_record("ridge"),
    ]
    (sentence,) = describe_failures(records)
    assert sentence.startswith(f"auto_ets: {reason}. It has no score. Leave it out (")


def test_a_network_that_failed_in_one_ranking_is_not_to_be_left_out():
    failed = run_record("lstm.linear", status="failed", reason="seed 0: not finite")
    others = [run_record("lstm.last"), run_record("naive")]
    assert describe_failures([failed, *others]) == [
        "lstm (as shipped): seed 0: not finite. It has no score there."
    ]


def test_a_test_with_a_remark_is_named_by_its_pair_and_many_by_their_number():
    def with_note(model):
        words = {"ranking": "shipped", "family": "best", "word": "equivalent"}
        return PairedTest(model=model, against="ridge", note="identical losses", **words)

    few = [with_note("gru"), with_note("lstm")]
    assert describe_notes(few) == [
        "Test of gru against ridge and lstm against ridge: identical losses."
    ]
    many = [with_note(f"m{number}") for number in range(5)]
    assert describe_notes(many) == ["5 of the 5 tests: identical losses."]
