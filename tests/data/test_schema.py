from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecast.data import schema
from forecast.data.schema import FIRST_CELLS, check_frame, find_text_cell
from forecast.system.errors import DataError, InputError
from tests.support.example_data import hourly


def refused(frame: pd.DataFrame) -> str:
    with pytest.raises(InputError) as fault:
        check_frame(frame, ["temp"], where="data/mine.csv")
    return str(fault.value)


def test_a_good_frame_comes_back_in_order_of_series_with_its_types():
    frame = hourly(rows=3, series=("b", "a"))
    frame["temp"] = frame["temp"].astype("int64")
    checked = check_frame(frame, ["temp"], where="x")
    assert checked["unique_id"].tolist() == ["a", "a", "a", "b", "b", "b"]
    assert checked.dtypes.astype(str).to_dict() == {
        "unique_id": str(pd.Series(["a"]).dtype),
        "ds": "datetime64[ns]",
        "temp": "float64",
    }
    assert list(checked.index) == [0, 1, 2, 3, 4, 5]


def test_series_may_be_interleaved_in_the_file():
    frame = hourly(rows=4, series=("b", "a")).sort_values("ds", kind="stable", ignore_index=True)
    assert check_frame(frame, ["temp"], where="x")["temp"].tolist() == [10, 11, 12, 13] * 2


def test_a_missing_cell_is_allowed_and_stays_missing():
    frame = hourly(rows=3)
    frame.loc[1, "temp"] = np.nan
    assert check_frame(frame, ["temp"], where="x")["temp"].isna().tolist() == [False, True, False]


def test_columns_nobody_asked_for_are_left_out():
    assert list(check_frame(hourly().assign(other="text"), ["temp"], where="x").columns) == [
        "unique_id",
        "ds",
        "temp",
    ]


def test_a_missing_column_is_named_with_the_nearest_one_found():
    message = refused(hourly().rename(columns={"temp": "tmep"}))
    assert "data/mine.csv: column 'temp' is missing. Did you mean 'tmep'?" in message
    assert "configs/datasets.yaml" in message


def test_a_time_that_stands_twice_is_named_with_its_row():
    frame = hourly(rows=5)
    frame.loc[3, "ds"] = frame.loc[2, "ds"]
    assert "row 3 (series 'a', 2024-01-01 02:00): this time stands twice" in refused(frame)


def test_repeated_rows_are_counted_and_dropped_by_a_call_where_all_are_equal():
    frame = hourly(rows=5)
    message = refused(frame.iloc[[0, 1, 1, 2, 2, 3]].reset_index(drop=True))
    assert "row 2 (series 'a', 2024-01-01 01:00): this time stands twice" in message
    assert "Found 2 such rows, each with the values of an earlier one: `drop_dup" in message


def test_of_repeated_rows_the_first_with_other_values_is_named():
    frame = hourly(rows=5).iloc[[0, 1, 1, 2, 2, 3]].reset_index(drop=True)
    frame.loc[4, "temp"] += 1
    message = refused(frame)
    assert "row 4 (series 'a', 2024-01-01 02:00): this time stands twice" in message
    assert "Found 2 such rows, 1 with other values than an earlier one;" in message
    assert "call the column that names the series `unique_id` (in the file, or by" in message
    assert "drop_duplicates" not in message


def test_a_time_that_goes_back_is_named_with_its_row():
    frame = hourly(rows=5).iloc[[0, 1, 3, 2, 4]].reset_index(drop=True)
    assert (
        "row 3 (series 'a', 2024-01-01 02:00): this time is earlier than the one before"
        in refused(frame)
    )


def test_text_in_a_number_column_is_shown():
    frame = hourly(rows=3).astype({"temp": object})
    frame.loc[1, "temp"] = "warm"
    assert (
        "row 1 (series 'a', 2024-01-01 01:00): column 'temp' holds text 'warm', wanted a number"
        in refused(frame)
    )


def test_a_line_number_is_called_a_line():
    frame = hourly(rows=3).set_index(pd.RangeIndex(2, 5, name="line"))
    frame.loc[4, "temp"] = np.inf
    assert (
        "line 4 (series 'a', 2024-01-01 02:00): column 'temp' holds inf, wanted a finite number"
        in refused(frame)
    )


@pytest.mark.parametrize("column", ["unique_id", "ds"])
def test_an_empty_key_is_named_with_its_row(column: str):
    frame = hourly(rows=3)
    frame.loc[1, column] = None
    assert f"row 1: {column!r} is empty" in refused(frame)


def test_times_that_are_no_times_are_refused():
    assert "'ds' is of type" in refused(hourly().assign(ds="2024-01-01"))


def test_true_and_false_are_no_numbers():
    assert "column 'temp'" in refused(hourly().assign(temp=True))


def test_a_frame_without_rows_is_refused():
    assert "found no rows" in refused(hourly().iloc[:0])


def test_what_a_service_delivered_is_a_data_error():
    with pytest.raises(DataError):
        check_frame(hourly().iloc[:0], ["temp"], where="yahoo", error=DataError)


@pytest.mark.skipif(
    pd.Series(["a"]).dtype == object, reason="pandas 2 counts a text of objects once for each row"
)
def test_a_long_frame_is_checked_without_another_copy_of_it():
    """Names are compared once a series: a Python string for every row would take twice the
    frame.
    """
    long = hourly(rows=100_000, series=("a", "b", "c")).astype({"unique_id": "str"})
    tracemalloc.start()
    try:
        check_frame(long, ["temp"], where="test")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.8 * long.memory_usage(deep=True).sum()


@settings(max_examples=25)
@given(st.text(min_size=1, max_size=300))
@example("x" * 200)
@example("x" * 201)
@example("two words")
@example("a line\n")
@example("no width\u200b")
def test_a_series_name_is_printable_and_at_most_200_characters(name):
    frame = pd.DataFrame(
        {"unique_id": name, "ds": pd.date_range("2024-01-01", periods=2), "y": 1.0}
    )
    if name.isprintable() and len(name) <= 200:
        assert check_frame(frame, ["y"], where="mine")["unique_id"].tolist() == [name, name]
    else:
        with pytest.raises(InputError, match="at most 200, all printable") as fault:
            check_frame(frame, ["y"], where="mine")
        assert str(fault.value).isprintable() and len(str(fault.value)) < 400


def test_a_column_of_names_is_known_by_its_first_cells(monkeypatch):
    names = pd.Series(["7", None, "s2", *["s3"] * FIRST_CELLS * 5])
    real = pd.to_numeric
    n_read = []
    monkeypatch.setattr(
        schema.pd,
        "to_numeric",
        lambda cells, **how: n_read.append(len(cells)) or real(cells, **how),
    )
    assert find_text_cell(names) == 2
    assert max(n_read) == FIRST_CELLS


@pytest.mark.parametrize("position", [0, FIRST_CELLS - 1, FIRST_CELLS, 4 * FIRST_CELLS, None])
@pytest.mark.parametrize("dtype", ["str", "object"])
def test_the_first_text_is_found_wherever_it_stands(position, dtype):
    cells = pd.Series(["1.5"] * 5 * FIRST_CELLS, dtype=dtype)
    if position is not None:
        cells[position] = "x"
    assert find_text_cell(cells) == position
