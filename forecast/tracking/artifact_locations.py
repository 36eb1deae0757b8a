"""Where a project's own database keeps artifacts.

MLflow writes absolute paths there, which a copied, moved or restored project must not follow, and which no call of
MLflow's API changes.

The database of a project lies in its folder, and so do the artifacts: a path to another
folder is where the project was before it was moved, or the original that it was copied from.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecast.system.errors import ForecastError
from forecast.tracking.place import Place

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def former_folders(place: Place) -> list[Path]:
    """The projects that this project's own database takes for itself; empty when it knows its folder, or has none.

    In a database that another project writes to as well, that one's experiments are not mistaken for copies: they have
    no folder here while others do. `ForecastError` when the file is locked or damaged.
    """
    if place.database is None or not place.owned or place.artifact_root is None or not place.database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=5)) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'experiments'").fetchone():
                return []
            rows = connection.execute("select name, artifact_location from experiments").fetchall()
    except sqlite3.Error as error:
        raise ForecastError(f"{place.database}: cannot be read ({error}). Run the same command again.") from error
    folders = {name: Path(unquote(urlsplit(location).path)) for name, location in rows}
    roots = {
        name: path.parent for name, path in folders.items() if path.parts[-2:] == (place.artifact_root.name, name)
    }
    known = place.artifact_root in roots.values()
    former = {root for name, root in roots.items() if not known or (place.artifact_root / name).exists()}
    return sorted(root.parent for root in former - {place.artifact_root})


def claim(place: Place) -> list[Path]:
    """Write today's folder into the database for `former_folders`, which are returned. All of them or none.

    Needs the store's lock.
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
