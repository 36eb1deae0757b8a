"""Where runs are kept, decided once: absolute URI, absolute artifact root, lock; nothing here imports MLflow.

MLflow writes absolute artifact paths into its database, which a copied, moved or restored project must not follow, and
which no call of MLflow's API changes. The database of a project lies in its folder, and so do the artifacts: a path to
another folder is where the project was before it was moved, or the original that it was copied from.
"""

from __future__ import annotations

import hashlib
import socket
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecast.config.paths import ProjectPaths
from forecast.system.errors import ForecastError, InputError

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

    `artifact_root` is None where a server decides, and beside a database file outside the project. `publisher` names
    this project on this host: while it holds `lock`, a RUNNING run of that publisher has no living process behind it.
    `owned`: the store belongs to the project alone, so every RUNNING run in it is dead then.
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

    A relative SQLite path is taken from `root`, not from wherever the process runs. `InputError` for a kind of
    store that MLflow 3 no longer writes to.
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
            f"MLFLOW_TRACKING_URI={uri!r}: found {found}, wanted sqlite:///<file>, "
            f"http(s)://<server> or a database URL. Unset it to use {SQLITE}<project>/mlflow.db."
        )
    kept = None if scheme in ("http", "https", "databricks") else root / "mlartifacts"
    return Place(uri, kept, ProjectPaths.of(root).lock("tracking"), publisher, owned=False)


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
    root = place.artifact_root
    roots = {name: path.parent for name, path in folders.items() if path.parts[-2:] == (root.name, name)}
    known = root in roots.values()
    former = {path for name, path in roots.items() if not known or (root / name).exists()}
    return sorted(path.parent for path in former - {root})


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
