"""After the project's folder was moved: MLflow's database keeps absolute paths, which no call of its API changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecast.system import files
from forecast.tracking.place import Place

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def lost(place: Place) -> dict[str, str]:
    """Locations in the database that lead nowhere, each with the one below today's folder where its files lie.

    Empty for a store that is not the project's own file.
    """
    database = place.database
    if database is None or not place.owned or place.artifact_root is None or not database.exists():
        return {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
        found = sorted(set(_locations(connection)))
    moved = {location: _today(location, place.artifact_root) for location in found}
    return {location: today for location, today in moved.items() if today is not None}


def repoint(place: Place) -> int:
    """Write today's locations into the database; returns how many were changed. All of them or none."""
    with files.locked(place.lock, what="Repairing MLflow's paths", timeout=60):
        changes = lost(place)
        if not changes:
            return 0
        with closing(sqlite3.connect(str(place.database), timeout=30)) as connection, connection:
            for table, column in LOCATIONS:
                query = f"update {table} set {column} = ? where {column} = ?"  # noqa: S608  (names of our own)
                connection.executemany(query, [(today, location) for location, today in changes.items()])
    return len(changes)


def _locations(connection: sqlite3.Connection) -> Iterator[str]:
    known = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    for table, column in LOCATIONS:
        if table in known:
            rows = connection.execute(f"select distinct {column} from {table}")  # noqa: S608  (names of our own)
            yield from (str(location) for (location,) in rows if location)


def _today(location: str, artifact_root: Path) -> str | None:
    """The same place below `artifact_root`, when `location` is gone and that is there."""
    as_uri = location.startswith("file:")
    path = Path(unquote(urlsplit(location).path)) if as_uri else Path(location)
    if not path.is_absolute() or path.exists() or artifact_root.name not in path.parts:
        return None
    at = len(path.parts) - 1 - path.parts[::-1].index(artifact_root.name)
    today = artifact_root.joinpath(*path.parts[at + 1 :])
    if not today.exists():
        return None
    return today.as_uri() if as_uri else str(today)
