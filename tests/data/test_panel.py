"""The long frame becomes arrays on the calendar's grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.data.calendars import calendar_features
from forecast.data.panel import from_frame, series_name, target_number
from forecast.system.errors import InputError
from tests.support import example_data, problems


def test_a_step_without_a_row_is_nan_and_no_row_is_invented_elsewhere():
    long = example_data.hourly(rows=6).drop(index=[2, 3])
    (series,) = from_frame(long, "example", example_data.dataset().task).series
    np.testing.assert_array_equal(series.values[:, 0], [10, 11, np.nan, np.nan, 14, 15])
    np.testing.assert_array_equal(
        series.ds, pd.date_range("2024-01-01", periods=6, freq="h").to_numpy()
    )


def test_weekends_are_no_gaps_of_an_exchange():
    # Friday, Monday, Tuesday
    sessions = pd.to_datetime(["2024-01-05", "2024-01-08", "2024-01-09"]).as_unit("ns")
    long = pd.DataFrame({"unique_id": "a", "ds": sessions, "temp": [1.0, 2.0, 3.0]})
    settings = example_data.dataset(calendar={"kind": "sessions", "exchange": "XNYS"})
    (series,) = from_frame(long, "example", settings.task).series
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, 3])


def test_columns_stand_in_the_order_of_the_dataset_targets_first():
    shops = problems.panel_of(
        problems.frame(gaps=False)[["rain", "wind", "price", "ds", "unique_id", "sales"]]
    )
    long = problems.frame(gaps=False)
    for series in shops.series:
        rows = long[long["unique_id"] == series.unique_id]
        np.testing.assert_array_equal(
            series.values, rows[["sales", "price", "wind", "rain"]].to_numpy()
        )
    assert shops.outputs == 2


def test_series_keep_their_own_lengths_and_are_found_by_name():
    shops = problems.panel_of(problems.frame())
    assert {uid: len(series) for uid, series in shops.by_id.items()} == problems.ROWS


def test_series_of_one_column_are_no_copies_of_the_frame_whose_rows_may_be_in_any_order():
    """Of ten thousand series copies are most of what a process keeps."""
    frame = example_data.hourly(rows=6, series=("a", "b"))
    task = example_data.dataset().task
    panel = from_frame(frame, "example", task)
    column = frame["temp"].to_numpy()
    assert all(np.shares_memory(series.values, column) for series in panel.series)
    mixed = from_frame(frame.sort_values("ds", kind="stable"), "example", task)
    for series, other in zip(panel.series, mixed.series, strict=True):
        assert series.unique_id == other.unique_id
        np.testing.assert_array_equal(series.values, other.values)


def test_calendar_features_reach_one_horizon_beyond_the_last_row():
    shops = problems.panel_of(problems.frame())
    for series in shops.series:
        hours = pd.date_range(series.ds[0], periods=len(series) + problems.HORIZON, freq="h")
        np.testing.assert_array_equal(series.future, calendar_features(hours, ["hour_of_day"]))


def test_until_is_as_if_nothing_later_had_been_observed():
    long = problems.frame()
    cutoff = pd.Timestamp("2024-01-03 05:00")
    until = problems.until(problems.panel_of(long), cutoff)
    expected = problems.panel_of(long[long["ds"] <= cutoff])
    for a, b in zip(until.series, expected.series, strict=True):
        assert a.unique_id == b.unique_id
        for name in ("ds", "values", "future"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(
        InputError,
        match=r"column 'rain' not found; the frame has .*'sales'.* configs/datasets.yaml",
    ):
        problems.panel_of(problems.frame().drop(columns="rain"))


def test_an_empty_frame_is_refused():
    with pytest.raises(InputError, match="'shops' has no rows"):
        problems.panel_of(problems.frame().iloc[:0])


@pytest.mark.parametrize("unique_id", ["a", "a/b", "south/m"])
@pytest.mark.parametrize("targets", [["y"], ["y", "wind m/s", "m/s", "s"], ["s", "m/s"]])
def test_a_series_is_of_the_target_that_named_it_though_names_have_slashes(unique_id, targets):
    for number, target in enumerate(targets):
        if (unique_id, target) != ("south/m", "s"):  # which "m/s" of "south" is called too
            assert target_number(series_name(unique_id, target, targets), targets) == number
