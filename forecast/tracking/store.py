"""Opening MLflow: quiet, without telemetry, its database made and migrated by one process at a time."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from forecast.system import files
from forecast.system.errors import ForecastError, InputError
from forecast.tracking.place import SQLITE, Place, claim

if TYPE_CHECKING:
    import psycopg
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from sqlalchemy.engine import Engine

NOWHERE = "none:/nowhere"
"""Source of a version that is no model. A server refuses a local path, and any address whose host it does not know."""

PATIENCE = 300.0
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
    Raises `InputError` for a file that is no MLflow database, `ForecastError` when the store cannot be reached or
    written, `BusyError` when another process holds it longer than `PATIENCE`.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with files.locked(place.lock, what=f"Publishing to {shown(place.uri)}", timeout=PATIENCE):
        _require_database(place)
        with _without_their_warnings(), _explained(place):
            client = _client(place.uri)
            for folder in claim(place):
                message = "%s: its artifacts were those of %s; from now on they are those of this folder"
                logging.getLogger(__name__).warning(message, shown(place.uri), folder)
            try:
                yield client
            finally:
                forget(place.uri)


@contextmanager
def connected(place: Place) -> Iterator[MlflowClient]:
    """A client for single calls, from any thread, while others use the store. The database must exist."""
    from mlflow import MlflowClient

    with _explained(place):
        yield MlflowClient(tracking_uri=place.uri)


def experiment(client: MlflowClient, name: str, place: Place) -> Experiment:
    """The experiment `name`, made, restored from the bin, or made anew when its artifacts are gone.

    After mlartifacts/ was deleted its location leads nowhere, and the records can restore everything. In a database
    that several machines share the artifacts may lie on another one: `InputError`.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and _lost(found.artifact_location):
        if place.database is None:
            raise InputError(
                f"MLflow keeps the artifacts of {name!r} in {found.artifact_location}, which this machine does not "
                "have. Use the address of an MLflow server (http://...), or a folder that all machines share."
            )
        client.rename_experiment(found.experiment_id, f"{name} (artifacts lost, {found.experiment_id})")
        if found.lifecycle_stage == "active":
            client.delete_experiment(found.experiment_id)
        found = None
    if found is None:
        return _made(client, name, place)
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found


def _made(client: MlflowClient, name: str, place: Place) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=_location(name, place)))
    except MlflowException as error:
        there = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or there is None:
            raise
        return there  # another machine was faster


def ensure_model(client: MlflowClient, name: str, description: str) -> None:
    """The registered model `name`, made by whoever comes first."""
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(f"name = '{name}'"):
        return
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _location(name: str, place: Place) -> str | None:
    if place.artifact_root is None:
        return None
    folder = place.artifact_root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder.as_uri()


def _lost(location: str) -> bool:
    return location.startswith("file:") and not Path(unquote(urlsplit(location).path)).exists()


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    # They announce each migration step and advise on signatures; the run's progress display must not be broken.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with tables_made_by_one(uri):
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)  # makes and migrates the database, under the lock
    except ModuleNotFoundError as error:
        needed = f"{shown(uri)}: needs the driver {error.name!r}, which is not installed."
        raise InputError(f"{needed} A plain postgresql:// takes psycopg.") from None
    return client


def forget(uri: str) -> None:
    """Close the connections MLflow keeps per URI: a long-lived process would go on writing to a deleted file, or take
    connections from the others who share a database."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service import utils as tracking

    _dispose(Tracking._engine_map.pop(uri, None))
    tracking._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    if not uri.startswith(SQLITE):
        _dispose(Registry._engine_map.pop(uri, None))
        registry._get_store_registry()._get_store_with_resolved_uri.cache_clear()


def _dispose(engine: Engine | None) -> None:
    if engine is not None:
        engine.dispose()


def _require_database(place: Place) -> None:
    """MLflow would retry for more than a minute, then show a traceback."""
    database = place.database
    if database is None or not database.exists() or database.stat().st_size == 0:
        return
    with database.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise InputError(
                f"{database}: not an SQLite database. Move it away or delete it; `forecast sync` publishes again."
            )


@contextmanager
def _without_their_warnings() -> Iterator[None]:
    """MLflow calls what SQLAlchemy deprecates, and advises on type hints; neither can be acted on here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")
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
        return "The database is of another MLflow version: run `.venv/bin/mlflow db upgrade <URI>`, or delete it."
    if "disk is full" in message or "No space left" in message:
        return "Free some space (`forecast clean` removes what can be made again)."
    return "Check the address, the server and the file's permissions."


def shown(uri: str) -> str:
    """Without the password of a database URL."""
    head, _, tail = uri.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if head else uri


POSTGRES = "postgresql"
TABLES = 0x6D6C666C6F77
"""The advisory lock under which MLflow makes and migrates its tables."""


def is_postgres(uri: str) -> bool:
    """`postgresql://...`, whatever driver it names."""
    return uri.partition("://")[0].partition("+")[0] == POSTGRES


def postgres_connection(uri: str, *, seconds: int) -> psycopg.Connection:
    """An open connection in autocommit. `InputError` without the driver, `ForecastError` without an answer."""
    try:
        import psycopg
    except ImportError:
        raise InputError(
            "A postgresql:// address needs the driver psycopg. Install it: `pip install 'rolling-forecast[postgres]'`."
        ) from None
    try:
        return psycopg.connect(POSTGRES + uri[uri.index("://") :], connect_timeout=seconds, autocommit=True)
    except psycopg.Error as error:
        raise ForecastError(
            f"PostgreSQL does not answer: {' '.join(str(error).split())}. Check the address, the server and the "
            "user's rights."
        ) from None


@contextmanager
def tables_made_by_one(uri: str) -> Iterator[None]:
    """One process at a time makes tables in that database; no lock when it is no PostgreSQL."""
    if not is_postgres(uri):
        yield
        return
    with postgres_connection(uri, seconds=10) as lock:
        lock.execute("select pg_advisory_lock(%s)", (TABLES,))
        yield
