"""HTTP under one deadline per dataset: bounded retries with growing, jittered waits, from
configured hosts only.

No redirect is followed, the size is bounded, and a slow answer is cut at the deadline. The retries
are our own: they keep to what is left of the deadline and to `Retry-After`.

`get` is for sources: `TransientError` is tried again, `DataError` is final, and no message holds a
query, where a key may stand. `send` is one request without retries, for hooks and doctor.
"""

from __future__ import annotations

import asyncio
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
    """A fault that may pass: `retry_after` seconds when the service said how long it will last."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        """`retry_after`: seconds, None where the service did not say."""
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass
class Deadline:
    """One deadline for all requests of one dataset, and how often one is tried.

    seconds: from the making of this object to the deadline. attempts: of one request, at most.
    first_wait_s: the wait after the first attempt; it doubles after each further one, up to
    longest_wait_s. clock, sleep, chance (from 0 to 1): arguments, so that tests take no time.
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
        """The time begins to run."""
        self.started = self.clock()

    def seconds_left(self) -> float:
        """Seconds until the deadline, never below zero."""
        return max(0.0, self.started + self.seconds - self.clock())

    def call(self, what: str, attempt: Callable[[], T]) -> T:
        """The first success of `attempt`; `DataError` naming `what` when attempts or time run
        out.
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
        """The wait after attempt `number` (1, 2, ...): the seconds that the service asked for and
        up to one more; else the doubling wait and up to half as much again, at most
        `longest_wait_s`. What is added is drawn, so that many clients do not return together.
        """
        if asked_s is not None:
            return asked_s + self.chance()
        doubled = self.first_wait_s * 2 ** (number - 1)
        return min(doubled * (1 + self.chance() / 2), self.longest_wait_s)


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After` header, given as a number or as a date; None when absent or
    unreadable.
    """
    value = headers.get("retry-after") or headers.get("Retry-After") or ""
    if value.strip().isdecimal():
        return float(value)
    until = parse_http_date(value)
    return None if until is None else max(0.0, (until - datetime.now(UTC)).total_seconds())


def parse_http_date(date: str) -> datetime | None:
    """The moment of a date in a header, in UTC as HTTP has them where it names no zone; None for
    what is no date.
    """
    try:
        moment = email.utils.parsedate_to_datetime(date)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Answer:
    """`content`: the decoded body, complete."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """`TransientError` when the body is no JSON: a maintenance page or a torn answer."""
        try:
            return json.loads(self.content)
        except ValueError:
            kind = self.headers.get("content-type", "no content type")
            raise TransientError(
                f"answered with no JSON ({kind}, {len(self.content)} bytes)"
            ) from None


def get(url: str, params: Mapping[str, str], *, deadline: Deadline, what: str) -> Answer:
    """One GET, never longer than `deadline` has left, however slowly its bytes come.

    Raises `TransientError` for what may pass (no connection, cut off, slow), `DataError` for what
    will not. No message contains the query, which may carry a key.
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
    """The answer to one request, whole within `seconds`; redirects are not followed.

    read_seconds: the longest silence within the answer. Raises `TimeoutError`, `OversizeError` and
    `aiohttp.ClientError`.
    """
    # a tenth of a second, which reading the settings of a service need not wait for
    import aiohttp

    async def exchange() -> Answer:
        """The request and its answer, read piece by piece, so that one too large ends at once."""
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
