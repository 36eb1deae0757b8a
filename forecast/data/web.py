"""HTTP requests under one deadline per dataset, with bounded retries and jittered exponential
backoff.

No redirect is followed, the size of an answer is bounded, and a slow answer is cut off at the
deadline. Retries respect `Retry-After`.

Sources ask inside `Deadline.call_with_retries`: `TransientError` is tried again, `DataError` is
final. Open-Meteo asks by `get`; Yahoo by a session of its own, which follows checked redirects. No
message contains a query, which may hold a key. `send` is one request without retries, for hooks.
"""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from forecast.system.errors import DataError, plural

T = TypeVar("T")
MAX_BYTES = 64 * 1024 * 1024
CONNECT_S = 10.0
READ_S = 30.0


class TransientError(Exception):
    """A fault that may pass. retry_after: seconds, None where the service did not say."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        """retry_after: seconds, None where the service did not say."""
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass
class Deadline:
    """The deadline of all requests of one dataset, and the retries of each request.

    seconds: from the creation of this object to the deadline. attempts: the most per request.
    first_wait_s: the wait after the first attempt, doubled after each further one up to
    longest_wait_s. clock, sleep and chance (a random number from 0 to 1) are replaced in tests.
    """

    seconds: float
    attempts: int = 4
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    started: float = field(init=False)

    def __post_init__(self) -> None:
        """Starts the clock."""
        self.started = self.clock()

    def seconds_left(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.started + self.seconds - self.clock())

    def call_with_retries(self, what: str, attempt: Callable[[], T]) -> T:
        """The result of the first call of `attempt` without a `TransientError`; `DataError` with
        `what` where attempts or time run out. Other errors pass at once.
        """
        for number in range(1, self.attempts + 1):
            if self.seconds_left() <= 0:
                raise DataError(
                    f"{what}: the deadline of {self.seconds:g} s is over. Try again later."
                )
            try:
                return attempt()
            except TransientError as fault:
                wait = self._wait_seconds(number, fault.retry_after)
                if number == self.attempts or wait >= self.seconds_left():
                    took = self.clock() - self.started
                    raise DataError(
                        f"{what}: {fault}; tried {plural(number, 'time')} in {took:.0f} s. Try"
                        f" again after {wait:.0f} s."
                    ) from fault
                self.sleep(wait)
        raise AssertionError("unreachable")

    def _wait_seconds(self, number: int, asked_s: float | None) -> float:
        """The wait after attempt `number` (1, 2, ...): the seconds that the service asked for plus
        up to one more; else the doubled wait plus up to half of it, at most `longest_wait_s`. The
        random part keeps many clients from returning at once.
        """
        if asked_s is not None:
            return asked_s + self.chance()
        doubled = self.first_wait_s * 2 ** (number - 1)
        return min(doubled * (1 + self.chance() / 2), self.longest_wait_s)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a `Retry-After` header, a number or a date; None where it is absent or
    unreadable.
    """
    value = headers.get("retry-after") or headers.get("Retry-After") or ""
    if value.strip().isdecimal():
        return float(value)
    until = parse_http_date(value)
    return None if until is None else max(0.0, (until - datetime.now(UTC)).total_seconds())


def parse_http_date(date: str) -> datetime | None:
    """The UTC time of a date in a header; UTC where it has no zone, None where it is no date."""
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Answer:
    """`content`: the whole decoded body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The parsed body; `TransientError` where it is no JSON, as a maintenance page."""
        try:
            return json.loads(self.content)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")
            raise TransientError(
                f"answered with no JSON ({kind}, {len(self.content)} bytes)"
            ) from None


def get(url: str, params: Mapping[str, str], *, deadline: Deadline, what: str) -> Answer:
    """One GET request that ends before the deadline.

    Raises `TransientError` for what may pass (no connection, broken off, slow), `DataError` for
    what will not.
    """
    import aiohttp

    target = f"{url}?{urlencode(params)}"
    try:
        return send("GET", target, seconds=max(deadline.seconds_left(), 0.01), read_seconds=READ_S)
    except TimeoutError:
        raise TransientError("did not answer, or not to its end, in time") from None
    except aiohttp.ClientConnectorError as error:
        # the system's words, without the URL
        reason = str(error.os_error) or type(error.os_error).__name__
        raise TransientError(f"cannot be reached ({reason})") from None
    except aiohttp.ClientError as error:
        raise TransientError(f"broke off its answer ({type(error).__name__})") from None
    except OversizeError:
        raise DataError(
            f"{what}: the answer is larger than {MAX_BYTES:,} bytes. Ask for a shorter range."
        ) from None


class OversizeError(Exception):
    """An answer of more than `MAX_BYTES`."""


def send(
    method: str,
    url: str,
    *,
    seconds: float,
    read_seconds: float | None = None,
    content: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to one request, complete within `seconds`; redirects are not followed.

    read_seconds: the longest pause within the answer. Raises `TimeoutError`, `OversizeError` and
    `aiohttp.ClientError`.
    """
    # a tenth of a second, which reading the settings of a service need not wait for
    import asyncio

    import aiohttp

    async def exchange() -> Answer:
        """Sends the request and reads the answer in chunks, so that one too large is cut off at
        once.
        """
        timeout = aiohttp.ClientTimeout(
            total=seconds, sock_connect=CONNECT_S, sock_read=read_seconds
        )
        body = bytearray()
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.request(
                method, url, data=content, headers=headers, allow_redirects=False
            ) as response,
        ):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise OversizeError
            names = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, names, bytes(body))

    return asyncio.run(exchange())
