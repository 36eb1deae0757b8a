"""Each fault of the service by name, through the real yfinance against a local server."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast.data import sources
from forecast.data.sources import RawFrame, Request
from forecast.data.sources.yahoo import YAHOO, direct_url, guarded_session, undo_splits
from forecast.data.web import Deadline
from forecast.system.errors import DataError
from tests.support import services as fake
from tests.support.example_data import dataset
from tests.support.services import Services, answers

CHART = "/v8/finance/chart"


def read(
    tmp_path: Path, services: Services, tickers: tuple[str, ...] = ("MSFT",), **options: Any
) -> RawFrame:
    import yfinance  # noqa: F401  # loaded before the deadline runs: seconds on a busy machine

    deadline = options.pop("deadline", None) or Deadline(
        20, sleep=options.pop("waits", []).append, chance=lambda: 0
    )
    source = {
        "kind": "yahoo",
        "tickers": list(tickers),
        "start": "2021-05-03",
        "base_url": services.url,
    }
    settings = dataset(
        source={**source, **options},
        calendar={"kind": "sessions", "exchange": "XNYS"},
        target={"column": "close"},
    )
    return sources.read(Request("shares", settings, tmp_path, services.now, deadline=deadline))


def refused(*args: Any, **options: Any) -> str:
    with pytest.raises(DataError) as fault:
        read(*args, **options)
    return str(fault.value)


def test_sessions_come_with_the_date_of_the_exchange(tmp_path: Path, services: Services):
    raw = read(tmp_path, services)
    assert raw.frame["ds"].iloc[[0, -1]].tolist() == [
        pd.Timestamp("2021-05-03"),
        pd.Timestamp("2021-06-01"),
    ]
    assert len(raw.frame) == 21
    assert np.allclose(raw.frame["close"], fake.walk("MSFT")["2021-05-03":"2021-06-01"], rtol=1e-6)


def test_a_second_project_of_a_process_keeps_its_own_cache(tmp_path: Path, services: Services):
    for name in ("first", "second"):
        read(tmp_path / name, services)
        assert (tmp_path / name / ".forecast" / "yfinance" / "tkr-tz.db").is_file()
        shutil.rmtree(tmp_path / name)


def test_a_broken_cache_of_time_zones_is_begun_anew(tmp_path: Path, services: Services):
    cache = tmp_path / ".forecast" / "yfinance" / "tkr-tz.db"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"cut short" * 100)
    assert len(read(tmp_path, services).frame) == 21
    assert cache.read_bytes().startswith(b"SQLite format 3")


def test_429_without_retry_after_is_tried_again_with_growing_waits(
    tmp_path: Path, services: Services
):
    services.fail(CHART, answers(429, "Edge: Too Many Requests", "text/html"), times=4)
    waits: list[float] = []
    assert len(read(tmp_path, services, waits=waits).frame) == 21
    assert waits == [1.0, 2.0]  # yfinance itself asks twice before it gives up


def test_429_with_retry_after_waits_as_long_as_asked(tmp_path: Path, services: Services):
    services.fail(CHART, answers(429, "", "text/html", Retry_After="7"), times=2)
    waits: list[float] = []
    read(tmp_path, services, waits=waits)
    assert waits == [7.0]


def test_429_with_a_retry_after_beyond_the_deadline_is_not_waited_for(
    tmp_path: Path, services: Services
):
    services.fail(CHART, answers(429, "", "text/html", Retry_After="3600"))
    assert "429" in (message := refused(tmp_path, services)) and "Try again after 3600 s" in message


def test_500_is_tried_again(tmp_path: Path, services: Services):
    services.fail(CHART, answers(500, "Internal error", "text/plain"), times=2)
    assert len(read(tmp_path, services).frame) == 21


def test_500_that_lasts_is_a_data_error_after_four_tries(tmp_path: Path, services: Services):
    services.fail(CHART, answers(500, "Internal error", "text/plain"))
    assert "tried 4 times" in refused(tmp_path, services)


def test_500_with_a_json_error_is_not_taken_for_a_missing_ticker(
    tmp_path: Path, services: Services
):
    body = '{"chart": {"result": null, "error": {"code": "Internal", "description": "busy"}}}'
    services.fail(CHART, answers(500, body))
    assert "tried 4 times" in (message := refused(tmp_path, services)) and "Delisted" not in message


def test_html_instead_of_json_is_tried_again(tmp_path: Path, services: Services):
    services.fail(CHART, answers(200, "<html>hello</html>", "text/html"), times=2)
    assert len(read(tmp_path, services).frame) == 21


def test_will_be_right_back_is_tried_again_and_then_named(tmp_path: Path, services: Services):
    services.fail(CHART + "/MSFT?period1", answers(200, "Will be right back...", "text/html"))
    assert "gave no usable answer" in refused(tmp_path, services)


def test_404_of_a_delisted_ticker_is_named_at_once(tmp_path: Path, services: Services):
    services.delisted.add("GONE")
    waits: list[float] = []
    message = refused(tmp_path, services, ("GONE",), waits=waits)
    assert "ticker 'GONE': no prices" in message and "Delisted, misspelt" in message and waits == []


def test_a_passing_fault_after_a_delisted_ticker_is_tried_again(tmp_path: Path, services: Services):
    services.delisted.add("GONE")
    services.fail(f"{CHART}/MSFT", fake.truncated, times=1)
    assert list(read(tmp_path, services, ("GONE", "MSFT"), max_failed=0.5).failed) == ["GONE"]


def test_nine_good_tickers_are_kept_when_the_tenth_fails(tmp_path: Path, services: Services):
    services.delisted.add("GONE")
    tickers = (*(f"T{i}" for i in range(9)), "GONE")
    raw = read(tmp_path, services, tickers)
    assert raw.frame["unique_id"].nunique() == 9 and list(raw.failed) == ["GONE"]


def test_too_many_failed_tickers_are_no_data_set(tmp_path: Path, services: Services):
    services.delisted |= {"GONE", "LOST"}
    message = refused(tmp_path, services, ("MSFT", "GONE", "LOST"))
    assert "2 of 3 tickers failed" in message and "GONE" in message and "LOST" in message


def test_an_empty_window_is_named(tmp_path: Path, services: Services):
    assert "ticker 'MSFT': no prices" in refused(tmp_path, services, start="2021-06-05")


def test_a_truncated_body_is_tried_again(tmp_path: Path, services: Services):
    services.fail(CHART, fake.truncated, times=1)
    assert len(read(tmp_path, services).frame) == 21


def test_a_hang_ends_at_the_deadline(tmp_path: Path, services: Services):
    services.fail("", fake.hangs)
    assert "'MSFT'" in refused(tmp_path, services, deadline=Deadline(0.6, sleep=lambda _: None))


def test_a_slow_drip_ends_at_the_deadline(tmp_path: Path, services: Services):
    services.fail(CHART, fake.drips)
    assert "'MSFT'" in refused(tmp_path, services, deadline=Deadline(0.8, sleep=lambda _: None))


def test_a_refused_connection_is_a_data_error(tmp_path: Path, services: Services):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        services.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    message = refused(tmp_path, services, ("MSFT", "AAPL", "IBM"))
    assert "1 of 3 tickers failed" in message  # a fault of the network is that of the others too
    assert "cannot be reached (ConnectionError)" in message and "AAPL" not in message


def test_a_name_that_cannot_be_resolved_is_a_data_error(
    tmp_path: Path, services: Services, caplog: pytest.LogCaptureFixture
):
    # a label too long for DNS: no query leaves the machine
    services.url = f"http://{'x' * 64}.invalid"
    assert "cannot be reached (DNSError)" in refused(tmp_path, services)
    assert not caplog.records  # a line of the library's own beside it


def test_the_wrong_time_zone_shows_as_days_that_are_no_sessions(tmp_path: Path, services: Services):
    def far_east(content: Any) -> Any:
        content["chart"]["result"][0]["meta"]["exchangeTimezoneName"] = "Pacific/Auckland"
        return content

    services.change(CHART, far_east)
    from forecast.data import preparation

    raw = read(tmp_path, services, ("KIWI",))
    settings = dataset(
        source={"kind": "yahoo", "tickers": ["KIWI"], "start": "2021-05-03"},
        calendar={"kind": "sessions", "exchange": "XNYS"},
        target={"column": "close"},
    )
    with pytest.raises(DataError, match="no session of XNYS"):
        preparation.check_raw(raw, settings)


def rows(content: Any, keep: list[int]) -> Any:
    """The good answer with these of its rows, in this order."""
    result = content["chart"]["result"][0]
    if len(result.get("timestamp", [])) <= max(keep):
        return content
    result["timestamp"] = [result["timestamp"][i] for i in keep]
    for group in ("quote", "adjclose"):
        columns = result["indicators"][group][0]
        result["indicators"][group][0] = {
            name: [values[i] for i in keep] for name, values in columns.items()
        }
    return content


def test_missing_days_stay_missing(tmp_path: Path, services: Services):
    services.change(
        "period1", lambda content: rows(content, [i for i in range(21) if i not in (5, 6)])
    )
    assert len(read(tmp_path, services).frame) == 19


def test_duplicate_days_are_one(tmp_path: Path, services: Services):
    services.change("period1", lambda content: rows(content, [0, 1, 1, *range(2, 21)]))
    assert not read(tmp_path, services).frame["ds"].duplicated().any()


def test_an_over_long_answer_is_cut_to_what_was_asked(tmp_path: Path, services: Services):
    services.now = pd.Timestamp("2021-05-10 22:00")
    long = fake.bars(
        Services(now=pd.Timestamp("2021-06-01 22:00")), "MSFT", {"period1": "1600000000"}
    )
    services.change("period1", lambda _: {"chart": {"result": [long], "error": None}})
    frame = read(tmp_path, services).frame
    assert frame["ds"].iloc[[0, -1]].tolist() == [
        pd.Timestamp("2021-05-03"),
        pd.Timestamp("2021-05-10"),
    ]


def test_a_split_in_the_middle_leaves_what_was_traded(tmp_path: Path, services: Services):
    services.splits["MSFT"] = {"2021-05-14": 4.0}
    services.dividends["MSFT"] = {"2021-05-07": 0.8}
    frame = read(tmp_path, services).frame.set_index("ds")
    walk = fake.walk("MSFT")
    assert frame.loc["2021-05-13", "close"] == pytest.approx(walk["2021-05-13"], rel=1e-6)
    assert frame.loc["2021-05-14", "close"] == pytest.approx(walk["2021-05-14"] / 4, rel=1e-6)
    assert frame.loc["2021-05-14", "split"] == 4 and frame.loc[
        "2021-05-07", "dividend"
    ] == pytest.approx(0.8)


def test_renamed_columns_are_named_and_nothing_is_taken(tmp_path: Path, services: Services):
    def renamed(content: Any) -> Any:
        quote = content["chart"]["result"][0]["indicators"]["quote"][0]
        quote["last"] = quote.pop("close", None)
        return content

    services.change("period1", renamed)
    waits: list[float] = []
    message = refused(tmp_path, services, waits=waits)
    assert "not in the known shape (KeyError: 'close')" in message and waits == []


def test_nulls_are_missing_values(tmp_path: Path, services: Services):
    def holed(content: Any) -> Any:
        content["chart"]["result"][0]["indicators"]["quote"][0]["close"][3] = None
        return content

    services.change("period1", holed)
    assert read(tmp_path, services).frame["close"].isna().tolist() == [i == 3 for i in range(21)]


def test_bars_of_a_clock_in_the_future_are_left_out(tmp_path: Path, services: Services):
    late = services.now
    services.now += pd.Timedelta(10, "D")
    services.change("", lambda content: content)
    source = {"kind": "yahoo", "tickers": ["MSFT"], "start": "2021-05-03", "base_url": services.url}
    settings = dataset(
        source=source, calendar={"kind": "sessions", "exchange": "XNYS"}, target={"column": "close"}
    )
    raw = sources.read(Request("shares", settings, tmp_path, late))
    assert raw.frame["ds"].max() == pd.Timestamp("2021-06-01")


def test_an_unfinished_bar_of_today_is_left_out(tmp_path: Path, services: Services):
    # the exchange has been open for an hour and a half
    services.now = pd.Timestamp("2021-06-01 15:00")
    assert read(tmp_path, services).frame["ds"].max() == pd.Timestamp("2021-05-28")


@pytest.mark.parametrize("answer", [fake.endless, fake.inflated])
def test_an_answer_without_end_is_cut(services: Services, answer: fake.Fault):
    services.fail(CHART, answer)
    session = guarded_session(services.url, Deadline(20), max_bytes=1_000_000)
    with pytest.raises(Exception, match=r"[Ee]xceed|larger"):
        session.get(f"{YAHOO}{CHART}/MSFT")


@pytest.mark.parametrize(
    "target", ["http://evil.example/x", "https://yahoo.com.evil.example/", "file:///etc/passwd"]
)
def test_a_redirect_to_another_host_is_refused(tmp_path: Path, services: Services, target: str):
    services.fail(CHART, fake.redirects(target))
    assert "which is not configured" in refused(tmp_path, services)


def test_a_redirect_within_the_service_is_followed(tmp_path: Path, services: Services):
    services.fail(
        "range=1d", fake.redirects(f"{YAHOO}{CHART}/HOPS?range=1d&interval=1d&again=1"), times=1
    )
    assert len(read(tmp_path, services, ("HOPS",)).frame) == 21
    assert any("again=1" in path for path in services.requested)


def test_without_another_address_only_yahoo_is_asked():
    assert direct_url(f"{YAHOO}/x?y=1", YAHOO) == f"{YAHOO}/x?y=1"
    for url in (
        "http://query2.finance.yahoo.com/x",
        "https://notyahoo.com/x",
        "http://127.0.0.1/x",
    ):
        with pytest.raises(DataError):
            direct_url(url, YAHOO)


def test_splits_are_multiplied_back_in():
    frame = pd.DataFrame(
        {
            **{name: [10.0, 10.0, 10.0] for name in ("open", "high", "low", "close", "volume")},
            "dividend": [0.0, 1.0, 0.0],
            "split": [0.0, 0.0, 2.0],
        }
    )
    traded = undo_splits(frame)
    assert traded["close"].tolist() == [20, 20, 10] and traded["volume"].tolist() == [5, 5, 10]
    assert traded["dividend"].tolist() == [0, 2, 0] and traded["split"].tolist() == [1, 1, 2]
