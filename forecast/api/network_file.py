"""Writes a trained network as one Python file that needs NumPy alone (`write_network`), with its
channel names and scaling in a .json beside it.

The file is the sum of a network and a linear skip in scaled units. Combinations, recursive
networks, distributions and differenced targets are refused.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from forecast.data.windows import Windows
from forecast.forecaster import Forecaster
from forecast.forecaster.ensemble import Ensemble
from forecast.models.skip import Skip, calendar_products
from forecast.networks.inference.export import LinearSkip, export, source_with_helpers
from forecast.system import files
from forecast.system.errors import InputError, quote_names


def write_network(ensemble: Ensemble, path: Path, *, seed: int = 0) -> None:
    """Write one forecaster of the ensemble to `path`, a .py file, and a .json beside it.

    The file forecasts in scaled units from windows of input channels; the .json has their names and
    the scaling. seed: the number of the forecaster in the ensemble, from 0. Raises `InputError` for
    a model that is not one network with a linear skip, and for another suffix.
    """
    if path.suffix != ".py":
        raise InputError(f"{path.name}: wanted a name that ends in '.py', of the file to write.")
    if seed not in range(len(ensemble.forecasters)):
        raise InputError(f"seed={seed}: wanted a place among the seeds of the fit, from 0 on.")
    forecaster = ensemble.forecasters[seed]
    if forecaster.network is None or ensemble.members:
        described = repr(forecaster.spec.family)
        if ensemble.members:
            described = f"the combination of {quote_names(ensemble.members)}"
        raise InputError(
            f"Model {described} is no network. Name a network, such as 'gru' or 'lstm'."
        )
    export(
        forecaster.network,
        forecaster.weights,
        path,
        description=forecaster.spec.equation,
        linear=_linear_map(forecaster),
    )
    description = {
        "past": _channel_names(forecaster),
        "scaling": forecaster.scaling.to_json(),
        "task": forecaster.task.model_dump(mode="json"),
    }
    files.write_json(path.with_suffix(".json"), description)


def _channel_names(forecaster: Forecaster) -> list[str]:
    """The names of the input channels of a window, in order; a column that may be missing has two
    more: whether it was observed, and the rows since it was.
    """
    names = []
    for name, mask in zip(forecaster.task.frame_names, forecaster.channels.mask, strict=True):
        names.append(name)
        if mask >= 0:
            names += [f"{name} observed", f"{name} since"]
    return names


def _linear_skip(forecaster: Forecaster) -> Skip:
    """The skip of a forecaster; `InputError` where the forecaster is not the sum of one network and
    a skip that is the same for all series.
    """
    if any(target.difference_inputs for target in forecaster.task.target):
        obstacle = "changes of the target; fit without `difference_inputs`"
    elif forecaster.spec.is_recursive:
        obstacle = "its own forecasts fed back; fit a direct network, such as 'gru'"
    elif forecaster.head is not None:
        obstacle = "a distribution; fit without `head`"
    elif forecaster.skip is None or forecaster.correction is not None:
        obstacle = "no skip"
    elif len(set(forecaster.skip.change_weights.values())) > 1:
        obstacle = "another weight of the line in each series; fit one series"
    else:
        return forecaster.skip
    raise InputError(
        f"Model {forecaster.spec.family!r} is not one network and a line: it has {obstacle}."
    )


def _linear_map(forecaster: Forecaster) -> LinearSkip:
    """The skip as a linear map of a flattened window. Its products with the calendar have a map of
    their own, and the source code that makes them.

    The map is found by forecasting from unit vectors, which works for any linear kind of skip. In
    the file, levels outside of those of the fit are not limited.
    """
    skip = _linear_skip(forecaster)
    # `_linear_skip` refuses series with different ones
    (change_weights,) = set(skip.change_weights.values()) or {(1.0,) * skip.outputs}
    # "": the series of `_unit_windows`
    skip = replace(skip, level_ranges={}, change_weights={"": change_weights})
    task = forecaster.task
    channels = forecaster.channels
    n_past = task.lookback * channels.n_channels
    n_future = task.horizon * task.n_step_inputs
    windows = _unit_windows(forecaster, n_past, n_future)
    product_map = None
    code = ""
    if skip.profile:
        arguments = (
            task.horizon,
            (skip.profile, skip.harmonics),
            skip.product_lags,
            skip.unread,
            skip.reads_level,
        )
        n_products = calendar_products(windows, channels, *arguments).shape[1]
        columns = slice(-1 - n_products, -1)  # before the constant
        product_map = skip.coefficients[columns] * np.tile(change_weights, skip.horizon)
        without_products = np.delete(skip.coefficients, columns, axis=0)
        code = _products_code(forecaster, arguments)
        skip = replace(skip, profile=(), harmonics=(), coefficients=without_products)
    forecasts = skip.forecast(windows, channels).reshape(1 + n_past + n_future, -1)
    bias = forecasts[0]
    slopes = forecasts[1:] - bias
    future_slopes = slopes[n_past:] if n_future else None
    return LinearSkip(slopes[:n_past], bias, future_slopes, product_map, code)


def _unit_windows(forecaster: Forecaster, n_past: int, n_future: int) -> Windows:
    """1 + n_past + n_future windows; flattened, the first is zero and the others are the unit
    vectors of all past inputs and of the future inputs in the horizon.
    """
    task = forecaster.task
    channels = forecaster.channels
    basis = np.eye(1 + n_past + n_future)[:, 1:]
    n_windows = len(basis)
    past = basis[:, :n_past].reshape(n_windows, task.lookback, -1)
    future = np.zeros((n_windows, task.rows_per_origin, task.n_step_inputs))
    future[:, task.lookback :] = basis[:, n_past:].reshape(n_windows, task.horizon, -1)
    return Windows(
        z=past[:, :, list(channels.value)],
        past=past,
        future=future,
        last=past[:, -1, list(channels.target_channels)],
        rows=np.arange(n_windows),
        series=np.full(n_windows, ""),
    )


def _products_code(forecaster: Forecaster, arguments: tuple[object, ...]) -> str:
    """Python source of `products_of(past, future)`, which needs nothing of this package."""
    channels = {
        **asdict(forecaster.channels),  # has no cached properties
        "past_channels": forecaster.channels.past_channels,
        "target_channels": forecaster.channels.target_channels,
    }
    call = (
        "calendar_products(SimpleNamespace(past=past, future=future),"
        f" SimpleNamespace(**{channels}),"
        f" *{arguments})"
    )
    imports = "import itertools\nfrom types import SimpleNamespace"
    return "\n\n\n".join(
        [
            "",
            imports,
            source_with_helpers(calendar_products),
            f"def products_of(past, future):\n    return {call}",
        ]
    )
