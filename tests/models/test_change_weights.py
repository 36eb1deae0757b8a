"""Of the change that the linear part forecasts every series is given a share, by its own errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

import forecast
from forecast import models
from forecast.forecaster import Budget, fit
from forecast.models.choice import CHANGE_SHARES, weigh_changes
from forecast.models.problem import Problem
from forecast.models.skip import Skip
from tests.support import problems

HORIZON, LATER = 12, 116


def weekly(kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    """(rows,) weeks of any size that return to a line, wander, or stay where they are."""
    noise = rng.normal(size=rows)
    size = np.exp(rng.normal(3, 1.5))
    if kind == "walk":
        return size * np.cumsum(noise)
    if kind == "steps":
        return size * np.cumsum(np.where(rng.random(rows) < 0.03, 3 * noise, 0.0))
    slope, season = rng.choice([0.0, 0.01, -0.05]), rng.choice([0.0, 0.5, 2.0])
    time = np.arange(rows)
    return size * (10 + slope * time + season * np.sin(2 * np.pi * time / 52) + noise)


def panel_of(kinds: list[str]) -> Problem:
    """176 to 716 weeks of each; what most of them share is cut at the same moments."""
    rng, parts = np.random.default_rng(0), []
    for number, kind in enumerate(kinds):
        rows = int(np.exp(rng.uniform(np.log(60), np.log(600)))) + LATER
        ds = pd.date_range(end="2024-12-29", periods=rows, freq="W-SUN").as_unit("ns")
        name = f"{kind} {number:02d}"
        parts.append(pd.DataFrame({"unique_id": name, "ds": ds, "y": weekly(kind, rows, rng)}))
    return of_weeks(
        pd.concat(parts, ignore_index=True),
        lookback=12,
        season_length=52,
        step_size=3,
        splits={"train": 0.4, "validation": 0.15, "calibration": 0.1},
    )


def of_weeks(frame: pd.DataFrame, **options: object) -> Problem:
    """The problem of weekly series without inputs."""
    return problems.problem_of(
        frame,
        calendar={"kind": "regular", "freq": "W-SUN"},
        target={"column": "y"},
        past_exogenous=[],
        calendar_features=[],
        horizon=HORIZON,
        **options,
    )


def relative_errors(problem: Problem, skip: Skip) -> dict[str, float]:
    """By series the error on the test block, of that of the last value."""
    result = {}
    for uid in problem.panel.by_id:
        errors, of_last = [], []
        for windows in problem.windows(uid, problem.rows(uid, "test"), horizon=HORIZON):
            target = problem.targets(uid, windows.rows, horizon=HORIZON)
            errors.append(np.abs(target - skip.forecast(windows, problem.channels)).mean())
            of_last.append(np.abs(target - windows.last[:, None]).mean())
        result[uid] = np.mean(errors) / max(np.mean(of_last), 1e-9)
    return result


@pytest.fixture(scope="module")
def mixed() -> Problem:
    return panel_of(["noise", "walk", "noise", "steps"] * 8)


def test_on_many_weekly_series_at_once_no_series_pays_for_another(mixed):
    skip = mixed.skip("linear", HORIZON)
    errors = relative_errors(mixed, mixed.joined.skip("linear", HORIZON))
    by_kind = {
        kind: [error for uid, error in errors.items() if uid.startswith(kind)]
        for kind in ("noise", "walk", "steps")
    }
    assert np.mean(by_kind["noise"]) < 0.88 and max(by_kind["noise"]) <= 1.02
    assert max(by_kind["steps"]) <= 1.02
    assert max(by_kind["walk"]) <= 1.02
    weights = {uid: each[0] for uid, each in skip.change_weights.items()}
    assert min(weights.values()) == 0.0 and max(weights.values()) > 0.8


def alone(values: np.ndarray, train: float) -> Problem:
    """Weeks as a single series, of which the share `train` is fitted and chosen on."""
    ds = pd.date_range(end="2024-12-29", periods=len(values), freq="W-SUN").as_unit("ns")
    return of_weeks(
        pd.DataFrame({"unique_id": "alone", "ds": ds, "y": values}),
        lookback=24,
        season_length=1,
        step_size=1,
        splits={"train": 0.8 * train, "validation": 0.2 * train, "calibration": 0.05},
    )


def test_a_level_beyond_those_of_the_fit_does_not_pull_the_forecast_back():
    rng = np.random.default_rng(3)
    returns = lfilter([1.0], [1.0, -0.8], rng.normal(size=400))
    steps = np.where(np.arange(200) < 20, 1.0, 0.0) + 0.3 * rng.normal(size=200)
    problem = alone(np.concatenate([returns, returns[-1] + np.cumsum(steps)]), train=400 / 600)
    fitted = problem.joined.skip("linear", HORIZON)
    assert fitted.reads_level and fitted.change_weights["alone"][0] > 0.5
    assert relative_errors(problem, fitted)["alone"] < 1.1
    pulled = replace(fitted, level_ranges={})
    assert relative_errors(problem, pulled)["alone"] > 1.5


def days_with_a_week(n_rows, seed):
    """A frame of days around 100 with a week of 35 in width, and the week (n_rows,) alone."""
    rng = np.random.default_rng(seed)
    ds = pd.date_range("2021-01-01", periods=n_rows, freq="D")
    week = np.array([0, 2, 3, 5, 12, 20, -15])[ds.day_of_week]
    noise = lfilter([1.0], [1.0, -0.5], 5 * rng.normal(size=n_rows))
    return pd.DataFrame({"ds": ds, "y": 100 + week + noise}), week


def test_after_a_shift_within_the_range_of_a_season_no_member_returns_to_the_old_level():
    """A week of 35 in width moves by as much: single rows stay in the range of the fit."""
    df, week = days_with_a_week(520, seed=7)
    shifted = df.assign(y=df["y"] + 35.0 * (df.index >= 480))
    for model in ("ridge", "climatology_ar", "boosting_last"):
        fitted = forecast.fit(df[:473], model, freq="1D", horizon=7, n_jobs=1)
        errors = []
        for n_rows in range(490, 514):
            expected = (135 + week)[n_rows : n_rows + 7]
            errors.append(np.abs(fitted.predict(shifted[:n_rows])[model] - expected).mean())
        assert np.mean(errors) < 10.0  # of a return 25 and more


@pytest.mark.filterwarnings("ignore:Unlike all that the fit has seen")
def test_a_wild_day_within_the_last_week_is_no_new_level():
    """A day at about zero moves the mean of its week by 14, beyond all weeks of the fit."""
    df, week = days_with_a_week(500, seed=0)
    fitted = forecast.fit(df[:473], "climatology_ar", freq="1D", horizon=7, n_jobs=1)
    errors = []
    for n_rows in range(480, 490):
        for day in range(3, 7):
            wild = df[:n_rows].assign(y=df["y"].where(df.index != n_rows - day, 0.0))
            expected = (100 + week)[n_rows : n_rows + 7]
            errors.append((fitted.predict(wild)["climatology_ar"] - expected).mean())
    assert abs(np.mean(errors)) < 5.0  # with the mean as its level -16


@pytest.mark.parametrize("seed", [20000, 20010])
def test_the_windows_of_a_walk_that_went_on_are_near_the_last_value(seed):
    """Two walks whose ridge was 98 and 18 % worse than the last value."""
    walk = 100 + np.cumsum(np.random.default_rng(seed).normal(size=600))
    ds = pd.date_range("2005-01-02", periods=600, freq="7D")
    frame = pd.DataFrame({"unique_id": "walk", "ds": ds, "y": walk})
    model = forecast.fit(frame, "ridge", freq="7D", horizon=HORIZON)
    windows = model.cross_validation(n_windows=189)
    last = windows["cutoff"].map(frame.set_index("ds")["y"])
    error, of_last = (np.abs(windows["y"] - each).mean() for each in (windows["ridge"], last))
    assert error < 1.15 * of_last


def test_growth_by_a_share_of_the_level_goes_on_beyond_the_levels_of_the_fit():
    rng = np.random.default_rng(0)
    growth = np.exp(np.arange(400) / 150) * (1 + 0.02 * rng.normal(size=400))
    ds = pd.date_range("2005-01-02", periods=400, freq="7D")
    frame = pd.DataFrame({"unique_id": "sales", "ds": ds, "y": growth})
    model = forecast.fit(frame[:300], "ridge", freq="7D", horizon=HORIZON)
    errors = []
    for n_rows in range(310, 380, 10):
        forecasts = model.predict(frame[:n_rows])["ridge"].to_numpy()
        followed = growth[n_rows : n_rows + HORIZON]
        errors.append(np.abs([forecasts - followed, growth[n_rows - 1] - followed]).mean(axis=1))
    error, of_last = np.mean(errors, axis=0)
    assert error < of_last


def test_a_series_that_stays_in_its_range_is_forecast_as_its_level_says():
    rng = np.random.default_rng(4)
    problem = alone(lfilter([1.0], [1.0, -0.8], rng.normal(size=600)), train=400 / 600)
    fitted = problem.joined.skip("linear", HORIZON)
    error = relative_errors(problem, fitted)["alone"]
    assert error < 0.92
    pulled = replace(fitted, level_ranges={})
    assert relative_errors(problem, pulled)["alone"] == pytest.approx(error, abs=0.005)


def test_how_much_of_the_change_is_forecast_is_told(mixed):
    spec = models.spec({"family": "ridge"}, where="ridge")
    note = fit(mixed, spec, skip=None, seed=0, budget=Budget(1, 1)).note
    assert "takes 0 to 100 % of the change that its regression forecasts" in note
    assert "; repeats the last value of " in note and note.endswith(" of 32 series")


def test_shares_survive_being_saved_and_a_second_fit(mixed):
    skip = mixed.skip("linear", HORIZON)
    loaded = Skip.from_saved(json.loads(json.dumps(skip.to_json())), skip.to_arrays())
    assert loaded.change_weights == skip.change_weights
    assert mixed.joined.skip("linear", HORIZON).change_weights == skip.change_weights


def errors_with_best(share: float, stretches: int, noise: float) -> np.ndarray:
    """(stretches, 1, shares): lowest at `share`, by as much as the shares differ."""
    rng = np.random.default_rng(1)
    lowest_at = share + noise * rng.normal(size=(stretches, 1))
    return (1 + (CHANGE_SHARES - lowest_at) ** 2)[:, None]


def test_a_sure_series_has_its_own_share_and_one_of_a_single_stretch_borrows_from_all():
    weights = weigh_changes(
        {
            "sure": errors_with_best(0.2, 200, 0.0),
            "single": errors_with_best(0.2, 1, 0.0),
            **{f"other {k}": errors_with_best(0.9, 200, 0.0) for k in range(5)},
        }
    )
    assert weights["sure"] == (0.2,)
    assert 0.4 <= weights["single"][0] <= 0.7


def test_a_gain_that_may_be_luck_moves_no_share():
    luck = errors_with_best(0.02, 8, 3.0)
    assert weigh_changes({"one": luck})["one"][0] <= 0.2


def test_a_series_alone_needs_more_than_two_stretches_that_happen_to_agree():
    losses = 1 - 0.2 * CHANGE_SHARES[None, None] + np.zeros((2, 1, 1))
    assert weigh_changes({"alone": losses})["alone"] == (0.0,)
    assert weigh_changes({"alone": np.repeat(losses, 20, axis=0)})["alone"] == (1.0,)
    clear = 1 - 0.9 * CHANGE_SHARES[None, None]
    assert weigh_changes({"alone": clear})["alone"] == (1.0,)


def test_series_without_an_observed_target_keep_the_last_value():
    assert weigh_changes({"gone": np.full((5, 1, 11), np.nan)}) == {"gone": (0.0,)}
