"""Series of unequal length from one frame, with dates and with counts: what can be forecast is, the
rest is named.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.backtest import training
from forecast.system import workers
from forecast.system.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Without the newest rows of the others")
LENGTHS = (16, 70, 150, 240, 330, 420, 600, 700, 800, 900, 1000, 1200)
TOO_SHORT = {"s00"}
ENDED_EARLY = {"s07"}


@pytest.fixture(scope="module")
def weekly() -> pd.DataFrame:
    """Series that end together and begin years apart; one of them ended half a year earlier."""
    rng = np.random.default_rng(0)
    parts = []
    for number, length in enumerate(LENGTHS):
        weeks = pd.date_range(end="2024-06-30", periods=length, freq="W-SUN")
        if number == 7:
            weeks = weeks - pd.Timedelta(weeks=26)
        season = 20 * np.sin(2 * np.pi * np.arange(length) / 52)
        y = 100 + season + rng.normal(0, 5, length)
        parts.append(pd.DataFrame({"unique_id": f"s{number:02d}", "ds": weeks, "y": y}))
    return pd.concat(parts, ignore_index=True)


def count_rows(df: pd.DataFrame) -> pd.DataFrame:
    """The same with whole numbers for times, which begin at 0 in every series."""
    return df.assign(ds=df.groupby("unique_id").cumcount())


def test_compare_scores_every_series_that_has_all_blocks_without_an_empty_column(
    weekly: pd.DataFrame,
) -> None:
    with pytest.warns(UserWarning, match="series left out") as warned:
        board = forecast.compare(weekly, ["naive"], freq="W-SUN", horizon=12, n_jobs=1)
    scores = board.leaderboard.filter(regex="^(?!vs_|scaled_crps)")  # for some there are none
    assert not scores.isna().any().any()
    left_out = {name for name in weekly["unique_id"].unique() if name in str(warned[0].message)}
    scored = set(board.forecasts("ridge")["unique_id"])
    assert left_out == TOO_SHORT | ENDED_EARLY and scored == set(weekly["unique_id"]) - left_out


def test_a_series_that_ended_early_is_forecast_without_intervals(weekly: pd.DataFrame) -> None:
    with pytest.warns(UserWarning, match=r"(?s)1 series not scored.*\ns07 "):
        model = forecast.fit(weekly, "naive", freq="W-SUN", horizon=12, n_jobs=1)
    table = model.predict(levels=80)
    assert set(table["unique_id"]) == set(weekly["unique_id"]) - TOO_SHORT
    is_empty = table["naive-lo-80"].isna()
    assert set(table.loc[is_empty, "unique_id"]) == ENDED_EARLY


@pytest.mark.parametrize("times", ["dates", "counts"])
def test_all_but_the_shortest_series_are_forecast(weekly: pd.DataFrame, times: str) -> None:
    df, freq = (weekly, "W-SUN") if times == "dates" else (count_rows(weekly), 1)
    with pytest.warns(UserWarning, match="left out"):
        model = forecast.fit(df, "ridge", freq=freq, horizon=12, n_jobs=1)
    with pytest.warns(UserWarning, match=r"'s00' \(not in the fit: it came later"):
        table = model.predict(df)
    assert set(table["unique_id"]) == set(weekly["unique_id"]) - TOO_SHORT
    first = table.groupby("unique_id")["ds"].min()
    last = df.groupby("unique_id")["ds"].max()
    step = 1 if times == "counts" else pd.Timedelta(weeks=1)
    assert (first == (last + step)[first.index]).all()


def daily(name: str, n_rows: int, observed: slice = slice(None), last: str = "2024-06-30"):
    """A week's season and noise; what is not `observed` has rows without a value."""
    days = pd.date_range(end=last, periods=n_rows, freq="D")
    y = 50 + 5 * np.sin(2 * np.pi * np.arange(n_rows) / 7)
    y += np.random.default_rng(n_rows).normal(0, 1, n_rows)
    values = np.full(n_rows, np.nan)
    values[observed] = y[observed]
    return pd.DataFrame({"unique_id": name, "ds": days, "y": values})


@pytest.mark.parametrize("n_rows", [1, 2, 39])
def test_series_of_few_rows_are_left_out_and_do_not_shorten_what_the_others_see(
    n_rows: int,
) -> None:
    newest, ended = daily("a", n_rows), daily("e", n_rows, last="2023-01-31")
    df = pd.concat([newest, *(daily(name, 400) for name in "bcd"), ended])
    with pytest.warns(UserWarning, match=r"(?s)2 series left out.*\na .*\ne "):
        model = forecast.fit(df, "ridge", freq="1D", horizon=7, n_jobs=1)
    assert set(model.predict()["unique_id"]) == {"b", "c", "d"}
    assert "horizon=7, lookback=49" in repr(model)


@pytest.mark.parametrize("n_rows", [1, 400])
def test_a_series_without_a_value_is_left_out_and_named(n_rows: int) -> None:
    df = pd.concat([daily("a", n_rows, slice(0)), daily("b", 400)])
    with pytest.warns(UserWarning, match="has no value of 'y'"):
        model = forecast.fit(df, "ridge", freq="1D", horizon=7, n_jobs=1)
    assert set(model.predict()["unique_id"]) == {"b"}


def test_a_series_that_has_been_empty_for_a_lookback_is_named_and_the_others_forecast() -> None:
    df = pd.concat([daily("a", 400, slice(300)), daily("b", 400), daily("c", 400)])
    with pytest.warns(UserWarning, match="no value at many time steps of 'a'"):
        model = forecast.fit(df, "ridge", freq="1D", horizon=7, n_jobs=1)
    with pytest.warns(UserWarning, match=r"'a' \(no target in \d+ rows\)"):
        table = model.predict(df)
    assert set(table["unique_id"]) == {"b", "c"}


def test_one_of_many_series_that_lacks_a_third_of_its_values_is_named() -> None:
    df = pd.concat([daily("a", 400), daily("b", 400), daily("c", 400)])
    df["y"] = df["y"].mask((df["unique_id"] == "a") & (np.arange(len(df)) % 3 == 0))
    with pytest.warns(UserWarning, match="'y' has no value at many time steps of 'a'"):
        forecast.fit(df, "naive", freq="1D", horizon=7, n_jobs=1)


@pytest.mark.parametrize("n_rows", range(1, 10))
def test_a_single_series_that_is_too_short_says_how_many_rows_a_block_needs(n_rows: int) -> None:
    with pytest.raises(InputError, match=r"its train block has .* needs 8"):
        forecast.fit(daily("a", n_rows), "ridge", freq="1D", horizon=7, n_jobs=1)


def test_series_that_lack_the_newest_days_have_intervals() -> None:
    ends = {"b": "2024-06-30", "c": "2024-06-27", "d": "2024-06-24"}
    df = pd.concat([daily(name, 200, last=last) for name, last in ends.items()])
    model = forecast.fit(df, "ridge", freq="1D", horizon=7, n_jobs=1)
    assert not model.predict(levels=80).isna().any(axis=None)


def test_a_series_that_ended_years_before_is_forecast_and_not_scored() -> None:
    df = pd.concat([daily("a", 300, last="2021-06-30"), daily("b", 300)])
    with pytest.warns(UserWarning, match=r"(?s)1 series not scored.*\n *a "):
        model = forecast.fit(df, "ridge", freq="1D", horizon=7, n_jobs=1)
    ahead = model.predict().groupby("unique_id")["ds"].min().astype(str)
    assert ahead.to_dict() == {"a": "2021-07-01", "b": "2024-07-01"}
    with pytest.warns(UserWarning, match="1 series not scored"):
        windows = model.cross_validation(n_windows=20)
    assert windows.groupby("unique_id")["cutoff"].nunique().to_dict() == {"b": 20}


CHANGE = 260
"""The day of 300 from which a week has another shape."""


def changing(name: str, begins: int, *, sign: float = -1.0, day: int = CHANGE) -> pd.DataFrame:
    """A week's shape, times `sign` from `day` on."""
    days = np.arange(300)
    shape = np.sin(2 * np.pi * days / 7) * np.where(days < day, 1.0, sign)
    y = 50 + 5 * shape + np.random.default_rng(len(name) + begins).normal(0, 1, 300)
    ds = pd.date_range("2024-01-01", periods=300)
    return pd.DataFrame({"unique_id": name, "ds": ds, "y": y}).iloc[begins:]


def forecasts_of(df: pd.DataFrame) -> pd.DataFrame:
    """Those of a ridge in the test block, shares 0.6, 0.15 and 0.1, one week ahead."""
    shares = {"train": 0.6, "validation": 0.15, "calibration": 0.1}
    options: dict[str, Any] = {"freq": "1D", "horizon": 7, "lookback": 7, "n_jobs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        board = forecast.compare(df, ["ridge"], splits=shares, **options)
    return board.forecasts("ridge")


def test_a_later_day_of_a_late_series_lowers_no_error_of_an_earlier_cutoff() -> None:
    """Its new week, of which a fit on shares of its own rows would know, is all that it shows."""
    long = pd.concat([changing(name, 0) for name in ("a", "bb", "ccc")])
    with_late = pd.concat([long, changing("late", 230)])
    table = forecasts_of(with_late)
    of_long = table[table["unique_id"] != "late"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_long, forecasts_of(long))


def test_no_forecast_knows_a_day_behind_its_cutoff_of_any_series() -> None:
    """Of series that all are scored, on the steps since the late ones began."""
    parts = [("a", 0), ("bb", 0), ("late", 150), ("later", 150)]
    table, others = (
        forecasts_of(pd.concat([changing(*part, sign=sign, day=285) for part in parts]))
        for sign in (-1.0, 9.0)
    )
    assert set(table["unique_id"]) == {name for name, _ in parts}
    changed = pd.Timestamp("2024-01-01") + pd.Timedelta(285, "D")
    early = table["cutoff"] < changed
    is_known = table["ds"] < changed
    assert early.any() and (~early).any()
    pd.testing.assert_frame_equal(table[early & is_known], others[early & is_known])
    np.testing.assert_array_equal(table.loc[early, "ridge"], others.loc[early, "ridge"])


def test_a_young_station_is_forecast_by_every_kind_of_model_and_takes_part_in_no_score() -> None:
    old = pd.concat([daily(name, 400) for name in "bcd"])
    df = pd.concat([old, daily("young", 30)])
    options: dict[str, Any] = {"freq": "1D", "horizon": 7, "lookback": 14, "n_jobs": 1}
    for model in ("ridge", "boosting", "theta", "gru", "nlinear"):
        with pytest.warns(UserWarning, match=r"(?s)1 series not scored.*\n *young "):
            tuning = {"final_steps": 20} if model == "gru" else None
            fitted = forecast.fit(df, model, tuning=tuning, **options)
        table = fitted.predict().set_index("unique_id")[model]
        assert (table["young"].between(30, 70)).all() and len(table["young"]) == 7


def test_windows_of_the_past_score_a_young_station_by_a_fit_on_all_rows_before() -> None:
    df = pd.concat([daily(name, n) for name, n in (("b", 400), ("c", 400), ("young", 40))])
    with pytest.warns(UserWarning, match="1 series not scored"):
        model = forecast.fit(df, "ridge", freq="1D", horizon=7, lookback=14, n_jobs=1)
    with pytest.warns(UserWarning, match="1 series not scored"):
        windows = model.cross_validation(levels=80).set_index("unique_id")
    assert len(windows.loc["young"]) == len(windows.loc["b"]) == 7
    is_empty = windows["ridge-lo-80"].isna()
    assert is_empty["young"].all() and not is_empty.drop("young").any()
    watched = model.watch(df, newest=3, rate=50)
    assert set(watched["unique_id"]) == {"b", "c"}, "young has no errors to judge it by"
    with pytest.raises(InputError, match="Series 'young': no calibration errors"):
        model.watch(df[df["unique_id"] == "young"], newest=3, rate=50)


def test_two_short_series_beside_three_long_ones_do_not_have_the_call_refused() -> None:
    lengths = (200, 260, 300, 40, 25)
    df = pd.concat([daily(str(n_rows), n_rows) for n_rows in lengths], ignore_index=True)
    with pytest.warns(UserWarning, match="1 series not scored"):
        board = forecast.compare(df, ["naive"], freq="1D", horizon=7, n_jobs=1)
    cutoffs = board.forecasts("ridge").groupby("unique_id")["cutoff"].nunique()
    assert cutoffs.to_dict() == dict.fromkeys(("200", "260", "300"), 44)


@pytest.mark.parametrize("times", ["dates", "counts"])
def test_there_are_as_many_windows_as_asked_where_late_series_move_the_cut(times: str) -> None:
    """Its shares are then of the 150 steps since the late ones began."""
    lengths = {"a": 400, "b": 400} | {f"late {number}": 150 for number in range(8)}
    df = pd.concat([daily(name, n_rows) for name, n_rows in lengths.items()], ignore_index=True)
    options: dict[str, Any] = {"freq": "1D", "horizon": 7, "lookback": 80, "n_jobs": 1}
    if times == "counts":
        df, options["freq"] = count_rows(df), 1
    model = forecast.fit(df, "ridge", **options)
    with pytest.warns(UserWarning, match="series not scored"):
        windows = model.cross_validation(n_windows=20)
    assert windows.groupby("unique_id")["cutoff"].nunique().eq(20).all()
    assert set(windows["unique_id"]) == set(lengths)
    refitted = forecast.fit(df, {"family": "ridge", "refit": 10}, **options)
    with pytest.warns(UserWarning, match=r"\d+ of 20 windows: .*late series") as warned:
        windows = refitted.cross_validation(n_windows=20)
    assert f"{windows['cutoff'].nunique()} of 20" in str(warned[-1].message)


def test_a_fit_on_all_rows_shares_series_out_as_training_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    df = pd.concat([daily(name, n) for name, n in (("a", 150), ("b", 151), ("c", 152))])
    whole = forecast.fit(df, "theta", freq="1D", horizon=7, n_jobs=1).predict(levels=80)
    monkeypatch.setattr(training, "SERIES_PER_TASK", 1)
    item_names: list[list[str]] = []
    real = workers.run_items

    def note(items: list[workers.WorkItem], **options: Any) -> Any:
        item_names.append([item.name for item in items])
        return real(items, **options)

    monkeypatch.setattr(workers, "run_items", note)
    shared_out = forecast.fit(df, "theta", freq="1D", horizon=7, n_jobs=1).predict(levels=80)
    names = [f"theta from series {first}" for first in range(3)]
    assert item_names[-1] == names
    pd.testing.assert_frame_equal(shared_out, whole)
