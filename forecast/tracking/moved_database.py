"""The artifact paths in a project's own database, after the project was copied, moved or restored.

MLflow writes absolute artifact paths into its database, and no call of its client changes one: a
copy would go on writing into its original. The database of a project lies in its folder, and so do
its artifacts, so a path to another folder is where the project was before. This is the one module
that knows tables of MLflow; docs/decisions/0019-paths-in-mlflows-database.md has what else was
tried.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from forecast.system.errors import ForecastError
from forecast.tracking.tracking_store import TrackingStore, path_of

PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Every (table, column) in which MLflow keeps the path of an artifact."""


def former_folders(store: TrackingStore) -> list[Path]:
    """The folders in which the project of this database was before; empty when it was in no other.

    In a database that another project writes to as well, that one's experiments are not mistaken
    for copies: they have no folder here while others do. `ForecastError` when the file is locked or
    damaged.
    """
    root = store.artifact_root
    if store.database is None or root is None or not store.owned or not store.database.exists():
        return []
    roots = {
        name: folder.parent
        for name, folder in _experiment_folders(store.database).items()
        if folder.parts[-2:] == (root.name, name)
    }
    former = set(roots.values()) - {root}
    if root in roots.values():
        former = {folder for name, folder in roots.items() if (root / name).exists()} - {root}
    return sorted(folder.parent for folder in former)


def _experiment_folders(database: Path) -> dict[str, Path]:
    """Experiment → the folder of its artifacts; empty before MLflow made its tables."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as reader:
            tables = reader.execute("select 1 from sqlite_master where name = 'experiments'")
            if not tables.fetchone():
                return {}
            rows = reader.execute("select name, artifact_location from experiments").fetchall()
    except sqlite3.Error as error:
        raise ForecastError(
            f"{database}: cannot be read ({error}). Run the same command again."
        ) from error
    return {name: path_of(location) for name, location in rows}


def claim_artifacts(store: TrackingStore) -> list[Path]:
    """Write today's folder into the database for all `former_folders`, or for none; returns them.

    Needs the store's lock.
    """
    former = former_folders(store)
    if former and store.artifact_root is not None:
        today = store.artifact_root.parent
        with closing(sqlite3.connect(str(store.database), timeout=30)) as writer, writer:
            for folder in former:
                _replace_prefix(writer, folder.as_uri(), today.as_uri())
                _replace_prefix(writer, str(folder), str(today))
    return former


def _replace_prefix(writer: sqlite3.Connection, old: str, new: str) -> None:
    for table, column in PATH_COLUMNS:
        writer.execute(
            # names of our own
            f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608
            f"where substr({column}, 1, ?) = ?",
            (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
        )
