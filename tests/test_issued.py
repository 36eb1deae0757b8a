from __future__ import annotations

from pathlib import Path

import pandas as pd

from forecast import issued
from forecast.fetching import fetch_new
from tests.example_data import dataset
from tests.services import Services, serving


def issue(at: str, value: float, hours: int = 6) -> pd.DataFrame:
    start = pd.Timestamp(at)
    times = pd.date_range(start, periods=hours, freq="h").as_unit("ns")
    return pd.DataFrame({"unique_id": "a", "ds": times, "issued_at": start, "temp": value})


ISSUES = pd.concat([issue("2024-01-01 00:00", 1.0), issue("2024-01-01 03:00", 2.0)], ignore_index=True)


def test_the_newest_issue_of_the_moment_counts_and_none_after_it():
    before, after = (issued.known_at(ISSUES, pd.Timestamp(t)) for t in ("2024-01-01 02:59", "2024-01-01 03:00"))
    assert before["temp"].tolist() == [1.0] * 6
    assert after["temp"].tolist() == [1.0] * 3 + [2.0] * 6


def test_a_cutoff_is_given_what_had_been_issued_when_it_became_known():
    """The hour from 1 to 2 is known at 2, the one from 2 to 3 at 3, when the second issue is out."""
    found = issued.forecasts(ISSUES, dataset(), pd.to_datetime(["2024-01-01 01:00", "2024-01-01 02:00"]), "temp")
    assert found[["step", "y_hat"]].values.tolist() == [[1, 1.0], [2, 1.0], [1, 2.0], [2, 2.0]]
    assert found["ds"].dt.hour.tolist() == [2, 3, 3, 4]


def test_a_cutoff_the_service_said_too_little_about_is_left_out():
    found = issued.forecasts(ISSUES, dataset(), pd.to_datetime(["2024-01-01 07:00", "2023-12-31 20:00"]), "temp")
    assert found.empty and list(found.columns) == ["unique_id", "cutoff", "step", "ds", "issued_at", "y_hat"]


def test_issues_pile_up_with_every_fetch(tmp_path: Path):
    with serving(Services(now=pd.Timestamp("2021-06-01 22:00"))) as services:
        place = {"dublin": {"latitude": 53.35, "longitude": -6.26}}
        source = {
            "kind": "open_meteo",
            "places": place,
            "variables": {"temp": "temperature_2m"},
            "start": "2021-05-01",
        }
        city = dataset(source={**source, "base_url": services.url, "forecast_url": services.url})
        for hours in (0, 6):
            services.now = pd.Timestamp("2021-06-01 22:00") + pd.Timedelta(hours, "h")
            fetch_new("city", city, root=tmp_path, now=services.now)
    assert issued.kept(tmp_path, "city")["issued_at"].nunique() == 2
    assert issued.kept(tmp_path, "other").empty
