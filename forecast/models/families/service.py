"""Family `service`: the data provider's own forecasts, as they were known at each cutoff.

Nothing is fitted: `fit` stores the newest issue before each cutoff (`forecast.data.vintages`), and
`predict` looks it up, in raw units. It is left out where the source stores no forecasts with their
issue times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecast.data.panel import Series
from forecast.data.windows import require_rows
from forecast.models.base import ModelSpec
from forecast.models.problem import FittedForecaster, ForecastRequest, Parameters, Problem
from forecast.system.errors import ModelError


class Spec(ModelSpec):
    """An entry of this family: the forecasts that the provider of the data had issued by then."""

    kind = "baseline"
    reads_history = False
    needs_vintages = True
    summary = "What the weather service itself had forecast by then: nothing here is fitted."
    equation = "y[t+h] = s(t+h; u), u the newest issue <= t"
    source = "the service's own archive of forecasts, with the time of their issue"

    def n_params(self, model: FittedForecaster) -> int:
        """How many numbers were fitted to data: none."""
        return 0

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """The arrays of each series: its cutoffs `<id>/cutoff` (n,) in ns, and the provider's
        forecasts at them, `<id>/forecast` (n, H, O). `ModelError` where none are stored.
        """
        if problem.vintages is None or problem.vintages.empty:
            raise ModelError(
                f"No forecasts of the provider are kept for dataset {problem.panel.name!r}. Set"
                " `forecast_url` or `previous_runs_url` of its source and fetch."
            )
        targets = problem.panel.task.targets
        shape = (-1, problem.panel.task.horizon, len(targets))
        arrays = {}
        for uid, rows in problem.vintages.groupby("unique_id", sort=True):
            cutoffs = rows.loc[rows["step"] == 1, "cutoff"].to_numpy("datetime64[ns]")
            arrays[f"{uid}/cutoff"] = cutoffs.astype(np.int64)
            arrays[f"{uid}/forecast"] = rows[targets].to_numpy(dtype=np.float64).reshape(shape)
        return Parameters(arrays)

    def predict(
        self, model: FittedForecaster, given: Sequence[ForecastRequest]
    ) -> list[np.ndarray]:
        """The provider's forecasts (n, H, O) of each request in raw units; `ModelError` where a
        cutoff has none for the whole horizon.
        """
        return [self._predict_series(model, series, rows) for series, rows in given]

    def _predict_series(
        self, model: FittedForecaster, series: Series, rows: np.ndarray
    ) -> np.ndarray:
        """`predict` for one series at `rows`."""
        require_rows(model.task, series, rows)
        cutoffs = series.ds[rows].astype("datetime64[ns]").astype(np.int64)
        stored = model.weights.get(f"{series.unique_id}/cutoff", np.empty(0, dtype=np.int64))
        is_missing = ~np.isin(cutoffs, stored)
        if is_missing.any():
            first_missing = series.ds[rows[is_missing][0]].astype("datetime64[m]")
            raise ModelError(
                f"The provider has no forecast of the whole horizon at {int(is_missing.sum())} of"
                f" {len(rows)} origins of series {series.unique_id!r}, first at"
                f" {first_missing}. Keep more of its forecasts"
                " (`previous_runs_url`), or move the dates under `splits`."
            )
        return model.weights[f"{series.unique_id}/forecast"][
            np.searchsorted(stored, cutoffs)
        ].copy()
