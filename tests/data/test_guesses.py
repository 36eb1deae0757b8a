"""The entry that is written for a file of one's own: what stands in the file is found, shown, and
read back right.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from forecast.backtest import combinations
from forecast.config.datasets import Dataset, load_dataset
from forecast.config.reading import validate_config
from forecast.config.task import RegularCalendar, SessionCalendar, WeekdayCalendar
from forecast.data import ingest, own_files, preparation, sources, splits
from forecast.data.calendars import grid
from forecast.data.guesses.entry import ROOM_FOR_GAPS, guess_entry
from forecast.data.guesses.series import find_number_names, find_series_column
from forecast.data.guesses.spans import block_shares, guess_spans
from forecast.data.panel import from_frame
from forecast.data.schema import check_frame, find_text_cell
from forecast.data.sources import file
from forecast.data.written_times import DATE_FORMATS, TIME_FORMATS, guess_time_format
from forecast.forecaster.intervals import require_enough_errors
from forecast.system.errors import InputError
from tests.support.example_data import write_project

WAVE = np.sin(np.arange(600)).round(3)
ROOM = {"max_missing": ROOM_FOR_GAPS}
OTHER_DRAWS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
"""Seeds of what is simulated: of the usual tests, one."""


def guess_both(tmp_path: Path, frame: pd.DataFrame, **how: Any) -> tuple[dict[str, Any], str]:
    """The entry for the file of `frame`, and its text with the comments."""
    (tmp_path / "data").mkdir(exist_ok=True)
    frame.to_csv(tmp_path / "data" / "mine.csv", **{"index": False, **how})
    text = guess_entry(tmp_path / "data" / "mine.csv", "data/mine.csv", "mine")
    return yaml.safe_load(text)["mine"], text


def guessed(tmp_path: Path, frame: pd.DataFrame, **how: Any) -> dict[str, Any]:
    return guess_both(tmp_path, frame, **how)[0]


@pytest.mark.parametrize(
    ("times", "calendar", "season"),
    [
        (pd.date_range("2024-01-01", periods=600, freq="h"), {"kind": "regular", "freq": "1h"}, 24),
        (
            pd.date_range("2024-01-01", periods=600, freq="15min"),
            {"kind": "regular", "freq": "15min"},
            96,
        ),
        (pd.date_range("2024-01-01", periods=600, freq="D"), {"kind": "regular", "freq": "1D"}, 7),
        (pd.bdate_range("2022-01-03", periods=600), {"kind": "weekdays"}, 5),
        (
            pd.date_range("2010-01-06", periods=600, freq="W-WED"),
            {"kind": "regular", "freq": "W-WED"},
            52,
        ),
        (
            pd.date_range("1960-01-01", periods=200, freq="MS"),
            {"kind": "regular", "freq": "1MS"},
            12,
        ),
        (
            pd.date_range("1960-01-01", periods=200, freq="ME"),
            {"kind": "regular", "freq": "1ME"},
            12,
        ),
        (
            pd.date_range("1960-01-01", periods=200, freq="BME"),
            {"kind": "regular", "freq": "1BME"},
            12,
        ),
        (
            pd.date_range("1960-01-01", periods=120, freq="QE"),
            {"kind": "regular", "freq": "1QE"},
            4,
        ),
        (
            pd.date_range("1960-01-01", periods=120, freq="BQS"),
            {"kind": "regular", "freq": "1BQS"},
            4,
        ),
        (
            pd.date_range("1950-01-01", periods=60, freq="YS"),
            {"kind": "regular", "freq": "1YS"},
            1,
        ),
    ],
    ids=[
        "hours",
        "quarter hours",
        "days",
        "weekdays",
        "weeks",
        "months",
        "month ends",
        "last working days",
        "quarters",
        "first working days",
        "years",
    ],
)
def test_the_calendar_and_the_season_are_found(tmp_path, times, calendar, season):
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": WAVE[: len(times)]}))
    assert entry["calendar"] == calendar and entry["season_length"] == season
    assert entry["target"]["max_missing"] == ROOM_FOR_GAPS
    assert entry["step_size"] == max(1, entry["horizon"] // 4)
    assert entry["calendar_features"] == {
        24: ["hour_of_day"],
        96: ["hour_of_day"],
        7: ["day_of_year"],
        52: ["day_of_year"],
    }.get(season, [])


@pytest.mark.parametrize("freq", ["SMS", "SMS-16", "SME"])
def test_half_months_are_a_calendar_with_the_season_of_a_year(tmp_path, freq):
    times = pd.date_range("2010-01-01", periods=240, freq=freq)
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": WAVE[:240]}).drop(index=50))
    assert entry["calendar"] == {"kind": "regular", "freq": freq}
    assert (entry["season_length"], entry["horizon"], entry["lookback"]) == (24, 6, 48)


def test_months_on_their_15th_are_no_half_months(tmp_path):
    times = pd.date_range("2010-01-01", periods=120, freq="MS") + pd.Timedelta(14, "D")
    with pytest.raises(InputError, match=r"no calendar has\. Of periods write the first"):
        guessed(tmp_path, pd.DataFrame({"ds": times, "y": WAVE[:120]}))


@pytest.mark.parametrize(
    ("freq", "written", "spans"),
    [
        ("14D", "14D", (26, 4, 52)),
        ("336h", "14D", (26, 4, 52)),
        ("28D", "28D", (13, 4, 52)),
        ("10D", "10D", (37, 4, 52)),
        ("3D", "3D", (7, 7, 28)),
    ],
)
def test_rows_some_days_apart_have_the_season_of_a_year_or_of_their_weekdays(
    tmp_path, freq, written, spans
):
    times = pd.date_range("1990-01-03", periods=600, freq=freq)
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": WAVE}))
    assert entry["calendar"] == {"kind": "regular", "freq": written}
    assert (entry["season_length"], entry["horizon"], entry["lookback"]) == spans


@pytest.mark.parametrize(
    ("freq", "same"), [("C", "B"), ("CBMS", "MS"), ("WOM-3FRI", "MS"), ("LWOM-FRI", "MS")]
)
def test_workdays_and_months_have_their_spans_by_any_name(freq, same):
    spans = [guess_spans(RegularCalendar(kind="regular", freq=name)) for name in (freq, same)]
    assert spans[0] == spans[1] and spans[0].season > 1


@pytest.mark.parametrize(
    ("freq", "season"), [("B", 5), ("2B", 5), ("3C", 5), ("5B", 1), ("10B", 1)]
)
def test_some_working_days_apart_the_days_of_the_week_return_after_five_steps(freq, season):
    calendar = RegularCalendar(kind="regular", freq=freq)
    assert guess_spans(calendar).season == season
    days = pd.date_range("2024-01-02", periods=50, freq=freq).day_of_week
    assert (days[season:] == days[:-season]).all()


@pytest.mark.parametrize(("rows", "season"), [(5000, 1), (2 * 8640, 8640)])
def test_a_season_that_the_series_does_not_show_twice_is_none(tmp_path, rows, season):
    times = pd.date_range("2024-01-01", periods=rows, freq="10s")
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": np.resize(WAVE, rows)}))
    assert entry["season_length"] == season


def sold_at(rows: int, places: tuple[int, ...], share: float) -> np.ndarray:
    """Counts of days, zero outside of `places` of a week and on all but `share` of the days."""
    rng = np.random.default_rng(0)
    is_sold = np.isin(np.arange(rows) % 7, places) & (rng.random(rows) < share)
    return is_sold * rng.integers(1, 4, rows)


@pytest.mark.parametrize(
    ("places", "share", "grid"),
    [(range(7), 0.2, "intermittent"), (range(7), 0.9, None), ((0, 1, 2), 0.9, None)],
    ids=["spare parts", "sold nearly every day", "closed on most days"],
)
def test_counts_that_are_mostly_zero_on_every_weekday_get_their_grid(tmp_path, places, share, grid):
    times = pd.date_range("2024-01-01", periods=600)
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": sold_at(600, tuple(places), share)}))
    assert entry.get("grid") == grid
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text(encoding="utf-8"))
    assert grid is None or "lookback_median" in catalogue["grids"][grid]


def test_zeros_before_the_first_sale_are_not_those_of_spare_parts(tmp_path):
    sold = sold_at(600, tuple(range(7)), 0.9)
    sold[:350] = 0
    times = pd.date_range("2024-01-01", periods=600)
    assert "grid" not in guessed(tmp_path, pd.DataFrame({"ds": times, "y": sold}))


def test_one_slow_good_of_three_keeps_the_grid_of_all(tmp_path):
    times = pd.date_range("2024-01-01", periods=600)
    shares = {"slow": 0.2, "fast": 0.9, "faster": 1.0}
    parts = [
        pd.DataFrame({"unique_id": name, "ds": times, "y": sold_at(600, tuple(range(7)), share)})
        for name, share in shares.items()
    ]
    assert "grid" not in guessed(tmp_path, pd.concat(parts))


def test_trading_days_are_told_from_all_weekdays(tmp_path):
    days = grid(SessionCalendar(kind="sessions", exchange="XNYS"), "2022-01-03", "2024-12-31")[:600]
    entry = guessed(tmp_path, pd.DataFrame({"Date": days.strftime("%Y-%m-%d"), "close": WAVE}))
    assert entry["calendar"] == {"kind": "sessions", "exchange": "XNYS"}


@pytest.mark.parametrize(
    ("form", "sep", "decimal"),
    [
        ("%d.%m.%Y %H:%M", ";", ","),
        ("%d/%m/%Y %H:%M", ",", "."),
        ("%m/%d/%Y %H:%M", "\t", ","),
        ("%Y/%m/%d %H:%M:%S", ",", "."),
    ],
)
def test_numbers_and_times_that_are_written_are_read_back_exactly(tmp_path, form, sep, decimal):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    frame = pd.DataFrame({"Zeit": times.strftime(form), "Wert": WAVE})
    entry = guessed(tmp_path, frame, sep=sep, decimal=decimal)
    write_project(tmp_path, mine=entry)
    read = sources.read(
        sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    ).frame
    assert read["ds"].tolist() == times.tolist()
    np.testing.assert_array_equal(read["Wert"], WAVE)


@pytest.mark.parametrize(
    ("form", "encoding"), [("%m/%d/%Y %I:%M %p", "utf-16"), ("%Y-%m-%d %I:%M:%S %p", "cp1252")]
)
def test_numbers_and_times_of_an_export_for_excel_are_read_back_exactly(tmp_path, form, encoding):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    written = [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in 1000 * WAVE]
    rows = "".join(
        f"{ds};{value}\n" for ds, value in zip(times.strftime(form), written, strict=True)
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text(f"sep=;\nZeit;Größe\n{rows}", encoding=encoding)
    entry = yaml.safe_load(guess_entry(tmp_path / "data" / "mine.csv", "data/mine.csv", "mine"))[
        "mine"
    ]
    assert entry["calendar"] == {"kind": "regular", "freq": "1h"}
    write_project(tmp_path, mine=entry)
    read = sources.read(
        sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    ).frame
    assert read["ds"].tolist() == times.tolist()
    np.testing.assert_allclose(read["Größe"], 1000 * WAVE, atol=0.005)


@pytest.mark.parametrize(
    ("form", "freq"),
    [
        ("%G-W%V", "W-MON"),
        ("%Gw%V", "W-MON"),
        ("%YQ{0.quarter}", "1QS"),
        ("%Yq{0.quarter}", "1QS"),
        ("%Ym%m", "1MS"),
        ("%m.%Y", "1MS"),
    ],
)
def test_weeks_months_and_quarters_become_their_calendar(tmp_path, form, freq):
    times = pd.date_range("1990-01-01", periods=200, freq=freq.lstrip("1"))
    text = [time.strftime(form).format(time) for time in times]
    assert (
        guessed(tmp_path, pd.DataFrame({"when": text, "y": WAVE[:200]}))["calendar"]["freq"] == freq
    )


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("America/New_York", "America/New_York"),
        ("America/Denver", "America/New_York"),
        ("Europe/Madrid", "Europe/Berlin"),
        ("Europe/Dublin", "Europe/London"),
        ("Australia/Melbourne", "Australia/Sydney"),
        ("Pacific/Auckland", "Australia/Sydney"),
    ],
)
def test_a_clock_that_is_put_back_is_found_by_its_hour_and_may_be_that_of_another_place(
    tmp_path, zone, expected
):
    autumn = "2024-04-01" if zone in ("Australia/Melbourne", "Pacific/Auckland") else "2024-09-01"
    times = pd.date_range(autumn, periods=600 * 4, freq="h", tz=zone)
    entry, text = guess_both(
        tmp_path, pd.DataFrame({"ds": times.tz_localize(None), "y": np.arange(2400.0)})
    )
    assert (
        entry["source"]["time_zone"] == expected and entry["target"]["max_missing"] == ROOM_FOR_GAPS
    )
    assert f"# times as {expected} (name yours, if its clocks change alike)" in text


@pytest.mark.parametrize("names", [("M1", "M2", "M3"), (101, 102, 103)])
def test_meters_by_a_local_clock_are_told_apart_though_an_hour_of_autumn_stands_twice(
    tmp_path, names
):
    times = pd.date_range("2024-09-01", periods=2400, freq="h", tz="Europe/Berlin")
    meter = pd.DataFrame({"time": times.tz_localize(None), "load": np.arange(2400.0)})
    meters = pd.concat([meter.assign(meter=name, sky="clear") for name in names])
    entry = guessed(tmp_path, meters)
    assert entry["source"]["columns"] == {"ds": "time", "unique_id": "meter"}
    assert entry["source"]["time_zone"] == "Europe/Berlin"
    write_project(tmp_path, mine=entry)
    request = sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    assert ingest.fetch_snapshot(request, now=pd.Timestamp("2025-06-01")).rows == 7200
    twice_in_autumn = meters.assign(time=[*meters["time"][:-1], meters["time"].iloc[-2]])
    assert guessed(tmp_path, twice_in_autumn)["source"]["columns"]["unique_id"] == "meter"


@pytest.mark.parametrize("column", ["clock", "end"])
def test_a_column_that_tells_the_repeated_hour_of_autumn_apart_names_no_series(tmp_path, column):
    times = pd.date_range("2023-08-01", "2024-04-30", freq="h", tz="Europe/Berlin")
    is_summer = times.strftime("%z") == "+0200"
    ends = (times + pd.Timedelta("1h")).strftime("%Y-%m-%d %H:%M")
    text = np.where(is_summer, "MESZ", "MEZ") if column == "clock" else ends
    begins = times.strftime("%Y-%m-%d %H:%M")
    frame = pd.DataFrame({"start": begins, column: text, "kWh": np.arange(len(times)) % 24 + 0.5})
    source = guessed(tmp_path, frame)["source"]
    assert source["columns"] == {"ds": "start"}
    assert source["time_zone"] == "Europe/Berlin"


def test_two_shops_of_one_name_are_told_apart_by_their_city(tmp_path):
    days = pd.date_range("2024-01-01", periods=40)
    names = [*(f"shop {number}" for number in range(149)), "shop 0"]
    shops = [
        pd.DataFrame({"date": days, "shop": name, "city": f"city {place % 7}", "sales": WAVE[:40]})
        for place, name in enumerate(names)
    ]
    source = guessed(tmp_path, pd.concat(shops))["source"]
    assert source["id_columns"] == ["shop", "city"]


def articles(**columns: list[str]) -> pd.DataFrame:
    """Daily sales of twelve articles in two shops each, named in columns of text or of numbers."""
    days = pd.date_range("2024-01-01", periods=40)
    names = pd.DataFrame(columns)
    parts = [
        pd.DataFrame({"date": days, **row, "sales": np.roll(WAVE[:40], place) + 9})
        for place, row in enumerate(names.to_dict("records"))
    ]
    return pd.concat(parts)


TWO_SHOPS = ["Köln", "Bonn"] * 12
ARTICLE_NUMBERS = [f"{471 + 87 * (place // 2):06}" for place in range(24)]


def add_and_read(tmp_path: Path, frame: pd.DataFrame) -> tuple[dict[str, Any], set[str]]:
    """The guessed entry of a file, and the names of the series that are read by its source."""
    entry = guessed(tmp_path, frame)
    settings = validate_config(Dataset, {"title": "mine", **entry}, where="mine")
    raw = sources.read(sources.Request("mine", settings, tmp_path))
    return entry, {*raw.frame["unique_id"]}


@pytest.mark.parametrize("is_number", [False, True], ids=["with zeros", "without"])
def test_two_columns_that_name_a_series_together_are_joined_as_they_are_written(
    tmp_path, is_number
):
    codes = [code.lstrip("0") for code in ARTICLE_NUMBERS] if is_number else ARTICLE_NUMBERS
    entry, names = add_and_read(tmp_path, articles(Filiale=TWO_SHOPS, Artikelnr=codes))
    assert entry["source"]["id_columns"] == ["Filiale", "Artikelnr"]
    assert names == {f"{shop}/{code}" for shop, code in zip(TWO_SHOPS, codes, strict=True)}
    assert [column["column"] for column in entry["static"]] == ["Filiale"]


def test_a_number_of_an_article_is_a_name_and_no_quantity(tmp_path):
    names = [f"{shop}-{code}" for shop, code in zip(TWO_SHOPS, ARTICLE_NUMBERS, strict=True)]
    bare = [code.lstrip("0") for code in ARTICLE_NUMBERS]
    ean = [4_000_000 + 7 * place for place in range(24)]
    size = [float(30 + 11 * place) for place in range(24)]
    for column in ({"Artikelnr": ARTICLE_NUMBERS}, {"Artikelnr": bare}, {"EAN": ean}):
        entry, _ = add_and_read(tmp_path, articles(Reihe=names, size=size, **column))
        assert [static["column"] for static in entry["static"]] == ["size"]
    _, single = add_and_read(tmp_path, articles(Artikelnr=[*dict.fromkeys(ARTICLE_NUMBERS)]))
    assert single == {*ARTICLE_NUMBERS}


def test_codes_of_two_digits_name_something_and_months_of_two_digits_do_not(tmp_path):
    shops = [f"{place:02}" for place in range(1, 25)]
    frame = articles(shop=shops, department=[f"0{place % 3 + 1}" for place in range(24)])
    frame = frame.assign(sales=frame["sales"].round(2), month=frame["date"].dt.strftime("%m"))
    entry, names = add_and_read(tmp_path, frame)
    assert names == {*shops}
    assert entry["static"] == [{"column": "department", "categories": ["01", "02", "03"]}]
    assert entry["target"]["column"] == "sales"


def test_a_quantity_with_leading_zeros_is_a_quantity(tmp_path):
    frame = articles(Artikelnr=[*dict.fromkeys(ARTICLE_NUMBERS)])
    padded = frame.assign(sales=(100 * frame["sales"]).round().astype(int).map("{:07}".format))
    padded.loc[3, "sales"] = "NA"
    entry, _ = add_and_read(tmp_path, padded)
    assert entry["target"]["column"] == "sales"


def bills(months: int = 48) -> pd.DataFrame:
    """Thirty customers by the month, of whom each lacks another one."""
    times = pd.date_range("2020-01-01", periods=months, freq="MS")
    parts = [
        pd.DataFrame({"month": times, "customer": f"K{i}", "bill": WAVE[:months] + 9}).drop(index=i)
        for i in range(1, 31)
    ]
    parts[0] = parts[0].drop(index=[11, 12, 13, 14])
    return pd.concat(parts)


def test_a_month_that_is_missing_makes_no_shorter_series(tmp_path):
    _, text = guess_both(tmp_path, bills())
    assert "steps ahead; the shortest series has 48" in text and "shorter ones" not in text


def test_an_input_whose_forecast_comes_later_is_offered_as_known_ahead(tmp_path):
    days = pd.date_range("2024-01-01", periods=600)
    noise = np.random.default_rng(0).normal(size=600)
    _, text = guess_both(tmp_path, pd.DataFrame({"ds": days, "y": WAVE, "temp": noise.round(2)}))
    assert "# past_exogenous: [{column: temp" in text
    assert "tells ahead `future_exogenous: [{column: ..., known_ahead: true}]`" in text


def test_weather_behind_the_target_is_a_plan_whose_past_may_have_been_measured(tmp_path):
    visitors = np.where(np.arange(600) < 590, WAVE, np.nan)
    days = pd.date_range("2024-01-01", periods=600)
    noise = np.random.default_rng(0).gamma(1, size=600).round(2)
    for name, is_weather in (("rain", True), ("budget", False)):
        _, text = guess_both(
            tmp_path, pd.DataFrame({"ds": days, "visitors": visitors, name: noise})
        )
        assert "values after the last visitors: a plan" in text
        assert ("if the past of 'rain' was measured, errors assume" in text) == is_weather


def test_solar_power_with_a_forecast_of_the_sun_is_modelled_without_its_logarithm(tmp_path):
    hours = np.arange(2400)
    sun = np.maximum(np.sin(2 * np.pi * hours / 24), 0) * (1.5 + np.sin(hours // 24 / 9.0))
    frame = pd.DataFrame(
        {"ds": pd.date_range("2024-01-01", periods=2400, freq="h"), "power": 5 * sun}
    )
    assert guessed(tmp_path, frame)["target"]["transform"] == "log1p"
    planned = frame.assign(sun=sun.round(3), power=frame["power"].where(hours < 2376))
    entry = guessed(tmp_path, planned)
    assert entry["future_exogenous"] and "transform" not in entry["target"]


def test_a_row_that_stands_twice_in_winter_is_explained_by_no_clock(tmp_path):
    times = pd.date_range("2024-01-01", periods=2000, freq="2h")
    entry = guessed(tmp_path, pd.DataFrame({"time": [*times, times[1]], "y": np.arange(2001.0)}))
    assert "time_zone" not in entry["source"] and entry["calendar"] == {
        "kind": "regular",
        "freq": "2h",
    }


@pytest.mark.parametrize("mark", ["o", "n.v.", "21,5 °C"])
def test_a_cell_without_a_number_is_named_by_its_line_where_its_column_is_wanted(tmp_path, mark):
    times = pd.date_range("2024-01-01", periods=200, freq="h").strftime("%Y-%m-%d %H:%M")
    frame = pd.DataFrame(
        {"time": times, "temp": [*["1.5"] * 150, mark, *["2.5"] * 49], "remark": "fine"}
    )
    with pytest.raises(
        InputError,
        match=rf"mine\.csv, line 152 .*column 'temp' holds text '{mark}', wanted a number",
    ):
        guessed(tmp_path, frame)
    with_wind = frame.assign(wind=np.arange(200.0))
    assert guessed(tmp_path, with_wind)["target"]["column"] == "wind"
    with pytest.raises(InputError, match=r"line 152 .*column 'temp' holds text"):
        guess_entry(tmp_path / "data" / "mine.csv", "data/mine.csv", "mine", target="temp")


HOURS = pd.date_range("2024-01-01", periods=960, freq="h")


def of_stations(columns: dict[str, Any], stations: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame(columns | {"y": np.arange(960.0)})
    return pd.concat([rows.assign(Ort=station) for station in stations])


@pytest.mark.parametrize(
    ("name", "hours", "clock"),
    [
        ("Hora", HOURS.hour, "%H"),
        ("slot_60", HOURS.hour, "%H"),
        ("Klukka", HOURS.strftime("%H:%M:%S"), "%H:%M:%S"),
        ("Time", HOURS.strftime("%H.%M.%S"), "%H.%M.%S"),
        ("HEURE", HOURS.strftime("%H00"), "%H%M"),
        ("<TIME>", HOURS.strftime("%H%M%S"), "%H%M%S"),
        ("am/pm", HOURS.strftime("%I:%M %p"), "%I:%M %p"),
    ],
)
@pytest.mark.parametrize("stations", [["Köln"], ["Köln", "Ulm"]])
def test_a_date_and_its_hour_in_two_columns_are_one_time(tmp_path, name, hours, clock, stations):
    frame = of_stations({"Datum": HOURS.strftime("%d.%m.%Y"), name: hours}, stations)
    entry = guessed(tmp_path, frame)
    assert entry["source"]["time_columns"] == ["Datum", name]
    assert entry["source"]["time_format"] == f"%d.%m.%Y {clock}"
    assert entry["calendar"] == {"kind": "regular", "freq": "1h"}
    assert entry["source"].get("columns", {}) == ({"unique_id": "Ort"} if stations[1:] else {})


@pytest.mark.parametrize(
    ("name", "hours"),
    [
        ("HE", HOURS.hour + 1),
        ("Hour", [f"{hour + 1:02}" for hour in HOURS.hour]),
        ("period", [f"{1 + n % 48:02}" for n in range(960)]),
        ("slot", [f"{n % 96:02}" for n in range(960)]),
        ("period", [1 + n % 3 for n in range(960)]),
        ("Std", HOURS.hour + 1),
        ("Uhrzeit", [f"{hour + 1}:00" for hour in HOURS.hour]),
        ("hhmm", 100 * HOURS.hour),
        ("Time", 10_000 * HOURS.hour),
    ],
)
@pytest.mark.parametrize("stations", [["Köln"], ["Köln", "Ulm"]])
def test_hours_from_1_to_24_clocks_without_zeros_and_shifts_are_refused(
    tmp_path, name, hours, stations
):
    n_a_day = len(set(hours)) if name in ("period", "slot") else 24
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(960) // n_a_day, "D")
    frame = of_stations({"Datum": days.strftime("%d.%m.%Y"), name: hours}, stations)
    with pytest.raises(InputError, match=f"'Datum' and '{name}' are parts of one time"):
        guessed(tmp_path, frame)


DAYS = pd.date_range("2020-12-30", periods=600)
MONTHS = pd.date_range("1990-01-01", periods=240, freq="MS")


@pytest.mark.parametrize(
    ("columns", "n_parts", "freq"),
    [
        (
            {"year": HOURS.year, "month": HOURS.month, "day": HOURS.day, "hour": HOURS.hour},
            4,
            "1h",
        ),
        (
            {
                "YY": HOURS.year,
                "MM": HOURS.strftime("%m"),
                "DD": HOURS.strftime("%d"),
                "hh": HOURS.strftime("%H"),
                "mm": "00",
            },
            5,
            "1h",
        ),
        ({"station": 7, "Year": DAYS.year, "Month": DAYS.month, "Day": DAYS.day}, 3, "1D"),
        ({"Year": MONTHS.year, "Month": MONTHS.month_name()}, 2, "1MS"),
        ({"Year": MONTHS.year, "Period": MONTHS.strftime("M%m")}, 2, "1MS"),
        ({"Jahr": 1960 + np.arange(240) // 4, "Zeitraum": ["Q1", "Q2", "Q3", "Q4"] * 60}, 2, "1QS"),
    ],
)
def test_a_year_and_its_parts_in_columns_of_their_own_are_one_time(
    tmp_path, columns, n_parts, freq
):
    frame = pd.DataFrame(columns)
    frame["flow"] = np.sin(np.arange(len(frame)))
    entry = guessed(tmp_path, frame)
    assert entry["source"]["time_columns"] == list(columns)[-n_parts:]
    assert entry["calendar"] == {"kind": "regular", "freq": freq}
    assert entry["target"]["column"] == "flow"


def test_rain_in_mm_and_degree_days_are_no_parts_of_a_time(tmp_path):
    names = ("year", "month", "day", "hour")
    parts = {name: getattr(HOURS, name) for name in names}
    frame = pd.DataFrame(parts | {"rain_mm": np.arange(960) % 7, "load": np.sin(np.arange(960))})
    assert guessed(tmp_path, frame)["source"]["time_columns"] == list(names)
    months = {"year": MONTHS.year, "month": MONTHS.month, "degree_day": 7.5 * MONTHS.month}
    frame = pd.DataFrame(months | {"gas": np.sin(np.arange(240))})
    assert guessed(tmp_path, frame)["source"]["time_columns"] == ["year", "month"]


def test_parts_of_a_time_in_parquet_are_numbers(tmp_path):
    names = ("year", "month", "day", "hour")
    frame = pd.DataFrame({name: getattr(HOURS, name) for name in names} | {"y": np.arange(960.0)})
    frame.to_parquet(tmp_path / "mine.parquet")
    entry = yaml.safe_load(guess_entry(tmp_path / "mine.parquet", "data/mine.parquet", "mine"))
    assert entry["mine"]["source"]["time_columns"] == list(names)


def test_a_time_with_too_many_parts_is_refused_by_the_names_of_the_file(tmp_path):
    minutes = pd.date_range("2024-01-01", periods=960, freq="15min")
    parts = {"date": minutes.date, "hour": minutes.hour, "minute": minutes.minute}
    frame = pd.DataFrame(parts | {"y": np.sin(np.arange(960))})
    with pytest.raises(InputError, match="'date' and 'hour' and 'minute' are parts of one time"):
        guessed(tmp_path, frame)


@pytest.mark.parametrize(
    ("hours", "is_read"), [(range(24), True), (range(1, 25), False)], ids=["from 0", "from 1"]
)
def test_hours_of_two_digits_behind_a_date_are_hours(tmp_path, hours, is_read):
    texts = [f"{day:%d.%m.%Y} {hour:02}" for day in DAYS[:40] for hour in hours]
    frame = pd.DataFrame({"when": texts, "y": np.sin(np.arange(960))})
    if is_read:
        assert guessed(tmp_path, frame)["source"]["time_format"] == "%d.%m.%Y %H"
    else:
        with pytest.raises(InputError, match=r"may be some|wanted a time"):
            guessed(tmp_path, frame)


@pytest.mark.parametrize(("form"), ["%Y %b %d", "%d %b %Y"])
def test_a_day_behind_or_before_a_month_is_no_hour(tmp_path, form):
    frame = pd.DataFrame({"when": DAYS.strftime(form), "y": np.sin(np.arange(600))})
    entry = guessed(tmp_path, frame)
    assert entry["source"]["time_format"] == form
    assert entry["calendar"] == {"kind": "regular", "freq": "1D"}


def test_a_level_that_looks_like_years_is_none(tmp_path):
    level = 1850 + np.cumsum(np.resize([0, 1, 0, 0, -1, 1, 0, -1], 200))
    frame = pd.DataFrame({"level": level, "flow": np.sin(np.arange(200))})
    entry = guessed(tmp_path, frame)
    assert entry["calendar"] == {"kind": "index"}
    assert "ds" not in entry["source"].get("columns", {})


@pytest.mark.parametrize("n_stores", [4, 5])
def test_years_of_many_stores_are_read_for_any_number_of_them(tmp_path, n_stores):
    years = np.repeat(range(1960, 2020), n_stores)
    stores = np.tile(np.arange(1, n_stores + 1), 60)
    frame = pd.DataFrame({"store": stores, "year": years, "y": np.sin(np.arange(len(years)))})
    assert guessed(tmp_path, frame)["source"]["columns"] == {"ds": "year", "unique_id": "store"}


def test_cities_whose_names_begin_like_months_are_series(tmp_path):
    rows = pd.DataFrame({"date": DAYS, "y": np.sin(np.arange(600))})
    frame = pd.concat([rows.assign(city=city) for city in ("Augsburg", "Marburg", "Julia")])
    assert guessed(tmp_path, frame)["source"]["columns"]["unique_id"] == "city"


def test_an_empty_first_time_is_refused_with_its_line(tmp_path):
    frame = pd.DataFrame({"date": ["", *DAYS.strftime("%Y-%m-%d")[1:]], "load": np.arange(600.0)})
    with pytest.raises(InputError, match="line 2"):
        guessed(tmp_path, frame)


def test_a_note_beside_a_constant_is_no_number_that_cannot_be_read(tmp_path):
    frame = pd.DataFrame({"date": DAYS, "y": 0.0, "note": ["calm", "storm 3"] * 300})
    assert guessed(tmp_path, frame)["target"]["column"] == "y"


def test_a_quarter_in_digits_is_no_month(tmp_path):
    quarters = {"Year": 1960 + np.arange(240) // 4, "Quarter": [1, 2, 3, 4] * 60}
    with pytest.raises(InputError, match="'Quarter', 'Year' may be some"):
        guessed(tmp_path, pd.DataFrame(quarters | {"y": np.sin(np.arange(240))}))


def test_the_parts_of_a_time_that_a_file_writes_out_are_no_times(tmp_path):
    parts = {"year": DAYS.year, "month": DAYS.month, "day": DAYS.day}
    frame = pd.DataFrame({"date": DAYS} | parts | {"y": np.sin(np.arange(600))})
    source = guessed(tmp_path, frame)["source"]
    assert source["columns"] == {"ds": "date"} and "time_columns" not in source


def test_a_year_with_decimals_is_not_forecast(tmp_path):
    frame = pd.DataFrame({"year": MONTHS.year, "month": MONTHS.month})
    frame["decimal date"] = (frame["year"] + (frame["month"] - 0.5) / 12).round(4)
    frame["average"] = 350 + 0.1 * np.arange(240)
    assert guessed(tmp_path, frame)["target"]["column"] == "average"


def test_forecasts_with_their_issue_are_no_series_for_each_time(tmp_path):
    days = pd.date_range("2024-01-01", periods=60)
    issues = [
        pd.DataFrame({"issued": days, "ds": days + pd.Timedelta(days=lead), "y": np.arange(60.0)})
        for lead in range(4)
    ]
    frame = pd.concat(issues).sort_values("issued")
    with pytest.raises(InputError, match=r"'issued' and 'ds' both hold times.*issued_path"):
        guessed(tmp_path, frame)
    with pytest.raises(InputError, match=r"'ds' and 'issued' both hold times"):
        guessed(tmp_path, frame[["ds", "issued", "y"]])
    cohorts = [
        pd.DataFrame({"day": days, "cohort": month, "y": np.arange(60.0)})
        for month in ("2023-10", "2023-11", "2023-12")
    ]
    assert guessed(tmp_path, pd.concat(cohorts))["source"]["columns"]["unique_id"] == "cohort"
    with pytest.raises(InputError, match=r"'cohort' and 'day' both hold times.* c2024-01"):
        guessed(tmp_path, pd.concat(cohorts)[["cohort", "day", "y"]])


@pytest.mark.parametrize(
    ("name", "other_column"),
    [
        ("orders", "price"),
        ("qty", "temp"),
        ("net_kWh", "preis"),
        ("Menge", "price"),
        ("NoOfOrders", "temp"),
    ],
)
def test_what_was_sold_is_forecast_rather_than_its_price_or_the_temperature(
    tmp_path, name, other_column
):
    days = pd.date_range("2024-01-01", periods=200)
    frame = pd.DataFrame({"day": days, other_column: WAVE[:200] + 9, name: np.arange(200) % 37})
    assert guessed(tmp_path, frame)["target"]["column"] == name


def test_an_hour_beside_the_whole_time_and_numbered_shops_are_no_clock(tmp_path):
    with_hour = pd.DataFrame({"time": HOURS, "hour": HOURS.hour, "y": np.arange(960.0)})
    assert "unique_id" not in guessed(tmp_path, with_hour)["source"]["columns"]
    days = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=40), "y": np.arange(40.0)})
    shops = pd.concat([days.assign(shop=shop) for shop in range(1, 25)])
    assert guessed(tmp_path, shops)["source"]["columns"]["unique_id"] == "shop"
    for name in ("Delivery Month", "time_series_id", "Period"):
        in_words = shops[shops["shop"] < 4].replace({"shop": {1: "one", 2: "two", 3: "three"}})
        entry = guessed(tmp_path, in_words.rename(columns={"shop": name}))
        assert entry["source"]["columns"]["unique_id"] == name


@pytest.mark.parametrize("name", ["week", "month", "year", "period"])
def test_a_part_of_the_date_beside_it_is_neither_its_clock_nor_the_target(tmp_path, name):
    days = pd.Series(pd.date_range("2024-01-01", periods=200))
    parts = {
        "week": days.dt.isocalendar().week,
        "month": days.dt.month,
        "year": days.dt.year,
        "period": days.dt.month,
    }
    shop_rows = pd.DataFrame({"day": days, name: parts[name], "amount": WAVE[:200]})
    shops = [shop_rows.assign(store=store, item=item) for store in "AB" for item in "ab"]
    entry = guessed(tmp_path, pd.concat(shops))
    assert entry["source"]["id_columns"] == ["store", "item"]
    assert entry["target"]["column"] == "amount"


@pytest.mark.parametrize(
    ("name", "count", "other_column"),
    [
        ("row", lambda times: np.arange(1000, 1000 + len(times)), "temp"),
        ("row", lambda times: np.arange(len(times), 0, -1), "amount"),
        ("KW", lambda times: times.isocalendar().week.to_numpy(), "temp"),
        ("dow", lambda times: times.day_of_week + 1, "amount"),
        ("mon", lambda times: times.month, "temp"),
        ("doy", lambda times: times.day_of_year, "amount"),
    ],
)
def test_a_count_of_rows_or_days_is_no_target(tmp_path, name, count, other_column):
    days = pd.date_range("2023-01-01", periods=600)
    entry = guessed(
        tmp_path, pd.DataFrame({"date": days, name: count(days), other_column: 20 + WAVE})
    )
    assert entry["target"]["column"] == other_column


def test_a_count_of_days_is_the_target_where_nothing_else_is(tmp_path):
    days = pd.date_range("2023-01-01", periods=600)
    entry = guessed(tmp_path, pd.DataFrame({"date": days, "row": np.arange(600)}))
    assert entry["target"]["column"] == "row"


MONTHS = pd.date_range("2000-01-01", periods=240, freq="MS")


@pytest.mark.parametrize(
    ("written", "separator", "names"),
    [
        ("{0.month}.{0.year}", ",", "Buchung{}Umsatz"),
        ("{0.month}.{0.year}", ";", "Umsatz{}Buchung"),
        ("{0.month:02d}.{0.year}", ",", "Umsatz{}Buchung"),
        ("{0.month:02d}.{0.year}", ";", "Buchung{}Umsatz"),
    ],
)
def test_months_with_a_point_are_no_numbers(tmp_path, written, separator, names):
    (tmp_path / "data").mkdir()
    amount = "1.234,50" if separator == ";" else "1234.50"
    cells = [(written.format(month), amount) for month in MONTHS]
    if names.startswith("Umsatz"):
        cells = [(amount, month) for month, amount in cells]
    lines = [names.format(separator), *map(separator.join, cells)]
    (tmp_path / "data" / "mine.csv").write_text("\n".join(lines))
    text = guess_entry(tmp_path / "data" / "mine.csv", "data/mine.csv", "mine")
    write_project(tmp_path, mine=yaml.safe_load(text)["mine"])
    request = sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    rows = sources.read(request).frame
    assert rows["ds"].tolist() == MONTHS.tolist()
    assert (rows["Umsatz"] == 1234.5).all()


def test_a_rate_with_one_whole_part_is_no_month(tmp_path):
    days = pd.date_range("2023-01-01", periods=40)
    frame = pd.DataFrame({"date": days, "rate": np.linspace(1.2001, 1.2079, 40).round(4)})
    assert guessed(tmp_path, frame)["target"]["column"] == "rate"


@pytest.mark.parametrize("name", ["Posten", "Periode"])
def test_a_month_with_three_digits_is_neither_read_nor_counted(tmp_path, name):
    written = [f"{month.month:03d}.{month.year}" for month in MONTHS]
    with pytest.raises(InputError, match=f"no column holds times that are known; '{name}' may"):
        guessed(tmp_path, pd.DataFrame({name: written, "y": WAVE[:240]}))


@pytest.mark.parametrize(
    ("unit", "column", "step", "dtype"),
    [
        ("s", "Seconds", "1s", int),
        ("s", "Seconds", "1h", float),
        ("ms", "Milliseconds", "1h", int),
        ("us", "Microseconds", "1s", float),
        ("ns", "Nanoseconds", "1h", int),
    ],
)
def test_times_since_1970_are_refused_with_how_to_turn_them_into_times(
    tmp_path, unit, column, step, dtype
):
    times = pd.date_range("2024-03-01", periods=200, freq=step).as_unit(unit).asi8
    with pytest.raises(InputError, match=f"{column} since 1970 become times by"):
        guessed(tmp_path, pd.DataFrame({"reading": times.astype(dtype), "y": WAVE[:200]}))


@pytest.mark.parametrize("form", ["{:02d}:00", "H{}", "HE{:02d}", "{}-{}", "hour_{}", "{}"])
def test_a_row_for_each_date_with_a_column_for_each_hour_is_refused(tmp_path, form):
    hours = {form.format(hour, hour + 1): WAVE[:100] for hour in range(24)}
    dates = pd.date_range("2024-01-01", periods=100)
    with pytest.raises(InputError, match=r"24 columns are named by times.*wanted a row for each"):
        guessed(tmp_path, pd.DataFrame({"date": dates, **hours}))


def test_numbered_columns_beside_hours_or_beside_few_others_are_no_hours(tmp_path):
    sensors = {f"{sensor}": WAVE[:200] + sensor for sensor in range(24)}
    hours = pd.date_range("2024-01-01", periods=200, freq="h")
    assert guessed(tmp_path, pd.DataFrame({"time": hours, **sensors}))["target"]["column"] == "0"
    assert guessed(tmp_path, pd.DataFrame(sensors))["target"]["column"] == "0"


@pytest.mark.parametrize(
    "names",
    [
        [f"M{meter}" for meter in range(1, 31)],
        ["2026-03", "2026-06", "2026-09", "2026-12"],
        ["Mar", "Jun", "Sep", "Dec"],
        [str(station) for station in range(2001, 2009)],
    ],
)
def test_meters_contracts_and_stations_beside_dates_are_no_times(tmp_path, names):
    dates = pd.date_range("2023-01-01", periods=200)
    values = {name: WAVE[:200] + n for n, name in enumerate(names)}
    entry = guessed(tmp_path, pd.DataFrame({"date": dates, **values}))
    assert entry["target"]["column"] == names[0]


@pytest.mark.parametrize("form", ["{}", "{:02d}", "M{}"])
def test_a_row_for_each_year_with_a_column_for_each_month_is_refused(tmp_path, form):
    months = {form.format(month): WAVE[:20] for month in range(1, 13)}
    with pytest.raises(InputError, match="12 columns are named by times"):
        guessed(tmp_path, pd.DataFrame({"Year": range(2000, 2020), **months}))


def test_a_row_for_each_series_is_not_counted(tmp_path):
    columns = {f"d_{day}": WAVE[:5] + day for day in range(30)}
    with pytest.raises(InputError, match="no column holds times that are known; 'd_0', 'd_1'"):
        guessed(tmp_path, pd.DataFrame({"unique_id": list("abcde"), **columns}))


def test_a_first_line_of_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"its first line holds '0\.5', '1\.25', wanted the names"):
        guessed(tmp_path, pd.DataFrame({"0.5": WAVE, "1.25": WAVE}))
    assert guessed(tmp_path, pd.DataFrame({"0": WAVE, "1": 2 * WAVE}))["target"]["column"] == "0"


@pytest.mark.parametrize("number", [False, True])
def test_two_columns_that_name_a_series_together_are_no_rows_too_many(tmp_path, number):
    day_rows = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=200), "y": WAVE[:200]})
    parts = [
        day_rows.assign(store=store if number else f"s{store}", item=item)
        for store in (1, 2)
        for item in "ab"
    ]
    source = guessed(tmp_path, pd.concat(parts))["source"]
    assert source["id_columns"] == (["item", "store"] if number else ["store", "item"])


@pytest.mark.parametrize(
    "extra_columns", [{}, {"season": "all"}], ids=["alone", "beside another text"]
)
def test_the_fewest_columns_that_name_a_series_together_are_taken(tmp_path, extra_columns):
    day_rows = pd.DataFrame(
        {"day": pd.date_range("2024-01-01", periods=200), **extra_columns, "y": WAVE[:200]}
    )
    parts = [
        day_rows.assign(region=region, shop=shop, goods=goods)
        for region in ("north", "south")
        for shop in ("shop 1", "shop 2")
        for goods in ("shoes", "chairs")
    ]
    entry, text = guess_both(tmp_path, pd.concat(parts))
    assert entry["source"]["id_columns"] == ["region", "shop", "goods"]
    assert "(sums too: `hierarchy: [region, shop, goods]`" in text


def test_gaps_series_and_the_other_columns_are_shown(tmp_path):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    place_rows = pd.DataFrame(
        {"ds": times, "y": WAVE, "wind": np.where(np.arange(600) < 9, np.nan, WAVE)}
    ).drop(index=[5, 6])
    entry, text = guess_both(
        tmp_path, pd.concat([place_rows.assign(place="rome"), place_rows.assign(place="ulm")])
    )
    assert entry["source"]["columns"] == {"unique_id": "place"}
    assert entry["target"] == {"column": "y", "max_missing": 0.05}
    assert "# past_exogenous: [{column: wind, max_missing: 0.07}]" in text


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("ds,b\n2024-01-01,x\n", r"mine.csv, line 2 .*column 'b' holds text 'x', wanted a number"),
        (
            "ds,shop,y\n2024-01-01,a,high\n2024-01-01,b,low\n",
            r"line 2 \(series 'a', 2024-01-01\): column 'y' holds text 'high', wanted a number",
        ),
        ("ds\n2024-01-01\n", "no number in 'ds', 'unique_id' beside times and series"),
        ("a,b\nx,y\n", "may be some"),
    ],
)
def test_a_file_without_numbers_is_refused(tmp_path, text, pattern):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=pattern):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


@pytest.mark.parametrize("column", [{}, {"t": np.arange(600)}], ids=["none", "counted"])
@pytest.mark.parametrize(
    "series", [{}, {"place": np.repeat(["rome", "ulm", "bonn"], 200)}], ids=["one", "three"]
)
def test_rows_without_dates_become_an_index_and_are_read_back(tmp_path, column, series):
    if series and column:
        column = {"t": np.tile(np.arange(200), 3)}
    entry = guessed(tmp_path, pd.DataFrame({**column, **series, "y": WAVE}))
    assert entry["calendar"] == {"kind": "index"} and entry["target"] == {"column": "y", **ROOM}
    mapped = ({"ds": "t"} if column else {}) | ({"unique_id": "place"} if series else {})
    assert entry["source"].get("columns", {}) == mapped
    write_project(tmp_path, mine=entry)
    read = sources.read(
        sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    ).frame
    assert (
        read["ds"].nunique() == 600 // read["unique_id"].nunique()
        and read["y"].tolist() == WAVE.tolist()
    )


@pytest.mark.parametrize(
    "times",
    [
        {"timestamp": 1577836800 + 3600 * np.arange(600)},
        {"t": np.arange(600) / 10},
        {"when": [f"the {n}th" for n in range(600)]},
        {"No": np.arange(600), "year": 2024, "month": 1 + np.arange(600) // 100, "day": 1},
        {"Date": "soon"},
        {"Date": np.arange(45000, 45600)},
        {"Tag": np.arange(45000, 45600)},
        {"t": (45000 + np.arange(600) / 24).round(6)},
        {"clock": [f"{n % 24:02}:00" for n in range(600)]},
        {"clock": ["", *[f"{n % 24:02}:00" for n in range(1, 600)]]},
        {"FiscalMonth": np.arange(600) % 12, "FiscalYear": 1950 + np.arange(600) // 12},
        {"fault": ["no", *["yes"] * 599], "ts": 1577836800 + 60 * np.arange(600)},
        {"fault": ["no", *["yes"] * 599], "clock": 1577836800 + 60 * np.arange(600)},
    ],
    ids=[
        "seconds since 1970",
        "seconds",
        "words",
        "in parts",
        "by name",
        "days of a spreadsheet",
        "days of a spreadsheet without a name of times",
        "hours of a spreadsheet",
        "hours without a date",
        "hours without a date, one of them missing",
        "fiscal months",
        "minutes",
        "unnamed",
    ],
)
def test_rows_are_not_counted_where_a_column_may_be_their_times(tmp_path, times):
    with pytest.raises(InputError, match=rf"'{list(times)[-1]}'.* may be some.*kind: index"):
        guessed(tmp_path, pd.DataFrame({**times, "y": WAVE}))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("forms", "column"),
    [
        ({"Meldejahr": "%G", "Meldewoche": "%V"}, "Meldejahr"),
        ({"KW": "%G/%-V"}, "KW"),
        ({"KW": "KW %V/%G"}, "KW"),
    ],
)
def test_weeks_of_several_lands_are_not_counted_but_told_how_to_write(
    tmp_path, forms, column, order
):
    weeks = pd.date_range("2016-01-04", periods=300, freq="7D")  # 2020 has 53 of them
    lands = [
        pd.DataFrame({"land": land, **{name: weeks.strftime(form) for name, form in forms.items()}})
        for land in ("Bayern", "Hessen")
    ]
    frame = pd.concat(lands).assign(cases=np.arange(600) % 37)[::order]
    with pytest.raises(InputError, match=rf"'{column}' may be some\. Write a year and its week as"):
        guessed(tmp_path, frame)


def test_days_with_the_names_of_their_weekdays_are_told_to_leave_these_out(tmp_path):
    days = pd.date_range("2024-01-01", periods=600).strftime("Mo, %d.%m.%Y")
    with pytest.raises(
        InputError, match=r"'Tag' may be some\. Leave the names of the weekdays out"
    ):
        guessed(tmp_path, pd.DataFrame({"Tag": days, "y": WAVE}), sep=";")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("names", [("Reading", "Used"), ("total_sales", "sales")])
def test_a_running_total_beside_its_changes_is_no_target(tmp_path, names, order):
    used = np.random.default_rng(0).uniform(0, 9, 600).round(1)
    columns = dict(zip(names, (used.cumsum().round(1), used), strict=True))
    assert guessed(tmp_path, make_wide(**columns)[::order])["target"]["column"] == names[1]


def test_a_step_is_no_running_total_of_what_is_mostly_zero_as_well(tmp_path):
    rows = np.arange(600)
    frame = make_wide(fee=rows // 60, strikes=rows % 60 // 57 * rows)
    assert guessed(tmp_path, frame)["target"]["column"] == "fee"


def test_a_number_that_never_changes_in_a_series_is_static_and_no_target(tmp_path):
    days = pd.date_range("2024-01-01", periods=600, freq="D").strftime("%Y-%m-%d")
    wards = [
        pd.DataFrame({"Date": days, "Ward": f"ward {i}", "Capacity": 20 + i, "Occupied": WAVE + i})
        for i in range(6)
    ]
    entry = guessed(tmp_path, pd.concat(wards))
    assert entry["target"]["column"] == "Occupied"
    assert [column["column"] for column in entry["static"]] == ["Capacity"]
    assert "past_exogenous" not in entry


def test_a_clock_of_numbers_is_no_target_where_a_failure_makes_text_of_all_others(tmp_path):
    readings = ["ERR" if n == 7 else value for n, value in enumerate(WAVE)]
    frame = pd.DataFrame({"ticks": 1577836800 + 60 * np.arange(600), "bearing": readings})
    with pytest.raises(InputError, match=r"'ticks'.* may be some"):
        guessed(tmp_path, frame)


def test_a_column_that_is_text_for_a_few_cells_is_named_beside_the_target(tmp_path):
    readings = ["ERR" if n == 7 else value for n, value in enumerate(WAVE)]
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    _, text = guess_both(
        tmp_path, pd.DataFrame({"ds": times, "a": readings, "b": WAVE, "place": "Rome"})
    )
    assert "target: {column: b, max" in text and "'place'" not in text
    assert "# not read, line 9 (series 'mine', 2024-01-01 07:00): column 'a' holds" in text


def test_a_plan_of_words_is_refused_with_what_to_write(tmp_path):
    frame = shop().assign(Promo=lambda rows: rows["Promo"].map({0: "none", 1: "big"}), Name="Cork")
    frame["Footfall"] = np.nan
    with pytest.raises(InputError, match=r"line 402 .*, with text in 'Promo'\. .*1 for yes"):
        guessed(tmp_path, frame)


def test_a_plan_of_words_beside_one_of_numbers_is_named_with_what_to_write(tmp_path):
    frame = shop().assign(Shelf="back", Country="IT")
    frame.loc[::3, "Shelf"] = "front"
    entry, text = guess_both(tmp_path, frame)
    assert [column["column"] for column in entry["future_exogenous"]] == ["Promo"]
    assert "    # not read: Shelf (a plan in words: to read it, write numbers, such as 1" in text


@pytest.mark.parametrize("shops", [["Cork"], ["Cork", "Sligo"]], ids=["a shop", "two shops"])
@pytest.mark.parametrize(("values", "share"), [((1,), 0.2), ((1,), 0.7), ((1, 2), 0.2)])
def test_a_plan_with_nothing_for_no_is_refused_with_what_to_write(tmp_path, shops, values, share):
    frame = shop().drop(columns="Footfall")
    marks = np.resize(values, len(frame))
    frame["Promo"] = np.where(np.random.default_rng(0).random(len(frame)) < share, marks, np.nan)
    frame.loc[[0, 405], "Promo"] = 1
    pattern = r"line 402 .*after the last Sales, with empty cells in 'Promo'\. .*0 for no"
    with pytest.raises(InputError, match=pattern):
        guessed(tmp_path, pd.concat([frame.assign(Shop=name) for name in shops]))


@pytest.mark.parametrize("value", [1, "yes"])
def test_a_plan_without_a_value_in_the_past_is_refused_with_what_to_write(tmp_path, value):
    frame = shop().assign(Promo=lambda rows: rows["Promo"].astype(object))
    frame["Promo"] = np.where(frame["Sales"].isna(), value, None)
    fault = "no value before it" if value == 1 else "text"
    with pytest.raises(InputError, match=f"with {fault} in 'Promo'.*those of the past too"):
        guessed(tmp_path, frame)


def test_each_fault_of_a_plan_is_said_of_its_columns(tmp_path):
    frame = shop().assign(Gift=np.nan, Temp=np.nan)
    frame.loc[::5, "Gift"] = 1
    frame.loc[400:, "Temp"] = 20.5
    with pytest.raises(InputError, match="empty cells in 'Gift', no value before it in 'Temp'\\. "):
        guessed(tmp_path, frame)


@pytest.mark.parametrize("shops", [["Cork"], ["Cork", "Sligo"]], ids=["a shop", "two shops"])
def test_the_name_of_a_shop_is_no_plan(tmp_path, shops):
    frame = shop().drop(columns="Promo")
    frame = pd.concat([frame.assign(Shop=name, Street=f"in {name}") for name in shops])
    entry, text = guess_both(tmp_path, frame)
    assert "future_exogenous" not in entry and " rows after the last Sales\n" in text


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_a_forecast_that_is_known_since_lately_is_a_plan(tmp_path, order):
    frame = shop()
    frame["temp_forecast"] = (10 + 5 * np.sin(np.arange(len(frame)))).round(1)
    frame.loc[: len(frame) * 3 // 4, "temp_forecast"] = np.nan
    entry = guessed(tmp_path, frame[::order])
    plans = [column["column"] for column in entry["future_exogenous"]]
    assert plans == ["Promo", "temp_forecast"]


@pytest.mark.parametrize("words", [("No", "Yes"), ("FALSE", "TRUE"), ("n", "y")])
def test_a_plan_of_yes_and_no_is_read_as_ones_and_zeros(tmp_path, words):
    flags = shop()
    in_words = flags.assign(Promo=flags["Promo"].map(dict(enumerate(words))))
    in_words.loc[3, "Promo"] = None
    entry = guessed(tmp_path, in_words)
    assert entry["future_exogenous"] == [{"column": "Promo", "known_ahead": True}]
    write_project(tmp_path, mine=entry)
    request = sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    read = file.read(request).frame["Promo"].to_numpy()
    assert np.isnan(read[3])
    np.testing.assert_array_equal(np.delete(read, 3), np.delete(flags["Promo"].to_numpy(), 3))


def test_a_column_that_only_says_no_may_be_a_country(tmp_path):
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=600), "y": WAVE, "land": "NO"})
    _, text = guess_both(tmp_path, frame)
    assert "land" not in text


def test_a_note_among_numbers_names_no_series(tmp_path):
    days = pd.date_range("2024-01-01", periods=600).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"Date": days, "Open": WAVE, "Close": WAVE})
    note = pd.DataFrame({"Date": days[40:41], "Open": "0.25 Dividend"})
    mixed = pd.concat([frame.assign(Open=WAVE + 0.1 * np.arange(600)), note.assign(Close=1.0)])
    assert find_series_column(mixed, "Date", None) is None


def test_a_young_series_beside_a_long_one_is_named_by_its_column():
    days = pd.date_range("2022-01-01", periods=600)
    shops = [
        pd.DataFrame({"day": days[-n:], "shop": name, "sales": WAVE[-n:]})
        for name, n in (("north", 600), ("south", 5))
    ]
    assert find_series_column(pd.concat(shops), "day", None) == "shop"


@pytest.mark.parametrize("tickers", [["AAA"], ["AAA", "BBB"]])
def test_two_lines_of_names_as_yfinance_writes_them_are_read_of_one_ticker(tmp_path, tickers):
    fields = pd.MultiIndex.from_product([["Open", "Close"], tickers], names=["Price", "Ticker"])
    days = pd.date_range("2024-01-01", periods=600, name="Date")
    prices = pd.DataFrame(np.tile(WAVE[:, None] + 9, len(fields)), days, fields)
    if len(tickers) == 1:
        entry = guessed(tmp_path, prices, index=True)
        assert entry["target"]["column"] == "Close" and entry["source"]["skip_below"] == 2
        return
    with pytest.raises(InputError, match=r"'Close', 'Open' more than once.*`stack\(1\)"):
        guessed(tmp_path, prices, index=True)
    read = pd.read_csv(tmp_path / "data" / "mine.csv", header=[0, 1], index_col=0)
    long = read.stack(1).reset_index()  # as the message says
    assert sorted(guessed(tmp_path, long)["source"]["columns"]) == ["ds", "unique_id"]


@pytest.mark.parametrize("name", ["Adj Close", "adjusted_close"])
def test_of_two_closes_the_adjusted_one_is_the_target(tmp_path, name):
    days = pd.date_range("2024-01-01", periods=600).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"Date": days, "Close": WAVE + 9, name: WAVE + 8})
    assert guessed(tmp_path, frame)["target"]["column"] == name


def test_a_target_that_ends_in_empty_cells_is_taken_up_to_its_last_value(tmp_path):
    shops = pd.concat([shop(plan=4).assign(Shop=name, Town=name) for name in ("Cork", "Sligo")])
    entry, text = guess_both(tmp_path, shops.drop(columns=["Promo", "Footfall"]))
    assert entry["target"]["max_missing"] == 0.05
    assert "# not read: 8 rows after the last Sales" in text
    write_project(tmp_path, mine=entry)
    settings = load_dataset("mine", tmp_path / "configs")
    request = sources.Request("mine", settings, tmp_path)
    assert ingest.fetch_snapshot(request, now=pd.Timestamp("2024-03-01")).rows == 800
    last = preparation.last_observation(sources.read(request).frame, settings)["last"]
    assert last == "2024-02-04T00:00:00"


@pytest.mark.parametrize("numbers", [True, False], ids=["numbers", "text"])
def test_days_without_marks_are_read_back(tmp_path, numbers):
    days = pd.date_range("2020-01-01", periods=600)
    written = days.strftime("%Y%m%d").astype(int if numbers else str)
    frame = pd.DataFrame({"day": written, "y": WAVE})
    assert add_and_take(tmp_path, frame)["ds"].tolist() == days.tolist()


def test_a_form_is_tried_wherever_it_wrote_the_times():
    """Forms are left out by the marks of a row, so none may write another mark than its own."""
    days = pd.date_range("2024-01-28 09:00", periods=40)
    for form in (*DATE_FORMATS, *(f"%d.%m.%Y{hour}" for hour in TIME_FORMATS)):
        assert guess_time_format(pd.Series(days.strftime(form))) is not None, form


@pytest.mark.parametrize(
    ("form", "step"),
    [
        ("%d %B %Y", "D"),
        ("%B %d, %Y", "D"),
        ("%B %Y", "MS"),
        ("%b-%y", "MS"),
        ("%m-%Y", "MS"),
        ("%d/%m/%Y, %H:%M:%S", "h"),
        ("%d.%m.%Y, %H:%M", "h"),
        ("%Y-%m-%d %H:%M:%S UTC", "h"),
        ("%Y%m%d%H", "h"),
        ("%Y%m%d%H%M", "15min"),
    ],
)
def test_times_as_programs_write_them_are_read_back(tmp_path, form, step):
    times = pd.date_range("2000-01-01", periods=200, freq=step)
    frame = pd.DataFrame({"when": times.strftime(form), "y": WAVE[:200]})
    assert add_and_take(tmp_path, frame)["ds"].tolist() == times.tolist()


@pytest.mark.parametrize(
    ("lines", "mark", "skipped"),
    [
        ("Sales of 2024;;\n\nDate;a;b", ";", 2),
        ("Sales report\nBerlin, 2024\nDate;a;b", ";", 2),
        ("Station: Köln\n\nDate;a;b", ";", 2),
        ("1. quarter of 2024\t\t\nDate\ta\tb", "\t", 1),
        ("Place, street, town\n\nDate,a,b", ",", 2),
        ("#DEBUG: type\nDate,a,b", ",", 1),
        ("# by x, y, z\n# n\nDate,a,b", ",", 2),
        ("# by x\n# Date,a,b", ",", 1),
        ("\nDate,a,b", ",", 1),
        ("Date,a,b", ",", 0),
        (",a,b", ",", 0),
    ],
)
def test_titles_above_the_names_are_skipped_and_told(tmp_path, lines, mark, skipped):
    rows = "".join(f"{day}{mark}{2 * n}{mark}{n % 3}\n" for n, day in enumerate(DAILY))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text(f"{lines}\n{rows}")
    text, frame = read_as_guessed(tmp_path, tmp_path / "data" / "mine.csv")
    assert frame["ds"].dt.strftime("%Y-%m-%d").tolist() == DAILY
    assert frame["a"].tolist() == list(range(0, 2 * len(DAILY), 2))
    assert frame.index.tolist() == list(range(2 + skipped, 2 + skipped + len(DAILY)))
    source = yaml.safe_load(text)["mine"]["source"]
    assert source.get("skip_lines", 0) == skipped
    assert ("above the names of columns" in text) == (skipped > 0)


@pytest.mark.parametrize(("odd", "other"), [("1.5", "2,5"), ("1.250", "980"), ("-.5", "3")])
def test_a_cell_with_another_decimal_mark_makes_no_number(tmp_path, odd, other):
    """1.250 beside 980 is 1250 or 1.25: only a person can tell."""
    path = tmp_path / "mine.csv"
    path.write_text(f"ds;price\n2024-01-01;{other}\n2024-01-02;{odd}\n2024-01-03;\n")
    form = own_files.FileFormat(separator=";", decimal=",")
    assert find_text_cell(own_files.read_table(path, "mine.csv", form)["price"]) == 1


@pytest.mark.parametrize("mark", ["", "-"])
def test_add_names_the_cell_for_which_a_column_is_not_read(tmp_path, mark):
    prices = ["2,5", "1.5", mark] + 25 * ["3,5"]
    rows = "".join(f"{day};{n},5;{prices[n]}\n" for n, day in enumerate(DAILY))
    (tmp_path / "mine.csv").write_text(f"ds;y;price\n{rows}")
    text = guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")
    assert "not read, line 3 (series 'mine', 2024-01-02 00:00): column 'price' holds" in text
    assert "text '1.5'" in text and "column: price" not in text
    with pytest.raises(InputError, match=r"line 3 .*column 'price' holds text '1\.5'"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine", target="price")


@pytest.mark.parametrize(
    ("form", "series"),
    [("%Y-%m-%d", ""), ("%d.%m.%Y", "a,"), ("%Y%m%d 12:00", "a,"), ("%Y%m%d", "")],
)
def test_a_file_without_names_of_columns_is_refused(tmp_path, form, series):
    days = pd.to_datetime(DAILY).strftime(form)
    path = tmp_path / "mine.csv"
    path.write_text("".join(f"{series}{day},{n}.5\n" for n, day in enumerate(days)))
    with pytest.raises(InputError, match=f"first line holds .*{days[0]}.*wanted the names"):
        guess_entry(path, "mine.csv", "mine")


@pytest.mark.parametrize("name", ["now", "today"])
def test_a_word_that_pandas_reads_as_this_moment_may_name_the_column_of_times(tmp_path, name):
    path = tmp_path / "mine.csv"
    path.write_text(f"{name},y\n" + "".join(f"{day},{n}\n" for n, day in enumerate(DAILY)))
    assert f"columns: {{ds: {name}}}" in guess_entry(path, "mine.csv", "mine")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_blanks_behind_a_separator_are_no_part_of_a_name_or_a_cell(tmp_path, mark):
    cells = [("ds", '"shop, town"', "y"), *((day, '"a, b"', str(n)) for n, day in enumerate(DAILY))]
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.csv"
    path.write_text("".join(f"{mark} ".join(row) + "\n" for row in cells))
    text, frame = read_as_guessed(tmp_path, path)
    assert frame["y"].tolist() == list(range(len(DAILY)))
    assert yaml.safe_load(text)["mine"]["target"]["column"] == "y"


def test_a_number_without_a_digit_before_its_mark_is_a_number(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("ds;y;price\n2024-01-01;,5;1,5 €\n2024-01-02;-,25;2 €\n")
    form = own_files.FileFormat(separator=";", decimal=",", units=("€",))
    assert own_files.read_table(path, "mine.csv", form)["y"].tolist() == [0.5, -0.25]


@pytest.mark.parametrize(
    ("write", "separator"),
    [
        ("−{:.2f}", ","),
        ("{:.2f}−", ","),
        ("−{:.2f} €", ","),
        ("−{:.2f} EUR", ","),
        ("USD −{:.2f}", ","),
        ("-{:.3E}", ","),
        ("-{:.3E}", ";"),
        ("−{:.2E}", ";"),
    ],
)
def test_numbers_as_programs_print_them_are_numbers(tmp_path, write, separator):
    values = np.linspace(1.25, 4321.5, len(DAILY)).round(2)
    values = np.array([float(f"{value:.2E}") for value in values]) if "E}" in write else values
    cells = [write.format(value) for value in values]
    if separator == ";":
        cells = [cell.replace(".", ",") for cell in cells]
    path = tmp_path / "data" / "mine.csv"
    path.parent.mkdir()
    rows = "".join(f"{day}{separator}{cell}\n" for day, cell in zip(DAILY, cells, strict=True))
    path.write_text(f"ds{separator}y\n{rows}", encoding="utf-8")
    text, frame = read_as_guessed(tmp_path, path)
    assert frame["y"].tolist() == (-values).tolist()
    assert "units: [E]" not in text


@pytest.mark.parametrize("unit", ["%", "‰"])
def test_a_share_without_its_unit_beside_shares_with_it_is_no_number(tmp_path, unit):
    shares = [f"{20 + n % 30}{unit}" for n in range(len(DAILY))]
    frame = pd.DataFrame({"ds": DAILY, "rate": ["0", "0.0", *shares[2:]]})
    assert guessed(tmp_path, frame)["source"]["units"] == [unit]  # 0 is 0 %
    frame.loc[7, "rate"] = "0.35"  # 35 % or 0.35 %
    with pytest.raises(InputError, match=r"line 9 .*holds text '0\.35', wanted a number"):
        guessed(tmp_path, frame)


def test_blanks_between_columns_are_refused(tmp_path):
    rows = "".join(f"{day}  1  2\n" for day in DAILY)
    (tmp_path / "mine.csv").write_text(f"Date a b\n{rows}")
    with pytest.raises(InputError, match="with a comma, semicolon, tab or"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def test_no_file_is_decoded_or_read_twice_by_add(tmp_path, monkeypatch):
    rows = "".join(f"{day},{'M' if n == 5 else n}\n" for n, day in enumerate(DAILY))
    (tmp_path / "mine.csv").write_text(f"ds,y\n{rows}")
    decoded, read = [], []
    can_decode, read_csv = own_files._can_decode, own_files.pd.read_csv
    monkeypatch.setattr(
        own_files, "_can_decode", lambda *what: decoded.append(what) or can_decode(*what)
    )
    monkeypatch.setattr(
        own_files.pd, "read_csv", lambda *what, **how: read.append(what) or read_csv(*what, **how)
    )
    assert "missing: [M]" in guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")
    assert len(read) == 1 and len(decoded) == 2  # to find the encoding, and before it is read


@pytest.mark.parametrize(
    ("name", "column"), [("nan", "unique_id"), ("NA", "country"), ("null", "unique_id")]
)
def test_a_series_may_have_the_name_of_a_missing_value(tmp_path, name, column):
    times = pd.date_range("2024-01-01", periods=300, freq="h")
    both = pd.concat(
        [pd.DataFrame({column: c, "ds": times, "y": WAVE[:300]}) for c in (name, "DE")]
    )
    assert guessed(tmp_path, both)["target"] == {"column": "y", **ROOM}


@pytest.mark.parametrize(
    "names", [("1e5", "2e5"), ("1e5", "104"), ("NA", "12"), ("nan", "inf"), ("1.50", "07")]
)
def test_a_name_that_looks_like_a_number_is_read_as_it_is_written(tmp_path, names):
    days = pd.date_range("2024-01-01", periods=100)
    parts = [pd.DataFrame({"ds": days, "unique_id": name, "y": WAVE[:100]}) for name in names]
    assert add_and_read(tmp_path, pd.concat(parts))[1] == {*names}


@pytest.mark.parametrize(
    "names",
    [("1e5", "2e5"), ("1e5", "7"), ("1", "NA"), ("1e5", "nan", "3"), ("12", "None", "NA-1")],
)
def test_names_that_look_like_numbers_are_found_in_a_column_of_any_name(tmp_path, names):
    days = pd.date_range("2024-01-01", periods=100)
    parts = [pd.DataFrame({"ds": days, "sku": name, "y": WAVE[:100]}) for name in names]
    entry, series = add_and_read(tmp_path, pd.concat(parts))
    assert entry["source"]["columns"] == {"unique_id": "sku"} and series == {*names}
    assert entry["target"]["column"] == "y"


def test_a_sensor_with_gaps_names_no_series(tmp_path):
    """Where each time is once in the file, or a value is no whole number, or rows share names."""
    days = pd.date_range("2024-01-01", periods=100)
    switch = np.resize([1.0, np.nan], 100)
    sensor = pd.DataFrame({"ds": days, "switch": switch, "y": WAVE[:100]})
    assert "columns" not in guessed(tmp_path, sensor)["source"]
    for values in ([1.5, 2.5], [1.0, 1.0]):
        sensors = pd.concat([sensor.assign(switch=value) for value in values])
        assert find_number_names(sensors, "ds") == []


def test_years_are_times(tmp_path):
    entry = guessed(tmp_path, pd.DataFrame({"Year": range(1900, 2020), "y": WAVE[:120]}))
    assert entry["source"]["time_format"] == "%Y" and entry["calendar"]["freq"] == "1YS"


def test_numbers_name_series_where_several_rows_share_their_time(tmp_path):
    days = pd.date_range("2024-01-01", periods=100)
    shop_rows = pd.DataFrame(
        {"Date": days, "sales": np.round(100 * WAVE[:100]).astype(int), "open": 1}
    )
    shops = pd.concat([shop_rows.assign(store=n) for n in (7, 3, 12)])
    entry = guessed(tmp_path, shops)
    assert (
        entry["source"]["columns"] == {"ds": "Date", "unique_id": "store"}
        and entry["target"]["column"] == "sales"
    )


def test_a_column_in_which_every_number_has_a_word_is_told_as_one(tmp_path):
    rows = "".join(f"2024-01-{day:02d},{day} kWh\n" for day in range(1, 29))
    (tmp_path / "mine.csv").write_text("Date,Power\n" + rows)
    with pytest.raises(InputError, match=r"'1 kWh', wanted a number. Correct the cell"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def write_rows(tmp_path: Path, header: str, cells: list[str], separator: str = ",") -> Path:
    """The file `data/mine.csv` of daily `cells` below `header`."""
    days = pd.date_range("2022-01-01", periods=len(cells)).strftime("%Y-%m-%d")
    rows = [f"{day}{separator}{cell}" for day, cell in zip(days, cells, strict=True)]
    path = tmp_path / "data" / "mine.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read_as_guessed(tmp_path: Path, path: Path) -> tuple[str, pd.DataFrame]:
    """The entry that is guessed for a file, and what is read by it."""
    text = guess_entry(path, "data/mine.csv", "mine")
    write_project(tmp_path, mine=yaml.safe_load(text)["mine"])
    request = sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    return text, sources.read(request).frame


@pytest.mark.parametrize(
    ("written", "separator", "unit"),
    [
        (["$918.39", "-$1.50", "$ 0.25"], ",", "$"),
        (["1.234,50 €", "-7,25 €", "€ 0,5"], ";", "€"),
        (["6.3%", "-0.5 %", "12%"], ",", "%"),
    ],
)
def test_a_column_with_one_unit_is_read_and_the_unit_is_told(tmp_path, written, separator, unit):
    path = write_rows(tmp_path, f"day{separator}y", written * 100, separator)
    text, frame = read_as_guessed(tmp_path, path)
    expected = {"$": [918.39, -1.5, 0.25], "€": [1234.5, -7.25, 0.5], "%": [6.3, -0.5, 12.0]}
    assert frame["y"].tolist() == expected[unit] * 100
    assert f"numbers as written beside {unit}" in text


@pytest.mark.parametrize(
    ("written", "separator", "values"),
    [
        (["1.234,50 €", "46,30- €", "12,50 €"], ";", [1234.5, -46.3, 12.5]),
        (["1.703,92 €", "46,30 €-", "1.703,92 € -"], ";", [1703.92, -46.3, -1703.92]),
        (["1.234,50", "46,30-", "1.000-"], ";", [1234.5, -46.3, -1000.0]),
        (["12,50", "46,30-", "0,5"], ";", [12.5, -46.3, 0.5]),
        (["12.50", "46.30-", "7"], ",", [12.5, -46.3, 7.0]),
        (["$12.50-", "$46.30"], ",", [-12.5, 46.3]),
    ],
)
def test_a_minus_behind_a_number_is_its_sign(tmp_path, written, separator, values):
    path = write_rows(tmp_path, f"day{separator}y", written * 50, separator)
    assert read_as_guessed(tmp_path, path)[1]["y"].tolist() == values * 50


@pytest.mark.parametrize(
    ("written", "separator", "values"),
    [
        (['"1,192"', '"(2,816)"', "7"], ",", [1192.0, -2816.0, 7.0]),
        (['" $1,192.50 "', '" $(2,816.00)"', "($7.25)"], ",", [1192.5, -2816.0, -7.25]),
        (["1.192,50 €", "(46,30 €)", "(7,00) €"], ";", [1192.5, -46.3, -7.0]),
        (["12.5 %", "(3.5 %)", "(4 %)"], ",", [12.5, -3.5, -4.0]),
        (["12.5", "(3.5)", "0"], ",", [12.5, -3.5, 0.0]),
    ],
)
def test_an_amount_in_brackets_is_negative(tmp_path, written, separator, values):
    path = write_rows(tmp_path, f"day{separator}y", written * 50, separator)
    assert read_as_guessed(tmp_path, path)[1]["y"].tolist() == values * 50


@pytest.mark.parametrize("notes", [["(1)", "(2)", "(3)"], ["(1)", "(2)", "none"], ["(030)", "030"]])
def test_a_column_of_references_in_brackets_holds_no_numbers(tmp_path, notes):
    cells = [f"{value},{notes[value % len(notes)]}" for value in range(99)]
    path = write_rows(tmp_path, "day,y,note", cells)
    text, frame = read_as_guessed(tmp_path, path)
    assert "note" not in frame and yaml.safe_load(text)["mine"]["target"]["column"] == "y"
    read = own_files.read_table(path, "mine.csv", own_files.FileFormat())
    assert set(read["note"]) == {*notes}


def test_nobody_is_told_to_correct_references_in_brackets(tmp_path):
    path = write_rows(tmp_path, "day,y,note", [f"{value},({value % 3})" for value in range(99)])
    assert "not read" not in guess_entry(path, "data/mine.csv", "mine")


def test_two_currencies_in_one_column_are_no_numbers(tmp_path):
    path = write_rows(tmp_path, "day,y,z", ["$5,1", "€7,2"] * 50)
    text = guess_entry(path, "data/mine.csv", "mine")
    assert yaml.safe_load(text)["mine"]["target"]["column"] == "z"
    for message in (text, own_refusal(path, "y")):
        assert "column 'y' holds text '$5'" in message


@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        ("1.234,50 €", "void"),
        ("46,30- €", "12 $"),
        ("12,50", "void"),
        ("12,50-", "-7-"),
        ("12,50-", "5.-"),
        ("1.234,50", "12 €"),
    ],
)
def test_the_cell_that_makes_text_of_a_column_of_numbers_is_named(tmp_path, usual, odd):
    cells = [f"{usual};{n % 9},5" for n in range(100)]
    cells[40] = f"{odd};4,5"
    path = write_rows(tmp_path, "day;y;z", cells, ";")
    text, _ = read_as_guessed(tmp_path, path)
    assert yaml.safe_load(text)["mine"]["target"]["column"] == "z"
    for message in (text, own_refusal(path, "y")):
        assert f"column 'y' holds text '{odd}', wanted a number. Correct the cell" in message


def own_refusal(path: Path, target: str) -> str:
    """What is said where `target` is asked for and cannot be read."""
    with pytest.raises(InputError) as caught:
        guess_entry(path, "data/mine.csv", "mine", target=target)
    return str(caught.value)


@pytest.mark.parametrize(
    ("separator", "cell", "settings"),
    [
        (";", "65.510", '`thousands: ".", decimal: ","`'),
        ("\t", "65,510", '`thousands: ",", decimal: "."`'),
    ],
)
def test_a_mark_that_may_part_thousands_is_told_with_the_settings(
    tmp_path, separator, cell, settings
):
    cells = [cell, cell.replace("510", "423"), cell.replace("65", "7")] * 50
    text, _ = read_as_guessed(tmp_path, write_rows(tmp_path, f"d{separator}y", cells, separator))
    assert f"# {cell} is read with a decimal mark; where it separates thousands: {settings}" in text


@pytest.mark.parametrize(
    ("separator", "cells"),
    [(";", ["65.51", "1.250"]), (",", ["1.250", "65.510"]), (";", ["0.250", "1.250"])],
)
def test_a_mark_that_is_surely_decimal_is_not_doubted(tmp_path, separator, cells):
    path = write_rows(tmp_path, f"d{separator}y", cells * 50, separator)
    assert "is meant" not in guess_entry(path, "data/mine.csv", "mine")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_thousands_are_proven_by_smaller_numbers_without_decimals(tmp_path, separator):
    path = write_rows(tmp_path, f"d{separator}y", ["998", "1.250", "12.004"] * 50, separator)
    text, frame = read_as_guessed(tmp_path, path)
    assert frame["y"].tolist() == [998.0, 1250.0, 12004.0] * 50
    assert "is meant" not in text


@pytest.mark.parametrize("cells", [["1200", "1.250"], ["998", "1.254"], ["0.998", "1.250", "3"]])
def test_thousands_are_not_proven_by_numbers_of_any_other_form(tmp_path, cells):
    path = write_rows(tmp_path, "d;y", cells * 50, ";")
    _, frame = read_as_guessed(tmp_path, path)
    assert frame["y"].tolist() == list(map(float, cells)) * 50


def test_a_number_that_is_cut_with_the_first_block_decides_nothing(tmp_path, monkeypatch):
    path = write_rows(tmp_path, "d;y;z", ["1.234;1,5"] * 50, ";")
    whole = path.read_text().index("1.234", 300)
    monkeypatch.setattr(own_files, "BLOCK_BYTES", whole + 3)  # as 1.2
    assert own_files.guess_format(path, "mine.csv").model_dump(exclude_defaults=True) == {
        "separator": ";",
        "decimal": ",",
        "thousands": ".",
    }


@pytest.mark.parametrize(
    ("end", "is_cut"),
    [
        ("2024-04-10,12.3", True),
        ("2024-04-10,12.", True),
        ("2024-04-10", False),
        ("2024-04-10,12.3\n", False),
        ("2024-04-10,12.34", False),
        ("2024-04-10,", False),
    ],
)
@pytest.mark.parametrize("mark", [".", ","])
def test_a_last_line_that_was_cut_is_told_where_the_others_show_it(tmp_path, end, is_cut, mark):
    path = tmp_path / "mine.csv"
    separator = {".": ",", ",": ";"}[mark]
    rows = [
        f"{day:%Y-%m-%d},1{n % 7}.{n % 90 + 10}"
        for n, day in enumerate(pd.date_range("2024-01-01", periods=100))
    ]
    lines = ["d,y", *rows, end]
    path.write_text("\n".join(line.replace(",", separator).replace(".", mark) for line in lines))
    text = guess_entry(path, "mine.csv", "mine")
    sentence = "# the last line has no line end, and fewer decimals than all others: is it whole?"
    assert (sentence in text) == is_cut


def test_a_last_line_without_a_line_end_is_whole_where_decimals_vary(tmp_path):
    rows = "".join(
        f"{day:%Y-%m-%d},{n / 4}\n"
        for n, day in enumerate(pd.date_range("2024-01-01", periods=100))
    )
    (tmp_path / "mine.csv").write_text(f"d,y\n{rows}2024-04-10,7")
    assert "is it whole" not in guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def make_wide(**columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"date": pd.date_range("2022-01-01", periods=600), **columns})


SHOPS = {f"shop {letter}": 100 + 20 * WAVE + place for place, letter in enumerate("ABC")}


def test_a_table_with_a_column_for_each_shop_says_how_to_forecast_all(tmp_path):
    (tmp_path / "data").mkdir()
    wide = tmp_path / "data" / "mine.csv"
    make_wide(**SHOPS).to_csv(wide, index=False)
    text = guess_entry(wide, "data/mine.csv", "mine")
    assert "to forecast them too, one column of names and one of values (`melt` of pandas)" in text


def add_and_take(tmp_path: Path, frame: pd.DataFrame, **how: Any) -> pd.DataFrame:
    """What is read of the file by the entry that is guessed for it."""
    write_project(tmp_path, mine=guessed(tmp_path, frame, **how))
    return sources.read(
        sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    ).frame


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"])
def test_a_file_written_newest_first_is_that_written_oldest_first(tmp_path, form):
    days = pd.bdate_range("2022-01-03", periods=600)
    frame = pd.DataFrame({"date": days.strftime(form), "close": WAVE})
    first, last = (
        add_and_take(tmp_path, rows).reset_index(drop=True) for rows in (frame, frame[::-1])
    )
    pd.testing.assert_frame_equal(first, last)
    assert first["ds"].tolist() == days.tolist()


@pytest.mark.parametrize(
    ("form", "freq", "shops"),
    [
        ("%d/%m/%Y", "MS", "a"),
        ("%d/%m/%Y", "W-MON", "abc"),
        ("%d/%m/%Y", "D", "a"),
        ("%m/%d/%Y", "MS", "abc"),
        ("%m/%d/%Y", "W-MON", "a"),
        ("%m/%d/%Y", "D", "abc"),
    ],
)
def test_day_and_month_are_told_apart_by_the_gaps_they_leave(tmp_path, form, freq, shops):
    """The first days of months fit both orders in every row."""
    days = pd.date_range("2012-01-01", periods=144, freq=freq)
    parts = [pd.DataFrame({"date": days.strftime(form), "shop": shop, "y": 1.0}) for shop in shops]
    frame = pd.concat(parts, ignore_index=True)
    frame["y"] = np.random.default_rng(0).normal(size=len(frame))
    read = add_and_take(tmp_path, frame if len(shops) > 1 else frame.drop(columns="shop"))
    for _, series in read.groupby("unique_id"):
        assert series["ds"].tolist() == days.tolist()


def test_several_series_written_newest_first_are_turned_round_each(tmp_path):
    hours = pd.date_range("2024-01-01", periods=600, freq="h")
    parts = [
        pd.DataFrame({"ds": hours, "shop": shop, "y": WAVE + shift})
        for shop, shift in (("a", 0), ("b", 5))
    ]
    first, last = (
        add_and_take(tmp_path, pd.concat(shop_parts))
        for shop_parts in (parts, [part[::-1] for part in parts])
    )
    for shop in "ab":
        first_rows, last_rows = (
            table[table["unique_id"] == shop].reset_index(drop=True) for table in (first, last)
        )
        pd.testing.assert_frame_equal(first_rows, last_rows)


def test_local_hours_newest_first_keep_both_halves_of_the_repeated_hour(tmp_path):
    instants = pd.date_range("2023-10-20", periods=600, freq="h", tz="UTC")
    local = instants.tz_convert("Europe/Berlin").strftime("%Y-%m-%d %H:%M")
    read = add_and_take(tmp_path, pd.DataFrame({"ds": local, "y": WAVE})[::-1])
    assert (
        read["ds"].tolist() == instants.tz_localize(None).tolist()
        and read["y"].tolist() == WAVE.tolist()
    )


def test_rows_in_no_order_are_read_as_those_in_order(tmp_path):
    days = pd.date_range("2022-01-03", periods=600)
    whole = pd.DataFrame({"ds": days, "y": WAVE})
    ordered, mixed = (
        check_frame(add_and_take(tmp_path, rows), ["y"], where="mine")
        for rows in (whole, whole.sample(frac=1, random_state=0))
    )
    pd.testing.assert_frame_equal(mixed, ordered)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("mine.xlsx", b"PK\x03\x04\x14\x00\x06\x00"),
        ("mine.csv", b"PK\x03\x04\x14\x00\x06\x00"),
        ("mine.xls", b"\xd0\xcf\x11\xe0\xa1\xb1"),
    ],
)
def test_a_spreadsheet_is_refused_with_what_to_save(tmp_path, name, start):
    (tmp_path / name).write_bytes(start + bytes(range(256)))
    with pytest.raises(InputError, match=r"is a spreadsheet.* wanted CSV or Parquet.* as CSV"):
        guess_entry(tmp_path / name, name, "mine")


@pytest.mark.parametrize(
    "text",
    [
        '[{"ds": "2024-01-01", "y": 1}]',
        '{"ds": "2024-01-01", "y": 1}\n{"ds": "2024-01-02", "y": 2}',
        '\ufeff\n{"rows": []}',
        "[[1, 2], [3, 4]]",
        '<?xml version="1.0"?>\n<rows/>',
        "<!DOCTYPE html>\n<p>Please, log in</p>",
    ],
)
def test_json_and_a_web_page_are_refused_with_how_to_make_rows_of_them(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=r"JSON, XML or a web page.*`read_json`"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def test_a_header_alone_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("ds,y\n")
    with pytest.raises(InputError, match="found no rows below the names"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def shop(plan: int = 14, days: int = 400) -> pd.DataFrame:
    """Sales of a shop by day, its promotions and footfall; after the last sale the promotions."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "Date": pd.date_range("2023-01-01", periods=days + plan),
            "Promo": (rng.random(days + plan) < 0.2).astype(int),
            "Sales": 100 + 20 * rng.random(days + plan),
            "Footfall": rng.random(days + plan),
        }
    )
    frame.loc[days:, ["Sales", "Footfall"]] = np.nan
    return frame


def test_rows_without_a_target_behind_the_last_observation_are_a_plan_of_their_columns(tmp_path):
    entry, text = guess_both(tmp_path, shop())
    assert entry["target"]["column"] == "Sales" and entry["target"]["max_missing"] == ROOM_FOR_GAPS
    assert entry["future_exogenous"] == [{"column": "Promo", "known_ahead": True}]
    assert "have values after the last Sales: a plan" in text
    assert "# past_exogenous: [{column: Footfall, max_missing: 0.05}]" in text
    assert entry["horizon"] == 7
    assert guessed(tmp_path, shop(plan=3))["horizon"] == 3


@pytest.mark.parametrize(
    ("n_rows", "n_planned", "horizon"), [(150, 12, 12), (104, 6, 6), (36, 6, 3), (240, 24, 12)]
)
def test_the_horizon_follows_a_plan_as_far_as_the_rows_bear_out(
    tmp_path, n_rows, n_planned, horizon
):
    months = pd.date_range("2010-01-01", periods=n_rows + n_planned, freq="MS")
    frame = pd.DataFrame({"month": months, "price": np.arange(len(months)) % 7.0})
    frame["sales"] = (100 + np.arange(n_rows) % 12.0).tolist() + [np.nan] * n_planned
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False)
    text = guess_entry(path, "mine.csv", "mine")
    note = f"the shortest series has {n_rows}; the plan has {n_planned}"
    if horizon < n_planned:
        reason = "is usual" if horizon == 12 else "the rows bear"
        note += f", more than {reason} (`--horizon {n_planned}` for all)"
    assert f"horizon: {horizon} # steps ahead; {note}\n" in text


def test_a_shop_that_has_closed_makes_no_plan_of_the_columns_that_go_on(tmp_path):
    """Its promotions are known up to the last observation of the others, and not beyond."""
    shops = [shop(plan=0).assign(Shop=name) for name in ("Cork", "Galway", "Sligo")]
    shops[1].loc[300:, "Sales"] = np.nan
    shops[2]["Sales"] = np.nan
    assert "future_exogenous" not in guessed(tmp_path, pd.concat(shops))
    shops = [shop(plan=3).assign(Shop=name) for name in ("Cork", "Galway")]
    shops[1].loc[300:, "Sales"] = np.nan
    entry = guessed(tmp_path, pd.concat(shops))
    assert entry["future_exogenous"] == [{"column": "Promo", "known_ahead": True}]
    assert entry["horizon"] == 3


@pytest.mark.parametrize("n_ahead", [1, 60])
def test_a_column_that_goes_on_where_another_ends_is_a_plan_and_no_target(tmp_path, n_ahead):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    frame = pd.DataFrame({"time": times, "list price": WAVE + 5, "MRR": WAVE, "new": WAVE})
    frame.loc[600 - n_ahead :, ["MRR", "new"]] = np.nan
    entry = guessed(tmp_path, frame)
    assert entry["target"]["column"] == "MRR"
    assert entry["future_exogenous"] == [{"column": "list price", "known_ahead": True}]


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("stalled", slice(300, None)),
        ("gaps", [*range(50, 60), *range(592, 600)]),
        ("rain_mm", slice(599, None)),
        ("is_open", slice(599, None)),
        ("stock", slice(597, None)),
        ("old_meter", slice(540, None)),
    ],
)
def test_a_column_that_ends_for_another_reason_makes_no_plan_of_the_target(tmp_path, name, empty):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    other = np.arange(600) % 2 if name == "is_open" else WAVE
    frame = pd.DataFrame({"time": times, name: other.astype(float), "sales": WAVE})
    frame.loc[np.arange(600)[empty], name] = np.nan
    assert guessed(tmp_path, frame)["target"]["column"] == "sales"


def test_a_plan_with_gaps_in_its_past_is_taken_and_its_rows_are_no_observations(tmp_path):
    frame = shop()
    frame.loc[[50, 51, 200], "Promo"] = np.nan
    entry = guessed(tmp_path, frame.drop(index=[90, 91]))
    write_project(tmp_path, mine=entry)
    settings = load_dataset("mine", tmp_path / "configs")
    fetched = ingest.fetch_snapshot(
        sources.Request("mine", settings, tmp_path), now=pd.Timestamp("2024-03-01")
    )
    assert fetched.rows == 412
    prepared = preparation.check_data("mine", settings, root=tmp_path)[0]
    assert len(prepared) == 398
    assert prepared["Promo+7"].iloc[-1] == frame["Promo"].iloc[406]
    assert prepared["Promo+1"].isna().sum() == 4


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (["cloudcover", "temp"], "temp"),
        (["Luftdruck", "Feuchte", "Temperatur"], "Temperatur"),
        (["Ankünfte", "Temperatur"], "Ankünfte"),
        (["arrivals", "rain", "temp"], "arrivals"),
        (["arrivals", "temp", "sales"], "sales"),
        (["temp", "arrivals"], "temp"),
        (["rotor", "wind power"], "wind power"),
        (["temperatur", "Umsatz"], "Umsatz"),
        (["HUFL", "HULL", "LUFL", "OT"], "OT"),
        (["open", "daily sales"], "daily sales"),
        (["AirTemp", "wind"], "AirTemp"),
        (["first", "second"], "first"),
        (["is_open", "second"], "second"),
        (["power_kw", "temp_forecast"], "power_kw"),
        (["Planned sales", "footfall"], "footfall"),
        (["load_fc_gw", "wind_fcst", "imbalance"], "imbalance"),
        (["only_forecast"], "only_forecast"),
    ],
)
def test_the_target_goes_by_its_name_and_a_switch_is_none(tmp_path, columns, target):
    values = {name: WAVE + number for number, name in enumerate(columns)}
    if "is_open" in values:
        values["is_open"] = np.arange(600) % 2
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    entry = guessed(tmp_path, pd.DataFrame({"date": times, **values}))
    assert entry["target"]["column"] == target


@pytest.mark.parametrize("before", [np.arange(600), np.arange(600) // 24 % 12 + 1])
def test_a_counter_or_the_month_before_a_temperature_is_no_target(tmp_path, before):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    frame = pd.DataFrame({"date": times, "instant": before, "temp": WAVE, "other": WAVE})
    assert guessed(tmp_path, frame)["target"]["column"] == "temp"


def test_of_three_sources_of_one_thing_one_can_be_kept(tmp_path):
    times = pd.date_range("2024-01-01", periods=300, freq="h")
    parts = [
        pd.DataFrame({"ds": times, "source": name, "y": WAVE[:300]})
        for name in ("station", "model", "satellite")
    ]
    entry = guessed(tmp_path, pd.concat(parts).sort_values("ds"))
    source = {**entry["source"], "columns": {}, "keep": {"source": "model"}}
    write_project(tmp_path, mine={**entry, "source": source})
    settings = load_dataset("mine", tmp_path / "configs")
    read = sources.read(sources.Request("mine", settings, tmp_path)).frame
    assert read["unique_id"].unique().tolist() == ["mine"] and len(read) == 300
    source["keep"] = {"source": "moon"}
    write_project(tmp_path, mine={**entry, "source": source})
    settings = load_dataset("mine", tmp_path / "configs")
    with pytest.raises(InputError, match="no row has 'moon' in 'source'; found 'model', "):
        sources.read(sources.Request("mine", settings, tmp_path))


def test_prices_of_an_exchange_are_modelled_by_their_returns(tmp_path):
    days = grid(SessionCalendar(kind="sessions", exchange="XNYS"), "2022-01-03", "2024-12-31")[:600]
    frame = pd.DataFrame({"Date": days.strftime("%Y-%m-%d"), "close": 100 * np.exp(WAVE / 10)})
    assert guessed(tmp_path, frame)["target"] == {
        "column": "close",
        "transform": "log",
        "difference_inputs": True,
        **ROOM,
    }


def random_walk(days: pd.DatetimeIndex) -> pd.DataFrame:
    changes = 0.01 * np.random.default_rng(len(days)).standard_normal(len(days))
    frame = pd.DataFrame({"Date": days.strftime("%Y-%m-%d"), "close": np.exp(9 + changes.cumsum())})
    return frame


@pytest.mark.parametrize(
    ("exchange", "first", "guess"),
    [
        ("XETR", "2019-01-02", {"kind": "sessions", "exchange": "XETR"}),
        ("XETR", "1990-01-02", {"kind": "sessions", "exchange": "XETR"}),
        ("XTKS", "2015-01-05", {"kind": "sessions", "exchange": "XTKS"}),
        ("XLON", "2019-01-02", {"kind": "sessions", "exchange": "XLON"}),
        ("XAMS", "2019-01-02", {"kind": "sessions", "exchange": "XPAR"}),  # the same holidays
        ("XMEX", "2019-01-02", {"kind": "weekdays"}),  # its days are quicker made than others
        ("24/7", "2023-01-02", {"kind": "regular", "freq": "1D"}),
    ],
)
def test_an_index_of_any_exchange_is_modelled_by_its_returns(tmp_path, exchange, first, guess):
    days = grid(SessionCalendar(kind="sessions", exchange=exchange), first, "2025-06-30")
    entry = guessed(tmp_path, random_walk(days))
    assert entry["calendar"] == guess
    assert entry["target"]["transform"] == "log" and entry["target"]["difference_inputs"]


def test_bars_of_an_exchange_have_its_opening_hours_by_its_own_clock(tmp_path):
    days = pd.bdate_range("2024-01-01", periods=80, tz="America/New_York")
    times = [day + pd.Timedelta(minutes=570 + 15 * step) for day in days for step in range(26)]
    frame = pd.DataFrame({"Datetime": times, "close": 100 + np.sin(np.arange(len(times)))})
    entry = guessed(tmp_path, frame)
    assert entry["calendar"] == {
        "kind": "regular",
        "freq": "15min",
        "opening_hours": {
            "days": ["mon", "tue", "wed", "thu", "fri"],
            "first": "09:30",
            "last": "15:45",
            "time_zone": "America/New_York",
        },
    }
    assert entry["source"]["time_zone"] == "America/New_York"
    assert [entry[key] for key in ("season_length", "horizon", "lookback")] == [26, 26, 260]


def test_the_horizon_of_opening_hours_is_a_day_of_five_minute_steps(tmp_path):
    days = pd.bdate_range("2024-01-01", periods=60)
    times = [day + pd.Timedelta(minutes=480 + 5 * step) for day in days for step in range(120)]
    calls = 50 + 10 * np.sin(np.arange(len(times)) * 2 * np.pi / 120)
    entry = guessed(tmp_path, pd.DataFrame({"time": times, "calls": calls}))
    assert entry["horizon"] == entry["season_length"] == 120


@pytest.mark.parametrize("is_traded", ["all day", "in sessions"])
def test_prices_by_the_hour_are_modelled_by_their_returns(tmp_path, is_traded):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="1h")
    if is_traded == "in sessions":
        times = times[(times.day_of_week < 5) & (times.hour >= 9) & (times.hour < 17)]
    entry = guessed(tmp_path, random_walk(times).assign(Date=times))
    assert entry["target"]["transform"] == "log" and entry["target"]["difference_inputs"]


def test_rows_of_five_hours_of_a_day_are_told_how_to_be_counted(tmp_path):
    times = pd.date_range("2024-01-01", periods=24 * 90, freq="1h")
    times = times[times.hour.isin([0, 1, 2, 12, 23])]
    frame = pd.DataFrame({"time": times, "sales": 100 + np.sin(np.arange(len(times)))})
    entry, text = guess_both(tmp_path, frame)
    assert "to count rows alone: `{kind: index}`, and no `ds` in `columns`" in text
    del entry["source"]["columns"]
    write_project(tmp_path, mine={**entry, "calendar": {"kind": "index"}})
    settings = load_dataset("mine", tmp_path / "configs")
    read = sources.read(sources.Request("mine", settings, tmp_path)).frame
    assert read["sales"].tolist() == frame["sales"].tolist()


def test_sales_of_working_days_are_no_price(tmp_path):
    days = pd.bdate_range("2022-01-03", periods=600)
    noise = np.random.default_rng(1).standard_normal(600)
    for level in (np.sin(days.day_of_year / 58), np.zeros(600)):
        frame = pd.DataFrame({"Date": days, "sold": 50 + 9 * level + 5 * noise})
        assert guessed(tmp_path, frame)["target"] == {"column": "sold", **ROOM}


@pytest.mark.parametrize("seed", OTHER_DRAWS)
def test_a_stock_that_is_refilled_is_no_price_though_it_moves_like_one_for_ten_days(tmp_path, seed):
    draw = np.random.default_rng(seed)
    days = pd.date_range("2020-01-06", periods=1400)
    levels, level = [], 400
    for sold in draw.poisson(12, 1400):
        level = level - sold if level > 60 else 400
        levels.append(level)
    frame = pd.DataFrame({"Date": days, "level": levels})
    assert guessed(tmp_path, frame)["target"] == {"column": "level", **ROOM}


@pytest.mark.parametrize(("lasts", "direction"), [(60, -1), (150, 1)])
def test_what_moves_one_way_on_most_days_and_jumps_back_is_no_price(tmp_path, lasts, direction):
    draw = np.random.default_rng(0)
    share_used = draw.gamma(4, 1 / 4, 1400).cumsum() / lasts % 0.9
    level = 1000 * (1 - share_used if direction < 0 else 0.1 + share_used)
    frame = pd.DataFrame({"Date": pd.date_range("2020-01-06", periods=1400), "level": level})
    assert "difference_inputs" not in guessed(tmp_path, frame)["target"]


@pytest.mark.parametrize(("freq", "season"), [("W-FRI", 52), ("ME", 12)])
def test_closes_of_weeks_and_months_are_prices_and_seasons_of_them_are_not(tmp_path, freq, season):
    draw = np.random.default_rng(0)  # of 1 the walk returns by chance after a year
    periods = pd.date_range("1990-01-05", periods=400, freq=freq)
    walk = np.exp(4 + np.cumsum(draw.normal(0, 0.03, 400)))
    year = 0.15 * np.sin(2 * np.pi * np.arange(400) / season)  # alone it walks for twenty weeks
    sold = np.exp(5 + year + draw.normal(0, 0.03, 400))
    is_price = {}
    for name, values in {"close": walk, "sold": sold}.items():
        target = guessed(tmp_path, pd.DataFrame({"Date": periods, name: values}))["target"]
        is_price[name] = target.get("difference_inputs", False)
    assert is_price == {"close": True, "sold": False}


SHOP_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat"]


@pytest.mark.parametrize("days", [SHOP_DAYS, ["mon", "tue", "wed", "thu", "sun"]])
def test_working_days_of_any_week_are_a_calendar_without_gaps(tmp_path, days):
    times = grid(WeekdayCalendar(kind="weekdays", days=days), "2022-01-03", "2024-06-30")
    frame = pd.DataFrame({"Date": times, "sold": 5 + np.sin(np.arange(len(times)))})
    entry = guessed(tmp_path, frame)
    assert entry["calendar"] == {"kind": "weekdays", "days": days}
    assert entry["season_length"] == len(days) and entry["target"]["max_missing"] == ROOM_FOR_GAPS


def test_a_calendar_with_no_time_off_it_goes_before_one_that_would_be_refused(tmp_path):
    days = grid(SessionCalendar(kind="sessions", exchange="XNYS"), "2022-01-03", "2024-12-31")[:600]
    # open on one holiday of that exchange: its calendar lacks one step, all weekdays have 21 more
    frame = pd.DataFrame({"Date": [*days, pd.Timestamp("2022-07-04")], "y": np.arange(601.0)})
    entry = guessed(tmp_path, frame.sort_values("Date"))
    assert entry["calendar"] == {"kind": "weekdays"}
    write_project(tmp_path, mine=entry)
    settings = load_dataset("mine", tmp_path / "configs")
    request = sources.Request("mine", settings, tmp_path)
    assert ingest.fetch_snapshot(request, now=pd.Timestamp("2024-07-01")).rows == 601


@pytest.mark.parametrize("weekend", [0.0, 5.0])
def test_hours_get_the_day_of_the_week_where_it_tells_something_of_later_days(tmp_path, weekend):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h")
    rng = np.random.default_rng(0)
    values = 20 + weekend * (times.day_of_week >= 5) + rng.normal(0, 2, len(times))
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": values}))
    assert ("day_of_week" in entry["calendar_features"]) == (weekend > 0)


@pytest.mark.parametrize("wages", [0.0, 5.0])
def test_days_get_the_day_of_the_month_where_it_tells_something_of_later_days(tmp_path, wages):
    times = pd.date_range("2022-01-03", periods=900)
    rng = np.random.default_rng(0)
    values = 20 + wages * times.is_month_end + rng.normal(0, 1, len(times))
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": values}))
    expected = ["day_of_year", "day_to_month_end"] if wages else ["day_of_year"]
    assert entry["calendar_features"] == expected


@pytest.mark.parametrize("weekend", [0.0, 20.0])
def test_four_weeks_of_quarter_hours_get_the_day_of_the_week_where_it_tells_much(tmp_path, weekend):
    rng = np.random.default_rng(0)
    times = pd.date_range("2023-03-06", periods=4 * 7 * 96, freq="15min")
    values = 20 + weekend * (times.day_of_week >= 5) + rng.normal(0, 2, len(times))
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": values}))
    assert ("day_of_week" in entry["calendar_features"]) == (weekend > 0)


@pytest.mark.parametrize(("weeks", "lookback"), [(120, 24), (143, 52), (600, 52)])
def test_weeks_see_the_same_week_of_last_year_where_the_rows_are_enough(tmp_path, weeks, lookback):
    times = pd.date_range("2010-02-05", periods=weeks, freq="W-FRI")
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": WAVE[:weeks]}))
    assert (entry["lookback"], entry["calendar_features"]) == (lookback, ["day_of_year"])


@pytest.mark.parametrize("n_rows", [1, 2, 59])
def test_one_series_of_few_rows_shortens_nothing_for_the_others(tmp_path, n_rows):
    tables = []
    for name, length in [("a", n_rows), ("b", 600), ("c", 600)]:
        days = pd.date_range(end="2024-06-30", periods=length, freq="D")
        tables.append(pd.DataFrame({"shop": name, "ds": days, "y": WAVE[:length]}))
    entry = guessed(tmp_path, pd.concat(tables))
    assert (entry["horizon"], entry["lookback"]) == (7, 28)


@pytest.mark.parametrize(
    ("lengths", "spans", "lack"),
    [
        (
            [400] * 10 + [45] * 2,
            (7, 28),
            "chosen for those of 400 and more; shorter ones: 's10', 's11'\n",
        ),
        ([400] * 9 + [45] * 3, (7, 28), "of 400 and more; shorter ones: 's10', 's11', 's9'\n"),
        ([400] * 7 + [45] * 5, (7, 8), ""),
        ([400] * 5 + [60] * 20, (7, 12), ""),
    ],
    ids=["two new", "three new", "five new", "most are short"],
)
def test_a_few_new_series_shorten_nothing_and_many_short_ones_are_kept(
    tmp_path, lengths, spans, lack
):
    days = pd.date_range(end="2024-06-30", periods=400)
    tables = [
        pd.DataFrame({"shop": f"s{number}", "ds": days[-length:], "y": WAVE[:length]})
        for number, length in enumerate(lengths)
    ]
    pd.concat(tables).to_csv(tmp_path / "mine.csv", index=False)
    text = guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")
    entry = yaml.safe_load(text)["mine"]
    assert (entry["horizon"], entry["lookback"]) == spans
    assert lack in text and ("chosen for" in text) == bool(lack)


@pytest.mark.parametrize(
    ("freq", "n_rows"),
    [("MS", 130), ("MS", 480), ("QS", 96), ("W-FRI", 143), ("D", 200), ("h", 600)],
)
def test_the_calibration_block_supports_an_interval_of_95_percent(tmp_path, freq, n_rows):
    times = pd.date_range("1980-01-04", periods=n_rows, freq=freq)
    frame = pd.DataFrame({"unique_id": "mine", "ds": times.as_unit("ns"), "y": WAVE[:n_rows]})
    write_project(tmp_path, mine=guessed(tmp_path, frame))
    dataset = load_dataset("mine", tmp_path / "configs")
    panel = from_frame(frame, "mine", dataset.task)
    borders, left_out = splits.borders_of(frame, "mine", dataset)
    blocks = splits.split_series(panel.series[0], borders)
    cutoffs = splits.origins_of(dataset.task, blocks, "calibration")
    assert not left_out
    require_enough_errors(len(cutoffs), 0.95)


@pytest.mark.parametrize(("n_rows", "horizon"), [(36, 3), (48, 6), (60, 9), (72, 12)])
def test_a_few_years_of_months_are_forecast_as_far_as_intervals_of_80_percent(
    tmp_path, n_rows, horizon
):
    times = pd.date_range("1980-01-01", periods=n_rows, freq="MS")
    entry, text = guess_both(tmp_path, pd.DataFrame({"ds": times, "y": WAVE[:n_rows]}))
    train, validation, calibration = (round(n_rows * s) for s in entry["splits"].values())
    test = n_rows - train - validation - calibration
    assert (entry["horizon"], entry["lookback"]) == (horizon, 12)
    assert calibration >= horizon + 3 and min(validation, test) >= horizon
    assert train >= 12 + horizon + 3
    n_cutoffs = calibration - horizon + 1
    level = 100 * n_cutoffs // (n_cutoffs + 1)
    note = f"19 cutoffs; the calibration block has {n_cutoffs}, for {level} %"
    assert ("calibration_step_size" in entry) == (note in text) == (n_rows > 48)
    require_enough_errors(n_cutoffs, level / 100)


@pytest.mark.parametrize("weeks", [52, 53])
def test_weeks_that_are_counted_from_every_new_year_are_read_to_the_last_row(tmp_path, weeks):
    starts = pd.date_range("2000-01-01", periods=8, freq="YS")
    first_days = starts.to_numpy()[:, None] + np.arange(weeks) * np.timedelta64(7, "D")
    days = pd.DatetimeIndex(first_days.ravel())
    parts = [
        pd.DataFrame({"town": name, "week_start_date": days[skipped:], "cases": 5 + k % 9})
        for name, skipped in (("iq", 0), ("sj", 17))
        for k in [np.arange(len(days) - skipped)]
    ]
    entry = guessed(tmp_path, pd.concat(parts))
    calendar = {"kind": "year_weeks"} | ({"weeks": 53} if weeks == 53 else {})
    assert (entry["calendar"], entry["season_length"]) == (calendar, weeks)
    assert entry["calendar_features"] == ["day_of_year"]
    write_project(tmp_path, mine=entry)
    request = sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    assert ingest.fetch_snapshot(request, now=pd.Timestamp("2008-03-01")).rows == 16 * weeks - 17


def test_a_shop_that_is_closed_on_sundays_gets_the_day_of_the_week(tmp_path):
    times = grid(WeekdayCalendar(kind="weekdays", days=SHOP_DAYS), "2022-01-03", "2023-06-30")
    rng = np.random.default_rng(0)
    values = 20 + 9 * (times.day_of_week == 5) + rng.normal(0, 2, len(times))
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": values}))
    assert entry["calendar_features"] == ["day_of_week"]


def test_a_remark_that_stands_in_few_rows_names_no_series(tmp_path):
    times = np.repeat(pd.date_range("2024-01-01", periods=100), 3)
    place = np.where(np.arange(300) % 3 == 0, "north", "south")
    frame = pd.DataFrame({"day": times, "place": place, "remark": None, "y": np.arange(300.0)})
    frame.loc[[10, 100, 200], "remark"] = ["late", "closed", "late"]
    assert guessed(tmp_path, frame)["target"]["column"] == "y"


@pytest.mark.parametrize(("first_hour", "monday"), [(8, 0.0), (8, 9.0), (16, 9.0), (22, 9.0)])
def test_a_week_is_seen_where_an_office_has_no_rows_while_it_is_closed(
    tmp_path, first_hour, monday
):
    """Also one whose day runs into the next of UTC."""
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h")
    is_open = (times.day_of_week < 5) & (times.hour < 10)
    rng = np.random.default_rng(0)
    values = 20 + monday * (times.day_of_week == 0) + rng.normal(0, 2, len(times))
    rows = pd.DataFrame({"ds": times + pd.Timedelta(first_hour, "h"), "y": values})
    entry = guessed(tmp_path, rows[is_open])
    assert ("day_of_week" in entry["calendar_features"]) == (monday > 0)


def test_a_week_is_seen_of_shops_that_are_closed_on_different_days(tmp_path):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h")
    rng = np.random.default_rng(0)
    shops = []
    for name, closed in (("a", 0), ("b", 6)):
        values = 20 + 9 * (times.day_of_week == 5) + rng.normal(0, 2, len(times))
        rows = pd.DataFrame({"unique_id": name, "ds": times, "y": values})
        shops.append(rows[times.day_of_week != closed])
    assert "day_of_week" in guessed(tmp_path, pd.concat(shops))["calendar_features"]


def test_a_week_is_seen_though_all_its_days_have_the_same_sum(tmp_path):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h")
    rng = np.random.default_rng(0)
    morning, noon = times.hour == 8, times.hour == 13
    values = 20 + 9 * np.where(times.day_of_week < 5, morning, noon) + rng.normal(0, 2, len(times))
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": values}))
    assert entry["calendar_features"] == ["hour_of_day", "day_of_week"]


@pytest.mark.parametrize("weekend_use", [0.0, 1.0])
def test_a_store_that_is_emptied_on_workdays_and_filled_again_gets_the_day_of_the_week(
    tmp_path, weekend_use
):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h")
    rng = np.random.default_rng(0)
    use = np.where(times.day_of_week < 5, 1.0, weekend_use) * rng.uniform(0.8, 1.2, len(times))
    level = 500 - np.cumsum(use) % 433
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "level": level}))
    assert ("day_of_week" in entry["calendar_features"]) == (weekend_use == 0.0)


def test_the_rows_of_the_test_block_do_not_show_a_week(tmp_path):
    times = pd.date_range("2024-01-01", periods=24 * 200, freq="h")
    rng = np.random.default_rng(0)
    weekend = (times.day_of_week >= 5) & (np.arange(len(times)) >= 0.6 * len(times))
    values = 20 + 9 * weekend + rng.normal(0, 2, len(times))
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": values}))
    assert entry["calendar_features"] == ["hour_of_day"]


def test_numbers_that_are_constant_in_every_series_are_no_inputs(tmp_path):
    days = pd.date_range("2024-01-01", periods=200)
    parts = [
        pd.DataFrame({"ds": days, "shop": name, "y": WAVE[:200], "size": size})
        for name, size in (("a", 120), ("b", 300))
    ]
    _, text = guess_both(tmp_path, pd.concat(parts))
    assert "# constant in every series: size" in text and "past_exogenous" not in text


@pytest.mark.parametrize(
    ("name", "values", "bounds"),
    [
        ("sales", 1.05 + WAVE, {"minimum": 0}),
        ("sales", np.where(np.arange(600) == 300, 0, 5 + WAVE), {"minimum": 0}),
        ("net load", 5 + WAVE, {}),
        ("AirTemp", 15 + WAVE, {}),
        ("Lufttemperatur [K]", 15 + WAVE, {}),
        ("Taupunkt (°C)", 15 + WAVE, {}),
        ("TAVG", 15 + WAVE, {}),
        ("tax", 1.05 + WAVE, {"minimum": 0}),
        ("humidity", 50 + 40 * WAVE, {"minimum": 0, "maximum": 100}),
        ("load share", 0.5 + 0.4 * WAVE, {"minimum": 0, "maximum": 1}),
        ("temp", WAVE, {}),
        ("GDP growth %", 2 + WAVE, {}),
        ("price change (pct)", 2 + WAVE, {}),
        ("Veränderung in %", 2 + WAVE, {}),
        ("operating_profit", 2 + WAVE, {}),
        ("exchange volume", 1.05 + WAVE, {"minimum": 0}),
    ],
)
def test_what_comes_near_zero_and_was_never_negative_gets_bounds(tmp_path, name, values, bounds):
    times = pd.date_range("2024-01-01", periods=600, freq="h")
    entry = guessed(tmp_path, pd.DataFrame({"ds": times, name: values}))
    assert entry["target"] == {"column": name, **bounds, **ROOM}


def proportional(rng, weekday, trend, noise):
    return (200 * trend * np.exp(weekday + noise)).round(2)


def closed_on_sundays(rng, weekday, trend, noise):
    sales = proportional(rng, weekday, trend, noise)
    return np.where(np.arange(len(sales)) % 7 == 6, 0.0, sales)


def added(rng, weekday, trend, noise):
    return (150 * trend + 100 * weekday + 200 * noise).round(2)


def rare_counts(rng, weekday, trend, noise):
    return rng.poisson(0.5 * np.exp(weekday))


def kelvin(rng, weekday, trend, noise):
    return (283 + 10 * trend + 10 * noise).round(1)


@pytest.mark.parametrize(
    ("simulate", "transform"),
    [
        (proportional, "log1p"),
        (closed_on_sundays, "log1p"),
        (added, None),
        (rare_counts, None),
        (kelvin, None),
    ],
)
@pytest.mark.parametrize("seed", OTHER_DRAWS)
def test_what_varies_in_proportion_to_its_level_is_modelled_by_its_logarithm(
    tmp_path, simulate, transform, seed
):
    rng, parts = np.random.default_rng(seed), []
    days = pd.date_range("2022-01-01", periods=900)
    for shop in ("a", "b"):
        weekday = rng.normal(0, 0.3, 7)[np.arange(900) % 7]
        trend, noise = np.exp(np.linspace(0, 1, 900)), rng.normal(0, 0.15, 900)
        y = simulate(rng, weekday, trend, noise)
        parts.append(pd.DataFrame({"ds": days, "shop": shop, "y": y}))
    target = guessed(tmp_path, pd.concat(parts))["target"]
    assert target.get("transform") == transform


@pytest.mark.parametrize(("years", "is_taken"), [(8, False), (10, True)])
@pytest.mark.parametrize(("freq", "season"), [("MS", 12), ("QS", 4)])
def test_ten_years_of_months_or_quarters_show_that_the_season_grows_with_the_level(
    tmp_path, years, is_taken, freq, season
):
    rng = np.random.default_rng(0)
    times = pd.date_range("2000-01-01", periods=years * season, freq=freq)
    part = 0.2 * np.sin(2 * np.pi * np.arange(len(times)) / season)
    part += rng.normal(0, 0.01, len(times))
    trend = 1 + 0.15 * np.arange(len(times)) / season
    for values, transforms in ((trend * np.exp(part), is_taken), (trend + part, False)):
        entry = guessed(tmp_path, pd.DataFrame({"ds": times, "y": (100 * values).round(2)}))
        assert (entry["target"].get("transform") == "log1p") == transforms


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_with_a_column_for_every_series_of_thousands_is_refused_at_once(tmp_path, suffix):
    days = pd.date_range("2024-01-01", periods=3).strftime("%Y-%m-%d")
    names, path = [f"shop {n}" for n in range(30_000)], tmp_path / f"wide.{suffix}"
    if suffix == "csv":
        rows = "".join(f"{day}{',1.0' * len(names)}\n" for day in days)
        path.write_text(f"ds,{','.join(names)}\n{rows}")
    else:
        pq.write_table(pa.table({"ds": list(days), **dict.fromkeys(names, np.ones(3))}), path)
    before = time.process_time()
    with pytest.raises(InputError, match="found 30,001 columns, wanted at most 5,000"):
        guess_entry(path, path.name, "mine")
    assert time.process_time() - before < 5


def test_a_wide_table_takes_time_in_proportion_to_its_columns(tmp_path):
    days = pd.date_range("2024-01-01", periods=3).strftime("%Y-%m-%d")
    seconds = []
    for columns in (125, 1000):
        rows = "".join(f"{day}{',1.5' * columns}\n" for day in days)
        names = ",".join(f"c{number}" for number in range(columns))
        (tmp_path / "wide.csv").write_text(f"ds,{names}\n{rows}")
        before = time.process_time()
        block = guess_entry(tmp_path / "wide.csv", "wide.csv", "mine")
        seconds.append(time.process_time() - before)
        assert block.count("column:") == columns + 1  # and the advice on a plan
    assert seconds[1] / seconds[0] < 12  # for eight times the columns


def test_text_in_the_only_column_of_numbers_is_named_with_its_row(tmp_path):
    rows = "".join(f"2024-01-{day:02d},{'closed' if day > 9 else day}\n" for day in range(1, 29))
    (tmp_path / "mine.csv").write_text("ds,sales\n" + rows)
    with pytest.raises(InputError, match=r"line 11 .*column 'sales' holds text 'closed', wanted a"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


@pytest.mark.parametrize("columns", [("y",), ("y", "other")])
def test_columns_without_a_single_number_are_refused(tmp_path, columns):
    times = pd.date_range("2024-01-01", periods=50, freq="D")
    frame = pd.DataFrame({"ds": times, **dict.fromkeys(columns, np.nan)})
    with pytest.raises(InputError, match=r"no number in 'ds'.* 'y' beside times"):
        guessed(tmp_path, frame)
    assert guessed(tmp_path, frame.assign(known=1.5))["target"]["column"] == "known"


@pytest.mark.parametrize("plan", [False, True], ids=["no plan", "a plan of 6 steps"])
def test_a_horizon_that_is_asked_for_is_written_whatever_the_rhythm_and_the_plan_say(
    tmp_path, plan
):
    times = pd.date_range("2020-01-05", periods=200, freq="W")
    frame = pd.DataFrame({"ds": times, "y": WAVE[:200], "promotion": np.arange(200) % 5})
    if plan:
        frame.loc[194:, "y"] = np.nan
    frame.to_csv(tmp_path / "mine.csv", index=False)
    path = tmp_path / "mine.csv"
    assert "horizon: 4 #" in guess_entry(path, "mine.csv", "mine")
    with_horizon = guess_entry(path, "mine.csv", "mine", horizon=12)
    assert "horizon: 12 # steps ahead; the shortest series has" in with_horizon


def test_a_file_that_changed_its_separator_is_told_the_line_that_reads_it(tmp_path: Path):
    path = tmp_path / "mine.csv"
    path.write_text("ds;y\n" + "".join(f"{day};1,5\n" for day in DAILY))
    with pytest.raises(InputError, match=r'`separator: ";", decimal: ","` under `source`'):
        own_files.read_table(path, "mine.csv", own_files.FileFormat())
    form = own_files.FileFormat(separator=";", decimal=",")
    assert (own_files.read_table(path, "mine.csv", form)["y"] == 1.5).all()


DAILY = [f"2024-01-{day:02d}" for day in range(1, 29)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "ds,y\n" + "".join(f"{day},1,5\n" for day in DAILY),
            r"first row has more values, separated by ','.* decimal commas",
        ),
        (
            "ds,y\n" + "".join(f"{day},1\n" for day in DAILY) + "ds,y\n2024-01-29,1\n",
            r"line 30: `ds` holds 'ds', wanted a time such as 2024-01-01",
        ),
        (
            "ds,y\n" + "".join(f"{day} 12:00,1\n{day} 24:00,2\n" for day in DAILY),
            r"line 3: `ds` holds '2024-01-01 24:00', .* write as 00:00 of the next one",
        ),
        (
            "ds,TMP\n" + "".join(f'{day},"+0101,1"\n' for day in DAILY),
            r"column 'TMP' holds text '\+0101,1', wanted a number",
        ),
    ],
    ids=["decimal commas", "header twice", "24:00", "number and quality"],
)
def test_a_file_that_cannot_be_meant_so_is_refused_in_one_sentence(tmp_path, text, sentence):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


@pytest.mark.parametrize("cell", ["2025-", "(2025)", "−2025"])
def test_a_time_that_was_cut_is_quoted_as_it_stands_in_the_file(tmp_path, cell):
    days = [*pd.date_range("2024-01-01", periods=40).strftime("%Y-%m-%d"), cell]
    frame = pd.DataFrame({"ds": days, "y": WAVE[:41]})
    message = f"line 42: `ds` holds {cell!r}, wanted a time such as 2024-01-01"
    with pytest.raises(InputError, match=re.escape(message)):
        guessed(tmp_path, frame)


def test_a_time_that_cannot_be_read_is_refused_beside_a_count_of_the_rows(tmp_path):
    lines = [f"{n},{day},{n % 5 + 0.5}\n" for n, day in enumerate([*DAILY, "2024-31-01"])]
    (tmp_path / "mine.csv").write_text("n,ds,y\n" + "".join(lines))
    with pytest.raises(InputError, match=r"line 30: `ds` holds '2024-31-01', wanted a time such"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def test_offsets_that_a_clock_explains_are_read_with_it(tmp_path):
    times = pd.date_range("2024-03-30", periods=96, freq="h", tz="Europe/Berlin")
    lines = [f"{time.isoformat()},{n % 24}\n" for n, time in enumerate(times)]
    (tmp_path / "mine.csv").write_text("ds,load\n" + "".join(lines))
    text = guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")
    assert "time_zone: Europe/Berlin" in text and "freq: 1h} # from 96 rows of 1 series" in text


# More digits are text for pandas 2.2 and infinite for later ones; either is refused with its line.
@pytest.mark.parametrize("number", ["inf", "-Infinity", "1e308", "9" * 308])
def test_a_number_that_no_float_squares_leaves_the_guess_without_a_warning(tmp_path, number):
    rows = [f"{day},{n % 5 + 0.5}\n" for n, day in enumerate(DAILY)]
    (tmp_path / "mine.csv").write_text(f"ds,y\n2023-12-31,{number}\n" + "".join(rows))
    assert "target: {column: y" in guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


@pytest.mark.parametrize(
    ("mark", "separator"),
    [(".", ","), ("M", ","), ("-999", ","), ("--", ";"), ("n/a", ";"), ("-", "thousands;")],
)
def test_what_stands_for_no_value_is_proposed_told_and_read_as_none(tmp_path, mark, separator):
    numbers = np.random.default_rng(0).gamma(2, 400, 200).round(1).astype("str").tolist()
    cells = [mark if n in (70, 150) else value for n, value in enumerate(numbers)]
    written = cells
    if separator != ",":
        cells_written = [cell if cell == mark else f"{float(cell):_.1f}" for cell in cells]
        group = "." if separator == "thousands;" else ""
        written = [cell if cell == mark else cell.replace(".", ",") for cell in cells_written]
        written = [cell.replace("_", group) for cell in written]
        separator = ";"
    path = write_rows(tmp_path, f"date{separator}flow", written, separator)
    text, frame = read_as_guessed(tmp_path, path)
    entry = yaml.safe_load(text)["mine"]
    assert frame["flow"].isna().to_numpy().nonzero()[0].tolist() == [70, 150]
    assert entry["target"]["max_missing"] > 2 / 200 and entry["target"]["minimum"] == 0
    if mark != "n/a":  # known without being named
        assert entry["source"]["missing"] == [mark] and f"'{mark}' read as no value" in text


def test_a_mark_of_one_column_blanks_no_name_of_another(tmp_path):
    days = np.repeat(pd.date_range("2022-01-01", periods=100).strftime("%Y-%m-%d"), 2)
    frame = pd.DataFrame(
        {"day": days, "kind": ["M", "F"] * 100, "y": [*["M", "1.5"] * 2, *[2] * 196]}
    )
    (tmp_path / "data").mkdir()
    frame.to_csv(tmp_path / "data" / "mine.csv", index=False)
    text, read = read_as_guessed(tmp_path, tmp_path / "data" / "mine.csv")
    assert "missing: [M]" in text and read["y"].isna().sum() == 2
    assert set(read["unique_id"]) == {"M", "F"}


@pytest.mark.parametrize(
    "values", [-999.0 + np.arange(200), np.where(np.arange(200) % 9, WAVE[:200] * 2000, -999)]
)
def test_a_number_as_programs_write_it_is_a_value_where_others_are_near(tmp_path, values):
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=200), "y": values})
    assert "missing" not in guessed(tmp_path, frame)["source"]


def test_one_missing_day_is_taken_with_a_warning_after_a_file_without_gaps(tmp_path):
    path = write_rows(tmp_path, "day,y", [str(value) for value in WAVE[:100]])
    write_project(tmp_path, mine=yaml.safe_load(guess_entry(path, "data/mine.csv", "mine"))["mine"])
    request = sources.Request("mine", load_dataset("mine", tmp_path / "configs"), tmp_path)
    now = pd.Timestamp("2022-05-01")
    assert ingest.fetch_snapshot(request, now=now).rows == 100
    path.write_text(path.read_text() + "2022-04-12,0.5\n")  # the 11th is missing
    fetched = ingest.fetch_snapshot(request, now=now)
    assert fetched.rows == 101
    assert any(
        "steps without a row: 1, in gaps that begin at 2022-04-11" in finding.sentence
        for finding in fetched.findings
    )


@pytest.mark.parametrize(
    ("lowest", "every", "is_told"), [(1, 3, True), (0, 3, False), (1, 1, False)]
)
def test_a_file_of_the_steps_with_a_count_tells_to_write_the_zeros(
    tmp_path, lowest, every, is_told
):
    days = pd.date_range("2024-01-01", periods=600).to_series()
    is_kept = np.random.default_rng(0).random(600) < 1 / every
    sold = np.arange(600) % 4 + lowest
    _, text = guess_both(tmp_path, pd.DataFrame({"ds": days, "sold": sold})[is_kept])
    hint = "steps without a value are no zeros: where they mean 0, write 0"
    assert (hint in text) == is_told


def test_hours_that_are_closed_on_saturdays_are_told_to_get_forecasts(tmp_path):
    times = pd.date_range("2025-03-03", periods=26 * 7 * 24, freq="h").to_series()
    closes = times.dt.day_of_week.map({5: 13, 6: 0}).fillna(20)
    is_open = (times.dt.hour >= 8) & (times.dt.hour < closes)
    frame = pd.DataFrame({"ds": times, "calls": np.arange(len(times)) % 17})[is_open]
    entry, text = guess_both(tmp_path, frame)
    assert entry["calendar"]["opening_hours"]["last"] == "19:00"
    assert "175 steps without a row; every step gets forecasts" in text


def months_of(rows: int, **columns: Any) -> pd.DataFrame:
    y = 100 + 10 * np.sin(np.arange(rows) * np.pi / 6) + np.arange(rows) % 5
    times = pd.date_range("2020-01-01", periods=rows, freq="MS")
    return pd.DataFrame({"ds": times, "y": y, **columns})


@pytest.mark.parametrize(("rows", "horizon"), [(24, 1), (36, 3), (48, 6), (72, 12)])
def test_few_months_get_the_simple_models_and_the_horizon_that_is_tested(tmp_path, rows, horizon):
    entry = guessed(tmp_path, months_of(rows))
    assert (entry["grid"], entry["horizon"], entry["season_length"]) == ("short", horizon, 12)
    path = tmp_path / "data" / "mine.csv"
    with_horizon = guess_entry(path, "data/mine.csv", "mine", horizon=24)
    assert f"horizon: {horizon} #" in with_horizon
    assert "`forecast predict --horizon 24` goes on, untested" in with_horizon
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text(encoding="utf-8"))
    assert "mean_statistical" in catalogue["grids"]["short"]


@pytest.mark.parametrize(
    ("freq", "rows", "n_series", "grid"),
    [
        ("MS", 48, 10, "short"),
        ("MS", 72, 10, "short"),
        ("MS", 48, 9, "short"),
        ("MS", 100, 10, "few"),
        ("MS", 100, 9, "yearly"),
        ("QS", 60, 9, "yearly"),
        ("YS", 30, 1, "yearly"),
        ("MS", 400, 1, None),
        ("QS", 24, 10, "short"),
        ("QS", 80, 10, "short"),
        ("YS", 20, 10, "short"),
        ("YS", 20, 9, "short"),
        ("W-MON", 90, 10, "few"),
        ("D", 60, 10, "few"),
    ],
)
def test_short_series_of_months_quarters_or_years_get_the_mean_of_statistical_forecasts(
    tmp_path, freq, rows, n_series, grid
):
    times = pd.date_range("1990-01-01", periods=rows, freq=freq)
    series = [
        months_of(rows).assign(ds=times, unique_id=f"s{number}", y=lambda df, n=number: df["y"] + n)
        for number in range(n_series)
    ]
    assert guessed(tmp_path, pd.concat(series)).get("grid") == grid


def test_a_plan_keeps_ten_short_series_with_the_models_that_read_it(tmp_path):
    series = [
        months_of(40, promo=np.arange(40) % 3).assign(unique_id=f"s{number}")
        for number in range(10)
    ]
    panel = pd.concat(series)
    panel.loc[panel["ds"] >= "2023-01-01", "y"] = np.nan
    assert guessed(tmp_path, panel)["grid"] == "few"


@pytest.mark.parametrize(("horizon", "written"), [(8, 8), (14, 14), (20, 14)])
def test_of_few_rows_a_horizon_that_is_asked_for_is_lowered_where_no_block_holds_it_and_said(
    tmp_path, horizon, written
):
    days = months_of(70).assign(ds=pd.date_range("2024-01-01", periods=70))
    days.to_csv(tmp_path / "mine.csv", index=False)
    text = guess_entry(tmp_path / "mine.csv", "mine.csv", "mine", horizon=horizon)
    assert f"horizon: {written} #" in text
    assert ("; 20 are more than the blocks hold" in text) == (horizon == 20)


def test_of_few_weeks_a_horizon_that_is_asked_for_is_written_as_far_as_the_blocks_hold(tmp_path):
    weeks = months_of(70).assign(ds=pd.date_range("2024-01-01", periods=70, freq="W-MON"))
    weeks.to_csv(tmp_path / "mine.csv", index=False)
    with_horizon = guess_entry(tmp_path / "mine.csv", "mine.csv", "mine", horizon=8)
    assert "horizon: 8 #" in with_horizon and "than the blocks hold" not in with_horizon


def test_only_the_grid_of_few_rows_says_that_a_forecast_goes_on(tmp_path):
    path = tmp_path / "data" / "mine.csv"
    weeks = months_of(70).assign(ds=pd.date_range("2024-01-01", periods=70, freq="W-MON"))
    counts = months_of(60).assign(y=np.random.default_rng(0).poisson(0.3, 60))
    for frame, name in ((weeks, "few"), (counts, "intermittent"), (months_of(60), "short")):
        assert guessed(tmp_path, frame).get("grid") == name
        text = guess_entry(path, "data/mine.csv", "mine")
        assert ("goes on, untested" in text) == (name == "short"), name


def test_many_months_and_months_with_a_plan_are_compared_by_all_models(tmp_path):
    assert guessed(tmp_path, months_of(100))["grid"] == "yearly"
    assert guessed(tmp_path, months_of(99))["grid"] == "short"
    for rows, name in ((30, "short"), (36, "short"), (60, "short"), (72, "few")):
        weeks = months_of(rows).assign(ds=pd.date_range("2024-01-01", periods=rows, freq="W-MON"))
        assert guessed(tmp_path, weeks)["grid"] == name, rows
    planned = months_of(40, promo=np.arange(40) % 3)
    planned.loc[36:, "y"] = np.nan
    assert guessed(tmp_path, planned)["grid"] == "few"
    planned = months_of(120, promo=np.arange(120) % 3)
    planned.loc[117:, "y"] = np.nan
    assert guessed(tmp_path, planned)["grid"] == "few"


@pytest.mark.parametrize(("rows", "horizon"), [(307, 7), (365, 7), (500, 14), (640, 14)])
def test_the_test_block_holds_eight_horizons_where_half_of_the_rows_train(rows, horizon):
    shares = block_shares(rows, horizon, season=7)
    stops = [round(rows * share) for share in np.cumsum(list(shares.values()))]
    assert (rows - stops[-1]) // horizon >= 8
    assert 0.48 * rows <= stops[0]


def test_of_a_few_hundred_rows_statistical_models_join_the_mean_and_all_have_a_seat(tmp_path):
    days = months_of(400).assign(ds=pd.date_range("2023-01-01", periods=400))
    assert "grid" not in guessed(tmp_path, days)
    assert guessed(tmp_path, days[1:])["grid"] == "few"
    catalogue = yaml.safe_load(Path("configs/models.yaml").read_text(encoding="utf-8"))
    few, usual = catalogue["grids"]["few"], catalogue["grids"]["default"]
    assert few[:-1] == usual[:-1]
    rule, other = catalogue["models"][few[-1]], catalogue["models"][usual[-1]]
    joined = {*rule["members"]} - {*other["members"]}
    assert joined == {"theta", "arima_fourier"} and joined <= {*few}
    assert len({*rule["members"]} - {"networks"}) <= 2 * combinations.MAX_MEMBERS // 3
    assert {**rule, "members": ()} == {**other, "members": ()}


@pytest.mark.parametrize(
    ("zone", "country"), [("Europe/Berlin", "DE"), ("Europe/London", "GB"), (None, "XX")]
)
def test_the_holidays_offered_are_those_of_the_clock(tmp_path, zone, country):
    times = pd.date_range("2024-09-01", periods=2400, freq="h", tz=zone).tz_localize(None)
    frame = pd.DataFrame({"ds": times, "y": 10 + 5.0 * (times.day_of_week >= 5) + np.tile(WAVE, 4)})
    _, text = guess_both(tmp_path, frame)
    assert f"# holidays: {country} #" in text


def weekly_regions(first_days: dict[str, str]) -> pd.DataFrame:
    """A region below the other, each with weeks of its own."""
    parts = [
        pd.DataFrame({"region": region, "week": pd.date_range(day, periods=140, freq="7D")})
        for region, day in first_days.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(cases=np.resize(WAVE, 140 * len(parts)))


REGIONS = {"north": "2021-01-04", "south": "2021-01-06", "west": "2021-01-10"}
A_WEEK = {f"r{n}": str(day.date()) for n, day in enumerate(pd.date_range("2021-01-04", periods=7))}


@pytest.mark.parametrize(
    ("first_days", "order"),
    [(REGIONS, None), (REGIONS, "week"), (A_WEEK, None)],
    ids=["one below the other", "sorted by time", "a region for each day of the week"],
)
def test_regions_with_weeks_of_their_own_are_series_and_told_to_share_days(
    tmp_path, first_days, order
):
    frame = weekly_regions(first_days)
    ordered = frame if order is None else frame.sort_values(order)
    pattern = r"W-MON\} from 2021-01-04 and .*W-(WED|TUE)\} from .*`t - pandas.to_timedelta"
    with pytest.raises(InputError, match=f"series have steps of their own, as .*{pattern}"):
        guessed(tmp_path, ordered)
    frame["week"] -= pd.to_timedelta(frame["week"].dt.day_of_week, "D")
    entry = guessed(tmp_path, frame)
    assert entry["source"]["columns"] == {"ds": "week", "unique_id": "region"}
    assert entry["calendar"] == {"kind": "regular", "freq": "W-MON"}


def test_words_of_the_rows_of_one_series_are_no_series(tmp_path):
    days = pd.bdate_range("2021-01-04", periods=600)
    words = {
        "weekday": days.day_name(),
        "year": "FY" + days.strftime("%Y"),
        "sky": np.random.default_rng(0).choice(["clear", "rain"], 600),
    }
    for name, text in words.items():
        frame = pd.DataFrame({"day": days, name: text, "y": WAVE})
        assert guessed(tmp_path, frame)["source"]["columns"] == {"ds": "day"}
    newest_year_first = frame.assign(year=words["year"]).sort_values(
        "year", ascending=False, kind="stable"
    )
    assert find_series_column(newest_year_first.astype("str"), "day", None) is None


@pytest.mark.parametrize(
    ("names", "other_names"),
    [
        (pd.date_range("2012-01-01", periods=120, freq="MS").strftime("%Y-%m"), {"what": "births"}),
        (pd.date_range("2012-01-01", periods=24, freq="MS").strftime("%b-%y"), {"what": "births"}),
        (
            pd.date_range("2023-05-01", periods=90).strftime("%m/%d/%Y"),
            {"shop": "a", "unit": "EUR"},
        ),
        (pd.period_range("2012Q1", periods=12, freq="Q").astype(str), {}),
        (range(2000, 2024), {"country": "IS"}),
        (pd.date_range("2024-01-01", periods=12, freq="MS").strftime("%b"), {"year": [2023, 2024]}),
    ],
    ids=["months", "months in words", "days", "quarters", "years", "months beside a year"],
)
def test_a_table_with_a_column_for_each_time_is_refused_with_what_to_do(
    tmp_path, names, other_names
):
    frame = pd.DataFrame({**other_names, **{str(n): [1.5, 2.5] for n in names}})
    kept_columns = re.escape(str([*other_names]))
    pattern = rf"{len(names)} columns are named by times.*df\.melt\(id_vars={kept_columns}"
    with pytest.raises(InputError, match=pattern):
        guessed(tmp_path, frame)


@pytest.mark.parametrize("names", [range(1001, 1013), ["jan", "may", *"abcdefgh"]])
def test_columns_with_numbers_or_few_months_for_names_are_no_times(tmp_path, names):
    frame = make_wide(**{str(name): WAVE for name in names})
    assert guessed(tmp_path, frame)["source"]["columns"] == {"ds": "date"}
    assert guessed(tmp_path, frame.drop(columns="date"))["calendar"] == {"kind": "index"}


def test_times_of_no_calendar_are_refused_with_what_to_write(tmp_path):
    weeks = np.resize([4, 5, 4], 96).cumsum()
    ends = pd.Timestamp("2015-01-03") + pd.to_timedelta(7 * weeks, "D")
    with pytest.raises(InputError, match=r"'end' holds times that no calendar has.*kind: index"):
        guessed(tmp_path, pd.DataFrame({"end": ends, "y": WAVE[:96]}))


def test_readings_at_odd_times_are_told_how_to_become_even(tmp_path):
    waits = np.random.default_rng(0).exponential(900, 600).round() + 30
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(waits.cumsum(), "s")
    with pytest.raises(InputError, match=r"odd times make even ones.*resample"):
        guessed(tmp_path, pd.DataFrame({"received_at": times, "temp": WAVE}))


@pytest.mark.parametrize("step", ["1h", "10min", "1D"])
def test_times_of_a_clock_that_jitters_are_to_be_rounded(tmp_path, step):
    off = np.random.default_rng(0).integers(-2, 3, 96) * pd.Timedelta(step) / 30
    times = pd.date_range("2024-01-01", periods=96, freq=step) + pd.to_timedelta(off)
    written = times.round("s")
    with pytest.raises(InputError, match=r"no calendar has.*seconds off to their step.*dt\.round"):
        guessed(tmp_path, pd.DataFrame({"time": written, "y": WAVE[:96]}))
    guessed(tmp_path, pd.DataFrame({"time": written.round(step), "y": WAVE[:96]}))


@pytest.mark.parametrize(("order", "shops"), [(1, 2), (-1, 1)])
def test_months_of_six_digits_are_read_by_the_format_that_is_written(tmp_path, order, shops):
    months = pd.date_range("2012-01-01", periods=120, freq="MS")
    frame = pd.concat(
        pd.DataFrame({"shop": f"s{n}", "period": months.strftime("%Y%m"), "y": WAVE[:120] + n})
        for n in range(shops)
    )[::order]
    entry = guessed(tmp_path, frame)
    assert entry["source"]["time_format"] == "%Y%m" and entry["calendar"]["freq"] == "1MS"
    read = add_and_take(tmp_path, frame)
    assert read["ds"].min() == months[0] and read["ds"].max() == months[-1]


def test_a_month_of_six_digits_beside_the_day_is_no_time(tmp_path):
    frame = make_wide(y=WAVE)
    frame.insert(0, "month", frame["date"].dt.strftime("%Y%m"))
    assert guessed(tmp_path, frame)["source"]["columns"] == {"ds": "date"}


HOURS_SINCE_1970 = 1704067200 + 3600 * np.arange(600)


@pytest.mark.parametrize(
    ("numbers", "hint"),
    [
        (HOURS_SINCE_1970, "unit='s'"),
        (1000 * HOURS_SINCE_1970, "unit='ms'"),
        (
            pd.date_range("2012-01-02", periods=600, freq="7D").strftime("%G%V"),
            "its week as 2024W05",
        ),
    ],
)
def test_numbers_that_stand_for_times_are_told_how_to_write(tmp_path, numbers, hint):
    with pytest.raises(InputError, match=f"may be some. .*{re.escape(hint)}"):
        guessed(tmp_path, pd.DataFrame({"ts": numbers, "y": WAVE}))


@pytest.mark.parametrize("index", [[0, 1] * 100, ["a", "b"] * 100, [7] * 200])
def test_a_nameless_index_of_a_parquet_that_repeats_itself_says_nothing(tmp_path, index):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.parquet"
    table = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=200), "y": WAVE[:200]})
    table.to_parquet(path)
    plain = guess_entry(path, "data/mine.parquet", "mine")
    table.set_axis(index).to_parquet(path)
    assert guess_entry(path, "data/mine.parquet", "mine") == plain


def test_a_parquet_whose_columns_are_numbered_is_read_by_the_numbers_as_names(tmp_path):
    times = pd.date_range("2024-01-01", periods=200, name="time")
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.parquet"
    pd.DataFrame({0: WAVE[:200], 1: WAVE[200:400]}, index=times).to_parquet(path)
    entry = yaml.safe_load(guess_entry(path, "data/mine.parquet", "mine"))["mine"]
    assert entry["target"]["column"] == "0"
    write_project(tmp_path, mine=entry)
    settings = load_dataset("mine", tmp_path / "configs")
    snapshot = preparation.take_snapshot("mine", settings, root=tmp_path)
    assert pd.read_parquet(tmp_path / snapshot.snapshot)["0"].tolist() == WAVE[:200].tolist()


def test_of_quarters_the_row_that_is_none_is_named(tmp_path):
    quarters = [f"{year}Q{quarter}" for year in range(1990, 2020) for quarter in range(1, 5)]
    frame = pd.DataFrame({"time": [*quarters, "total"], "y": np.arange(121.0)})
    with pytest.raises(InputError, match="line 122: `time` holds 'total', wanted a time"):
        guessed(tmp_path, frame)


HALF_A_YEAR = pd.date_range("2023-07-01", "2023-12-31", tz="Europe/Berlin", freq="h")


@pytest.mark.parametrize(
    ("written", "between"),
    [("%d.%m.%Y %H:%M", " - "), ("%d/%m/%Y %H:%M:%S", " - "), ("%Y-%m-%dT%H:%M", "/")],
)
def test_an_interval_of_times_is_read_by_its_start(tmp_path, written, between):
    ends = HALF_A_YEAR + pd.Timedelta(hours=1)
    times = HALF_A_YEAR.strftime(written) + between + ends.strftime(written)
    frame = pd.DataFrame(
        {"MTU (CET/CEST)": times, "Price": np.arange(float(len(times))), "BZN": ""}
    )
    (tmp_path / "data").mkdir()
    frame.to_csv(tmp_path / "data" / "mine.csv", index=False)
    text, rows = read_as_guessed(tmp_path, tmp_path / "data" / "mine.csv")
    assert yaml.safe_load(text)["mine"]["source"]["time_zone"] == "Europe/Berlin"
    assert rows["ds"].tolist() == HALF_A_YEAR.tz_convert("UTC").tz_localize(None).tolist()
    assert rows["Price"].tolist() == frame["Price"].tolist()


def test_a_time_that_never_changes_is_not_that_of_the_rows(tmp_path):
    frame = pd.DataFrame(
        {
            "LAST UPDATE": "17/01/24 11:00:00",
            "geo": np.repeat(["AT", "BE"], 60),
            "TIME_PERIOD": 2 * [f"{2010 + n // 12}-{n % 12 + 1:02d}" for n in range(60)],
            "OBS_VALUE": WAVE[:120],
        }
    )
    columns = guessed(tmp_path, frame)["source"]["columns"]
    assert columns == {"ds": "TIME_PERIOD", "unique_id": "geo"}


def test_names_with_an_empty_cell_give_way_to_complete_ones(tmp_path):
    """The codes of three countries and of a continent, which has none."""
    frame = pd.DataFrame(
        {
            "Entity": np.repeat(["Africa", "Germany", "Ireland", "World"], 60),
            "Code": np.repeat([None, "DEU", "IRL", "WRL"], 60),
            "Year": [
                *range(1900, 1960),
                *range(1900, 1960),
                *range(1924, 1984),
                *range(1900, 1960),
            ],
            "emissions": WAVE[:240],
        }
    )
    assert guessed(tmp_path, frame)["source"]["columns"]["unique_id"] == "Entity"


def test_the_end_of_a_step_is_neither_a_plan_nor_a_target(tmp_path):
    starts = pd.date_range("2023-01-01", periods=300)
    frame = pd.DataFrame({"from": starts, "to": starts + pd.Timedelta(days=1), "y": WAVE[:300]})
    frame.loc[295:, "y"] = None
    text = guess_both(tmp_path, frame)[1]
    assert "# not read: 5 rows after the last y" in text and "future_exogenous" not in text
    days = frame[["from", "to"]].apply(lambda column: column.dt.strftime("%Y%m%d"))
    assert guessed(tmp_path, days.assign(y=WAVE[:300]))["target"]["column"] == "y"


def test_an_empty_column_gives_no_hint_about_unread_times(tmp_path):
    frame = pd.DataFrame({"zone": "", "date": [f"day {n}" for n in range(40)], "y": WAVE[:40]})
    with pytest.raises(InputError, match=r"known; 'date' may be some\. Name the columns"):
        guessed(tmp_path, frame)


TAB = "agency\tdatetime\tflow\tcode\n5s\t20d\t14n\t10s\n"
"""Names as a service for rivers writes them, with a line of formats below."""


@pytest.mark.parametrize(
    ("head", "row", "above", "below"),
    [
        (30 * "# a comment, with; marks\n" + "#\n" + TAB, "USGS\t{}\t{}\tA", 31, 1),
        ("# by us\n# STN,day,   flow\n# \n", "  260,{},{:5}", 1, 1),
        ("Date,flow,rain\nday,m3/s,mm\n", "{},{},1.5", 0, 1),
        ("TOA5,CR1000,8\nday,flow\nTS,m3/s\n,Avg\n", "{},{}", 1, 2),
        ('"Title","flow"\n"CDID","L522"\n"Release date","17-04-2024"\n', '"{}","{}"', 0, 2),
        ("-BEGIN-\n" + 25 * "a line of a title \n" + "day,flow\n", "{},{}", 26, 0),
        ("A title of 2024\nday;flow;\n", "{};{};", 1, 0),
    ],
    ids=["formats", "comments", "units", "logger", "title below", "long title", "open end"],
)
def test_titles_and_units_around_the_names_are_skipped(tmp_path, head, row, above, below):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.csv"
    lines = [row.format(day, 10 + n) for n, day in enumerate(DAILY)]
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    text, frame = read_as_guessed(tmp_path, path)
    assert frame["ds"].dt.strftime("%Y-%m-%d").tolist() == DAILY
    assert frame[frame.columns[-1]].tolist() == list(range(10, 38))
    assert frame.index.tolist() == list(range(2 + above + below, 30 + above + below))
    source = yaml.safe_load(text)["mine"]["source"]
    assert source.get("skip_lines", 0) == above and source.get("skip_below", 0) == below
    assert ("below the names" in text) == (below > 0)


@pytest.mark.parametrize("first", ["7", "NaN", "-7.5", "+1e-3"])
def test_a_first_number_written_like_no_other_is_no_unit(tmp_path, first):
    (tmp_path / "mine.csv").write_text("\n".join(["y", first, *(f"{n}.25" for n in range(60))]))
    assert own_files.guess_format(tmp_path / "mine.csv", "mine.csv").skip_below == 0


def test_a_first_line_with_a_number_twice_holds_no_names(tmp_path):
    rows = [f"{1704067200000 + 3600000 * n},{n}.5,{n}.5,{n}.7" for n in range(40)]
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    with pytest.raises(InputError, match=r"first line holds .*1704067200000.*wanted the names"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def test_years_that_name_columns_are_seen_below_a_title(tmp_path):
    years = ",".join(f'"{year}"' for year in range(1990, 2024))
    values = ",".join(f'"{n}.5"' for n in range(34))
    head = f'"Source","Indicators",\n\n"Updated","2024-06-28",\n\n"Country","Code",{years},\n'
    rows = "".join(f'"{name}","{name[:3]}",{values},\n' for name in ("Aruba", "Chad", "Japan"))
    (tmp_path / "mine.csv").write_text(head + rows)
    with pytest.raises(InputError, match=r"34 columns are named by times, such as '1990'.*melt"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


def test_a_quality_behind_a_comma_is_no_decimal_of_a_file_with_points(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "ds,latitude,pressure\n" + "".join(f'{day},51.4700,"10130,1"\n' for day in DAILY)
    )
    assert own_files.guess_format(tmp_path / "mine.csv", "mine.csv").decimal == "."
    with pytest.raises(InputError, match="'pressure' holds text '10130,1'"):
        guess_entry(tmp_path / "mine.csv", "mine.csv", "mine")


@pytest.mark.parametrize(
    ("name", "form"), [("<TIME>", "%H%M%S"), ("HH", "%H"), ("<TIME>", "%H:%M:%S")]
)
def test_a_column_of_hours_is_known_by_its_name(tmp_path, name, form):
    frame = pd.DataFrame({"<DATE>": HOURS.strftime("%Y%m%d"), name: HOURS.strftime(form)})
    frame["<CLOSE>"] = np.arange(960.0)
    source = guessed(tmp_path, frame.assign(ticker="ABC"))["source"]
    assert source["time_columns"] == ["<DATE>", name] and "columns" not in source


def test_a_name_in_brackets_is_that_of_a_target(tmp_path):
    days = pd.date_range("2023-01-01", periods=200)
    frame = pd.DataFrame({"<DATE>": days, "<OPEN>": WAVE[:200], "<CLOSE>": WAVE[:200]})
    assert guessed(tmp_path, frame)["target"]["column"] == "<CLOSE>"


def test_years_with_a_row_for_each_of_many_series_are_times(tmp_path):
    """As `melt` of pandas writes a table with a column for each year."""
    wide = pd.DataFrame(WAVE[:300].reshape(5, 60) + 9, columns=[*map(str, range(1960, 2020))])
    long = wide.assign(country=[*"abcde"]).melt("country", var_name="time", value_name="value")
    columns = guessed(tmp_path, long)["source"]["columns"]
    assert columns == {"ds": "time", "unique_id": "country"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("time", [f"{month:%b}" for month in MONTHS[:12]]),
        ("mon", [*range(1, 13)]),
        ("Qtr", ["Q1", "Q2", "Q3", "Q4"]),
    ],
)
def test_a_year_and_its_months_are_no_series_of_years(tmp_path, name, parts):
    years = np.repeat(range(1960, 2020), len(parts))
    frame = pd.DataFrame({"Year": years, name: 60 * parts, "y": np.resize(WAVE, len(years))})
    source = guessed(tmp_path, frame)["source"]
    assert source["time_columns"] == ["Year", name] and "columns" not in source


def test_a_year_and_months_in_german_are_refused(tmp_path):
    months = ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August"]
    years = np.repeat(range(1960, 2020), len(months))
    frame = pd.DataFrame({"Year": years, "Monat": 60 * months, "y": np.resize(WAVE, len(years))})
    with pytest.raises(InputError, match=r"parts of one time\. Write .*2024-05|'Year' may be some"):
        guessed(tmp_path, frame)


def test_an_empty_name_of_a_series_is_refused_with_its_line(tmp_path):
    """Countries without provinces, beside some with."""
    frame = pd.concat(
        pd.DataFrame({"state": state, "country": country, "day": DAILY, "y": range(28)})
        for state, country in [("A", "AU"), (None, "AU"), ("A", "CA"), ("B", "CA"), (None, "IE")]
    )
    with pytest.raises(InputError, match=r"line 30: `unique_id` is empty, wanted a name in every"):
        guessed(tmp_path, frame)


@pytest.mark.parametrize("name", ["cnt", "traffic_volume", "count"])
def test_what_is_counted_is_the_target_rather_than_a_temperature(tmp_path, name):
    hours = pd.date_range("2024-01-01", periods=600, freq="h")
    weather = {"temp": 280 + WAVE, "hum": 50 + WAVE}
    frame = pd.DataFrame({"date_time": hours, **weather, name: (100 + 50 * WAVE).round()})
    assert guessed(tmp_path, frame)["target"]["column"] == name


def test_no_part_of_a_date_and_no_decimal_year_is_the_target(tmp_path):
    hours = pd.date_range("2024-01-01", periods=600, freq="h")
    parts = {"YEAR": hours.year, "MO": hours.month, "DY": hours.day, "HR": hours.hour}
    decimal = (2024 + np.arange(600) / 8784).round(6)
    frame = pd.DataFrame({"time": hours, **parts, "decimal date": decimal, "average": WAVE})
    assert guessed(tmp_path, frame)["target"]["column"] == "average"


def test_a_value_below_a_limit_is_read_as_none_and_told(tmp_path):
    path = write_rows(tmp_path, "Month,ice cream: (Ireland)", ["<1", "< 0.5", *map(str, range(40))])
    text, frame = read_as_guessed(tmp_path, path)
    assert frame["ice cream: (Ireland)"].isna().sum() == 2
    assert "'< 0.5', '<1' read as no value (write 0 where one means zero)" in text


def test_a_code_of_six_digits_is_no_day_of_an_early_year(tmp_path):
    frame = pd.DataFrame({"station": "086338", "code": [f"0{n}" for n in range(10101, 10129)]})
    frame = frame.assign(date=DAILY, y=range(28))
    assert guessed(tmp_path, frame)["source"]["columns"] == {"ds": "date"}


def test_a_series_that_begins_before_1800_is_read(tmp_path):
    months = pd.date_range("1749-01-01", periods=1200, freq="MS").strftime("%Y-%m-%d")
    frame = pd.DataFrame({"date": months, "spots": np.tile(WAVE, 2) + 9})
    assert guessed(tmp_path, frame)["calendar"] == {"kind": "regular", "freq": "1MS"}
