"""Where MLflow's runs are kept (`tracking_store`), and the locks of such a store
(`hold_store_lock`). MLflow is not imported, and nothing is opened.

A store that the project owns is protected by the project's own lock files. Other stores on this
machine get a lock file; stores that several machines share are locked through PostgreSQL, since
MLflow has no locks (docs/decisions/0018-locks-of-postgresql.md).
"""

from __future__ import annotations

import functools
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from forecast.config.paths import ProjectPaths
from forecast.system import files, postgres
from forecast.system.addresses import public_address
from forecast.system.errors import InputError
from forecast.system.postgres import CheckLock, check_nothing
from forecast.system.processes import run_git

if TYPE_CHECKING:
    from mlflow.entities import Run

SQLITE = "sqlite:///"
PROJECT = "project"
"""The tag of runs and registered models that tells whose they are."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVERS = ("http", "https", "databricks", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class TrackingStore:
    """The tracking store of one project."""

    uri: str
    """Absolute address."""
    artifact_root: Path | None
    """The folder mlartifacts of the project, or beside an SQLite file outside of it; None where a
    server (http, https, databricks) decides.
    """
    publisher_lock: Path
    """The lock file of processes that publish from this project, or to this SQLite file."""
    publisher: str
    """Names this project on this host. While we hold `publisher_lock`, no other process works on
    this publisher's runs, so those left RUNNING are dead.
    """
    owned: bool
    """Whether the store belongs to this project alone."""
    project: str = ""
    """`find_project_tag` of a project that shares the store."""

    @property
    def folder(self) -> str:
        """The digest of the project's path, which the same folder has in every container."""
        return self.publisher.partition(":")[2]

    @property
    def owner(self) -> str:
        """The tag by which the project knows its runs in a store that it shares; its folder where
        git tells no first commit.
        """
        return self.project or self.folder

    def owns_run(self, run: Run) -> bool:
        """Whether the run is this project's; in a store of its own every run is. Runs from before
        the first commit, or before the store was shared, bear the folder.
        """
        return self.owned or run.data.tags.get(PROJECT) in (self.project, self.folder)

    @property
    def database(self) -> Path | None:
        """The SQLite file; None for another kind of store."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None


def tracking_store(root: Path, uri: str = "") -> TrackingStore:
    """The store at `uri` (the value of MLFLOW_TRACKING_URI), by default `<root>/mlflow.db`.

    A relative SQLite path is relative to `root`, not to the working directory. Raises `InputError`
    for a kind of store that MLflow 3 no longer writes to.
    """
    root = root.resolve()
    uri = uri or f"{SQLITE}{root}/mlflow.db"
    publisher = f"{socket.gethostname()}:{files.sha256_of(root)[:8]}"
    if uri.startswith(SQLITE):
        database = (root / uri.removeprefix(SQLITE)).resolve()
        owned = database.is_relative_to(root)
        artifacts = (root if owned else database.parent) / "mlartifacts"
        project = "" if owned else find_project_tag(root)
        return TrackingStore(
            f"{SQLITE}{database}", artifacts, Path(f"{database}.lock"), publisher, owned, project
        )
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in SERVERS:
        kind = f"a {scheme}: URI" if scheme else "a path"
        raise InputError(
            f"MLFLOW_TRACKING_URI={public_address(uri)!r}: found {kind}, wanted sqlite:///<file>, "
            f"http(s)://<server> or a database URL. Unset it to use {SQLITE}<project>/mlflow.db."
        )
    has_server = scheme in ("http", "https", "databricks")
    artifact_root = None if has_server else root / "mlartifacts"
    return TrackingStore(
        uri,
        artifact_root,
        ProjectPaths.of(root).lock("tracking"),
        publisher,
        owned=False,
        project=find_project_tag(root),
    )


@functools.cache
def find_project_tag(root: Path) -> str:
    """The first commit of the project's repository, which all its clones share, and the project's
    folder in it; "" outside of a repository, and in a shallow clone, which lacks that commit.
    """
    answer = run_git(root, "rev-parse", "--is-shallow-repository", "--show-prefix").stdout.split()
    commits = run_git(root, "rev-list", "--max-parents=0", "HEAD").stdout.split()
    if not commits or answer[0] != "false":
        return ""
    tag = " ".join([commits[-1], *answer[1:]])
    return tag.encode(errors="backslashreplace").decode()  # a store takes no other bytes of a name


def path_of(location: str) -> Path:
    """The folder of an artifact location `file:...`."""
    return Path(unquote(urlsplit(location).path))


@contextmanager
def hold_store_lock(
    store: TrackingStore, name: str, *, purpose: str, timeout: float
) -> Iterator[CheckLock]:
    """Hold the lock `name` of the store; yields a check that it is still held.

    Does nothing for a store that the project owns. Raises `InputError` where several machines may
    use the store and no PostgreSQL is set, `BusyError` naming the holder when another process has
    the lock after `timeout` seconds.
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
    """The address of the PostgreSQL that keeps the store's locks; empty where there is none."""
    return store.uri if postgres.is_postgres(store.uri) else postgres.team_database()


def _lock_file(store: TrackingStore, name: str) -> Path:
    """The lock file of a store outside of the project: beside its SQLite file, or named by the
    address of a server on this machine.

    Raises `InputError` for a server that other machines may use too.
    """
    if store.database is not None:
        return Path(f"{store.database}.{name}.lock")
    if urlsplit(store.uri).hostname not in LOOPBACK:
        raise InputError(
            f"MLFLOW_TRACKING_URI={public_address(store.uri)!r}: several machines may write to this"
            f" server, and nothing keeps them apart. Found no {postgres.DATABASE_VARIABLE}, wanted"
            " the address of a PostgreSQL, the same on every machine (docs/team.md). Without a team"
            " start the server on 127.0.0.1, or unset MLFLOW_TRACKING_URI."
        )
    digest = files.sha256_of(store.uri)[:12]
    return Path(tempfile.gettempdir()) / f"forecast-store-{digest}.{name}.lock"
