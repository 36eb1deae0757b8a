"""Recurrent cells. A `Cell` is the equation of one step with its weights and states, which Keras
layers, NumPy inference, the exported file and the derivatives of Levenberg-Marquardt all run.

Cells are found by their files: a file with one cell ends with `CELL = ...` and has the name of the
cell; a file with several ends with `CELLS = {name: class, ...}`. No cell imports TensorFlow; each
is written with the array functions of `forecast.networks.cells.base.Namespace`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from forecast.networks.cells.base import Cell

NOT_CELLS = {"base"}
OptionValue = bool | int | float | str | Sequence[int]
Options = Mapping[str, OptionValue]
"""The options of a cell: the fields of its dataclass beside `units`, by name; tuples may be given
as lists.
"""


def get(name: str, units: int, options: Options | None = None) -> Cell:
    """The cell `name` with these options."""
    items = []
    for key, value in sorted((options or {}).items()):
        items.append((key, tuple(value) if isinstance(value, list) else value))
    return _build_cell(name, units, tuple(items))


def catalogue() -> dict[str, type[Cell]]:
    """The class of every cell by name. Not cached, because a caller may add a folder to this
    package's path.
    """
    classes: dict[str, type[Cell]] = {}
    for name in {module.name for module in pkgutil.iter_modules(__path__)} - NOT_CELLS:
        content = vars(importlib.import_module(f"{__name__}.{name}"))
        classes |= content["CELLS"] if "CELLS" in content else {name: content["CELL"]}
    return classes


@functools.lru_cache(maxsize=256)
def _build_cell(name: str, units: int, options: tuple[tuple[str, Any], ...]) -> Cell:
    """`get` with hashable options; cached, so that equal cells share traced functions."""
    return catalogue()[name](units, **dict(options))
