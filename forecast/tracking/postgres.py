"""PostgreSQL behind MLflow, asked directly: MLflow would try for minutes, and two would make its tables at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forecast.system.errors import ForecastError, InputError

if TYPE_CHECKING:
    import psycopg

PREFIX = "postgresql"
TABLES = 0x6D6C666C6F77
"""The advisory lock under which MLflow makes and migrates its tables."""


def is_postgres(uri: str) -> bool:
    """`postgresql://...`, whatever driver it names."""
    return uri.partition("://")[0].partition("+")[0] == PREFIX


def connection(uri: str, *, seconds: int) -> psycopg.Connection:
    """An open connection in autocommit. `InputError` without the driver, `ForecastError` when nobody answers."""
    try:
        import psycopg
    except ImportError:
        raise InputError(
            "A postgresql:// address needs the driver psycopg: `make setup`, or `pip install 'forecast[postgres]'`."
        ) from None
    try:
        return psycopg.connect(PREFIX + uri[uri.index("://") :], connect_timeout=seconds, autocommit=True)
    except psycopg.Error as error:
        raise ForecastError(
            f"PostgreSQL does not answer: {' '.join(str(error).split())}. Check the address, the server and the "
            "user's rights."
        ) from None


@contextmanager
def first(uri: str) -> Iterator[None]:
    """While this lasts nobody else makes tables in that database; at once when it is no PostgreSQL."""
    if not is_postgres(uri):
        yield
        return
    with connection(uri, seconds=10) as held:
        held.execute("select pg_advisory_lock(%s)", (TABLES,))
        yield
