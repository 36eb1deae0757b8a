"""Each fault of the service by name, through the real HTTP client against a local server."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.data import sources, web
from forecast.data.sources import RawFrame, Request
from forecast.data.web import Deadline
from forecast.system.errors import DataError, InputError
from tests.support import services as fake
from tests.support.example_data import dataset
from tests.support.services import Services, answers

DUBLIN = {"latitude": 53.35, "longitude": -6.26}


def read(tmp_path: Path, services: Services, **options: Any) -> RawFrame:
    deadline = options.pop("deadline", None) or Deadline(
        400, sleep=options.pop("waits", []).append, chance=lambda: 0
    )
    environment = options.pop("environment", {})
    source = {
        "kind": "open_meteo",
        "places": {"dublin": DUBLIN},
        "variables": {"temp": "temperature_2m", "wind": "wind_speed_10m"},
        "start": "2021-05-20",
        "base_url": services.url,
    }
    settings = dataset(source={**source, **options})
    request = Request(
        "weather", settings, tmp_path, services.now, environment=environment, deadline=deadline
    )
    return sources.read(request)


def refused(*args: Any, fault: type[Exception] = DataError, **options: Any) -> str:
    with pytest.raises(fault) as refusal:
        read(*args, **options)
    return str(refusal.value)


def changed(services: Services, change: Any) -> None:
    services.change("/v1/archive", change)


def test_hours_come_in_utc_with_our_names(tmp_path: Path, services: Services):
    raw = read(tmp_path, services)
    assert list(raw.frame.columns) == ["unique_id", "ds", "temp", "wind"]
    assert raw.frame["ds"].iloc[[0, -1]].tolist() == [
        pd.Timestamp("2021-05-20"),
        pd.Timestamp("2021-06-01 21:00"),
    ]
    assert np.allclose(raw.frame["wind"], 5 + (raw.frame["temp"] - 5.335) / 2, atol=0.02)


def test_the_question_names_zone_and_units(tmp_path: Path, services: Services):
    read(tmp_path, services)
    (request,) = services.requested
    for part in (
        "timezone=GMT",
        "wind_speed_unit=ms",
        "temperature_unit=celsius",
        "precipitation_unit=mm",
    ):
        assert part in request


def test_the_last_days_of_the_archive_are_provisional(tmp_path: Path, services: Services):
    assert read(tmp_path, services).provisional_from == pd.Timestamp("2021-05-27")


def test_long_histories_are_asked_for_year_by_year(tmp_path: Path, services: Services):
    frame = read(tmp_path, services, start="2018-01-01").frame
    assert len(services.requested) == 4
    assert len(frame) == (
        pd.Timestamp("2021-06-01 22:00") - pd.Timestamp("2018-01-01")
    ) // pd.Timedelta("1h")


def test_forecasts_of_the_service_are_kept_apart_with_their_time_of_issue(
    tmp_path: Path, services: Services
):
    issued = read(tmp_path, services, forecast_url=services.url).vintages
    assert issued is not None and list(issued.columns) == ["unique_id", "ds", "issued_at", "temp"]
    assert issued["issued_at"].unique().tolist() == [services.now]
    assert issued["ds"].min() == services.now and issued["ds"].max() == pd.Timestamp(
        "2021-06-07 23:00"
    )


def test_429_with_retry_after_waits_as_long_as_asked(tmp_path: Path, services: Services):
    services.fail(
        "/v1/archive",
        answers(429, '{"error": true, "reason": "slow down"}', Retry_After="9"),
        times=1,
    )
    waits: list[float] = []
    read(tmp_path, services, waits=waits)
    assert waits == [9.0]


@pytest.mark.parametrize(
    ("date", "waited"),
    [
        ("Wed, 21 Oct 2099 07:28:00", True),
        ("Wed, 21 Oct 2099 07:28:00 -0000", True),
        ("Wed, 21 Oct 2015 09:28:00 +0200", False),
        ("soon", None),
        ("²", None),
        ("", None),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
    ],
)
def test_a_retry_after_may_be_a_date_with_or_without_a_zone(date: str, waited: bool | None):
    seconds = web.parse_retry_after({"retry-after": date})
    assert seconds is None if waited is None else seconds is not None and (seconds > 0) == waited


def test_429_by_the_minute_without_retry_after_waits_a_minute(tmp_path: Path, services: Services):
    reason = {
        "error": True,
        "reason": "Minutely API request limit exceeded. Please try again in one minute.",
    }
    services.fail("/v1/archive", answers(429, json.dumps(reason)), times=1)
    waits: list[float] = []
    read(tmp_path, services, waits=waits)
    assert waits == [60.0]


@pytest.mark.parametrize("limit", ["Hourly", "Daily"])
def test_429_by_the_hour_or_day_is_not_waited_for(tmp_path: Path, services: Services, limit: str):
    reason = {
        "error": True,
        "reason": f"{limit} API request limit exceeded. Please try again tomorrow.",
    }
    services.fail("/v1/archive", answers(429, json.dumps(reason)))
    waits: list[float] = []
    assert (
        f"rate limit reached ({limit} API" in refused(tmp_path, services, waits=waits)
        and waits == []
    )


def test_500_is_tried_again_with_growing_waits(tmp_path: Path, services: Services):
    services.fail("/v1/archive", answers(500, "oops", "text/plain"), times=2)
    waits: list[float] = []
    read(tmp_path, services, waits=waits)
    assert waits == [1.0, 2.0]


def test_503_that_lasts_is_a_data_error_with_the_reason(tmp_path: Path, services: Services):
    services.fail(
        "/v1/archive", answers(503, '{"reason":"The service is overloaded","error":true}')
    )
    assert "503 (The service is overloaded); tried 4 times" in refused(tmp_path, services)


def test_html_instead_of_json_is_tried_again(tmp_path: Path, services: Services):
    services.fail(
        "/v1/archive", answers(200, "<html>We will be right back</html>", "text/html"), times=1
    )
    assert len(read(tmp_path, services).frame) > 0


def test_html_that_stays_is_named(tmp_path: Path, services: Services):
    services.fail("/v1/archive", answers(200, "<html>We will be right back</html>", "text/html"))
    assert "answered with no JSON (text/html" in refused(tmp_path, services)


def test_400_is_the_configuration_s_fault(tmp_path: Path, services: Services):
    services.fail(
        "/v1/archive",
        answers(400, '{"error":true,"reason":"Cannot initialize from invalid String value"}'),
    )
    message = refused(tmp_path, services, fault=InputError)
    assert "place 'dublin': refused the question: Cannot initialize" in message


def test_404_is_a_data_error_at_once(tmp_path: Path, services: Services):
    services.fail("/v1/archive", answers(404, "nothing", "text/plain"))
    waits: list[float] = []
    assert "answered 404" in refused(tmp_path, services, waits=waits) and waits == []


def test_a_truncated_body_is_tried_again(tmp_path: Path, services: Services):
    services.fail("/v1/archive", fake.truncated, times=1)
    assert len(read(tmp_path, services).frame) > 0


def test_a_hang_ends_at_the_deadline(tmp_path: Path, services: Services):
    services.fail("/v1/archive", fake.hangs)
    assert "did not answer, or not to its end, in time" in refused(
        tmp_path, services, deadline=Deadline(0.3, sleep=lambda _: None)
    )


def test_a_slow_drip_ends_at_the_deadline(tmp_path: Path, services: Services):
    services.fail("/v1/archive", fake.drips)
    assert "did not answer, or not to its end, in time" in refused(
        tmp_path, services, deadline=Deadline(0.3, sleep=lambda _: None)
    )


def test_a_slow_drip_of_headers_ends_at_the_deadline(tmp_path: Path, services: Services):
    services.fail("/v1/archive", fake.drips_headers)
    assert "place 'dublin'" in refused(
        tmp_path, services, deadline=Deadline(0.3, sleep=lambda _: None)
    )


def test_a_refused_connection_is_a_data_error(tmp_path: Path, services: Services):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        services.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert "cannot be reached" in refused(tmp_path, services)


def test_a_name_that_cannot_be_resolved_is_a_data_error(
    tmp_path: Path, services: Services, monkeypatch: Any
):
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    services.url = "http://archive.example"
    assert "cannot be reached ([Errno -2] Name or service not known)" in refused(tmp_path, services)


def test_the_wrong_time_zone_is_refused(tmp_path: Path, services: Services):
    changed(
        services,
        lambda content: {**content, "utc_offset_seconds": 34200, "timezone": "Australia/Adelaide"},
    )
    assert "times are 'Australia/Adelaide', wanted GMT" in refused(tmp_path, services)


def test_km_per_hour_where_m_per_s_was_asked_is_refused(tmp_path: Path, services: Services):
    def mixed(content: Any) -> Any:
        content["hourly_units"]["wind_speed_10m"] = "km/h"
        return content

    changed(services, mixed)
    assert "wind_speed_10m came in km/h" in refused(tmp_path, services)


def hours(content: Any, keep: Any) -> Any:
    hourly = content["hourly"]
    chosen = keep(list(range(len(hourly["time"]))))
    content["hourly"] = {name: [values[i] for i in chosen] for name, values in hourly.items()}
    return content


def test_missing_days_stay_missing(tmp_path: Path, services: Services):
    changed(services, lambda content: hours(content, lambda rows: rows[:48] + rows[72:]))
    frame = read(tmp_path, services).frame
    assert (
        not frame["ds"].between("2021-05-22", "2021-05-22 23:00").any()
        and len(frame) == 12 * 24 + 22 - 24
    )


def test_an_over_long_answer_is_cut_to_what_was_asked(tmp_path: Path, services: Services):
    long = {
        "start_date": "2021-05-01",
        "end_date": "2021-06-20",
        "latitude": "53.35",
        "longitude": "-6.26",
    }
    query = {**long, "hourly": "temperature_2m,wind_speed_10m"}
    changed(
        services,
        lambda _: fake.weather(Services(now=pd.Timestamp("2021-07-01")), "/v1/archive", query),
    )
    frame = read(tmp_path, services).frame
    assert frame["ds"].iloc[[0, -1]].tolist() == [
        pd.Timestamp("2021-05-20"),
        pd.Timestamp("2021-06-01 21:00"),
    ]


def test_renamed_columns_are_named(tmp_path: Path, services: Services):
    def renamed(content: Any) -> Any:
        content["hourly"]["windspeed_10m"] = content["hourly"].pop("wind_speed_10m")
        return content

    changed(services, renamed)
    assert "the answer lacks ['wind_speed_10m']" in refused(tmp_path, services)


def test_columns_of_different_length_are_refused(tmp_path: Path, services: Services):
    def short(content: Any) -> Any:
        content["hourly"]["wind_speed_10m"].pop()
        return content

    changed(services, short)
    assert "same length" in refused(tmp_path, services)


def test_text_instead_of_a_number_is_refused(tmp_path: Path, services: Services):
    def text(content: Any) -> Any:
        content["hourly"]["temperature_2m"][0] = "warm"
        return content

    changed(services, text)
    assert "no time or number" in refused(tmp_path, services)


def test_a_column_that_is_no_list_is_named(tmp_path: Path, services: Services):
    changed(
        services,
        lambda content: {**content, "hourly": {**content["hourly"], "temperature_2m": None}},
    )
    assert "the answer holds what is no time or number" in refused(tmp_path, services)


def test_nulls_are_missing_values(tmp_path: Path, services: Services):
    def holed(content: Any) -> Any:
        content["hourly"]["temperature_2m"][3] = None
        return content

    changed(services, holed)
    assert read(tmp_path, services).frame["temp"].isna().sum() == 1


def test_hours_of_a_clock_in_the_future_and_the_unfinished_hour_are_left_out(
    tmp_path: Path, services: Services
):
    services.now = pd.Timestamp("2021-06-01 21:30")
    ahead = Services(now=pd.Timestamp("2021-06-03"))
    query = {
        "start_date": "2021-05-20",
        "end_date": "2021-06-02",
        "latitude": "1",
        "longitude": "1",
    }
    changed(
        services,
        lambda _: fake.weather(
            ahead, "/v1/archive", {**query, "hourly": "temperature_2m,wind_speed_10m"}
        ),
    )
    assert read(tmp_path, services).frame["ds"].max() == pd.Timestamp("2021-06-01 20:00")


@pytest.mark.parametrize("answer", [fake.endless, fake.inflated])
def test_an_answer_without_end_is_cut(
    tmp_path: Path, services: Services, monkeypatch: Any, answer: fake.Fault
):
    monkeypatch.setattr(web, "MAX_BYTES", 1_000_000)
    services.fail("/v1/archive", answer)
    assert "larger than 1,000,000 bytes" in refused(tmp_path, services)


@pytest.mark.parametrize("target", ["http://evil.example/x", "file:///etc/passwd", "/v1/archive"])
def test_no_redirect_is_followed(tmp_path: Path, services: Services, target: str):
    services.fail("/v1/archive", fake.redirects(target))
    assert "answered 302" in refused(tmp_path, services)


def test_a_key_is_sent_and_shown_nowhere(tmp_path: Path, services: Services):
    services.fail("/v1/archive", answers(503, '{"reason":"busy","error":true}'))
    secret = {"api_key_env": "WEATHER_KEY", "environment": {"WEATHER_KEY": "s3cret"}}
    assert "s3cret" not in refused(tmp_path, services, **secret)
    assert "apikey=s3cret" in services.requested[0]
    services.faults.clear()
    assert "s3cret" not in json.dumps(read(tmp_path, services, **secret).provenance)


@pytest.mark.parametrize(
    "url", ["ftp://x.org", "http://u:p@x.org", "https://x.org/path", "https://x.org?k=1", "x.org"]
)
def test_an_address_is_scheme_and_host_only(tmp_path: Path, services: Services, url: str):
    with pytest.raises(InputError, match="without path, query or password"):
        read(tmp_path, services, base_url=url)
