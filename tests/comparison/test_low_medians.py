"""Medians that are too low for who plans by the mean."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.comparison.low_medians import missing_share

DRAWS = np.random.default_rng(3).normal(size=20_000)


def test_the_median_of_skewed_demand_misses_the_known_part_of_its_sum():
    """Of exp(s·z) the median is 1 and the mean exp(s²/2)."""
    spread = 0.6
    demand = np.exp(spread * DRAWS)
    wanted = 1 - np.exp(-(spread**2) / 2)
    share = missing_share(demand, np.full(len(demand), np.median(demand)))
    assert share == pytest.approx(wanted, abs=0.01)


def test_the_mean_of_skewed_demand_and_the_median_of_symmetric_demand_miss_nothing():
    skewed, symmetric = np.exp(0.6 * DRAWS), 50 + DRAWS
    assert missing_share(skewed, np.full(len(skewed), skewed.mean())) == 0
    median = np.full(len(symmetric), np.median(symmetric))
    assert missing_share(symmetric, median) == pytest.approx(0, abs=0.001)


def test_forecasts_below_most_values_are_no_medians():
    demand = 50 + DRAWS
    assert missing_share(demand, demand - 10) == 0


def test_what_can_be_negative_has_no_sum_to_plan_by():
    change = np.exp(DRAWS) - 0.5
    assert missing_share(change, np.full(len(change), np.median(change))) == 0
