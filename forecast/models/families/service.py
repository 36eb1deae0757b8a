"""Family `service`: the data provider's own forecasts, as they stood when each of our forecasts is
made.

Nothing is fitted: `fit` keeps the newest issue by each cutoff (`forecast.data.vintages`), `predict`
looks it up, in raw units. It is left out where the source stores no forecasts with their time of
issue, and refuses a cutoff that the provider has no whole forecast of.
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
        """Numbers fitted to data."""
        return 0

    def fit(self, problem: Problem, *, seed: int) -> Parameters:
        """Per series the cutoffs `<id>/cutoff` (n,) in ns and the provider's forecasts then,
        `<id>/forecast` (n, H, O); rows of vintages lie by cutoff, then step. `ModelError` where
        none are kept.
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
        """(n, H, O) in raw units, as the provider gave them; `ModelError` unless there is one at
        every origin.
        """
        return [self._predict_series(model, series, rows) for series, rows in given]

    def _predict_series(
        self, model: FittedForecaster, series: Series, rows: np.ndarray
    ) -> np.ndarray:
        """(n, H, O) in raw units of one series at `rows`; `ModelError` where one has no whole
        forecast.
        """
        require_rows(model.task, series, rows)
        cutoffs = series.ds[rows].astype("datetime64[ns]").astype(np.int64)
        issued = model.weights.get(f"{series.unique_id}/cutoff", np.empty(0, dtype=np.int64))
        is_missing = ~np.isin(cutoffs, issued)
        if is_missing.any():
            first_missing = series.ds[rows[is_missing][0]].astype("datetime64[m]")
            raise ModelError(
                f"The provider has no forecast of the whole horizon at {int(is_missing.sum())} of"
                f" {len(rows)} origins of series {series.unique_id!r}, first at"
                f" {first_missing}. Keep more of its forecasts"
                " (`previous_runs_url`), or move the dates under `splits`."
            )
        return model.weights[f"{series.unique_id}/forecast"][
            np.searchsorted(issued, cutoffs)
        ].copy()
