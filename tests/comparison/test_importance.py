"""Importance: what drives the target is found, what does not is not distinguishable from zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.comparison.explaining import (
    MATTERS,
    NEITHER,
    describe_importance,
    measure_importance,
)
from forecast.data.panel import from_frame
from forecast.data.splits import resolve_borders
from forecast.forecaster import Budget, Problem, fit
from forecast.forecaster.ensemble import Ensemble
from forecast.models import spec
from tests.support import problems

HOURS = 1500


@pytest.fixture(scope="module")
def importance() -> pd.DataFrame:
    """Of a ridge on sales that follow the wind an hour later, and not the rain."""
    rng = np.random.default_rng(0)
    wind, rain = rng.normal(0, 1, (2, HOURS))
    sales = 20 + 3 * np.roll(wind, 1) + rng.normal(0, 1, HOURS)
    frame = pd.DataFrame(
        {
            "unique_id": "north",
            "ds": pd.date_range("2024-01-01", periods=HOURS, freq="h").as_unit("ns"),
            "sales": sales,
            "wind": wind,
            "rain": rain,
        }
    )
    changes = {
        "target": [{"column": "sales"}],
        "past_exogenous": [{"column": "wind"}, {"column": "rain"}],
        "calendar_features": [],
        "horizon": 1,
        "season_length": 1,
    }
    panel = from_frame(frame, "shops", problems.task(**changes))
    problem = Problem.of(panel, resolve_borders(panel, problems.dataset(**changes).splits))
    ridge = spec({"family": "ridge"}, where="a test")
    fitted = fit(problem, ridge, skip=None, seed=0, budget=Budget(0, 1)).forecaster
    table = measure_importance(Ensemble((fitted,)), panel, {"north": problem.rows("north", "test")})
    print(table)
    return table.set_index("part")


def test_an_input_that_drives_the_target_matters_and_one_that_does_not_is_not_distinguishable(
    importance,
):
    words = {part: describe_importance(row.low, row.high) for part, row in importance.iterrows()}
    assert words["wind"] == MATTERS and words["rain"] == NEITHER
    assert importance.loc["wind", "change"] > 1


def test_an_unread_input_changes_nothing_and_a_rounding_error_is_not_importance():
    assert describe_importance(-1e-17, -1e-17) == NEITHER
    assert describe_importance(float("nan"), float("nan")) == NEITHER
    assert describe_importance(0.01, 0.02) == MATTERS
