"""Columns known ahead through the Python door: the stages' numbers, the plan of a forecast, faults
of the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.data.panel import from_frame
from forecast.data.results import Results
from forecast.forecaster.ensemble import forecast_latest
from forecast.system.errors import InputError
from tests.support.frame_project import SPLITS, promoted, trained

HORIZON, ROWS = 3, 400
SPANS = {"horizon": HORIZON, "lookback": 8, "season_length": 1}
BUDGET = {
    "n_trials": 1,
    "trial_steps": 4,
    "final_steps": 4,
    "evaluate_every": 2,
    "seeds": [0],
    "base_seed": 0,
}
BOOSTING = {"family": "sklearn", "base": "last", "rows": 200, "options": {"n_estimators": 20}}
MODELS: dict[str, dict[str, Any]] = {"ridge": {"family": "ridge"}, "boosting": BOOSTING}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Missing in the last row"),
    pytest.mark.filterwarnings("ignore:Without the newest rows of the others"),
    pytest.mark.filterwarnings("ignore:.*No forecast of series 'a'"),
]
LEFT_OUT = r"'a' \(ended at 2024-01-16 19:00.*, before the others, and lacks rows since\)"
OPTIONS: dict[str, Any] = {
    "freq": "1h",
    **SPANS,
    "future_exogenous": "holiday",
    "calendar_features": (),
    "n_jobs": 1,
    "splits": SPLITS,
}


def shop() -> pd.DataFrame:
    """Two shops whose sales a holiday lifts by 5; after the last sale the holidays alone. One ends
    earlier, by less than a horizon.
    """
    rng, parts = np.random.default_rng(0), []
    for number, name in enumerate(("a", "b")):
        rows = ROWS + 2 * number
        holiday = (rng.random(rows + HORIZON) < 0.2).astype(float)
        sales = 10 + 5 * holiday + rng.normal(0, 0.5, rows + HORIZON)
        sales[rows:] = np.nan
        ds = pd.date_range("2024-01-01", periods=rows + HORIZON, freq="h").as_unit("ns")
        parts.append(pd.DataFrame({"unique_id": name, "ds": ds, "y": sales, "holiday": holiday}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("kind", [bool, "boolean", object])
def test_switches_are_read_as_zero_and_one(kind: Any) -> None:
    numbers = shop()
    numbers["sun"] = (numbers["holiday"].shift(1) > 0).where(numbers["y"].notna()).astype(float)
    numbers["large"] = (numbers["unique_id"] == "b").astype(float)
    switches = numbers.assign(
        holiday=numbers["holiday"].astype(bool).astype(kind),
        sun=numbers["sun"].astype("boolean").astype("boolean" if kind is bool else kind),
        large=numbers["large"].astype(bool).astype(kind),
    )
    options = {**OPTIONS, "past_exogenous": "sun", "static": "large"}
    entry = {"column": "large", "categories": ["0.0", "1.0"]}
    expected = forecast.fit(numbers, "ridge", **{**options, "static": entry}).predict()
    model = forecast.fit(switches, "ridge", **options)
    pd.testing.assert_frame_equal(model.predict(), expected)
    known = switches.dropna(subset="y")
    plan = switches.loc[switches["y"].isna(), ["unique_id", "ds", "holiday"]]
    pd.testing.assert_frame_equal(model.predict(known, future_df=plan), expected)


def sold() -> pd.DataFrame:
    return shop().dropna(ignore_index=True)


def plan() -> pd.DataFrame:
    frame = shop()
    return frame[frame["y"].isna()].drop(columns="y").reset_index(drop=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The same frame and settings as files, through the stages."""
    holiday = [{"column": "holiday", "known_ahead": True}]
    entry = {
        "calendar": {"kind": "regular", "freq": "1h"},
        "target": {"column": "y"},
        "future_exogenous": holiday,
    }
    return trained(tmp_path_factory.mktemp("project"), shop(), {**entry, **SPANS}, MODELS, BUDGET)


@pytest.fixture(scope="module")
def ridge() -> forecast.Model:
    return forecast.fit(sold(), "ridge", **OPTIONS)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_fit_forecasts_to_the_bit_what_promote_puts_into_service(
    project: Results, name: str, tmp_path: Path
) -> None:
    model = forecast.fit(shop(), {"name": name, **MODELS[name]}, **OPTIONS)
    ensemble = promoted(project, name, tmp_path / name)
    panel = from_frame(pd.read_parquet(project.paths.frame("df")), "df", ensemble.task)
    forecast_of_service = pd.DataFrame(
        forecast_latest(ensemble, panel, horizon=HORIZON, levels=(80,))
    )
    expected = forecast_of_service[["y_hat", "lo_80", "hi_80"]]
    forecasts = model.predict(levels=80)
    assert (
        forecasts[[name, f"{name}-lo-80", f"{name}-hi-80"]].to_numpy().tobytes()
        == expected.to_numpy().tobytes()
    )
    refitted = forecast.fit(sold(), {"name": name, **MODELS[name]}, **OPTIONS)
    assert refitted.predict(future_df=plan(), levels=80).equals(forecasts)
    assert refitted.predict(sold(), future_df=plan(), levels=80).equals(forecasts)
    assert refitted.predict(shop(), levels=80).equals(forecasts)


def test_an_input_that_never_changes_is_named() -> None:
    with pytest.warns(UserWarning, match="one value in all rows with a target: 'holiday'"):
        forecast.fit(sold().assign(holiday=0.0), "naive", **OPTIONS)


def test_a_plan_of_an_unknown_series_is_named(ridge: forecast.Model) -> None:
    of_b = plan()[plan()["unique_id"] == "b"]
    more = pd.concat([plan(), of_b.assign(unique_id="z")])
    with pytest.warns(UserWarning, match="future_df: series without a history .*: 'z'"):
        forecasts = ridge.predict(future_df=more)
    assert forecasts.equals(ridge.predict(future_df=plan()))


def test_the_forecast_follows_the_plan(ridge: forecast.Model) -> None:
    forecasts = ridge.predict(future_df=plan())
    assert np.abs(forecasts["ridge"] - 10 - 5 * plan()["holiday"]).max() < 1
    other_plan = plan().assign(holiday=1 - plan()["holiday"])
    assert (
        np.abs(ridge.predict(future_df=other_plan)["ridge"] - 10 - 5 * other_plan["holiday"]).max()
        < 1
    )
    # a plan of all times: what is past says nothing new
    longer = pd.concat([sold().drop(columns="y"), plan()])
    assert ridge.predict(future_df=longer).equals(forecasts)


def test_a_plan_without_a_column_of_series_holds_for_each(ridge: forecast.Model) -> None:
    common = plan().drop(columns="unique_id").drop_duplicates("ds")
    forecasts = ridge.predict(future_df=common)
    each = pd.concat([common.assign(unique_id=name) for name in ("a", "b")])
    assert forecasts.equals(ridge.predict(future_df=each))


def test_a_saved_model_and_a_cross_validation_know_it_too(
    ridge: forecast.Model, tmp_path: Path
) -> None:
    ridge.save(tmp_path / "ridge")
    loaded = forecast.load(tmp_path / "ridge")
    assert loaded.predict(sold(), future_df=plan()).equals(ridge.predict(future_df=plan()))
    windows = ridge.cross_validation(step_size=3, n_windows=8)
    assert (windows["y"] - windows["ridge"]).abs().mean() < 0.7  # not to know when costs 1.6


def test_compare_knows_it() -> None:
    board = forecast.compare(sold(), ["ridge"], **OPTIONS, tuning=BUDGET)
    rows = board.forecasts("ridge")
    assert (rows["y"] - rows["ridge"]).abs().mean() < 0.7
    assert board.chosen in ("ridge", "arx")  # both read it
    assert len(board.model("ridge").predict(future_df=plan())) == 2 * HORIZON


def hole(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(holiday=frame["holiday"].mask(frame.index == HORIZON + 1))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda frame: None,
            "Series 'b': 'holiday' has no value at 2024-01-17T18:00, 1 step after the last",
        ),
        (lambda frame: frame.drop(columns="holiday"), "future_df: column 'holiday' is missing"),
        (
            lambda frame: frame.drop(columns="ds"),
            r"future_df: column 'ds' is missing",
        ),
        (hole, "Series 'b': 'holiday' has no value at 2024-01-17T19:00, 2 steps after"),
        (
            lambda frame: frame.drop(index=2),
            "'a': 'holiday' has no value at .*, 3 steps after .* its values of the whole",
        ),
        (
            lambda frame: frame[frame["unique_id"] == "a"],
            "Series 'b': 'holiday' has no value at .*, 1 step after",
        ),
        (
            lambda frame: frame.assign(holiday="yes"),
            "future_df, row .*: column 'holiday' holds text 'yes', wanted numbers",
        ),
        (
            lambda frame: frame.assign(ds=frame["ds"] + pd.Timedelta("30min")),
            r"future_df, row 0 \(series 'a', .*:30\): this time is off the '1h' grid",
        ),
        (
            lambda frame: frame.assign(ds=frame["ds"] - pd.Timedelta(365, "D")),
            r"future_df: found rows up to 2023-01-17 20:00, none after .*\(2024-01-17 17:00\)",
        ),
    ],
)
def test_a_plan_that_is_not_whole_is_told(
    ridge: forecast.Model, spoil: Callable[..., Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        ridge.predict(future_df=spoil(plan()))


def test_gaps_of_the_past_are_no_fault_and_the_plan_of_the_horizon_is_asked_for() -> None:
    frame = sold()
    frame.loc[[50, 51, *frame.index[-5:]], "holiday"] = np.nan
    model = forecast.fit(frame, "ridge", **OPTIONS)
    with pytest.raises(InputError, match="'holiday' has no value at"):
        model.predict()
    forecasts = model.predict(future_df=plan())
    assert np.abs(forecasts["ridge"] - 10 - 5 * plan()["holiday"]).max() < 1


def test_a_plan_for_a_model_without_one_is_refused() -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "future_exogenous"}
    with pytest.raises(InputError, match="fitted without `future_exogenous`"):
        forecast.fit(sold(), "naive", **options).predict(future_df=plan())


@pytest.mark.parametrize(
    ("n_rows", "reason"),
    [
        (380, LEFT_OUT),
        (400, "'a' .ended at 2024-01-17 15:00.*, before the others, and lacks rows"),
    ],
)
def test_a_closed_shop_without_a_plan_is_left_out_and_named(
    ridge: forecast.Model, n_rows: int, reason: str
) -> None:
    """Its whole horizon is past to the others, or a step of it; their forecasts stay the same."""
    open_shops, closed = sold(), plan()
    ends = open_shops["unique_id"].map({"a": n_rows, "b": 1000})
    is_open = open_shops.groupby("unique_id").cumcount() < ends
    history = open_shops[is_open]
    given = closed[closed["unique_id"] == "b"]
    with pytest.warns(UserWarning, match=reason):
        table = ridge.predict(history, future_df=given)
    whole = ridge.predict(open_shops, future_df=closed)
    expected = whole[whole["unique_id"] == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table.reset_index(drop=True), expected)


def test_a_shop_that_closed_before_the_fit_is_named_with_its_last_time() -> None:
    shops = sold()
    is_open = (shops["unique_id"] == "b") | (shops.groupby("unique_id").cumcount() < 380)
    ridge = forecast.fit(shops[is_open], "ridge", **OPTIONS)
    given = plan()
    with pytest.warns(UserWarning, match=LEFT_OUT):
        table = ridge.predict(future_df=given[given["unique_id"] == "b"])
    assert set(table["unique_id"]) == {"b"}


def test_an_input_with_the_name_of_a_step_ahead_is_refused_by_name() -> None:
    df = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=200), "y": np.arange(200.0)})
    df["promo"] = df["promo+1"] = np.arange(200) % 3
    with pytest.raises(InputError, match=r"Columns 'promo\+1' have the names of steps ahead"):
        forecast.fit(
            df,
            "ridge",
            freq="1D",
            horizon=2,
            past_exogenous="promo+1",
            future_exogenous="promo",
            n_jobs=1,
        )


def sold_out() -> pd.DataFrame:
    """What `shop` sold of the steps that both have, the last one of `b` without a number."""
    frame = sold()
    frame = frame[frame["ds"] <= frame["ds"][frame["unique_id"] == "a"].max()]
    is_last = frame.groupby("unique_id").cumcount(ascending=False) < 1
    return frame.assign(y=frame["y"].mask(is_last & (frame["unique_id"] == "b")))


def next_plan() -> pd.DataFrame:
    """The plan of the three steps behind `sold_out`."""
    frame = shop().drop(columns="y")
    return frame[(frame["ds"] > sold_out()["ds"].max())].groupby("unique_id").head(HORIZON)


@pytest.mark.parametrize(
    ("fitted_on", "takes_df"), [(sold, True), (sold_out, True), (sold_out, False)]
)
def test_a_series_without_its_newest_targets_ends_with_the_others(
    fitted_on: Callable[[], pd.DataFrame], takes_df: bool
) -> None:
    model = forecast.fit(fitted_on(), "ridge", **OPTIONS)
    pattern = (
        "misses 1 of the last 8 steps" if fitted_on is sold else "last row: 1 value, such as 'y'"
    )
    with pytest.warns(UserWarning, match=pattern):
        table = model.predict(sold_out() if takes_df else None, future_df=next_plan())
    spans = table.groupby("unique_id")["ds"].agg(["min", "max"])
    assert (spans["min"] == next_plan()["ds"].min()).all()
    assert (spans["max"] == next_plan()["ds"].max()).all()
    error = table["ridge"].to_numpy() - 10 - 5 * next_plan()["holiday"].to_numpy()
    assert np.abs(error).max() < 1


def test_sums_of_a_hierarchy_are_forecast_where_one_part_lacks_its_newest_target() -> None:
    frame = sold_out().rename(columns={"unique_id": "shop"})
    model = forecast.fit(frame, "ridge", **OPTIONS, hierarchy="shop")
    table = model.predict(future_df=next_plan().rename(columns={"unique_id": "shop"}))
    wide = table.pivot(index="ds", columns="unique_id", values="ridge")
    np.testing.assert_allclose(wide["total"], wide["a"] + wide["b"])
    assert len(wide) == HORIZON


def test_a_plan_is_merged_over_the_rows_of_the_history(ridge: forecast.Model) -> None:
    first = plan().groupby("unique_id").head(1)
    rest = plan().drop(index=first.index)
    history = pd.concat([sold(), first]).sort_values(["unique_id", "ds"])
    whole = ridge.predict(sold(), future_df=plan())
    assert ridge.predict(history, future_df=rest).equals(whole)
    assert forecast.fit(history, "ridge", **OPTIONS).predict(future_df=rest).equals(whole)
    other = first.assign(holiday=1 - first["holiday"])
    changed = ridge.predict(pd.concat([sold(), other]), future_df=plan())
    assert changed.equals(whole)  # a row of the plan stands for that of the history


def test_a_series_that_ends_earlier_is_named(ridge: forecast.Model) -> None:
    with pytest.warns(UserWarning, match=r"Without the newest rows of the others: series 'a' \(to"):
        ridge.predict(sold(), future_df=plan())


def test_a_closed_shop_is_left_out_though_the_plan_reaches_behind_its_end(
    ridge: forecast.Model,
) -> None:
    is_open = (sold()["unique_id"] == "b") | (sold().groupby("unique_id").cumcount() < 380)
    every = shop().drop(columns="y")
    with pytest.warns(UserWarning, match=LEFT_OUT):
        table = ridge.predict(sold()[is_open], future_df=every)
    assert set(table["unique_id"]) == {"b"}


def zoned(frame: pd.DataFrame, zone: str) -> pd.DataFrame:
    return frame.assign(ds=frame["ds"].dt.tz_localize(zone))


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(ds=frame["ds"].map(lambda moment: moment.isoformat()))


@pytest.mark.parametrize("form", [pd.DataFrame.copy, as_text])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Etc/GMT-1"])
def test_frames_with_and_without_a_zone_are_refused_together(
    ridge: forecast.Model, zone: str, form: Callable[..., pd.DataFrame]
) -> None:
    """A plan of local times would be shifted by its zone against a history without one."""
    there = form(zoned(plan(), zone))
    with pytest.raises(InputError, match=r"future_df: the times of future_df are of .*no zone"):
        ridge.predict(sold(), future_df=there)
    with pytest.raises(InputError, match="future_df: the times of future_df are of"):
        ridge.predict(future_df=there)
    with pytest.raises(InputError, match=r"df: the times of df are of .*of the fit have no zone"):
        ridge.predict(form(zoned(sold(), zone)), future_df=there)


def test_a_model_of_local_times_refuses_times_without_a_zone(tmp_path: Path) -> None:
    model = forecast.fit(zoned(sold(), "Europe/Berlin"), "ridge", **OPTIONS)
    with pytest.raises(InputError, match="times of df are of Europe/Berlin, those of future_df"):
        model.predict(future_df=plan())
    model.save(tmp_path / "ridge")
    with pytest.raises(InputError, match="times of the fit are of Europe/Berlin, those of df"):
        forecast.load(tmp_path / "ridge").predict(sold(), future_df=plan())
    local = model.predict(future_df=zoned(plan(), "Europe/Berlin"))
    in_utc = zoned(plan(), "Europe/Berlin")
    in_utc["ds"] = in_utc["ds"].dt.tz_convert("UTC")
    assert model.predict(future_df=in_utc).equals(local)


def test_messages_about_frames_with_a_zone_mark_their_times_as_utc() -> None:
    """The caller would look for 17:00 of Berlin where 17:00 UTC is meant."""
    history = zoned(sold(), "Europe/Berlin")
    model = forecast.fit(history, "ridge", **OPTIONS)
    ahead = zoned(plan(), "Europe/Berlin")
    last = history["ds"].max()
    second = last + pd.Timedelta("2h")
    pattern = f"no value at {second.tz_convert('UTC'):%Y-%m-%dT%H:%M} UTC, 2 steps after"
    with pytest.raises(InputError, match=pattern):
        model.predict(future_df=ahead[ahead["ds"] != second])
    off_grid = history.assign(
        ds=history["ds"].mask(history["ds"] == last, second + (second - last) / 4)
    )
    with pytest.raises(InputError, match=r":30 UTC\): this time is off the '1h' grid") as fault:
        model.predict(off_grid, future_df=ahead)
    assert str(fault.value).count("become UTC") == 1
    in_utc = off_grid.assign(ds=off_grid["ds"].dt.tz_convert("UTC"))
    with pytest.raises(InputError, match=r":30\): this time is off the '1h' grid") as fault:
        model.predict(in_utc, future_df=ahead)
    assert "Berlin" not in str(fault.value)  # the clock of the fit, not of this frame


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "GMT"])
def test_times_in_utc_go_with_times_without_a_zone(ridge: forecast.Model, zone: str) -> None:
    whole = ridge.predict(future_df=plan())
    assert ridge.predict(future_df=zoned(plan(), zone)).equals(whole)
