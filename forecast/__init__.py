"""Train, compare, record and keep retraining classical and recurrent forecasters.

`__all__` is the public surface, which stays as it is documented (docs/python.md); every other name
may change. Importing this package imports nothing else: `forecast.fit` and its like are looked up
when they are first used.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecast.api.board import Board, compare
    from forecast.api.fitting import fit
    from forecast.api.installation import example
    from forecast.api.model import Model, load

    __version__: str

__all__ = ["Board", "Model", "__version__", "compare", "example", "fit", "load"]

PUBLIC_MODULES = {
    "Board": "forecast.api.board",
    "compare": "forecast.api.board",
    "example": "forecast.api.installation",
    "fit": "forecast.api.fitting",
    "load": "forecast.api.model",
    "Model": "forecast.api.model",
}
"""Public name → its module."""


def __getattr__(name: str) -> Any:
    """Import the module that defines a public name when the name is first used."""
    if name == "__version__":  # pyproject.toml is the one place that has it
        import importlib.metadata

        return importlib.metadata.version("rolling-forecast")
    if name not in PUBLIC_MODULES:
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    module = PUBLIC_MODULES[name]
    __import__(module)  # an import statement would count the door as code that each stage runs
    return getattr(sys.modules[module], name)


def __dir__() -> list[str]:
    """The names that the package offers, imported or not."""
    return sorted({*globals(), *__all__})
