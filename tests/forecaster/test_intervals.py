import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.comparison import metrics
from forecast.forecaster import intervals
from forecast.forecaster.intervals import AdaptiveConformal, SplitConformal
from forecast.system.errors import InputError

H = 3


def errors(n: int, *, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Actuals (n, 3) and point forecasts; the error grows with the step."""
    rng = np.random.default_rng(seed)
    y_hat = rng.normal(10, 3, (n, H))
    return y_hat + scale * rng.standard_t(5, (n, H)) * np.array([1.0, 2.0, 3.0]), y_hat


def test_the_rank_is_that_of_the_conformal_formula():
    assert intervals.rank_of(19, 0.95) == 19
    assert intervals.rank_of(99, 0.9) == 90
    assert intervals.rank_of(500, 0.8) == 401


@pytest.mark.parametrize(("level", "needed"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_level_the_set_is_too_small_for_is_refused_with_the_number_needed(level, needed):
    assert intervals.needed(level) == needed
    intervals.rank_of(needed, level)
    with pytest.raises(InputError, match=f"at least {needed} are needed"):
        intervals.rank_of(needed - 1, level)


@given(st.integers(1, 400), st.integers(1, 99))
def test_a_level_is_refused_exactly_when_fewer_origins_than_needed_are_given(n, percent):
    level = percent / 100
    if n >= intervals.needed(level):
        assert 1 <= intervals.rank_of(n, level) <= n
    else:
        with pytest.raises(InputError):
            intervals.rank_of(n, level)


def test_the_margin_is_the_ranked_absolute_residual_of_each_step():
    y = np.arange(1.0, 20.0)[:, None] * np.array([1.0, -2.0])
    fitted = SplitConformal.fit(y, np.zeros((19, 2)))
    assert fitted.margin(0.95).tolist() == [19.0, 38.0]
    assert fitted.margin(0.5).tolist() == [10.0, 20.0]
    lower, upper = fitted.interval(0.95, np.array([100.0, 100.0]))
    assert lower.tolist() == [81.0, 62.0] and upper.tolist() == [119.0, 138.0]


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_it_covers_what_it_promises_at_every_step(level):
    fitted = SplitConformal.fit(*errors(600, seed=1))
    y, y_hat = errors(4000, seed=2)
    table = metrics.coverage_by_step(*(a[None] for a in (y, *fitted.interval(level, y_hat))), level=level)
    assert table["inside"].all() and table["step"].tolist() == [[0, 1, 2, 3]]
    assert np.all(np.diff(table["width"][0, 1:]) > 0)


def test_promised_coverage_holds_on_average_over_small_calibration_sets():
    # the theorem is about the average over calibration sets: at least 80 %, at most 80 % + 1 / (n + 1)
    covered = []
    for seed in range(400):
        y, y_hat = errors(29, seed=seed)
        fresh, fresh_hat = errors(50, seed=10_000 + seed)
        covered.append(metrics.coverage(fresh, *SplitConformal.fit(y, y_hat).interval(0.8, fresh_hat)))
    assert 0.79 < np.mean(covered) < 0.8 + 1 / 30 + 0.01


def test_a_missing_actual_is_left_out_of_its_step_and_may_make_it_too_small():
    y, y_hat = errors(19, seed=3)
    y[0, 1] = np.nan
    fitted = SplitConformal.fit(y, y_hat)
    assert [len(s) for s in fitted.scores] == [19, 18, 19]
    with pytest.raises(InputError, match="18 calibration origins"):
        fitted.margin(0.95)


def test_under_drift_the_adaptive_variant_keeps_its_coverage_and_the_fixed_one_does_not():
    y, y_hat = errors(500, seed=6)
    parts = [errors(1000, seed=7), errors(1000, seed=8, scale=2.0)]
    later, later_hat = (np.concatenate(p) for p in zip(*parts, strict=True))
    fixed = SplitConformal.fit(y, y_hat).interval(0.9, later_hat)
    adaptive = intervals.adaptive_intervals(AdaptiveConformal.fit(y, y_hat, level=0.9), later, later_hat)
    assert metrics.coverage(later, *fixed) < 0.85
    assert metrics.coverage(later, *adaptive) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("step_size", [1, 2])
def test_the_adaptive_variant_uses_only_outcomes_known_at_the_cutoff(step_size):
    y, y_hat = errors(100, seed=9)
    later, later_hat = errors(40, seed=10)
    changed = later.copy()
    changed[20:] += 1e6
    first, second = (
        intervals.adaptive_intervals(
            AdaptiveConformal.fit(y, y_hat, level=0.9), actual, later_hat, step_size=step_size
        )
        for actual in (later, changed)
    )
    # step h of origin 20 is known at origin 20 + ceil(h / stride)
    for step in range(H):
        known = 20 + -(-(step + 1) // step_size)
        assert np.array_equal(first[1][:known, step], second[1][:known, step])
        assert not np.array_equal(first[1][: known + 1, step], second[1][: known + 1, step])


def test_the_window_of_the_adaptive_variant_is_as_long_in_time_as_the_calibration_block():
    y, y_hat = errors(90, seed=12)
    started = AdaptiveConformal.fit(y, y_hat, level=0.8, spacing=3.0)  # observed three times as far apart
    for _ in range(130):
        started.observe(np.array([0]), np.array([7.0]), np.array([1.0]))
    assert (started.end - started.first).tolist() == [30, 90, 90]
    assert started.scores[0, started.first[0] : started.end[0]].tolist() == [7.0] * 30


def test_the_adaptive_variant_refuses_too_small_a_set_and_ignores_missing_outcomes():
    y, y_hat = errors(18, seed=11)
    with pytest.raises(InputError, match="at least 19"):
        AdaptiveConformal.fit(y, y_hat, level=0.95)
    started = AdaptiveConformal.fit(y, y_hat, level=0.9)
    before = started.margin()
    started.observe(np.array([0]), np.array([np.nan]), np.array([1.0]))
    assert np.array_equal(before, started.margin())


def test_levels_and_series_side_by_side_have_the_adaptive_intervals_that_each_has_alone():
    parts = [(*errors(60, seed=k), *errors(150, seed=k + 9)) for k in range(3)]
    parts[1][2][5:9, 1] = np.nan
    y, y_hat, later, later_hat = (np.hstack(side) for side in zip(*parts, strict=True))
    start = AdaptiveConformal.fit(y, y_hat, level=[0.8, 0.9], horizon=H, spacing=2.0)
    together = intervals.adaptive_intervals(start, later, later_hat, step_size=2, horizon=H)
    for k, (held, held_hat, own, own_hat) in enumerate(parts):
        for number, level in enumerate((0.8, 0.9)):
            start = AdaptiveConformal.fit(held, held_hat, level=level, spacing=2.0)
            alone = intervals.adaptive_intervals(start, own, own_hat, step_size=2)
            for end, expected in zip(together, alone, strict=True):
                assert np.array_equal(end[number][:, k * H : (k + 1) * H], expected)


def test_shapes_and_failed_forecasts_are_refused():
    with pytest.raises(InputError, match="twice"):
        SplitConformal.fit(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(InputError, match="not finite"):
        SplitConformal.fit(np.zeros((5, 2)), np.full((5, 2), np.nan))
    with pytest.raises(InputError, match="strictly between"):
        intervals.rank_of(100, 95)


def test_the_band_is_at_least_six_points_and_stays_inside_zero_and_one():
    assert metrics.binomial_band(0.8, 100_000) == (pytest.approx(0.74), pytest.approx(0.86))
    assert metrics.binomial_band(0.95, 50) == (pytest.approx(0.89, abs=0.01), 1.0)
