"""Missing hours, missing days and an input with a daily cycle ruin no model's forecasts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import load_dataset
from forecast.config.task import Task
from forecast.data.panel import from_frame
from forecast.data.splits import resolve_borders
from forecast.forecaster import Budget, Problem, fit
from forecast.models import spec

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("ridge", "narx", "jordan", "tdnn", "gru")
]
MODELS = pytest.mark.parametrize("family", ["arx", *OTHERS])


@cache
def weather(change: str) -> tuple[Problem, np.ndarray]:
    """Dublin as packaged, with one change; and the temperatures as they were."""
    entry = load_dataset("weather", ROOT / "configs")
    frame = pd.read_parquet(next((ROOT / "data" / "snapshots" / "weather").glob("*.parquet")))
    truth, rng = frame["temp"].to_numpy().copy(), np.random.default_rng(1)
    task = entry.task.model_dump(mode="json")
    if change == "holes":
        missing = rng.random(len(frame)) < 0.05
        for day in rng.choice(len(frame) // 24, 2, replace=False):
            missing[day * 24 : day * 24 + 24] = True
        frame.loc[missing, [column.name for column in entry.task.columns]] = np.nan
        for column in (*task["target"], *task["past_exogenous"]):
            column["may_be_missing"] = True
    if change == "sun":
        hour, cloud = (
            frame["ds"].dt.hour.to_numpy(),
            np.repeat(rng.uniform(0.2, 1, len(frame) // 24 + 1), 24),
        )
        frame["sun"] = np.maximum(np.sin(np.pi * (hour - 6) / 12), 0) * cloud[: len(frame)]
        task["past_exogenous"].append({**task["past_exogenous"][1], "name": "sun"})
    panel = from_frame(frame, "weather", Task.model_validate(task))
    return Problem.of(panel, resolve_borders(panel, entry.splits)), truth


@cache
def error(family: str, change: str) -> float:
    """Test MAE against the temperatures as they were."""
    problem, truth = weather(change)
    uid, task = problem.panel.series[0].unique_id, problem.panel.task
    fitted = fit(
        problem,
        spec({"family": family}, where="test"),
        skip="linear",
        seed=0,
        budget=Budget(100, 25),
    )
    rows = problem.rows(uid, "test")
    y_hat = fitted.forecaster.predict(problem.panel, {uid: rows})[uid][:, :, 0]
    return float(np.abs(y_hat - truth[rows[:, None] + np.arange(1, task.horizon + 1)]).mean())


@MODELS
def test_holes_cost_at_most_three_percent(family):
    assert error(family, "holes") <= 1.03 * error(family, "nothing")


@MODELS
def test_an_input_with_a_daily_cycle_costs_at_most_five_percent(family):
    assert error(family, "sun") <= 1.05 * error(family, "nothing")
