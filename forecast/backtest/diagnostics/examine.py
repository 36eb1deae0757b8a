"""All diagnostics of one trained network, as plain numbers and as arrays for figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast.backtest.diagnostics.dynamics import Dynamics, dynamics
from forecast.backtest.diagnostics.loop import free_run
from forecast.backtest.diagnostics.sensitivity import gradient_by_lag, lags_of
from forecast.backtest.diagnostics.trajectory import Walk
from forecast.data.windows import Windows
from forecast.forecaster import Forecaster
from forecast.system.errors import InputError


def diagnose(forecaster: Forecaster, windows: Windows) -> dict[str, Any]:
    """What the network does on `windows` (a handful is enough: cost grows with B * L); JSON numbers throughout.

    numbers: per recurrent layer and, as the worst over layers, for the network (see `backtest.diagnostics.dynamics`);
    `loop` of a recursive family (see `.loop`). arrays: `lags`, `gradient` (norm of d forecast / d input by lag),
    `decay` by layer, `free_run` by step. A key that does not apply is left out. InputError without a network.
    """
    network, spec = forecaster.network, forecaster.spec
    if network is None or forecaster.skip is None:
        raise InputError(f"Model {spec.family!r} is not a network: there is nothing to diagnose. Choose a network.")
    weights = {name: weight.astype(np.float64) for name, weight in forecaster.weights.items()}
    lookback, ahead = windows.past.shape[1], network.shapes.horizon
    future = windows.future[:, : lookback + ahead] if network.shapes.future_channels else None
    walk = Walk(network, weights)
    with np.errstate(over="ignore", invalid="ignore"):
        walk.through(windows.past, future)
        layers = {layer.path: dynamics(layer) for layer in walk.layers}
        lags = lags_of(lookback)
        gradient = gradient_by_lag(network, weights, windows.past, future, lags)
    numbers: dict[str, Any] = {
        **_worst(list(layers.values()), walk.dense.share),
        "layers": {p: d.to_json() for p, d in layers.items()},
    }
    arrays: dict[str, Any] = {"lags": lags, "gradient": gradient.tolist()}
    arrays["decay"] = {path: found.decay.tolist() for path, found in layers.items()}
    if spec.recursive:
        run = free_run(network, weights, forecaster.skip, windows, forecaster.channels, forecaster.fed_back)
        numbers["loop"] = run.to_json()
        arrays["free_run"] = run.path.max(axis=1).tolist()
    return {"numbers": _plain(numbers), "arrays": _plain(arrays)}


def _worst(layers: list[Dynamics], dense: float | None) -> dict[str, Any]:
    """Over layers: the largest radius, exponent and saturated share; memory None if one layer never forgets.

    `dense`: the saturated share of the dense layers, which have none of the others.
    """
    shares = [share for share in (dense, *(layer.saturated for layer in layers)) if share is not None]
    saturated = {"saturated": max(shares)} if shares else {}
    if not layers:
        return saturated
    memories = [layer.memory for layer in layers]
    return {
        "spectral_radius": max(layer.spectral_radius for layer in layers),
        "lyapunov": max((layer.lyapunov for layer in layers if layer.lyapunov is not None), default=None),
        "memory": max((m for m in memories if m is not None), default=None) if None not in memories else None,
        **saturated,
    }


def _plain(value: Any) -> Any:
    """Six significant digits, which is what the differences give; JSON has no NaN and no infinity: they are null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
