"""Opening MLflow: quiet, without telemetry, its database made and migrated by one process at a
time.

MLflow is imported by what opens it alone.

`connect` is the one way to a client: it holds the store's lock, and turns errors of MLflow and its
database into a `ForecastError` of one sentence without secrets (`DamagedError` for the file,
`BusyError` for a lock).
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from forecast.system import files, postgres
from forecast.system.addresses import hide_parts, show_address
from forecast.system.errors import ForecastError, InputError
from forecast.tracking import database_file
from forecast.tracking.stores import SQLITE, TrackingStore, path_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

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
    # without it a process would keep writing to a database file that was deleted meanwhile, and
    # keep connections that others who share a server need
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
"""What MLflow reads from the environment; a value the user has set stays."""


@contextmanager
def connect(store: TrackingStore) -> Iterator[MlflowClient]:
    """A client of `store`, for this process alone among all of this project or file.

    A database that came here with a copy, a move or a backup is made this project's own first.
    Raises `DamagedError` for a file that is no sound database, `ForecastError` when the store
    cannot be reached or written, `BusyError` when another process holds it longer than `TIMEOUT`.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    purpose = f"Publishing to {show_address(store.uri)}"
    with files.hold_lock(store.publisher_lock, purpose=purpose, timeout=TIMEOUT):
        database_file.require_sound(store)
        with silence_warnings(), _explain_errors(store):
            _make_database(store)
            client = _migrated_client(store.uri)
            for folder in database_file.claim_artifacts(store):
                logging.getLogger(__name__).warning(
                    "%s: its artifacts were those of %s; from now on they are those of this folder",
                    show_address(store.uri),
                    folder,
                )
            yield client


def ensure_experiment(client: MlflowClient, name: str, store: TrackingStore) -> Experiment:
    """The experiment `name`, made, restored from the bin, or made anew when its artifacts are gone.

    After mlartifacts/ was deleted its location leads nowhere, and the records can restore
    everything. In a database that several machines share the artifacts may lie on another one:
    `InputError`.
    """
    experiment = client.get_experiment_by_name(name)
    at = experiment.artifact_location if experiment is not None else ""
    if experiment is not None and at.startswith("file:") and not path_of(at).exists():
        if store.database is None:
            raise InputError(
                f"MLflow keeps the artifacts of {name!r} in {at}, which this machine does not have."
                " Use the address of an MLflow server (http://...), or a folder that all machines"
                " share."
            )
        client.rename_experiment(
            experiment.experiment_id, f"{name} (artifacts lost, {experiment.experiment_id})"
        )
        if experiment.lifecycle_stage == "active":
            client.delete_experiment(experiment.experiment_id)
        experiment = None
    if experiment is None:
        location = None
        if store.artifact_root is not None:
            folder = store.artifact_root / name
            folder.mkdir(parents=True, exist_ok=True)
            location = folder.as_uri()
        with _ignore_existing():
            client.create_experiment(name, artifact_location=location)
        return client.get_experiment_by_name(name)
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    return experiment


def ensure_model(client: MlflowClient, name: str, description: str) -> None:
    """The registered model `name`, made by whoever comes first."""
    if not client.search_registered_models(f"name = '{name}'"):
        with _ignore_existing():
            client.create_registered_model(name, description=description)


@contextmanager
def _ignore_existing() -> Iterator[None]:
    """What the block makes may be there already: another machine was faster."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _make_database(store: TrackingStore) -> None:
    """Make the store's SQLite file where it is missing or empty, and remove what stopped processes
    left of theirs; nothing for a store of another kind. The caller holds the store's lock.

    The file is made under a temporary name and moved into place, so that a process that is stopped
    meanwhile leaves no half of it.
    """
    database = store.database
    if database is not None and not (database.exists() and database.stat().st_size):
        for leftover in database.parent.glob(f"{files.TEMPORARY}{database.name}-*"):
            files.remove(leftover)
        with files.atomic_path(database) as temporary:
            _migrated_client(f"{SQLITE}{temporary}")  # makes the file that it opens


def _migrated_client(uri: str) -> MlflowClient:
    """A client of the store at `uri`, its tables made and brought to the installed version, under a
    lock where several machines share them; `InputError` when a driver is missing.
    """
    from mlflow import MlflowClient

    # They announce each migration step, advise on signatures and print the traceback of every error
    # that is raised as well; the run's progress display must not be broken.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with postgres.hold_lock(
            uri, "tables", purpose=f"Making the tables of {show_address(uri)}", timeout=TIMEOUT
        ):
            client = MlflowClient(tracking_uri=uri)
            # makes and migrates the database, under the lock
            client.search_experiments(max_results=1)
    except ModuleNotFoundError as error:
        needed = f"{show_address(uri)}: needs the driver {error.name!r}, which is not installed."
        raise InputError(f"{needed} A plain postgresql:// takes psycopg.") from None
    return client


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Show no `UserWarning`, no `FutureWarning` and none of MLflow, SQLAlchemy or Alembic: MLflow
    calls what SQLAlchemy deprecates and advises on type hints, which cannot be mended here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")
        for category in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _explain_errors(store: TrackingStore) -> Iterator[None]:
    """An error of MLflow or of the database below it becomes a `ForecastError` of one sentence,
    without the secret parts of the address.
    """
    import sqlite3

    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ForecastError(
            f"MLflow at {show_address(store.uri)}: {hide_parts(lines[0], store.uri)}."
            f" {_advise(str(error))} The records in data/ are complete; `forecast sync` publishes"
            " what is missing."
        ) from error


def _advise(message: str) -> str:
    """The next move for an error of MLflow, by what its message holds."""
    if "out-of-date database schema" in message or "Can't locate revision" in message:
        return (
            "The database is of another MLflow version: run `.venv/bin/mlflow db upgrade <URI>`, or"
            " delete it."
        )
    if "malformed" in message:
        return "The database is damaged: `forecast doctor --repair` makes a new one."
    if "disk is full" in message or "No space left" in message:
        return "Free some space (`forecast clean` removes what can be made again)."
    return "Check the address, the server and the file's permissions."
