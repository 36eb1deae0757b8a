"""Copies of the last value, and results too good to be true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from forecast.comparison.error_diagnostics import (
    describe_copy,
    describe_leaks,
)

RNG = np.random.default_rng(6)
H = 5


def ar2_levels(
    n: int, a: float = 0.5, b: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A level whose differences are an AR(2), and the differences."""
    noise = np.random.default_rng(seed).normal(0, 1, n)
    change = signal.lfilter([1], [1, -a, -b], noise)
    return 100 + np.cumsum(change), change


def windows(level: np.ndarray, h: int) -> tuple[np.ndarray, np.ndarray]:
    """Actuals (n, h) after each origin, and the value at the origin (n,)."""
    return np.lib.stride_tricks.sliding_window_view(level[1:], h), level[:-h]


def oracle(
    level: np.ndarray, change: np.ndarray, h: int, a: float = 0.5, b: float = 0.2
) -> np.ndarray:
    """The conditional mean of the next h levels."""
    now, before = change[:-h].copy(), np.r_[0.0, change[: -h - 1]]
    total, forecasts = np.zeros_like(now), []
    for _ in range(h):
        now, before = a * now + b * before, now
        total = total + now
        forecasts.append(level[:-h] + total)
    return np.stack(forecasts, axis=1)


def test_naive_is_flagged_as_a_copy_at_every_step():
    level, _ = ar2_levels(400)
    y, last = windows(level, H)
    copy = describe_copy(y, np.repeat(last[:, None], H, axis=1), last, horizon=H)
    assert copy == "5 of 5 steps hardly move or not with the series (variance share 0.0 %)"


def test_naive_through_log_and_exp_and_with_a_drift_is_still_a_copy():
    level, _ = ar2_levels(400)
    y, last = windows(level, H)
    through = np.exp(np.log(last))[:, None] + 0.05 * np.arange(1, H + 1)
    assert describe_copy(y, through, last, horizon=H)


@pytest.mark.parametrize("h", [1, 5, 24])
def test_an_oracle_on_ar2_differences_is_not_a_copy(h):
    level, change = ar2_levels(900)
    y, last = windows(level, h)
    copy = describe_copy(y, oracle(level, change, h), last, horizon=h)
    assert not copy, copy


def test_a_delayed_copy_is_flagged_although_it_moves():
    level = 100 + np.cumsum(RNG.normal(0, 1, 600))
    y, last = windows(level, H)
    delayed = np.r_[level[0], level[: -H - 1]]
    copy = describe_copy(y, np.repeat(delayed[:, None], H, axis=1), last, horizon=H)
    assert copy


def test_noise_around_the_last_value_is_a_copy():
    level = 100 + np.cumsum(RNG.normal(0, 1, 600))
    y, last = windows(level, H)
    assert describe_copy(y, last[:, None] + RNG.normal(0, 1, (len(last), H)), last, horizon=H)


def test_ten_clean_configurations_raise_no_alarm():
    for seed in range(10):
        level, change = ar2_levels(750, 0.12, 0.05, seed=seed)
        y, last = windows(level, H)
        leaks = describe_leaks(y, oracle(level, change, H, 0.12, 0.05), last, horizon=H)
        assert not leaks, seed


def test_honest_forecasts_of_a_random_walk_raise_no_alarm():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        level = 1000 * np.exp(np.cumsum(rng.standard_t(4, 800) * 0.007 + 0.0003))
        y, last = windows(level, H)
        drift = last[:, None] * np.exp(0.0003 * np.arange(1, H + 1))
        for honest in (
            drift,
            np.repeat(last[:, None], H, axis=1),
            drift * np.exp(rng.normal(0, 0.002, y.shape)),
        ):
            assert not describe_leaks(y, honest, last, horizon=H)


def test_a_glimpse_of_the_future_raises_the_alarm_with_both_reasons():
    level = 100 + np.cumsum(RNG.normal(0, 1, 600))
    y, last = windows(level, H)
    peeking = 0.8 * last[:, None] + 0.2 * y
    leaks = describe_leaks(y, peeking, last, horizon=H)
    assert "MAE 20.0 % below" in leaks and "; direction right in 100.0 %" in leaks


def test_direction_alone_is_enough():
    level = 100 + np.cumsum(RNG.normal(0, 1, 900))
    y, last = windows(level, 1)
    sign = np.where(
        RNG.random(y.shape) < 0.7, np.sign(y - last[:, None]), -np.sign(y - last[:, None])
    )
    leaks = describe_leaks(y, last[:, None] + 0.01 * sign, last, horizon=1)
    assert leaks.startswith("direction right")


def test_a_constant_series_is_flagged_without_a_warning():
    y, last = np.ones((20, 2)), np.ones(20)
    assert describe_copy(y, y, last, horizon=2)
    assert not describe_leaks(y, y, last, horizon=2)


def test_too_few_origins_accuse_nobody_of_being_a_copy():
    level, change = ar2_levels(400)
    y, last = windows(level, H)
    good = oracle(level, change, H)
    assert describe_copy(y[:7], good[:7], last[:7], horizon=H) == ""
    late = y.copy()
    late[7:, 1:] = np.nan  # four of five steps have too few actuals to say anything
    assert describe_copy(late, good, last, horizon=H) == ""


def test_missing_actuals_do_not_relate_a_drift_to_what_it_does_not_follow():
    rng = np.random.default_rng(0)
    last = np.zeros(300)
    y = 5 + rng.normal(size=(300, 1))
    y_hat = 5 + rng.normal(size=(300, 1))
    y[rng.random(300) < 0.3] = np.nan
    known = np.isfinite(y[:, 0])
    assert np.cov(y[known, 0], y_hat[known, 0])[0, 1] > 0
    assert "not related" in describe_copy(y, y_hat, last, horizon=1)
