"""What comes with the package beside its code: the catalogue of models, the budgets, the data of Dublin.

A clone has them at its root, an installed wheel below `share/forecast/` of its environment.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

import pandas as pd

from forecast.data import snapshots
from forecast.system.errors import InputError, closest, quote_names

CLONE = Path(__file__).resolve().parents[2]
MARK = "configs/models.yaml"
EXAMPLES = {"dublin": "weather"}
"""Name of an example → the dataset whose packaged snapshot it is."""


@cache
def packaged() -> Path:
    """The folder with `configs/` and `data/`; `InputError` where neither a clone nor an installation has it."""
    if (CLONE / MARK).exists() and (CLONE / "pyproject.toml").exists():
        return CLONE
    for file in importlib.metadata.files("rolling-forecast") or ():
        if file.as_posix().endswith(f"share/forecast/{MARK}"):
            return Path(str(file.locate())).resolve().parents[1]
    raise InputError("The installed rolling-forecast lacks its share/forecast/configs. Install the wheel again.")


def require_installed(package: str, what: str) -> None:
    """`InputError` with what to type where `what` needs a package that only an extra brings."""
    with contextlib.suppress(ModuleNotFoundError):
        if importlib.util.find_spec(package) is not None:
            return
    raise InputError(f"{what} needs {package}. Install it: `pip install 'rolling-forecast[train]'`.")


def example(name: str = "dublin") -> pd.DataFrame:
    """A frame to begin with. `dublin`: hourly weather of 2024 to 2026, `unique_id, ds` (UTC), `y` (temperature in °C),
    `precip` (mm in the hour before) and `wind` (km/h). Weather data by Open-Meteo.com (CC BY 4.0); contains modified
    Copernicus data.

    >>> df = forecast.example().tail(2000)
    """
    if name not in EXAMPLES:
        raise InputError(f"Example {name!r} is unknown.{closest(name, EXAMPLES)} Known: {quote_names(EXAMPLES)}.")
    return snapshots.read_pointed(packaged(), EXAMPLES[name]).rename(columns={"temp": "y"})
