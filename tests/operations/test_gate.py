"""The gate on losses with known answers, and what luck can do in a year of daily gates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.gate_asked_daily import SETTINGS, differences, find_promotions
from forecast.comparison.longrun import Spacing
from forecast.operations.gate import (
    FreshLosses,
    GateRules,
    PairEvidence,
    boundary,
    decide,
    pair_alpha,
    sequential_test,
)

STEPS, RULES = Spacing(horizon=1), GateRules(min_fresh=60)
RNG = np.random.default_rng(3)
NOISE = RNG.uniform(0.9, 1.1, 400)


def case(
    challenger: float, champion: float = 1.0, naive: float = 2.0, n: int = 400
) -> tuple[FreshLosses, PairEvidence]:
    """Losses around these means; champion and challenger err differently at each origin."""
    of_champion, other = champion * NOISE[:n], challenger * NOISE[::-1][:n]
    return FreshLosses(other, naive * np.ones(n), of_champion), PairEvidence(
        of_champion, other, pair_number=1, n_first=60
    )


def test_a_challenger_with_a_clearly_lower_loss_is_better() -> None:
    verdict = decide(*case(0.9), STEPS, RULES)
    assert verdict.word == "better"
    assert verdict.numbers.relative_difference == pytest.approx(-0.1, abs=0.01)
    assert verdict.numbers.challenger_skill == pytest.approx(0.55, abs=0.01)


def test_what_is_better_over_all_origins_and_not_over_the_fresh_ones_is_told_so() -> None:
    fresh, _ = case(1.05)
    _, gathered = case(0.9)
    verdict = decide(fresh, gathered, STEPS, RULES)
    assert verdict.word == "kept" and "better over all origins" in verdict.reason
    assert "not over the fresh ones" in verdict.reason


def test_an_equal_challenger_takes_over_only_from_an_ageing_champion() -> None:
    assert decide(*case(1.0), STEPS, RULES).word == "kept"
    verdict = decide(*case(1.0), STEPS, RULES, ageing_reason="stale (40 days old)")
    assert verdict.word == "equivalent" and "stale" in verdict.reason


def test_the_same_function_is_equivalent_however_few_origins_there_are() -> None:
    """60 sessions at horizon 5 are 12 origins that do not overlap; 30 are needed of two different
    models.
    """
    steps, losses = Spacing(horizon=5), NOISE[:60]
    same = (
        FreshLosses(losses, 2 * losses, losses.copy()),
        PairEvidence(losses, losses.copy(), pair_number=1, n_first=60),
    )
    assert decide(*same, steps, RULES, ageing_reason="stale").word == "equivalent"
    other = decide(*case(1.0, n=60), steps, RULES, ageing_reason="stale")
    assert other.word == "kept" and "12 non-overlapping origins; 30 are needed" in other.reason


@pytest.mark.parametrize(
    ("challenger", "is_same_recipe", "ageing", "word"),
    [
        (1.0, True, "stale (41 days old)", "renewed"),
        (1.0, True, "", "kept"),
        (1.0, False, "stale (41 days old)", "kept"),
        (1.1, True, "stale (41 days old)", "kept"),
    ],
    ids=["renewed", "not yet stale", "another recipe", "shown to be worse"],
)
def test_a_stale_champion_s_recipe_takes_over_on_newer_data_unless_it_is_worse(
    challenger: float, is_same_recipe: bool, ageing: str, word: str
) -> None:
    """28 days at a horizon of a week are four origins that do not overlap; an equivalence test
    wants 30.
    """
    fresh, evidence = case(challenger, n=28)
    verdict = decide(
        fresh,
        evidence,
        Spacing(horizon=7),
        replace(RULES, min_fresh=8),
        ageing_reason=ageing,
        is_same_recipe=is_same_recipe,
    )
    assert verdict.word == word
    if word == "renewed":
        assert "recipe on newer data" in verdict.reason and ageing in verdict.reason


@pytest.mark.parametrize("ageing", ["", "drifting (live error)"])
def test_a_worse_challenger_stays_out(ageing: str) -> None:
    assert decide(*case(1.1), STEPS, RULES, ageing_reason=ageing).word == "kept"


def test_a_recipe_that_is_compared_with_itself_is_called_the_one_that_serves() -> None:
    fresh, evidence = case(1.0)
    same = replace(fresh, champion=fresh.challenger)
    evidence = replace(evidence, champion=evidence.challenger)
    verdict = decide(same, evidence, STEPS, RULES)
    assert verdict.word == "kept" and "is the recipe that serves" in verdict.reason
    assert decide(same, evidence, STEPS, RULES, ageing_reason="stale").word == "equivalent"


@pytest.mark.parametrize(("challenger", "ageing"), [(0.9, ""), (1.0, "stale")])
def test_nothing_is_promoted_that_naive_beats(challenger: float, ageing: str) -> None:
    verdict = decide(*case(challenger, naive=0.8), STEPS, RULES, ageing_reason=ageing)
    assert verdict.word == "kept" and "repeating the last value" in verdict.reason


def test_too_few_fresh_origins_keep_the_champion_whatever_they_say() -> None:
    verdict = decide(*case(0.1, n=59), STEPS, RULES)
    assert (
        verdict.word == "kept" and verdict.reason == "not enough fresh origins (59; 60 are needed)"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_challenger_that_is_not_finite_is_kept_out(value: float) -> None:
    fresh, evidence = case(0.5)
    fresh.challenger[7] = value
    verdict = decide(fresh, evidence, STEPS, RULES, ageing_reason="stale")
    assert verdict.word == "kept" and "not finite at 1" in verdict.reason


def test_an_exploding_challenger_is_kept_out() -> None:
    fresh, evidence = case(0.5)
    fresh.challenger[-1] = evidence.challenger[-1] = 1e12
    assert decide(fresh, evidence, STEPS, RULES, ageing_reason="stale").word == "kept"


def test_a_champion_that_is_not_finite_gives_way_to_what_has_skill() -> None:
    fresh, evidence = case(0.5)
    assert fresh.champion is not None
    fresh.champion[0] = np.nan
    assert decide(fresh, evidence, STEPS, RULES).word == "better"


def test_the_first_champion_must_not_be_worse_than_naive() -> None:
    assert decide(FreshLosses(np.ones(60), np.ones(60)), None, STEPS, RULES).word == "first"
    assert decide(FreshLosses(1.1 * np.ones(60), np.ones(60)), None, STEPS, RULES).word == "kept"


def test_where_repeating_the_last_value_never_errs_only_what_never_errs_has_no_less_skill() -> None:
    still, exact = np.zeros(60), np.zeros(60)
    assert decide(FreshLosses(exact, still), None, STEPS, RULES).word == "first"
    verdict = decide(FreshLosses(1e-6 * np.ones(60), still), None, STEPS, RULES)
    assert verdict.word == "kept" and "worse than naive" in verdict.reason
    assert verdict.numbers.challenger_skill is None  # no number that JSON could not hold


@pytest.mark.parametrize("champion", ["none", "not finite", "better"])
def test_a_reason_says_that_repeating_the_last_value_never_errs(champion: str) -> None:
    fresh, evidence = case(0.5)
    fresh = replace(fresh, naive=np.zeros(len(fresh.naive)))
    assert fresh.champion is not None
    if champion == "none":
        fresh = replace(fresh, champion=None)
    elif champion == "not finite":
        fresh.champion[0] = np.nan
    verdict = decide(fresh, evidence, STEPS, RULES, ageing_reason="stale")
    assert verdict.word == "kept" and "(which makes no error)" in verdict.reason


def test_the_boundary_is_that_of_the_normal_mixture() -> None:
    """sqrt(2 (ln 2 + 2 ln 10)) at the first look for alpha 0.05; every further pair gets a smaller
    share of alpha.
    """
    assert boundary(1.0, 0.05) == pytest.approx(3.2552, abs=1e-4)
    assert boundary(4.0, 0.05) < boundary(1.0, 0.05)
    assert sum(pair_alpha(0.05, k) for k in range(1, 10_000)) == pytest.approx(0.05, abs=1e-4)


def test_identical_losses_are_no_evidence() -> None:
    losses = NOISE[:100]
    standing = sequential_test(
        PairEvidence(losses, losses, pair_number=1, n_first=60), STEPS, alpha=0.05
    )
    assert standing.z == 0 and not standing.is_better and standing.note == "identical losses"


@pytest.mark.parametrize(("horizon", "n"), [(14, 28), (28, 60)])
def test_over_two_separate_horizons_luck_promotes_next_to_nobody_at_the_first_look(
    horizon: int, n: int
) -> None:
    rng = np.random.default_rng(horizon)
    kernel = np.ones(horizon) / horizon
    promotions = 0
    for _ in range(400):
        losses = np.abs(rng.normal(size=(2, n + horizon - 1)))
        of_champion, other = (np.convolve(each, kernel, "valid") for each in losses)
        evidence = PairEvidence(of_champion, other, pair_number=1, n_first=n)
        promotions += sequential_test(evidence, Spacing(horizon=horizon), alpha=0.05).is_better
    assert promotions <= 2


@pytest.mark.parametrize(
    ("name", "world", "n_years", "most_by_luck"),
    [
        ("stocks", "overlapping horizons", 60, 3),
        pytest.param("stocks", "overlapping horizons", 150, 7, marks=pytest.mark.slow),
        pytest.param("weather", "AR(1), 0.9", 150, 7, marks=pytest.mark.slow),
    ],
)
def test_in_a_year_of_daily_gates_luck_promotes_an_equal_recipe_in_at_most_five_of_a_hundred_years(
    name: str, world: str, n_years: int, most_by_luck: int
) -> None:
    steps, first, per_look = SETTINGS[name]
    overlap = -(-steps["horizon"] // steps["step_size"])
    years = differences(world, overlap, (n_years, first + 250 * per_look), np.random.default_rng(0))
    by_luck = np.sum(find_promotions(years, steps, first, per_look) >= 0)
    assert by_luck <= most_by_luck
    is_promoted = find_promotions(years[:20] + 0.8, steps, first, per_look) >= 0
    assert np.sum(is_promoted) >= 18  # and the gate is no wall


@pytest.mark.parametrize(
    "losses",
    [(np.ones(40), np.full(40, 1.2)), (NOISE[:7], 1.5 * NOISE[:7])],
    ids=["no variance", "few"],
)
def test_a_recipe_is_not_renewed_where_no_test_could_be_made(losses) -> None:
    champion, challenger = losses
    fresh = FreshLosses(challenger, 3 * challenger, champion)
    evidence = PairEvidence(champion, challenger, pair_number=1, n_first=len(champion))
    rules = replace(RULES, min_fresh=1)
    verdict = decide(fresh, evidence, STEPS, rules, ageing_reason="stale", is_same_recipe=True)
    assert verdict.word == "kept" and verdict.numbers.evidence.note


def test_a_recipe_that_naive_beats_does_not_take_over_from_a_stale_champion() -> None:
    fresh, evidence = case(1.0, naive=0.8)
    verdict = decide(fresh, evidence, STEPS, RULES, ageing_reason="stale", is_same_recipe=True)
    assert verdict.word == "kept" and "repeating the last value" in verdict.reason
