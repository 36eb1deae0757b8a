"""A fitted one-step map run over any number of rows, with and without measurements: how a model
behaves once it is left to itself, for the audit, the diagnostics and the Python door.

series_parallel   the next row, from rows that were all measured
parallel          any number of rows, also more than it was trained for: the forecasts fed back,
                  nothing measured after the cutoff read

A family that is no one-step map is refused (`is_recursive`), a loop that explodes is a
`ModelError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from forecast.data.panel import Panel, Series
from forecast.data.windows import Windows, require_rows, task_windows
from forecast.forecaster.forecaster import Forecaster
from forecast.networks.inference.streaming import require_finite
from forecast.system.errors import InputError


def series_parallel(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """(n, O) raw forecasts of the row after each of `rows`, per series; every family has them."""
    if is_recursive(forecaster):
        forecasts = parallel(forecaster, panel, rows, horizon=1)
    else:
        forecasts = forecaster.predict(panel, rows)
    return {uid: values[:, 0] for uid, values in forecasts.items()}


def parallel(
    forecaster: Forecaster, panel: Panel, rows: Mapping[str, np.ndarray], *, horizon: int
) -> dict[str, np.ndarray]:
    """(n, horizon, O) raw forecasts per series, closed loop from the last row each may see.

    `InputError` for a family that cannot be closed, `ModelError` for a loop that explodes.
    """
    if not is_recursive(forecaster):
        raise InputError(
            f"Model {forecaster.spec.family!r} is made for {forecaster.task.horizon} steps at once;"
            " it has no loop that could be closed and run on. Use `predict` for those steps, train"
            " it with a longer `horizon`, or take a recursive family (arx, narx, jordan)."
        )
    if horizon < 1:
        raise InputError(f"A closed loop over {horizon} steps was asked for; wanted at least 1.")
    forecaster.require_series(panel, rows)
    forecasts = {}
    for uid, cutoff_rows in rows.items():
        series = panel.by_id[uid]
        cutoff_rows = np.asarray(cutoff_rows)
        require_rows(forecaster.task, series, cutoff_rows)
        scaled = [np.empty((0, horizon, forecaster.channels.outputs))]
        with np.errstate(over="ignore", invalid="ignore"):
            scaled += [
                forecaster.run_closed_loop(part, horizon)
                for part in _windows(forecaster, series, cutoff_rows, horizon)
            ]
        require_finite(run := np.concatenate(scaled))
        forecasts[uid] = forecaster.to_raw_units(run, series, cutoff_rows)
    return forecasts


def is_recursive(forecaster: Forecaster) -> bool:
    """Whether the model is a one-step map alone, whose loop can be closed over any horizon."""
    return forecaster.spec.is_recursive and forecaster.correction is None


def _windows(
    forecaster: Forecaster, series: Series, cutoff_rows: np.ndarray, horizon: int
) -> Iterator[Windows]:
    """The windows that end at `cutoff_rows`, with what is known ahead up to the end of the longest
    run; `InputError` where it is not known as far.
    """
    if not len(cutoff_rows):
        return iter(())
    rows_needed = int(cutoff_rows.max()) + horizon + 1
    future = series.future
    if future.shape[1] == 0:  # without such inputs there is no end
        future = np.zeros((rows_needed, 0))
    if rows_needed > len(future):
        raise InputError(
            f"Series {series.unique_id!r}: {horizon} steps from row {int(cutoff_rows.max())} need"
            f" known-future inputs up to row {rows_needed - 1}; they are known up to row"
            f" {len(future) - 1}. Start earlier, or ask for fewer."
        )
    z = forecaster.scaling.scale_series(series, forecaster.task)
    return task_windows(
        forecaster.task, z, future, cutoff_rows, unique_id=series.unique_id, horizon=horizon
    )
