"""A local server that speaks as Yahoo's chart service and Open-Meteo do, and fails as they fail.

Loopback only.

The prices are random walks and the weather is made up; only the shape of the answers is the
services' own.
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import format_datetime
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd

from forecast.config.task import SessionCalendar
from forecast.data.calendars import grid, known_from

NEW_YORK = SessionCalendar(kind="sessions", exchange="XNYS")
FIRST = pd.Timestamp("2008-01-02")
LAST = pd.Timestamp("2026-12-31")
UNITS = {
    "temperature_2m": "°C",
    "precipitation": "mm",
    "wind_speed_10m": "m/s",
    "surface_pressure": "hPa",
}
PROVISIONAL = pd.Timedelta(5, "D")
# Around which value a variable moves, and how far in degrees of the made-up temperature's swing.
USUAL = {
    "relative_humidity_2m": (70.0, 2.0),
    "precipitation": (-4.0, 1.0),
    "surface_pressure": (1010.0, 1.0),
    "wind_speed_10m": (5.0, 0.5),
    "cloud_cover": (50.0, 5.0),
    "shortwave_radiation": (200.0, 20.0),
}
NEVER_NEGATIVE = ("precipitation", "wind_speed_10m", "shortwave_radiation")

Fault = Callable[["Handler"], None]


@dataclass
class Services:
    """What the server knows.

    `now` is its clock; `faults`: (part of the path, how often, what to do instead).

    `archive_lag`: how far the weather archive is behind. `settles`: how long after a close the
    price still moves.
    """

    now: pd.Timestamp = field(default_factory=lambda: pd.Timestamp("2021-06-01 22:00"))
    archive_lag: pd.Timedelta = field(default_factory=lambda: pd.Timedelta(0))
    settles: pd.Timedelta = field(default_factory=lambda: pd.Timedelta(0))
    splits: dict[str, dict[str, float]] = field(default_factory=dict)
    dividends: dict[str, dict[str, float]] = field(default_factory=dict)
    delisted: set[str] = field(default_factory=set)
    faults: list[list[Any]] = field(default_factory=list)
    changes: list[tuple[str, Callable[[Any], Any]]] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)

    def fail(self, path: str, fault: Fault, times: int = 10_000) -> None:
        """Answer requests whose path contains `path` with `fault`, `times` times."""
        self.faults.append([path, times, fault])

    def change(self, path: str, content: Callable[[Any], Any]) -> None:
        """Pass the good answer of matching paths through `content` before it is sent."""
        self.changes.append((path, content))

    def fault_for(self, path: str) -> Fault | None:
        for entry in self.faults:
            if entry[0] in path and entry[1] > 0:
                entry[1] -= 1
                return entry[2]
        return None


@contextmanager
def serving(services: Services) -> Iterator[Services]:
    class Bound(Handler):
        known = services

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    services.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield services
    finally:
        services.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    known: Services
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        # the client has given up, which some tests want
        with suppress(ConnectionResetError, BrokenPipeError):
            super().handle()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.known.requested.append(self.path)
        fault = self.known.fault_for(self.path)
        if fault is not None:
            fault(self)
        elif parts.path.startswith("/v8/finance/chart/"):
            self.chart(parts.path.rpartition("/")[2].replace("%5E", "^"), query)
        elif parts.path in ("/v1/archive", "/v1/forecast"):
            self.send(weather(self.known, parts.path, query))
        elif parts.path == "/v1/test/getcrumb":
            self.send_body(b"crumb", "text/plain")
        else:
            self.send_body(b"<html>not here</html>", "text/html", 404)

    def chart(self, ticker: str, query: dict[str, str]) -> None:
        if ticker in self.known.delisted:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            self.send({"chart": {"result": None, "error": error}}, 404)
        else:
            self.send({"chart": {"result": [bars(self.known, ticker, query)], "error": None}})

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.known.now.tz_localize("UTC").to_pydatetime(), usegmt=True)

    def send(self, content: Any, status: int = 200) -> None:
        for path, change in self.known.changes:
            if path in self.path:
                content = change(content)
        self.send_body(json.dumps(content).encode(), "application/json", status)

    def send_body(
        self, body: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


def answers(status: int, body: str = "", kind: str = "application/json", **headers: str) -> Fault:
    parameters = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send_body(body.encode(), kind, status, parameters)


def truncated(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"chart": {"result": [{"meta": ')
    handler.close_connection = True


def hangs(handler: Handler) -> None:
    """Accepts the question and says nothing until the test ends."""
    handler.known.released.wait(30)
    handler.close_connection = True


def drips(handler: Handler) -> None:
    """One byte at a time, each in time, the whole never."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.known.released.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def drips_headers(handler: Handler) -> None:
    """The same before the body has begun."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.known.released.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def endless(handler: Handler) -> None:
    """As much as the client will take, without saying how much."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    while not handler.known.released.is_set():
        handler.wfile.write(b" " * 65536)


def inflated(handler: Handler) -> None:
    """A few kilobytes that become twenty million when unpacked."""
    body = gzip.compress(b"0" * 20_000_000)
    handler.send_body(body, "application/json", 200, {"Content-Encoding": "gzip"})


def redirects(target: str) -> Fault:
    return lambda handler: handler.send_body(b"", "text/html", 302, {"Location": target})


@lru_cache(maxsize=256)
def walk(ticker: str) -> pd.Series:
    """Prices before any split: a random walk on the sessions of New York."""
    sessions = grid(NEW_YORK, FIRST, LAST)
    steps = np.random.default_rng(zlib.crc32(ticker.encode())).normal(0.0002, 0.01, len(sessions))
    return pd.Series(100 * np.exp(np.cumsum(steps)), index=sessions)


def opens(sessions: pd.DatetimeIndex) -> np.ndarray:
    local = (sessions + pd.Timedelta("9h30min")).tz_localize("America/New_York")
    return (local.tz_convert("UTC").tz_localize(None).as_unit("s").astype("int64")).to_numpy()


def bars(services: Services, ticker: str, query: dict[str, str]) -> dict[str, Any]:
    """One ticker's answer: quotes divided by every split up to the server's `now`, as Yahoo gives
    them.
    """
    close = walk(ticker)
    stamps = opens(close.index)
    now = services.now.timestamp()
    first, last = int(query.get("period1", now - 86_400 * 5)), int(query.get("period2", now))
    chosen = (stamps >= first) & (stamps < last) & (stamps <= now)
    ratios = {pd.Timestamp(day): ratio for day, ratio in services.splits.get(ticker, {}).items()}
    happened = {
        day: ratio for day, ratio in ratios.items() if opens(pd.DatetimeIndex([day]))[0] <= now
    }
    moving = (
        known_from(NEW_YORK, close.index[chosen]) + services.settles
    ).to_numpy() > services.now
    quoted = (close / np.prod(list(happened.values()) or [1.0]))[chosen]
    quoted = quoted * np.where(moving, 1 + 0.001 * (1 + services.now.minute), 1.0)
    quote = {
        name: _floats(quoted * factor)
        for name, factor in (("open", 1.001), ("high", 1.01), ("low", 0.99), ("close", 1.0))
    }
    factors = np.array(
        [np.prod([r for d, r in happened.items() if d > day] or [1.0]) for day in quoted.index]
    )
    quote["volume"] = [int(v) for v in (1_000_000 + 1000 * np.flatnonzero(chosen)) * factors]
    result: dict[str, Any] = {"meta": _meta(ticker, services), "indicators": {"quote": [quote]}}
    if len(quoted):  # an empty window has no `timestamp` and an empty quote
        result["timestamp"] = stamps[chosen].tolist()
        result["indicators"]["adjclose"] = [{"adjclose": quote["close"]}]
        result["events"] = _events(services, ticker, happened, quoted.index, first, last)
    else:
        result["indicators"] = {"quote": [{}], "adjclose": [{}]}
    return result


def _events(
    services: Services,
    ticker: str,
    splits: dict[pd.Timestamp, float],
    days: pd.DatetimeIndex,
    first: int,
    last: int,
) -> dict[str, Any]:
    """Splits and dividends inside the window; a dividend is divided by the splits that came after
    it.
    """
    events: dict[str, Any] = {"splits": {}, "dividends": {}}
    for day, ratio in splits.items():
        stamp = int(opens(pd.DatetimeIndex([day]))[0])
        if first <= stamp < last:
            entry = {
                "date": stamp,
                "numerator": ratio,
                "denominator": 1,
                "splitRatio": f"{ratio:g}:1",
            }
            events["splits"][str(stamp)] = entry
    for text, amount in services.dividends.get(ticker, {}).items():
        day = pd.Timestamp(text)
        stamp = int(opens(pd.DatetimeIndex([day]))[0])
        factor = float(np.prod([ratio for split, ratio in splits.items() if split > day] or [1.0]))
        if first <= stamp < last and day in days:
            events["dividends"][str(stamp)] = {"amount": amount / factor, "date": stamp}
    return {name: entries for name, entries in events.items() if entries}


def _floats(values: pd.Series) -> list[float]:
    """32-bit, as the service rounds."""
    return [float(np.float32(value)) for value in values]


def _meta(ticker: str, services: Services) -> dict[str, Any]:
    return {
        "currency": "USD",
        "symbol": ticker,
        "exchangeName": "NMS",
        "instrumentType": "EQUITY",
        "firstTradeDate": int(opens(pd.DatetimeIndex([FIRST]))[0]),
        "regularMarketTime": int(services.now.timestamp()),
        "gmtoffset": -18000,
        "timezone": "EST",
        "exchangeTimezoneName": "America/New_York",
        "priceHint": 2,
        "dataGranularity": "1d",
        "range": "",
        "validRanges": ["1d", "5d", "1mo", "max"],
    }


def weather(services: Services, path: str, query: dict[str, str]) -> dict[str, Any]:
    """One place's hours; the archive's last five days are half a unit off and become right later.

    What was forecast n days before is n tenths of a unit off.
    """
    if path == "/v1/archive" or "start_date" in query:
        start, end = (
            pd.Timestamp(query["start_date"]),
            pd.Timestamp(query["end_date"]) + pd.Timedelta("23h"),
        )
    else:
        start = services.now.normalize()
        end = start + pd.Timedelta(int(query.get("forecast_days", "7")), "D") - pd.Timedelta("1h")
    times = pd.date_range(start, end, freq="h")
    hours = times.as_unit("s").astype("int64").to_numpy() // 3600
    swing = 5 * np.sin(2 * np.pi * hours / 24) + np.sin(hours / 50.0)
    swing = swing + np.where(times > services.now - PROVISIONAL, 0.5, 0.0)
    until = services.now - services.archive_lag
    known = times <= until if path == "/v1/archive" else np.ones(len(times), dtype=bool)
    hourly: dict[str, Any] = {"time": times.strftime("%Y-%m-%dT%H:%M").tolist()}
    for column in query["hourly"].split(","):
        name, _, lead = column.partition("_previous_day")
        is_answered = known & (times <= services.now + pd.Timedelta(int(lead or 7), "D"))
        level, scale = USUAL.get(name, (float(query["latitude"]) / 10, 1.0))
        values = (
            np.maximum(level + scale * swing, 0.0 if name in NEVER_NEGATIVE else -np.inf)
            + int(lead or 0) / 10
        )
        hourly[column] = [
            round(float(v), 2) if ok else None for v, ok in zip(values, is_answered, strict=True)
        ]
    return {
        "latitude": float(query["latitude"]),
        "longitude": float(query["longitude"]),
        "generationtime_ms": 1.0,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "timezone_abbreviation": "GMT",
        "elevation": 10.0,
        "hourly_units": {
            "time": "iso8601",
            **{n: UNITS.get(n, "") for n in query["hourly"].split(",")},
        },
        "hourly": hourly,
    }
