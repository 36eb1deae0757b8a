"""`tracking_store`: where runs are kept, decided once per command from MLFLOW_TRACKING_URI and the
project's folder, as a `TrackingStore`: absolute address, absolute artifact root, lock.

Without an address it is the project's own mlflow.db. Nothing is opened, made or asked here, and
MLflow is not imported. Addresses of a kind that MLflow no longer writes to are refused.

`hold_store_lock` keeps apart all processes that write to one store, on whatever machine. A
project's own store is protected by that project's lock files. A team has PostgreSQL, whose server
keeps the locks (`forecast.system.postgres`); on one machine a lock file does. A server that other
machines reach is refused without a PostgreSQL: MLflow itself has no locks.
docs/decisions/0018-locks-of-postgresql.md has what was weighed.
"""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecast.config.paths import ProjectPaths
from forecast.system import files, postgres
from forecast.system.addresses import show_address
from forecast.system.errors import InputError
from forecast.system.postgres import CheckLock, check_nothing

SQLITE = "sqlite:///"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVERS = ("http", "https", "databricks", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class TrackingStore:
    """One tracking store as seen from one project.

    `artifact_root` is the folder mlartifacts: of the project, or beside an SQLite file that lies
    outside of it. It is None where a server (http, https, databricks) decides.

    `publisher` names this project on this host: while it holds `publisher_lock`, a RUNNING run of
    that publisher has no living process behind it. `owned`: the store belongs to the project alone,
    so every RUNNING run in it is dead then.
    """

    uri: str
    artifact_root: Path | None
    publisher_lock: Path
    publisher: str
    owned: bool

    @property
    def database(self) -> Path | None:
        """The SQLite file, if the store is one."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None


def tracking_store(root: Path, uri: str = "") -> TrackingStore:
    """The store at `uri` (the value of MLFLOW_TRACKING_URI), by default `<root>/mlflow.db`.

    A relative SQLite path is taken from `root`, not from wherever the process runs. `InputError`
    for a kind of store that MLflow 3 no longer writes to.
    """
    root = root.resolve()
    uri = uri or f"{SQLITE}{root}/mlflow.db"
    publisher = f"{socket.gethostname()}:{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"
    if uri.startswith(SQLITE):
        database = (root / uri.removeprefix(SQLITE)).resolve()
        owned = database.is_relative_to(root)
        artifacts = (root if owned else database.parent) / "mlartifacts"
        return TrackingStore(
            f"{SQLITE}{database}", artifacts, Path(f"{database}.lock"), publisher, owned
        )
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in SERVERS:
        kind = f"a {scheme}: URI" if scheme else "a path"
        raise InputError(
            f"MLFLOW_TRACKING_URI={show_address(uri)!r}: found {kind}, wanted sqlite:///<file>, "
            f"http(s)://<server> or a database URL. Unset it to use {SQLITE}<project>/mlflow.db."
        )
    has_server = scheme in ("http", "https", "databricks")
    artifact_root = None if has_server else root / "mlartifacts"
    return TrackingStore(
        uri, artifact_root, ProjectPaths.of(root).lock("tracking"), publisher, owned=False
    )


def path_of(location: str) -> Path:
    """The folder that a `file:` location of an artifact names."""
    return Path(unquote(urlsplit(location).path))


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
            f" server, and nothing keeps them apart. Found no {postgres.DATABASE_VARIABLE}, wanted"
            " the address of a PostgreSQL, the same on every machine (docs/team.md). Without a team"
            " start the server on 127.0.0.1, or unset MLFLOW_TRACKING_URI."
        )
    digest = hashlib.sha256(store.uri.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"forecast-store-{digest}.{name}.lock"
