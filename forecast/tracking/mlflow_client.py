"""Opens MLflow (`connect`): under the store's lock, without telemetry and warnings, and with its
database made and migrated.

Errors of MLflow and its database become a `ForecastError` of one sentence without secrets.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forecast.system import files, postgres
from forecast.system.addresses import hide_parts, public_address
from forecast.system.errors import ForecastError, InputError
from forecast.tracking import database_file
from forecast.tracking.stores import SQLITE, TrackingStore, path_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

MISSING_EXPERIMENT = "/forecast/no experiment has this name"
"""A name that every MLflow server answers with an error; another server may answer anything."""

NOWHERE = "none:/nowhere"
"""The source of a registered version that has no model. A server accepts no local path, and no
address whose host it does not know.
"""

TIMEOUT = 300.0
"""Seconds to wait for another process that publishes to the same store."""

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # no pool: a process must not go on writing to a database file that was deleted meanwhile, nor
    # hold connections of a server that others need
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
"""Environment variables of MLflow and the values that are set where the user has set none."""


@contextmanager
def connect(store: TrackingStore) -> Iterator[MlflowClient]:
    """A client of `store`, used by one process of this project (or of this database file) at a
    time.

    The paths of a copied or moved database are corrected first (`claim_artifacts`). Raises
    `DamagedError` for a damaged database file, `ForecastError` when the store cannot be reached or
    written, `BusyError` when another process uses it for longer than `TIMEOUT`.
    """
    _set_up_mlflow()
    purpose = f"Publishing to {public_address(store.uri)}"
    with files.hold_lock(store.publisher_lock, purpose=purpose, timeout=TIMEOUT):
        database_file.require_sound(store)
        with silence_warnings(), _explain_errors(store):
            _make_database(store)
            client = _migrated_client(store.uri)
            for folder in database_file.claim_artifacts(store):
                logging.getLogger(__name__).warning(
                    "%s: its artifacts were those of %s; from now on they are those of this folder",
                    public_address(store.uri),
                    folder,
                )
            yield client


def require_server(store: TrackingStore) -> None:
    """Raises `ForecastError` where the server of `store` does not answer as MLflow's client needs
    it: no MLflow, or one that wants other credentials.
    """
    _set_up_mlflow()
    with silence_warnings(), _explain_errors(store):
        _migrated_client(store.uri)


def ensure_experiment(client: MlflowClient, name: str, store: TrackingStore) -> Experiment:
    """The experiment `name`: the present one, one restored from the bin, or a new one.

    An experiment whose artifacts were deleted (mlartifacts/) is renamed and made again, since the
    records can restore everything. Raises `InputError` where the artifacts may lie on another
    machine that shares the database.
    """
    experiment = client.get_experiment_by_name(name)
    location = experiment.artifact_location if experiment is not None else ""
    is_local = location.startswith("file:")
    if experiment is not None and is_local and not path_of(location).exists():
        if store.database is None:
            raise InputError(
                f"MLflow keeps the artifacts of {name!r} in {location}, which this machine does not"
                " have. Use the address of an MLflow server (http://...), or a folder that all"
                " machines share."
            )
        client.rename_experiment(
            experiment.experiment_id, f"{name} (artifacts lost, {experiment.experiment_id})"
        )
        if experiment.lifecycle_stage == "active":
            client.delete_experiment(experiment.experiment_id)
        experiment = None
    if experiment is None:
        new_location = None
        if store.artifact_root is not None:
            folder = store.artifact_root / name
            folder.mkdir(parents=True, exist_ok=True)
            new_location = folder.as_uri()
        with _ignore_existing():
            client.create_experiment(name, artifact_location=new_location)
        return client.get_experiment_by_name(name)
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    return experiment


def ensure_model(client: MlflowClient, name: str, description: str) -> None:
    """Create the registered model `name` unless it exists."""
    with _ignore_existing():
        client.create_registered_model(name, description=description)


@contextmanager
def _ignore_existing() -> Iterator[None]:
    """Ignore MLflow's error that something exists already: another machine was faster."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _make_database(store: TrackingStore) -> None:
    """Make the store's SQLite file atomically where it is missing or empty, and remove what stopped
    processes left. Does nothing for another kind of store. The caller holds the store's lock.
    """
    database = store.database
    if database is not None and not (database.exists() and database.stat().st_size):
        for leftover in database.parent.glob(f"{files.TEMPORARY}{database.name}-*"):
            files.remove(leftover)
        with files.atomic_path(database) as temporary:
            _migrated_client(f"{SQLITE}{temporary}")  # makes the file that it opens


def _migrated_client(uri: str) -> MlflowClient:
    """A client of the store at `uri`, whose tables are made or migrated to the installed version,
    under a lock where several machines share them.

    Raises `InputError` when a driver is missing, and for a server that is no MLflow: MLflow's
    client takes any JSON, and an empty answer, for an empty list.
    """
    from mlflow import MlflowClient

    # they print migration steps, advice on signatures, and tracebacks of errors that they also
    # raise, which would break the progress display
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with postgres.hold_lock(
            uri, "tables", purpose=f"Making the tables of {public_address(uri)}", timeout=TIMEOUT
        ):
            client = MlflowClient(tracking_uri=uri)
            # makes and migrates the tables
            if client.get_experiment_by_name(MISSING_EXPERIMENT) is not None:
                raise InputError(
                    f"{public_address(uri)} answers, but not as an MLflow server does. Correct"
                    " MLFLOW_TRACKING_URI."
                )
    except ModuleNotFoundError as error:
        needed = f"{public_address(uri)}: needs the driver {error.name!r}, which is not installed."
        raise InputError(f"{needed} A plain postgresql:// takes psycopg.") from None
    return client


def _set_up_mlflow() -> None:
    """Set `SETTINGS` in the environment of this process, before MLflow is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Show no `UserWarning`, no `FutureWarning` and no warning of MLflow, SQLAlchemy or Alembic:
    they are about MLflow's own code, which cannot be changed here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")
        for category in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _explain_errors(store: TrackingStore) -> Iterator[None]:
    """Turn an error of MLflow or its database into a `ForecastError` of one sentence, without the
    secret parts of the address.
    """
    import sqlite3

    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, ParseError, SQLAlchemyError, sqlite3.Error) as error:
        # SQLAlchemy may say first what it was doing, in a line of its own that ends so
        lines = str(error).rpartition("prematurely)\n")[2].splitlines() or [type(error).__name__]
        raise ForecastError(
            f"MLflow at {public_address(store.uri)}: {hide_parts(lines[0], store.uri)}."
            f" {_advise(str(error))} The records in data/ are complete; `forecast sync` publishes"
            " what is missing."
        ) from error


def _advise(message: str) -> str:
    """What to do about an error of MLflow, by its message."""
    if "out-of-date database schema" in message or "Can't locate revision" in message:
        return (
            "The database is of another MLflow version: run `.venv/bin/mlflow db upgrade <URI>`, or"
            " delete it."
        )
    if "disk is full" in message or "No space left" in message:
        return "Free some space (`forecast clean` removes what can be made again)."
    return "Check the address, the server and the file's permissions."
