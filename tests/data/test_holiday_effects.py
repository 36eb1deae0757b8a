"""Whose public holidays move a series: found where some do, and only in rows before the test."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from holidays import country_holidays

from forecast.data.guesses.entry import guess_entry
from forecast.data.holiday_effects import find_holiday_effects

DAY = pd.Timedelta("1D")


def calls(country: str | None, n_days: int = 1000, effect: float = -0.5) -> pd.DataFrame:
    """Days of calls with a week, fewer on the holidays of `country`."""
    days = pd.date_range("2020-03-01", periods=n_days)
    noise = np.random.default_rng(1).normal(size=n_days)
    values = np.where(days.day_of_week >= 5, 40, 100) * np.exp(0.05 * noise)
    if country:
        off = pd.DatetimeIndex(list(country_holidays(country, years=range(2020, 2025))))
        values *= np.where(days.isin(off) & (days.day_of_week < 5), 1 + effect, 1)
    return pd.DataFrame({"unique_id": "one", "ds": days, "y": values})


@pytest.mark.parametrize("country", ["DE", "FR", "JP", "NO", "US"])
def test_the_country_whose_holidays_move_the_values_is_found(country):
    frame = calls(country)
    moving = find_holiday_effects(frame, "y", DAY, None)
    assert moving is not None and moving.country == country
    fitted = frame["ds"][frame["ds"].dt.day_of_week < 5][lambda days: days.index < 750]
    off = country_holidays(country, years=range(2020, 2025))
    assert moving.n_unusual == moving.n_days == sum(day.date() in off for day in fitted)


def test_more_on_holidays_is_found_as_less_is():
    moving = find_holiday_effects(calls("PL", effect=0.3), "y", DAY, None)
    assert moving is not None and moving.country == "PL"


def test_hours_are_read_by_the_day_of_the_clock():
    frame = calls("DE", n_days=700)
    local = pd.date_range("2020-03-01", periods=700 * 24, freq="h", tz="Europe/Berlin")
    by_day = frame.set_index("ds")["y"].reindex(local.tz_localize(None).normalize())
    hours = pd.DataFrame({"unique_id": "one", "y": by_day.to_numpy()})
    hours["ds"] = local.tz_convert(None)
    moving = find_holiday_effects(hours, "y", pd.Timedelta("1h"), "Europe/Berlin")
    assert moving is not None
    assert (moving.country, moving.n_unusual) == ("DE", moving.n_days)


def test_nobody_s_holidays_are_found_in_noise_nor_in_too_few_days():
    assert find_holiday_effects(calls(None), "y", DAY, None) is None
    assert find_holiday_effects(calls("DE", n_days=150), "y", DAY, None) is None


def test_rows_that_are_tested_on_are_not_read():
    frame = calls("DE")
    changed = frame.assign(y=frame["y"].where(frame.index < 750, 7.0))
    found = find_holiday_effects(frame, "y", DAY, None)
    assert found is not None and find_holiday_effects(changed, "y", DAY, None) == found


def test_of_countries_with_the_same_days_the_one_with_most_parts_is_named():
    moving = find_holiday_effects(calls("NO"), "y", DAY, None)  # Svalbard (SJ) has the same days
    assert moving is not None and moving.country == "NO"


def test_the_entry_has_the_holidays_and_says_why(tmp_path):
    path = tmp_path / "calls.csv"
    calls("DE").drop(columns="unique_id").to_csv(path, index=False)
    text = guess_entry(path, "data/calls.csv", "calls")
    moving = find_holiday_effects(calls("DE"), "y", DAY, None)
    why = f"{moving.n_unusual} of the {moving.n_days} public holidays on working days depart"
    assert f"\n    holidays: DE # {why}" in text


def test_hours_without_a_known_clock_get_the_holidays_as_an_offer_only(tmp_path):
    days = calls("DE", n_days=700)
    hours = pd.DataFrame({"ds": pd.date_range("2020-03-01", periods=700 * 24, freq="h")})
    hours["y"] = days["y"].to_numpy().repeat(24) + np.tile(np.arange(24.0), 700)
    path = tmp_path / "load.csv"
    hours.to_csv(path, index=False)
    text = guess_entry(path, "data/load.csv", "load")
    assert re.search(r"\n    # holidays: DE # \d+ of the \d+ public holidays", text)
