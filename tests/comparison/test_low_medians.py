"""Medians that are too low for who plans by the mean."""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from forecast.comparison.low_medians import describe_low_medians, sum_shortfall
from tests.support.example_data import dataset

DRAWS = np.random.default_rng(3).normal(size=20_000)


def test_the_median_of_skewed_demand_misses_the_known_part_of_its_sum():
    """Of exp(s·z) the median is 1 and the mean exp(s²/2)."""
    spread = 0.6
    demand = np.exp(spread * DRAWS)
    expected = 1 - np.exp(-(spread**2) / 2)
    share = sum_shortfall(demand, np.full(len(demand), np.median(demand)))
    assert share == pytest.approx(expected, abs=0.01)


def test_the_mean_of_skewed_demand_and_the_median_of_symmetric_demand_miss_nothing():
    skewed, symmetric = np.exp(0.6 * DRAWS), 50 + DRAWS
    assert sum_shortfall(skewed, np.full(len(skewed), skewed.mean())) == 0
    median = np.full(len(symmetric), np.median(symmetric))
    assert sum_shortfall(symmetric, median) == pytest.approx(0, abs=0.001)


def test_forecasts_below_most_values_are_no_medians():
    demand = 50 + DRAWS
    assert sum_shortfall(demand, demand - 10) == 0


def test_what_can_be_negative_has_no_sum_to_plan_by():
    change = np.exp(DRAWS) - 0.5
    assert sum_shortfall(change, np.full(len(change), np.median(change))) == 0


def test_the_sentence_counts_and_sums_all_series_whatever_makes_them_low():
    """Of `skewed` the median is low; `rising` is low in the test block alone, `rare` is zero most
    of the time and half forecast, `level` is right.
    """
    n = 2_000
    draws = DRAWS[:n]
    level = 50 + draws
    skewed = np.exp(0.6 * draws)
    rare = np.where(draws > 1, 8.0, 0.0)
    rows = {
        "skewed": (skewed, np.full(n, np.median(skewed))),
        "rising": (level, level - 10 * (np.arange(n) >= n // 2)),
        "rare": (rare, np.full(n, rare.mean() / 2)),
        "level": (level, np.full(n, 50.0)),
    }
    block = np.where(np.arange(n) < n // 2, "calibration", "test")
    frame = pd.concat(
        pd.DataFrame({"unique_id": name, "block": block, "y": y, "y_hat": y_hat})
        for name, (y, y_hat) in rows.items()
    )
    results = Mock(forecasts=lambda candidate: frame)
    sentence = describe_low_medians(results, "mine", dataset().task)
    test = frame[frame["block"] == "test"]
    missing = 1 - test["y_hat"].sum() / test["y"].sum()
    assert sentence.startswith(
        f"In the test block the forecasts of mine add up to {100 * missing:.0f} % less than what"
        " came, over all 4 series, and to 5 % less or lower for 3 of them. The reason, at least for"
        " 1 of 4 series, such as 'skewed': each is a median"
    )
