"""What the fit has not seen is said with column, series, value and range, and nothing usual is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecast.data.panel import Panel
from forecast.data.scaling import Scaling
from forecast.data.splits import Blocks
from forecast.forecaster.unseen import describe_unseen
from tests.support import problems

PLAN = {
    "target": {"column": "y"},
    "past_exogenous": [],
    "future_exogenous": [{"column": "price", "known_ahead": True}],
    "calendar_features": [],
}


def fitted(panel: Panel, share: float = 0.8) -> Scaling:
    """The scaling of a fit on the first rows of each series."""
    ends = {series.unique_id: int(share * len(series)) for series in panel.series}
    blocks = {uid: Blocks((0, end), *[(end, end)] * 3) for uid, end in ends.items()}
    return Scaling.fit(panel, blocks)


def panel_with_plan(prices: np.ndarray, transform: str = "none") -> Panel:
    """One series of 200 rows whose last knows the next three of its `prices` (203,)."""
    ds = pd.date_range("2024-01-01", periods=200, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": ds, "y": 10 + np.sin(np.arange(200))})
    for step in (1, 2, 3):
        frame[f"price+{step}"] = prices[step : step + 200]
    target = {"column": "y", "transform": transform}
    return problems.panel_of(frame, **{**PLAN, "target": target})


def usual_prices() -> np.ndarray:
    return 4 + np.random.default_rng(0).random(203)


@pytest.mark.parametrize("factor", [10, 100, -3, 1e5])
@pytest.mark.parametrize("days", [[0], [1, 2], [0, 1, 2]])
def test_a_plan_far_off_is_said_with_its_day_its_value_and_the_range(days, factor):
    scaling = fitted(panel_with_plan(usual_prices()))
    prices = usual_prices()
    prices[np.array(days) + 200] *= factor
    sentence = describe_unseen(panel_with_plan(prices), scaling)
    low, high = scaling.ranges["a"][:, 1]
    assert f"(in training {low:g} to {high:g})" in sentence
    numbers = [f"'price' of 'a' is {prices[day + 200]:g} at 2024-01-09" for day in days]
    assert any(number in sentence for number in numbers)
    assert ("more step" in sentence) == (len(days) > 1)


@pytest.mark.parametrize("factor", [0.8, 1, 1.2])
def test_a_plan_of_usual_prices_is_not_spoken_of(factor):
    prices = usual_prices()
    prices[200:] = 4.5 * factor
    panel = panel_with_plan(prices)
    assert describe_unseen(panel, fitted(panel)) == ""


@pytest.mark.parametrize("transform", ["none", "log", "log1p", "diff", "logdiff"])
@pytest.mark.parametrize("factor", [100, 1000])
def test_a_target_in_another_unit_is_said(transform, factor):
    panel = panel_with_plan(usual_prices(), transform)
    scaling = fitted(panel)
    other = panel.series[0].values.copy()
    other[-1 if transform == "logdiff" else slice(None), 0] *= factor
    series = replace(panel.series[0], values=other)
    assert "'y' of 'a'" in describe_unseen(replace(panel, series=(series,)), scaling)


@pytest.mark.parametrize("growth", [1.5, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_usual_growth_is_not_spoken_of(growth, seed):
    """Of a target that grew so many times over the data of its fit, of which the newest fifth is
    held back.
    """
    rng, time = np.random.default_rng(seed), np.arange(400)
    y = growth ** (time / 400) * np.exp(0.1 * rng.normal(size=400)) * (1 + 0.2 * np.sin(time / 4))
    ds = pd.date_range("2024-01-01", periods=400, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": ds, "y": y})
    options = {"target": {"column": "y"}, "past_exogenous": [], "calendar_features": []}
    panel = problems.panel_of(frame, **options)
    assert describe_unseen(panel, fitted(panel)) == ""


def test_of_many_faults_the_first_are_named_and_the_rest_counted():
    ds = pd.date_range("2024-01-01", periods=200, freq="h")
    y = 10 + np.sin(np.arange(200))
    frame = pd.concat([pd.DataFrame({"unique_id": name, "ds": ds, "y": y}) for name in "abcde"])
    options = {"target": {"column": "y"}, "past_exogenous": [], "calendar_features": []}
    scaling = fitted(problems.panel_of(frame, **options))
    frame.loc[frame["ds"] == ds[-1], "y"] = 1000.0
    sentence = describe_unseen(problems.panel_of(frame, **options), scaling)
    assert [f"'y' of '{name}'" in sentence for name in "abcde"] == [True] * 3 + [False] * 2
    assert "and 2 more." in sentence
