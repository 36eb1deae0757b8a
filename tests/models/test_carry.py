"""What a closed loop takes for its inputs after the cutoff: fitted on what followed each train
window, no more.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.windows import layout
from forecast.models.skip import Carry
from tests.support import problems

SEASON, HORIZON, LOOKBACK = 6, 4, 12


def channels(**column):
    column = {"column": "x", **column}
    return layout(
        problems.task(target={"column": "y"}, past_exogenous=[column], calendar_features=[])
    )


def fit_carry(values, layout_of_channels, season):
    """Fitted on every window of a series (T,) and what followed it."""
    at = np.arange(LOOKBACK - 1, len(values) - HORIZON)
    z = np.asarray(values, dtype=float)[:, None]
    past = z[at[:, None] + np.arange(1 - LOOKBACK, 1)]
    following = z[at[:, None] + np.arange(1, HORIZON + 1)]
    return Carry.of_sums(Carry.sum_terms(past, following, season), layout_of_channels, season)


def followed(carry, values, horizon=HORIZON):
    return carry.forecast_inputs(np.asarray(values, dtype=float)[None, -LOOKBACK:, None], horizon)[
        0, :, 0
    ]


def test_a_pure_cycle_goes_on_as_it_was():
    cycle = np.sin(2 * np.pi * np.arange(120) / SEASON)
    carry = fit_carry(cycle[:100], channels(), SEASON)
    np.testing.assert_allclose(followed(carry, cycle[:110], 10), cycle[110:], atol=1e-4)


def test_a_walk_stays_where_it_is():
    walk = np.cumsum(np.random.default_rng(0).normal(size=4000))
    carry = fit_carry(walk, channels(difference_inputs=True), 1)
    assert (carry.coefficients == 0).all()
    np.testing.assert_array_equal(followed(carry, walk), np.full(HORIZON, walk[-1]))


def test_an_autoregression_returns_to_its_mean_as_fast_as_it_does():
    rng = np.random.default_rng(1)
    x = np.zeros(20_000)
    for t in range(1, len(x)):
        x[t] = 0.7 * x[t - 1] + rng.normal()
    carry = fit_carry(x, channels(), 1)
    np.testing.assert_allclose(
        followed(carry, np.full(LOOKBACK, 2.0)), 2 * 0.7 ** np.arange(1, 5), atol=0.06
    )


def test_missing_steps_are_left_out_of_the_fit():
    cycle = np.sin(2 * np.pi * np.arange(300) / SEASON)
    holes = np.where(np.random.default_rng(2).random(300) < 0.1, np.nan, cycle)
    carry = fit_carry(holes, channels(max_missing=0.5), SEASON)
    np.testing.assert_allclose(followed(carry, cycle[:252]), cycle[252:256], atol=0.3)


def test_an_input_that_never_moves_or_never_came_is_repeated():
    for values, last in [(np.full(60, 3.0), 3.0), (np.full(60, np.nan), 0.0)]:
        carry = fit_carry(values, channels(max_missing=0.9), SEASON)
        np.testing.assert_allclose(followed(carry, values), np.full(HORIZON, last), atol=1e-4)


@given(st.integers(1, 30), st.integers(1, 8))
def test_behind_its_horizon_what_was_a_season_before_is_repeated(horizon, season):
    carry = Carry(np.random.default_rng(3).normal(size=(HORIZON, 1, 3)), season)
    values = np.concatenate([np.arange(LOOKBACK), followed(carry, np.arange(LOOKBACK), horizon)])
    beyond_rows = np.arange(LOOKBACK + HORIZON, LOOKBACK + horizon)
    np.testing.assert_array_equal(values[beyond_rows], values[beyond_rows - season])


@pytest.mark.parametrize("cut", [5, 10])
def test_nothing_behind_the_cutoff_is_read(cut):
    carry = Carry(np.random.default_rng(3).normal(size=(HORIZON, 1, 3)), SEASON)
    values = np.random.default_rng(4).normal(size=cut + LOOKBACK)
    with_later_rows = np.concatenate([values, [1e9]])
    np.testing.assert_array_equal(followed(carry, values), followed(carry, with_later_rows[:-1]))
