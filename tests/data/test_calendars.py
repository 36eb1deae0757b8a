from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.config.task import (
    OpeningHours,
    RegularCalendar,
    SessionCalendar,
    WeekdayCalendar,
    YearWeekCalendar,
)
from forecast.data import calendars
from forecast.data.calendars import (
    calendar_features,
    check_calendar,
    count_steps_by_series,
    cycles,
    default_features,
    describe_own_steps,
    find_gaps,
    find_month_feature,
    fit_calendar,
    grid,
    grids,
    known_from,
    next_steps,
    read_until,
    season_positions,
)
from forecast.system.errors import InputError
from tests.support.example_data import dataset, hourly

NEW_YORK = SessionCalendar(kind="sessions", exchange="XNYS")
HOURS = RegularCalendar(kind="regular", freq="1h")
DAYS = RegularCalendar(kind="regular", freq="1D")
WORKDAYS = ("mon", "tue", "wed", "thu", "fri")
NEW_YORK_BARS = RegularCalendar(
    kind="regular",
    freq="1h",
    opening_hours=OpeningHours(
        days=WORKDAYS, first="09:30", last="15:30", time_zone="America/New_York"
    ),
)


def dates(index: pd.DatetimeIndex) -> list[str]:
    return [str(moment.date()) for moment in index]


def test_calendar_features_name_the_cycles_and_how_many_steps_each_lasts():
    assert cycles(HOURS, ["hour_of_day", "day_of_year"]) == pytest.approx(
        {"day": 24, "year": 8765.82}
    )
    assert cycles(RegularCalendar(kind="regular", freq="1MS"), ["month_of_year"])[
        "year"
    ] == pytest.approx(12, rel=1e-3)
    assert cycles(NEW_YORK, ["day_of_year"])["year"] == pytest.approx(251, abs=1)
    assert (
        cycles(RegularCalendar(kind="regular", freq="1D"), ["hour_of_day"])
        == cycles(HOURS, [])
        == {}
    )
    assert cycles(RegularCalendar(kind="regular", freq="1YS"), ["day_of_year"]) == {}
    month = {"month": 365.2425 / 12}
    assert cycles(DAYS, ["day_of_month", "day_to_month_end"]) == pytest.approx(month)
    thirds = cycles(RegularCalendar(kind="regular", freq="8h"), ["hour_of_day"])
    assert thirds == pytest.approx({"day": 3})


def test_hour_and_weekday_are_those_of_the_local_clock_in_winter_and_summer():
    names = ["hour_of_day", "day_of_week"]
    utc = pd.DatetimeIndex(["2024-01-14 23:00", "2024-07-14 22:00"])
    midnight = pd.DatetimeIndex(["2024-01-15", "2024-07-15"])
    np.testing.assert_array_equal(
        calendar_features(utc, names, "Europe/Berlin"), calendar_features(midnight, names)
    )


@pytest.mark.parametrize(
    ("freq", "steps", "features"),
    [
        ("1h", 22, ["hour_of_day"]),
        ("1h", 21, []),
        ("15min", 9000, ["hour_of_day"]),
        ("12h", 9000, ["day_of_year"]),
        ("1h", 8760, ["hour_of_day", "day_of_year"]),
        ("1D", 365, ["day_of_year"]),
        ("1D", 320, []),
        ("1MS", 600, []),
        ("W-SUN", 600, ["day_of_year"]),
        ("1YS", 600, []),
    ],
)
def test_day_and_year_are_known_ahead_where_the_rows_show_them(
    freq: str, steps: int, features: list[str]
):
    assert default_features(RegularCalendar(kind="regular", freq=freq), steps) == features


def test_of_sessions_weekdays_and_rows_without_dates_nothing_is_known_ahead_unasked():
    others = (NEW_YORK, WeekdayCalendar(kind="weekdays"), RegularCalendar(kind="index"))
    assert [default_features(calendar, 100_000) for calendar in others] == [[], [], []]


def test_new_york_is_closed_on_weekends_and_thanksgiving():
    assert dates(grid(NEW_YORK, "2018-11-20", "2018-11-27")) == [
        "2018-11-20",
        "2018-11-21",
        "2018-11-23",
        "2018-11-26",
        "2018-11-27",
    ]


def test_the_sessions_after_a_friday_start_on_monday():
    assert dates(next_steps(NEW_YORK, "2018-12-28", 3)) == [
        "2018-12-31",
        "2019-01-02",
        "2019-01-03",
    ]


def test_following_reaches_over_years():
    assert len(next_steps(NEW_YORK, "2018-12-31", 600)) == 600


def test_an_extra_closure_is_no_session():
    closed = SessionCalendar(kind="sessions", exchange="XNYS", extra_closures=(date(2018, 11, 21),))
    assert "2018-11-21" not in dates(grid(closed, "2018-11-20", "2018-11-27"))


def test_a_calendar_with_a_known_beginning_is_asked_only_for_what_it_knows():
    shanghai = SessionCalendar(kind="sessions", exchange="XSHG")  # from December of 1990 on
    assert dates(grid(shanghai, "2020-01-01", "2020-01-03")) == ["2020-01-02", "2020-01-03"]


def test_sessions_that_the_library_cannot_make_are_refused_in_words():
    tokyo = SessionCalendar(kind="sessions", exchange="XTKS")
    with pytest.raises(InputError, match=r"no sessions of XTKS from .* closures:"):
        grid(tokyo, "1970-01-01", "1970-01-31")


@pytest.mark.parametrize("exchange", ["XTAE", "ASEX"])
def test_sessions_that_the_library_makes_with_some_versions_of_pandas_are_right_or_refused(
    exchange: str,
):
    calendar = SessionCalendar(kind="sessions", exchange=exchange)
    try:
        sessions = grid(calendar, "2020-01-06", "2020-01-31")
    except InputError as refused:
        assert re.search(f"no sessions of {exchange} from .* closures:", str(refused))
    else:
        assert len(sessions) == 19  # Epiphany in Athens, Sundays in Tel Aviv


def test_hours_count_from_the_start():
    assert grid(HOURS, "2024-01-01 00:30", "2024-01-01 02:30").strftime("%H:%M").tolist() == [
        "00:30",
        "01:30",
        "02:30",
    ]


def test_the_next_month_starts_follow_any_day():
    months = RegularCalendar(kind="regular", freq="1MS")
    assert dates(next_steps(months, "2024-01-15", 2)) == ["2024-02-01", "2024-03-01"]
    assert dates(next_steps(months, "2024-01-01", 2)) == ["2024-02-01", "2024-03-01"]


@pytest.mark.parametrize(("freq", "n"), [("1h", 600_000), ("1D", 80_000), ("1YS", 100)])
def test_steps_beyond_the_last_day_of_nanoseconds_are_refused(freq: str, n: int):
    calendar = RegularCalendar(kind="regular", freq=freq)
    with pytest.raises(InputError, match=r"lead beyond 2262-04-11.*Shorten `horizon`"):
        next_steps(calendar, "2199-01-01", n)


@given(hours=st.integers(1, 200), n=st.integers(1, 50))
def test_following_continues_the_grid(hours: int, n: int):
    start = pd.Timestamp("2024-01-01")
    end = start + pd.Timedelta(hours=hours)
    whole = grid(HOURS, start, end + pd.Timedelta(hours=n))
    assert whole.equals(grid(HOURS, start, end).append(next_steps(HOURS, end, n)))


def test_features_are_the_phase_on_the_circle():
    features = calendar_features(
        pd.to_datetime(["2024-01-01 00:00", "2024-01-01 06:00", "2024-01-01 12:00"]),
        ["hour_of_day"],
    )
    assert np.allclose(features, [[0, 1], [1, 0], [0, -1]], atol=1e-12)


def test_no_features_are_no_columns_but_all_rows():
    assert calendar_features(pd.date_range("2024", periods=3), []).shape == (3, 0)


@pytest.mark.parametrize(("name", "period"), [("hour_of_day", "1D"), ("day_of_week", "7D")])
def test_features_repeat_after_one_period(name, period: str):
    times = pd.date_range("2024-01-01", periods=50, freq="h")
    one_period_later = calendar_features(times + pd.Timedelta(period), [name])
    assert np.allclose(calendar_features(times, [name]), one_period_later)


def test_the_turn_of_the_year_is_no_jump():
    around = calendar_features(
        pd.to_datetime(["2023-12-31 23:00", "2024-01-01 00:00"]), ["day_of_year", "month_of_year"]
    )
    assert np.abs(np.diff(around[:, 0])) < 0.01


def test_the_day_counts_from_the_first_of_a_month_or_to_its_last():
    times = pd.to_datetime(["2024-03-01", "2023-02-28", "2024-02-28", "2024-02-29"])
    for name, positions in (("day_of_month", [0, 27, 27, 28]), ("day_to_month_end", [30, 0, 1, 0])):
        angles = 2 * np.pi * np.array(positions) / 31
        features = calendar_features(times, [name])
        np.testing.assert_allclose(features, np.c_[np.sin(angles), np.cos(angles)], atol=1e-12)


def sales_with_paydays(
    is_payday: Callable[[pd.DatetimeIndex], np.ndarray], *, step: str = "D", rows: int = 900
) -> pd.DataFrame:
    """Sales that Saturdays raise by 5 and paydays by 4, with noise of deviation 1."""
    ds = pd.date_range("2022-01-03", periods=rows, freq=step)
    noise = np.random.default_rng(0).normal(0, 1, rows)
    sales = 20 + 5.0 * (ds.day_of_week == 5) + 4.0 * is_payday(ds) + noise
    return pd.DataFrame({"unique_id": "s", "ds": ds, "y": sales})


@pytest.mark.parametrize(
    ("is_payday", "feature"),
    [
        (lambda ds: ds.day == 25, "day_of_month"),
        (lambda ds: (ds.day == 1) | (ds.day == 15), "day_of_month"),
        (lambda ds: ds.is_month_end, "day_to_month_end"),
        (lambda ds: ds.isin(pd.date_range(ds[0], ds[-1], freq="BME")), "day_to_month_end"),
        (lambda ds: ds.day_of_week == 0, None),
        (lambda ds: ds.year - 2022, None),
        (lambda ds: 5 * (ds.strftime("%m-%d") == "12-25"), None),
    ],
    ids=["25th", "1st and 15th", "last day", "last workday", "Mondays", "growth", "Christmas"],
)
def test_the_end_of_the_month_that_explains_more_is_where_days_count_from(is_payday, feature):
    frame = sales_with_paydays(is_payday)
    assert find_month_feature(frame, ["y"], DAYS) == feature
    steady = frame.assign(unique_id="steady", y=5.0)
    assert find_month_feature(pd.concat([steady, frame]), ["y"], DAYS) == feature
    shuffled = frame.assign(other=0.0).sample(frac=1.0, random_state=0)
    assert find_month_feature(shuffled, ["other", "y"], DAYS) == feature


@pytest.mark.parametrize(
    ("rows", "step", "calendar", "feature"),
    [
        (607, "D", DAYS, "day_of_month"),
        (606, "D", DAYS, None),
        (900, "B", WeekdayCalendar(kind="weekdays"), "day_of_month"),
        (900, "B", RegularCalendar(kind="regular", freq="B"), "day_of_month"),
        (900, "B", NEW_YORK, None),
        (24 * 900, "h", HOURS, None),
        (900, "D", RegularCalendar(kind="index"), None),
    ],
    ids=[
        "a year in 60 %",
        "less than a year",
        "workdays",
        "B",
        "sessions",
        "hours",
        "counted rows",
    ],
)
def test_the_day_of_the_month_is_an_input_of_days_alone_and_of_more_than_a_year(
    rows, step, calendar, feature
):
    frame = sales_with_paydays(lambda ds: ds.day == 25, step=step, rows=rows)
    assert find_month_feature(frame, ["y"], calendar) == feature


def test_missing_hours_are_named_as_runs():
    frame = hourly(rows=10).drop(index=[3, 4, 7])
    gaps = [
        (g.unique_id, g.first.hour, g.last.hour, g.steps)
        for g in find_gaps(frame, HOURS).itertuples()
    ]
    assert gaps == [("a", 3, 4, 2), ("a", 7, 7, 1)]


def test_a_weekend_is_no_gap_and_a_missing_session_is_one():
    sessions = grid(NEW_YORK, "2018-11-19", "2018-11-30")
    frame = pd.DataFrame({"unique_id": "s", "ds": sessions})
    assert find_gaps(frame, NEW_YORK).empty
    assert dates(find_gaps(frame.drop(index=2), NEW_YORK)["first"]) == ["2018-11-21"]


def test_a_sunday_is_refused_for_an_exchange():
    frame = pd.DataFrame({"unique_id": "s", "ds": pd.to_datetime(["2018-11-23", "2018-11-25"])})
    with pytest.raises(
        InputError, match=r"row 1 \(series 's', 2018-11-25 00:00\): this is no session of XNYS"
    ):
        check_calendar(frame, NEW_YORK, where="x")


@pytest.mark.parametrize("odd", [0, 5])
def test_the_one_odd_row_is_named_even_when_it_comes_first(odd: int):
    frame = hourly(rows=10)
    frame.loc[odd, "ds"] += pd.Timedelta("7min")
    with pytest.raises(InputError, match=rf"row {odd} .*off the '1h' grid"):
        check_calendar(frame, HOURS, where="x")


def test_a_calendar_of_listed_weekdays_has_no_steps_on_its_closures():
    sundays_off = WeekdayCalendar(
        kind="weekdays", days=("fri", "sat", "mon"), closures=(date(2024, 1, 6),)
    )
    assert dates(grid(sundays_off, "2024-01-04 12:00", "2024-01-12")) == [
        "2024-01-05",
        "2024-01-08",
        "2024-01-12",
    ]
    assert dates(next_steps(sundays_off, "2024-01-05", 2)) == ["2024-01-08", "2024-01-12"]
    assert known_from(sundays_off, pd.to_datetime(["2024-01-05"]))[0] == pd.Timestamp("2024-01-06")
    frame = pd.DataFrame({"unique_id": "s", "ds": pd.to_datetime(["2024-01-05", "2024-01-06"])})
    with pytest.raises(InputError, match="no session of the configured weekdays"):
        check_calendar(frame, sundays_off, where="x")


def test_a_session_is_known_at_its_close_also_on_a_half_day():
    closes = known_from(NEW_YORK, pd.to_datetime(["2018-11-21", "2018-11-23"]))
    assert closes.strftime("%d %H:%M").tolist() == ["21 21:00", "23 18:00"]


@pytest.mark.parametrize(
    ("weeks", "steps", "known"),
    [
        (52, ["2008-12-23", "2009-01-01", "2009-01-08"], ["2009-01-01", "2009-01-08"]),
        (53, ["2008-12-23", "2008-12-30", "2009-01-01"], ["2008-12-30", "2009-01-01"]),
    ],
)
def test_weeks_of_a_year_begin_anew_on_its_first_day(weeks, steps, known):
    calendar = YearWeekCalendar(kind="year_weeks", weeks=weeks)
    assert dates(next_steps(calendar, "2008-12-16", 3)) == steps
    assert dates(known_from(calendar, pd.to_datetime(steps[:2]))) == known
    assert len(grid(calendar, "2001-01-01", "2010-12-31")) == 10 * weeks
    assert default_features(calendar, 100) == ["day_of_year"]
    frame = pd.DataFrame({"unique_id": "s", "ds": pd.to_datetime(["2009-01-01", "2009-01-09"])})
    with pytest.raises(InputError, match="no week counted from 1 January"):
        check_calendar(frame, calendar, where="x")


@pytest.mark.parametrize(
    ("freq", "label", "until", "known"),
    [
        ("ME", "2026-10-31", "2026-11-01", "2026-11-01"),
        ("BME", "2026-10-30", "2026-10-31", "2026-10-31"),
        ("QE", "2026-09-30", "2026-10-01", "2026-10-01"),
        ("YE", "2025-12-31 23:59:59", "2026-01-01", "2026-01-01"),
        ("MS", "2026-10-01", "2026-11-01", "2026-11-01"),
        ("QS", "2026-07-01", "2026-10-01", "2026-10-01"),
        ("W-FRI", "2026-11-20", "2026-11-21", "2026-11-27"),
        ("2W-MON", "2026-11-16", "2026-11-17", "2026-11-30"),
        ("B", "2026-11-20", "2026-11-21", "2026-11-23"),
        ("2D", "2026-11-20", "2026-11-22", "2026-11-22"),
        ("C", "2026-11-20", "2026-11-21", "2026-11-23"),
        ("bh", "2026-11-20 16:00", "2026-11-21", "2026-11-23"),
        ("WOM-3FRI", "2026-11-20", "2026-11-21", "2026-12-18"),
        ("CBME", "2026-10-30", "2026-10-31", "2026-10-31"),
    ],
)
def test_a_step_is_named_by_its_first_day_or_its_last_and_a_week_by_either(
    freq, label, until, known
):
    calendar = RegularCalendar(kind="regular", freq=freq)
    times = pd.DatetimeIndex([label])
    assert dates(read_until(calendar, times)) == [until]
    assert dates(known_from(calendar, times)) == [known]


def test_an_hour_is_known_when_it_has_ended():
    assert known_from(HOURS, pd.to_datetime(["2024-01-01 05:00"]))[0] == pd.Timestamp(
        "2024-01-01 06:00"
    )


@pytest.mark.parametrize(
    ("calendar", "message"),
    [
        ({"kind": "sessions", "exchange": "XNYSE"}, "unknown exchange. Did you mean 'XNYS'?"),
        ({"kind": "regular", "freq": "hourly-ish"}, "unknown step"),
        (
            {"kind": "regular", "freq": "1h", "opening_hours": {"first": "9:30", "last": "16:00"}},
            "wanted a time of day in quotes, such as '09:30'",
        ),
        (
            {"kind": "regular", "freq": "1h", "opening_hours": {"first": 9, "last": 17}},
            "opening_hours.first.*wanted a time of day in quotes",
        ),
        (
            {"kind": "regular", "freq": "1h", "opening_hours": {"first": "09:30", "last": 24 * 60}},
            "opening_hours.last.*wanted a time of day in quotes",
        ),
        (
            {"kind": "index", "opening_hours": {"first": "09:30", "last": "16:00"}},
            "rows without dates have none",
        ),
        (
            {
                "kind": "regular",
                "freq": "1h",
                "opening_hours": {"days": ["mon", "mon"], "first": "09:30", "last": "16:00"},
            },
            "'mon' stands twice; wanted each once",
        ),
        (
            {"kind": "regular", "freq": "1h", "opening_hours": {"first": "18:00", "last": "02:00"}},
            "first: 18:00 is after last: 02:00",
        ),
    ],
)
def test_an_unknown_calendar_is_refused_when_the_configuration_is_read(
    calendar: dict, message: str
):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        dataset(calendar=calendar)


@pytest.mark.parametrize("freq", ["7h", "24h", "36h", "1D", "B", "W-FRI", "MS", "QE-DEC", "YE"])
def test_opening_hours_are_refused_with_a_step_that_is_no_part_of_a_day(freq: str):
    hours = {"first": "08:00", "last": "15:00"}
    with pytest.raises(InputError, match=rf"opening_hours: a step of {freq}; wanted one shorter"):
        dataset(calendar={"kind": "regular", "freq": freq, "opening_hours": hours})


YEAR_2024 = ("2024-01-01", "2024-12-31")


@pytest.mark.parametrize(
    ("times", "calendar", "pattern"),
    [
        (
            pd.date_range("2024-01-05", periods=50, freq="W-FRI"),
            {"kind": "regular", "freq": "W-MON"},
            "freq: W-FRI",
        ),
        (
            pd.date_range("2020-01-31", periods=50, freq="ME"),
            {"kind": "regular", "freq": "1MS"},
            "freq: 1ME",
        ),
        (
            pd.date_range("2024-01-01 09:00", periods=50, freq="1h"),
            {"kind": "regular", "freq": "1h", "opening_hours": {"first": "09:00", "last": "17:00"}},
            "no step of 1h begins then within the opening hours",
        ),
        (
            pd.date_range("2024-01-01 09:00", periods=50, freq="B"),
            {"kind": "weekdays"},
            "Write dates alone",
        ),
        (
            grid(dataset(calendar={"kind": "sessions", "exchange": "XLON"}).calendar, *YEAR_2024),
            {"kind": "sessions", "exchange": "XNYS"},
            "Nearest calendar: {kind: sessions, exchange: XLON} (0 times off it",
        ),
    ],
    ids=[
        "another weekday",
        "ends of months",
        "opening hours",
        "hours",
        "another exchange",
    ],
)
def test_rows_off_the_calendar_are_told_with_their_reason_and_the_nearest_one(
    times, calendar, pattern
):
    given_calendar = dataset(calendar=calendar).calendar
    frame = pd.DataFrame({"unique_id": "a", "ds": times.as_unit("ns"), "temp": 1.0})
    with pytest.raises(InputError, match="such times in all") as fault:
        check_calendar(frame, given_calendar, where="mine")
    assert pattern in str(fault.value)


def test_the_nearest_calendar_is_counted_of_each_series_by_itself():
    days = pd.Series(pd.date_range("2024-01-01", periods=50, freq="D"))
    frame = pd.concat(
        pd.DataFrame({"unique_id": name, "ds": days[days.index % 10 != hole], "temp": 1.0})
        for name, hole in {"a": 3, "b": 7}.items()
    )
    weeks = dataset(calendar={"kind": "regular", "freq": "W-MON"}).calendar
    pattern = r"freq: 1D\} \(0 times off it, steps without a row: 10\)"
    with pytest.raises(InputError, match=pattern):
        check_calendar(frame, weeks, where="mine")


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_days_with_an_event_are_days_and_no_weeks(share, seed):
    days = pd.date_range("2024-01-01", periods=600)
    fit = fit_calendar(days[np.random.default_rng(seed).random(600) < share])
    assert (fit.calendar.kind, fit.off_calendar) == ("regular", 0)


def test_a_sparse_logger_with_a_clock_that_jitters_has_steps_of_an_hour():
    draw = np.random.default_rng(3)
    hours = pd.date_range("2022-01-01", periods=6000, freq="h")[draw.random(6000) < 0.4]
    late = np.where(draw.random(len(hours)) < 0.08, draw.integers(1, 1800, len(hours)), 0)
    fit = fit_calendar(hours + pd.to_timedelta(late, "s"))
    assert (fit.calendar.freq, fit.off_calendar) == ("1h", np.count_nonzero(late))


def test_series_whose_weeks_begin_on_other_days_are_told_no_calendar_but_what_to_do():
    frame = pd.concat(
        pd.DataFrame({"unique_id": day, "ds": pd.date_range("2024-01-01", periods=50, freq=day)})
        for day in ("W-MON", "W-SUN")
    )
    mondays = dataset(calendar={"kind": "regular", "freq": "W-MON"}).calendar
    with pytest.raises(InputError, match="of a week its Monday") as fault:
        check_calendar(frame.reset_index(drop=True), mondays, where="mine")
    assert "Nearest calendar" not in str(fault.value)
    assert describe_own_steps(frame[frame["unique_id"] == "W-SUN"]) == ""
    other_weeks = pd.DataFrame(
        {"unique_id": "x", "ds": pd.date_range("2026-01-05", periods=50, freq="7D")}
    )
    assert describe_own_steps(pd.concat([frame[frame["unique_id"] == "W-MON"], other_weeks])) == ""


def test_series_are_told_apart_by_their_names_and_not_row_by_row(monkeypatch):
    days = pd.date_range("2024-01-01", periods=100)
    frame = pd.concat(pd.DataFrame({"unique_id": name, "ds": days}) for name in "abcde")
    isin, sizes = pd.Series.isin, []

    def count_values(self, values):
        sizes.append((self.name, len(values)))
        return isin(self, values)

    monkeypatch.setattr(pd.Series, "isin", count_values)
    assert describe_own_steps(frame.reset_index(drop=True)) == ""
    assert [size for name, size in sizes if name == "unique_id"] == [5]


def test_days_of_more_than_the_292_years_that_nanoseconds_count_have_a_grid():
    days = grid(dataset(calendar={"kind": "regular", "freq": "1D"}).calendar, "1700", "2199-12-31")
    assert days.equals(pd.date_range("1700-01-01", "2199-12-31").as_unit("ns"))


@pytest.mark.parametrize(
    "calendar",
    [
        {"kind": "regular", "freq": "7min"},
        {"kind": "regular", "freq": "2MS"},
        {"kind": "regular", "freq": "1h", "opening_hours": {"first": "04:00", "last": "06:00"}},
        {"kind": "weekdays"},
        {"kind": "year_weeks"},
        {"kind": "sessions", "exchange": "XNYS"},
    ],
    ids=lambda entry: " ".join(str(value) for value in entry.values()),
)
def test_the_grids_of_many_series_are_those_of_each(calendar: dict):
    given_calendar = dataset(calendar=calendar).calendar
    starts = pd.to_datetime(["2020-01-01 00:00", "2020-02-01 05:00", "2020-01-17 00:00"]).as_unit(
        "ns"
    )
    ends = pd.to_datetime(["2020-03-02 00:00", "2021-01-01 00:00", "2020-01-18 07:00"]).as_unit(
        "ns"
    )
    spans = zip(starts, ends, strict=True)
    each = [grid(given_calendar, start, end).to_numpy().tolist() for start, end in spans]
    assert [g.tolist() for g in grids(given_calendar, starts.to_numpy(), ends.to_numpy())] == each


def test_steps_that_no_memory_holds_are_refused():
    with pytest.raises(InputError, match="more than 100,000,000 steps of 1s"):
        grid(
            dataset(calendar={"kind": "regular", "freq": "1s"}).calendar, "1700-01-01", "2199-01-01"
        )


def test_every_exchange_that_is_known_by_its_file_has_a_calendar():
    import exchange_calendars

    folder = Path(exchange_calendars.__file__).parent
    codes = {path.stem.rpartition("_")[2].upper() for path in folder.glob("exchange_calendar_*.py")}
    assert "XNYS" in codes and codes <= set(exchange_calendars.get_calendar_names())


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_steps_of_a_series_do_not_depend_on_the_unit_of_its_times(unit: str) -> None:
    times = pd.date_range("2024-01-01", periods=50, freq="h").as_unit(unit)
    frame = pd.DataFrame({"unique_id": "a", "ds": times})
    assert count_steps_by_series(frame, HOURS).tolist() == [50]


@pytest.mark.parametrize(
    ("calendar", "start", "season_length"),
    [
        (RegularCalendar(kind="regular", freq="1h"), "2024-02-27", 24),
        (RegularCalendar(kind="regular", freq="15min"), "2024-02-27", 96),
        (RegularCalendar(kind="regular", freq="1D"), "2024-02-27", 7),
        (RegularCalendar(kind="regular", freq="MS"), "2023-03-01", 12),
        (RegularCalendar(kind="regular", freq="ME"), "2023-03-31", 12),
        (RegularCalendar(kind="regular", freq="QS"), "2023-04-01", 4),
        (RegularCalendar(kind="regular", freq="1W-MON"), "2023-04-03", 52),
        (
            WeekdayCalendar(kind="weekdays", days=("mon", "tue", "wed", "thu", "fri")),
            "2024-02-27",
            5,
        ),
        (
            WeekdayCalendar(kind="weekdays", days=("tue", "wed", "thu", "fri", "sat", "sun")),
            "2024-02-27",
            6,
        ),
        (NEW_YORK_BARS, "2024-03-07 20:30", 7),
        (NEW_YORK_BARS, "2024-03-07 20:30", 35),
    ],
)
def test_steps_a_season_apart_have_the_same_position_and_those_of_one_season_differ(
    calendar, start, season_length
):
    steps = next_steps(calendar, start, 3 * season_length)
    positions = season_positions(calendar, steps.to_numpy(), season_length)
    by_season = positions.reshape(3, season_length)
    assert sorted(by_season[0]) == list(range(season_length))
    assert (by_season == by_season[0]).all()


def test_a_holiday_moves_no_weekday_of_the_sessions_of_an_exchange():
    sessions = grid(NEW_YORK, "2024-01-01", "2024-12-31")
    positions = season_positions(NEW_YORK, sessions.to_numpy(), 5)
    by_weekday = pd.Series(positions).groupby(sessions.day_of_week).nunique()
    assert len(sessions) < 260 and by_weekday.tolist() == [1] * 5
    assert len(set(positions)) == 5


def test_behind_the_last_bar_of_a_friday_comes_the_first_of_monday_also_when_clocks_change():
    steps = next_steps(NEW_YORK_BARS, "2024-03-08 19:30", 2)
    assert steps.tolist() == [pd.Timestamp("2024-03-08 20:30"), pd.Timestamp("2024-03-11 13:30")]
    assert known_from(NEW_YORK_BARS, steps[1:]).tolist() == [pd.Timestamp("2024-03-11 14:30")]


def test_a_night_is_no_gap_of_opening_hours_and_a_missing_bar_is_one():
    times = grid(NEW_YORK_BARS, "2024-03-04", "2024-03-16").delete([9, 10])
    gaps = find_gaps(pd.DataFrame({"unique_id": "a", "ds": times}), NEW_YORK_BARS)
    assert gaps["first"].tolist() == [pd.Timestamp("2024-03-05 16:30")]
    assert gaps["steps"].tolist() == [2]


def test_a_day_of_opening_hours_has_as_many_steps_as_fit_between_its_clocks():
    assert cycles(NEW_YORK_BARS, ["hour_of_day", "day_of_week"]) == {"day": 7.0, "week": 35.0}
    month = cycles(NEW_YORK_BARS, ["day_of_month"])["month"]
    assert month == pytest.approx(35 * 365.2425 / 12 / 7)
    assert default_features(NEW_YORK_BARS, 35 * 60) == ["hour_of_day", "day_of_year"]
    assert default_features(NEW_YORK_BARS, 35 * 40) == ["hour_of_day"]


def test_hours_without_any_row_are_closed():
    bars = grid(NEW_YORK_BARS, "2024-01-01", "2024-06-30")
    fit = fit_calendar(bars.delete(range(70, 77)), "America/New_York")  # a day of works
    assert fit == (NEW_YORK_BARS, 0, 7)


def test_an_office_of_santiago_has_no_week_by_the_clock_of_auckland():
    # both clocks change on 7 April 2024
    local = pd.date_range("2024-01-08", "2024-08-30", freq="h", tz="America/Santiago")
    is_open = (local.day_of_week < 5) & (local.hour >= 9) & (local.hour < 18)
    fit = fit_calendar(local[is_open].tz_convert("UTC").tz_localize(None))
    assert fit.calendar.opening_hours == OpeningHours(days=WORKDAYS, first="12:00", last="21:00")


@pytest.mark.parametrize("days", [WORKDAYS, ("tue", "wed", "thu", "fri", "sat", "sun")])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Sydney", "Pacific/Auckland"])
def test_an_office_or_a_museum_has_its_hours_by_its_own_clock(
    zone: str, days: tuple[str, ...]
) -> None:
    hours = OpeningHours(days=days, first="09:00", last="17:00", time_zone=zone)
    calendar = RegularCalendar(kind="regular", freq="1h", opening_hours=hours)
    assert fit_calendar(grid(calendar, "2024-01-08", "2024-12-20")) == (calendar, 0, 0)


def test_no_calendar_is_built_of_an_exchange_that_is_closed_on_a_day_with_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: set[str] = set()
    monkeypatch.setattr(
        calendars,
        "_exchange_calendar",
        lambda exchange, first, last: built.add(exchange) or _refuse_sessions(exchange),
    )
    days = pd.bdate_range("2020-01-01", "2025-12-31")
    german_holidays = ["01-01", "05-01", "10-03", "12-24", "12-25", "12-26", "12-31"]
    open_days = days[~days.strftime("%m-%d").isin(german_holidays)]
    assert fit_calendar(open_days).calendar == WeekdayCalendar(kind="weekdays", days=WORKDAYS)
    assert built == {"XLON", "XETR", "XPAR", "XHKG"}


def _refuse_sessions(exchange: str) -> None:
    raise InputError(f"no sessions of {exchange}")


@pytest.mark.parametrize(("exchange", "closed_day"), calendars.GUESSED_EXCHANGES.items())
def test_a_guessed_exchange_was_never_open_on_its_closed_day(
    exchange: str, closed_day: str
) -> None:
    sessions = grid(SessionCalendar(kind="sessions", exchange=exchange), "1990-12-31", "2026-12-31")
    assert closed_day not in sessions.strftime("%m-%d")


def test_bars_of_an_exchange_have_its_holidays_and_half_days():
    hours = NEW_YORK_BARS.opening_hours.model_copy(update={"exchange": "XNYS"})
    calendar = NEW_YORK_BARS.model_copy(update={"opening_hours": hours})
    steps = next_steps(calendar, "2024-11-27 20:30", 5)  # the day before Thanksgiving
    local = steps.tz_localize("UTC").tz_convert("America/New_York").strftime("%d %H:%M")
    assert local.tolist() == ["29 09:30", "29 10:30", "29 11:30", "29 12:30", "02 09:30"]
    bars = grid(calendar, "2024-01-01", "2024-12-31")
    assert fit_calendar(bars, "America/New_York") == (calendar, 0, 0)


@pytest.mark.parametrize(
    "is_kept",
    [
        lambda times, draw: draw.random(len(times)) < 0.7,
        lambda times, draw: abs(times.hour - 12) < 5 + 4 * np.sin(times.day_of_year / 58),
        lambda times, draw: (times.day_of_week < 5) & (times.hour > 8) & (times < "2024-01-09"),
        lambda times, draw: (times.hour > 17) | (times.hour < 9),
        lambda times, draw: times.hour != 3,
    ],
    ids=["holes at random", "daylight", "seven days", "a bar at night", "an hour of service"],
)
def test_hours_that_lack_rows_now_and_then_are_not_closed(is_kept):
    times = pd.date_range("2024-01-01", periods=24 * 364, freq="1h")
    fit = fit_calendar(times[is_kept(times, np.random.default_rng(0))])
    assert fit.calendar == HOURS


def test_a_time_of_day_that_yaml_took_for_a_number_is_meant():
    hours = {"first": "09:30", "last": 16 * 60}  # last: 16:00
    calendar = dataset(calendar={"kind": "regular", "freq": "1h", "opening_hours": hours}).calendar
    assert calendar.opening_hours.last == "16:00"


def test_the_hour_that_stands_twice_in_autumn_is_open_twice():
    hours = {"first": "00:00", "last": "03:00", "time_zone": "Europe/Dublin"}
    calendar = dataset(calendar={"kind": "regular", "freq": "1h", "opening_hours": hours}).calendar
    steps = grid(calendar, "2024-10-26 22:30", "2024-10-27 12:00")
    assert steps.hour.tolist() == [23, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("zone", "clock"),
    [
        ("Europe/London", ("10:00", "Europe/Berlin")),  # it is the same all the year round
        ("America/New_York", ("09:00", "America/New_York")),
    ],
)
def test_rows_in_utc_of_a_business_with_summer_time_are_open_by_its_clock(zone, clock):
    local = pd.date_range("2024-01-01", periods=24 * 360, freq="1h", tz=zone)
    local = local[(local.day_of_week < 5) & (local.hour >= 9) & (local.hour < 17)]
    fit = fit_calendar(local.tz_convert("UTC").tz_localize(None))
    assert (fit.calendar.opening_hours.first, fit.calendar.opening_hours.time_zone) == clock
    assert fit.without_row == 0


def test_night_work_is_no_day_by_the_clock_of_another_country():
    local = pd.date_range("2024-01-01", periods=24 * 720, freq="1h", tz="Europe/Berlin")
    times = local[(local.hour >= 20) | (local.hour < 4)].tz_convert("UTC").tz_localize(None)
    assert fit_calendar(times).calendar == HOURS


def test_a_short_saturday_is_missing_steps_within_opening_hours():
    times = pd.date_range("2024-01-01", periods=24 * 280, freq="1h")
    is_open = (times.hour >= 9) & (times.hour < np.where(times.day_of_week == 5, 12, 17))
    fit = fit_calendar(times[is_open & (times.day_of_week < 6)])
    assert (fit.calendar.opening_hours.last, fit.without_row) == ("16:00", 39 * 5)


def test_the_nearest_calendar_is_told_where_the_calendars_of_exchanges_are_not_installed(
    monkeypatch,
):
    bars = grid(NEW_YORK_BARS, "2024-01-01", "2024-06-30").delete(range(70, 77))
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    monkeypatch.setattr(
        calendars, "_build_exchange_calendar", calendars._build_exchange_calendar.__wrapped__
    )
    assert fit_calendar(bars, "America/New_York") == (NEW_YORK_BARS, 0, 7)


def test_opening_hours_of_more_steps_than_memory_holds_are_refused():
    hours = {"first": "00:00", "last": "23:00"}
    calendar = dataset(calendar={"kind": "regular", "freq": "1s", "opening_hours": hours}).calendar
    with pytest.raises(InputError, match="more than 100,000,000 steps of 1s"):
        grid(calendar, "1990-01-01", "2024-01-01")


def test_the_usual_length_is_not_that_of_the_shortest_of_five_nor_above_a_tenth_of_many():
    assert calendars.usual_length(pd.Series([200, 260, 300, 40, 25])) == 200
    many = pd.Series(np.linspace(60, 2000, 300).astype(int))
    assert (many < calendars.usual_length(many)).mean() <= 0.1
