"""Recurrent cells, found by their files: a new cell is a new file that ends with `CELL = ...`,
which has its name.

Files of several cells that are akin end with `CELLS = {name: class, ...}`. A `Cell` is the equation
of one step, with its weights and states; Keras layers, NumPy inference, the exported file and the
derivatives of Levenberg-Marquardt all run that one equation. A family names the cells that its
entries may choose (`cell: Literal[...]` in forecast/models/families). No cell imports TensorFlow:
each is written against `forecast.networks.cells.base.Namespace`. `get` makes a cell from its name
and options, as an entry of configs/models.yaml has them.
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
"""The options of a cell: the fields of its dataclass beside `units`, by name; lists, as
configuration files have them, stand for tuples.
"""


def get(name: str, units: int, options: Options | None = None) -> Cell:
    """The cell `name` with its options."""
    items = []
    for key, value in sorted((options or {}).items()):
        items.append((key, tuple(value) if isinstance(value, list) else value))
    return _build_cell(name, units, tuple(items))


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
    """`get` with hashable options: equal cells are one object, and so share traced functions."""
    return catalogue()[name](units, **dict(options))
