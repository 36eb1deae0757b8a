"""A look at the registry in milliseconds, without importing MLflow: for `status`, which must not wait for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

from forecast.system.errors import ForecastError
from forecast.tracking import postgres
from forecast.tracking.place import Place

PATIENCE = 0.3
FAR = 3
"""Seconds to wait for a lock in a file; for an answer of a server."""


@dataclass(frozen=True)
class Glance:
    """`aliases` of one registered model; `fault`: why they cannot be read, empty when all is well."""

    aliases: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""


def glance(place: Place, name: str) -> Glance:
    """What the store says of `name` now; never raises."""
    if place.database is not None:
        return _from_database(place, name)
    if place.uri.startswith(("http://", "https://")):
        return _from_server(place.uri.rstrip("/"), name)
    if postgres.is_postgres(place.uri):
        return _from_postgres(place.uri, name)
    return Glance(fault="not examined (a database server)")


def _from_database(place: Place, name: str) -> Glance:
    database = place.database
    assert database is not None
    if not database.exists():
        return Glance(fault=f"{database.name} is gone; `forecast doctor --repair` makes the registry again")
    query = "select alias, version from registered_model_aliases where name = ?"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
            return Glance({alias: int(version) for alias, version in connection.execute(query, (name,))})
    except sqlite3.Error as error:
        return Glance(fault=f"{database.name}: {error}")


def _from_postgres(uri: str, name: str) -> Glance:
    query = "select alias, version from registered_model_aliases where name = %s"
    try:
        with postgres.connection(uri, seconds=FAR) as connection:
            return Glance({alias: int(version) for alias, version in connection.execute(query, (name,))})
    except ForecastError as error:
        return Glance(fault=str(error))
    except Exception as error:  # noqa: BLE001  (psycopg.Error, which cannot be named where the driver is missing)
        return Glance(fault=f"PostgreSQL: {' '.join(str(error).split())}")


def _from_server(uri: str, name: str) -> Glance:
    import httpx

    try:
        answer = httpx.get(f"{uri}/api/2.0/mlflow/registered-models/get", params={"name": name}, timeout=FAR)
        if answer.status_code == 404:
            return Glance()
        answer.raise_for_status()
        model = answer.json()["registered_model"]
        return Glance({entry["alias"]: int(entry["version"]) for entry in model.get("aliases", ())})
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Glance(fault=f"{uri}: no answer ({error})")
