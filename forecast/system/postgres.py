"""Connections to PostgreSQL, and locks that processes on several machines share through it.

A lock is an advisory lock, held by a session of its own. The server frees it as soon as that
session ends, however its process ended, so no heartbeat is needed. When a machine or its network
goes silent, both sides end the session after `SILENT_SECONDS`.
docs/decisions/0018-locks-of-postgresql.md has the alternatives.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from forecast.system.addresses import hide_parts, public_address
from forecast.system.errors import BusyError, ForecastError, InputError, one_line

if TYPE_CHECKING:
    import psycopg

DATABASE_VARIABLE = "FORECAST_DATABASE"
SCHEME = "postgresql"
SILENT_SECONDS = 30
"""Seconds without an answer after which either side takes the other for dead."""
KEEPALIVES = {
    "keepalives_idle": SILENT_SECONDS // 3,
    "keepalives_interval": SILENT_SECONDS // 3,
    "keepalives_count": 2,
}
UNANSWERED_LIMIT = {"tcp_user_timeout": 1000 * SILENT_SECONDS}
SESSION_SETTINGS = (
    {f"tcp_{name}": value for name, value in KEEPALIVES.items()}
    | UNANSWERED_LIMIT
    | {"idle_session_timeout": 0}
)
HOLDER_QUERY = """
    select application_name from pg_locks join pg_stat_activity using (pid)
    where locktype = 'advisory' and granted and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and classid::bigint << 32 | objid::bigint = %s
"""
CheckLock = Callable[[], object]
"""Raises `BusyError` when the lock was lost; to be called before each change that needs it."""


def check_nothing() -> None:
    """The `CheckLock` of a lock that cannot be lost while its process lives, such as a file's."""


def team_database() -> str:
    """The address of the shared database of studies and locks (FORECAST_DATABASE); empty where it
    is not set. Raises `InputError` for an address that is not PostgreSQL's.
    """
    given = os.environ.get(DATABASE_VARIABLE, "").strip()
    if given and not is_postgres(given):
        raise InputError(
            f"{DATABASE_VARIABLE}: found {public_address(given)!r}, wanted"
            " postgresql://user:password@host/name."
        )
    return given


def is_postgres(uri: str) -> bool:
    """Whether the address is `postgresql://...` or, with a driver, `postgresql+driver://...`."""
    return uri.partition("://")[0].partition("+")[0] == SCHEME


def open_connection(uri: str, *, seconds: int, name: str = "forecast") -> psycopg.Connection:
    """A connection in autocommit mode.

    seconds: how long to wait for the server. name: shown to other sessions as the holder of a lock.
    Raises `InputError` without the driver, `ForecastError` without an answer.
    """
    try:
        import psycopg
    except ImportError:
        raise InputError(
            "A postgresql:// address needs the driver psycopg. Install it: `pip install"
            " 'rolling-forecast[postgres]'`."
        ) from None
    options: dict[str, Any] = {
        **KEEPALIVES,
        **UNANSWERED_LIMIT,
        "connect_timeout": seconds,
        "application_name": name[:63],
    }
    try:
        return psycopg.connect(SCHEME + uri[uri.index("://") :], autocommit=True, **options)
    except psycopg.Error as error:
        # psycopg's message for an unreadable address quotes part of it, which may be secret
        reason = "the address cannot be read"
        if isinstance(error, psycopg.OperationalError):
            reason = hide_parts(one_line(error), uri)
        raise ForecastError(
            f"PostgreSQL at {public_address(uri)} does not answer: {reason}. Check the address, the"
            " server and the user's rights."
        ) from None


@contextmanager
def hold_lock(uri: str, name: str, *, purpose: str, timeout: float) -> Iterator[CheckLock]:
    """Hold the lock `name` on the PostgreSQL server at `uri`; yields a check that it is still held.

    Does nothing where `uri` is another kind of store. Raises `BusyError` naming the holder after
    `timeout` seconds, and what `open_connection` raises.
    """
    if not is_postgres(uri):
        yield check_nothing
        return
    key = int.from_bytes(
        hashlib.sha256(f"forecast {name}".encode()).digest()[:8], "big", signed=True
    )
    me = (
        f"PID {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC on"
        f" {socket.gethostname()}"
    )
    with closing(open_connection(uri, seconds=10, name=me)) as session:
        execute = partial(_execute, session, uri, purpose)
        for setting, value in {
            **SESSION_SETTINGS,
            "statement_timeout": 0,
            "lock_timeout": max(1, int(1000 * timeout)),
        }.items():
            execute("select set_config(%s, %s, false)", setting, str(value))
        execute("select pg_advisory_lock(%s)", key)
        yield partial(execute, "select 1")


def _execute(
    session: psycopg.Connection, uri: str, purpose: str, query: str, *values: object
) -> None:
    """Execute a query with its values; uri: the session's address, whose secrets no error shows.
    For a query that takes a lock, `values` must be the lock's key alone: its holder is looked up
    by it.

    Raises `BusyError` where another process holds the lock, and where the session has ended, which
    frees the lock.
    """
    from psycopg import OperationalError
    from psycopg.errors import LockNotAvailable

    try:
        session.execute(query, values)
    except LockNotAvailable:
        holder = session.execute(HOLDER_QUERY, values).fetchone() or ["it has just ended"]
        raise BusyError(
            f"{purpose} is already running ({holder[0]}). Wait for it to end, or stop that process."
        ) from None
    except OperationalError as error:
        raise BusyError(
            f"{purpose}: its connection to PostgreSQL is gone, and its lock with it"
            f" ({hide_parts(one_line(error), uri)}). Nothing more was changed; run the same command"
            " again."
        ) from None
