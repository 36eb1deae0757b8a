"""How long a service is given: bounded retries with growing, jittered waits inside one deadline per dataset."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from forecast.system.errors import DataError

T = TypeVar("T")


class Transient(Exception):
    """A fault that may pass: `retry_after` seconds when the service said how long it will last."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass
class Patience:
    """One deadline for all requests of one dataset; clock, sleep and chance are arguments: tests need no time."""

    deadline_s: float
    attempts: int = 4
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def left(self) -> float:
        """Seconds until the deadline, never below zero."""
        return max(0.0, self.started + self.deadline_s - self.clock())

    def call(self, what: str, attempt: Callable[[], T]) -> T:
        """The first success of `attempt`; `DataError` naming `what` when attempts or time run out."""
        for number in range(1, self.attempts + 1):
            if self.left() <= 0:
                raise DataError(f"{what}: the deadline of {self.deadline_s:g} s is over. Try again later.")
            try:
                return attempt()
            except Transient as fault:
                wait = self._wait(number, fault.retry_after)
                if number == self.attempts or wait >= self.left():
                    raise DataError(self._given_up(what, fault, number, wait)) from fault
                self.sleep(wait)
        raise AssertionError("unreachable")

    def pause(self, seconds: float, what: str) -> None:
        """Wait out a rate limit known in advance; `DataError` when the deadline does not allow it."""
        if seconds <= 0:
            return
        if seconds >= self.left():
            raise DataError(
                f"{what}: the rate limit asks to wait {seconds:.0f} s, the deadline leaves {self.left():.0f} s. "
                "Raise `deadline_s` in configs/datasets.yaml, or ask for fewer series or years."
            )
        self.sleep(seconds)

    def _wait(self, number: int, retry_after: float | None) -> float:
        """Doubling, with up to half as much again by chance, so that many clients do not return together."""
        if retry_after is not None:
            return retry_after + self.chance()
        return min(self.first_wait_s * 2 ** (number - 1), self.longest_wait_s) * (1 + self.chance() / 2)

    def _given_up(self, what: str, fault: Transient, number: int, wait: float) -> str:
        times = "once" if number == 1 else f"{number} times"
        if number < self.attempts:
            return f"{what}: {fault}; tried {times}, the next try would be in {wait:.0f} s, after the deadline."
        return f"{what}: {fault}; tried {times} in {self.clock() - self.started:.0f} s."


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds of a `Retry-After` header, given as a number or as a date; None when absent or unreadable."""
    value = headers.get("retry-after") or headers.get("Retry-After")
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
