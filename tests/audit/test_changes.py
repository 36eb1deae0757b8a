"""The audit's own changes of the data, and its own idea of when a row is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast.audit.changes import (
    block_ends,
    mirror,
    nudge,
    shake,
    shrink,
    thin_out,
    times_known,
)
from forecast.config.task import RegularCalendar, SessionCalendar, WeekdayCalendar, YearWeekCalendar
from forecast.data.calendars import Calendar, grid, known_from
from tests.support.example_data import dataset

DAYS = pd.date_range("2024-01-01", periods=20)
FRAME = pd.DataFrame({"unique_id": "a", "ds": DAYS, "y": np.arange(20.0) ** 2})
MOMENT = DAYS[11]


@pytest.mark.parametrize("change", [shake, mirror, shrink, thin_out])
def test_rows_up_to_the_moment_stay_and_later_ones_change(change) -> None:
    changed = change(FRAME, MOMENT).set_index("ds")["y"]
    before, after = (
        FRAME.set_index("ds")["y"][:MOMENT],
        FRAME.set_index("ds")["y"][MOMENT:].iloc[1:],
    )
    pd.testing.assert_series_equal(changed[:MOMENT], before, check_freq=False)
    assert (changed[MOMENT:].iloc[1:] != after.reindex(changed[MOMENT:].index[1:])).all()


def test_a_tenth_is_a_jump_and_thinned_rows_are_missing() -> None:
    assert shrink(FRAME, MOMENT)["y"].iloc[12] == pytest.approx(0.1 * 19**2)
    assert set(DAYS) - set(thin_out(FRAME, MOMENT)["ds"]) == {DAYS[13], DAYS[15], DAYS[16]}


def test_a_nudge_is_a_ten_millionth_of_the_value_or_of_a_smaller_spread() -> None:
    frame = FRAME.assign(small=FRAME["y"] - 180, high=1000 + np.sin(np.arange(20.0)), flat=5.0)
    changed = nudge(frame, MOMENT)
    is_later = frame["ds"] > MOMENT
    columns = ["y", "small", "high", "flat"]
    moved = (changed[columns] - frame[columns]).loc[is_later].abs()
    pd.testing.assert_frame_equal(changed[~is_later], frame[~is_later])
    for name in columns:
        largest = 1e-7 * np.minimum(frame.loc[is_later, name].abs(), frame[name].std() or np.inf)
        assert (moved[name] <= 1.001 * largest).all()
        assert (moved[name] >= 0.499 * largest).all()


@pytest.mark.parametrize(
    "calendar",
    [
        *(
            RegularCalendar(kind="regular", freq=freq)
            for freq in (
                "6h",
                "1D",
                "B",
                "W-FRI",
                "2W-MON",
                "MS",
                "ME",
                "BME",
                "QE",
                "BQS-JAN",
                "C",
                "bh",
            )
        ),
        WeekdayCalendar(kind="weekdays", days=("mon", "tue", "wed", "thu", "fri")),
        SessionCalendar(kind="sessions", exchange="XNYS"),
    ],
)
def test_what_the_audit_takes_for_known_is_what_the_project_does(calendar: Calendar) -> None:
    times = pd.bdate_range("2023-06-30", "2023-07-10")
    assert (times_known(calendar, times) == known_from(calendar, times)).all()


@pytest.mark.parametrize("weeks", [52, 53])
def test_the_audit_and_the_project_know_when_the_last_week_of_a_year_ends(weeks: int) -> None:
    calendar = YearWeekCalendar(kind="year_weeks", weeks=weeks)
    steps = grid(calendar, "2007-11-01", "2009-02-01")
    assert (times_known(calendar, steps) == known_from(calendar, steps)).all()


def test_a_moment_inside_a_day_of_an_exchange_is_known_at_the_end_of_a_day() -> None:
    moment = pd.Timestamp("2023-06-30 23:59:59.999")
    assert times_known(SessionCalendar(kind="sessions", exchange="XNYS"), [moment])[
        0
    ] == moment + pd.Timedelta("1D")


def test_shares_are_of_the_rows_up_to_the_last_observation() -> None:
    plan = {"column": "plan", "known_ahead": True}
    settings = dataset(
        future_exogenous=[plan], splits={"train": 0.5, "validation": 0.2, "calibration": 0.1}
    )
    hours = pd.date_range("2024-01-01", periods=150, freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": hours, "temp": 1.0, "plan": 0.0})
    frame.loc[100:, "temp"] = np.nan
    assert list(block_ends(frame, settings).values()) == [
        hours[49],
        hours[69],
        hours[79],
        hours[99],
    ]
