"""A fitted model: later data, windows of the past, saving, several targets, longer horizons."""

from __future__ import annotations

import gc
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lxml import html

import forecast
from forecast.api.stages import _restored_environment
from forecast.backtest import backtest
from forecast.backtest.candidates import REFERENCE_MODELS, plan_candidates
from forecast.backtest.setup import Setup
from forecast.config.task import Task
from forecast.data.records import StudyRecord
from forecast.forecaster import ensemble
from forecast.models import spec
from forecast.models.base import ModelSpec
from forecast.models.families import auto_theta
from forecast.system.errors import DataError, InputError, ModelError

STEP = {"freq": "1D", "horizon": 3, "lookback": 14, "n_jobs": 1}

pytestmark = pytest.mark.filterwarnings("ignore:Without the newest rows of the others")


def waves(days: int = 200) -> pd.DataFrame:
    t = np.arange(days)
    noise = np.random.default_rng(0).standard_normal((2, days)) / 10
    parts = [
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2024-01-01", periods=days),
                "y": 5 + np.sin(t) + noise[i],
            }
        )
        for i, name in enumerate(("a", "b"))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def ridge() -> forecast.Model:
    return forecast.fit(waves(), "ridge", **STEP)


def falling_sales() -> pd.DataFrame:
    """Sales that have fallen to zero, with intervals that reach below it."""
    sales = np.concatenate([np.full(60, 100.0), 50 + 50 * np.cos(np.arange(60) / 19)]).round()
    return pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=120), "y": sales})


@pytest.mark.parametrize(
    ("options", "lowest"),
    [
        ({}, 0),
        ({"minimum": -0.5}, -0.5),
        ({"minimum": -np.inf}, -np.inf),
        ({"target_col": "growth"}, -np.inf),
    ],
)
def test_sales_are_forecast_below_zero_only_where_that_is_asked_for(options, lowest):
    frame = falling_sales().rename(columns={"y": options.get("target_col", "y")})
    model = forecast.fit(frame, "ridge", freq="1D", horizon=14, n_jobs=1, **options)
    low = model.predict(levels=80)["ridge-lo-80"].min()
    assert low == lowest if np.isfinite(lowest) else low < 0


def test_a_target_that_was_never_zero_has_no_bound_that_its_winter_would_break():
    summer = falling_sales().assign(y=lambda frame: frame["y"] + 1)
    model = forecast.fit(summer, "naive", freq="1D", horizon=14, n_jobs=1)
    summer.loc[119, "y"] = -3
    assert model.predict(summer)["naive"].max() == -3


def test_a_value_below_the_minimum_is_refused_with_what_to_pass():
    frame = falling_sales()
    model = forecast.fit(frame, "naive", freq="1D", horizon=14, n_jobs=1)
    frame.loc[119, "y"] = -3
    with pytest.raises(InputError, match=r"bounds 0 to inf.* or fit with another `minimum`"):
        model.predict(frame)
    fitted = forecast.fit(frame, "naive", freq="1D", horizon=14, n_jobs=1)
    assert fitted.predict()["naive"].max() == -3


@pytest.mark.parametrize("model", ["ridge", "boosting", "tdnn"])
def test_what_began_in_the_newest_rows_is_learnt(model):
    """Promotions exist in the newest 30 of 300 days alone: those that validation does not see."""
    days = 307
    rng = np.random.default_rng(3)
    promotion = (rng.random(days) < 0.4) & (np.arange(days) >= days - 37)
    promotion[-7:] = [True, False] * 3 + [True]
    df = pd.DataFrame(
        {
            "unique_id": "shop",
            "ds": pd.date_range("2024-01-01", periods=days),
            "promotion": promotion.astype(float),
            "y": 100 + 40 * promotion + rng.normal(0, 2, days),
        }
    )
    df.loc[df.index[-7:], "y"] = np.nan
    options = {"freq": "1D", "horizon": 7, "lookback": 14, "n_jobs": 1}
    seeds = 1 if model == "tdnn" else None
    fitted = forecast.fit(df, model, future_exogenous="promotion", seeds=seeds, **options)
    y_hat = fitted.predict()[model].to_numpy()
    raised_by = y_hat[promotion[-7:]].mean() - y_hat[~promotion[-7:]].mean()
    assert 20 < raised_by < 60


def test_windows_end_with_the_data_and_stand_step_size_apart(ridge: forecast.Model) -> None:
    windows = ridge.cross_validation(step_size=5, n_windows=4, levels=[80])
    assert list(windows.columns) == [
        "unique_id",
        "ds",
        "cutoff",
        "y",
        "ridge",
        "ridge-lo-80",
        "ridge-hi-80",
    ]
    last = pd.Timestamp("2024-01-01") + pd.Timedelta(199, "D")
    for _, rows in windows.groupby("unique_id"):
        assert rows["ds"].max() == last and len(rows) == 4 * 3
        assert np.diff(rows["cutoff"].unique()).astype("timedelta64[D]").astype(int).tolist() == [
            5,
            5,
            5,
        ]
    observed = waves().set_index(["unique_id", "ds"])["y"]
    assert (
        windows["y"].tolist()
        == observed.loc[pd.MultiIndex.from_frame(windows[["unique_id", "ds"]])].tolist()
    )
    assert (windows["ridge-lo-80"] < windows["ridge"]).all() and (
        windows["ridge"] < windows["ridge-hi-80"]
    ).all()


@pytest.mark.parametrize(
    ("options", "n_left"),
    [({"n_windows": 500}, 0), ({"n_windows": 2, "step_size": 190}, 7)],
)
def test_windows_that_leave_too_few_rows_to_fit_name_the_rows_and_what_to_lower(
    ridge: forecast.Model, options: dict[str, int], n_left: int
) -> None:
    words = f"^Fitted on {n_left} of 200 rows, .*lower `n_windows` or `step_size`"
    with pytest.raises((InputError, ModelError), match=words) as fault:
        ridge.cross_validation(**options)
    assert "splits" not in str(fault.value)
    assert ("of 200 steps" in str(fault.value)) == (n_left > 0), "0 rows and 1 step are one number"


@pytest.mark.filterwarnings("ignore:df. 36 rows are too few to test 12")
def test_rows_too_few_for_a_single_window_are_told_with_what_makes_one_possible() -> None:
    df = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=36, freq="MS")})
    df["y"] = np.arange(36) % 12.0
    options: dict[str, Any] = {"freq": "MS", "n_jobs": 1}
    with pytest.raises(InputError) as fault:
        forecast.fit(df, "seasonal_naive", horizon=12, **options).cross_validation()
    assert str(fault.value).startswith("Fitted on 24 of 36 rows, those before the first window: df")
    assert str(fault.value).endswith("fit with a shorter `horizon`, or with more rows.")
    assert "n_windows" not in str(fault.value)
    shorter = forecast.fit(df, "seasonal_naive", horizon=3, **options)
    assert len(shorter.cross_validation()) == 3


def test_a_network_that_did_not_train_says_so_when_it_is_fitted_and_shown() -> None:
    line = waves()[:120].assign(y=np.arange(120.0))
    network = {"family": "elman", "units": 2}
    budget = {"n_trials": 1, "trial_steps": 1, "final_steps": 2, "evaluate_every": 2}
    with pytest.warns(UserWarning, match="elman did not train: .* than ridge alone"):
        model = forecast.fit(line, network, season_length=1, tuning=budget, **STEP)
    assert repr(model).endswith("series=1, did not train)")


@pytest.mark.filterwarnings("ignore:df. ffnn did not train")  # in two steps
@pytest.mark.parametrize(("budget", "is_searched"), [({}, False), ({"n_trials": 1}, True)])
def test_steps_alone_ask_for_no_search(
    budget: dict[str, int], is_searched: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    network = {"family": "ffnn", "units": 2}
    model = forecast.fit(waves(), network, tuning={"final_steps": 2, **budget}, **STEP)
    assert ("tune df" in capfd.readouterr().err) == is_searched
    assert all(forecaster.steps <= 2 for forecaster in model.ensemble.forecasters)


SHORT = {"final_steps": 2, "evaluate_every": 1}


@pytest.mark.parametrize(
    ("seeds", "n_fits"),
    [({}, 1), ({"seeds": 3}, 1), ({"seeds": [0, 1]}, 2), ({"tuning": {"seeds": [4, 5]}}, 2)],
    ids=["none", "one", "an argument", "a key"],
)
def test_a_network_is_fitted_once_per_seed_wherever_the_seeds_stand(
    seeds: dict[str, Any], n_fits: int
) -> None:
    network = {"family": "narx", "units": 2, "trainer": "lm"}
    model = forecast.fit(waves(60), network, **STEP, **seeds)
    assert len(model.ensemble.forecasters) == n_fits


@pytest.mark.filterwarnings("ignore:df. (ffnn|mine) did not train")  # in two steps
@pytest.mark.parametrize(
    ("entry", "fixed"),
    [
        ({"units": 3, "dropout": 0.05}, {"units", "dropout"}),
        ({"units": 3, "name": "mine"}, {"units"}),
        ({}, set()),
    ],
)
def test_a_search_leaves_what_the_caller_wrote_and_covers_the_rest(
    entry: dict[str, Any], fixed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = []
    write = StudyRecord.write
    monkeypatch.setattr(
        StudyRecord, "write", lambda *arguments: studies.append(arguments[0]) or write(*arguments)
    )
    budget = {**SHORT, "n_trials": 2, "trial_steps": 1}
    model = forecast.fit(waves(60), {"family": "ffnn", **entry}, **STEP, tuning=budget)
    (trials,) = {study.study: study.trials for study in studies}.values()
    searched = {"learning_rate", "dropout", "units"} - fixed
    assert len(trials) == 2 and all(trial.params.keys() == searched for trial in trials)
    assert len({trial.params["learning_rate"] for trial in trials}) == 2
    for name in fixed:
        assert getattr(model.ensemble.forecasters[0].spec, name) == entry[name]


@pytest.mark.parametrize(
    ("model", "fixed"),
    [("narx_lm", []), ({"family": "narx", "units": 8}, ["narx"])],
    ids=["the catalogue", "the caller"],
)
def test_a_search_starts_from_the_values_of_the_catalogue_and_holds_the_callers(
    model: Any, fixed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(setup: Setup, *, jobs: int) -> None:
        raise InputError(f"held: {setup.models_with_fixed_values}")

    monkeypatch.setattr("forecast.api.stages.tune_candidates", stop)
    with pytest.raises(InputError, match=re.escape(f"held: {fixed}")):
        forecast.fit(waves(60), model, **STEP, tuning="quick")


@pytest.mark.parametrize(
    ("model", "budget"),
    [
        ("gru", {"base_seed": 1}),
        ("gru", {"base_seed": 1, "final_steps": 2}),
        ("boosting", {"base_seed": 1}),
    ],
)
def test_a_seed_of_trials_without_trials_is_refused_with_what_asks_for_them(
    model: str, budget: dict[str, int]
) -> None:
    with pytest.raises(
        InputError, match=rf"'base_seed' has no effect on '{model}', .* To search, pass `n_trials`"
    ):
        forecast.fit(waves(60), model, **STEP, tuning=budget)


@pytest.mark.parametrize("model", ["ridge", "boosting", "auto_ets"])
def test_several_seeds_of_a_model_without_seeds_are_refused(model: str) -> None:
    with pytest.raises(InputError, match=f"'seeds' has no effect on '{model}'"):
        forecast.fit(waves(60), model, **STEP, seeds=[0, 1])


BUDGET_KEYS = {
    "n_trials": 2,
    "trial_steps": 3,
    "final_steps": 3,
    "evaluate_every": 1,
    "seeds": [0, 1],
    "base_seed": 1,
}


def reads_key(spec: ModelSpec, key: str) -> bool:
    if key == "seeds":
        return spec.is_seeded
    return bool(spec.search_space()) if key in ("n_trials", "base_seed") else spec.is_network


# networks have seeds, steps and a search; regressors a search; the others none of it
@pytest.mark.parametrize("family", ["gru", "sklearn", "ridge"])
def test_a_key_of_the_budget_that_a_model_does_not_read_is_refused(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise InputError("taken")

    monkeypatch.setattr("forecast.api.fitting.fit_with_default_splits", stop)
    fitted = spec({"family": family}, where="test")
    for key, value in BUDGET_KEYS.items():
        asks = {"n_trials": 1} if key == "base_seed" else {}
        words = "taken"
        if not reads_key(fitted, key):
            words = rf".*'{key}'.* no effect on '{family}'.* leave it out"
        with pytest.raises(InputError, match=words):
            forecast.fit(waves(60), {"family": family}, **STEP, tuning={**asks, key: value})


def test_a_window_is_forecast_by_a_model_that_saw_nothing_of_it(ridge: forecast.Model) -> None:
    changed = waves()
    changed.loc[changed["ds"] > changed["ds"].max() - pd.Timedelta(3, "D"), "y"] += 100.0
    with pytest.warns(UserWarning, match="far from all before them"):
        windows = forecast.fit(changed, "ridge", **STEP).cross_validation(n_windows=1)
    assert windows["ridge"].tolist() == ridge.cross_validation(n_windows=1)["ridge"].tolist()


@pytest.mark.parametrize(
    ("model", "n_days", "options"),
    [
        ("ridge", 200, STEP),
        ("seasonal_naive", 70, {"freq": "1D", "horizon": 12, "n_jobs": 1}),
    ],
    ids=["all given", "more steps than can be tested"],
)
def test_windows_are_what_a_fit_on_the_rows_before_them_predicts(model, n_days, options) -> None:
    df = waves(n_days).assign(promo=lambda rows: (rows["y"] > 5.5).astype(float))
    options = {**options, "future_exogenous": "promo"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        windows = forecast.fit(df, model, **options).cross_validation(n_windows=3, levels=[80])
        known = df[df["ds"] <= windows["cutoff"].min()]
        by_hand = forecast.fit(known, model, **options)
    for cutoff, window in windows.groupby("cutoff"):
        rows = df.assign(y=df["y"].where(df["ds"] <= cutoff))
        expected = by_hand.predict(rows, levels=[80]).drop(columns=["unique_id", "ds"])
        selected = window[expected.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(selected, expected, rtol=1e-9)


def test_a_week_that_the_rows_show_is_an_input_where_no_features_are_named() -> None:
    busy = waves().assign(y=lambda rows: rows["y"] + 5.0 * (rows["ds"].dt.day_of_week < 5))
    for df, features in ((waves(), ()), (busy, ("day_of_week",))):
        model = forecast.fit(df, "naive", freq="1D", horizon=3, n_jobs=1)
        assert model.ensemble.task.calendar_features == features


def test_a_payday_that_the_rows_show_is_an_input_and_raises_its_forecast() -> None:
    days = 755  # up to 24 January 2026
    paid = waves(days).assign(y=lambda rows: rows["y"] + 9.0 * (rows["ds"].dt.day == 25))
    model = forecast.fit(paid, "ridge", freq="1D", horizon=3, n_jobs=1)
    assert model.ensemble.task.calendar_features == ("day_of_year", "day_of_month")
    forecasts = model.predict()["ridge"].to_numpy().reshape(2, 3)
    expected = 5 + np.sin(days + np.arange(3)) + [9, 0, 0]
    np.testing.assert_allclose(forecasts, [expected, expected], atol=0.5)


def test_later_data_move_the_forecast_on_without_another_fit(ridge: forecast.Model) -> None:
    forecasts_later = ridge.predict(waves(203))
    assert forecasts_later["ds"].min() == pd.Timestamp("2024-01-01") + pd.Timedelta(203, "D")
    same = forecast.fit(waves(), "ridge", **STEP).predict(waves(203))
    pd.testing.assert_frame_equal(forecasts_later, same)


def test_a_forecast_that_follows_a_hole_in_an_input_warns_that_an_older_value_stands_in() -> None:
    sunny = waves().assign(sun=lambda frame: np.arange(len(frame)) % 5.0)
    sunny.loc[[0, 1], "sun"] = np.nan  # so that gaps are allowed
    model = forecast.fit(sunny, "ridge", **STEP, past_exogenous=["sun"])
    model.predict()
    assert sunny.at[len(sunny) - 1, "unique_id"] == "b"
    sunny.loc[len(sunny) - 1, "sun"] = np.nan
    with pytest.warns(
        UserWarning,
        match="last row: 1 value, such as 'sun' of 'b'. Where the model reads one, it uses",
    ):
        model.predict(sunny)


@pytest.mark.filterwarnings("ignore:df. 1 series not scored")  # b, which ends early
def test_rows_without_any_target_behind_the_last_one_do_not_move_the_start_of_a_forecast() -> None:
    whole = waves(200).assign(wind=1.0 * np.arange(400))
    b_ends_early = (whole["unique_id"] == "b") & (whole["ds"] >= "2024-07-01")
    with_tail = whole[~b_ends_early]
    with_tail = with_tail.assign(y=with_tail["y"].where(with_tail["ds"] < "2024-07-10"))
    df = with_tail[with_tail["ds"] < "2024-07-10"]
    options = {**STEP, "past_exogenous": "wind", "model": "ridge"}
    with pytest.warns(UserWarning, match="1 series not scored"):
        plain = forecast.fit(df, **options)
    words = "starts after 2024-07-09, the last time with a target; .* left out: 9"
    with (
        pytest.warns(UserWarning, match=words),
        pytest.warns(UserWarning, match="1 series not scored"),
    ):
        model = forecast.fit(with_tail, **options)
    expected = plain.predict()
    starts = expected.groupby("unique_id")["ds"].min().tolist()
    assert starts == [pd.Timestamp("2024-07-10"), pd.Timestamp("2024-07-01")]
    assert model.predict().equals(expected)
    with pytest.warns(UserWarning, match=words):
        forecasts_again = plain.predict(with_tail)
    assert forecasts_again.equals(expected)


def test_past_inputs_behind_the_last_target_move_no_start_where_plans_stand_there_too() -> None:
    whole = waves(200).assign(wind=1.0 * np.arange(400), plan=np.arange(400) % 7.0)
    df = whole.assign(
        y=whole["y"].where(whole["ds"] < "2024-07-10"),
        wind=whole["wind"].where(whole["ds"] < "2024-07-11"),
    )
    options = {**STEP, "past_exogenous": "wind", "future_exogenous": "plan", "model": "ridge"}
    words = "starts after 2024-07-09, the last time with a target; .* 'wind' are left out: 2"
    plain_df = df.assign(wind=df["wind"].where(df["ds"] < "2024-07-10"))
    plain = forecast.fit(plain_df, **options)
    expected = plain.predict()
    assert expected["ds"].min() == pd.Timestamp("2024-07-10")
    with pytest.warns(UserWarning, match=words):
        model = forecast.fit(df, **options)
    assert model.predict().equals(expected)
    with pytest.warns(UserWarning, match=words):
        assert plain.predict(df).equals(expected)


def test_times_come_back_in_the_zone_of_the_frame_across_a_change_of_the_clock() -> None:
    hours = pd.date_range("2024-03-19", periods=300, freq="h", tz="Europe/Berlin")
    panel = pd.concat([pd.DataFrame({"shop": name, "at": hours}) for name in ("a", "b")])
    panel = panel.assign(y=np.random.default_rng(0).standard_normal(600))
    known = panel[panel["at"] < "2024-03-31 01:00"]
    options = {"freq": "1h", "horizon": 3, "id_col": "shop", "time_col": "at", "n_jobs": 1}
    model = forecast.fit(known, "ridge", **options)
    answer = panel.merge(model.predict(), on=["shop", "at"])
    assert answer["at"].dt.hour.tolist() == [1, 3, 4] * 2  # no two o'clock on that day
    windows = model.cross_validation(n_windows=2)
    assert len(panel.merge(windows, on=["shop", "at", "y"])) == len(windows) == 12
    assert windows["cutoff"].dt.tz == windows["at"].dt.tz == hours.tz
    watched = model.watch(panel, newest=5)
    assert len(panel.merge(watched, on=["shop", "at", "y"])) == 10
    assert model.explain(known)["at"].dt.tz == hours.tz


def test_the_zone_of_a_forecast_is_that_of_the_history_it_is_from(tmp_path: Path) -> None:
    df = waves().assign(ds=lambda rows: rows["ds"].dt.tz_localize("UTC"))
    forecast.fit(df, "ridge", **STEP).save(tmp_path / "ridge")
    loaded = forecast.load(tmp_path / "ridge")
    assert str(loaded.predict(df)["ds"].dt.tz) == "UTC"
    assert loaded.predict(waves())["ds"].dt.tz is None
    of_offset = df.assign(ds=df["ds"].dt.tz_convert("-03:00"))
    assert len(of_offset.merge(loaded.predict(of_offset[:-5]), on=["unique_id", "ds"])) == 3


def test_the_forecast_of_a_short_history_is_that_of_the_whole_one(ridge: forecast.Model) -> None:
    tail = waves().groupby("unique_id").tail(14)
    pd.testing.assert_frame_equal(ridge.predict(tail, levels=[80]), ridge.predict(levels=[80]))
    with pytest.raises(InputError, match=r"13 .*14"):
        ridge.predict(waves().groupby("unique_id").tail(13))


@pytest.mark.parametrize(
    "frame", [waves(), waves(14), waves().query("unique_id == 'a'").drop(columns="unique_id")]
)
def test_a_plain_frame_and_one_that_needs_mending_give_the_same_forecast_to_the_bit(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        **STEP,
        "calendar_features": ["day_of_week", "day_of_year"],
        "season_length": 1,
        "tuning": None,
    }
    training = frame if len(frame) > 30 else waves()
    model = forecast.fit(training, {"family": "ridge"}, **options)
    checked: list[object] = []
    monkeypatch.setattr(
        forecast.Model, "_checked_panel", lambda *arguments: checked.append(arguments)
    )
    quick = model.predict(frame, levels=[80])
    assert not checked
    monkeypatch.undo()
    pd.testing.assert_frame_equal(
        quick, model.predict(frame.sample(frac=1.0), levels=[80]), check_exact=True
    )


def test_a_saved_model_forecasts_what_it_did_and_keeps_the_names(
    ridge: forecast.Model, tmp_path: Path
) -> None:
    theirs = waves().rename(columns={"unique_id": "shop", "ds": "day", "y": "sales"})
    model = forecast.fit(theirs, "ridge", **STEP, id_col="shop", time_col="day", target_col="sales")
    model.save(tmp_path / "ridge")
    loaded = forecast.load(tmp_path / "ridge")
    expected = ridge.predict(levels=[80, 95]).rename(columns={"unique_id": "shop", "ds": "day"})
    pd.testing.assert_frame_equal(loaded.predict(theirs, levels=[80, 95]), expected)
    with pytest.raises(
        InputError, match=r"loaded without its data. Pass a history: `model.predict\(df\)`"
    ):
        loaded.predict()
    with pytest.raises(InputError, match=r"loaded without its data.*`forecast.fit\(df, ...\)`"):
        loaded.cross_validation()
    with pytest.raises(InputError, match=r"wanted a folder that `model.save` made"):
        forecast.load(tmp_path)
    (tmp_path / "ridge" / "calibration.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"calibration.npz is missing or not the file"):
        forecast.load(tmp_path / "ridge")


def test_only_the_fit_on_all_rows_is_calibrated_of_the_two_that_a_call_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calibrated: list[int] = []
    real = ensemble.calibrate_intervals

    def note(forecasts: pd.DataFrame, task: Task) -> Any:
        calibrated.append(len(forecasts))
        return real(forecasts, task)

    monkeypatch.setattr(ensemble, "calibrate_intervals", note)
    model = forecast.fit(waves(), "ridge", **STEP)
    assert len(calibrated) == 1
    assert not model.predict(levels=80).isna().any(axis=None)


def test_a_fit_digests_no_code_since_no_other_call_finds_its_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("forecast.system.code_closure.follow_imports")
    assert len(forecast.fit(waves(), "ridge", **STEP).predict()) == 6


def test_a_network_is_fitted_on_every_core_where_these_are_asked_for_as_minus_one() -> None:
    options: dict[str, Any] = {**STEP, "n_jobs": -1, "tuning": {"final_steps": 2}}
    with pytest.warns(UserWarning, match="did not train"):  # in so few steps
        model = forecast.fit(waves(), "ffnn", **options)
    assert len(model.predict()) == 6


def test_a_network_without_gradient_steps_loads_no_tensorflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtest, "load_tensorflow", lambda: pytest.fail("it takes six seconds"))
    lm = {"family": "narx", "trainer": "lm", "units": 2}
    assert len(forecast.fit(waves(), lm, **STEP).predict()) == 6


def test_many_short_series_have_intervals_of_95_percent_saved_or_not(tmp_path: Path) -> None:
    t = np.arange(60)
    parts = []
    for number in range(10):
        noise = np.random.default_rng(number).standard_normal(60)
        y = 2.0**number * (10 + np.sin(t * np.pi / 6) + noise)
        ds = pd.date_range("2019-01-01", periods=60, freq="MS")
        parts.append(pd.DataFrame({"unique_id": f"shop {number}", "ds": ds, "y": y}))
    months = pd.concat(parts, ignore_index=True)
    model = forecast.fit(months, "ridge", freq="MS", horizon=3, lookback=12, n_jobs=1)
    forecasts = model.predict(levels=[95])
    width = forecasts["ridge-hi-95"] - forecasts["ridge-lo-95"]
    by_series = width.groupby(forecasts["unique_id"]).mean().to_numpy()
    assert (by_series[1:] > by_series[:-1]).all()
    model.save(tmp_path / "ridge")
    loaded = forecast.load(tmp_path / "ridge")
    pd.testing.assert_frame_equal(loaded.predict(months, levels=[95]), forecasts)


def test_saving_never_replaces_what_is_no_saved_model(
    ridge: forecast.Model, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for place in ("mine", "mine/notes.txt"):
        with pytest.raises(
            InputError, match="found something else there, wanted a new folder or a saved model"
        ):
            ridge.save(tmp_path / place)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    for _ in range(2):  # a saved model is replaced
        ridge.save(tmp_path / "ridge")


def test_a_rule_goes_on_beyond_its_horizon_and_a_direct_model_does_not(
    ridge: forecast.Model,
) -> None:
    assert len(forecast.fit(waves(), "naive", **STEP).predict(horizon=7)) == 2 * 7
    with pytest.raises(InputError, match="Horizon 7: the model"):
        ridge.predict(horizon=7)


def test_several_targets_stand_below_each_other_by_name() -> None:
    both = waves().assign(z=lambda frame: 2 * frame["y"])
    forecasts = forecast.fit(both, "naive", **STEP, target_col=["y", "z"]).predict()
    assert list(forecasts.columns) == ["unique_id", "output", "ds", "naive"]
    values = forecasts.set_index(["unique_id", "output"])["naive"]
    assert values["a", "z"].tolist() == (2 * values["a", "y"]).tolist()


def test_nothing_is_written_beside_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path / "here")
    board = forecast.compare(waves(), ["naive"], **STEP)
    forecast.fit(waves(), "naive", **STEP).cross_validation(n_windows=2)
    assert (
        list((tmp_path / "here").iterdir()) == [] and len(list((tmp_path / "work").iterdir())) == 1
    )
    report = board.report(tmp_path / "here" / "report.html")
    assert "naive" in report.read_text() and board.plot().axes
    del board
    gc.collect()  # the first import of matplotlib leaves the frame that asked for it in a cycle
    assert list((tmp_path / "work").iterdir()) == []


def test_the_callers_environment_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    forecast.fit(waves(), "naive", **STEP)
    assert dict(os.environ) == before


def test_other_threads_keep_the_environment_while_it_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removed: list[bytes] = []
    unset = os.unsetenv
    with _restored_environment():
        monkeypatch.setattr("os.unsetenv", lambda name: (removed.append(name), unset(name)))
        os.environ["ADDED_BY_A_STAGE"] = "1"
    assert removed == [b"ADDED_BY_A_STAGE"]


def test_an_exchange_calendar_knows_no_weekends() -> None:
    days = pd.bdate_range("2023-01-02", "2023-12-29")
    days = days[
        ~days.isin(
            pd.to_datetime(
                [
                    "2023-01-02",
                    "2023-01-16",
                    "2023-02-20",
                    "2023-04-07",
                    "2023-05-29",
                    "2023-06-19",
                    "2023-07-04",
                    "2023-09-04",
                    "2023-11-23",
                    "2023-12-25",
                ]
            )
        )
    ]
    prices = pd.DataFrame({"unique_id": "x", "ds": days, "y": 100.0 + np.arange(len(days))})
    calendar = {"kind": "sessions", "exchange": "XNYS"}
    forecasts = forecast.fit(
        prices, "naive", freq=calendar, horizon=2, transform="log", difference_inputs=True
    ).predict()
    assert forecasts["ds"].dt.strftime("%Y-%m-%d").tolist() == ["2024-01-02", "2024-01-03"]


def test_bars_of_a_day_are_forecast_for_the_hours_of_the_next_session() -> None:
    days = pd.bdate_range("2024-01-01", "2024-03-08", tz="America/New_York")
    bars = [day + pd.Timedelta(minutes=570 + 60 * bar) for day in days for bar in range(7)]
    volume = np.random.default_rng(3).lognormal(size=len(bars))
    rows = pd.DataFrame({"ds": bars, "y": volume})
    hours = {"days": ["mon", "tue", "wed", "thu", "fri"], "first": "09:30", "last": "15:30"}
    calendar = {
        "kind": "regular",
        "freq": "1h",
        "opening_hours": {**hours, "time_zone": "America/New_York"},
    }
    model = forecast.fit(rows, "seasonal_naive", freq=calendar, horizon=8)
    forecasts = model.predict().set_index("ds")["seasonal_naive"]
    monday = [f"2024-03-11 {hour:02}:30" for hour in range(9, 16)]
    assert forecasts.index.strftime("%Y-%m-%d %H:%M").tolist() == [*monday, "2024-03-12 09:30"]
    assert forecasts.tolist() == pytest.approx([*volume[-7:], volume[-7]])


@pytest.mark.parametrize(
    ("freq", "season"),
    [
        ("1h", 24),
        ("15min", 96),
        ("1D", 7),
        ("24h", 7),
        ("2D", 7),
        ("36h", 1),
        ("7D", 52),
        ("W-SUN", 52),
        ("10D", 37),
        ("14D", 26),
        ("336h", 26),
        ("3W", 17),
        ("28D", 13),
        ("365D", 1),
        ("MS", 12),
        ("QS", 4),
        ("YS", 1),
        ("B", 5),
    ],
)
def test_the_usual_season_follows_from_the_step(freq: str, season: int) -> None:
    times = pd.date_range("1900-01-01", periods=5 * max(season, 60), freq=freq)
    rows = pd.DataFrame({"ds": times, "y": np.random.default_rng(1).standard_normal(len(times))})
    task = forecast.fit(rows, "naive", freq=freq, horizon=2, n_jobs=1).ensemble.task
    assert task.season_length == season and season <= task.lookback <= len(times) // 4


def test_three_years_of_months_are_fitted_half_a_year_ahead_with_their_season() -> None:
    months = pd.date_range("2020-01-01", periods=36, freq="MS")
    df = waves(36)[:36].assign(ds=months)
    with pytest.warns(UserWarning, match="`predict` will refuse `levels`"):
        model = forecast.fit(df, "ridge", freq="MS", horizon=6, season_length=12, n_jobs=1)
    assert model.ensemble.task.lookback == 12 and model.ensemble.task.season_length == 12
    assert len(model.predict()) == 6


@pytest.mark.parametrize("model", ["auto_ets", "auto_theta", "mstl"])
def test_sixty_months_are_forecast_as_by_statsforecast_from_all_of_them(model: str) -> None:
    methods = pytest.importorskip("statsforecast.models")
    t = np.arange(60)
    noise = np.random.default_rng(7).standard_normal(60)
    y = 100 * (1 + 0.3 * np.sin(2 * np.pi * t / 12) + 0.004 * t) * np.exp(0.08 * noise)
    df = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=60, freq="MS"), "y": y})
    theirs = {"auto_ets": "AutoETS", "auto_theta": "AutoTheta", "mstl": "MSTL"}[model]
    ours = forecast.fit(df, model, freq="MS", horizon=6, n_jobs=1)
    # its search ends by an error in the unit of the values
    (scale,) = ours.ensemble.scaling.scale["series"]
    unit = scale / auto_theta.FINE_UNIT
    expected = getattr(methods, theirs)(season_length=12).fit(y / unit).predict(6)["mean"] * unit
    np.testing.assert_allclose(ours.predict()[model], expected, rtol=1e-6)


def test_a_combination_of_the_catalogue_takes_those_of_its_members_that_are_asked_for() -> None:
    board = forecast.compare(waves(), ["naive", "ridge", "arx", "stacked"], **STEP, tuning="quick")
    assert board.leaderboard.set_index("model").loc["stacked", "status"] == "ok"
    left_out = "left out: nlinear, climatology_ar, boosting, boosting_last (not in this run)"
    assert any(left_out in verdict for verdict in board.verdicts)
    with pytest.raises(
        InputError,
        match=r"'stacked' is a combination of .*`board.model\('stacked'\).predict\(\)`",
    ):
        forecast.fit(waves(), "stacked", **STEP)
    assert len(board.model("stacked").predict()) == 6


@pytest.mark.parametrize(("family", "row"), [("ffnn", "ridge"), ("jordan", "arx")])
def test_a_network_fitted_again_stands_beside_its_linear_part_fitted_as_often(
    family: str, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[dict[str, object]] = []

    def planning(setup: Setup, *_: object, **__: object) -> None:
        candidates = plan_candidates(setup.models, season_length=7).candidates
        planned.append(
            {candidate.model: candidate.spec.refit_frequency for candidate in candidates}
        )
        raise InputError("planned")

    monkeypatch.setattr("forecast.api.stages.tune_candidates", planning)
    entry = {"family": family, "units": 2, "refit": 5}
    for function in (forecast.fit, forecast.compare):
        with pytest.raises(InputError, match="planned"):
            function(
                waves(), entry if function is forecast.fit else [entry], **STEP, tuning="quick"
            )
    once, often = "never", 5
    assert planned[0] == {family: often}
    assert planned[1] == {
        **dict.fromkeys(REFERENCE_MODELS, once),
        family: often,
        row: often,
    }


def counted_rows(rows: int = 300, step: int = 1) -> pd.DataFrame:
    """Two series whose `ds` counts rows from 7 on."""
    frame = waves(rows)
    return frame.assign(ds=step * (7 + frame.groupby("unique_id").cumcount()))


COUNTED = {"freq": 1, "horizon": 3, "lookback": 14, "n_jobs": 1}


def test_counted_rows_are_forecast_and_scored_by_their_numbers(tmp_path: Path) -> None:
    model = forecast.fit(counted_rows(), "ridge", **COUNTED)
    ahead = model.predict()
    assert ahead["ds"].tolist() == [307, 308, 309] * 2
    windows = model.cross_validation(step_size=5, n_windows=2)
    assert sorted(windows["cutoff"].unique()) == [298, 303]
    assert (windows["ds"] - windows["cutoff"]).unique().tolist() == [1, 2, 3]
    model.save(tmp_path / "model")
    forecasts_again = forecast.load(tmp_path / "model").predict(counted_rows())
    pd.testing.assert_frame_equal(forecasts_again, ahead)
    dated = forecast.fit(waves(300), "ridge", **STEP, calendar_features=(), season_length=1)
    np.testing.assert_allclose(ahead["ridge"], dated.predict()["ridge"])


@pytest.mark.parametrize(
    ("frame", "options", "patterns"),
    [
        (counted_rows(step=2), {}, ("counts in steps of 2", "df['ds'] // 2")),
        (
            pd.concat([counted_rows(), counted_rows().head(1)]),
            {},
            ("series 'a', ds=7", "wanted once"),
        ),
        (
            counted_rows().query("ds < 57 or ds >= 207"),
            {},
            ("150 of 300 time steps", "begin later."),
        ),
        (
            counted_rows(),
            {"calendar_features": ["hour_of_day"]},
            ("counted rows have no calendar",),
        ),
        (counted_rows(), {"freq": "1D"}, ("holds numbers", "pass `freq=1`")),
    ],
    ids=["steps of two", "twice", "a long gap", "a calendar", "a step of time"],
)
def test_what_is_wrong_with_counted_rows_is_told_by_their_numbers(
    frame: pd.DataFrame, options: dict, patterns: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as raised:
        forecast.fit(frame, "ridge", **{**COUNTED, **options})
    assert all(words in str(raised.value) for words in patterns) and "1970" not in str(raised.value)


NETWORK = {"family": "mlp", "units": 2, "refit": "monthly"}


@pytest.mark.parametrize(
    ("models", "options", "pattern"),
    [
        (
            "ridge",
            {"splits": {"train": 0.9, "validation": 0.01, "calibration": 0.04}},
            "move `splits`, or fit",
        ),
        (
            "ridge",
            {"past_exogenous": [{"column": "wind", "max_missing": 0.0}]},
            "{'column': 'wind', 'max_missing': 0.04}",
        ),
        (["ridge", NETWORK], {}, "model 'ridge' is the linear part of the networks"),
        (["ridge", {"family": "combination", "members": ["other"]}], {}, "model 'combination'"),
    ],
    ids=["blocks", "missing values", "refits", "members"],
)
def test_messages_of_the_stages_name_arguments_and_no_file(
    models: object, options: dict, pattern: str
) -> None:
    frame = waves()
    frame = frame.assign(wind=np.where(frame.index % 25 == 3, np.nan, frame["y"]))
    with pytest.raises(InputError) as raised:
        forecast.compare(frame, models, **STEP, **options)
    message = str(raised.value)
    assert pattern in message
    assert "yaml" not in message and "data/" not in message and "Dataset" not in message


def test_the_leaderboard_of_several_series_has_no_empty_columns() -> None:
    board = forecast.compare(waves(), ["ridge"], **STEP)
    table = board.leaderboard
    assert not table.isna().all().any()
    assert not table.filter(regex="^(?!vs_|scaled_crps)").isna().any().any()
    assert "mase" in table and "mae" not in table and "mase" in repr(board)
    one_series = waves().query("unique_id == 'a'")
    table_of_one = forecast.compare(one_series, ["ridge"], **STEP).leaderboard
    assert "mae" in table_of_one
    numbers = table_of_one.filter(regex="^winkler_|^crps$")
    assert "crps" in numbers and (numbers.dtypes == "float64").all()


def test_returns_are_judged_by_their_average_and_prices_by_the_last_one_or_their_drift() -> None:
    days = pd.bdate_range("2020-01-01", periods=600)
    returns = np.random.default_rng(0).normal(0.0, 0.01, len(days))
    series = pd.DataFrame({"unique_id": "a", "ds": days, "y": returns})
    options = {"freq": "B", "horizon": 1, "lookback": 10, "season_length": 1, "n_jobs": 1}
    board = forecast.compare(series, ["ridge"], **options)
    words = board.leaderboard.set_index("model")["vs_bar"]
    assert board.bar.startswith("historical_") and words["naive"] == "worse"
    assert words["ridge"] in ("equivalent", "not distinguishable")
    assert "better than repeating the last value" not in "".join(board.verdicts)
    prices = series.assign(y=100 * np.exp(returns.cumsum()))
    drifting = {"transform": "log", "difference_inputs": True}
    board = forecast.compare(prices, ["ridge"], **options, **drifting)
    assert board.bar in ("naive", "historical_mean", "historical_median")
    assert "better" not in set(board.leaderboard["vs_bar"])


@pytest.mark.parametrize("pooled", [False, True])
def test_later_observations_that_the_model_cannot_explain_are_alarms(
    ridge: forecast.Model, pooled: bool
) -> None:
    new_rows = waves(230)
    fault = pd.Timestamp("2024-01-01") + pd.Timedelta(220, "D")
    is_fault = (new_rows["ds"] == fault) & (new_rows["unique_id"] == "b")
    new_rows.loc[is_fault, "y"] += 5.0
    judged = ridge.watch(new_rows, newest=20, pooled=pooled)
    assert list(judged.columns) == ["unique_id", "ds", "y", "ridge", "p", "alarm_level", "alarm"]
    assert len(judged) == 40
    alarms = judged[judged["alarm"]]
    assert ("b", fault) in set(zip(alarms["unique_id"], alarms["ds"], strict=True))
    smallest = judged["p"].min()
    assert (
        judged.loc[(judged["ds"] == fault) & (judged["unique_id"] == "b"), "p"].item() == smallest
    )
    with pytest.raises(InputError, match=r"row \d+|history"):
        ridge.watch(new_rows, newest=225)
    for rate, message in ((150, "Rate 150 %: wanted above 0 and below 100"), (0.1, "Rate 0.1 %: ")):
        with pytest.raises(InputError, match=message):
            ridge.watch(new_rows, newest=20, rate=rate, pooled=pooled)


def test_the_parts_of_a_forecast_sum_to_it(ridge: forecast.Model) -> None:
    parts = ridge.explain()
    assert list(parts.columns) == ["unique_id", "ds", "part", "contribution"]
    sums = parts.groupby(["unique_id", "ds"])["contribution"].sum()
    predicted = ridge.predict().set_index(["unique_id", "ds"])["ridge"]
    np.testing.assert_allclose(sums, predicted, rtol=1e-9)


def test_two_years_of_months_are_forecast_a_year_ahead_with_wider_margins() -> None:
    months = pd.date_range("2022-01-01", periods=24, freq="MS")
    noise = np.random.default_rng(5).normal(0, 1, 24)
    df = pd.DataFrame({"ds": months, "y": 100 + 10 * np.tile(np.arange(12.0), 2) + noise})
    with pytest.warns(UserWarning, match="24 rows are too few to test 12 steps ahead.* of 1 step;"):
        model = forecast.fit(df, "seasonal_naive", freq="MS", horizon=12, n_jobs=1)
    year = model.predict(levels=80)
    assert year["seasonal_naive"].tolist() == pytest.approx(df["y"][12:].tolist())
    margins = (year["seasonal_naive-hi-80"] - year["seasonal_naive"]).to_numpy()
    root = np.sqrt(np.arange(1, 13))
    np.testing.assert_allclose(margins / margins[0], root, rtol=0.02)  # beside those of months
    assert 0 < margins[0] < 5  # of differences of two years, of deviation 1.4


def test_what_a_direct_model_cannot_be_tested_on_it_refuses() -> None:
    months = pd.date_range("2022-01-01", periods=24, freq="MS")
    df = pd.DataFrame({"ds": months, "y": np.arange(24.0)})
    with pytest.raises(
        InputError, match=r"Shorten `lookback` or `horizon`.*, move .* or fit 'naive'"
    ):
        forecast.fit(df, "ridge", freq="MS", horizon=12, n_jobs=1)


@pytest.mark.filterwarnings("ignore:.* rows are too few")
def test_the_model_that_a_refusal_of_few_rows_names_can_be_fitted() -> None:
    df = pd.DataFrame(
        {"ds": pd.date_range("2022-01-01", periods=5, freq="MS"), "y": np.arange(5.0)}
    )
    options: dict[str, Any] = {"freq": "MS", "horizon": 2, "n_jobs": 1}
    with pytest.raises(InputError, match="or fit '") as refusal:
        forecast.fit(df, "ridge", **options)
    model_name = str(refusal.value).partition("or fit '")[2].partition("'")[0]
    assert len(forecast.fit(df, model_name, **options).predict()) == 2


@pytest.mark.parametrize(
    ("n_series", "rows", "horizon", "is_learnt"),
    [(1, 48, 12, False), (1, 78, 3, True), (4, 36, 6, False)],
)
def test_a_mean_whose_weights_few_rows_cannot_teach_is_said_to_be_plain(
    n_series: int, rows: int, horizon: int, is_learnt: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    season = 100 + 10 * np.sin(np.arange(rows) * np.pi / 6)
    months = pd.date_range("2010-01-01", periods=rows, freq="MS")
    df = pd.concat(
        pd.DataFrame({"unique_id": f"s{i}", "ds": months, "y": season + rng.normal(0, 2, rows)})
        for i in range(n_series)
    )
    mean, members = "mean_statistical", ["ets_chosen", "ets_short", "theta_short"]
    board = forecast.compare(df, [*members, mean], freq="MS", horizon=horizon, n_jobs=1)
    assert board.chosen == mean
    plain = [sentence for sentence in board.verdicts if "the plain mean of" in sentence]
    assert len(plain) == (0 if is_learnt else 1)
    page = html.fromstring(board.report(tmp_path / "page.html").read_text())
    (mark,) = page.xpath("//tr[@class='chosen']//span[@class='mark']")
    words, other = "selected on validation", "selected by rule"
    if not is_learnt:
        words, other = other, words
    told_words = " ".join([repr(board), *board.verdicts, mark.text])
    assert other not in told_words and told_words.count(words) >= 2
    if not is_learnt:
        assert plain[0].startswith(
            f"As shipped: validation has too few rows to compare models on: {mean}, the plain"
        )
        assert "is selected by rule and hardly tested" in plain[0]
        assert "weights are learnt" not in " ".join(board.verdicts)
        means = np.mean([board.forecasts(name)[name] for name in members], axis=0)
        np.testing.assert_allclose(board.forecasts(mean)[mean], means)


def test_few_rows_show_a_season_from_two_on_and_many_weeks_from_four() -> None:
    for freq, rows, season in (
        ("MS", 24, 12),
        ("MS", 23, 1),
        ("W-MON", 190, 1),
        ("W-MON", 210, 52),
    ):
        df = pd.DataFrame({"ds": pd.date_range("2020-01-06", periods=rows, freq=freq)})
        df["y"] = np.arange(rows) % 7.0
        model = forecast.fit(df, "naive", freq=freq, horizon=1, n_jobs=1)
        assert model.ensemble.task.season_length == season
