"""Statistical models: one fit per series and target, then filtered forward with fixed parameters.

A family's file has a small frozen dataclass of fitted numbers (`SeriesModel`) beside its spec. The
spec's `fit_model` makes it, by statsforecast where that has the method; its `forecasts` runs the
fitted recursion once over the whole series and reads the forecasts off at the origins. So the state
at an origin is a function of the rows up to that origin only, and no parameter is estimated after
the fit.

    fit       every series alone, on its train rows, gaps filled forward; in the target's own units
              where all values are above zero, else scaled, so that a zero is none any more: a
              family for counts would need a switch in `_fit_targets`
    refit     the same on more rows; `fit_model` is then given the earlier fit, whose form may stay
    predict   from the first row of the fit on: a history that begins later is refused

What cannot be fitted is a `ModelError` that names the family, and so is a forecast that is not
finite.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from forecast.data.panel import Series
from forecast.data.windows import fill_gaps, require_rows
from forecast.models.base import TrainableSpec
from forecast.models.problem import FittedForecaster, ForecastRequest, Parameters, Problem
from forecast.models.series_fit import Array, SeriesFit, SeriesModel, Units
from forecast.system.errors import InputError, ModelError


class StatisticalSpec(TrainableSpec):
    """A statistical model fitted per series at the train end, its state filtered forward to every
    origin.
    """

    kind = "statistical"
    series_model: ClassVar[type[SeriesModel]]
    """The family's `SeriesModel`: the dataclass that `fit_model` returns."""
    starts_at_train_end = True
    can_extend_horizon: ClassVar[bool] = True

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> SeriesModel:
        """The family's own fit to all of y (T,), without a gap; any exception means it failed.

        season: steps of one season, 1 for none. before: of a second fit on more rows, the fit on
        fewer; a family with a costly search keeps its form.
        """
        raise NotImplementedError

    def modules(self) -> list[str]:
        """The modules found by name that it runs: part of the key of its results."""
        return [*super().modules(), self.series_model.__module__]

    def refit_chosen(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
        """Its parameters from more rows, with what the first fit chose."""
        return self.fit(problem, seed=seed, before=chosen.statistical)

    def fit(
        self,
        problem: Problem,
        *,
        seed: int,
        before: Mapping[str, Sequence[SeriesFit]] = MappingProxyType({}),
    ) -> Parameters:
        """One fit per series and target on the train rows; `seed` is not used.

        before: by series the fits on fewer rows.
        """
        fits = {uid: self._fit_targets(problem, uid, before.get(uid, ())) for uid in problem.blocks}
        return Parameters(series=fits)

    def _fit_targets(
        self, problem: Problem, uid: str, before: Sequence[SeriesFit]
    ) -> list[SeriesFit]:
        """The fits of all targets of one series; `before`: those on fewer rows, or none.

        In the units of modelling (after a target's transform, not standardised) where all values
        are above zero, so that a season or an error may multiply; scaled elsewhere, which the
        optimisers inside find easier (`ets_seasonal` on temperatures: 1.40 °C, else 1.46).
        """
        season = problem.panel.task.season_length
        start, stop = problem.blocks[uid].train
        begins = _format_second(problem.panel.by_id[uid].ds[start])
        train = fill_gaps(problem.scaled(uid)[None, start:stop, : problem.panel.outputs])[0][0]
        fits = []
        for output, scaled in enumerate(train.T):
            unscaled = problem.scaling.unscale(scaled, uid, output)
            y = unscaled
            units: Units = "own"
            if unscaled.min() <= 0:
                y = scaled
                units = "scaled"
            # in other units a form that multiplies may not be allowed
            earlier = None
            if before and before[output].units == units:
                earlier = before[output].model
            fits.append(SeriesFit(self.fit_series(y, season, earlier), begins, units))
        return fits

    def fit_series(self, y: Array, season: int, before: SeriesModel | None = None) -> SeriesModel:
        """`fit_model` on a copy of y (T,); `ModelError` when the model cannot be fitted."""
        try:
            with warnings.catch_warnings():
                # of the optimisers inside: what they found is judged by its errors
                warnings.simplefilter("ignore")
                return self.fit_model(np.array(y, dtype=np.float64), season, before)
        except (InputError, ModelError):
            raise
        except Exception as error:
            # statsforecast raises bare Exception, ValueError, NotImplementedError, LinAlgError
            raise ModelError(
                f"{self.family} cannot be fitted to {len(y)} rows with season {season}: {error}."
            ) from error

    def predict(
        self, model: FittedForecaster, given: Sequence[ForecastRequest]
    ) -> list[np.ndarray]:
        """(n, H, O) in raw units of each series; `ModelError` where the recursion is not
        finite.
        """
        return [
            model.to_raw_units(self.forecast_series(model, series, rows), series, rows)
            for series, rows in given
        ]

    def forecast_series(
        self, model: FittedForecaster, series: Series, rows: np.ndarray
    ) -> np.ndarray:
        """(n, H, O) in scaled units of one series at `rows`; `ModelError` where one is not
        finite.
        """
        require_rows(model.task, series, rows)
        uid = series.unique_id
        scaling = model.scaling
        fits = model.statistical[uid]
        first = _recursion_start(fits[0].begins, series)
        z = scaling.scale_series(series, model.task)
        history = fill_gaps(z[None, first:, : model.channels.outputs])[0][0]
        outputs = []
        for output, fitted in enumerate(fits):
            y = history[:, output]
            if fitted.units == "own":
                y = scaling.unscale(y, uid, output)
            y_hat = fitted.model.forecasts(y, rows - first, model.task.horizon)
            if fitted.units == "own":
                y_hat = scaling.rescale(y_hat, uid, output)
            outputs.append(y_hat)
        forecasts = np.stack(outputs, axis=2)
        if not np.isfinite(forecasts).all():
            raise ModelError(
                f"{self.family} forecasts of series {series.unique_id!r} are not finite."
            )
        return forecasts


def _recursion_start(begins: str, series: Series) -> int:
    """The row of `series` at the time `begins`, where the recursion began when it was fitted.

    `InputError` for a history that begins later: its states would be others, and every forecast
    wrong in silence.
    """
    start = np.datetime64(begins, "ns")
    first = series.ds[0]
    if first > start:
        raise InputError(
            f"Series {series.unique_id!r}: the history begins at {_format_second(first)}; this"
            f" model's recursion began at {_format_second(start)} and needs every row since. Give"
            " the whole history."
        )
    return int(np.searchsorted(series.ds, start))


def _format_second(moment: np.datetime64) -> str:
    """ISO format, to the second."""
    return str(np.datetime_as_string(moment, unit="s"))
