"""The tables of a new MLflow database, copied.

MLflow makes them by going through all migrations of its history, which takes 1.6 CPU seconds for
every project of a test.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from typing import Any

MAKERS = ("mlflow.store.db.utils", "mlflow.store.model_registry.sqlalchemy_store")
"""Modules in which MLflow finds `_initialize_tables`."""
_made: list[sqlite3.Connection] = []


def copy_tables_from_the_first_database() -> None:
    """In this process, once it has imported MLflow: the first new database is MLflow's own work,
    every later one gets its tables and rows.
    """
    for name in MAKERS:
        module = sys.modules.get(name)
        make = getattr(module, "_initialize_tables", None)
        if make is not None and not hasattr(make, "made_by"):
            module._initialize_tables = _copying(make)


def _copying(make: Callable[[Any], None]) -> Callable[[Any], None]:
    def initialize(engine: Any) -> None:
        if engine.dialect.name != "sqlite":
            make(engine)
            return
        if not _made:
            make(engine)
            _made.append(sqlite3.connect(":memory:", check_same_thread=False))
            _copy(engine, lambda connection: connection.backup(_made[0]))
            return
        _copy(engine, lambda connection: _made[0].backup(connection))

    initialize.made_by = make
    return initialize


def _copy(engine: Any, copy: Callable[[sqlite3.Connection], None]) -> None:
    connection = engine.raw_connection()
    try:
        copy(connection.driver_connection)
    finally:
        connection.close()
