"""The SQLite file of MLflow's database: finds damage, and corrects artifact paths after a project
was copied or moved.

MLflow stores absolute artifact paths and has no call that changes one, so a copied project would go
on writing into its original. A project's database and its artifacts lie in the same folder, so a
path into another folder shows where the project was before. Only this module knows MLflow's tables;
docs/decisions/0019-paths-in-mlflows-database.md has the alternatives.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from forecast.system import files
from forecast.system.errors import DamagedError, ForecastError, one_line
from forecast.tracking.stores import TrackingStore, path_of

PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Every (table, column) in which MLflow stores the path of an artifact."""


def former_folders(store: TrackingStore) -> list[Path]:
    """The folders in which this project was before it was copied or moved here, by the paths in its
    database.

    Experiments of another project that writes to the same database do not count: they have no
    folder here, while this project's have. Raises `DamagedError` for a damaged file,
    `ForecastError` for a locked one.
    """
    root = store.artifact_root
    if store.database is None or root is None or not store.owned or not store.database.exists():
        return []
    roots = {
        name: folder.parent
        for name, folder in _experiment_folders(store, store.database).items()
        if folder.parts[-2:] == (root.name, name)
    }
    former = set(roots.values()) - {root}
    if root in roots.values():
        former = {folder for name, folder in roots.items() if (root / name).exists()} - {root}
    return sorted(folder.parent for folder in former)


def find_damage(store: TrackingStore) -> str:
    """What is wrong with the file of the store's database, by SQLite's own check.

    Empty where it is sound, missing, locked by another process, or not on this machine.
    """
    database = store.database
    if database is None or not database.exists():
        return ""
    if database.is_dir():
        return "damaged (it is a folder)"
    try:
        with _open_to_read(database) as reader:
            (answer,) = reader.execute("pragma quick_check(1)").fetchone()
    except sqlite3.OperationalError:  # locked or unreadable: reported by what uses it next
        return ""
    except sqlite3.DatabaseError as error:
        return f"damaged ({error})"
    if answer != "ok":
        return f"damaged ({one_line(answer)})"
    return ""


def _open_to_read(database: Path) -> closing[sqlite3.Connection]:
    """A read-only connection that waits 5 seconds for a writer; it does not create the file."""
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5))


def require_sound(store: TrackingStore) -> None:
    """Raises `DamagedError` for what `find_damage` finds, which reads the whole file."""
    damage = find_damage(store)
    if damage:
        raise _damage_error(store, damage)


def _damage_error(store: TrackingStore, damage: str) -> DamagedError:
    """The error for a damaged database; the advice depends on whether the project owns it."""
    move = "Restore it from a backup, or move it away: the next command makes a new one."
    if store.owned:
        move = (
            "`forecast doctor --repair` moves it away and makes a new registry from the versions"
            " on this machine; `forecast sync` publishes the runs again."
        )
    return DamagedError(f"{store.database}: {damage}. {move}")


def move_damaged(store: TrackingStore) -> Path | None:
    """Move a damaged database that the project owns aside; returns the new path, or None where it
    is sound or the project owns none.
    """
    if store.database is None or not store.owned or not find_damage(store):
        return None
    for ending in ("-journal", "-wal", "-shm"):
        Path(f"{store.database}{ending}").unlink(missing_ok=True)
    return files.move_aside(store.database)


def _experiment_folders(store: TrackingStore, database: Path) -> dict[str, Path]:
    """Experiment → the folder of its artifacts; empty before MLflow has made its tables.

    Raises `DamagedError` for a damaged file, `ForecastError` for one that cannot be read now.
    """
    try:
        with _open_to_read(database) as reader:
            tables = reader.execute("select 1 from sqlite_master where name = 'experiments'")
            if not tables.fetchone():
                return {}
            rows = reader.execute("select name, artifact_location from experiments").fetchall()
    except sqlite3.Error as error:
        if not isinstance(error, sqlite3.OperationalError):
            raise _damage_error(store, f"damaged ({error})") from None
        raise ForecastError(
            f"{database}: cannot be read ({error}). Another process may hold it: run the same"
            " command again. `forecast doctor` examines it."
        ) from error
    return {name: path_of(location) for name, location in rows}


def claim_artifacts(store: TrackingStore) -> list[Path]:
    """Replace all `former_folders` in the database by the project's folder, in one transaction;
    returns them. The caller holds the store's lock.
    """
    former = former_folders(store)
    if former and store.artifact_root is not None:
        project = store.artifact_root.parent
        with closing(sqlite3.connect(str(store.database), timeout=30)) as writer, writer:
            for folder in former:
                _replace_prefix(writer, folder.as_uri(), project.as_uri())
                _replace_prefix(writer, str(folder), str(project))
    return former


def _replace_prefix(writer: sqlite3.Connection, old: str, new: str) -> None:
    """Replace the folder `old` at the beginning of artifact paths by `new`."""
    prefix = f"{old}/"
    for table, column in PATH_COLUMNS:
        writer.execute(
            # S608: the names come from PATH_COLUMNS; substr counts from 1
            f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608
            f"where substr({column}, 1, ?) = ?",
            (f"{new}/", len(prefix) + 1, len(prefix), prefix),
        )
