"""A forecast as text: no time loses its hour, and no name is run by a spreadsheet."""

from __future__ import annotations

import pandas as pd
import pytest

from forecast.cli import predict
from forecast.cli.common import escape_formulas
from forecast.cli.predict import _with_written_times
from forecast.operations.live_accuracy import times_to_row_numbers


def table_of(cutoff, ds):
    return pd.DataFrame({"cutoff": pd.to_datetime([cutoff]), "ds": pd.to_datetime([ds])})


def test_one_step_to_midnight_shows_the_hour_of_its_cutoff():
    row = _with_written_times(table_of("2026-06-30 23:00", "2026-07-01 00:00")).iloc[0]
    assert (row["cutoff"], row["ds"]) == ("2026-06-30 23:00", "2026-07-01 00:00")


def test_sessions_are_shown_as_dates():
    row = _with_written_times(table_of("2018-12-31", "2019-01-02")).iloc[0]
    assert (row["cutoff"], row["ds"]) == ("2018-12-31", "2019-01-02")


def test_hours_are_those_of_the_file_s_clock_with_their_offset_and_dates_stay_dates():
    autumn = table_of("2026-10-24 23:00", "2026-10-25 01:00")
    row = _with_written_times(autumn, zone="Europe/Berlin").iloc[0]
    assert row["cutoff"] == "2026-10-25 01:00+02:00" and row["ds"] == "2026-10-25 02:00+01:00"
    assert _with_written_times(autumn, predict.ISO_SECONDS, zone="Europe/Berlin")[
        "ds"
    ].tolist() == ["2026-10-25T01:00:00"]
    dates = table_of("2018-12-31", "2019-01-02")
    pd.testing.assert_frame_equal(
        _with_written_times(dates, zone="Europe/Berlin"), _with_written_times(dates)
    )


def test_rows_without_dates_are_shown_by_their_number():
    table = table_of("1970-01-01 11:39", "1970-01-01 11:40")
    row = _with_written_times(times_to_row_numbers(table, "index")).iloc[0]
    assert (row["cutoff"], row["ds"]) == (699, 700)
    assert times_to_row_numbers(table, "regular").equals(table)


@pytest.mark.parametrize("name", ["=cmd()|'/c calc'!A1", "+1", "-1", "@sum", "\tx", "\r"])
def test_a_name_that_a_spreadsheet_would_run_is_text_there(name):
    table = pd.DataFrame(
        {"unique_id": [name, "dublin"], "output": ["y", "y"], "y_hat": [-1.0, 2.0]}
    )
    assert escape_formulas(table)["unique_id"].tolist() == ["'" + name, "dublin"]
    assert escape_formulas(table)["y_hat"].tolist() == [-1.0, 2.0]


def test_an_predicted_csv_runs_nothing_in_a_spreadsheet(tmp_path):
    predict._write(
        pd.DataFrame({"unique_id": ["=cmd()|x"], "y": [-1.0]}), "csv", tmp_path / "a.csv"
    )
    assert (tmp_path / "a.csv").read_text() == "unique_id,y\n'=cmd()|x,-1.0\n"
