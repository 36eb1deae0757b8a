"""Where runs are kept, decided once: absolute URI, absolute artifact root, lock; and opening MLflow
there: quiet, without telemetry, its database made and migrated by one process at a time. MLflow is
imported by what opens it alone.

MLflow writes absolute artifact paths into its database, which a copied, moved or restored project
must not follow, and which no call of MLflow's API changes. The database of a project lies in its
folder, and so do the artifacts: a path to another folder is where the project was before it was
moved, or the original that it was copied from.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from forecast.config.paths import ProjectPaths
from forecast.system import files, postgres
from forecast.system.errors import ForecastError, InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

SQLITE = "sqlite:///"
SERVERS = ("http", "https", "databricks", "postgresql", "mysql", "mssql")
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Place:
    """One tracking store as seen from one project.

    `artifact_root` is None where a server decides, and beside a database file outside the project.
    `publisher` names this project on this host: while it holds `lock`, a RUNNING run of that
    publisher has no living process behind it. `owned`: the store belongs to the project alone, so
    every RUNNING run in it is dead then.
    """

    uri: str
    artifact_root: Path | None
    lock: Path
    publisher: str
    owned: bool

    @property
    def database(self) -> Path | None:
        """The SQLite file, if the store is one."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None


def place(root: Path, uri: str = "") -> Place:
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
        return Place(f"{SQLITE}{database}", artifacts, Path(f"{database}.lock"), publisher, owned)
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in SERVERS:
        found = f"a {scheme}: URI" if scheme else "a path"
        raise InputError(
            f"MLFLOW_TRACKING_URI={shown(uri)!r}: found {found}, wanted sqlite:///<file>, "
            f"http(s)://<server> or a database URL. Unset it to use {SQLITE}<project>/mlflow.db."
        )
    kept = None if scheme in ("http", "https", "databricks") else root / "mlartifacts"
    return Place(uri, kept, ProjectPaths.of(root).lock("tracking"), publisher, owned=False)


def former_folders(place: Place) -> list[Path]:
    """The projects that this project's own database takes for itself; empty when it knows its
    folder, or has none.

    In a database that another project writes to as well, that one's experiments are not mistaken
    for copies: they have no folder here while others do. `ForecastError` when the file is locked or
    damaged.
    """
    if (
        place.database is None
        or not place.owned
        or place.artifact_root is None
        or not place.database.exists()
    ):
        return []
    try:
        with closing(
            sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=5)
        ) as connection:
            if not connection.execute(
                "select 1 from sqlite_master where name = 'experiments'"
            ).fetchone():
                return []
            rows = connection.execute("select name, artifact_location from experiments").fetchall()
    except sqlite3.Error as error:
        raise ForecastError(
            f"{place.database}: cannot be read ({error}). Run the same command again."
        ) from error
    folders = {name: _path_of(location) for name, location in rows}
    root = place.artifact_root
    roots = {
        name: path.parent for name, path in folders.items() if path.parts[-2:] == (root.name, name)
    }
    known = root in roots.values()
    former = {path for name, path in roots.items() if not known or (root / name).exists()}
    return sorted(path.parent for path in former - {root})


def claim(place: Place) -> list[Path]:
    """Write today's folder into the database for all `former_folders` (returned) or none; needs the
    store's lock.
    """
    former = former_folders(place)
    if former and place.artifact_root is not None:
        today = place.artifact_root.parent
        with closing(sqlite3.connect(str(place.database), timeout=30)) as connection, connection:
            for folder in former:
                for old, new in ((folder.as_uri(), today.as_uri()), (str(folder), str(today))):
                    for table, column in LOCATIONS:
                        connection.execute(
                            f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608  (names of our own)
                            f"where substr({column}, 1, ?) = ?",
                            (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
                        )
    return former


NOWHERE = "none:/nowhere"
"""Source of a version that is no model.

A server refuses a local path, and any address whose host it does not know.
"""

TIMEOUT = 300.0
"""Seconds to wait for another process that is publishing to the same store."""

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""What MLflow reads from the environment; a value the user has set stays."""


@contextmanager
def opened(place: Place) -> Iterator[MlflowClient]:
    """A client of the store at `place`, for this process alone among all of this project or file.

    A database that came here with a copy, a move or a backup is made this project's own first.
    Raises `InputError` for a file that is no MLflow database, `ForecastError` when the store cannot
    be reached or written, `BusyError` when another process holds it longer than `TIMEOUT`.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with files.locked(place.lock, what=f"Publishing to {shown(place.uri)}", timeout=TIMEOUT):
        _require_database(place)
        with quiet(), _explained(place):
            client = _client(place.uri)
            for folder in claim(place):
                message = (
                    "%s: its artifacts were those of %s; from now on they are those of this folder"
                )
                logging.getLogger(__name__).warning(message, shown(place.uri), folder)
            try:
                yield client
            finally:
                forget(place.uri)


@contextmanager
def connected(place: Place) -> Iterator[MlflowClient]:
    """A client for single calls, from any thread, while others use the store.

    The database must exist.
    """
    from mlflow import MlflowClient

    with _explained(place):
        yield MlflowClient(tracking_uri=place.uri)


def experiment(client: MlflowClient, name: str, place: Place) -> Experiment:
    """The experiment `name`, made, restored from the bin, or made anew when its artifacts are gone.

    After mlartifacts/ was deleted its location leads nowhere, and the records can restore
    everything. In a database that several machines share the artifacts may lie on another one:
    `InputError`.
    """
    found = client.get_experiment_by_name(name)
    at = found.artifact_location if found is not None else ""
    if found is not None and at.startswith("file:") and not _path_of(at).exists():
        if place.database is None:
            raise InputError(
                f"MLflow keeps the artifacts of {name!r} in {at}, which this machine does not have."
                " Use the address of an MLflow server (http://...), or a folder that all machines"
                " share."
            )
        client.rename_experiment(
            found.experiment_id, f"{name} (artifacts lost, {found.experiment_id})"
        )
        if found.lifecycle_stage == "active":
            client.delete_experiment(found.experiment_id)
        found = None
    if found is None:
        folder = place.artifact_root / name if place.artifact_root is not None else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        _unless_there(
            lambda: client.create_experiment(
                name, artifact_location=folder.as_uri() if folder else None
            )
        )
        return client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found


def ensure_model(client: MlflowClient, name: str, description: str) -> None:
    """The registered model `name`, made by whoever comes first."""
    if not client.search_registered_models(f"name = '{name}'"):
        _unless_there(lambda: client.create_registered_model(name, description=description))


def _unless_there(make: Callable[[], object]) -> None:
    """`make`, unless another machine was faster."""
    from mlflow.exceptions import MlflowException

    try:
        make()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _path_of(location: str) -> Path:
    return Path(unquote(urlsplit(location).path))


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    # They announce each migration step and advise on signatures; the run's progress display must
    # not be broken.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with postgres.locked(
            uri, "tables", what=f"Making the tables of {shown(uri)}", timeout=TIMEOUT
        ):
            client = MlflowClient(tracking_uri=uri)
            # makes and migrates the database, under the lock
            client.search_experiments(max_results=1)
    except ModuleNotFoundError as error:
        needed = f"{shown(uri)}: needs the driver {error.name!r}, which is not installed."
        raise InputError(f"{needed} A plain postgresql:// takes psycopg.") from None
    return client


def forget(uri: str) -> None:
    """Close the connections MLflow keeps per URI: a long-lived process would go on writing to a
    deleted file, or take connections from the others who share a database.
    """
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service import utils as tracking

    engines = [Tracking._engine_map.pop(uri, None)]
    tracking._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    if not uri.startswith(SQLITE):
        engines.append(Registry._engine_map.pop(uri, None))
        registry._get_store_registry()._get_store_with_resolved_uri.cache_clear()
    for engine in filter(None, engines):
        engine.dispose()


def _require_database(place: Place) -> None:
    """MLflow would retry for more than a minute, then show a traceback."""
    database = place.database
    if database is None or not database.exists() or database.stat().st_size == 0:
        return
    with database.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise InputError(
                f"{database}: not an SQLite database. Move it away or delete it; `forecast sync`"
                " publishes again."
            )


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow calls what SQLAlchemy deprecates, and advises on type hints; neither can be acted on
    here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")
        for category in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ForecastError(
            f"MLflow at {shown(place.uri)}: {lines[0]}. {_advice(str(error))} "
            "The records in data/ are complete; `forecast sync` publishes what is missing."
        ) from error


def _advice(message: str) -> str:
    if "out-of-date database schema" in message or "Can't locate revision" in message:
        return (
            "The database is of another MLflow version: run `.venv/bin/mlflow db upgrade <URI>`, or"
            " delete it."
        )
    if "disk is full" in message or "No space left" in message:
        return "Free some space (`forecast clean` removes what can be made again)."
    return "Check the address, the server and the file's permissions."


def shown(uri: str) -> str:
    """Without the password of a database URL."""
    head, _, tail = uri.rpartition("@")
    return (
        f"{head.partition('://')[0]}://...@{tail}"
        if "://" in head and not uri.startswith(SQLITE)
        else uri
    )
