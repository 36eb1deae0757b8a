"""Locks that PostgreSQL keeps, with real processes and a connection that is cut; studies in a
database of a team.
"""

from __future__ import annotations

import calendar
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg import OperationalError

from forecast.backtest import studies
from forecast.system import postgres
from forecast.system.errors import BusyError, ForecastError, InputError
from tests.backtest.test_studies import bowl, study
from tests.faults.processes import crowding
from tests.operations import postgres as servers

SOON = 15.0
"""Seconds within which a lock must be free; the machine that runs the tests may be busy."""
HOLDING = """
import sys, time
from forecast.system import postgres
with postgres.hold_lock(sys.argv[1], "a lock", purpose="A test", timeout=0.0):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with servers.running() as server:
        yield server("locks")


@contextmanager
def held(address: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert (
            select.select([process.stdout], [], [], 60)[0] and process.stdout.readline() == "held\n"
        )
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def locked(address: str, timeout: float = 0.0):
    return postgres.hold_lock(address, "a lock", purpose="A test", timeout=timeout)


class Cut:
    """A way to the database over TCP that can be cut: what it forwards ends on both sides at
    once.
    """

    def __init__(self, address: str) -> None:
        (folder,) = parse_qs(urlsplit(address).query)["host"]
        self.inside = f"{folder}/.s.PGSQL.5432"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.open: list[socket.socket] = []
        port = self.listener.getsockname()[1]
        name = urlsplit(address).path
        self.address = (
            f"postgresql://forecast@127.0.0.1:{port}{name}?sslmode=disable&gssencmode=disable"
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                outer, inner = self.listener.accept()[0], socket.socket(socket.AF_UNIX)
                inner.connect(self.inside)
                self.open += [outer, inner]
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)

    def cut(self) -> None:
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def __enter__(self) -> Cut:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        self.cut()


def test_a_second_process_is_told_who_has_the_lock(database: str) -> None:
    before = int(time.time())
    with held(database) as holder:
        with pytest.raises(BusyError) as refused, locked(database):
            raise AssertionError("two have the lock")
        message = str(refused.value)
        assert f"A test is already running (PID {holder.pid} since " in message
        assert f" UTC on {socket.gethostname()[:20]}" in message
        day = message.partition("since ")[2].partition(" UTC")[0]
        assert 0 <= calendar.timegm(time.strptime(day, "%Y-%m-%d %H:%M:%S")) - before < 60
        with postgres.hold_lock(database, "another lock", purpose="Another", timeout=0.0):
            pass


def test_the_lock_of_a_killed_process_is_free_at_once_for_the_one_that_waits(database: str) -> None:
    with held(database) as holder:
        killer = threading.Timer(1.0, os.kill, (holder.pid, signal.SIGKILL))
        killer.start()
        began = time.monotonic()
        with locked(database, timeout=60.0) as check_lock:
            assert 0.9 < time.monotonic() - began < SOON * crowding()
            check_lock()
        killer.join()


def test_a_lock_is_free_where_its_block_ended(database: str) -> None:
    with locked(database):
        pass
    with pytest.raises(KeyError), locked(database):
        raise KeyError
    # the server ends a session a moment after its client has closed it
    with locked(database, timeout=SOON):
        pass


def test_a_holder_whose_connection_is_cut_stops_before_its_next_change(database: str) -> None:
    with Cut(database) as way, ExitStack() as stack:
        check_lock = stack.enter_context(locked(way.address))
        check_lock()
        way.cut()
        refusal = pytest.raises(
            BusyError, match="its connection to PostgreSQL is gone, and its lock with it"
        )
        with locked(database, timeout=SOON), refusal:
            check_lock()


def test_the_fault_of_a_cut_connection_is_told_without_the_password() -> None:
    uri = "postgresql://forecast:hunter2@db.example.org/forecast"

    class CutSession:
        def execute(self, *_: object) -> None:
            raise OperationalError(f"no answer of {uri}: password hunter2 refused")

    session = cast("psycopg.Connection", CutSession())
    with pytest.raises(BusyError, match="is gone") as caught:
        postgres._execute(session, uri, "A test", "select 1")
    assert "hunter2" not in str(caught.value)


def test_a_connection_that_goes_silent_is_ended_by_either_side(database: str) -> None:
    with Cut(database) as way, postgres.open_connection(way.address, seconds=10) as session:
        mine = socket.socket(fileno=os.dup(session.fileno()))
        with mine:
            assert mine.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle, between, count = (
                mine.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
        assert idle + between * count == postgres.SILENT_SECONDS
    assert {
        f"tcp_{name}": value for name, value in postgres.KEEPALIVES.items()
    }.items() <= postgres.SESSION_SETTINGS.items()


def test_no_server_and_no_address_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(ForecastError, match="does not answer"),
        locked(f"postgresql:///x?host={tmp_path}"),
    ):
        pass
    monkeypatch.setenv(postgres.DATABASE_VARIABLE, "mysql://team:secret@host/name")
    with pytest.raises(
        InputError, match="FORECAST_DATABASE: found 'mysql://host', wanted postgresql://"
    ) as refused:
        postgres.team_database()
    assert "secret" not in str(refused.value)


def test_a_study_in_the_database_of_a_team_is_the_one_in_a_journal(
    database: str, tmp_path: Path
) -> None:
    first = study(tmp_path / "here", n_trials=3, storage=database)
    assert first == study(tmp_path / "journal", n_trials=3)

    def count_trial(params: dict, number: int) -> studies.TrialOutcome:
        numbers.append(number)
        return bowl(params, number)

    numbers: list[int] = []
    there = study(tmp_path / "another machine", count_trial, n_trials=5, storage=database)
    assert numbers == [3, 4], "what one machine finished is not run again on another"
    assert there == study(tmp_path / "journal", n_trials=5)


def test_a_study_belongs_to_one_machine_at_a_time(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "LOCK_TIMEOUT", 0.1)

    def meanwhile(params: dict, number: int) -> studies.TrialOutcome:
        with pytest.raises(
            BusyError, match=rf"Study shared is already running .PID {os.getpid()} since "
        ):
            study(tmp_path / "there", key="shared", n_trials=1, storage=database)
        return bowl(params, number)

    study(tmp_path / "here", meanwhile, key="shared", n_trials=1, storage=database)


def test_a_study_whose_database_goes_away_says_so_in_one_sentence(
    database: str, tmp_path: Path
) -> None:
    with Cut(database) as way:

        def cutting(params: dict, number: int) -> studies.TrialOutcome:
            way.listener.close()
            way.cut()
            return bowl(params, number)

        with pytest.raises(ForecastError, match="went away"):
            study(tmp_path, cutting, key="cut", n_trials=1, storage=way.address)
