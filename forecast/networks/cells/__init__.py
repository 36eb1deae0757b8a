"""Recurrent cells, found by their files: a new cell is a new file that ends with `CELL = ...`,
which has its name.

Files of several cells that are akin end with `CELLS = {name: class, ...}`. No cell imports
TensorFlow: each is written against `forecast.networks.cells.base.Namespace`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from forecast.networks.cells.base import Array, Cell, Namespace, Weight, activate, numpy_namespace
from forecast.system.errors import InputError, quote_names, suggest

__all__ = [
    "Array",
    "Cell",
    "Namespace",
    "Weight",
    "activate",
    "catalogue",
    "get",
    "numpy_namespace",
]

NOT_CELLS = {"base"}


def get(name: str, units: int, options: Mapping[str, Any] | None = None) -> Cell:
    """The cell of file `name` with its options; InputError on an unknown name, option or value."""
    items = tuple(sorted((key, _freeze(value)) for key, value in (options or {}).items()))
    return _build_cell(name, units, items)


def cell_class(name: str) -> type[Cell]:
    """The class behind a cell's name, for its options and docstring."""
    classes = catalogue()
    if name not in classes:
        raise InputError(
            f"Unknown cell {name!r}; known: {quote_names(classes)}.{suggest(name, classes)}"
        )
    return classes[name]


def catalogue() -> dict[str, type[Cell]]:
    """Name → class of every cell.

    Looked for each time: a caller may have added a folder to this package's path.
    """
    classes: dict[str, type[Cell]] = {}
    for name in {module.name for module in pkgutil.iter_modules(__path__)} - NOT_CELLS:
        content = vars(importlib.import_module(f"{__name__}.{name}"))
        classes |= content["CELLS"] if "CELLS" in content else {name: content["CELL"]}
    return classes


@functools.lru_cache(maxsize=256)
def _build_cell(name: str, units: int, options: tuple[tuple[str, Any], ...]) -> Cell:
    cell_type = cell_class(name)
    known = {field.name for field in fields(cell_type)} - {"units"}
    unknown = [key for key, _ in options if key not in known]
    if unknown:
        hint = suggest(unknown[0], known)
        raise InputError(
            f"Cell {name!r} has no option {quote_names(unknown)}; known:"
            f" {quote_names(known)}.{hint}"
        )
    return cell_type(units, **dict(options))


def _freeze(value: Any) -> Any:
    """Lists, as configuration files have them, become tuples."""
    return tuple(_freeze(item) for item in value) if isinstance(value, list | tuple) else value
