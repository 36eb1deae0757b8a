"""Statistical models: fitted on the train range by statsforecast (`theta`: to its criterion), then filtered forward
with fixed parameters.

Every model is one file here with `fit(y, season, options)`, which returns a small frozen dataclass of numbers; its
`forecasts(y, origins, horizon)` runs the fitted recursion once over the whole series and reads the forecasts off at
the origins. The state at an origin is a function of the rows up to that origin only.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from forecast.system.errors import InputError, ModelFailure, closest, quote_names

Array = npt.NDArray[np.float64]


class Fitted(Protocol):
    """A fitted model: plain numbers (`dataclasses.asdict` gives JSON) and one method."""

    def forecasts(self, y: Array, origins: npt.NDArray[np.int64], horizon: int) -> Array:
        """(n_origins, horizon): row k sees y[: origins[k] + 1] and nothing after it."""
        ...


def names() -> list[str]:
    """The models, found by file name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def fit(name: str, y: Array, *, season: int = 1, options: Mapping[str, Any] | None = None) -> Fitted:
    """Fit on all of `y` (T,); `ModelFailure` when the model cannot be fitted, `InputError` for an unknown name."""
    if name not in names():
        raise InputError(f"Unknown statistical model {name!r}; known: {quote_names(names())}.{closest(name, names())}")
    keep_what_is_compiled()
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the optimisers inside: what they found is judged by its errors
            fitted: Fitted = module.fit(np.array(y, dtype=np.float64), season, dict(options or {}))
    except (InputError, ModelFailure):
        raise
    except Exception as error:  # statsforecast raises bare Exception, ValueError, NotImplementedError, LinAlgError
        raise ModelFailure(f"{name} cannot be fitted to {len(y)} rows with season {season}: {error}.") from error
    return fitted


def keep_what_is_compiled() -> None:
    """Let numba store statsforecast's compiled functions beside it: CES takes 20 s to compile, 2 s to load.

    Only before statsforecast's first import, which reads the variable, and where its folder can be written: without a
    place to store numba refuses the import. A value the user has set in the environment stays.
    """
    found = importlib.util.find_spec("statsforecast")
    places = (found and found.submodule_search_locations) or []
    if places and all(os.access(place, os.W_OK) for place in places):
        os.environ.setdefault("NIXTLA_NUMBA_CACHE", "1")


def fit_and_forecast(
    name: str,
    y: Array,
    *,
    train_end: int,
    origins: npt.ArrayLike,
    horizon: int,
    season: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Array:
    """Forecasts (n_origins, horizon) in the units of `y`.

    y          (T,) without NaN, in modelling units (log prices for stocks)
    train_end  rows [0, train_end) are used for the fit
    origins    rows of the last observation each forecast sees, rising, from train_end - 1 on

    Raises `ModelFailure` when the model cannot be fitted or gives a forecast that is not finite.
    """
    rows = np.asarray(origins, dtype=np.int64)
    _check(name, y, train_end, rows)
    fitted = fit(name, y[:train_end], season=season, options=options)
    return _finite(name, fitted.forecasts(np.ascontiguousarray(y, dtype=np.float64), rows, horizon), rows)


def describe(fitted: Fitted) -> dict[str, Any]:
    """The fitted numbers as JSON: for the record, and for `restore`."""
    return {"name": type(fitted).__module__.rsplit(".", 1)[-1], **asdict(fitted)}  # type: ignore[call-overload]


def restore(description: Mapping[str, Any]) -> Fitted:
    """The fitted model that `describe` wrote down."""
    module = importlib.import_module(f"{__name__}.{description['name']}")
    values = {key: _tupled(value) for key, value in description.items() if key != "name"}
    fitted: Fitted = module.FITTED(**values)
    return fitted


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


def _check(name: str, y: Array, train_end: int, rows: npt.NDArray[np.int64]) -> None:
    if y.ndim != 1 or not np.isfinite(y).all():
        bad = int((~np.isfinite(y)).sum())
        raise InputError(
            f"{name} needs one series without gaps, got shape {y.shape} with {bad} "
            "values that are not finite. "
            "Fill gaps forward before the call."
        )
    if not 0 < train_end <= len(y):
        raise InputError(f"{name}: train_end={train_end} lies outside the {len(y)} rows of the series.")
    if len(rows) and (rows[0] < train_end - 1 or rows[-1] >= len(y) or (np.diff(rows) <= 0).any()):
        raise InputError(
            f"{name}: origins run from {rows[0]} to {rows[-1]}; they must rise "
            f"within [{train_end - 1}, {len(y) - 1}], or a forecast would come from parameters that saw its future."
        )


def _finite(name: str, forecasts: Array, rows: npt.NDArray[np.int64]) -> Array:
    bad = ~np.isfinite(forecasts).all(axis=1)
    if bad.any():
        raise ModelFailure(
            f"{name} gives forecasts that are not finite at {int(bad.sum())} of {len(rows)} origins, "
            f"first at row {rows[bad][0]}."
        )
    return forecasts
