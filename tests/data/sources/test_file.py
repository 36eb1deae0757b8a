from __future__ import annotations

import gzip
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.data import own_files, sources, written_times
from forecast.data.guesses.entry import guess_entry
from forecast.data.schema import check_frame
from forecast.data.sources import file
from forecast.system.errors import InputError
from tests.support.example_data import dataset

MINE = {"kind": "file", "path": "data/mine.csv"}


def read(tmp_path: Path, text: str, **changes: Any) -> pd.DataFrame:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "mine.csv").write_text(text, encoding="utf-8")
    return sources.read(sources.Request("mine", dataset(**changes), tmp_path)).frame


def refused(tmp_path: Path, text: str, **changes: Any) -> str:
    with pytest.raises(InputError) as fault:
        read(tmp_path, text, **changes)
    return str(fault.value)


def test_the_shortest_file_is_one_series_named_after_it(tmp_path: Path):
    frame = read(tmp_path, "ds,temp\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n")
    assert frame["unique_id"].tolist() == ["mine", "mine"]
    assert frame["ds"].tolist() == [
        pd.Timestamp("2024-01-01 00:00"),
        pd.Timestamp("2024-01-01 01:00"),
    ]
    assert list(frame.index) == [2, 3]


def test_columns_are_mapped_and_others_ignored(tmp_path: Path):
    source = {**MINE, "columns": {"ds": "Date", "unique_id": "Place", "temp": "T2M"}}
    frame = read(tmp_path, "Place,Date,T2M,remark\nrome,2024-01-01,5,sunny\n", source=source)
    assert frame.to_dict("records") == [
        {"unique_id": "rome", "ds": pd.Timestamp("2024-01-01"), "temp": 5}
    ]


def test_numbers_that_name_series_are_names(tmp_path: Path):
    assert read(tmp_path, "unique_id,ds,temp\n7,2024-01-01,1\n")["unique_id"].tolist() == ["7"]


def test_numbers_that_name_series_keep_their_zeros_in_rows_and_plan(tmp_path: Path):
    for header, source in (
        ("unique_id", MINE),
        ("Artikel", {**MINE, "columns": {"unique_id": "Artikel"}}),
        ("Filiale,Artikel", {**MINE, "id_columns": ["Filiale", "Artikel"]}),
    ):
        ids = ["7,007", "7,471"] if "," in header else ["007", "471"]
        names = [cell.replace(",", "/") for cell in ids]
        rows = "".join(f"{cell},2024-01-01 00:00,1\n" for cell in ids)
        frame = read(tmp_path, f"{header},ds,temp\n{rows}", source=source)
        assert frame["unique_id"].tolist() == names
        plans = dataset(source=source, future_exogenous=[{"column": "promo", "known_ahead": True}])
        plan_rows = "".join(f"{cell},2024-01-01 01:00,1\n" for cell in ids)
        (tmp_path / "plan.csv").write_text(f"{header},ds,promo\n{plan_rows}")
        plan = file.read_plan(tmp_path / "plan.csv", plans, names)
        assert plan["unique_id"].tolist() == names


def test_groups_keep_their_zeros_in_rows_and_plan(tmp_path: Path):
    settings = {"source": MINE, "hierarchy": ["region", "store"]}
    frame = read(tmp_path, "region,store,ds,temp\n001,007,2024-01-01 00:00,1\n", **settings)
    plans = dataset(**settings, future_exogenous=[{"column": "promo", "known_ahead": True}])
    (tmp_path / "plan.csv").write_text("region,store,ds,promo\n001,007,2024-01-01 01:00,1\n")
    plan = file.read_plan(tmp_path / "plan.csv", plans, ["001/007"])
    assert plan["unique_id"].tolist() == frame["unique_id"].tolist() == ["001/007"]


def test_columns_that_name_a_series_together_are_all_needed(tmp_path: Path):
    source = {**MINE, "id_columns": ["shop", "item"]}
    message = refused(tmp_path, "shop,ds,temp\na,2024-01-01,1\n", source=source)
    assert "'item'" in message and "id_columns" in message
    text = "shop,item,ds,temp\na,b,2024-01-01 00:00,1\nSumme,,2024-01-01 00:00,1\n"
    raw = read(tmp_path, text, source=source)
    with pytest.raises(InputError, match=r"3: 'unique_id' is empty"):
        check_frame(raw, ["temp"], where="mine.csv")


def test_columns_that_hold_a_time_together_are_joined_in_rows_and_plan(tmp_path: Path):
    source = {**MINE, "time_columns": ["date", "clock"], "time_format": "%Y%m%d %H%M"}
    text = "date,clock,temp\n20240101,0030,1\n20240101,1030,2\n"
    times = [pd.Timestamp("2024-01-01 00:30"), pd.Timestamp("2024-01-01 10:30")]
    assert read(tmp_path, text, source=source)["ds"].tolist() == times
    plans = dataset(source=source, future_exogenous=[{"column": "promo", "known_ahead": True}])
    (tmp_path / "plan.csv").write_text("date,clock,promo\n20240101,1130,1\n")
    plan = file.read_plan(tmp_path / "plan.csv", plans, ["mine"])
    assert plan["ds"].tolist() == [pd.Timestamp("2024-01-01 11:30")]


def test_lines_below_the_names_of_one_file_are_not_skipped_in_that_of_the_forecasts(tmp_path: Path):
    (tmp_path / "issued.csv").write_text(
        "ds,issued_at,temp\n" + "".join(f"2024-01-0{day},2023-12-31,{day}\n" for day in range(2, 8))
    )
    source = {**MINE, "skip_below": 1, "issued_path": "issued.csv", "issued_columns": ["temp"]}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("ds,temp\nday,C\n2024-01-01,1\n2024-01-02,2\n")
    request = sources.Request("mine", dataset(source=source), tmp_path)
    vintages = sources.read(request).vintages
    assert vintages is not None and len(vintages) == 6


def test_columns_that_hold_a_time_together_are_all_needed_in_every_row(tmp_path: Path):
    source = {**MINE, "time_columns": ["date", "clock"], "time_format": "%Y-%m-%d %H:%M"}
    message = refused(tmp_path, "date,temp\n2024-01-01,1\n", source=source)
    assert "'clock'" in message and "time_columns" in message
    text = "date,clock,temp\n2024-01-01,00:00,1\n2024-01-01,,2\n"
    assert "line 3: `ds` is empty" in refused(tmp_path, text, source=source)


def test_rows_that_come_late_are_put_where_they_belong(tmp_path: Path):
    hours = [f"2024-01-01 0{hour}:00" for hour in range(5)]
    rows = [f"{name},{hour},{value}" for name in "ba" for value, hour in enumerate(hours)]
    late = "\n".join(["unique_id,ds,temp", *rows[:1], *rows[2:], rows[1], ""])
    whole = read(tmp_path, "\n".join(["unique_id,ds,temp", *rows, ""]))
    expected = check_frame(whole, ["temp"], where="mine.csv")
    pd.testing.assert_frame_equal(
        check_frame(read(tmp_path, late), ["temp"], where="mine.csv"), expected
    )
    twice = read(tmp_path, late + "b,2024-01-01 03:00,9\n")
    with pytest.raises(InputError, match=r"line 12 .*this time stands twice in its series"):
        check_frame(twice, ["temp"], where="mine.csv")


def test_a_total_row_has_no_value_of_a_static_column(tmp_path: Path):
    text = "unique_id,ds,temp,kind\na,2024-01-01 00:00,1,x\nSumme,2024-01-01 00:00,1,\n"
    static = [{"column": "kind", "categories": ["x", "y"]}]
    message = refused(tmp_path, text, source=MINE, static=static)
    assert "series 'Summe' has no value of 'kind'" in message and "total" in message
    assert "past_exogenous" not in message
    parted = {**MINE, "id_columns": ["shop", "item"]}
    text = "shop,item,ds,temp,kind\na,1,2024-01-01 00:00,1,x\n,Summe,2024-01-01 00:00,1,\n"
    message = refused(tmp_path, text, source=parted, static=static)
    assert "line 3: no name of its series." in message and "total" in message


def test_parquet_is_read_like_csv(tmp_path: Path):
    (tmp_path / "data").mkdir()
    times = pd.date_range("2024-01-01", periods=2, freq="h", tz="Europe/Paris")
    pd.DataFrame({"ds": times, "temp": [1, 2]}).to_parquet(tmp_path / "data" / "mine.parquet")
    raw = sources.read(
        sources.Request(
            "mine", dataset(source={"kind": "file", "path": "data/mine.parquet"}), tmp_path
        )
    )
    assert raw.frame["ds"].iloc[0] == pd.Timestamp("2023-12-31 23:00")


@pytest.mark.parametrize("name", [None, "ds", "when"])
def test_times_in_the_index_of_a_parquet_file_are_a_column(tmp_path: Path, name):
    table = pd.DataFrame(
        {"temp": [1.0, 2.0]}, pd.date_range("2024-01-01", periods=2, freq="h", name=name)
    )
    table.to_parquet(tmp_path / "mine.parquet")
    read_back = own_files.read_table(
        tmp_path / "mine.parquet", "mine.parquet", own_files.FileFormat()
    )
    assert read_back[name or "index"].tolist() == list(table.index) and read_back[
        "temp"
    ].tolist() == [
        1.0,
        2.0,
    ]
    table.assign(ds=table.index).to_parquet(tmp_path / "mine.parquet")
    both = own_files.read_table(tmp_path / "mine.parquet", "mine.parquet", own_files.FileFormat())
    assert sorted(both) == sorted({"ds", "temp", *([name or "index"] if name != "ds" else [])})
    table.set_axis([7, 9]).to_parquet(tmp_path / "mine.parquet")  # what a filter left, no column
    assert list(
        own_files.read_table(tmp_path / "mine.parquet", "mine.parquet", own_files.FileFormat())
    ) == ["temp"]


def test_a_derived_column_is_read_by_its_inputs(tmp_path: Path):
    frame = read(
        tmp_path,
        "ds,close,high,low\n2024-01-02,1,2,1\n",
        target={"column": "close"},
        past_exogenous=[{"column": "daily_range"}],
        calendar={"kind": "sessions", "exchange": "XNYS"},
    )
    assert {"high", "low"} <= set(frame.columns)


def test_local_times_become_utc(tmp_path: Path):
    source = {**MINE, "time_zone": "America/New_York"}
    frame = read(tmp_path, "ds,temp\n2024-07-01 12:00,1\n", source=source)
    assert frame["ds"].iloc[0] == pd.Timestamp("2024-07-01 16:00")


def test_the_repeated_hour_of_autumn_is_told_apart_by_order(tmp_path: Path):
    lines = "\n".join(f"2024-11-03 {hour},1" for hour in ("00:00", "01:00", "01:00", "02:00"))
    frame = read(tmp_path, f"ds,temp\n{lines}\n", source={**MINE, "time_zone": "America/New_York"})
    assert frame["ds"].dt.hour.tolist() == [4, 5, 6, 7]


def test_an_hour_of_autumn_that_a_logger_writes_once_is_the_first(tmp_path: Path):
    lines = "\n".join(f"2024-11-03 {hour},1" for hour in ("00:00", "01:00", "02:00"))
    frame = read(tmp_path, f"ds,temp\n{lines}\n", source={**MINE, "time_zone": "America/New_York"})
    assert frame["ds"].dt.hour.tolist() == [4, 5, 7]


def test_hours_of_autumn_out_of_order_are_refused(tmp_path: Path):
    lines = "\n".join(f"2024-11-03 {hour},1" for hour in ("00:00", "03:00", "01:00", "04:00"))
    message = refused(
        tmp_path, f"ds,temp\n{lines}\n", source={**MINE, "time_zone": "America/New_York"}
    )
    assert "stands twice or never on the clocks of America/New_York" in message


def test_an_hour_of_autumn_is_read_though_other_rows_are_out_of_order(tmp_path: Path):
    hours = ("2024-11-01 05:00", "2024-11-01 04:00", "2024-11-03 00:00", "2024-11-03 01:00")
    text = "\n".join(["ds,temp", *(f"{hour},1" for hour in hours), ""])
    frame = read(tmp_path, text, source={**MINE, "time_zone": "America/New_York"})
    assert frame["ds"].dt.hour.tolist() == [8, 9, 4, 5]


AUTUMN_HOURS = ("00:00", "01:00", "01:00", "02:00", "03:00")
"""The clock of New York on 2024-11-03: UTC 4 to 8."""
NEW_YORK = {**MINE, "time_zone": "America/New_York"}


@pytest.mark.parametrize("column_of_series", [True, False])
def test_a_plan_written_newest_first_is_that_written_oldest_first(tmp_path, column_of_series):
    plans = dataset(source=NEW_YORK, future_exogenous=[{"column": "promo", "known_ahead": True}])
    rows = [f"2024-11-03 {hour},{number}" for number, hour in enumerate(AUTUMN_HOURS)]
    header = "ds,promo"
    if column_of_series:
        header = "unique_id,ds,promo"
        rows = [f"{name},{row}" for name in "ab" for row in rows]
    for written in (rows, rows[::-1]):
        (tmp_path / "plan.csv").write_text("\n".join([header, *written, ""]))
        plan = file.read_plan(tmp_path / "plan.csv", plans, ["a", "b"])
        assert plan["unique_id"].tolist() == 5 * ["a"] + 5 * ["b"]
        assert plan["ds"].dt.hour.tolist() == 2 * [4, 5, 6, 7, 8]
        assert plan["promo"].tolist() == 2 * [0, 1, 2, 3, 4]


def test_issued_forecasts_written_newest_first_are_those_written_oldest_first(tmp_path):
    source = {**NEW_YORK, "issued_path": "data/issued.csv", "issued_columns": ["rain"]}
    columns = [{"column": "rain", "issued": True, "max_missing": 0.9}]
    rows = [f"2024-11-03 {hour},2024-11-02 12:00,{n}" for n, hour in enumerate(AUTUMN_HOURS)]
    text = "ds,temp\n" + "".join(f"2024-11-03 {hour},1\n" for hour in AUTUMN_HOURS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text(text)
    request = sources.Request("mine", dataset(source=source, future_exogenous=columns), tmp_path)
    for written in (rows, rows[::-1]):
        (tmp_path / "data" / "issued.csv").write_text("\n".join(["ds,issued_at,rain", *written]))
        issues = sources.read(request).vintages.sort_values("ds")
        assert issues["ds"].dt.hour.tolist() == [4, 5, 6, 7, 8]
        assert issues["rain"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("title", "skipped"), [("Rain at home\n\n", 0), ("", 2)])
def test_title_lines_of_the_rows_are_not_skipped_in_the_issued_forecasts(tmp_path, title, skipped):
    source = {**MINE, "skip_lines": skipped, "issued_columns": ["rain"]}
    columns = [{"column": "rain", "issued": True, "max_missing": 0.9}]
    changes = {"source": {**source, "issued_path": "data/issued.csv"}, "future_exogenous": columns}
    (tmp_path / "data").mkdir()
    text = "ds,temp\n" + "".join(f"2024-01-0{day},1\n" for day in range(1, 6))
    (tmp_path / "data" / "mine.csv").write_text(("Heat\n\n" if skipped else "") + text)
    rows = "".join(f"2024-01-0{day},2023-12-31,{day}\n" for day in range(2, 6))
    (tmp_path / "data" / "issued.csv").write_text(f"{title}ds,issued_at,rain\n{rows}")
    raw = sources.read(sources.Request("mine", dataset(**changes), tmp_path))
    assert raw.frame["temp"].tolist() == 5 * [1]
    assert raw.vintages["rain"].tolist() == [2, 3, 4, 5]


def test_the_stated_lines_above_the_names_hold_for_issued_forecasts_too(tmp_path):
    source = {**MINE, "skip_lines": 2, "issued_columns": ["rain"]}
    columns = [{"column": "rain", "issued": True, "max_missing": 0.9}]
    changes = {"source": {**source, "issued_path": "data/issued.csv"}, "future_exogenous": columns}
    (tmp_path / "data").mkdir()
    rows = "".join(f"2024-01-0{day},1\n" for day in range(1, 6))
    (tmp_path / "data" / "mine.csv").write_text(f"Heat\n\nds,temp\n{rows}")
    # a name that begins with a digit looks like a row
    rows = "".join(f"2024-01-0{day},2023-12-31,{day},0\n" for day in range(2, 6))
    (tmp_path / "data" / "issued.csv").write_text(f"Rain\n\nds,issued_at,rain,24h\n{rows}")
    raw = sources.read(sources.Request("mine", dataset(**changes), tmp_path))
    assert raw.vintages["rain"].tolist() == [2, 3, 4, 5]


def test_months_with_a_point_are_times_and_no_numbers(tmp_path):
    months = pd.date_range("2015-01-01", periods=24, freq="MS")
    source = {**MINE, "time_format": "%m.%Y", "columns": {"ds": "Monat"}}
    (tmp_path / "data").mkdir()
    rows = "".join(f"{month:%m.%Y},{n}.5\n" for n, month in enumerate(months))
    (tmp_path / "data" / "mine.csv").write_text(f"Monat,temp\n{rows}")
    changes = {"source": source, "calendar": {"kind": "regular", "freq": "MS"}}
    raw = sources.read(sources.Request("mine", dataset(**changes), tmp_path))
    assert raw.frame["ds"].tolist() == months.tolist()


def test_a_line_without_values_is_no_row_where_times_have_a_format_of_their_own(tmp_path):
    days = pd.date_range("2024-01-01", periods=24)
    source = {**MINE, "time_format": "%d.%m.%Y", "missing": ["-"], "issued_columns": ["rain"]}
    columns = [{"column": "rain", "issued": True, "max_missing": 0.9}]
    changes = {"source": {**source, "issued_path": "data/issued.csv"}, "future_exogenous": columns}
    (tmp_path / "data").mkdir()
    rows = "".join(f"{day:%d.%m.%Y},1\n" for day in days)
    (tmp_path / "data" / "mine.csv").write_text(f"ds,temp\n{rows}NA,NA\n-,-\n")
    rows = "".join(f"{day:%d.%m.%Y},31.12.2023,2\n" for day in days)
    (tmp_path / "data" / "issued.csv").write_text(f"ds,issued_at,rain\n{rows}NA,NA,NA\n")
    raw = sources.read(sources.Request("mine", dataset(**changes), tmp_path))
    assert raw.frame["ds"].tolist() == raw.vintages["ds"].tolist() == days.tolist()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    ("faulty", "hour"),
    [("2024-11-03 01:30", "2024-11-03 01:30"), ("2024-03-10 02:30", "2024-03-10 02:30")],
    ids=["out of order", "skipped"],
)
def test_the_faulty_local_hour_is_named_and_not_one_that_is_in_order(
    tmp_path, newest_first, faulty, hour
):
    instants = pd.date_range("2023-10-01", "2024-12-01", freq="30min", tz="UTC")
    times = instants.tz_convert("America/New_York").strftime("%Y-%m-%d %H:%M").tolist()
    position = times.index("2024-11-03 12:00")
    times.insert(position, faulty)
    line = 2 + position
    if newest_first:
        times.reverse()
        line = len(times) + 1 - position
    rows = "".join(f"b,{time},1\n" for time in times)
    text = "unique_id,ds,temp\n" + rows.replace("b,", "a,").replace(f"a,{faulty},1\n", "")
    line += text.count("\n") - 1
    message = refused(tmp_path, text + rows, source=NEW_YORK)
    assert f"line {line}: `ds` holds '{hour}" in message


@pytest.mark.parametrize("local", ["2024-11-03 01:30", "2024-03-10 02:30"])
def test_an_hour_that_stands_twice_or_never_is_refused(tmp_path: Path, local: str):
    message = refused(
        tmp_path, f"ds,temp\n{local},1\n", source={**MINE, "time_zone": "America/New_York"}
    )
    assert (
        "line 2" in message and "stands twice or never on the clocks of America/New_York" in message
    )


@pytest.mark.parametrize(
    "second", ["2024-01-01T01:00+01:00", "2024-01-01T01:00"], ids=["another offset", "no offset"]
)
def test_mixed_time_zones_are_refused_with_their_line(tmp_path: Path, second: str):
    message = refused(tmp_path, f"ds,temp\n2024-01-01T00:00Z,1\n{second},2\n")
    assert "line 3" in message and "mixed time zones" in message and second in message


@pytest.mark.parametrize(
    ("times", "zone", "hours"),
    [
        (["2024-01-01 13:00:00+00", "2024-01-01 14:00:00+00"], None, [13, 14]),
        (["2024-01-01T13:00-05", "2024-01-01T14:00-05"], None, [18, 19]),
        (["2024-03-31T00:00+00", "2024-03-31T02:00+01"], "Europe/Dublin", [0, 1]),
    ],
    ids=["of PostgreSQL", "west", "of a clock"],
)
def test_an_offset_may_be_written_in_hours_alone(tmp_path: Path, times, zone, hours):
    text = "ds,temp\n" + "".join(f"{time},1\n" for time in times)
    frame = read(tmp_path, text, source={**MINE, "time_zone": zone} if zone else MINE)
    assert frame["ds"].dt.hour.tolist() == hours


def test_two_offsets_are_fine_when_one_clock_explains_them(tmp_path: Path):
    text = "ds,temp\n2024-03-31T00:00+00:00,1\n2024-03-31T02:00+01:00,2\n"
    frame = read(tmp_path, text, source={**MINE, "time_zone": "Europe/Dublin"})
    assert frame["ds"].dt.hour.tolist() == [0, 1]


def test_an_offset_the_clock_never_had_is_refused(tmp_path: Path):
    text = "ds,temp\n2024-01-01T00:00+00:00,1\n2024-01-01T02:00+01:00,2\n"
    message = refused(tmp_path, text, source={**MINE, "time_zone": "Europe/Dublin"})
    assert "line 3" in message and "no offset that Europe/Dublin had then" in message


def test_of_a_panel_with_several_offsets_every_text_is_read_once(monkeypatch):
    times = pd.date_range("2024-03-30", periods=60, freq="h", tz="UTC").tz_convert("Europe/Berlin")
    texts = [time.isoformat() for time in times]
    table = pd.DataFrame({"unique_id": np.repeat(["a", "b", "c"], 60), "ds": 3 * texts})
    lengths = []
    parse_text = written_times._parse_text
    monkeypatch.setattr(
        written_times,
        "_parse_text",
        lambda values, *how: lengths.append(len(values)) or parse_text(values, *how),
    )
    utc = written_times.to_utc(table, time_zone="Europe/Berlin", where="x")
    assert utc.tolist() == 3 * times.tz_convert("UTC").tz_localize(None).tolist()
    assert lengths == [60]
    table.loc[130, "ds"] = "2024-03-30T11:00:00+05:00"
    with pytest.raises(InputError, match=r"row 130: .* no offset that Europe/Berlin had then"):
        written_times.to_utc(table, time_zone="Europe/Berlin", where="x")


def test_the_offsets_of_a_long_file_take_a_few_seconds_per_million_rows():
    instants = pd.date_range("2024-03-01", periods=100_000, freq="min", tz="UTC")
    local = instants.tz_convert("Europe/Berlin")
    offset = pd.Series(
        np.where(
            local.tz_localize(None) - instants.tz_localize(None) > pd.Timedelta("1h"),
            "+02:00",
            "+01:00",
        )
    )
    text = pd.Series(local.strftime("%Y-%m-%dT%H:%M:%S")) + offset
    table = pd.DataFrame({"unique_id": "a", "ds": text})
    start = time.process_time()
    pd.to_datetime(table["ds"], utc=True, format="ISO8601")
    plain = time.process_time() - start
    start = time.process_time()
    utc = written_times.to_utc(table, time_zone="Europe/Berlin", where="x")
    assert time.process_time() - start < 25 * plain + 0.1
    assert utc.tolist() == instants.tz_localize(None).tolist()


def test_sessions_keep_their_local_date(tmp_path: Path):
    text = "ds,temp\n2024-01-02T00:00-05:00,1\n2024-07-02T00:00-04:00,2\n"
    frame = read(tmp_path, text, calendar={"kind": "sessions", "exchange": "XNYS"})
    assert frame["ds"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-07-02")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ds,temp\n2024-01-01,1\n2024-01-02,warm\n",
            ["line 3", "'temp' holds text 'warm', wanted a number"],
        ),
        ("ds,temp\nyesterday,1\n", ["line 2: `ds` holds 'yesterday'"]),
        ("ds,temp\n20240101,1\n", ["`ds` holds '20240101', a number"]),
        ("ds,temp\n,1\n", ["line 2: `ds` is empty"]),
        (
            "ds,tmep\n2024-01-01,1\n",
            ["column 'temp' is missing. Did you mean 'tmep'?", "source.columns"],
        ),
        ("", ["cannot be read as CSV"]),
        ('ds,temp\n2024-01-01,"1\n', ["cannot be read as CSV"]),
    ],
)
def test_a_faulty_file_is_one_sentence(tmp_path: Path, text: str, expected: list[str]):
    message = refused(tmp_path, text)
    assert message.startswith("data/mine.csv")
    for part in expected:
        assert part in message


def test_empty_lines_are_passed_over_and_the_count_stays_right(tmp_path: Path):
    assert "line 5" in refused(tmp_path, "ds,temp\n2024-01-01 00:00,1\n\n\n2024-01-01 01:00,warm\n")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04\x00\x00\x00\x01\xff\x81", "is a spreadsheet, JSON, XML or a web page"),
        (b"\xff\xfe\x00ds", "bytes that are no text"),
        (b"ds,temp\n\x00,\x00\n\x00", "bytes that are no text"),
    ],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes, sentence: str):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        sources.read(sources.Request("mine", dataset(), tmp_path))


def test_half_a_parquet_file_is_refused(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        sources.read(
            sources.Request(
                "mine", dataset(source={"kind": "file", "path": "data/mine.parquet"}), tmp_path
            )
        )


def test_an_absent_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"data/mine.csv: no such file"):
        sources.read(sources.Request("mine", dataset(), tmp_path))


@pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd"])
def test_a_path_that_leaves_the_project_is_refused(tmp_path: Path, path: str):
    with pytest.raises(InputError, match="outside the project"):
        sources.read(
            sources.Request("mine", dataset(source={"kind": "file", "path": path}), tmp_path)
        )


def test_a_link_that_leaves_the_project_is_refused(tmp_path: Path):
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (tmp_path / "outside.csv").write_text("ds,temp\n2024-01-01,1\n")
    (root / "data" / "mine.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(InputError, match="outside the project"):
        sources.read(sources.Request("mine", dataset(), root))


def test_an_unknown_time_zone_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"Did you mean 'Europe/Dublin'\?"):
        dataset(source={**MINE, "time_zone": "Europe/Dubln"})


def test_only_what_ended_by_as_of_is_an_observation(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("ds,temp\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n")
    raw = sources.read(
        sources.Request("mine", dataset(), tmp_path, as_of=pd.Timestamp("2024-01-01 01:30"))
    )
    assert raw.frame["temp"].tolist() == [1]


def test_a_packed_table_is_read(tmp_path):
    with gzip.open(tmp_path / "mine.csv.gz", "wt") as file:
        file.write("ds,temp\n2024-01-01,1\n")
    assert own_files.read_table(tmp_path / "mine.csv.gz", "x", own_files.FileFormat())[
        "temp"
    ].tolist() == [1]


def _write_archive(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "ds,temp\n2024-01-01,1\n")


def _write_locked_archive(path: Path) -> None:
    """An archive whose headers say that its file has a password."""
    _write_archive(path, ["a.csv"])
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("locked.zip", _write_locked_archive),
        ("two.zip", lambda path: _write_archive(path, ["a.csv", "b.csv"])),
        ("none.zip", lambda path: _write_archive(path, [])),
        ("text.zip", lambda path: path.write_text("ds,temp\n")),
        ("text.csv.gz", lambda path: path.write_text("ds,temp\n")),
        ("text.csv.xz", lambda path: path.write_text("ds,temp\n")),
        ("text.csv.bz2", lambda path: path.write_text("ds,temp\n")),
        ("text.tar", lambda path: path.write_text("ds,temp\n")),
        ("cut.csv.gz", lambda path: path.write_bytes(gzip.compress(b"ds,temp\n" * 99)[:-9])),
        ("wrong.csv.gz", lambda path: path.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 30)),
    ],
)
@pytest.mark.parametrize("read", [own_files.guess_format, own_files.read_table])
def test_an_archive_that_cannot_be_unpacked_is_refused(tmp_path, name, write, read):
    write(tmp_path / name)
    settings = [own_files.FileFormat()] if read is own_files.read_table else []
    with pytest.raises(InputError, match=rf"{re.escape(name)}: cannot be opened \("):
        read(tmp_path / name, name, *settings)


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}], ids=["lists", "records"])
def test_a_parquet_with_lists_is_refused_only_where_they_are_read(tmp_path, cell):
    path = tmp_path / "mine.parquet"
    days = pd.date_range("2024-01-01", periods=200)
    frame = pd.DataFrame({"ds": days, "y": np.arange(200.0), "tags": [cell] * 200})
    frame.to_parquet(path)
    assert "target: {column: y," in guess_entry(path, "mine.parquet", "mine")
    with pytest.raises(InputError, match=rf"column 'tags' holds text .{re.escape(str(cell)[:2])}"):
        guess_entry(path, "mine.parquet", "mine", target="tags")
    frame.set_axis(range(3), axis="columns").to_parquet(path)  # names that are no text
    assert "target: {column: '1'," in guess_entry(path, "mine.parquet", "mine")


def test_a_parquet_with_durations_is_no_file_of_times(tmp_path):
    path = tmp_path / "mine.parquet"
    frame = pd.DataFrame({"y": np.arange(200.0) % 7, "elapsed": pd.to_timedelta(range(200), "h")})
    frame.to_parquet(path)
    with pytest.raises(InputError, match="'elapsed' may be some"):
        guess_entry(path, "mine.parquet", "mine")
    days = pd.date_range("2024-01-01", periods=200)
    frame.assign(ds=days).to_parquet(path)
    assert "target: {column: y," in guess_entry(path, "mine.parquet", "mine")
    frame.set_index("elapsed").assign(ds=days).to_parquet(path)
    assert "target: {column: y," in guess_entry(path, "mine.parquet", "mine")


@pytest.mark.parametrize("outside", ["1600-01-01", "1677-12-31T23:00", "2262-04-12", "9999-12-31"])
@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
@pytest.mark.parametrize(
    "calendar", [{"kind": "regular", "freq": "1D"}, {"kind": "weekdays"}], ids=["steps", "days"]
)
def test_a_time_that_cannot_be_held_is_refused_with_its_line(tmp_path, outside, zone, calendar):
    hours = "" if "T" in outside or not zone else "T00:00"
    text = f"ds,temp\n2024-01-01T00:00{zone},1\n{outside}{hours}{zone},2\n"
    message = refused(tmp_path, text, calendar=calendar)
    assert "line 3" in message and outside in message and "1678 to 2199" in message


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_a_time_in_parquet_that_cannot_be_held_is_refused_with_its_row(tmp_path, zone):
    (tmp_path / "data").mkdir()
    times = pd.Series(np.array(["2024-01-01", "1600-01-01"], dtype="datetime64[s]"))
    if zone:
        times = times.dt.tz_localize("UTC").dt.tz_convert(zone)
    pd.DataFrame({"ds": times, "temp": [1, 2]}).to_parquet(tmp_path / "data" / "mine.parquet")
    with pytest.raises(InputError, match=r"row 1: .*1600-01-01.*1678 to 2199"):
        settings = dataset(source={"kind": "file", "path": "data/mine.parquet"})
        sources.read(sources.Request("mine", settings, tmp_path))


def test_another_separator_than_the_entry_s_is_refused_with_the_header(tmp_path):
    assert "Found 'ds;temp'" in refused(tmp_path, "ds;temp\n2024-01-01;1.5\n")


def test_decimal_commas_that_the_entry_does_not_say_are_refused_with_the_settings(tmp_path):
    message = refused(tmp_path, "ds;temp\n2024-01-01;1,5\n", source={**MINE, "separator": ";"})
    assert "holds text '1,5'" in message and "`decimal`, `thousands` or `units`" in message


def test_times_in_their_own_format(tmp_path):
    source = {**MINE, "time_format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin"}
    frame = read(tmp_path, "ds,temp\n31.01.2024 13:00,1\n", source=source)
    assert frame["ds"].tolist() == [pd.Timestamp("2024-01-31 12:00")]
    assert "line 2: `ds` holds '2024-01-31'" in refused(
        tmp_path, "ds,temp\n2024-01-31,1\n", source=source
    )


@pytest.mark.parametrize("name", ["nan", "NA", "null", "None"])
def test_a_series_may_have_the_name_of_a_missing_value(tmp_path, name):
    frame = read(tmp_path, f"unique_id,ds,temp\n{name},2024-01-01,NA\n{name},2024-01-02,2\n")
    assert frame["unique_id"].tolist() == [name, name] and np.isnan(frame["temp"].iloc[0])


@pytest.mark.parametrize("value", ["1e300", "-1e101"])
def test_a_number_whose_square_is_not_finite_is_refused_with_its_line(tmp_path, value):
    frame = read(tmp_path, f"ds,temp\n2024-01-01,1\n2024-01-02,{value}\n")
    with pytest.raises(InputError, match=r"mine.csv, line 3 .* up to 1e\+100"):
        check_frame(frame, ["temp"], where="mine.csv")


@pytest.mark.parametrize("name", ["unique_id", "ds"])
@pytest.mark.parametrize("role", ["target", "past_exogenous", "future_exogenous", "static"])
def test_a_column_of_a_key_s_name_is_refused_where_it_is_configured(name, role):
    column = {"column": name} | ({"known_ahead": True} if role == "future_exogenous" else {})
    with pytest.raises(InputError, match=f"column '{name}' names the series and times"):
        dataset(**{role: [column]})


def test_a_long_cell_is_quoted_by_its_ends(tmp_path):
    assert len(refused(tmp_path, f"ds,temp\n{'x' * 10**5},1\n")) < 400
    assert len(refused(tmp_path, f"ds,temp\n2024-01-01,{'x' * 10**5}\n")) < 400
    assert len(refused(tmp_path, f"ds,{'x' * 10**5}\n2024-01-01,1\n")) < 400


@pytest.mark.parametrize(
    "text", ["temp\n5\n6\n7\n", "ds,temp\n0,5\n1,6\n2,7\n"], ids=["no ds", "counted"]
)
def test_rows_without_dates_are_counted(tmp_path, text):
    frame = read(tmp_path, text, calendar={"kind": "index"})
    assert frame["ds"].tolist() == [
        pd.Timestamp("1970-01-01 00:00") + pd.Timedelta(n, "min") for n in range(3)
    ]
    assert frame["temp"].tolist() == [5, 6, 7]


def test_series_without_dates_end_together(tmp_path):
    frame = read(tmp_path, "unique_id,temp\na,5\na,6\na,7\nb,8\nb,9\n", calendar={"kind": "index"})
    assert frame["ds"].dt.minute.tolist() == [0, 1, 2, 1, 2]
    counted = read(tmp_path, "unique_id,ds,temp\na,0,5\na,1,6\nb,0,7\n", calendar={"kind": "index"})
    assert counted["ds"].dt.minute.tolist() == [0, 1, 0]


@pytest.mark.parametrize("wrong", ["-1", "1.5", "2024-01-01", "1000000000"])
def test_a_count_that_is_no_row_number_is_refused_with_its_line(tmp_path, wrong):
    message = refused(tmp_path, f"ds,temp\n0,5\n{wrong},6\n", calendar={"kind": "index"})
    assert "line 3" in message and wrong in message and "whole number" in message


@pytest.mark.parametrize(
    ("text", "place"), [("temp\n5\nx\n", "'mine')"), ("ds,temp\n4,5\n7,x\n", "'mine', 7)")]
)
def test_text_in_rows_without_dates_is_told_without_a_date(tmp_path, text, place):
    assert f"line 3 (series {place}: column 'temp' holds text 'x'" in refused(
        tmp_path, text, calendar={"kind": "index"}
    )


ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "cp1252",
    "latin-1",
)


def encoded(
    tmp_path: Path, encoding: str, *, header: str = "Größe", rows: int = 3, name: str = "Málaga"
) -> Path:
    """A file whose first line or whose last cell is not ASCII."""
    (tmp_path / "data").mkdir(exist_ok=True)
    times = pd.date_range("2024-01-01", periods=rows, freq="h").strftime("%Y-%m-%d %H:%M")
    filling = "." * 1000
    lines = [f"{name if n == rows - 1 else 'Ulm'},{ds},{n},{filling}" for n, ds in enumerate(times)]
    extra = b"\x81" if encoding == "latin-1" else b""  # what cp1252 has no letter for
    path = tmp_path / "data" / "mine.csv"
    path.write_bytes(
        f"unique_id,ds,{header}".encode(encoding)
        + extra
        + ",remark".encode(encoding)
        + "\n".join(["", *lines, ""]).encode(encoding)
    )
    if encoding in ("utf-8-sig", "utf-16", "utf-32"):  # `encode` writes the mark at each beginning
        path.write_text(
            f"unique_id,ds,{header},remark" + "\n".join(["", *lines, ""]), encoding=encoding
        )
    return path


@pytest.mark.parametrize(
    ("encoding", "header", "rows"),
    [
        *((encoding, "Größe", 3) for encoding in ENCODINGS),
        *((encoding, "temp", 1_200) for encoding in ("utf-8", "utf-16-le", "cp1252", "latin-1")),
    ],
)
def test_an_encoding_is_named_with_the_line_to_add_and_then_read(tmp_path, encoding, header, rows):
    path = encoded(tmp_path, encoding, header=header, rows=rows)
    expected = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    assert own_files.guess_format(path, "mine.csv") == own_files.FileFormat(encoding=expected)
    keys: dict[str, Any] = {
        "source": {**MINE, "columns": {"temp": header + ("\x81" if encoding == "latin-1" else "")}}
    }
    if expected != "utf-8":
        with pytest.raises(InputError, match=rf"add `encoding: {expected}` under `source`"):
            sources.read(sources.Request("mine", dataset(**keys), tmp_path))
        keys["source"]["encoding"] = expected
    frame = sources.read(sources.Request("mine", dataset(**keys), tmp_path)).frame
    assert frame["unique_id"].iloc[-1] == "Málaga" and frame["temp"].tolist() == list(range(rows))


@pytest.mark.parametrize("name", ["latin-99", "base64", "rot13", "../x"])
def test_an_encoding_that_is_none_of_text_is_refused(name):
    with pytest.raises(InputError, match="wanted the encoding of the file's text"):
        dataset(source={**MINE, "encoding": name})


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"'])
def test_the_separator_of_a_first_line_for_excel_is_read(tmp_path, line):
    text = f"{line}\nds;temp\n2024-01-01;1\n2024-01-02;warm\n"
    assert "line 4" in refused(tmp_path, text)
    assert read(tmp_path, text.replace("warm", "2"))["temp"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("cells", "separator", "marks"),
    [
        (["1,234.5", "12"], ",", (".", ",")),
        (["1.234,5", "7,25"], ";", (",", ".")),
        (["1.234.567", "12"], ";", (",", ".")),
        (["1 234,5"], ";", (",", " ")),
        (["1\u202f234,5"], ";", (",", "\u202f")),
        (["1'234.5"], ",", (".", "'")),
        (["1,234", "12,345"], ",", (".", ",")),
        (["1,234", "0,123"], ";", (",", "")),
        (["1,234", "12,345"], ";", (",", "")),
        (["1.234", "12,5"], ";", (",", ".")),
        (["1.234", "12.5"], ",", (".", "")),
        (["31.12.2024", "12:30", "a,b", ""], ";", (".", "")),
    ],
)
def test_how_numbers_are_written(tmp_path, cells, separator, marks):
    assert own_files.guess_number_marks(cells, separator) == marks


def test_thousands_are_named_and_then_read_and_a_wrong_cell_stays_a_fault(tmp_path):
    text = 'ds,temp\n2024-01-01,"1,234,567.5"\n2024-01-02,-12\n2024-01-03,"{}"\n'
    assert "`thousands`" in refused(tmp_path, text.format("1,234"))
    source = {**MINE, "thousands": ","}
    assert read(tmp_path, text.format("1,234"), source=source)["temp"].tolist() == [
        1_234_567.5,
        -12,
        1234,
    ]
    assert "line 4" in refused(tmp_path, text.format("12,34"), source=source)


def test_dates_with_dots_are_no_thousands(tmp_path):
    source = {**MINE, "separator": ";", "decimal": ",", "thousands": ".", "time_format": "%d.%m.%Y"}
    frame = read(tmp_path, "ds;temp\n31.12.2024;1.234,5\n", source=source)
    assert frame["ds"].tolist() == [pd.Timestamp("2024-12-31")] and frame["temp"].tolist() == [
        1234.5
    ]


@pytest.mark.parametrize(
    ("written", "first", "freq"),
    [
        (("2020Q1", "2020Q2"), "2020-01-01", "1QS"),
        (("2020-Q1", "2020-Q2"), "2020-01-01", "1QS"),
        (("Q1 2020", "Q2 2020"), "2020-01-01", "1QS"),
        (("2020M01", "2020M02"), "2020-01-01", "1MS"),
        (("2020-W53", "2021-W01"), "2020-12-28", "W-MON"),
        (("2020W53", "2021W01"), "2020-12-28", "W-MON"),
        (("2020-W53-7", "2021-W01-7"), "2021-01-03", "W-SUN"),
    ],
)
def test_quarters_months_and_iso_weeks_are_their_first_day(tmp_path, written, first, freq):
    text = "ds,temp\n" + "".join(f"{ds},1\n" for ds in written)
    frame = read(tmp_path, text, calendar={"kind": "regular", "freq": freq})
    assert frame["ds"].tolist() == pd.date_range(first, periods=2, freq=freq.lstrip("1")).tolist()


@pytest.mark.parametrize(
    "wrong", ["2020Q5", "2020-W54", "2020M13", "Q0 2020", "2020M01-5", "2020Q1-3", "2020M015"]
)
def test_a_quarter_month_or_week_that_is_none_is_refused_with_its_line(tmp_path, wrong):
    message = refused(
        tmp_path, f"ds,temp\n2020Q1,1\n{wrong},2\n", calendar={"kind": "regular", "freq": "1QS"}
    )
    assert "line 3" in message and wrong in message


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (("01/31/2024 11:00 PM", "02/01/2024 12:00 AM"), "%m/%d/%Y %I:%M %p"),
        (("2024-01-31 11 PM", "2024-02-01 12 AM"), "%Y-%m-%d %I %p"),
        (("31 Jan 2024", "01 Feb 2024"), "%d %b %Y"),
        (("Jan 2024", "Feb 2024"), "%b %Y"),
    ],
)
def test_the_format_that_all_times_fit_is_named_and_then_read(tmp_path, written, form):
    text = "ds,temp\n" + "".join(f"{ds},1\n" for ds in written)
    assert f'All rows fit `time_format: "{form}"`' in refused(tmp_path, text)
    frame = read(tmp_path, text, source={**MINE, "time_format": form})
    assert frame["ds"].tolist() == [pd.to_datetime(ds, format=form) for ds in written]


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        ("%Y%m%d", {}),
        ("%Y%m%d", {"time_format": "%Y%m%d"}),
        ("%d.%m.%Y", {"time_format": "%d.%m.%Y"}),
    ],
)
def test_a_row_of_totals_is_to_be_removed_and_no_format_is_proposed(tmp_path, form, settings):
    days = pd.date_range("2021-01-01", periods=60).strftime(form)
    text = "ds,temp\n" + "".join(f"{day},1\n" for day in days) + "Total,60\n"
    message = refused(tmp_path, text, source={**MINE, **settings})
    assert f"line 62: `ds` holds 'Total', wanted a time written as '{days[0]}'" in message
    assert message.endswith("Correct or remove the row.")


def test_a_mark_of_no_value_is_named_with_the_line_to_add_and_then_read(tmp_path):
    text = "ds,temp\n2024-01-01,offline\n2024-01-02,-999\n2024-01-03,5\n"
    assert "add `missing: ['offline']` under `source`" in refused(tmp_path, text)
    frame = read(tmp_path, text, source={**MINE, "missing": ["offline", -999]})
    assert frame["temp"].isna().tolist() == [True, True, False]


def test_a_number_that_stands_for_no_value_is_blanked_in_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    times = pd.date_range("2024-01-01", periods=2, freq="h")
    pd.DataFrame({"ds": times, "temp": [-999, 2]}).to_parquet(tmp_path / "data" / "mine.parquet")
    source = {"kind": "file", "path": "data/mine.parquet", "missing": [-999]}
    request = sources.Request("mine", dataset(source=source), tmp_path)
    assert sources.read(request).frame["temp"].isna().tolist() == [True, False]


def test_a_file_saved_as_utf_8_since_is_told_with_the_encoding_and_no_name_to_map(tmp_path):
    path = encoded(tmp_path, "utf-8")
    with pytest.raises(InputError, match=r"found text in UTF-8.*Set `encoding: utf-8`"):
        own_files.read_table(path, "mine.csv", own_files.FileFormat(encoding="cp1252"))
