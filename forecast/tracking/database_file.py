"""The file of MLflow's database: is it sound, and do its artifact paths lead into this project?

A damaged file is found by SQLite's own check, before MLflow retries for a minute, and moved away by
`forecast doctor --repair`.

Of a project that was copied, moved or restored the paths lead to where it was. MLflow writes
absolute artifact paths into its database, and no call of its client changes one: a copy would go on
writing into its original. The database of a project lies in its folder, and so do its artifacts, so
a path to another folder is where the project was before. This is the one module that knows tables
of MLflow; docs/decisions/0019-paths-in-mlflows-database.md has what else was tried.

`find_damage` and `former_folders` only read; `move_damaged` and `claim_artifacts` change, for
`mlflow_client.connect` and `operations.repair`.
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
"""Every (table, column) in which MLflow keeps the path of an artifact."""


def former_folders(store: TrackingStore) -> list[Path]:
    """The folders in which the project of this database was before; empty when it was in no other.

    In a database that another project writes to as well, that one's experiments are not mistaken
    for copies: they have no folder here while others do. `DamagedError` for a damaged file,
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
    """What is wrong with the file of the store's database; an empty text where it is sound, new,
    locked by another process, or not on this machine.
    """
    database = store.database
    if database is None or not database.exists():
        return ""
    if database.is_dir():
        return "damaged (it is a folder)"
    try:
        with _open_to_read(database) as reader:
            (answer,) = reader.execute("pragma quick_check(1)").fetchone()
    except sqlite3.OperationalError:  # locked, or not to be read now: what uses it next says so
        return ""
    except sqlite3.DatabaseError as error:
        return f"damaged ({error})"
    if answer != "ok":
        return f"damaged ({one_line(answer)})"
    return ""


def _open_to_read(database: Path) -> closing[sqlite3.Connection]:
    """A connection that makes no file and waits a few seconds for a writer."""
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5))


def require_sound(store: TrackingStore) -> None:
    """`DamagedError` with the next move for a damaged file; it reads the whole file."""
    damage = find_damage(store)
    if damage:
        raise _damage_error(store, damage)


def _damage_error(store: TrackingStore, damage: str) -> DamagedError:
    """The error for a damaged database: what was found, and what to do, which depends on whose it
    is.
    """
    move = "Restore it from a backup, or move it away: the next command makes a new one."
    if store.owned:
        move = (
            "`forecast doctor --repair` moves it away and makes a new registry from the versions"
            " on this machine; `forecast sync` publishes the runs again."
        )
    return DamagedError(f"{store.database}: {damage}. {move}")


def move_damaged(store: TrackingStore) -> Path | None:
    """Move a damaged database of this project's own away; the new path, or None when it is sound.

    Runs and registered versions are lost with it: those on this machine can be published again.
    """
    if store.database is None or not store.owned or not find_damage(store):
        return None
    for ending in ("-journal", "-wal", "-shm"):
        Path(f"{store.database}{ending}").unlink(missing_ok=True)
    return files.move_aside(store.database)


def _experiment_folders(store: TrackingStore, database: Path) -> dict[str, Path]:
    """Experiment → the folder of its artifacts; empty before MLflow made its tables;
    `ForecastError` for one that cannot be read.
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
    """Replace the folder `old` by `new` at the beginning of the artifact paths in it."""
    prefix = f"{old}/"
    for table, column in PATH_COLUMNS:
        writer.execute(
            # names of our own, not a user's; substr counts from 1
            f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608
            f"where substr({column}, 1, ?) = ?",
            (f"{new}/", len(prefix) + 1, len(prefix), prefix),
        )
