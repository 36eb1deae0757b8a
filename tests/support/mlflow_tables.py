"""The tables of a new MLflow database, copied, and the version that they should have, remembered.

MLflow makes the tables by going through all migrations of its history, which takes 1.6 CPU seconds
for every project of a test. To learn the newest version it loads the scripts of all migrations
again for every database that it opens. No import of our own: the programs of `warm_server` have
both, too.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

MAKERS = ("mlflow.store.db.utils", "mlflow.store.model_registry.sqlalchemy_store")
"""Modules in which MLflow finds `_initialize_tables`."""
_templates: list[sqlite3.Connection] = []


def copy_tables_from_the_first_database(stored: Path | None = None) -> None:
    """In this process, once it has imported MLflow: the first new database is MLflow's own work,
    every later one gets its tables and rows. With `kept`, a file, the first of all processes;
    whoever has one forks, so the newest version is found now.
    """
    for name in MAKERS:
        module = sys.modules.get(name)
        make = getattr(module, "_initialize_tables", None)
        if make is not None and not hasattr(make, "made_by"):
            module._initialize_tables = _copying(make, stored)
    utilities = sys.modules.get(MAKERS[0])
    find_newest = getattr(utilities, "_get_latest_schema_revision", None)
    if find_newest is not None and not hasattr(find_newest, "cache_info"):
        utilities._get_latest_schema_revision = functools.cache(find_newest)
        if stored is not None:
            utilities._get_latest_schema_revision()


def _copying(make: Callable[[Any], None], stored: Path | None) -> Callable[[Any], None]:
    def initialize(engine: Any) -> None:
        if engine.dialect.name != "sqlite":
            make(engine)
            return
        if not _templates and stored is not None and stored.exists():
            _templates.append(sqlite3.connect(stored, check_same_thread=False))
        if not _templates:
            make(engine)
            _templates.append(sqlite3.connect(":memory:", check_same_thread=False))
            _copy(engine, lambda connection: connection.backup(_templates[0]))
            if stored is not None:
                _keep(stored)
            return
        _copy(engine, lambda connection: _templates[0].backup(connection))

    initialize.made_by = make
    return initialize


def _keep(stored: Path) -> None:
    """Whole or not at all: another process may look for it now."""
    aside = stored.with_name(f"{stored.name}-{os.getpid()}")
    with closing(sqlite3.connect(aside)) as copied:
        _templates[0].backup(copied)
    aside.rename(stored)


def _copy(engine: Any, copy: Callable[[sqlite3.Connection], None]) -> None:
    connection = engine.raw_connection()
    try:
        copy(connection.driver_connection)
    finally:
        connection.close()
