"""Two models on the same origins: is one better, are they equivalent, and step by step."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import signal, stats

from forecast.comparison.longrun import removable_cycles
from forecast.comparison.paired_tests import (
    diebold_mariano,
    equivalence,
    non_overlapping,
)
from forecast.system.errors import InputError

Sizes = tuple[tuple[int, int], ...]
RNG = np.random.default_rng(5)
STEPS = {"horizon": 5}


def false_alarms(
    phi: float,
    *,
    n: int,
    horizon: int,
    runs: int = 1500,
    gain: float = 0.0,
    overlap: int = 1,
) -> float:
    """Share of rejections at 5 % when the loss differential is an AR(1) with mean `gain` standard
    errors.

    `overlap` averages it over so many steps, as a loss that is the mean over a horizon does.
    """
    noise = np.random.default_rng([n, horizon, runs]).standard_normal((runs, n + 200))
    differences = signal.lfilter([1], [1, -phi], noise, axis=1)
    differences = signal.lfilter(np.ones(overlap) / overlap, [1], differences, axis=1)[
        :, 200:
    ] + gain / ((1 - phi) * np.sqrt(n))
    zero = np.zeros(n)
    rejected = [diebold_mariano(d, zero, horizon=horizon).p < 0.05 for d in differences]
    return float(np.mean(rejected))


def samples(few: Sizes, many: Sizes, between: tuple[float, ...]) -> list[Any]:
    """Autocorrelation, origins and horizon: the usual tests have the lowest one, zero and the
    highest over few origins, from which the variance is hardest to tell, and the highest over many.
    """
    usual = [*product((-0.3, 0.0, 0.8), few), *product((0.8,), many)]
    slow = [*product(between, few), *product((-0.3, 0.0, *between), many)]
    return [
        *((phi, *size) for phi, size in usual),
        *(pytest.param(phi, *size, marks=pytest.mark.slow) for phi, size in slow),
    ]


@pytest.mark.parametrize(
    ("phi", "n", "horizon"), samples(((100, 1), (300, 24)), ((800, 1), (800, 24)), (0.3, 0.6))
)
def test_a_nominal_five_percent_test_gives_three_to_seven_percent_false_alarms(phi, n, horizon):
    # 1,500 runs know the rate to +-1.1 points (95 %), which widens the band asked for by chance
    # alone
    assert 0.03 - 0.011 < false_alarms(phi, n=n, horizon=horizon) < 0.07 + 0.011


@pytest.mark.parametrize(
    ("phi", "n", "horizon"), samples(((300, 5), (300, 24)), ((800, 5), (1500, 24)), (0.5,))
)
def test_the_same_holds_when_horizons_overlap(phi, n, horizon):
    rate = false_alarms(phi, n=n, horizon=horizon, overlap=horizon)
    assert 0.03 - 0.011 < rate < 0.07 + 0.011


# with the variance known, 3.5 standard errors are found in 94 % of the samples; estimating it costs
# the rest
@pytest.mark.parametrize(
    ("phi", "n", "horizon"), [(0.0, 300, 1), (0.5, 300, 1), (0.5, 750, 5), (0.5, 1500, 24)]
)
def test_a_difference_of_three_and_a_half_standard_errors_is_mostly_found(phi, n, horizon):
    assert false_alarms(phi, n=n, horizon=horizon, runs=400, gain=3.5) > 0.8


def test_a_cycle_of_the_calendar_costs_no_power():
    rng = np.random.default_rng(7)
    year, day = 2 * np.pi * np.arange(1460) / 1461, 2 * np.pi * np.arange(1460) / 4
    cycle = 2 * np.sin(year) + np.cos(day)
    cycles = {"year": 8766.0, "day": 24.0}
    rejected = []
    for _ in range(200):
        steps = rng.normal(size=1460 * 6 + 24)
        noise = np.convolve(steps, np.ones(24) / 24, mode="valid")[::6][:1460]
        shift = 3.5 / np.sqrt(1460 * 6)
        test = diebold_mariano(
            noise + cycle + shift, np.zeros(1460), horizon=24, step_size=6, cycles=cycles
        )
        rejected.append(test.p < 0.05)
    assert np.mean(rejected) > 0.8


def test_half_a_year_is_no_whole_period_and_keeps_its_cycle():
    year = {"year": 8765.82}
    for origins, out in ((1460, ["year"]), (730, []), (1900, []), (2920, ["year"])):
        assert removable_cycles(origins, year, horizon=24, step_size=6) == out
    # 12 runs are too few for a harmonic
    assert removable_cycles(300, {"day": 24.0}, horizon=24, step_size=1) == []


def test_the_sign_says_who_is_better():
    b = RNG.gamma(4, 1, 200)
    a = b - 0.2 + RNG.normal(0, 0.2, 200)
    two = diebold_mariano(a, b, **STEPS)
    assert two.mean_difference < 0 and two.relative_difference < 0
    assert two.ci_low < two.mean_difference < two.ci_high < 0
    other = diebold_mariano(b, a, **STEPS)
    assert (other.mean_difference, other.p) == pytest.approx((-two.mean_difference, two.p))


def test_the_confidence_limits_exclude_zero_exactly_when_the_test_rejects():
    for shift in np.linspace(0, 0.3, 20):
        a, b = RNG.normal(shift, 1, 150), RNG.normal(0, 1, 150)
        test = diebold_mariano(a, b, **STEPS)
        assert (test.p < 0.05) == (test.ci_low > 0 or test.ci_high < 0)


def seasonal_losses(share: float, rng: np.random.Generator, *, n: int, horizon: int):
    """Losses of two models over part of a year, both large in the same season; those of the first
    have `share` times the mean of the second's.
    """
    days = np.arange(n + horizon - 1)
    level = np.exp(1.3 * np.cos(2 * np.pi * (days / 365 + rng.random())))
    steps = level * np.abs(rng.standard_normal((2, len(days))))
    a, b = (np.convolve(row, np.ones(horizon) / horizon, "valid") for row in steps)
    return share * a, b


def test_a_season_in_which_both_err_more_hides_no_difference():
    rng = np.random.default_rng(11)
    tests = [
        diebold_mariano(*seasonal_losses(0.3, rng, n=210, horizon=7), horizon=7) for _ in range(100)
    ]
    assert np.mean([test.p < 0.001 for test in tests]) > 0.9
    assert all(test.detectable < 1 for test in tests)
    assert np.median([test.ci_high / test.mean_difference for test in tests]) > 0.7


@pytest.mark.parametrize(("n", "horizon"), [(210, 7), (365, 1)])
def test_a_season_in_which_both_err_more_gives_no_false_alarms(n, horizon):
    rng = np.random.default_rng(12)
    tests = [
        diebold_mariano(*seasonal_losses(1.0, rng, n=n, horizon=horizon), horizon=horizon)
        for _ in range(1500)
    ]
    assert np.mean([test.p < 0.05 for test in tests]) < 0.07 + 0.011


def test_who_errs_an_eighth_is_better_though_its_own_error_rises_and_falls_for_weeks():
    """Daily means of three weeks of hours, seen with a leak: lower at every origin."""
    a = np.array(
        [30, 35, 46, 52, 51, 47, 43, 55, 62, 67, 63, 57, 52, 58, 43, 36, 33, 38, 32, 29, 30]
    )
    b = 375 + 20 * np.random.default_rng(0).standard_normal(21)
    test = diebold_mariano(np.repeat(a, 4), np.repeat(b, 4), horizon=24, step_size=6)
    assert test.p < 0.001 and test.ci_high < 0 and not test.is_drift
    # half as far apart, the weeks in which it erred twice as much are a doubt
    near = diebold_mariano(np.repeat(a, 4), np.repeat(b / 5, 4), horizon=24, step_size=6)
    assert near.p > 0.01


def test_the_limits_of_a_ratio_are_those_of_its_inverse():
    a, b = RNG.gamma(4, 1, 200), RNG.gamma(4, 1.5, 200)
    test, other = diebold_mariano(a, b, **STEPS), diebold_mariano(b, a, **STEPS)
    factors = 1 + np.array([test.ci_low, test.ci_high]) / b.mean()
    others = 1 + np.array([other.ci_low, other.ci_high]) / a.mean()
    assert factors == pytest.approx(1 / others[::-1])
    assert (test.p < 0.05) == (factors[1] < 1)


def test_identical_losses_are_a_tie():
    test = diebold_mariano(np.ones(50), np.ones(50), **STEPS)
    assert (test.p, test.note) == (1.0, "identical losses")


def test_the_same_share_at_every_origin_falls_back_to_a_sign_test_on_origins_without_overlap():
    b = RNG.gamma(2, 1, 40)
    test = diebold_mariano(0.5 * b, b, horizon=5)
    assert test.p == pytest.approx(2 * 0.5**8)  # 40 origins of horizon 5: 8 separate ones
    assert "sign test on 8 origins" in test.note
    # 0.9 leaves rounding errors, which were taken for a variance: p was 1e-100
    assert diebold_mariano(0.9 * b, b, horizon=5).p == pytest.approx(2 * 0.5**8)


def test_origins_without_a_loss_of_either_say_nothing_by_their_sign():
    b = np.zeros(60)
    b[[0, 1, 30]] = 5.0
    for only, origins in (([0], 1), ([30], 1), ([0, 1], 1), ([0, 1, 30], 2)):
        loss = np.where(np.isin(np.arange(60), only), b, 0.0)
        test = diebold_mariano(0.5 * loss, loss, horizon=5)
        assert test.p == min(1.0, 2 * 0.5**origins), only


@pytest.mark.parametrize("other", range(1, 30))
def test_losses_at_the_first_and_one_other_origin_decide_nothing(other):
    a, b = np.zeros(60), np.zeros(60)
    a[[0, other]], b[[0, other]] = (5.0, 7.0), (5.0, 5.0)
    assert diebold_mariano(a, b, horizon=1).p > 0.05
    assert equivalence(a, b, horizon=1).word == "undecided"


def test_a_model_without_an_error_is_no_worse():
    b = RNG.gamma(2, 1, 60)
    assert equivalence(np.zeros(60), b, horizon=1).word == "equivalent"


def test_a_differential_that_alternates_still_has_a_positive_variance():
    test = diebold_mariano(np.tile([1.0, 0.0], 50), np.tile([0.0, 1.0], 50), horizon=1)
    assert 0 <= test.p <= 1


def test_what_a_test_detects_is_found_in_about_four_of_five_samples():
    b = np.full(200, 2.0)
    detectable = [
        diebold_mariano(b + RNG.normal(0, 1, 200), b, horizon=1).detectable for _ in range(50)
    ]
    shift = 2.0 * float(np.mean(detectable))
    rejected = [
        diebold_mariano(b + shift + RNG.normal(0, 1, 200), b, horizon=1).p < 0.05
        for _ in range(400)
    ]
    assert 0.7 < np.mean(rejected) < 0.9


@pytest.mark.parametrize("n", [8, 12, 16])
def test_two_forecasters_that_are_alike_are_seldom_told_apart_over_few_separate_horizons(n):
    kernel, rejected = np.ones(24) / 24, 0
    rng = np.random.default_rng(n)
    for _ in range(600):
        losses = np.abs(rng.normal(size=(2, n * 6 + 24)))
        a, b = (np.convolve(each, kernel, "valid")[::6][:n] for each in losses)
        test = diebold_mariano(a, b, horizon=24, step_size=6)
        excludes = test.ci_low > 0 or test.ci_high < 0  # False where there is no limit
        assert excludes == (test.p < 0.05)
        rejected += excludes
    assert 0.02 < rejected / 600 < 0.09  # 7 %, and two standard errors of so many samples


def test_too_few_origins_are_not_tested_and_the_number_needed_is_named():
    test = diebold_mariano(np.arange(30.0), np.ones(30), horizon=24)
    assert np.isnan(test.p) and "needs 48" in test.note
    assert test.note.startswith("too few separate horizons to test")


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="1 of 50 origins"):
        diebold_mariano(np.r_[np.nan, np.ones(49)], np.ones(50), **STEPS)


def test_origins_that_do_not_overlap_are_counted_by_stride():
    assert non_overlapping(1457, horizon=24, step_size=6) == 365
    assert non_overlapping(753, horizon=5, step_size=1) == 151
    assert non_overlapping(0, horizon=5, step_size=1) == 0


def test_independent_differentials_give_the_textbook_t_test_when_the_sample_is_long():
    difference = RNG.normal(0.02, 1, 20_000)[:4000]
    expected = stats.ttest_1samp(difference, 0)
    test = diebold_mariano(difference, np.zeros(4000), horizon=1)
    assert stats.t.isf(test.p / 2, test.dof) == pytest.approx(abs(expected.statistic), rel=0.1)


ONE_STEP = {"horizon": 1}
SAMPLES = np.random.default_rng(8)


def test_a_narrow_bound_is_evidence_of_equivalence():
    b = SAMPLES.gamma(9, 1, 1000)
    a = b + SAMPLES.normal(0, 0.1, 1000)
    test = equivalence(a, b, **ONE_STEP)
    assert test.word == "equivalent" and a.mean() / b.mean() - 1 < test.upper < 0.02


def test_a_wide_bound_leaves_it_undecided():
    assert (
        equivalence(SAMPLES.gamma(1, 1, 60), SAMPLES.gamma(1, 1, 60), **ONE_STEP).word
        == "undecided"
    )


def test_equivalence_needs_thirty_origins_that_do_not_overlap():
    b = np.full(100, 2.0)
    test = equivalence(b, b, horizon=24)
    assert test.word == "undecided" and "5 non-overlapping origins; 30 are needed" in test.note
    assert equivalence(b[:30], b[:30], **ONE_STEP).word == "equivalent"
    assert equivalence(b[:29], b[:29], **ONE_STEP).word == "undecided"


def test_the_bound_is_one_sided_and_holds_its_level():
    # a costs exactly 2 % more: "equivalent" must be said in at most about 5 % of the samples
    is_equivalent = []
    for _ in range(600):
        b = SAMPLES.gamma(9, 1, 200)
        is_equivalent.append(
            equivalence(1.02 * b + SAMPLES.normal(0, 1, 200), b, **ONE_STEP).word == "equivalent"
        )
    assert 0.02 < np.mean(is_equivalent) < 0.08


def test_a_reference_without_error_allows_no_relative_statement():
    assert equivalence(np.ones(50), np.zeros(50), **ONE_STEP).word == "undecided"
