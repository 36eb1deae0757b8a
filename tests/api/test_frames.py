"""Bad input of the door for Python: one sentence with the column, what was found, what was wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

import forecast
from forecast.api.frames import as_pandas
from forecast.api.model import Model
from forecast.system.errors import InputError

DAYS = pd.date_range("2024-01-01", periods=120, freq="D")


def frame(**columns: Any) -> pd.DataFrame:
    plain = {"unique_id": "a", "ds": DAYS, "y": np.sin(np.arange(120.0)), "wind": np.cos(np.arange(120.0))}
    return pd.DataFrame({**plain, **columns})


def fitted(df: Any = None, model: Any = "ridge", **options: Any) -> Model:
    usual = {"freq": "1D", "horizon": 2, "lookback": 7, "season_length": 7, "n_jobs": 1}
    return forecast.fit(frame() if df is None else df, model, **{**usual, **options})


def mixed() -> pd.DataFrame:
    times = [*DAYS[:60], *DAYS[60:].tz_localize("UTC")]
    return frame(ds=pd.Series(times, dtype=object))


def hours() -> pd.DataFrame:
    return frame(ds=pd.date_range("2024-01-01", periods=120, freq="h"))


class LazyFrame:
    """As polars' own: it has no rows until it is collected."""

    def collect(self) -> pd.DataFrame:
        return frame()


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, ...]]] = {
    "no target": (lambda: frame().rename(columns={"y": "temp"}), {}, ("'y'", "'temp'", "`target_col`")),
    "no time": (
        lambda: frame().rename(columns={"ds": "dss"}), {}, ("'ds'", "Did you mean 'dss'?", "`time_col='dss'`")
    ),
    "other names": (
        lambda: frame().rename(columns={"ds": "Day"}), {}, ("'ds'", "Found 'Day'", "Pass `time_col='Day'`")
    ),
    "flags": (lambda: frame(y=[True, False] * 60), {}, ("'y'", "type bool", "df['y'].astype(float)")),
    "a wrong calendar feature": (frame, {"calendar_features": ["hour"]}, ("calendar_features", "'hour_of_day'")),
    "an index": (lambda: frame().set_index("ds"), {}, ("'ds'", "the index has it", "`df.reset_index()`")),
    "a nameless index": (
        lambda: frame().set_index("ds").rename_axis(None), {}, ("'ds'", "`df.reset_index(names='ds')`")
    ),
    "duplicates": (
        lambda: pd.concat([frame(), frame().head(3)]), {}, ("3 rows", "`unique_id, ds`", "'a' at 2024-01-01", "once")
    ),
    "a finer freq": (frame, {"freq": "1h"}, ("1 days 00:00:00 apart", "freq='1h'", "freq='1D'")),
    "a coarser freq": (hours, {}, ("0 days 01:00:00 apart", "freq='1D'", "freq='1h'")),
    "no weekends": (
        lambda: frame(ds=pd.bdate_range("2024-01-01", periods=120)), {}, ("no value at 46 of 166", "freq='B'", "XNYS")
    ),
    "a stamp off the grid": (
        lambda: frame(ds=DAYS.where(DAYS[9] != DAYS, DAYS[9] + pd.Timedelta(1, "h"))), {}, ("row 9", "correct `freq`")
    ),
    "no freq": (frame, {"freq": "1x"}, ("freq='1x'", "unknown step", "'1h'")),
    "a former freq": (frame, {"freq": "2H"}, ("freq='2H'", "Pass '2h'")),
    "other dates": (lambda: frame(ds=DAYS.strftime("%m/%d/%Y")), {}, ("'ds'", "'01/01/2024' in row 0", "format=")),
    "a horizon of text": (frame, {"horizon": "2"}, ("horizon='2'", "whole number")),
    "a wrong key": (frame, {"model": {"family": "gru", "unit": 8}}, ("model 'gru'", "Did you mean 'units'?")),
    "half of the splits": (frame, {"splits": {"train": 0.9}}, ("splits.validation", "missing")),
    "mixed zones": (mixed, {}, ("'ds'", "with a zone", "without", "utc=True")),
    "numbers as text": (lambda: frame(y=["1.0"] * 120), {}, ("'y'", "wanted numbers", "pandas.to_numeric")),
    "objects": (lambda: frame(y=pd.Series([1.0, "calm"] * 60, dtype=object)), {}, ("'y'", "'calm'", "row 1")),
    "times as numbers": (lambda: frame(ds=np.arange(120)), {}, ("'ds'", "numbers such as 0", "pandas.to_datetime")),
    "a long horizon": (frame, {"horizon": 200}, ("'a'", "120 time steps", "horizon=200", "shorter")),
    "no exogenous": (frame, {"past_exogenous": ["winds"]}, ("'winds'", "Did you mean 'wind'?")),
    "capitals": (frame, {"model": "GRU"}, ("'GRU'", "Did you mean 'gru'?")),
    "several models": (frame, {"model": ["naive", "ridge"]}, ("['naive', 'ridge']", "`forecast.compare`")),
    "unknown model": (frame, {"model": "rigde"}, ("'rigde'", "Did you mean 'ridge'?", "'gru'")),
    "an unsuited model": (frame, {"model": "seasonal_naive", "season_length": 1}, ("'seasonal_naive'", "season")),
    "a combination": (frame, {"model": "stacked"}, ("'stacked'", "`forecast.compare`")),
    "unknown tuning": (frame, {"tuning": "quik"}, ("'quik'", "Did you mean 'quick'?")),
    "a lazy frame": (LazyFrame, {}, ("LazyFrame", "`df.collect()`")),
    "a series": (lambda: frame()["y"], {}, ("Series", "reset_index()")),
    "a list": (lambda: [1, 2], {}, ("list", "wanted a frame")),
    "no rows": (lambda: frame().head(0), {}, ("no rows", "wanted one per series and time")),
    "many gaps": (lambda: frame().drop(index=range(20, 60)), {}, ("'a'", "'y'", "40 of 120", "at most 20%")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told_with_the_column_what_was_found_and_what_to_type(name: str) -> None:
    make, options, parts = CASES[name]
    with pytest.raises(InputError) as raised:
        fitted(make(), **options)
    said = str(raised.value)
    assert not [part for part in parts if part not in said], said
    assert "configs/" not in said and "\n" not in said


def test_a_series_that_ends_early_is_named() -> None:
    other = frame(unique_id="b").head(60)
    with pytest.raises(InputError, match=r"series 'b': 60 time steps.*leave out series that begin late or end early"):
        fitted(pd.concat([frame(), other]))


def test_the_later_frame_must_have_the_columns_of_the_fit() -> None:
    model = fitted(past_exogenous=["wind"])
    with pytest.raises(InputError, match=r"column 'wind'.* not found. Found 'ds', 'unique_id', 'y'"):
        model.predict(frame().drop(columns="wind"))
    with pytest.raises(InputError, match="series 'b' not known; wanted 'a'"):
        model.predict(frame(unique_id="b"))
    with pytest.raises(InputError, match="column 'y' misses 1 of the last 7 steps"):
        model.predict(frame().drop(index=117))


def test_a_level_is_percent_and_needs_enough_calibration_origins() -> None:
    model = fitted()
    with pytest.raises(InputError, match=r"found 0\.8, wanted percent from 1 to below 100"):
        model.predict(levels=[0.8])
    assert model.predict(levels=80).equals(model.predict(levels=[80]))
    with pytest.raises(InputError, match=r"cannot support a 99.9 % interval"):
        model.predict(levels=[99.9])
    with pytest.raises(InputError, match=r"Horizon 4: intervals are calibrated for 2 steps\. .* or for no levels"):
        fitted(model="naive").predict(horizon=4, levels=[80])


def test_frames_of_other_libraries_give_the_forecasts_of_pandas() -> None:
    wanted = fitted().predict()
    pd.testing.assert_frame_equal(fitted(pyarrow.Table.from_pandas(frame())).predict(), wanted)
    pd.testing.assert_frame_equal(fitted(OnlyInterchange()).predict(), wanted)


class OnlyInterchange:
    """What knows the dataframe interchange protocol and nothing else."""

    def __dataframe__(self, **options: Any) -> Any:
        return pyarrow.Table.from_pandas(frame()).__dataframe__(**options)


def test_a_pandas_frame_is_taken_as_it_is_and_stays_unchanged() -> None:
    given = frame().sample(frac=1.0, random_state=0)
    before = given.copy()
    assert as_pandas(given) is given
    pd.testing.assert_frame_equal(fitted(given).predict(), fitted().predict())
    pd.testing.assert_frame_equal(given, before)


@pytest.mark.parametrize(
    "ds",
    [DAYS.astype(str), DAYS.tz_localize("UTC"), DAYS.to_period("D"), pd.Series([day.date() for day in DAYS])],
    ids=["text", "zone", "period", "dates"],
)
def test_times_may_be_text_zoned_periods_or_dates(ds: Any) -> None:
    pd.testing.assert_frame_equal(fitted(frame(ds=ds)).predict(), fitted().predict())


def test_the_callers_names_of_the_columns_come_back() -> None:
    theirs = frame().rename(columns={"unique_id": "shop", "ds": "day", "y": "sales"})
    found = fitted(theirs, id_col="shop", time_col="day", target_col="sales").predict(levels=[80])
    assert list(found.columns) == ["shop", "day", "ridge", "ridge-lo-80", "ridge-hi-80"]


def test_columns_that_are_not_asked_for_may_have_any_name() -> None:
    theirs = frame(unique_id=range(120), shop="a", day=DAYS, ds="never")
    found = fitted(theirs, id_col="shop", time_col="day").predict()
    assert found["ridge"].equals(fitted().predict()["ridge"])


def test_a_short_series_has_intervals_of_95_percent() -> None:
    months = frame(ds=pd.date_range("2010-01-01", periods=120, freq="MS"))
    found = forecast.fit(months, "ridge", freq="MS", horizon=6, n_jobs=1).predict(levels=95)
    assert (found["ridge-lo-95"] < found["ridge-hi-95"]).all()


def test_a_frame_without_series_names_is_one_series() -> None:
    assert set(fitted(frame().drop(columns="unique_id")).predict()["unique_id"]) == {"series"}
