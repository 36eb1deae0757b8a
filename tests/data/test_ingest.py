from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.cli import doctor
from forecast.cli.data import report_fetch
from forecast.cli.run import remove_run_leftovers
from forecast.config.datasets import Dataset
from forecast.config.paths import ProjectPaths
from forecast.data import preparation, snapshots, vintages
from forecast.data.columns import adjust_prices
from forecast.data.ingest import FetchResult, age_in_words, fetch_snapshot, summarize
from forecast.data.sources import Request
from forecast.data.web import Deadline
from forecast.system import files
from forecast.system.errors import BusyError, DataError, InputError
from tests.support.example_data import dataset, hourly
from tests.support.services import Services, answers, serving, walk

LAG = pd.Timedelta("5D")
BEFORE, AFTER = pd.Timestamp("2021-06-01 22:00"), pd.Timestamp("2021-06-15 22:00")


@pytest.fixture
def services() -> Iterator[Services]:
    with serving(Services(now=BEFORE)) as running:
        yield running


def shares(services: Services, *tickers: str, **options: Any) -> Dataset:
    source = {
        "kind": "yahoo",
        "tickers": tickers or ("NVDA",),
        "start": "2021-01-04",
        "base_url": services.url,
    }
    return dataset(
        source={**source, **options},
        calendar={"kind": "sessions", "exchange": "XNYS"},
        target={"column": "close"},
    )


def city(services: Services, **options: Any) -> Dataset:
    places = {"dublin": {"latitude": 53.35, "longitude": -6.26}}
    source = {
        "kind": "open_meteo",
        "places": places,
        "variables": {"temp": "temperature_2m"},
        "start": "2021-05-01",
    }
    return dataset(source={**source, "base_url": services.url, **options})


def take(root: Path, settings: Dataset, now: pd.Timestamp, **options: Any) -> FetchResult:
    deadline = Deadline(30, sleep=lambda _: None)
    return fetch_snapshot(Request("live", settings, root, deadline=deadline, **options), now=now)


def read_stored(root: Path) -> pd.DataFrame:
    return snapshots.read_pointed(root, "live")


def record(root: Path) -> dict[str, Any]:
    return snapshots.read_provenance(root, "live")


def test_a_second_fetch_asks_only_for_what_is_new_and_an_overlap(
    tmp_path: Path, services: Services
):
    first = take(tmp_path, shares(services), BEFORE)
    services.now, services.requested[:] = AFTER, []
    second = take(tmp_path, shares(services), AFTER)
    (request,) = [path for path in services.requested if "period1" in path]
    start = pd.Timestamp(int(request.split("period1=")[1].split("&")[0]), unit="s")
    assert start.date() == pd.Timestamp("2021-05-18").date()
    assert (first.rows, second.rows_before, second.rows) == (103, 103, 113)
    assert second.revised.empty and len(snapshots.list_snapshots(tmp_path, "live")) == 2


def test_before_and_after_a_split_and_a_dividend_no_return_differs_from_a_full_fetch(
    tmp_path: Path, services: Services
):
    services.splits["NVDA"] = {"2021-06-08": 4.0}
    services.dividends["NVDA"] = {"2021-05-20": 0.5, "2021-06-10": 0.4}
    take(tmp_path / "continued", shares(services), BEFORE)
    services.now = AFTER
    fetched = take(tmp_path / "continued", shares(services), AFTER)
    take(tmp_path / "whole", shares(services), AFTER)
    continued, whole = (
        adjust_prices(read_stored(tmp_path / place), "splits_and_dividends")["close"]
        .pct_change()
        .dropna()
        for place in ("continued", "whole")
    )
    assert fetched.revised.empty
    assert np.allclose(continued, whole, rtol=0, atol=1e-6)
    assert whole.abs().max() < 0.06  # no jump at the split


def test_the_holder_s_return_includes_the_dividend(tmp_path: Path, services: Services):
    services.dividends["NVDA"] = {"2021-05-20": 10.0}
    take(tmp_path, shares(services), BEFORE)
    close = walk("NVDA")
    total = adjust_prices(read_stored(tmp_path), "splits_and_dividends").set_index("ds")["close"]
    day, before = pd.Timestamp("2021-05-20"), pd.Timestamp("2021-05-19")
    assert total[day] / total[before] == pytest.approx(close[day] / (close[before] - 10), rel=1e-5)


def corrected(content: Any) -> Any:
    """Two closes of an answer, one of them long before what a second fetch asks for, are others
    now.
    """
    result = content["chart"]["result"][0]
    stamps = result.get("timestamp", [])
    for day in ("2021-02-01", "2021-05-25"):
        stamp = int(
            (pd.Timestamp(day) + pd.Timedelta("9h30min"))
            .tz_localize("America/New_York")
            .timestamp()
        )
        if stamp in stamps:
            result["indicators"]["quote"][0]["close"][stamps.index(stamp)] = 55.5
    return content


def test_a_price_that_is_not_settled_stays_provisional_where_the_overlap_was_revised(
    tmp_path: Path, services: Services
):
    services.settles = pd.Timedelta("40min")
    take(tmp_path, shares(services), BEFORE)
    services.change("period1", corrected)
    services.now = AFTER.normalize() + pd.Timedelta("20h10min")
    fetched = take(tmp_path, shares(services), services.now)
    assert set(fetched.revised["kind"]) == {"changed"}
    assert record(tmp_path)["provisional_from"] == AFTER.normalize().isoformat()
    services.now = AFTER
    fetched = take(tmp_path, shares(services), AFTER)
    assert set(fetched.revised["kind"]) == {"provisional"} and set(fetched.revised["ds"]) == {
        AFTER.normalize()
    }


def test_a_revised_overlap_is_read_again_whole_and_recorded(tmp_path: Path, services: Services):
    take(tmp_path, shares(services), BEFORE)
    services.now = AFTER
    services.change("period1", corrected)
    fetched = take(tmp_path, shares(services), AFTER)
    assert fetched.revised[["ds", "column", "after", "kind"]].to_dict("records") == [
        {"ds": pd.Timestamp(day), "column": "close", "after": 55.5, "kind": "changed"}
        for day in ("2021-02-01", "2021-05-25")
    ]
    table = pd.read_csv((tmp_path / fetched.pointer.snapshot).with_suffix(".revisions.csv"))
    assert len(table) == 2 and record(tmp_path)["revised_values"] == 2


def test_for_ten_days_every_morning_ends_an_hour_ago_and_becomes_what_the_archive_says(
    tmp_path: Path, services: Services
):
    """The archive lags five days; the forecast service's past days are half a degree off."""
    services.archive_lag = LAG
    kinds = set()
    for morning in pd.date_range("2021-06-02 05:30", periods=10, freq="D"):
        services.now = morning
        kinds |= set(
            take(tmp_path, city(services, recent_url=services.url), morning).revised["kind"]
        )
        frame = read_stored(tmp_path)
        # the last hour that has ended
        assert frame["ds"].max() == morning.floor("h") - pd.Timedelta("1h")
        assert not frame["ds"].duplicated().any() and set(frame["ds"].diff().dropna()) == {
            pd.Timedelta("1h")
        }
        assert pd.Timestamp(record(tmp_path)["provisional_from"]) == (morning - LAG).normalize()
        assert record(tmp_path)["last"] == frame["ds"].max().isoformat()
    assert kinds == {"provisional"}
    services.archive_lag = pd.Timedelta(0)
    take(tmp_path / "whole", city(services), services.now)
    settled = frame[frame["ds"] < (services.now - LAG).normalize()]
    final = read_stored(tmp_path / "whole")
    pd.testing.assert_frame_equal(settled, final[final["ds"].isin(settled["ds"])])


def test_without_the_forecast_service_the_data_end_where_the_archive_does(
    tmp_path: Path, services: Services
):
    services.archive_lag = LAG
    take(tmp_path, city(services), BEFORE)
    assert read_stored(tmp_path)["ds"].max() == (BEFORE - LAG).floor("h")


def test_an_archive_that_answers_less_than_asked_leaves_more_to_the_past_days(
    tmp_path: Path, services: Services
):
    services.archive_lag = LAG
    take(tmp_path, city(services, recent_url=services.url), BEFORE)
    services.now, services.archive_lag = BEFORE + pd.Timedelta("1D"), pd.Timedelta("9D")
    take(tmp_path, city(services, recent_url=services.url), services.now)
    frame = read_stored(tmp_path)
    assert set(frame["ds"].diff().dropna()) == {pd.Timedelta("1h")} and frame[
        "ds"
    ].max() == services.now - pd.Timedelta("1h")
    assert pd.Timestamp(record(tmp_path)["provisional_from"]) <= services.now - pd.Timedelta("8D")


def only_first_day(content: Any) -> Any:
    """The first day of an answer of Open-Meteo."""
    return {
        **content,
        "hourly": {name: values[:24] for name, values in content["hourly"].items()},
    }


@pytest.mark.parametrize("path", ["/v1/archive", "/v1/forecast"])
def test_an_answer_that_ends_too_early_takes_no_row_that_is_stored_behind_it(
    tmp_path: Path, services: Services, path: str
):
    services.archive_lag = LAG
    settings = city(services, recent_url=services.url if path == "/v1/forecast" else None)
    take(tmp_path, settings, BEFORE)
    before = read_stored(tmp_path)
    services.now = BEFORE + pd.Timedelta("1D")
    services.change(path, only_first_day)
    fetched = take(tmp_path, settings, services.now)
    assert "unanswered" in set(fetched.revised["kind"]) and "freshness" in {
        finding.rule for finding in fetched.findings
    }
    assert read_stored(tmp_path)["ds"].equals(before["ds"])
    services.changes.clear()
    take(tmp_path, settings, services.now)
    assert len(read_stored(tmp_path)) == len(before) + 24


def test_a_shorter_answer_without_anything_new_is_no_revision_and_leaves_no_table(
    tmp_path: Path, services: Services, capsys: pytest.CaptureFixture[str]
):
    services.archive_lag = LAG
    take(tmp_path, city(services), BEFORE)
    services.change("/v1/archive", only_first_day)
    fetched = take(tmp_path, city(services), BEFORE + pd.Timedelta("20min"))
    assert fetched.is_unchanged and set(fetched.revised["kind"]) == {"unanswered"}
    report_fetch("live", fetched, tmp_path, "hours")
    output = capsys.readouterr().out
    assert "revised" not in output
    assert f"kept, though the source ends before: {len(fetched.revised)} values" in output
    assert not list(tmp_path.rglob("*.revisions.csv"))


def test_the_record_and_the_table_count_changed_values_and_no_unanswered_ones(
    tmp_path: Path, services: Services, capsys: pytest.CaptureFixture[str]
):
    services.archive_lag = LAG
    take(tmp_path, city(services), BEFORE)

    def changed(content: Any) -> Any:
        shorter = only_first_day(content)
        shorter["hourly"]["temperature_2m"][3] += 9.0
        return shorter

    services.change("/v1/archive", changed)
    fetched = take(tmp_path, city(services), BEFORE + pd.Timedelta("20min"))
    report_fetch("live", fetched, tmp_path, "hours")
    output = capsys.readouterr().out
    table = Path(fetched.pointer.snapshot).with_suffix(".revisions.csv")
    assert f"revised history, values: 1 changed; listed in {table}" in output
    assert len(pd.read_csv(tmp_path / table)) == record(tmp_path)["revised_values"] == 1


def test_a_clock_ahead_of_the_service_s_is_refused_before_forecasts_count_as_observed(
    tmp_path: Path, services: Services
):
    with pytest.raises(
        DataError,
        match="up to 2021-06-02 01:00 UTC, but the service's clock says 2021-06-01 22:00",
    ):
        take(tmp_path, city(services, recent_url=services.url), BEFORE + pd.Timedelta("3h"))
    take(tmp_path, city(services, recent_url=services.url), BEFORE - pd.Timedelta("3h"))
    assert read_stored(tmp_path)["ds"].max() == BEFORE - pd.Timedelta("4h")


def test_provisional_days_are_read_again_and_named_as_such(tmp_path: Path, services: Services):
    take(tmp_path, city(services), BEFORE)
    services.now = AFTER
    fetched = take(tmp_path, city(services), AFTER)
    assert set(fetched.revised["kind"]) == {"provisional"}
    assert np.allclose(fetched.revised["after"], fetched.revised["before"] - 0.5)
    settled = read_stored(tmp_path)
    take(tmp_path / "whole", city(services), AFTER)
    pd.testing.assert_frame_equal(settled, read_stored(tmp_path / "whole"))


def test_a_row_that_the_service_has_no_more_is_reported_as_vanished(
    tmp_path: Path, services: Services
):
    take(tmp_path, city(services), BEFORE)

    def without(content: Any) -> Any:
        hours = content["hourly"]
        keep = [i for i, time in enumerate(hours["time"]) if time != "2021-05-26T03:00"]
        return {
            **content,
            "hourly": {name: [values[i] for i in keep] for name, values in hours.items()},
        }

    services.change("/v1/archive", without)
    one_hour_later = BEFORE + pd.Timedelta("1h")
    services.now = one_hour_later
    fetched = take(tmp_path, city_allowing_gaps(services), one_hour_later)
    vanished = fetched.revised[fetched.revised["kind"] != "provisional"]
    assert vanished[["ds", "kind"]].values.tolist() == [
        [pd.Timestamp("2021-05-26 03:00"), "vanished"]
    ]


def city_allowing_gaps(services: Services) -> Dataset:
    return city(services).model_copy(
        update={"target": dataset(target={"column": "temp", "max_missing": 0.1}).target}
    )


def test_an_earlier_snapshot_is_restored_without_network(tmp_path: Path, services: Services):
    first = take(tmp_path, shares(services), BEFORE)
    services.now = AFTER
    take(tmp_path, shares(services), AFTER)
    services.requested.clear()
    back = take(tmp_path, shares(services), AFTER, as_of=BEFORE)
    assert back.is_restored and back.pointer == first.pointer and services.requested == []
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer


def test_an_as_of_that_was_never_stored_shows_nothing_later(tmp_path: Path, services: Services):
    take(tmp_path, shares(services), BEFORE)
    fetched = take(tmp_path, shares(services), BEFORE, as_of=pd.Timestamp("2021-03-15"))
    assert read_stored(tmp_path)["ds"].max() == pd.Timestamp("2021-03-12") and fetched.revised.empty


def test_an_as_of_before_all_stored_rows_says_that_there_were_none(tmp_path: Path):
    (tmp_path / "data").mkdir()
    settings = dataset(source={"kind": "file", "path": "data/mine.csv"}, target={"column": "y"})
    hours = pd.date_range("2021-01-01", periods=500, freq="h")
    pd.DataFrame({"ds": hours, "y": 1.0}).to_csv(tmp_path / "data" / "mine.csv", index=False)
    first = take(tmp_path, settings, AFTER)
    with pytest.raises(InputError, match="found no rows"):
        take(tmp_path, settings, AFTER, as_of=pd.Timestamp("1999-01-01"))
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer


def test_a_fetch_without_new_rows_moves_as_of_and_keeps_the_snapshot(
    tmp_path: Path, services: Services
):
    first = take(tmp_path, shares(services), BEFORE)
    services.now = BEFORE + pd.Timedelta("3h")
    second = take(tmp_path, shares(services), services.now)
    assert (
        second.pointer.snapshot == first.pointer.snapshot
        and second.pointer.as_of > first.pointer.as_of
    )


def test_data_ahead_of_the_clock_have_no_negative_age():
    hours = dataset()
    last = pd.Timestamp("2024-06-05")
    assert age_in_words(hours, last, pd.Timestamp("2024-06-01")) == "4 days ahead"
    assert age_in_words(hours, last, pd.Timestamp("2024-06-05T07:00")) == "6 hours"


def test_a_damaged_record_is_told_and_stops_a_fetch_that_could_lose_what_it_says(
    tmp_path: Path, services: Services
):
    take(tmp_path, city(services), BEFORE)
    (path,) = (tmp_path / "data" / "snapshots" / "live").glob("*.json")
    whole = path.read_text()
    path.write_text(whole[:20])
    with pytest.raises(
        DataError, match=r"cannot be read \(.*\)\. Restore it from git, or delete it"
    ):
        record(tmp_path)
    with pytest.raises(
        DataError, match=r"cannot be read \(.*\)\. Restore it from git, or delete it"
    ):
        take(tmp_path, city(services), AFTER)
    assert "cannot be read" in summarize("live", city(services), root=tmp_path, now=BEFORE)[0].state
    path.write_text(whole)
    take(tmp_path, city(services), AFTER)
    assert record(tmp_path)["previous"] is not None


def test_the_history_of_a_ticker_that_fails_today_is_kept(tmp_path: Path, services: Services):
    tickers = ("AAA", "BBB", "CCC", "DDD", "EEE")
    take(tmp_path, shares(services, *tickers), BEFORE)
    services.now = AFTER
    services.delisted.add("CCC")
    fetched = take(tmp_path, shares(services, *tickers), AFTER)
    ends = read_stored(tmp_path).groupby("unique_id")["ds"].max().dt.strftime("%m-%d").to_dict()
    assert ends == {**dict.fromkeys(tickers, "06-15"), "CCC": "06-01"}
    assert list(fetched.failed) == ["CCC"] == list(record(tmp_path)["failed"])


def test_a_new_ticker_is_read_whole_and_a_dropped_one_goes(tmp_path: Path, services: Services):
    take(tmp_path, shares(services, "AAA", "BBB"), BEFORE)
    services.now = AFTER
    take(tmp_path, shares(services, "BBB", "CCC"), AFTER)
    assert read_stored(tmp_path).groupby("unique_id").size().to_dict() == {"BBB": 113, "CCC": 113}


def test_another_question_is_asked_whole(tmp_path: Path, services: Services):
    take(tmp_path, city(services), BEFORE)
    services.now = AFTER
    take(tmp_path, city(services, start="2021-04-01"), AFTER)
    assert read_stored(tmp_path)["ds"].min() == pd.Timestamp("2021-04-01")


def test_a_service_that_fails_leaves_snapshot_and_pointer_as_they_are(
    tmp_path: Path, services: Services
):
    first = take(tmp_path, shares(services), BEFORE)
    services.now = AFTER
    services.fail("", answers(500, "no", "text/plain"))
    with pytest.raises(DataError, match="tried 4 times"):
        take(tmp_path, shares(services), AFTER)
    assert (
        snapshots.read_pointer(tmp_path, "live") == first.pointer
        and len(read_stored(tmp_path)) == 103
    )


def test_data_that_break_the_rules_are_refused_and_nothing_moves(
    tmp_path: Path, services: Services
):
    first = take(tmp_path, city(services), BEFORE)
    services.now = AFTER

    def holed(content: Any) -> Any:
        content["hourly"]["temperature_2m"][200] = None
        return content

    services.change("/v1/archive", holed)
    with pytest.raises(DataError, match="column 'temp' misses 1 of"):
        take(tmp_path, city(services), AFTER)
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer


def test_a_kill_before_the_pointer_moves_leaves_the_old_snapshot(
    tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch
):
    first = take(tmp_path, shares(services), BEFORE)
    services.now = AFTER

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(snapshots, "move_pointer", killed)
        take(tmp_path, shares(services), AFTER)
    assert (
        snapshots.read_pointer(tmp_path, "live") == first.pointer
        and len(read_stored(tmp_path)) == 103
    )
    assert take(tmp_path, shares(services), AFTER).rows == 113


def test_two_fetches_of_one_dataset_do_not_meet(tmp_path: Path, services: Services):
    with (
        files.hold_lock(tmp_path / ".forecast" / "locks" / "fetch-live.lock", purpose="other"),
        pytest.raises(BusyError, match="Fetching 'live'"),
    ):
        take(tmp_path, shares(services), BEFORE)


def test_a_run_removes_nothing_that_a_fetch_is_writing(
    tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch
):
    errors = []
    flush = os.fsync

    def flush_and_remove(written: Any) -> None:  # the file is written and not yet renamed
        flush(written)
        errors.append(doctor.check_runs(tmp_path).observation)
        assert remove_run_leftovers(tmp_path) == []

    monkeypatch.setattr(os, "fsync", flush_and_remove)
    take(tmp_path, city(services, forecast_url=services.url), BEFORE)
    # snapshot, record, table of issued forecasts and pointer at least
    assert len(errors) >= 4 and {*errors} == {"none is running"}


def test_forecasts_of_the_service_are_kept_in_a_table_apart(tmp_path: Path, services: Services):
    fetched = take(tmp_path, city(services, forecast_url=services.url), BEFORE)
    (table,) = (tmp_path / "data" / "snapshots" / "live" / "issued").glob("*.parquet")
    issues = pd.read_parquet(table)
    assert (
        issues["ds"] >= issues["issued_at"]
    ).all() and table == tmp_path / fetched.pointer.issued
    assert read_stored(tmp_path)["ds"].max() < issues["ds"].min()


def test_provenance_tells_how_the_data_came(tmp_path: Path, services: Services):
    take(tmp_path, shares(services), BEFORE)
    provenance = record(tmp_path)
    assert provenance["retrieved_at"] == "2021-06-01T22:00:00" and provenance["rows"] == 103
    assert "as traded" in provenance["adjustment"] and provenance["library"]["yfinance"]
    assert provenance["parameters"]["tickers"] == ["NVDA"] and len(provenance["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(provenance)


def test_a_key_reaches_no_file(tmp_path: Path, services: Services):
    settings = city(services, forecast_url=services.url, api_key_env="WEATHER_KEY")
    take(tmp_path, settings, BEFORE, environment={"WEATHER_KEY": "s3cret"})
    assert all("apikey=s3cret" in path for path in services.requested)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3 and not [path for path in written if b"s3cret" in path.read_bytes()]


@pytest.mark.parametrize(
    "file_name", ["../../etc/passwd", "/etc/passwd", "data/snapshots/../pointers/live.json"]
)
def test_no_pointer_leads_out_of_the_store(tmp_path: Path, services: Services, file_name: str):
    take(tmp_path, city(services, forecast_url=services.url), BEFORE)
    path = ProjectPaths.of(tmp_path).pointer("live")
    good = files.read_json(path)
    for key, read in (("snapshot", snapshots.read_pointed), ("issued", vintages.read_vintages)):
        files.write_json(path, {**good, key: file_name})
        with pytest.raises(InputError, match="wanted a file below data/snapshots"):
            read(tmp_path, "live")


def test_a_changed_file_is_a_new_snapshot_with_its_revisions(tmp_path: Path):
    (tmp_path / "data").mkdir()
    hourly(rows=100).to_csv(tmp_path / "data" / "mine.csv", index=False)
    now = pd.Timestamp("2024-03-01")
    fetch_snapshot(Request("mine", dataset(), tmp_path), now=now)
    changed = hourly(rows=120)
    changed.loc[5, "temp"] = 99.0
    changed.to_csv(tmp_path / "data" / "mine.csv", index=False)
    fetched = fetch_snapshot(Request("mine", dataset(), tmp_path), now=now)
    assert (fetched.rows_before, fetched.rows) == (100, 120)
    assert fetched.revised[["before", "after", "kind"]].values.tolist() == [[15.0, 99.0, "changed"]]


def test_a_column_of_another_dataset_is_the_last_value_known_when_the_row_is(
    tmp_path: Path, services: Services
):
    """A session closes at 20:00 UTC: the hour from 19 to 20 is known then, the one from 20 to 21 is
    not.
    """
    (tmp_path / "configs").mkdir()
    weather = {
        "places": {"ny": {"latitude": 40.7, "longitude": -74}},
        "variables": {"temp": "temperature_2m"},
    }
    city_entry = dataset(
        source={"kind": "open_meteo", **weather, "start": "2021-05-01", "base_url": services.url}
    ).model_dump(mode="json")
    content = {"run": ["city"], "datasets": {"city": city_entry}}
    (tmp_path / "configs" / "datasets.yaml").write_text(json.dumps(content))
    from forecast.config.datasets import load_dataset

    fetch_snapshot(
        Request("city", load_dataset("city", tmp_path / "configs"), tmp_path), now=BEFORE
    )
    joined = {"dataset": "city", "series": "ny", "column": "temp"}
    market = shares(services, start="2021-05-03").model_copy(
        update={
            "past_exogenous": (
                dataset(past_exogenous=[{"column": "warmth", "joined": joined}]).past_exogenous
            )
        }
    )
    take(tmp_path, market, BEFORE)
    frame = preparation.check_data("live", market, root=tmp_path)[0].set_index("ds")
    hours = snapshots.read_pointed(tmp_path, "city").set_index("ds")["temp"]
    assert frame.loc["2021-05-10", "warmth"] == hours["2021-05-10 19:00"]


def test_nothing_older_than_its_limit_is_joined(tmp_path: Path, services: Services):
    (tmp_path / "configs").mkdir()
    entry = city(services, start="2021-05-01").model_dump(mode="json")
    (tmp_path / "configs" / "datasets.yaml").write_text(
        json.dumps({"run": ["city"], "datasets": {"city": entry}})
    )
    fetch_snapshot(Request("city", city(services), tmp_path), now=pd.Timestamp("2021-05-07"))
    joined = {"dataset": "city", "series": "dublin", "column": "temp", "max_age_days": 3}
    market = shares(services, start="2021-05-03").model_copy(
        update={
            "past_exogenous": (
                dataset(
                    past_exogenous=[{"column": "warmth", "joined": joined, "max_missing": 0.9}]
                ).past_exogenous
            )
        }
    )
    take(tmp_path, market, BEFORE)
    known = (
        preparation.check_data("live", market, root=tmp_path)[0].set_index("ds")["warmth"].dropna()
    )
    assert known.index.max() == pd.Timestamp("2021-05-07")


CLOSES = {"2021-11-25": None, "2021-11-26": "18:00"}
"""Thanksgiving, and the early close of the day after; in UTC, in which New York's close moves on
November 7.
"""


def last_close(now: pd.Timestamp) -> pd.Timestamp:
    """The newest close up to `now`, written down without the calendar that is tested."""
    days = [now.normalize() - pd.Timedelta(back, "D") for back in range(5)]
    for day in (day for day in days if day.day_of_week < 5):
        hour = CLOSES.get(
            f"{day:%Y-%m-%d}", "20:00" if day < pd.Timestamp("2021-11-07") else "21:00"
        )
        if hour is not None and day + pd.Timedelta(f"{hour}:00") <= now:
            return day + pd.Timedelta(f"{hour}:00")
    raise AssertionError(now)


def test_through_a_month_the_newest_row_is_the_last_closed_session_and_its_price_becomes_final(
    tmp_path: Path, services: Services
):
    services.settles = pd.Timedelta("40min")
    settings, kinds, early = shares(services, start="2021-10-01"), set(), 0
    for day in pd.date_range("2021-11-01", "2021-11-30"):
        early_close = {"2021-11-26": "18:05"}.get(f"{day:%Y-%m-%d}")
        services.now = day + pd.Timedelta(
            f"{early_close or ('20:10' if day.day < 7 else '21:20')}:00"
        )
        fetched = take(tmp_path, settings, services.now)
        rows, close = read_stored(tmp_path).set_index("ds")["close"], last_close(services.now)
        assert rows.index[-1] == close.normalize()
        assert pd.Timestamp(record(tmp_path)["known"]) == close
        right = np.isclose(rows, walk("NVDA")[rows.index], rtol=1e-6)
        assert right[:-1].all()  # a price that was read too early has been read again
        assert right[-1] == (services.now >= close + services.settles)
        early += int(not right[-1])
        kinds |= set(fetched.revised["kind"])
    # each session of November was seen too early once
    assert early == 21 and kinds == {"provisional"}
    whole = [path for path in services.requested if "period1" in path]
    assert sum("period1=1633" in path for path in whole) == 1  # October is asked for once


def test_a_series_that_a_file_has_no_more_is_named(tmp_path: Path):
    (tmp_path / "data").mkdir()
    settings = dataset(source={"kind": "file", "path": "data/mine.csv"}, target={"column": "y"})
    hours = pd.date_range("2021-01-01", periods=500, freq="h")
    frame = pd.concat([pd.DataFrame({"unique_id": name, "ds": hours, "y": 1.0}) for name in "ab"])
    frame.to_csv(tmp_path / "data" / "mine.csv", index=False)
    assert take(tmp_path, settings, AFTER).failed == {}
    frame[:500].to_csv(tmp_path / "data" / "mine.csv", index=False)
    assert take(tmp_path, settings, AFTER).failed == {"b": "no row of it any more"}


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["K-471", "K-5", "B-72"], r"3 of 3 .*'B-072'; 3 are new, such as 'B-72' \(leading zeros?"),
        (
            ["x", "y", "B-072"],
            r"2 of 3 .*'K-000471'; 2 are new, such as 'x'\. Where these are the same series",
        ),
        (["B-072"], r"2 of 3 .* row any more, such as 'K-000471'\. Nothing was taken"),
        (["K-000471", "K-005", "z"], None),
        (["K-000471", "K-005"], None),
    ],
    ids=["zeros dropped", "most renamed", "most gone", "one renamed", "one ended"],
)
def test_a_file_in_which_most_series_were_renamed_is_refused(
    tmp_path: Path, names: list[str], pattern: str | None
):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.csv"
    source = {"kind": "file", "path": "data/mine.csv"}
    settings = dataset(source=source, target={"column": "y"})
    hours = pd.date_range("2021-01-01", periods=500, freq="h")

    def write(series: list[str]) -> None:
        parts = [pd.DataFrame({"unique_id": name, "ds": hours, "y": 1.0}) for name in series]
        pd.concat(parts).to_csv(path, index=False)

    write(["K-000471", "K-005", "B-072"])
    first = take(tmp_path, settings, AFTER)
    write(names)
    if pattern is None:
        assert take(tmp_path, settings, AFTER).rows == 500 * len(names)
        return
    with pytest.raises(InputError, match=pattern):
        take(tmp_path, settings, AFTER)
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer


def test_other_tickers_in_the_entry_are_no_renamed_ones(services: Services, tmp_path: Path):
    take(tmp_path, shares(services, "AAA"), BEFORE)
    take(tmp_path, shares(services, "BBB"), AFTER)
    assert "BBB" in read_stored(tmp_path)["unique_id"].tolist()


def test_series_that_the_entry_names_by_another_column_are_no_renamed_ones(tmp_path: Path):
    (tmp_path / "data").mkdir()
    source = {"kind": "file", "path": "data/mine.csv"}
    hours = pd.date_range("2021-01-01", periods=500, freq="h")
    frame = pd.DataFrame({"shop": "a", "ds": hours, "y": 1.0})
    frame.to_csv(tmp_path / "data" / "mine.csv", index=False)
    take(tmp_path, dataset(source=source, target={"column": "y"}), AFTER)
    for naming in ({"columns": {"unique_id": "shop"}}, {"id_columns": ["shop"]}):
        with_names = dataset(source=source | naming, target={"column": "y"})
        assert take(tmp_path, with_names, AFTER).rows == 500
        assert read_stored(tmp_path)["unique_id"].unique().tolist() == ["a"]


def test_a_file_that_lost_a_twentieth_of_a_series_is_refused_unless_the_entry_allows_it(
    tmp_path: Path,
):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.csv"
    source = {"kind": "file", "path": "data/mine.csv"}
    settings = dataset(source=source, target={"column": "y"})
    hours = pd.date_range("2021-01-01", periods=500, freq="h")
    frame = pd.concat([pd.DataFrame({"unique_id": name, "ds": hours, "y": 1.0}) for name in "ab"])
    frame.to_csv(path, index=False)
    first = take(tmp_path, settings, AFTER)
    frame[:900].to_csv(path, index=False)
    with pytest.raises(
        InputError,
        match=r"'b': ends at .*; 100 of 500 stored rows are later.*quality\.shrinkage: warn",
    ):
        take(tmp_path, settings, AFTER)
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer
    allowing = dataset(source=source, target={"column": "y"}, quality={"shrinkage": "warn"})
    assert take(tmp_path, allowing, AFTER).rows == 900


def test_a_file_whose_window_moves_loses_no_rows_by_it(tmp_path: Path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.csv"
    settings = dataset(source={"kind": "file", "path": "data/mine.csv"}, target={"column": "y"})
    hours = pd.date_range("2021-01-01", periods=700, freq="h")
    pd.DataFrame({"unique_id": "a", "ds": hours[:500], "y": 1.0}).to_csv(path, index=False)
    take(tmp_path, settings, AFTER)
    pd.DataFrame({"unique_id": "a", "ds": hours[200:], "y": 1.0}).to_csv(path, index=False)
    assert take(tmp_path, settings, AFTER).rows == 500


def test_a_file_of_the_newest_rows_alone_is_refused_and_the_history_stays(tmp_path: Path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "mine.csv"
    source = {"kind": "file", "path": "data/mine.csv"}
    settings = dataset(source=source, target={"column": "y"})
    hours = pd.date_range("2021-01-01", periods=600, freq="h")
    pd.DataFrame({"unique_id": "a", "ds": hours[:500], "y": 1.0}).to_csv(path, index=False)
    first = take(tmp_path, settings, AFTER)
    pd.DataFrame({"unique_id": "a", "ds": hours[500:], "y": 1.0}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"500 of 500 stored rows are earlier.*below the earlier"):
        take(tmp_path, settings, AFTER)
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer
    allowing = dataset(source=source, target={"column": "y"}, quality={"shrinkage": "warn"})
    assert take(tmp_path, allowing, AFTER).rows == 100


@pytest.mark.parametrize(
    ("target", "wrong"),
    [({"minimum": 0}, -0.5), ({"transform": "log"}, 0.0)],
    ids=["outside of its bounds", "no logarithm"],
)
def test_a_value_that_no_forecast_could_read_is_refused_and_nothing_moves(
    tmp_path: Path, target: dict[str, Any], wrong: float
):
    (tmp_path / "data").mkdir()
    settings = dataset(
        source={"kind": "file", "path": "data/mine.csv"}, target={"column": "temp", **target}
    )
    rows = hourly(rows=200).assign(temp=5.0 + np.arange(200) % 7)
    rows.to_csv(tmp_path / "data" / "mine.csv", index=False)
    first = take(tmp_path, settings, AFTER)
    rows.loc[150, "temp"] = wrong
    rows.to_csv(tmp_path / "data" / "mine.csv", index=False)
    with pytest.raises(InputError, match=rf"mine\.csv: .*{wrong:g} at .*Nothing was taken"):
        take(tmp_path, settings, AFTER)
    assert snapshots.read_pointer(tmp_path, "live") == first.pointer


def test_series_that_got_groups_in_their_names_are_not_said_to_be_gone(tmp_path: Path):
    (tmp_path / "data").mkdir()
    source = {"kind": "file", "path": "data/mine.csv"}
    hours = pd.date_range("2021-01-01", periods=100, freq="h")
    rows = [pd.DataFrame({"unique_id": name, "ds": hours, "y": 1.0}) for name in "abc"]
    frame = pd.concat(rows).assign(house="north", ward=lambda table: table["unique_id"])
    frame.to_csv(tmp_path / "data" / "mine.csv", index=False)
    take(tmp_path, dataset(source=source, target={"column": "y"}), AFTER)
    grouped = dataset(source=source, target={"column": "y"}, hierarchy=["house", "ward"])
    frame[frame["ward"] != "c"].to_csv(tmp_path / "data" / "mine.csv", index=False)
    assert take(tmp_path, grouped, AFTER).failed == {"c": "no row of it any more"}


@pytest.mark.parametrize(
    ("freq", "now", "is_partial"),
    [("1MS", "2024-05-31", True), ("1MS", "2024-06-01", False), ("1h", "2024-05-01 00:30", False)],
)
def test_a_newest_step_that_is_not_over_is_named(
    tmp_path: Path, freq: str, now: str, is_partial: bool
):
    times = pd.date_range(end="2024-05-01", periods=120, freq=freq)
    y = 50 + np.sin(np.arange(120))
    files.write_text(
        tmp_path / "data" / "mine.csv", pd.DataFrame({"ds": times, "temp": y}).to_csv(index=False)
    )
    settings = dataset(
        source={"kind": "file", "path": "data/mine.csv"},
        calendar={"kind": "regular", "freq": freq},
    )
    findings = take(tmp_path, settings, pd.Timestamp(now)).findings
    assert [finding.rule for finding in findings] == ["partial_end"] * is_partial
    assert not is_partial or "may go on until 2024-06-01 00:00:00 UTC" in findings[0].sentence


def test_of_a_week_that_may_be_named_by_its_last_day_it_is_not_said_that_it_goes_on(
    tmp_path: Path,
):
    times = pd.date_range(end="2024-05-03", periods=120, freq="W-FRI")
    rows = pd.DataFrame({"ds": times, "temp": 50 + np.sin(np.arange(120))})
    files.write_text(tmp_path / "data" / "mine.csv", rows.to_csv(index=False))
    settings = dataset(
        source={"kind": "file", "path": "data/mine.csv"},
        calendar={"kind": "regular", "freq": "W-FRI"},
    )
    (finding,) = take(tmp_path, settings, pd.Timestamp("2024-05-06")).findings
    assert "2024-05-03, may go on until 2024-05-10" in finding.sentence
