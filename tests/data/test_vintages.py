from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.config.datasets import Dataset
from forecast.data import snapshots, vintages
from forecast.data.ingest import FetchResult, fetch_snapshot
from forecast.data.sources import Request
from forecast.data.web import Deadline
from forecast.forecaster import Budget, Forecaster, fit
from forecast.models import spec
from forecast.system import files
from forecast.system.errors import DataError, InputError, ModelError
from tests.support import problems
from tests.support.example_data import dataset, hourly
from tests.support.services import Services, serving

NOW = pd.Timestamp("2021-06-01 22:00")
SERVICE = spec({"family": "service"}, where="test")


def issue(at: str, value: float, hours: int = 6) -> pd.DataFrame:
    start = pd.Timestamp(at)
    times = pd.date_range(start, periods=hours, freq="h").as_unit("ns")
    return pd.DataFrame({"unique_id": "a", "ds": times, "issued_at": start, "temp": value})


ISSUES = pd.concat(
    [issue("2024-01-01 00:00", 1.0), issue("2024-01-01 03:00", 2.0)], ignore_index=True
)


def rows(*times: str) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": "a", "ds": pd.to_datetime(list(times)).as_unit("ns")})


def test_a_cutoff_is_given_what_had_been_issued_when_it_became_known():
    """The hour from 1 to 2 is known at 2, the one from 2 to 3 at 3, when the second issue is
    out.
    """
    by_cutoff = vintages.forecasts_by_cutoff(
        ISSUES, dataset(), rows("2024-01-01 01:00", "2024-01-01 02:00")
    )
    assert by_cutoff[["step", "temp"]].values.tolist() == [[1, 1.0], [2, 1.0], [1, 2.0], [2, 2.0]]
    assert by_cutoff["ds"].dt.hour.tolist() == [2, 3, 3, 4]


def test_of_several_targets_the_newest_issue_is_told():
    temp = ISSUES[ISSUES["issued_at"] == pd.Timestamp("2024-01-01 03:00")]
    rain = ISSUES[ISSUES["issued_at"] == pd.Timestamp("2024-01-01 00:00")]
    both = pd.concat([temp, rain.rename(columns={"temp": "rain"})], ignore_index=True)
    two = dataset(target=[{"column": "temp"}, {"column": "rain"}])
    by_cutoff = vintages.forecasts_by_cutoff(both, two, rows("2024-01-01 02:00"))
    assert by_cutoff[["temp", "rain"]].values.tolist() == [[2.0, 1.0], [2.0, 1.0]]
    assert set(by_cutoff["issued_at"]) == {pd.Timestamp("2024-01-01 03:00")}


def test_a_cutoff_the_service_said_too_little_about_is_left_out():
    by_cutoff = vintages.forecasts_by_cutoff(
        ISSUES, dataset(), rows("2023-12-31 20:00", "2024-01-01 07:00")
    )
    assert by_cutoff.empty and list(by_cutoff.columns) == [
        "unique_id",
        "cutoff",
        "step",
        "ds",
        "issued_at",
        "temp",
    ]


def test_nothing_issued_after_a_row_reaches_its_columns():
    settings = city(
        None,
        future_exogenous=[{"column": "temp", "max_missing": 0.9, "issued": True}],
    )
    frame = hourly(rows=12)
    issued = vintages.add_issued(frame, settings, ISSUES)["temp+2"]
    assert (
        issued.iloc[:7].tolist() == [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
        and issued.iloc[7:].isna().all()
    )
    changed_later = ISSUES.assign(
        temp=ISSUES["temp"].where(ISSUES["issued_at"] < pd.Timestamp("2024-01-01 03:00"), 99.0)
    )
    assert vintages.add_issued(frame, settings, changed_later)["temp+2"].iloc[:2].tolist() == [
        1.0,
        1.0,
    ]


def test_what_was_kept_of_an_issue_stays_as_it_was():
    both = vintages.merge_vintages(
        ISSUES, pd.concat([ISSUES.assign(temp=5.0), issue("2024-01-01 06:00", 3.0)])
    )
    assert both.groupby("issued_at")["temp"].unique().map(list).tolist() == [[1.0], [2.0], [3.0]]


def city(services: Services | None, **changes: Any) -> Dataset:
    url = services.url if services else "http://127.0.0.1:1"
    source = {
        "kind": "open_meteo",
        "places": {"dublin": {"latitude": 53.35, "longitude": -6.26}},
        "variables": {"temp": "temperature_2m"},
        "start": "2021-05-01",
        "base_url": url,
        "forecast_url": url,
        "previous_runs_url": url,
    }
    return dataset(source={**source, **changes.pop("source", {})}, **{"horizon": 24, **changes})


@pytest.fixture
def services() -> Iterator[Services]:
    with serving(Services(now=NOW)) as running:
        yield running


def take(root: Path, settings: Dataset, now: pd.Timestamp, **options: Any) -> FetchResult:
    return fetch_snapshot(
        Request("city", settings, root, deadline=Deadline(30, sleep=lambda _: None), **options),
        now=now,
    )


def test_issues_pile_up_with_every_fetch(tmp_path: Path, services: Services):
    for hours in (0, 6):
        services.now = NOW + pd.Timedelta(hours, "h")
        take(tmp_path, city(services, source={"previous_runs_url": None}), services.now)
    assert vintages.read_vintages(tmp_path, "city")["issued_at"].nunique() == 2


def test_a_day_of_the_past_is_given_no_issue_of_today(tmp_path: Path, services: Services):
    services.now = NOW + pd.Timedelta("2D")
    settings = city(services, source={"previous_runs_url": None})
    take(tmp_path, settings, services.now, as_of=NOW)
    assert vintages.read_vintages(tmp_path, "city").empty
    take(tmp_path, settings, services.now)
    assert vintages.read_vintages(tmp_path, "city")["issued_at"].unique() == [services.now]


def test_a_clock_behind_the_service_s_makes_no_issue_earlier_than_it_was(
    tmp_path: Path, services: Services
):
    services.now = NOW + pd.Timedelta("5h")
    take(tmp_path, city(services, source={"previous_runs_url": None}), NOW)
    assert vintages.read_vintages(tmp_path, "city")["issued_at"].unique() == [services.now]


def test_archived_issues_count_from_when_their_run_was_out(tmp_path: Path, services: Services):
    """A day before the hour that the archive names, and eight hours later; nothing issued after
    as_of.
    """
    take(tmp_path, city(services, source={"forecast_url": None}), NOW)
    issues = vintages.read_vintages(tmp_path, "city")
    lead = (issues["ds"] - issues["issued_at"]) / pd.Timedelta("1h")
    assert sorted(set(lead)) == [16.0, 40.0] and issues["issued_at"].max() <= NOW
    assert [
        path
        for path in services.requested
        if "previous_day2" in path and "start_date=2021-05-01" in path
    ]


def test_every_row_and_origin_of_an_archive_is_covered(tmp_path: Path, services: Services):
    """What the local service says is 0.1 off a day ahead and 0.2 two days ahead: seen from a row,
    the newest of it.
    """
    settings = city(services, source={"forecast_url": None})
    take(tmp_path, settings, NOW)
    frame, issues = (
        snapshots.read_pointed(tmp_path, "city"),
        vintages.read_vintages(tmp_path, "city"),
    )
    whole = vintages.forecasts_by_cutoff(issues, settings, frame)
    assert (
        whole["cutoff"].nunique() == len(frame)
        and (whole["issued_at"] <= whole["cutoff"] + pd.Timedelta("1h")).all()
    )
    truth = whole.merge(frame[["ds", "temp"]], on="ds", suffixes=("", "_true"))
    truth = truth[truth["ds"] < NOW - pd.Timedelta(6, "D")]
    off = (truth["temp"] - truth["temp_true"]).groupby(truth["step"]).mean().round(2)
    assert off.tolist() == [0.1] * 17 + [0.2] * 7


def test_an_input_of_which_no_forecasts_are_kept_is_refused():
    with pytest.raises(InputError, match="no forecasts of 'temp' are kept"):
        dataset(future_exogenous=[{"column": "temp", "issued": True}])


def test_an_earlier_snapshot_comes_back_with_the_issues_of_its_time(
    tmp_path: Path, services: Services
):
    settings = city(services, source={"previous_runs_url": None})
    take(tmp_path, settings, NOW)
    before = vintages.read_vintages(tmp_path, "city")
    services.now = NOW + pd.Timedelta(2, "D")
    take(tmp_path, settings, services.now)
    services.requested.clear()
    assert (
        take(tmp_path, settings, services.now, as_of=NOW).is_restored and services.requested == []
    )
    pd.testing.assert_frame_equal(vintages.read_vintages(tmp_path, "city"), before)


def test_issues_that_are_not_those_of_the_pointer_are_refused(tmp_path: Path, services: Services):
    take(tmp_path, city(services), NOW)
    pointer = snapshots.read_pointer(tmp_path, "city")
    files.write_frame(
        tmp_path / pointer.issued, vintages.read_vintages(tmp_path, "city").assign(temp=0.0)
    )
    with pytest.raises(DataError, match="found content sha256"):
        vintages.read_vintages(tmp_path, "city")


def test_the_service_is_a_row_with_what_it_had_said_by_each_origin(tmp_path: Path):
    shops = problems.shops()
    issued = problems.vintages(shops.panel)
    model = fit(
        problems.with_vintages(shops), SERVICE, skip=None, seed=0, budget=Budget(0, 1)
    ).forecaster
    model.save(tmp_path)
    row = shops.rows("south", "test")[3]
    y_hat = Forecaster.load(tmp_path).predict(shops.panel, {"south": np.array([row])})["south"][0]
    of_cutoff = issued[
        (issued["unique_id"] == "south") & (issued["cutoff"] == shops.panel.by_id["south"].ds[row])
    ]
    np.testing.assert_array_equal(y_hat, of_cutoff[["sales", "price"]])
    assert model.n_params == 0


def test_the_service_is_refused_where_no_issue_covers_an_origin():
    shops = problems.shops()
    issued = problems.vintages(shops.panel)
    late = problems.with_vintages(shops, issued[issued["cutoff"] > "2024-01-06"])
    model = fit(late, SERVICE, skip=None, seed=0, budget=Budget(0, 1)).forecaster
    with pytest.raises(
        ModelError, match=r"has no forecast of the whole horizon at \d+ of \d+ origins"
    ):
        model.predict(shops.panel, {"south": shops.rows("south", "validation")})
    with pytest.raises(ModelError, match="No forecasts of the provider are kept"):
        fit(shops, SERVICE, skip=None, seed=0, budget=Budget(0, 1))
