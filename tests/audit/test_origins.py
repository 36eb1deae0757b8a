"""Forecasts around a moment after which the rows change: which have to stay, and which have to
move.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast import models
from forecast.audit import origins
from forecast.audit.origins import _count_differences, select_moments
from forecast.audit.sandbox import Project
from forecast.config.paths import ProjectPaths
from forecast.data.panel import Panel
from forecast.forecaster import Budget, Problem, fit
from tests.support import problems

DAYS = pd.date_range("2024-01-01", periods=200).as_unit("ns")
TRAIN_END = DAYS[119]


@pytest.fixture(scope="module")
def problem() -> Problem:
    y = 20 + np.cumsum(np.random.default_rng(0).normal(0, 1, len(DAYS)))
    changes = {
        "target": {"column": "sales"},
        "past_exogenous": [],
        "calendar_features": [],
        "step_size": 1,
        "season_length": 1,
    }
    frame = pd.DataFrame({"unique_id": "a", "ds": DAYS, "sales": y})
    return problems.problem_of(frame, **changes, calendar={"kind": "regular", "freq": "1D"})


def changed(panel: Panel, after: pd.Timestamp) -> Panel:
    series = panel.series[0]
    values = np.where(
        (series.ds > after.to_datetime64())[:, None], 0.5 * series.values, series.values
    )
    return replace(panel, series=(replace(series, values=values),))


@pytest.mark.parametrize("family", ["auto_arima", "naive"])
@pytest.mark.parametrize("moment", [DAYS[60], TRAIN_END, DAYS[150], DAYS[199]])
def test_an_honest_forecast_stays_before_any_moment_and_moves_after_it(
    problem: Problem, family: str, moment: pd.Timestamp
) -> None:
    spec = models.spec({"family": family}, where="test")
    forecaster = fit(problem, spec=spec, skip=None, seed=0, budget=Budget(0, 1)).forecaster
    other = changed(problem.panel, moment)
    assert _count_differences(forecaster, problem.panel, other, moment, TRAIN_END) == (0, True)


def test_a_forecast_that_does_not_follow_the_rows_is_told_from_one_that_does(
    problem: Problem,
) -> None:
    spec = models.spec({"family": "naive"}, where="test")
    forecaster = fit(problem, spec=spec, skip=None, seed=0, budget=Budget(0, 1)).forecaster
    same = problem.panel
    assert _count_differences(forecaster, same, same, DAYS[150], TRAIN_END) == (0, False)
    assert _count_differences(forecaster, same, changed(same, DAYS[149]), DAYS[150], TRAIN_END) == (
        1,
        True,
    )


def test_each_of_many_joined_datasets_has_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = problems.frame(gaps=False)
    days = [*map(pd.Timestamp, sorted(frame["ds"].unique()))]
    stale = {f"other-{number}": days[10 + number] for number in range(8)}
    monkeypatch.setattr(origins, "find_stale_moments", lambda _, name: [stale[name], days[5]])
    raw = {"shops": frame, **dict.fromkeys(stale, frame)}
    project = Project(ProjectPaths.of(Path()), "shops", problems.dataset(), raw)
    ends = dict(zip(("train", "validation", "calibration"), days[-30::10], strict=True))
    moments = select_moments(project, problems.panel_of(frame), ends)
    assert {*stale.values(), *ends.values()} <= {*moments}
    assert days[5] not in moments
