"""Recurrent cells, one equation per file, found by file name: a new cell is a new file that ends with `CELL = ...`.

No cell imports TensorFlow: each is written against `forecast.networks.cells.base.Namespace`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from forecast.networks.cells.base import Array, Cell, Namespace, Weight, activate, numpy_namespace
from forecast.system.errors import InputError, closest, quote_names

__all__ = ["Array", "Cell", "Namespace", "Weight", "activate", "available", "get", "numpy_namespace"]

NOT_CELLS = {"base", "namespace", "states", "weights"}


def available() -> tuple[str, ...]:
    """The names of all cells, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NOT_CELLS))


def get(name: str, units: int, options: Mapping[str, Any] | None = None) -> Cell:
    """The cell of file `name` with its options; InputError on an unknown name, option or value."""
    items = tuple(sorted((key, _frozen(value)) for key, value in (options or {}).items()))
    return _built(name, units, items)


def cell_class(name: str) -> type[Cell]:
    """The class behind a cell's name, for its options and docstring."""
    if name not in available():
        raise InputError(f"Unknown cell {name!r}; known: {quote_names(available())}.{closest(name, available())}")
    cell: type[Cell] = importlib.import_module(f"{__name__}.{name}").CELL
    return cell


@functools.lru_cache(maxsize=256)
def _built(name: str, units: int, options: tuple[tuple[str, Any], ...]) -> Cell:
    made = cell_class(name)
    known = {field.name for field in fields(made)} - {"units"}
    unknown = [key for key, _ in options if key not in known]
    if unknown:
        hint = closest(unknown[0], known)
        raise InputError(f"Cell {name!r} has no option {quote_names(unknown)}; known: {quote_names(known)}.{hint}")
    return made(units, **dict(options))


def _frozen(value: Any) -> Any:
    """Lists, as configuration files have them, become tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
