"""Train, compare, record and keep retraining classical and recurrent forecasters.

`__all__` is the public surface, which stays as it is documented (docs/python.md); every other name
may change. Importing this package imports nothing else: `forecast.fit` and its like are looked up
when they are first used.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecast.api.board import Board, compare
    from forecast.api.fitting import fit
    from forecast.api.model import Model, load
    from forecast.api.packaged import example

__version__ = "0.12.0"
__all__ = ["Board", "Model", "__version__", "compare", "example", "fit", "load"]

OFFERED = {
    "Board": "forecast.api.board",
    "compare": "forecast.api.board",
    "example": "forecast.api.packaged",
    "fit": "forecast.api.fitting",
    "load": "forecast.api.model",
    "Model": "forecast.api.model",
}
"""Public name → its module."""

FORMER = {
    "forecast.errors": "forecast.system.errors",
    "forecast.serving": "forecast.forecaster.serving",
}
"""Modules that a logged MLflow model of an earlier version imports, and where they are now."""


class _FormerNames:
    """Finds a module of `FORMER` where no file has its name: the module of today under both
    names.
    """

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, cls) if name in FORMER else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        today = FORMER[module.__name__]
        # `import_module` here would count every module of the package as one that each stage runs
        __import__(today)
        sys.modules[module.__name__] = sys.modules[today]


sys.meta_path.append(_FormerNames)


def __getattr__(name: str) -> Any:
    if name not in OFFERED:
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    module = OFFERED[name]
    __import__(module)  # an import statement would count the door as code that each stage runs
    return getattr(sys.modules[module], name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
