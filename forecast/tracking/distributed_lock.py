"""A lock among all processes that share a tracking store, whatever machine they run on.

Where they reach PostgreSQL it is the database's own (`forecast.system.postgres`). Through an MLflow
server alone it is a ticket lock with a lease. MLflow has no lock, but its registry numbers a
model's versions under a primary key: a number is given once, after every lower one, and never
again, not even when its version was deleted. So a registered model is a queue. A process that wants
the lock makes a version of it, a ticket, and has the lock once no lower ticket is left; deleting
the ticket lets the next one in.

A ticket names its process, which counts up a heartbeat. A waiting process removes the ticket before
it, and warns, when its heartbeat stood still for `LEASE` seconds of the waiting process's clock; no
two clocks are ever compared. docs/decisions/0012-a-team-on-one-server.md has what was weighed.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from forecast.system import files, postgres
from forecast.system.errors import BusyError, ForecastError
from forecast.system.postgres import CheckLock
from forecast.tracking import store
from forecast.tracking.store import Place

BEAT = 10.0
LEASE = 90.0
PAUSE = 0.5
"""Seconds: between two heartbeats; without one until a process counts as gone; between two looks at
the queue.
"""


@dataclass(frozen=True, order=True)
class Ticket:
    """One place in a queue; `since` is the store's, in ms since 1970.

    One made by hand is nobody's: it is removed.
    """

    number: int
    process: str
    beat: str
    since: int

    def __str__(self) -> str:
        return (
            f"{self.process}, since"
            f" {datetime.fromtimestamp(self.since / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
        )


@contextmanager
def lock(place: Place, name: str, *, what: str, timeout: float) -> Iterator[CheckLock]:
    """The lock `name` of the store at `place`.

    Nothing happens for a store of this project's own, which the project's lock files protect.
    `BusyError` naming the process that has it when that is seen alive after `timeout` seconds; that
    shows within `BEAT` seconds, at the latest `LEASE`.
    """
    if place.owned:
        yield lambda: None
    elif place.database is not None:
        with files.locked(Path(f"{place.database}.{name}.lock"), what=what, timeout=timeout):
            yield lambda: None
    elif database := place.uri if postgres.is_postgres(place.uri) else postgres.of_team():
        with postgres.locked(database, name, what=what, timeout=timeout) as check_lock:
            yield check_lock
    else:
        with Queue(place, f"{name} (lock)").locked(what, timeout) as check_lock:
            yield check_lock


@dataclass(frozen=True)
class Queue:
    """The tickets of one registered model."""

    place: Place
    name: str

    @contextmanager
    def locked(self, what: str, timeout: float) -> Iterator[CheckLock]:
        mine = self.join()
        try:
            with self._heartbeat(mine):
                self.wait(mine, what, timeout)
                yield lambda: self._first(mine, what)
        finally:
            with suppress(ForecastError):  # out of reach: it stands still from now on
                self.leave(mine)
            store.forget(self.place.uri)

    def join(self) -> int:
        """A new ticket of this process; its number."""
        from mlflow.exceptions import MlflowException

        tags = {"process": f"PID {os.getpid()} on {socket.gethostname()}", "beat": "0"}
        with store.opened(self.place) as client:
            store.ensure_model(
                client, self.name, "A lock of the processes that share this store; not a model"
            )
            while True:
                try:
                    return int(
                        client.create_model_version(self.name, store.NOWHERE, tags=tags).version
                    )
                except MlflowException as error:
                    if "Giving up" not in str(error):  # more than four joined in the same moment
                        raise

    def leave(self, number: int) -> None:
        """Remove a ticket, one's own or a dead one; nothing happens when it is gone already."""
        from mlflow.exceptions import MlflowException

        with store.connected(self.place) as client:
            try:
                client.delete_model_version(self.name, str(number))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

    def tickets(self) -> list[Ticket]:
        """All that are left, the one that has the lock first."""
        with store.connected(self.place) as client:
            found = client.search_model_versions(f"name = '{self.name}'", max_results=1000)
        return sorted(
            Ticket(
                int(v.version),
                v.tags.get("process", "nobody"),
                v.tags.get("beat", ""),
                v.creation_timestamp,
            )
            for v in found
        )

    def wait(self, mine: int, what: str, timeout: float) -> None:
        """Until no lower ticket is left.

        Raises as `lock` does; times are of this process's own clock.
        """
        begun = since = time.monotonic()
        seen, beats = (0, ""), False
        while (first := self._first(mine, what)).number != mine:
            now = time.monotonic()
            if seen != (first.number, first.beat):
                beats = first.number == seen[0]
                seen, since = (first.number, first.beat), now
            if now - since >= LEASE:
                self.leave(first.number)
                logging.getLogger(__name__).warning(
                    "%s: taken over from %s, which is gone", what, first
                )
            elif now - begun >= timeout and (beats or now - begun >= timeout + LEASE):
                raise BusyError(
                    f"{what} is already running ({first}). Wait for it to end, or stop that"
                    " process."
                )
            else:
                time.sleep(PAUSE)

    def _first(self, mine: int, what: str) -> Ticket:
        left = self.tickets()
        if mine not in {ticket.number for ticket in left}:
            raise BusyError(
                f"{what}: this process stood still for over {LEASE:g} s and another one took its"
                " lock. Nothing more was changed; run the same command again."
            )
        return left[0]

    @contextmanager
    def _heartbeat(self, number: int) -> Iterator[None]:
        """A thread shows that this process lives; a heartbeat that does not arrive is made up for
        by the next one.
        """
        done = threading.Event()

        def count() -> None:
            beats = 0
            while not done.wait(BEAT):
                beats += 1
                with suppress(Exception), store.connected(self.place) as client:
                    client.set_model_version_tag(self.name, str(number), "beat", str(beats))

        thread = threading.Thread(target=count, name=f"heartbeat-{self.name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=5)
