"""A fitted forecaster in open and closed loop: one step on measured values, any horizon on its own, or simulation.

series_parallel   the next row, from rows that were all measured
parallel          any number of rows, also more than it was trained for: the forecasts fed back, nothing measured
                  after the origin read
simulate          the same over past-only inputs that were measured after the origin: what the model makes of known
                  inputs, not a forecast
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from forecast.data.panel import Panel, Series
from forecast.data.windows import Windows, task_windows
from forecast.forecaster.forecaster import Forecaster
from forecast.networks.inference.streaming import require_finite
from forecast.system.errors import InputError

Rows = Mapping[str, np.ndarray]


def series_parallel(forecaster: Forecaster, panel: Panel, rows: Rows) -> dict[str, np.ndarray]:
    """(n, O) raw forecasts of the row after each of `rows`, per series; every family has them."""
    if is_recursive(forecaster):
        return {uid: values[:, 0] for uid, values in parallel(forecaster, panel, rows, horizon=1).items()}
    return {uid: values[:, 0] for uid, values in forecaster.predict(panel, rows).items()}


def parallel(forecaster: Forecaster, panel: Panel, rows: Rows, *, horizon: int) -> dict[str, np.ndarray]:
    """(n, horizon, O) raw forecasts per series, closed loop from the last row each may see.

    `InputError` for a family that cannot be closed, `ModelFailure` for a loop that explodes.
    """
    _refuse_direct(forecaster)

    def run(series: Series, at: np.ndarray) -> np.ndarray:
        parts = _windows(forecaster, series, at, horizon)
        return np.concatenate([forecaster.closed(windows, horizon) for windows in parts])

    return _of_every_series(forecaster, panel, rows, horizon, run)


def simulate(forecaster: Forecaster, panel: Panel, rows: Rows, *, horizon: int) -> dict[str, np.ndarray]:
    """(n, horizon, O) raw values per series: free run of the targets over the inputs measured after each row."""
    _refuse_direct(forecaster)
    outputs = forecaster.channels.outputs

    def run(series: Series, at: np.ndarray) -> np.ndarray:
        if len(at) and at.max() + horizon >= len(series):
            raise InputError(
                f"Series {series.unique_id!r}: {horizon} steps from row {int(at.max())} end after its last row "
                f"{len(series) - 1}, where no input is measured. Simulate fewer steps, or forecast with `parallel`."
            )
        z = forecaster.scaling.scaled(series, forecaster.task)[:, outputs:]
        runs = []
        for windows in _windows(forecaster, series, at, horizon):
            measured = z[windows.rows[:, None] + np.arange(1, horizon + 1)]
            runs.append(forecaster.closed(windows, horizon, measured=measured))
        return np.concatenate(runs)

    return _of_every_series(forecaster, panel, rows, horizon, run)


def is_recursive(forecaster: Forecaster) -> bool:
    """Whether the model is a one-step map alone, whose loop can be closed over any horizon."""
    return forecaster.spec.recursive and forecaster.correction is None


def _refuse_direct(forecaster: Forecaster) -> None:
    """`InputError` for a family whose loop cannot be closed."""
    if not is_recursive(forecaster):
        raise InputError(
            f"Model {forecaster.spec.family!r} is made for {forecaster.task.horizon} steps at once; it has no loop "
            "that could be closed and run on. Use `predict` for those steps, train it with a longer `horizon`, or "
            "take a recursive family (arx, narx, jordan)."
        )


def _windows(forecaster: Forecaster, series: Series, at: np.ndarray, horizon: int) -> Iterator[Windows]:
    """The windows that end at the rows `at`, with what is known ahead over `horizon` steps."""
    z = forecaster.scaling.scaled(series, forecaster.task)
    future = _future(series, at, horizon)
    return task_windows(forecaster.task, z, future, at, horizon=horizon)


def _future(series: Series, at: np.ndarray, horizon: int) -> np.ndarray:
    """Known-future rows up to the end of the longest run; a dataset without such inputs has no end."""
    needed = int(at.max()) + horizon + 1
    if series.future.shape[1] == 0:
        return np.zeros((needed, 0))
    if needed > len(series.future):
        raise InputError(
            f"Series {series.unique_id!r}: {horizon} steps from row {int(at.max())} need known-future inputs up to "
            f"row {needed - 1}; they are known up to row {len(series.future) - 1}. Start earlier, or ask for fewer."
        )
    return series.future


def _of_every_series(
    forecaster: Forecaster, panel: Panel, rows: Rows, horizon: int, run: Callable[[Series, np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """The scaled runs of `run`, checked before and after, in raw units."""
    if horizon < 1:
        raise InputError(f"A closed loop over {horizon} steps was asked for; wanted at least 1.")
    forecaster.check_known(panel, rows)
    found = {}
    for uid, at in rows.items():
        series, at = panel.by_id[uid], np.asarray(at)
        forecaster.check_rows(series, at)
        if not len(at):
            found[uid] = np.empty((0, horizon, forecaster.channels.outputs))
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = run(series, at)
        require_finite(scaled)
        found[uid] = forecaster.raw(scaled, series, at)
    return found
