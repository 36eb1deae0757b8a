from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import load_dataset
from forecast.data import preparation, snapshots
from forecast.data.columns import derive_and_select
from forecast.data.ingest import fetch_snapshot
from forecast.data.sources import Request
from forecast.system.errors import DataError, InputError
from tests.support.example_data import dataset, hourly


def with_file(root: Path, frame: pd.DataFrame) -> Path:
    (root / "data").mkdir(exist_ok=True)
    frame.to_csv(root / "data" / "mine.csv", index=False)
    return root


def test_the_pointer_of_the_stocks_is_what_the_installed_package_yields(tmp_path: Path):
    """Nothing of the prices is in the repository; the digest proves that everybody has the same
    ones.
    """
    snapshot = preparation.take_snapshot("stocks", load_dataset("stocks"), root=tmp_path)
    assert snapshot == snapshots.read_pointer(Path(), "stocks")


def test_the_weather_in_the_repository_is_what_its_pointer_says():
    frame = preparation.check_data("weather", load_dataset("weather"), root=Path())[0]
    assert len(frame) == 21_888 and frame["ds"].max() == pd.Timestamp("2026-06-30 23:00")


def test_an_absent_snapshot_is_made_again_when_its_source_still_gives_the_same(tmp_path: Path):
    with_file(tmp_path, hourly())
    pointer = preparation.take_snapshot("mine", dataset(), root=tmp_path)
    snapshots.move_pointer(tmp_path, "mine", pointer)
    (tmp_path / pointer.snapshot).unlink()
    pd.testing.assert_frame_equal(
        preparation.read_snapshot("mine", dataset(), root=tmp_path), hourly()
    )


def test_an_absent_snapshot_whose_source_changed_is_refused(tmp_path: Path):
    with_file(tmp_path, hourly())
    pointer = preparation.take_snapshot("mine", dataset(), root=tmp_path)
    snapshots.move_pointer(tmp_path, "mine", pointer)
    (tmp_path / pointer.snapshot).unlink()
    with_file(tmp_path, hourly().assign(temp=0.5))
    with pytest.raises(DataError, match=r"now gives content sha256 .*forecast fetch mine"):
        preparation.read_snapshot("mine", dataset(), root=tmp_path)


def test_a_file_that_changed_after_its_snapshot_is_noticed(tmp_path: Path):
    with_file(tmp_path, hourly())
    snapshots.move_pointer(
        tmp_path, "mine", preparation.take_snapshot("mine", dataset(), root=tmp_path)
    )
    assert len(preparation.check_data("mine", dataset(), root=tmp_path)[0]) == 100
    with_file(tmp_path, hourly(rows=120))
    with pytest.raises(
        InputError, match=r"data/mine.csv: changed since its snapshot .* Run `forecast fetch mine`"
    ):
        preparation.check_data("mine", dataset(), root=tmp_path)


def test_a_column_named_after_the_snapshot_was_taken_is_said_to_need_a_fetch(tmp_path: Path):
    with_file(tmp_path, hourly().assign(wind=1.0))
    snapshots.move_pointer(
        tmp_path, "mine", preparation.take_snapshot("mine", dataset(), root=tmp_path)
    )
    more = dataset(past_exogenous=[{"column": "wind"}])
    with pytest.raises(
        InputError,
        match=r"'wind' is missing.* only since the last fetch, run `forecast fetch mine`",
    ):
        preparation.check_data("mine", more, root=tmp_path)
    snapshots.move_pointer(tmp_path, "mine", preparation.take_snapshot("mine", more, root=tmp_path))
    assert list(preparation.check_data("mine", more, root=tmp_path)[0]) == [
        "unique_id",
        "ds",
        "temp",
        "wind",
    ]


def test_a_file_written_otherwise_with_the_same_rows_is_taken_by_a_fetch(tmp_path: Path):
    with_file(tmp_path, hourly())
    fetch_snapshot(Request("mine", dataset(), tmp_path), now=pd.Timestamp("2024-03-01"))
    with_file(tmp_path, hourly().assign(note="seen"))
    with pytest.raises(InputError, match="changed since its snapshot"):
        preparation.check_data("mine", dataset(), root=tmp_path)
    fetch_snapshot(Request("mine", dataset(), tmp_path), now=pd.Timestamp("2024-03-02"))
    assert len(preparation.check_data("mine", dataset(), root=tmp_path)[0]) == 100
    assert len(snapshots.list_snapshots(tmp_path, "mine")) == 1


def test_daily_range_is_the_log_of_high_over_low():
    raw = pd.DataFrame(
        {
            "unique_id": "s",
            "ds": pd.to_datetime(["2024-01-02"]),
            "close": 1.0,
            "high": np.e,
            "low": 1.0,
        }
    )
    derived = derive_and_select(
        raw,
        dataset(target={"column": "close"}, past_exogenous=[{"column": "daily_range"}]),
        where="x",
    )
    assert list(derived.columns) == ["unique_id", "ds", "close", "daily_range"]
    assert derived["daily_range"].tolist() == pytest.approx([1.0], rel=1e-15)


def test_a_derived_column_without_its_inputs_names_what_is_missing():
    raw = hourly().rename(columns={"temp": "close"})
    with pytest.raises(InputError, match="column 'high' is missing"):
        derive_and_select(
            raw,
            dataset(target={"column": "close"}, past_exogenous=[{"column": "daily_range"}]),
            where="x",
        )


@pytest.mark.parametrize("drop_rows", [True, False], ids=["absent rows", "empty cells"])
def test_more_missing_than_allowed_is_refused_with_the_share(drop_rows: bool):
    frame = hourly(rows=100)
    holes = [10, 11, 12]
    frame = (
        frame.drop(index=holes)
        if drop_rows
        else frame.assign(temp=frame["temp"].mask(frame.index.isin(holes)))
    )
    allowing = dataset(target={"column": "temp", "max_missing": 0.03})
    preparation.check_prepared(frame, allowing, where="x")
    with pytest.raises(
        InputError,
        match=r"series 'a': column 'temp' misses 3 of 100 steps \(3.00%\), wanted at most 2.00%",
    ):
        preparation.check_prepared(
            frame, dataset(target={"column": "temp", "max_missing": 0.02}), where="x"
        )


def test_of_a_hundred_series_one_that_lacks_too_much_is_named_and_left_out():
    names = [f"s{number:03}" for number in range(100)]
    frame = hourly(rows=20, series=names)
    broken = (frame["unique_id"] == "s007") & frame.index.to_series().mod(20).between(3, 12)
    prepared, left_out = preparation.prepare(
        frame.assign(temp=frame["temp"].mask(broken)), dataset(), where="x"
    )
    assert sorted(set(names) - set(prepared["unique_id"])) == ["s007"] and len(prepared) == 99 * 20
    (left_out_series,) = left_out
    assert (
        left_out_series.series,
        left_out_series.column,
        left_out_series.count,
        left_out_series.action,
    ) == (
        "s007",
        "temp",
        10,
        "left out",
    )
    assert left_out_series.sentence.startswith(
        "misses 10 of 20 steps (50.00%), wanted at most 0.00%; first"
    )
    fewer = frame[frame["unique_id"] != "s050"]
    with pytest.raises(InputError, match="series 's007': column 'temp' misses 10 of 20"):
        preparation.prepare(fewer.assign(temp=fewer["temp"].mask(broken)), dataset(), where="x")


@pytest.mark.parametrize(("year", "place"), [(1926, 0), (2062, 99)])
def test_a_mistyped_year_stands_in_the_message_of_the_steps_that_it_leaves_out(
    year: int, place: int
):
    frame = hourly(rows=100)
    times = frame["ds"].astype(object)
    times[place] = times[place].replace(year=year)
    typed = frame.assign(ds=pd.to_datetime(times).astype("datetime64[ns]"))
    with pytest.raises(
        InputError, match=r"steps .*; first and last row: .*, .*\. Complete"
    ) as refusal:
        preparation.check_prepared(typed, dataset(), where="x")
    assert str(year) in str(refusal.value)


def test_a_snapshot_is_not_taken_of_data_that_break_the_rules(tmp_path: Path):
    with_file(tmp_path, hourly().drop(index=[5]))
    with pytest.raises(InputError, match="misses 1 of 100 steps"):
        preparation.take_snapshot("mine", dataset(), root=tmp_path)
    assert not (tmp_path / "data" / "snapshots").exists()


def test_an_off_calendar_row_is_named_by_the_line_of_the_file(tmp_path: Path):
    frame = hourly()
    frame.loc[7, "ds"] += pd.Timedelta("5min")
    with_file(tmp_path, frame)
    with pytest.raises(InputError, match=r"data/mine.csv, line 9 .*off the '1h' grid"):
        preparation.take_snapshot("mine", dataset(), root=tmp_path)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Dublin"])
def test_days_by_the_clock_of_a_place_are_told_to_be_written_as_dates(tmp_path: Path, zone: str):
    days = pd.date_range("2024-01-01", periods=300, tz=zone)
    with_file(
        tmp_path,
        pd.DataFrame({"ds": days.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"), "temp": 1.0}),
    )
    daily = dataset(calendar={"kind": "regular", "freq": "1D"})
    with pytest.raises(
        InputError, match=r"off the '1D' grid .* write dates alone, such as 2024-01-31"
    ):
        preparation.take_snapshot("mine", daily, root=tmp_path)


def test_all_columns_that_lack_too_much_stand_in_one_message_with_the_lines_to_paste():
    frame = hourly(rows=100, series=("a", "b")).assign(wind=1.0, rain=1.0)
    frame.loc[frame.index[:6], "temp"] = np.nan
    frame.loc[frame.index[100:103], "wind"] = np.nan
    settings = dataset(past_exogenous=[{"column": "wind"}, {"column": "rain"}])
    with pytest.raises(InputError) as fault:
        preparation.check_prepared(frame, settings, where="mine")
    assert "series 'a': column 'temp' misses 6 of 100" in str(fault.value)
    assert "{column: temp, max_missing: 0.06}, {column: wind, max_missing: 0.03}" in str(
        fault.value
    )
    assert "rain" not in str(fault.value)


def test_beside_a_column_to_be_allowed_one_without_any_value_is_to_be_taken_out():
    frame = hourly(rows=100, series=("a",)).assign(wind=1.0, rain=np.nan)
    frame.loc[frame.index[:6], "wind"] = np.nan
    with_inputs = dataset(past_exogenous=[{"column": "wind"}, {"column": "rain"}])
    with pytest.raises(InputError, match=r"\{column: wind, max_missing: 0\.06\}; take 'rain' out"):
        preparation.check_prepared(frame, with_inputs, where="mine")


def test_a_column_without_any_value_is_not_to_be_allowed_but_to_be_taken_out():
    frame = hourly(rows=1000, series=("a",)).assign(wind=np.nan)
    frame.loc[frame.index[5:], "temp"] = np.nan  # 99.5 %: no share that can be written allows it
    settings = dataset(past_exogenous=[{"column": "wind"}])
    with pytest.raises(InputError) as fault:
        preparation.check_prepared(frame, settings, where="mine")
    assert "'wind' misses 1000 of 1000" in str(fault.value) and "max_missing" not in str(
        fault.value
    )
    assert "take the column out in configs/datasets.yaml." in str(fault.value)
