from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.comparison import metrics
from forecast.config.task import Task
from forecast.forecaster import intervals
from forecast.forecaster.intervals import Difficulty, SplitConformal, volatility, widths
from forecast.system.errors import InputError
from tests.support import problems

H = 3


def unknown(n: int) -> Difficulty:
    """Of n cutoffs where none is known."""
    return Difficulty(np.full(n, np.nan))


def errors(n: int, *, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Actuals (n, 3) and point forecasts; the error grows with the step."""
    rng = np.random.default_rng(seed)
    y_hat = rng.normal(10, 3, (n, H))
    return y_hat + scale * rng.standard_t(5, (n, H)) * np.array([1.0, 2.0, 3.0]), y_hat


def share_inside(y: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    return float(((lower <= y) & (y <= upper)).mean())


def test_the_rank_is_that_of_the_conformal_formula():
    assert intervals.conformal_ranks(19, 0.95) == 19
    assert intervals.conformal_ranks(99, 0.9) == 90
    assert intervals.conformal_ranks(500, 0.8) == 401


@pytest.mark.parametrize(("coverage", "needed"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_coverage_the_set_is_too_small_for_is_refused_with_the_number_needed(coverage, needed):
    assert intervals.min_calibration_size(coverage) == needed
    intervals.require_enough_errors(needed, coverage)
    with pytest.raises(InputError, match=f"takes at least {needed}\\."):
        intervals.require_enough_errors(needed - 1, coverage)


@given(st.integers(1, 400), st.integers(1, 99))
def test_a_coverage_is_refused_exactly_when_fewer_origins_than_needed_are_given(n, percent):
    coverage = percent / 100
    if n >= intervals.min_calibration_size(coverage):
        intervals.require_enough_errors(n, coverage)
        assert 1 <= intervals.conformal_ranks(n, coverage) <= n
    else:
        with pytest.raises(InputError):
            intervals.require_enough_errors(n, coverage)


def test_the_margin_is_the_ranked_absolute_residual_of_each_step():
    y = np.arange(1.0, 20.0)[:, None] * np.array([1.0, -2.0])
    fitted = SplitConformal.calibrate(y, np.zeros((19, 2)))
    centre = np.array([[100.0, 100.0]])
    assert fitted.bounds(centre, unknown(1), 0.5).high.tolist() == [[110.0, 120.0]]
    low, high = fitted.bounds(centre, unknown(1), 0.95)
    assert low.tolist() == [[81.0, 62.0]] and high.tolist() == [[119.0, 138.0]]


def test_of_few_errors_a_step_where_all_are_zero_has_the_margin_of_all_steps_of_its_series():
    asked_for = np.array([[0.0, 3.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    never = np.zeros((4, 3))
    fitted = SplitConformal.calibrate(
        np.hstack([asked_for, never]), np.zeros((4, 6)), Difficulty(np.full((4, 2), np.nan))
    )
    low, high = fitted.bounds(np.zeros((1, 6)), Difficulty(np.full((1, 2), np.nan)), 0.8)
    # the eleventh of twelve errors; the third step's own 2 leans on 2.4 times its mean of .75
    np.testing.assert_allclose(high, [[2, 3, 2**0.7 * 1.8**0.3, 0, 0, 0]])
    np.testing.assert_allclose(low, -high)
    nights = SplitConformal.calibrate(np.repeat(asked_for, 2, axis=0), np.zeros((8, 3)))
    assert nights.bounds(np.zeros((1, 3)), unknown(1), 0.8).high[0, 0] == 0


def test_margins_beyond_the_calibrated_steps_grow_as_of_a_random_walk_from_the_last():
    y = np.arange(1.0, 20.0)[:, None] * np.array([1.0, -2.0])
    fitted = SplitConformal.calibrate(y, np.zeros((19, 2)))
    low, high = fitted.bounds(np.full((1, 8), 100.0), unknown(1), 0.95)
    margins = [19.0, 38.0, *(38.0 * np.sqrt(step / 2) for step in range(3, 9))]
    np.testing.assert_allclose(high[0] - 100, margins)
    np.testing.assert_allclose(100 - low[0], margins)
    assert margins[-1] == 2 * margins[1]
    assert fitted.bounds([[100.0]], unknown(1), 0.95).high.tolist() == [[119.0]]


@given(
    st.integers(4, 100),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 10**6),
)
def test_margins_are_those_of_the_newest_errors_known_at_the_cutoff(n, m, horizon, step_size, seed):
    y = np.random.default_rng(seed).normal(size=(n + m, horizon))
    y[:m:7, 0] = np.nan  # more are missing before than after
    none = np.zeros_like(y)
    fitted = SplitConformal.calibrate(y[:n], none[:n])
    followed = fitted.followed_by(y[n:], none[n:], unknown(m), step_size=step_size)
    (low,), (high,) = followed.bounds_in_turn(none[n:], unknown(m), [0.5])
    every = max(1, n // intervals.RENEWALS)
    for origin in range(m):
        then = followed.known_at(origin // every * every)
        for step in range(1, horizon + 1):
            earlier = np.arange(origin // every * every)
            known = earlier[(origin // every * every - earlier) * step_size >= step]
            errors = np.abs(np.append(y[:n, step - 1], y[n + known, step - 1]))
            newest = errors[np.isfinite(errors)][-n:]
            scores = then.scores[:, 0, step - 1]
            assert scores[np.isfinite(scores)].tolist() == newest.tolist()
        np.testing.assert_array_equal(high[origin], then.quantiles([0.5])[0, 0, 0])
    np.testing.assert_array_equal(low, -high)
    assert np.array_equal(followed.known_after(m).scores, followed.newest.scores, equal_nan=True)


def test_a_margin_leans_on_those_of_all_steps_over_the_mean_of_each():
    errors = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 100.0]])
    fitted = SplitConformal.calibrate(errors, np.zeros((4, 2)))
    # over the means 2.5 and 40 the seventh of all eight is 1.6
    high = fitted.bounds(np.zeros((1, 2)), unknown(1), 0.75).high
    np.testing.assert_allclose(high, [[4**0.7 * 4**0.3, 100**0.7 * 64**0.3]])
    alone = SplitConformal.calibrate(errors[:, 1:], np.zeros((4, 1)))
    assert alone.bounds(np.zeros((1, 1)), unknown(1), 0.75).high.tolist() == [[100.0]]


def test_margins_are_those_of_the_larger_errors_of_validation_and_hardly_smaller_else():
    small, none = np.full((9, 4), 2.0), np.zeros((9, 4))
    of_two = Difficulty(np.full((9, 2), np.nan))
    fitted = SplitConformal.calibrate(small, none, of_two)
    earlier = np.repeat([[3.0, 1.0]], 2, axis=1) * np.ones((5, 1))
    earlier[0, 0] = np.nan
    five = Difficulty(np.full((5, 2), np.nan))
    scores = fitted.resized(earlier, none[:5], five).scores.reshape(9, 4)
    worse, better = ((1 + ratio**8) / 2 for ratio in (1.5, 0.5))
    np.testing.assert_allclose(scores, [[2 * worse**0.125] * 2 + [2 * better**0.125] * 2] * 9)
    assert 2.7 < scores[0, 0] < 3 and 1.8 < scores[0, 2] < 2
    twice = fitted.resized(1e60 * earlier, none[:5], five).scores
    np.testing.assert_allclose(twice, 4.0)
    unseen = fitted.resized(np.nan * earlier, none[:5], five).scores.reshape(9, 4)
    assert unseen.tolist() == small.tolist()
    zero = SplitConformal.calibrate(none, none, of_two).resized(earlier, none[:5], five)
    assert not zero.scores.any()


def test_a_validation_block_without_rows_leaves_the_margins() -> None:
    errors, empty = np.full((9, 4), 2.0), np.zeros((0, 4))
    fitted = SplitConformal.calibrate(errors, np.zeros((9, 4)), Difficulty(np.full((9, 2), np.nan)))
    resized = fitted.resized(empty, empty, Difficulty(np.full((0, 2), np.nan)))
    assert resized.scores.reshape(9, 4).tolist() == errors.tolist()


def test_errors_that_grow_are_covered_once_they_are_known():
    noise = (
        np.random.default_rng(4).normal(size=(900, 1))
        * np.where(np.arange(900) < 300, 1, 2)[:, None]
    )
    none, fitted = np.zeros_like(noise), SplitConformal.calibrate(noise[:300], np.zeros((300, 1)))
    intervals = fitted.followed_by(noise[300:], none[300:], unknown(600))
    (low,), (high,) = intervals.bounds_in_turn(none[300:], unknown(600), [0.8])
    assert share_inside(noise[300:], *fitted.bounds(none[300:], unknown(600), 0.8)) < 0.55
    assert 0.76 < share_inside(noise[600:], low[300:], high[300:]) < 0.84


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_it_covers_what_it_promises_at_every_step(coverage):
    fitted = SplitConformal.calibrate(*errors(600, seed=1))
    y, y_hat = errors(4000, seed=2)
    table = metrics.coverage_by_step(
        *(a[None] for a in (y, *fitted.bounds(y_hat, unknown(len(y)), coverage))), nominal=coverage
    )
    assert table["inside"].all() and table["step"].tolist() == [[0, 1, 2, 3]]
    assert np.all(np.diff(table["width"][0, 1:]) > 0)


def test_promised_coverage_holds_on_average_over_small_calibration_sets():
    # the theorem is about the average over calibration sets: at least 80 %, at most 80 % + 1 / (n +
    # 1)
    covered = []
    for seed in range(400):
        y, y_hat = errors(29, seed=seed)
        fresh, fresh_hat = errors(50, seed=10_000 + seed)
        calibration = SplitConformal.calibrate(y, y_hat)
        covered.append(share_inside(fresh, *calibration.bounds(fresh_hat, unknown(50), 0.8)))
    assert 0.79 < np.mean(covered) < 0.8 + 1 / 30 + 0.01


@pytest.mark.parametrize(
    ("n", "coverage", "words"),
    [
        (0, 0.5, "an interval of 50 % takes at least 1. The blocks leave no cutoff to calibrate"),
        (1, 0.8, "1 calibration error found for a step; an interval of 80 % takes at least 4"),
        (18, 0.95, "18 calibration errors found for a step; an interval of 95 % takes at least 19"),
    ],
)
def test_what_an_unsupported_level_takes_is_right_for_every_number(n, coverage, words):
    with pytest.raises(InputError, match=words):
        intervals.require_enough_errors(n, coverage)


def test_a_missing_actual_is_left_out_of_its_step_and_may_make_it_too_small():
    y, y_hat = errors(19, seed=3)
    y[0, 1] = np.nan
    fitted = SplitConformal.calibrate(y, y_hat)
    assert fitted.counts.tolist() == [19, 18, 19]
    with pytest.raises(InputError, match="18 calibration errors"):
        fitted.require(0.95)


def task_of(*, transform: str = "none", **changes: int) -> Task:
    return problems.task(target={"column": "price", "transform": transform}, **changes)


def restless(n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random walk whose steps have the standard deviation (n,): calm and restless stretches of
    200 rows.
    """
    size = np.where(np.arange(n) // 200 % 2, 2.0, 1.0)
    return np.cumsum(size * np.random.default_rng(seed).normal(size=n)), size


def test_the_volatility_is_the_root_mean_square_of_the_seasonal_differences_in_the_lookback():
    task = task_of(lookback=5, season_length=2)
    values = np.array([[0.0], [10.0], [1.0], [12.0], [4.0], [np.nan], [9.0]])
    # differences: none, none, 1, 2, 3, none, 5
    volatilities = volatility(values, [1, 2, 4, 6], task)[:, 0]
    assert np.isnan(volatilities[0])
    assert volatilities[1:].tolist() == pytest.approx(
        [1.0, np.sqrt((1 + 4 + 9) / 3), np.sqrt((9 + 25) / 2)]
    )


def test_the_volatility_of_a_price_is_that_of_its_ratios():
    task = task_of(lookback=4, season_length=1, transform="log")
    values = np.exp(np.array([[0.0], [0.1], [0.2], [0.3], [0.4]]))
    assert volatility(1000 * values, [4], task)[0, 0] == pytest.approx(0.1)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 80), st.integers(0, 10**6))
def test_rows_older_than_the_lookback_and_rows_to_come_do_not_move_the_volatility(
    lookback, season, n, seed
):
    task = task_of(lookback=lookback, season_length=season)
    values = np.random.default_rng(seed).normal(size=(n, 1))
    row = n // 2
    window = values[max(row + 1 - lookback, 0) : row + 1]
    whole, newest = volatility(values, [row], task), volatility(window, [len(window) - 1], task)
    assert np.array_equal(whole, newest, equal_nan=True)


def test_a_lookback_no_longer_than_a_season_has_the_volatility_of_one_row_to_the_next():
    values = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    of_row = volatility(values, [4], task_of(lookback=3, season_length=3))[0, 0]
    assert of_row == pytest.approx(np.sqrt((9 + 16) / 2))


def test_a_width_is_one_where_the_volatility_is_as_usual_unknown_or_was_zero():
    assert widths([2.0, np.nan], 2.0, 24).tolist() == [1.0, 1.0]
    assert (
        widths([2.0, 0.0], 0.0, 24).tolist() == widths([2.0], np.nan, 24).tolist() * 2 == [1.0, 1.0]
    )


def test_a_width_grows_less_than_the_volatility_and_the_less_the_shorter_the_lookback():
    assert np.all(np.diff(widths(np.arange(10), 3.0, 24)) > 0)
    longest, short = (float(widths(4.0, 1.0, lookback)) for lookback in (10**9, 5))
    assert longest == pytest.approx(4**0.75) and short == pytest.approx(8.5**0.375)


def test_margins_of_a_calm_time_cover_more_of_a_restless_one_than_equal_margins():
    task = task_of(lookback=24, season_length=1)
    y, _ = restless(200, seed=1)
    y_later, size = restless(400, seed=2)
    known, test_rows = np.arange(30, 199), np.arange(230, 399)
    calm, stormy = (
        volatility(v[:, None], rows, task) for v, rows in ((y, known), (y_later, test_rows))
    )
    ahead, forecast = y_later[test_rows + 1][:, None], y_later[test_rows][:, None]
    weighted = SplitConformal.calibrate(
        y[known + 1][:, None], y[known][:, None], Difficulty(calm), lookback=24
    )
    equal = SplitConformal.calibrate(y[known + 1][:, None], y[known][:, None])
    missed = 0.8 - share_inside(ahead, *equal.bounds(forecast, Difficulty(stormy), 0.8))
    assert size[test_rows].min() == 2.0 and missed > 0.2
    assert (
        0.8 - share_inside(ahead, *weighted.bounds(forecast, Difficulty(stormy), 0.8)) < missed / 2
    )


def test_failed_forecasts_are_refused():
    with pytest.raises(InputError, match="not finite"):
        SplitConformal.calibrate(np.zeros((5, 2)), np.full((5, 2), np.nan))
    with pytest.raises(InputError, match="strictly between"):
        intervals.require_enough_errors(100, 95)


def test_the_band_is_at_least_six_points_and_stays_inside_zero_and_one():
    assert metrics.binomial_band(0.8, 100_000, 0.06) == (pytest.approx(0.74), pytest.approx(0.86))
    assert metrics.binomial_band(0.95, 50, 0.06) == (pytest.approx(0.89, abs=0.01), 1.0)


def test_no_end_of_an_interval_lies_outside_of_the_bounds_of_the_target():
    y, y_hat = errors(200, seed=1, scale=5.0)
    free = SplitConformal.calibrate(y, y_hat).bounds(y_hat, unknown(200), 0.9)
    assert (free.low < 0).any() and (free.high > 20).any()
    bounds = SplitConformal.calibrate(y, y_hat, limits=(0.0, 20.0)).bounds(y_hat, unknown(200), 0.9)
    np.testing.assert_array_equal(bounds.low, np.clip(free.low, 0, 20))
    np.testing.assert_array_equal(bounds.high, np.clip(free.high, 0, 20))


def by_hour(n_days: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors (n, 1) of hours, ten times as large by day as by night, and the hours of the day."""
    hours = np.arange(24 * n_days) % 24
    size = np.where((hours >= 6) & (hours < 18), 10.0, 1.0)
    return (size * np.random.default_rng(seed).normal(size=len(hours)))[:, None], hours[:, None]


def test_an_interval_of_the_night_is_narrower_than_one_of_the_day():
    y, hours = by_hour(60, seed=1)
    y_later, later_hours = by_hour(200, seed=2)
    none = np.zeros_like(y_later)
    known, later_known = unknown(len(y)).volatility, unknown(len(y_later)).volatility
    weighted = SplitConformal.calibrate(y, np.zeros_like(y), Difficulty(known, hours))
    equal = SplitConformal.calibrate(y, np.zeros_like(y))
    of_position = weighted.bounds(none, Difficulty(later_known, later_hours), 0.8)
    of_all = equal.bounds(none, unknown(len(y_later)), 0.8)
    is_night = (later_hours < 6) | (later_hours >= 18)
    assert (of_position.high[is_night] < 0.75 * of_all.high[is_night]).all()
    assert 0.77 < share_inside(y_later, *of_position) < 0.83


def calibrated(y: np.ndarray, positions: np.ndarray) -> SplitConformal:
    """From errors (n, 1) around zero at positions of their season."""
    return SplitConformal.calibrate(
        y, np.zeros_like(y), Difficulty(unknown(len(y)).volatility, positions)
    )


def test_by_night_and_by_day_an_interval_covers_as_often():
    y, hours = by_hour(60, seed=1)
    y_later, later_hours = by_hour(200, seed=2)
    fitted = calibrated(y, hours)
    difficulty = Difficulty(unknown(len(y_later)).volatility, later_hours)
    low, high = fitted.bounds(np.zeros_like(y_later), difficulty, 0.8)
    is_night = (later_hours < 6) | (later_hours >= 18)
    for part in (is_night, ~is_night):
        assert 0.77 < share_inside(y_later[part], low[part], high[part]) < 0.83


def test_zeros_of_a_closed_day_make_no_interval_of_an_open_one_narrow():
    def open_six_days(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        days = np.arange(n)[:, None] % 7
        return np.where(days == 6, 0.0, np.random.default_rng(seed).normal(size=(n, 1))), days

    y, days = open_six_days(1400, seed=1)
    y_later, later_days = open_six_days(7000, seed=2)
    fitted = calibrated(y, days)
    difficulty = Difficulty(unknown(len(y_later)).volatility, later_days)
    low, high = fitted.bounds(np.zeros_like(y_later), difficulty, 0.8)
    is_open = later_days < 6
    assert 0.78 < share_inside(y_later[is_open], low[is_open], high[is_open]) < 0.82
    assert (high[~is_open] == 0).all()


def test_a_level_that_the_errors_of_an_open_day_are_too_few_for_takes_all_of_them():
    y, hours = by_hour(60, seed=1)
    fitted = calibrated(y, hours)
    of_day_and_night = Difficulty(unknown(2).volatility, np.array([[12], [0]]))
    needed = intervals.min_calibration_size(0.999)
    assert fitted.is_quiet.sum() < needed < len(y)
    margins = fitted.bounds(np.zeros((2, 1)), of_day_and_night, 0.999).high[:, 0]
    factors = fitted.season.factors[[12, 0], 0]
    np.testing.assert_allclose(margins, factors * fitted.scores.max())


@pytest.mark.parametrize("n_days", [20, 60])
def test_series_side_by_side_have_the_intervals_of_each_alone(n_days):
    (a, hours), (b, _) = by_hour(n_days, seed=3), by_hour(n_days, seed=4)
    b = b[::-1]
    none, nowhere = np.zeros_like(a), np.full(len(a), np.nan)
    alone = [SplitConformal.calibrate(y, none, Difficulty(nowhere, hours)) for y in (a, b)]
    together = SplitConformal.calibrate(
        np.hstack([a, b]),
        np.hstack([none, none]),
        Difficulty(np.stack([nowhere, nowhere], axis=1), np.hstack([hours, hours])),
    )
    ends = together.bounds(
        np.hstack([none, none]),
        Difficulty(np.stack([nowhere, nowhere], axis=1), np.hstack([hours, hours])),
        0.8,
    )
    for number, each in enumerate(alone):
        np.testing.assert_allclose(together.season.factors[:, [number]], each.season.factors)
        np.testing.assert_allclose(together.scores[:, [number]], each.scores)
        of_each = each.bounds(none, Difficulty(nowhere, hours), 0.8)
        np.testing.assert_allclose(ends.high[:, [number]], of_each.high)


def test_a_position_that_calibration_has_not_seen_is_a_usual_one():
    y, hours = by_hour(20, seed=5)
    is_known = hours[:, 0] < 20
    fitted = calibrated(y[is_known], hours[is_known])
    ends = fitted.bounds([[0.0]], Difficulty(np.array([np.nan]), np.array([[23]])), 0.8)
    assert ends.high[0, 0] == fitted.bounds([[0.0]], unknown(1), 0.8).high[0, 0]


def test_errors_that_are_all_zero_have_equal_factors():
    zeros, hours = np.zeros((48, 1)), np.arange(48)[:, None] % 24
    season = intervals.compare_positions(zeros[:, None], hours[:, None])
    assert np.ptp(season.factors) == 0
    assert not season.is_quiet.any()


def short_series(n_series: int, n: int, *, seed: int) -> list[SplitConformal]:
    """Of errors that are twice as large from one series to the next, `n` of each step."""
    draw = np.random.default_rng(seed)
    conformals = []
    for number in range(n_series):
        y = 2.0**number * draw.normal(size=(n, H))
        before = 2.0**number * draw.normal(size=(2 * n, H))
        conformal = SplitConformal.calibrate(y, np.zeros_like(y))
        blocks = [(each, np.zeros_like(each)) for each in (before, y)]
        error = intervals.usual_error(blocks, "none")
        conformals.append(replace(conformal, usual_errors=np.array([error])))
    return conformals


def test_many_series_with_six_errors_have_an_interval_of_95_percent_together():
    conformals = short_series(20, 6, seed=1)
    draw = np.random.default_rng(2)
    covered = []
    for number, pooled in enumerate(intervals.put_in_pool(conformals)):
        y_later = 2.0**number * draw.normal(size=(500, H))
        covered.append(share_inside(y_later, *pooled.bounds(0 * y_later, unknown(500), 0.95)))
    assert 0.92 < np.mean(covered) < 0.97
    assert min(covered) > 0.7
    with pytest.raises(InputError, match="6 calibration errors found for a step"):
        conformals[0].bounds(np.zeros((1, H)), unknown(1), 0.95)


def test_series_side_by_side_have_one_pool_with_those_alone():
    conformals = short_series(4, 6, seed=1)
    together = replace(
        conformals[0],
        scores=np.hstack([conformal.scores for conformal in conformals]),
        usual_errors=np.concatenate([conformal.usual_errors for conformal in conformals]),
    )
    margins = intervals.put_in_pool([together])[0].quantiles(0.8)[0]
    alone = [pooled.quantiles(0.8)[0] for pooled in intervals.put_in_pool(conformals)]
    np.testing.assert_allclose(margins, np.concatenate(alone))


def shops_behind_christmas(n_series: int) -> dict[str, SplitConformal]:
    """21 origins of two steps, the first eleven with errors of 90 in all series but for their size,
    then of 1 to 10; and four of the test block, with errors of 20.
    """
    first = np.datetime64("2020-01-01", "ns")
    errors = np.where(np.arange(25) < 11, 90.0, 1.0 + np.arange(25) % 10)
    errors[21:] = 20.0
    pooled = {}
    for number in range(n_series):
        y = 2.0**number * np.column_stack([errors, errors])
        weeks = np.arange(25)[:, None] + np.arange(1, 3) + 2 * (np.arange(25)[:, None] > 20)
        ds = first + 7 * weeks.astype("timedelta64[D]")
        difficulty = Difficulty(np.full(25, np.nan), None, ds)
        calibration, test = (
            (
                y[rows],
                np.zeros_like(y[rows]),
                Difficulty(difficulty.volatility[rows], None, ds[rows]),
            )
            for rows in (slice(0, 21), slice(21, 25))
        )
        conformal = SplitConformal.calibrate(*calibration)
        usual = np.array([intervals.usual_error([calibration[:2]], "none")])
        pooled[str(number)] = replace(conformal, usual_errors=usual).followed_by(*test)
    return intervals.pool_short_series(pooled)


def test_shops_forget_christmas_by_the_newest_three_horizons_of_all():
    """The newest six weeks of targets known at the first test cutoff hold of each of 12 shops the
    errors 7 to 10 and 1 at step 1, also 6 at step 2: of 60 number 49 is 10, of 72 number 59 is 9.
    At the fourth cutoff three errors of 20 are known at step 1 beside 10 and 1.
    """
    shops = shops_behind_christmas(12)
    forecasts = np.zeros((4, 2))
    for number, shop in enumerate(shops.values()):
        low, high = shop.bounds_in_turn(forecasts, Difficulty(np.full(4, np.nan)), [0.8])
        np.testing.assert_allclose(high[0, 0] / 2.0**number, [10.0, 9.0])
        np.testing.assert_allclose(high[0, 3, 0] / 2.0**number, 20.0)
        np.testing.assert_allclose(low, -high)
        served = shop.newest.bounds(forecasts[:1], Difficulty(np.full(1, np.nan)), 0.8)
        np.testing.assert_allclose(served.high[0] / 2.0**number, 20.0)


def test_shops_whose_rows_are_numbered_apart_forget_by_as_many_steps_of_each():
    shops = shops_behind_christmas(12)
    week = np.timedelta64(7, "D")
    shops_apart = [
        replace(shop, ds=shop.ds + 30 * number * week, test_ds=shop.test_ds + 30 * number * week)
        for number, shop in enumerate(shops.values())
    ]
    aligned = intervals.put_in_pool(shops_apart, are_numbered=True)
    for shop, other in zip(shops.values(), aligned, strict=True):
        for origin in range(4):
            np.testing.assert_array_equal(
                shop.known_at(origin).quantiles(0.8), other.known_at(origin).quantiles(0.8)
            )
        np.testing.assert_array_equal(shop.newest.quantiles(0.8), other.newest.quantiles(0.8))


def test_fewer_shops_have_margins_of_their_own():
    """Nine do not rank their errors together: of each shop's 21 the rank of 80 % is 90."""
    for number, shop in enumerate(shops_behind_christmas(9).values()):
        ends = shop.bounds_in_turn(np.zeros((4, 2)), Difficulty(np.full(4, np.nan)), [0.8])
        np.testing.assert_allclose(ends.high[0, 0] / 2.0**number, 90.0)


def test_no_error_of_a_pool_is_used_before_its_target_is_known():
    shops = shops_behind_christmas(12)
    before = shops["0"].bounds_in_turn(np.zeros((4, 2)), Difficulty(np.full(4, np.nan)), [0.8])
    pool = shops["0"].pool
    is_later = pool.ds >= shops["0"].test_ds[1, 0]
    other = replace(pool, errors=np.where(is_later, 1e6, pool.errors), ranked_before={})
    changed = replace(shops["0"], pool=other)
    after = changed.bounds_in_turn(np.zeros((4, 2)), Difficulty(np.full(4, np.nan)), [0.8])
    np.testing.assert_array_equal(after.high[:, :2], before.high[:, :2])
    assert (after.high[:, 3] > before.high[:, 3]).all()


def test_a_level_that_the_newest_errors_do_not_support_is_that_of_calibration_or_wider():
    pool = intervals.RankedPool(np.arange(1.0, 101)[:, None], np.full((9, 1), 120.0))
    np.testing.assert_allclose(pool.quantiles([0.8, 0.9, 0.95])[:, 0], 120.0)
    calm = pool._replace(newest=np.full((9, 1), 2.0))
    np.testing.assert_allclose(calm.quantiles([0.8, 0.9, 0.95])[:, 0], [2.0, 2.0, 96.0])


def test_a_day_of_zero_sales_gives_no_upper_end_beyond_four_times_the_highest():
    y = np.full((7, 2), [150.0, 120.0])
    y[3, 1] = 0.0
    conformal = SplitConformal.calibrate(y, np.full((7, 2), 145.0), transform="log1p")
    calm = Difficulty(np.full(1, np.nan))
    usual = conformal.bounds([[145.0, 145.0]], calm, 0.8)
    assert usual.high[0, 0] < 160 and usual.high[0, 1] == 4 * 150
    grown = conformal.bounds([[145.0, 400.0]], calm, 0.8)
    assert grown.high[0, 1] == 4 * 400, "a forecast may lie above all that was seen"


def test_upper_ends_without_a_logarithm_have_no_ceiling():
    y = np.full((7, 1), -10.0)
    y[3] = 90.0
    conformal = SplitConformal.calibrate(y, np.full((7, 1), -10.0))
    assert conformal.bounds([[-10.0]], Difficulty(np.full(1, np.nan)), 0.85).high[0, 0] == 90.0


def test_a_part_that_begins_to_be_asked_for_has_no_ceiling_of_its_years_of_zero():
    """Forty zeros in calibration, then a demand of .6 a day: half are above zero, and an interval
    that cannot rise covers half.
    """
    demand = np.random.default_rng(0).poisson(0.6, (80, 1)).astype(float)
    always_zero, unknown = np.zeros((40, 1)), Difficulty(np.full(80, np.nan))
    conformal = SplitConformal.calibrate(always_zero, always_zero, transform="log1p")
    conformal = conformal.followed_by(demand, np.zeros((80, 1)), unknown)
    ends = conformal.bounds_in_turn(np.zeros((80, 1)), unknown, [0.9])
    is_inside = (ends.low[0] <= demand) & (demand <= ends.high[0])
    assert is_inside[40:].mean() > 0.85
    assert conformal.newest.highest == demand.max()


def test_values_below_zero_have_no_ceiling_below_the_forecast():
    y = np.linspace(-0.9, -0.5, 40)[:, None]
    conformal = SplitConformal.calibrate(y, np.full((40, 1), -0.7), transform="log1p")
    ends = conformal.bounds([[-0.7]], Difficulty(np.full(1, np.nan)), 0.9)
    assert ends.low[0, 0] < -0.7 < ends.high[0, 0]


def test_errors_are_ranked_once_for_all_levels_and_forecasts(monkeypatch):
    errors = np.random.default_rng(3).normal(size=(40, 4))
    conformal = SplitConformal.calibrate(errors, np.zeros((40, 4)))
    difficulty = Difficulty(np.full(1, np.nan))
    first = conformal.bounds(np.zeros((1, 4)), difficulty, 0.8)
    monkeypatch.setattr(np, "sort", None)
    bounds_again = conformal.bounds(np.zeros((1, 4)), difficulty, 0.8)
    wider = conformal.bounds(np.zeros((1, 4)), difficulty, 0.9)
    np.testing.assert_array_equal(bounds_again.high, first.high)
    assert (wider.high > first.high).all()
