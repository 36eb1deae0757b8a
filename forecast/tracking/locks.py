"""Locks among all processes that write to one tracking store.

A project's own store is protected by that project's lock files. A team has PostgreSQL, whose
server keeps the locks (`forecast.system.postgres`); on one machine a lock file does. A server that
other machines reach is refused without a PostgreSQL: MLflow itself has no locks.
docs/decisions/0018-locks-of-postgresql.md has what was weighed.

`hold_store_lock` yields a check that the lock is still held, to be called before each step that
others would see; waiting too long is a `BusyError` naming the holder.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from forecast.system import files, postgres
from forecast.system.addresses import show_address
from forecast.system.errors import InputError
from forecast.system.postgres import CheckLock, check_nothing
from forecast.tracking.tracking_store import TrackingStore

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@contextmanager
def hold_store_lock(
    store: TrackingStore, name: str, *, purpose: str, timeout: float
) -> Iterator[CheckLock]:
    """Hold the lock `name` of the store; yields the check that it is still held.

    Nothing is locked for a store of this project's own. `InputError` where no lock can keep several
    machines apart, `BusyError` naming the holder when another process has it after `timeout`
    seconds.
    """
    if store.owned:
        yield check_nothing
    elif store.database is None and (database := _lock_database(store)):
        with postgres.hold_lock(database, name, purpose=purpose, timeout=timeout) as check_lock:
            yield check_lock
    else:
        with files.hold_lock(_lock_file(store, name), purpose=purpose, timeout=timeout):
            yield check_nothing


def _lock_database(store: TrackingStore) -> str:
    """The address of the PostgreSQL that keeps the locks of a store; empty where there is none."""
    return store.uri if postgres.is_postgres(store.uri) else postgres.team_database()


def _lock_file(store: TrackingStore, name: str) -> Path:
    """Where this machine locks a store outside of the project: beside its file, or by its address.

    `InputError` for a server that other machines reach as well.
    """
    if store.database is not None:
        return Path(f"{store.database}.{name}.lock")
    if urlsplit(store.uri).hostname not in LOOPBACK:
        raise InputError(
            f"MLFLOW_TRACKING_URI={show_address(store.uri)!r}: several machines may write to this"
            f" server, and nothing keeps them apart. Found no {postgres.VARIABLE}, wanted the"
            " address of a PostgreSQL, the same on every machine (docs/team.md). Without a team"
            " start the server on 127.0.0.1, or unset MLFLOW_TRACKING_URI."
        )
    digest = hashlib.sha256(store.uri.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"forecast-store-{digest}.{name}.lock"
