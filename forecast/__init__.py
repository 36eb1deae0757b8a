"""Train, compare, record and keep retraining classical and recurrent forecasters.

Importing this package imports neither TensorFlow, MLflow nor Optuna.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.1.0"

FORMER = {"forecast.errors": "forecast.system.errors", "forecast.serving": "forecast.forecaster.serving"}
"""Modules that a logged MLflow model of an earlier version imports, and where they are now."""


class _FormerNames:
    """Finds a module of `FORMER` where no file has its name: the module of today under both names."""

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, cls) if name in FORMER else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        today = FORMER[module.__name__]
        __import__(today)  # `import_module` here would count every module of the package as one that each stage runs
        sys.modules[module.__name__] = sys.modules[today]


sys.meta_path.append(_FormerNames)
