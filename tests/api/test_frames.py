"""Bad input of the door for Python: one sentence with the column, what was found, what was
wanted.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

import forecast
from forecast.api import frames
from forecast.api.frames import as_pandas
from forecast.api.model import Model
from forecast.config.task import RegularCalendar
from forecast.system.errors import InputError, ModelError

DAYS = pd.date_range("2024-01-01", periods=120, freq="D")


def frame(**columns: Any) -> pd.DataFrame:
    plain = {
        "unique_id": "a",
        "ds": DAYS,
        "y": np.sin(np.arange(120.0)),
        "wind": np.cos(np.arange(120.0)),
    }
    return pd.DataFrame({**plain, **columns})


def fitted(df: Any = None, model: Any = "ridge", **options: Any) -> Model:
    usual = {"freq": "1D", "horizon": 2, "lookback": 7, "season_length": 7, "n_jobs": 1}
    usual["calendar_features"] = ()  # to look for a week takes an eighth of a fit
    return forecast.fit(frame() if df is None else df, model, **{**usual, **options})


@pytest.fixture(scope="module")
def ridge() -> Model:
    """A ridge fitted to `frame()`, which no question changes."""
    return fitted()


@pytest.fixture(scope="module")
def ridge_with_wind() -> Model:
    """The same with an input and a calendar feature."""
    return fitted(past_exogenous=["wind"], calendar_features=["day_of_week"])


def mixed() -> pd.DataFrame:
    times = [*DAYS[:60], *DAYS[60:].tz_localize("UTC")]
    return frame(ds=pd.Series(times, dtype=object))


def hours() -> pd.DataFrame:
    return frame(ds=pd.date_range("2024-01-01", periods=120, freq="h"))


def shop_hours() -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=24 * 40, freq="h")
    return frame(ds=times[(times.hour >= 9) & (times.hour < 17)][:120])


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, ...]]] = {
    "no target": (
        lambda: frame().rename(columns={"y": "temp"}),
        {},
        ("'y'", "'temp'", "`target_col`"),
    ),
    "a column for each series": (
        lambda: frame().rename(columns={"y": "cork"}).assign(galway=1.0),
        {},
        ("'y' is missing", "'cork'", "'galway'", "`melt` of pandas"),
    ),
    "no time": (
        lambda: frame().rename(columns={"ds": "dss"}),
        {},
        ("'ds'", "Did you mean 'dss'?", "`time_col`"),
    ),
    "other names": (
        lambda: frame().rename(columns={"ds": "Day"}),
        {},
        ("'ds'", "Found 'Day'", "`time_col`"),
    ),
    "flags": (
        lambda: frame(y=[True, False] * 60),
        {},
        ("'y' holds bool 'True'", "wanted numbers. Convert it by `astype(float)`"),
    ),
    "flags with gaps": (
        lambda: frame(y=pd.array([True, None] * 60, dtype="boolean")),
        {},
        ("'y' holds bool 'True'", "wanted numbers. Convert it by `astype(float)`"),
    ),
    "complex numbers": (
        lambda: frame(y=np.arange(120) + 1j),
        {},
        ("'y' holds complex", "'1j'", "wanted real numbers. Take its `abs()` or its real part"),
    ),
    "complex inputs as objects": (
        lambda: frame(wave=pd.Series([1.0, 2j] * 60, dtype=object)),
        {"past_exogenous": "wave"},
        ("row 1", "'wave' holds complex '2j'", "wanted real numbers"),
    ),
    "text beside numbers": (
        lambda: frame(y=pd.Series([1.0, "2.5"] * 60, dtype=object)),
        {},
        ("row 1", "'y' holds text '2.5'", "wanted numbers. Convert it by `astype(float)`"),
    ),
    "words as an input": (
        lambda: frame(sky=["clear", "rain"] * 60),
        {"past_exogenous": "sky"},
        ("row 0", "'sky' holds text 'clear'", "words by `pandas.get_dummies`"),
    ),
    "the repeated hour of a clock": (
        lambda: frame(ds=[*DAYS[:60], DAYS[59], *DAYS[60:119]]),
        {},
        ("stands twice", "1 such row", "`id_col`, or pass times with their zone"),
    ),
    "a wrong calendar feature": (
        frame,
        {"calendar_features": ["hour"]},
        ("calendar_features", "'hour_of_day'"),
    ),
    "an index": (
        lambda: frame().set_index("ds"),
        {},
        ("'ds'", "the index has it", "`df.reset_index(names=['ds'])`"),
    ),
    "a nameless index": (
        lambda: frame().set_index("ds").rename_axis(None),
        {},
        ("'ds'", "`df.reset_index(names=['ds'])`"),
    ),
    "the series in the index": (
        lambda: frame().set_index("unique_id"),
        {},
        ("'unique_id'", "`df.reset_index(names=['unique_id'])`"),
    ),
    "half of the levels named": (
        lambda: frame().set_index(["unique_id", "ds"]).rename_axis([None, "ds"]),
        {},
        ("'ds'", "`df.reset_index(names=['unique_id', 'ds'])`"),
    ),
    "the other half named": (
        lambda: frame().set_index(["ds", "unique_id"]).rename_axis([None, "unique_id"]),
        {},
        ("'ds'", "`df.reset_index(names=['ds', 'unique_id'])`"),
    ),
    "no level named": (
        lambda: (
            frame()
            .rename(columns={"unique_id": "shop"})
            .set_index(["shop", "ds"])
            .rename_axis([None, None])
        ),
        {"id_col": "shop"},
        ("`df.reset_index(names=['shop', 'ds'])`",),
    ),
    "levels and rows that are counted": (
        lambda: frame().set_index("ds", append=True),
        {},
        ("'ds'", "`df.reset_index(names=['level_0', 'ds'])`"),
    ),
    "columns in two levels": (
        lambda: frame().set_axis(pd.MultiIndex.from_product([["x"], frame().columns]), axis=1),
        {},
        ("('x', 'ds')",),
    ),
    "a column twice that nobody asks for": (
        lambda: pd.concat([frame(), frame()[["wind"]]], axis=1),
        {},
        ("'wind' stands or is asked for more than once", "wanted once"),
    ),
    "a column in two roles": (
        frame,
        {"past_exogenous": "wind", "future_exogenous": "wind"},
        ("'wind' stands or is asked for more than once", "wanted once"),
    ),
    "a target with the name of times": (
        lambda: frame().rename(columns={"ds": "day", "y": "ds"}),
        {"time_col": "day", "target_col": "ds"},
        ("called `unique_id` or `ds`", "Rename it"),
    ),
    "an input with the name of series": (
        lambda: frame(shop="a", unique_id=1.0),
        {"id_col": "shop", "past_exogenous": "unique_id"},
        ("called `unique_id` or `ds`", "Rename it"),
    ),
    "counts of seconds": (
        lambda: frame(ds=1_700_000_000 + np.arange(120)),
        {"freq": 1},
        ("'ds' counts too far", "wanted numbers below", "Subtract"),
    ),
    "no list of columns": (
        frame,
        {"past_exogenous": 3},
        ("past_exogenous=3", "a name or a list of names", "strings such as '3'"),
    ),
    "duplicates": (
        lambda: pd.concat([frame(), frame().head(3)]),
        {},
        ("row 120 (series 'a', 2024-01-01", "wanted once", "3 such rows", "`drop_duplicates`"),
    ),
    "a finer freq": (
        frame,
        {"freq": "1h"},
        ("no value at 2737 of 2857", "freq={'kind': 'regular', 'freq': '1D'}"),
    ),
    "a coarser freq": (hours, {}, ("off the '1D' grid", "freq: 1h")),
    "no weekends": (
        lambda: frame(ds=pd.bdate_range("2024-01-01", periods=120)),
        {},
        ("no value at 46 of 166", "freq={'kind': 'weekdays'}"),
    ),
    "a business that closes": (
        shop_hours,
        {"freq": "1h"},
        ("that fits best: freq={'kind': 'regular', 'freq': '1h', 'opening_hours': {",),
    ),
    "a stamp off the grid": (
        lambda: frame(ds=DAYS.where(DAYS[9] != DAYS, DAYS[9] + pd.Timedelta(1, "h"))),
        {},
        ("row 9", "correct `freq`"),
    ),
    "the hour of a close": (
        lambda: frame(ds=pd.bdate_range("2024-01-01", periods=120) + pd.Timedelta(16, "h")),
        {"freq": {"kind": "weekdays"}},
        ("named by its date", "Convert it: `df['ds'] = df['ds'].dt.normalize()`"),
    ),
    "no freq": (frame, {"freq": "1x"}, ("freq='1x'", "unknown step", "such as 1h")),
    "a number as freq": (
        frame,
        {"freq": 2},
        ("freq=2", "unknown step", "such as 1h", "without dates are `freq=1`"),
    ),
    "an ARIMA beside a season": (
        frame,
        {"model": "auto_arima"},
        ("season of 7 steps. Pass `season_length=1`, or take 'arima_fourier'.",),
    ),
    "counted rows that are times": (
        frame,
        {"freq": 1},
        ("no whole numbers", "freq=1 counts rows", "'1D'"),
    ),
    "counted rows with halves": (
        lambda: frame(ds=np.arange(120) / 2),
        {"freq": 1},
        ("no whole numbers", "freq=1 counts rows"),
    ),
    "counted rows, one of them without a number": (
        lambda: frame(ds=[0, 1, None, *range(3, 120)]),
        {"freq": 1},
        ("row 2: 'ds' is empty", "Complete or drop the row"),
    ),
    "counted rows, all of them without a number": (
        lambda: frame(ds=[np.nan] * 120),
        {"freq": 1},
        ("row 0: 'ds' is empty",),
    ),
    "a former freq": (frame, {"freq": "2H"}, ("freq='2H'", "pandas calls it h now", "such as 1h")),
    "months of NumPy": (frame, {"freq": np.timedelta64(1, "M")}, ("unknown step", "1MS")),
    "no step of NumPy": (frame, {"freq": np.timedelta64("NaT")}, ("unknown step",)),
    "days with holidays of their own": (
        frame,
        {"freq": pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])},
        ("freq=<CustomBusinessDay>", "not in its name 'C'", "'kind': 'weekdays', 'closures'"),
    ),
    "a week from any day": (frame, {"freq": pd.offsets.Week()}, ("for a week from any day '7D'",)),
    "hours of their own": (
        frame,
        {"freq": pd.offsets.BusinessHour(start="10:00")},
        ("bh=10:00-17:00", "not in its name 'bh'", "`opening_hours`"),
    ),
    "days in lower case": (frame, {"freq": "1d"}, ("freq='1d'", "pandas calls it D now")),
    "months as of old": (frame, {"freq": "M"}, ("freq='M'", "pandas calls it ME now")),
    "other dates": (
        lambda: frame(ds=DAYS.strftime("%m/%d/%Y")),
        {},
        ("row 0: `ds` holds '01/01/2024'", 'format="%m/%d/%Y"'),
    ),
    "a horizon of text": (frame, {"horizon": "2"}, ("horizon='2'", "whole number")),
    "no lookback": (frame, {"lookback": 0}, ("lookback=0", "whole number of at least 1")),
    "no season": (frame, {"season_length": 0}, ("season_length=0", "at least 1")),
    "jobs of text": (frame, {"n_jobs": "2"}, ("n_jobs='2'", "whole number")),
    "no seed": (frame, {"seeds": []}, ("tuning: key 'seeds'",)),
    "seeds of nonsense in the budget": (
        frame,
        {"model": "gru", "tuning": {"seeds": "abc"}},
        ("tuning: key 'seeds'", "wanted a list (found 'abc')"),
    ),
    "seeds in two places": (
        frame,
        {"model": "gru", "seeds": 1, "tuning": {"seeds": [0, 1]}},
        ("`seeds`", "`tuning`", "wanted it once"),
    ),
    "a number as tuning": (
        frame,
        {"tuning": 3},
        ("tuning: unknown budget '3'", "Known: 'full', 'quick'"),
    ),
    "a list of splits": (frame, {"splits": [0.5]}, ("key 'splits'", "dictionary")),
    "a model named as a path": (
        frame,
        {"model": {"family": "ridge", "name": "a/b"}},
        ("'a/b'", "wanted letters"),
    ),
    "a model named as a column": (
        frame,
        {"model": {"family": "ridge", "name": "ds"}},
        ("'ds'", "no column's name"),
    ),
    "no family": (frame, {"model": {"units": 3}}, ("{'units': 3}", "'family': 'gru'")),
    "a wrong key": (
        frame,
        {"model": {"family": "gru", "unit": 8}},
        ("model 'gru'", "Did you mean 'units'?"),
    ),
    "a lazy frame": (lambda: type("LazyFrame", (), {})(), {}, ("of type LazyFrame", "`collect()`")),
    "half of the splits": (frame, {"splits": {"train": 0.9}}, ("splits.validation", "missing")),
    "mixed zones": (mixed, {}, ("`ds`", "mixed time zones", "utc=True")),
    "mixed zones in text": (
        lambda: frame(ds=[f"{day:%Y-%m-%dT%H:%M}{'+01:00' * (day.month > 1)}" for day in DAYS]),
        {},
        ("row 31", "mixed time zones", "pandas.to_datetime(df['ds'], utc=True)"),
    ),
    "a time without its zone in text": (
        lambda: frame(ds=[f"{day:%Y-%m-%dT%H:%M}{'+01:00' * (day.month != 2)}" for day in DAYS]),
        {},
        ("row 31: `ds` holds '2024-02-01T00:00': mixed time zones",),
    ),
    "days of a local clock": (
        lambda: frame(ds=DAYS.tz_localize("Europe/Dublin")),
        {},
        ("2024-03-31 23:00 UTC", "'1D' grid", "Europe/Dublin", "dt.tz_localize(None)"),
    ),
    "a series without a name": (
        lambda: frame(unique_id=None),
        {},
        ("'unique_id' is empty", "wanted a series name"),
    ),
    "spans of time": (
        lambda: frame(ds=pd.to_timedelta(np.arange(120), "D")),
        {},
        ("'ds'", "pandas.to_datetime"),
    ),
    "a column without a value": (
        lambda: frame(y=[np.nan] * 120),
        {},
        ("no value in 'y'; wanted numbers",),
    ),
    "columns without a value": (
        lambda: frame(y=[np.nan] * 120, x=[np.nan] * 120),
        {"past_exogenous": "x"},
        ("no value in 'x', 'y'; wanted numbers", "Drop or fill them."),
    ),
    "commas for points": (
        lambda: frame(y=["1,5"] * 120),
        {},
        ("'1,5'", "wanted numbers. Write them with a decimal point, then `astype(float)`."),
    ),
    "numbers as objects": (
        lambda: frame(y=pd.Series([1.0, None] * 60, dtype=object)),
        {},
        ("'y' is of type object", "wanted numbers. Convert it by `astype(float)`"),
    ),
    "numbers as text": (
        lambda: frame(y=["1.0"] * 120),
        {},
        ("'y'", "wanted numbers. Convert it by `astype(float)`"),
    ),
    "objects": (
        lambda: frame(y=pd.Series([1.0, "calm"] * 60, dtype=object)),
        {},
        ("'y'", "'calm'", "row 1"),
    ),
    "times as numbers": (
        lambda: frame(ds=np.arange(120)),
        {},
        ("'ds'", "numbers such as 0", "pandas.to_datetime"),
    ),
    "a long horizon": (
        frame,
        {"horizon": 200},
        ("'a'", "120 steps", "horizon=200", "Shorten `lookback` or `horizon`"),
    ),
    "no exogenous": (frame, {"past_exogenous": ["winds"]}, ("'winds'", "Did you mean 'wind'?")),
    "capitals": (frame, {"model": "GRU"}, ("'GRU'", "Did you mean 'gru'?")),
    "several models": (
        frame,
        {"model": ["naive", "ridge"]},
        ("['naive', 'ridge']", "`forecast.compare`"),
    ),
    "unknown model": (frame, {"model": "rigde"}, ("'rigde'", "Did you mean 'ridge'?", "'gru'")),
    "an unsuited model": (
        frame,
        {"model": "seasonal_naive", "season_length": 1},
        ("'seasonal_naive'", "season"),
    ),
    "a combination": (frame, {"model": "stacked"}, ("'stacked'", "`forecast.compare`")),
    "unknown tuning": (frame, {"tuning": "quik"}, ("'quik'", "Did you mean 'quick'?")),
    "a series": (lambda: frame()["y"], {}, ("Series", "wanted a frame")),
    "a list": (lambda: [1, 2], {}, ("list", "wanted a frame")),
    "no rows": (lambda: frame().head(0), {}, ("no rows", "wanted one per series and time")),
    "nothing": (pd.DataFrame, {}, ("no rows", "wanted one per series and time")),
    "many gaps": (
        lambda: frame().drop(index=range(20, 60)),
        {},
        ("'a'", "'y'", "40 of 120", "at most 20%"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told_with_the_column_what_was_found_and_what_to_type(name: str) -> None:
    make, options, parts = CASES[name]
    with pytest.raises(InputError) as raised:
        fitted(make(), **options)
    message = str(raised.value)
    assert not [part for part in parts if part not in message], message
    assert "configs/" not in message and "\n" not in message


def test_only_times_off_their_grid_are_told_of_time_zones_and_once() -> None:
    calendar = RegularCalendar(kind="regular", freq="1h")
    off_grid = "df, row 5 (series 'a', 2024-01-01 04:01): this time is off the '1h' grid of the"
    off_grid += " other rows."
    for message, n_hints in ((off_grid, 1), ("column 'grid': wanted numbers.", 0)):
        for zone in ("America/New_York", "Europe/Berlin"):  # of a history, then of the fit
            message = frames.in_caller_words(message, frames.Names(clock=zone), calendar)
        assert message.count("become UTC") == message.count("New_York") == n_hints
        assert message.count("04:01 UTC)") == n_hints


def test_a_series_that_ends_early_is_not_scored_and_is_forecast_from_its_end() -> None:
    other = frame(unique_id="b").head(60)
    with pytest.warns(UserWarning, match=r"(?s)1 series not scored.*\nb "):
        model = fitted(pd.concat([frame(), other]))
    with pytest.warns(UserWarning, match=r"Without the newest rows of the others: series 'b'"):
        forecasts = model.predict()
    assert forecasts["unique_id"].tolist() == ["a", "a", "b", "b"]
    for unique_id, series in (("a", frame()), ("b", other)):
        first = forecasts.loc[forecasts["unique_id"] == unique_id, "ds"].iloc[0]
        assert first == series["ds"].iloc[-1] + pd.Timedelta(1, "D")


def test_a_series_that_is_too_short_is_named_and_the_others_go_on() -> None:
    both = pd.concat([frame(), frame(unique_id="b").head(8)])
    words = r"1 series left out[^b]*\n *b "
    with pytest.warns(UserWarning, match=words):
        model = fitted(both)
    table = model.predict(levels=80)
    assert table["unique_id"].tolist() == ["a", "a"]
    assert (table["ridge-lo-80"] < table["ridge-hi-80"]).all()
    with pytest.warns(
        UserWarning, match=r"No forecast of series 'b' \(not in the fit: it came later"
    ):
        pd.testing.assert_frame_equal(model.predict(both), model.predict())


def test_of_weekly_series_of_60_to_2000_rows_with_counted_times_the_short_ones_are_named() -> None:
    """What is asked of 300 series, with thirty; `ds` are integers, the options the defaults."""
    rng = np.random.default_rng(0)
    lengths = [60, 70, *rng.integers(150, 2001, 28)]
    parts = [
        pd.DataFrame(
            {
                "unique_id": f"s{number:02}",
                "ds": np.arange(2000 - n, 2000),
                "y": 50 + rng.normal(0, 5, n),
            }
        )
        for number, n in enumerate(lengths)
    ]
    with pytest.warns(UserWarning, match="2 series not scored") as warned:
        model = forecast.fit(
            pd.concat(parts), "seasonal_naive", freq=1, horizon=12, season_length=4
        )
    table = str(warned[0].message)
    assert "s00" in table and "of 60 steps" in table and "s01" in table
    assert "datasets.yaml" not in table
    forecasts = model.predict().groupby("unique_id")
    assert forecasts.size().tolist() == [12] * 30
    assert forecasts["ds"].min().eq(2000).all(), "times are counts again"


def test_the_later_frame_must_have_the_columns_of_the_fit() -> None:
    model = fitted(past_exogenous=["wind"])
    with pytest.raises(InputError, match=r"column 'wind' is missing. Found 'ds', 'unique_id', 'y'"):
        model.predict(frame().drop(columns="wind"))
    unknown = "series 'b' not known; wanted 'a'.*left out of it: fit again once"
    with pytest.raises(InputError, match=unknown):
        model.predict(frame(unique_id="b"))
    with pytest.raises(InputError, match=r"'y' misses 2 of the last 7 steps .* at most 20%"):
        model.predict(frame().drop(index=[116, 117]))


def test_a_gap_in_a_later_frame_is_told_and_the_value_before_it_stands_for_it(
    ridge: Model,
) -> None:
    with_value = frame()
    with_value.loc[117, "y"] = with_value.loc[116, "y"]
    with pytest.warns(UserWarning, match="'y' misses 1 of the last 7 steps, and the data of the"):
        forecasts = ridge.predict(frame().drop(index=117))
    pd.testing.assert_frame_equal(forecasts, ridge.predict(with_value))


def test_local_times_are_told_of_a_later_frame_as_of_that_of_the_fit() -> None:
    hours = pd.date_range("2024-03-01", periods=960, freq="h")
    waves = pd.DataFrame({"ds": hours, "y": np.sin(np.arange(960.0))})
    model = fitted(waves, freq="1h")
    with pytest.warns(UserWarning, match="where clocks are put forward"):
        model.predict(waves[waves["ds"] != "2024-03-31 02:00"])


def test_a_level_is_percent_and_needs_enough_calibration_origins(ridge: Model) -> None:
    with pytest.raises(InputError, match=r"found 0\.8, wanted percent from 1 to below 100"):
        ridge.predict(levels=[0.8])
    assert ridge.predict(levels=80).equals(ridge.predict(levels=[80]))
    with pytest.raises(InputError, match=r"an interval of 99.9 % takes at least"):
        ridge.predict(levels=[99.9])


@pytest.mark.parametrize("levels", ["80", ["80"], "wide"])
def test_levels_of_text_are_told(levels: Any, ridge: Model) -> None:
    with pytest.raises(
        InputError, match=rf"levels={re.escape(repr(levels))}: found '.*', wanted percent"
    ):
        ridge.predict(levels=levels)


def test_windows_and_steps_that_are_no_whole_numbers_are_refused(ridge: Model) -> None:
    for options in ({"n_windows": 3.0}, {"n_windows": "3"}, {"step_size": 0}, {"step_size": True}):
        with pytest.raises(InputError, match="wanted a whole number of at least 1"):
            ridge.cross_validation(**options)
    with pytest.raises(InputError, match=r"horizon=1\.5: wanted a whole number"):
        ridge.predict(horizon=1.5)  # type: ignore[arg-type]


def test_models_of_a_comparison_have_names_of_their_own() -> None:
    several = [{"family": "ridge"}, {"family": "ridge", "per_horizon_step": True}]
    with pytest.raises(InputError, match=r"Two models are called 'ridge'.*`name`"):
        forecast.compare(frame(), several, freq="1D", horizon=2)
    with pytest.raises(InputError, match="Model None: wanted a name"):
        forecast.compare(frame(), None, freq="1D", horizon=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("freq", "jobs"),
    [
        (pd.offsets.Day(), -1),
        (timedelta(days=1), np.int64(1)),
        (np.timedelta64(86_400, "s"), 1),
    ],
)
def test_what_numpy_and_pandas_call_a_number_and_a_step_is_taken(
    freq: Any, jobs: Any, ridge_with_wind: Model
) -> None:
    theirs = fitted(
        freq=freq,
        horizon=np.int64(2),
        lookback=np.int64(7),
        seeds=0,
        n_jobs=jobs,
        past_exogenous="wind",
        calendar_features="day_of_week",
    )
    expected = ridge_with_wind.predict(levels=[80])
    pd.testing.assert_frame_equal(
        theirs.predict(horizon=np.int64(2), levels=np.int64(80)), expected
    )
    pd.testing.assert_frame_equal(theirs.predict(levels=None), ridge_with_wind.predict())


def test_a_column_alone_is_no_frame() -> None:
    with pytest.raises(InputError, match="ChunkedArray; wanted a frame"):
        fitted(pyarrow.chunked_array([[1.0]]))


def test_frames_of_other_libraries_give_the_forecasts_of_pandas(ridge: Model) -> None:
    forecasts = fitted(pyarrow.Table.from_pandas(frame())).predict()
    pd.testing.assert_frame_equal(forecasts, ridge.predict())


def test_a_pandas_frame_is_taken_as_it_is_and_stays_unchanged(ridge: Model) -> None:
    given = frame().sample(frac=1.0, random_state=0)
    before = given.copy()
    assert as_pandas(given) is given
    pd.testing.assert_frame_equal(fitted(given).predict(), ridge.predict())
    pd.testing.assert_frame_equal(given, before)


@pytest.mark.parametrize(
    "ds",
    [
        DAYS.astype(str),
        DAYS.tz_localize("UTC"),
        DAYS.to_period("D"),
        pd.Series([day.date() for day in DAYS]),
        pd.Series(DAYS).astype("date32[pyarrow]"),
        pd.Series(DAYS.tz_localize("UTC")).astype("timestamp[us, tz=UTC][pyarrow]"),
    ],
    ids=["text", "zone", "period", "dates", "dates of Arrow", "zone of Arrow"],
)
def test_times_may_be_text_zoned_periods_or_dates(ds: Any, ridge: Model) -> None:
    answer = fitted(frame(ds=ds)).predict()
    if answer["ds"].dt.tz is not None:
        answer["ds"] = answer["ds"].dt.tz_localize(None)
    pd.testing.assert_frame_equal(answer, ridge.predict())


def test_a_day_that_follows_the_local_clock_is_forecast_so_after_the_clock_changed() -> None:
    hours = pd.date_range("2024-02-01", "2024-04-20", freq="h", tz="Europe/Berlin")
    course = np.cos(2 * np.pi * (hours.hour - 8) / 24)
    noisy = course + np.random.default_rng(0).normal(0, 0.1, len(hours))
    rows = pd.DataFrame({"ds": hours, "y": noisy})
    model = forecast.fit(rows, "ridge", freq="1h", horizon=24, lookback=3)
    answer = model.predict()
    expected = np.cos(2 * np.pi * (answer["ds"].dt.hour - 8) / 24)
    assert np.abs(answer["ridge"] - expected).max() < 0.1


def test_sessions_are_named_by_the_local_date_of_times_with_a_zone() -> None:
    days = pd.bdate_range(end="2024-11-01", periods=120, tz="America/New_York")
    weekdays = {"kind": "weekdays"}
    expected = fitted(frame(ds=days.tz_localize(None)), freq=weekdays).predict()
    of_objects = fitted(frame(ds=pd.Series(list(days), dtype=object)), freq=weekdays).predict()
    pd.testing.assert_frame_equal(of_objects, expected)
    zoned = expected.assign(ds=expected["ds"].dt.tz_localize(days.tz))  # after the clock changed
    pd.testing.assert_frame_equal(fitted(frame(ds=days), freq=weekdays).predict(), zoned)


def test_columns_named_by_numbers_are_named_by_their_text() -> None:
    theirs = frame().set_axis([0, 1, 2, 3], axis=1)
    model = fitted(theirs, id_col="0", time_col="1", target_col="2")
    assert list(model.predict().columns) == ["0", "1", "ridge"]
    assert model.predict(theirs).equals(model.predict())


def test_the_callers_names_of_the_columns_come_back() -> None:
    theirs = frame().rename(columns={"unique_id": "shop", "ds": "day", "y": "sales"})
    model = fitted(theirs, id_col="shop", time_col="day", target_col="sales")
    forecasts = model.predict(levels=[80])
    assert list(forecasts.columns) == ["shop", "day", "ridge", "ridge-lo-80", "ridge-hi-80"]
    windows = model.cross_validation(n_windows=3)
    assert list(windows.columns) == ["shop", "day", "cutoff", "sales", "ridge"]
    watched = model.watch(theirs, newest=3, rate=50)
    alarms = ["p", "alarm_level", "alarm"]
    assert list(watched.columns) == ["shop", "day", "sales", "ridge", *alarms]
    assert len(theirs.merge(windows, on=["shop", "day", "sales"])) == len(windows) > 0


def numbered() -> pd.DataFrame:
    """Series 2, 10 and 1, whose texts are in another order; each ends near its number."""
    parts = [frame(unique_id=number, y=number + np.sin(np.arange(120.0))) for number in (2, 10, 1)]
    return pd.concat(parts, ignore_index=True)


class OnlyArrow:
    """A frame that speaks Arrow and nothing else, as one of polars does."""

    def __init__(self, table: pyarrow.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def with_ids(change: Callable[[pd.Series], Any]) -> pd.DataFrame:
    return numbered().assign(unique_id=lambda rows: change(rows["unique_id"]))


OWN_IDS: dict[str, tuple[Any, list[int]]] = {
    "int64": (numbered(), [1, 2, 10]),
    "int64[pyarrow]": (with_ids(lambda ids: ids.astype("int64[pyarrow]")), [1, 2, 10]),
    "objects": (with_ids(lambda ids: ids.astype(object)), [1, 2, 10]),
    "floats": (with_ids(lambda ids: ids.astype(float)), [1, 2, 10]),
    "dates": (with_ids(lambda ids: DAYS[0] + pd.to_timedelta(ids, "D")), [1, 2, 10]),
    "categories": (with_ids(lambda ids: pd.Categorical(ids, [10, 1, 2, 7])), [10, 1, 2]),
    "only Arrow": (
        OnlyArrow(pyarrow.table(dict(numbered().astype({"unique_id": "uint32"})))),
        [1, 2, 10],
    ),
    "text": (with_ids(lambda ids: ids.astype(str)), [1, 10, 2]),
    "several types": (with_ids(lambda ids: ids.astype(object).replace(1, "a")), [10, 2, 1]),
}
"""By kind a frame whose series are named so, and the numbers of the series in their order."""


@pytest.mark.parametrize("kind", OWN_IDS)
def test_names_of_series_come_back_in_their_own_type_and_order(kind: str, tmp_path: Path) -> None:
    df, numbers = OWN_IDS[kind]
    theirs = as_pandas(df)
    model = fitted(df, "naive")
    model.save(tmp_path / "naive")
    loaded = forecast.load(tmp_path / "naive")
    tables = [
        model.predict(levels=80),
        model.predict(df),
        loaded.predict(df),
        model.cross_validation(n_windows=2),
        model.explain(),
        loaded.explain(df),
        model.watch(df, newest=3, rate=50),
    ]
    histories = []
    for table in tables:
        assert table["unique_id"].dtype == theirs["unique_id"].dtype
        assert table.index.equals(pd.RangeIndex(len(table)))
        histories.append(list(dict.fromkeys(table["unique_id"])))
    assert histories == [histories[0]] * len(tables)
    ends = theirs.groupby("unique_id", observed=True)["y"].last()
    for table in tables[:3]:
        last_forecasts = table.groupby("unique_id", sort=False, observed=True)["naive"].last()
        assert last_forecasts.round().tolist() == numbers
        assert last_forecasts.equals(ends[last_forecasts.index].rename("naive"))


def test_the_forecasts_of_a_board_have_the_own_names_of_the_series() -> None:
    days = pd.date_range("2022-01-01", periods=400, freq="D")
    parts = [
        pd.DataFrame({"unique_id": number, "ds": days, "y": number + np.sin(np.arange(400.0))})
        for number in (2, 10, 1)
    ]
    df = pd.concat(parts).astype({"unique_id": "Int64"})
    board = forecast.compare(df, "naive", freq="1D", horizon=2, lookback=7, season_length=1)
    for table in (board.forecasts("naive"), board.model("naive").predict()):
        assert table["unique_id"].dtype == "Int64"
        assert table["unique_id"].unique().tolist() == [1, 2, 10]
    assert len(df.merge(board.forecasts("naive"), on=["unique_id", "ds", "y"])) == len(
        board.forecasts("naive")
    )


def test_the_names_of_series_have_the_type_of_the_history_they_are_from(tmp_path: Path) -> None:
    of_text = with_ids(lambda ids: ids.astype(str))
    saved = fitted(numbered(), "naive")
    saved.save(tmp_path / "naive")
    for model in (saved, forecast.load(tmp_path / "naive")):
        assert model.predict(of_text)["unique_id"].tolist() == ["1", "1", "10", "10", "2", "2"]
        narrow = numbered().query("unique_id != 1").astype({"unique_id": "int8"})
        names = model.predict(narrow)["unique_id"]
        assert names.dtype == "int8"
        assert names.tolist() == [2, 2, 10, 10]
    names = fitted(of_text, "naive").predict(numbered())["unique_id"]
    assert names.tolist() == [1, 1, 2, 2, 10, 10]


def test_dates_whose_points_were_taken_for_thousands_are_told_to_be_text() -> None:
    cells = io.StringIO("ds;y\n01.01.2020;1.250\n02.01.2020;1.300\n")
    frame = pd.read_csv(cells, sep=";", thousands=".")
    with pytest.raises(InputError, match=r"such as 1012020; .* as text \(`dtype=str`\)"):
        forecast.fit(frame, "naive", freq="1D", horizon=2)


def test_where_most_steps_have_no_row_zeros_are_advised() -> None:
    days = pd.date_range("2024-01-01", periods=300)
    frame = pd.DataFrame({"ds": days, "y": 1.0})[np.random.default_rng(0).random(300) < 0.3]
    with pytest.raises(InputError, match=r"Fill them \(by 0 where no row means none\)"):
        forecast.fit(frame, "naive", freq="1D", horizon=2)


def test_text_that_looks_like_a_number_stays_text() -> None:
    df = with_ids(lambda ids: ids.map({2: "02", 10: "10", 1: "1e3"}))
    assert fitted(df, "naive").predict()["unique_id"].tolist()[::2] == ["02", "10", "1e3"]


def test_series_that_are_watched_together_stay_in_the_order_of_their_times() -> None:
    watched = fitted(numbered(), "naive").watch(numbered(), newest=3, rate=50, pooled=True)
    assert watched["ds"].is_monotonic_increasing
    assert watched["unique_id"].dtype == np.int64
    assert len(numbered().merge(watched, on=["unique_id", "ds", "y"])) == 9


COUNTED = pd.DataFrame({"ds": np.arange(900, 2000), "y": np.sin(np.arange(1100.0))})


@pytest.fixture(scope="module")
def counted_forecasts() -> pd.DataFrame:
    return fitted(COUNTED, freq=1).predict()


@pytest.mark.parametrize("kind", ["int16", "uint16", "Int16", "float32"])
def test_rows_may_be_counted_in_numbers_of_few_bits(
    kind: str, counted_forecasts: pd.DataFrame
) -> None:
    forecasts = fitted(COUNTED.astype({"ds": kind}), freq=1).predict()
    assert forecasts["ds"].tolist() == [2000, 2001]
    assert forecasts.equals(counted_forecasts)


def test_no_column_of_an_answer_hides_another() -> None:
    with pytest.raises(InputError, match="'alarm_level': wanted letters"):
        fitted(model={"family": "naive", "name": "alarm_level"})
    theirs = frame().rename(columns={"unique_id": "output"})
    model = fitted(theirs, "naive", id_col="output", target_col=["y", "wind"])
    with pytest.raises(
        InputError, match=r"one name; wanted different ones, found .*'output', 'output'"
    ):
        model.predict()


def test_columns_that_are_not_asked_for_may_have_any_name(ridge: Model) -> None:
    theirs = frame(unique_id=range(120), shop="a", day=DAYS, ds="never")
    forecasts = fitted(theirs, id_col="shop", time_col="day").predict()
    assert forecasts["ridge"].equals(ridge.predict()["ridge"])


def test_four_years_of_months_are_compared_a_year_ahead_with_the_last_season() -> None:
    months = frame(ds=pd.date_range("2010-01-01", periods=120, freq="MS"))[72:]
    board = forecast.compare(months, ["seasonal_naive", "ridge"], freq="MS", horizon=12, n_jobs=1)
    assert (board.leaderboard["status"] == "ok").all()
    assert len(board.forecasts("ridge")) == 12


def test_days_that_barely_hold_the_blocks_of_a_long_horizon_are_fitted() -> None:
    days = frame(ds=pd.date_range("2010-01-01", periods=120, freq="B"))[:105]
    assert len(forecast.fit(days, "ridge", freq="B", horizon=24, n_jobs=1).predict()) == 24


@pytest.mark.parametrize(
    ("freq", "first", "second"),
    [
        ("C", "2024-06-17 00:00", "2024-06-18 00:00"),
        ("bh", "2024-01-22 09:00", "2024-01-22 10:00"),
        ("WOM-3FRI", "2034-01-20 00:00", "2034-02-17 00:00"),
    ],
)
def test_steps_of_a_working_week_are_forecast_without_a_warning(
    freq: str, first: str, second: str
) -> None:
    df = frame(ds=pd.date_range("2024-01-01", periods=120, freq=freq))
    times = fitted(df, "naive", freq=freq).predict()["ds"]
    assert times.tolist() == [pd.Timestamp(first), pd.Timestamp(second)]


def test_twelve_rows_that_are_too_few_for_a_ridge_are_told_what_to_change() -> None:
    with pytest.raises(ModelError, match=r"at least 2 are needed\. Give more rows, shorten"):
        forecast.fit(frame().head(12), "ridge", freq="1D", horizon=3, n_jobs=1)


def test_a_short_series_has_intervals_of_95_percent() -> None:
    months = frame(ds=pd.date_range("2010-01-01", periods=120, freq="MS"))
    forecasts = forecast.fit(months, "ridge", freq="MS", horizon=6, n_jobs=1).predict(levels=95)
    assert (forecasts["ridge-lo-95"] < forecasts["ridge-hi-95"]).all()


def test_a_frame_without_series_names_is_one_series() -> None:
    assert set(fitted(frame().drop(columns="unique_id")).predict()["unique_id"]) == {"series"}


def test_a_value_far_from_all_others_is_warned_of():
    """It sets the scale of every model, and a forecast of 95.6 where 87 is right looks like one."""
    y = 90 + np.sin(np.arange(900.0))
    y[400] = 1e9
    days = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=900, freq="D"), "y": y})
    with pytest.warns(UserWarning, match=r"(?s)spikes.*y"):
        fitted(days)


def test_an_input_that_holds_the_next_value_is_warned_of_as_a_leak() -> None:
    wind = 10 + np.random.default_rng(0).normal(0, 1, 120).round(2)
    leaking = frame(y=wind, wind=[*wind[1:], 10.0])
    with pytest.warns(UserWarning, match=r"'wind': looks like a leak: it tells 'y' 1 step later"):
        fitted(leaking, past_exogenous="wind")


def test_weeks_that_begin_on_other_days_in_each_series_are_told_what_to_write() -> None:
    frame = pd.concat(
        pd.DataFrame({"unique_id": day, "ds": pd.date_range("2021-01-01", periods=120, freq=day)})
        for day in ("W-MON", "W-WED")
    ).assign(y=1.0)
    for freq in ("W-MON", {"kind": "weekdays", "days": ["mon", "wed"]}):
        with pytest.raises(InputError, match=r"series have steps of their own.*its Monday"):
            fitted(frame, freq=freq)


def test_a_frame_with_a_column_for_each_month_is_told_how_to_turn_it() -> None:
    wide = pd.DataFrame({"shop": ["a"], **dict.fromkeys(map(str, DAYS.date), 1.0)})
    with pytest.raises(InputError, match=r"'ds' not found. 120 columns .*melt\(id_vars=\['shop'\]"):
        fitted(wide)


def test_local_hours_without_a_zone_are_warned_of_with_the_line_that_converts_them():
    local = pd.date_range("2024-03-20", "2024-04-10", freq="h", tz="Europe/Berlin").tz_localize(
        None
    )
    hours = pd.DataFrame({"when": local, "y": np.sin(np.arange(len(local)))})
    with pytest.warns(UserWarning, match=r"df\['when'\] = df\['when'\]\.dt\.tz_localize") as warned:
        forecast.fit(hours, "naive", freq="1h", horizon=2, time_col="when")
    assert "source" not in str(warned[0].message)


def test_a_ridge_that_sees_one_row_goes_on_by_the_mean_change() -> None:
    line = pd.DataFrame({"ds": pd.date_range("2000", periods=80, freq="QS"), "y": np.arange(80.0)})
    model = forecast.fit(line, "ridge", freq="QS", horizon=2, lookback=1)
    np.testing.assert_allclose(model.predict()["ridge"], [80.0, 81.0])


def test_five_rows_are_forecast_by_a_rule_and_four_are_told_to_be_too_few() -> None:
    assert (
        len(fitted(frame()[:5], "naive", horizon=1, lookback=None, season_length=1).predict()) == 1
    )
    words = "has 1 of 4 steps, needs 2 .* where above 1, take more rows"
    with pytest.raises(InputError, match=words):
        fitted(frame()[:4], "naive", horizon=1, lookback=None, season_length=1)


@pytest.mark.parametrize("n_rows", [12, 13, 14])
def test_a_dozen_years_are_compared_two_ahead_with_a_word_on_few_origins(n_rows: int) -> None:
    years = frame()[:n_rows].assign(ds=pd.date_range("2010", periods=n_rows, freq="YS"))
    board = forecast.compare(years, ["naive", "lookback_mean"], freq="YS", horizon=2, n_jobs=1)
    scores = board.leaderboard.set_index("model")["mase"]
    assert scores[["naive", "lookback_mean"]].notna().all()
    assert "too few separate horizons to test: " in " ".join(board.verdicts)


ONE_AND_TWENTY = pd.concat(
    [frame(unique_id=1), frame(unique_id=20)],
    ignore_index=True,
)


@pytest.fixture(scope="module")
def one_and_twenty() -> Model:
    return forecast.fit(ONE_AND_TWENTY, "naive", freq="1D", horizon=2)


@pytest.mark.parametrize("dtype", ["Float64", "float32", "object", "category"])
def test_series_named_by_whole_numbers_are_the_same_as_floats(
    dtype: str, one_and_twenty: Model
) -> None:
    """A join with a row that lacks a name makes 1.0 of 1."""
    floats = ONE_AND_TWENTY.astype({"unique_id": float}).astype({"unique_id": dtype})
    expected = one_and_twenty.predict(ONE_AND_TWENTY)
    assert expected["unique_id"].tolist() == [1, 1, 20, 20]
    forecasts = one_and_twenty.predict(floats)
    assert str(forecasts["unique_id"].dtype) == dtype
    assert forecasts["unique_id"].tolist() == [1.0, 1.0, 20.0, 20.0]
    pd.testing.assert_series_equal(forecasts["naive"], expected["naive"])
    of_floats = forecast.fit(floats, "naive", freq="1D", horizon=2)
    pd.testing.assert_frame_equal(of_floats.predict(ONE_AND_TWENTY), expected)


def test_series_named_by_fractions_keep_their_point() -> None:
    rows = frame()
    two_series = pd.concat(
        [rows.assign(unique_id=1.0), rows.assign(unique_id=1.5)], ignore_index=True
    )
    model = forecast.fit(two_series, "naive", freq="1D", horizon=2)
    assert model.predict()["unique_id"].tolist() == [1.0, 1.0, 1.5, 1.5]
    whole = model.predict(two_series[two_series["unique_id"] == 1.0])
    assert whole["unique_id"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("number", [1, 1.0])
def test_a_number_and_a_text_that_are_the_same_id_are_told_to_look_alike(number: float) -> None:
    both = pd.concat([frame(unique_id=name) for name in (number, "1", 2)], ignore_index=True)
    with pytest.raises(InputError, match=r"^df: two ids of 'unique_id' look alike, as 1 does"):
        fitted(both)
