"""What other tools read: the results of a run as frames (`unique_id, ds, cutoff, y, <model>,
<model>-lo-80, …`), and a trained network as a file for NumPy, Keras or ONNX.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.api.model import windows
from forecast.config.task import load_task
from forecast.data.panel import with_series
from forecast.data.results import BASELINE, MEAN, Results
from forecast.data.windows import Windows
from forecast.forecaster import Forecaster
from forecast.forecaster.ensemble import Ensemble, ensemble_of
from forecast.models.skip import products
from forecast.networks.inference.export import Linear, with_helpers
from forecast.networks.inference.export import export as numpy_file
from forecast.system import files
from forecast.system.errors import InputError, nearest, quote_names


def cross_validation(
    results: Results,
    *,
    ranking: str = "shipped",
    models: Sequence[str] = (),
    levels: float | Sequence[float] = (),
) -> pd.DataFrame:
    """The forecasts of every origin of the test block, a column per model; of several seeds their
    mean.

    levels: of the intervals, in percent. With several targets `unique_id` is series/column. A model
    that could not be fitted has no column; `InputError` for one that is not there.
    """
    rows = [
        name
        for name in candidates(results, ranking, models)
        if not results.records[name].has_failed
    ]
    found = [_own(results, name, levels) for name in rows]
    if not found:
        raise InputError(
            f"Dataset {results.name!r} has no forecasts in ranking {ranking!r}. Run `dvc repro`."
        )
    whole = found[0]
    for own in found[1:]:
        whole = whole.merge(
            own.drop(columns="y"), on=["unique_id", "ds", "cutoff"], how="outer", validate="1:1"
        )
    return whole.sort_values(["unique_id", "cutoff", "ds"], kind="stable").reset_index(drop=True)


def observations(results: Results) -> pd.DataFrame:
    """What was forecast and from what: `unique_id, ds, y` and the past exogenous columns, all
    blocks.

    With several targets `unique_id` is series/column, one below the other.
    """
    task = load_task(results.paths.task(results.name))
    frame = files.read_frame(results.paths.frame(results.name))
    past = [column.name for column in task.past_exogenous]
    table = with_series(frame.melt(["unique_id", "ds", *past], task.targets, "output", "value"))
    return table.assign(unique_id=table["series"], y=table["value"])[
        ["unique_id", "ds", "y", *past]
    ]


def leaderboard(results: Results, *, ranking: str = "shipped") -> pd.DataFrame:
    """One row per model (a network: its seeds' mean forecast), lowest MASE first."""
    rows = results.board(ranking)
    return (
        rows[rows["seed"] == MEAN]
        .sort_values(["mase", "model"], na_position="last")
        .reset_index(drop=True)
    )


def candidates(results: Results, ranking: str, models: Sequence[str]) -> list[str]:
    """Of these models, or of all, the names of their records; `InputError` for one that is not
    there.
    """
    own = {r.model: name for name, r in results.records.items() if r.ranking in (ranking, BASELINE)}
    for model in models:
        if model not in own:
            where = f"ranking {ranking!r} of dataset {results.name!r}"
            raise InputError(f"Model {model!r} is not in {where}.{nearest(model, own)}.")
    return [name for row, name in own.items() if row in (models or own)]


def _own(results: Results, candidate: str, levels: float | Sequence[float]) -> pd.DataFrame:
    """One model's part: `unique_id, ds, cutoff, y`, its name, its intervals."""
    model, ensemble = (
        results.records[candidate].model,
        ensemble_of(results.folder(candidate)),
    )
    table, columns = windows(results.forecasts(candidate, "test"), ensemble, model, levels)
    return table.assign(unique_id=table["series"])[["unique_id", *columns]]


def trained(results: Results, model: str, ranking: str) -> Ensemble:
    """What serves of one model; empty: of the chosen one.

    `InputError` where it is unknown or could not be fitted.
    """
    (found,) = candidates(results, ranking, [model or str(results.chosen(ranking))])
    return ensemble_of(results.folder(found))


NEEDS = {".py": (), ".keras": ("tensorflow",), ".onnx": ("tensorflow", "tf2onnx")}
"""Ending of a network's file → the packages that write it."""


def network_file(ensemble: Ensemble, path: Path, *, member: int = 0) -> None:
    """One forecaster of the ensemble (one seed) as `path`: .py (NumPy alone), .keras or .onnx;
    beside it a .json.

    The file forecasts in scaled units from windows of input channels; the .json has their names and
    the scaling. `InputError` for a model that is more than one pass of a network and a linear map,
    and for a missing package.
    """
    if path.suffix not in NEEDS:
        raise InputError(
            f"{path.name}: wanted a name that ends in {quote_names(NEEDS)}. Rename it."
        )
    for package in NEEDS[path.suffix]:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"A {path.suffix} file needs {package}. Install it: `pip install {package}`."
            )
    one = ensemble.forecasters[member]
    if one.network is None or ensemble.members:
        found = (
            f"the combination of {quote_names(ensemble.members)}"
            if ensemble.members
            else repr(one.spec.family)
        )
        raise InputError(f"Model {found} is no network. Name a network, such as 'gru' or 'lstm'.")
    linear, network = _linear(one), one.network
    if path.suffix == ".py":
        numpy_file(network, one.weights, path, description=one.spec.equation, linear=linear)
    elif linear.products is None:
        from forecast.networks.layers.assemble import write

        write(
            network,
            one.weights,
            [w for w in (linear.kernel, linear.bias, linear.future) if w is not None],
            path,
        )
    else:
        raise InputError(
            f"Model {one.spec.family!r} stands on products with the calendar, which a {path.suffix}"
            " file has not. Export to a .py file, or fit with `calendar_features=()`."
        )
    past = [
        [c.name, *([f"{c.name} observed", f"{c.name} since"] * c.may_be_missing)]
        for c in one.task.columns
    ]
    about = {
        "past": list(chain(*past)),
        "scaling": one.scaling.to_json(),
        "task": one.task.model_dump(mode="json"),
    }
    files.write_json(path.with_suffix(".json"), about)


def _linear(one: Forecaster) -> Linear:
    """The skip as a linear map of a flattened window, and of products with the calendar where it
    has them.

    Found by asking the skip for windows of which one number is 1: whatever kind it is, as long as
    it is linear.
    """
    task, skip = one.task, one.skip
    curved = "a distribution; fit without `head`" if one.head is not None else ""
    curved = (
        "its own forecasts fed back; fit a direct network, such as 'gru'"
        if one.spec.recursive
        else curved
    )
    curved = (
        "changes of the target; fit without `difference_inputs`"
        if task.target[0].difference_inputs
        else curved
    )
    if curved or skip is None or one.correction is not None:
        raise InputError(
            f"Model {one.spec.family!r} is not one network and a line: it has"
            f" {curved or 'no skip'}."
        )
    columns = 2 * len(task.calendar_features)
    size, ahead = task.lookback * one.channels.channels, task.horizon * columns
    basis = np.vstack([np.zeros(size + ahead), np.eye(size + ahead)])
    past = basis[:, :size].reshape(len(basis), task.lookback, -1)
    future = np.zeros((len(basis), task.lookback + task.horizon, columns))
    future[:, task.lookback :] = basis[:, size:].reshape(len(basis), task.horizon, -1)
    last = past[:, -1, list(one.channels.target_channels)]
    windows = Windows(
        past[:, :, list(one.channels.value)], past, future, last, np.arange(len(basis))
    )
    turned, code = None, ""
    if skip.harmonics:
        shape = task.horizon, skip.harmonics, skip.product_lags, skip.unread
        own = slice(-1 - products(windows, one.channels, *shape).shape[1], -1)
        turned, plain = skip.coefficients[own], np.delete(skip.coefficients, own, axis=0)
        channels = {
            **vars(one.channels),
            "leads": one.channels.leads,
            "target_channels": one.channels.target_channels,
        }
        called = (
            f"products(SimpleNamespace(past=past, future=future), SimpleNamespace(**{channels}),"
            f" *{shape})"
        )
        parts = "import itertools\nfrom types import SimpleNamespace", with_helpers(products)
        code = "\n\n\n".join(["", *parts, f"def products_of(past, future):\n    return {called}"])
        skip = replace(skip, harmonics=(), coefficients=plain)
    found = skip.forecast(windows, one.channels).reshape(len(basis), -1)
    slopes = found[1:] - found[0]
    return Linear(slopes[:size], found[0], slopes[size:] if ahead else None, turned, code)
