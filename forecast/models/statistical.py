"""Statistical models: fitted on the train range by statsforecast, then filtered forward with fixed
parameters.

A family's file has a small frozen dataclass of fitted numbers beside its spec, see `SeriesModel`:
`fit` makes it, and `forecasts` runs the fitted recursion once over the whole series and reads the
forecasts off at the origins. The state at an origin is a function of the rows up to that origin
only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from forecast.data.panel import Series
from forecast.data.windows import fill_gaps, require_rows
from forecast.models.base import TrainableSpec
from forecast.models.problem import FittedForecaster, ForecastRequest, Parameters, Problem
from forecast.system.errors import InputError, ModelError

Array = npt.NDArray[np.float64]
RowNumbers = npt.NDArray[np.int64]


class SeriesModel(Protocol):
    """A fitted model: plain numbers (`dataclasses.asdict` gives JSON), how they are found, and what
    they forecast.
    """

    @classmethod
    def fit(cls, y: Array, season: int, options: dict[str, Any]) -> SeriesModel:
        """On all of `y`; `options` as `StatisticalSpec.options` has them."""

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """(n_origins, horizon): row k sees y[: origins[k] + 1] and nothing after it."""


class StatisticalSpec(TrainableSpec):
    """A statistical model fitted per series at the train end, its state filtered forward to every
    origin.
    """

    kind = "statistical"
    series_model: ClassVar[type[SeriesModel]]
    starts_at_train_end = True
    can_extend_horizon: ClassVar[bool] = True

    def options(self, season: int) -> dict[str, Any]:
        """Arguments of the fit, given the dataset's season."""
        return {}

    def refit_options(self, season: int, first: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a second fit, on more rows; `first`: the numbers of the one before, whose
        form may stay.
        """
        return self.options(season)

    def modules(self) -> list[str]:
        """The modules found by name that it runs: part of the key of its results."""
        return [*super().modules(), self.series_model.__module__]

    def refit_chosen(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
        """Its parameters from more rows, with what the first fit chose."""
        return self.fit(problem, seed=seed, before=chosen.statistical)

    def fit(
        self, problem: Problem, *, seed: int, before: Mapping[str, Any] = MappingProxyType({})
    ) -> Parameters:
        """One fit per series and output on the train rows, gaps filled forward; `before`: those of
        fewer rows, which a series keeps that begins so late that it has no more yet.

        In the target's own units where all of them are above zero, so that a season or an error may
        multiply; scaled elsewhere, which the optimisers inside find easier (`ets_seasonal` on
        temperatures: 1.40 °C, else 1.46).
        """
        fits = {}
        for uid, blocks in problem.blocks.items():
            first_problem = problem.chosen_by
            if (
                uid in before
                and first_problem
                and blocks.train[1] < first_problem.blocks[uid].train[1]
            ):
                fits[uid] = before[uid]
            else:
                fits[uid] = self._fit_outputs(problem, uid, before.get(uid, []))
        return Parameters(series=fits)

    def _fit_outputs(
        self, problem: Problem, uid: str, before: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The numbers of each output of one series; `before`: those of fewer rows, or none."""
        season = problem.panel.task.season_length
        start, stop = problem.blocks[uid].train
        begins = _format_second(problem.panel.by_id[uid].ds[start])
        train = fill_gaps(problem.scaled(uid)[None, start:stop, : problem.panel.outputs])[0][0]
        fits = []
        for output, scaled in enumerate(train.T):
            y, units = problem.scaling.unscale(scaled, uid, output), "own"
            if y.min() <= 0:
                y, units = scaled, "scaled"
            options = self.options(season)
            # in other units a form that multiplies may not be allowed
            if before and before[output]["units"] == units:
                options = self.refit_options(season, before[output])
            numbers = series_model_numbers(self.fit_series(y, season, options))
            fits.append({**numbers, "begins": begins, "units": units})
        return fits

    def fit_series(self, y: Array, season: int, options: Mapping[str, Any]) -> SeriesModel:
        """Fit on all of `y` (T,); `ModelError` when the model cannot be fitted."""
        try:
            with warnings.catch_warnings():
                # of the optimisers inside: what they found is judged by its errors
                warnings.simplefilter("ignore")
                return self.series_model.fit(np.array(y, dtype=np.float64), season, dict(options))
        except (InputError, ModelError):
            raise
        except Exception as error:
            # statsforecast raises bare Exception, ValueError, NotImplementedError, LinAlgError
            raise ModelError(
                f"{self.family} cannot be fitted to {len(y)} rows with season {season}: {error}."
            ) from error

    def restore_series(self, description: Mapping[str, Any]) -> SeriesModel:
        """The fitted model of these numbers (`series_model_numbers`)."""
        names = description.keys() - {"name", "begins", "units"}
        return self.series_model(**{name: _as_tuples(description[name]) for name in names})

    def predict(
        self, model: FittedForecaster, given: Sequence[ForecastRequest]
    ) -> list[np.ndarray]:
        """(n, H, O) in raw units of each series; `ModelError` where the recursion is not
        finite.
        """
        return [self._predict_series(model, series, rows) for series, rows in given]

    def _predict_series(
        self, model: FittedForecaster, series: Series, rows: np.ndarray
    ) -> np.ndarray:
        """(n, H, O) in raw units of one series at `rows`."""
        require_rows(model.task, series, rows)
        uid, scaling = series.unique_id, model.scaling
        numbers = model.statistical[uid]
        first = _recursion_start(numbers, series)
        z = scaling.scale_series(series, model.task)
        history = fill_gaps(z[None, first:, : model.channels.outputs])[0][0]
        outputs = []
        for output, fitted_numbers in enumerate(numbers):
            y = history[:, output]
            is_unscaled = fitted_numbers["units"] == "own"
            if is_unscaled:
                y = scaling.unscale(y, uid, output)
            series_model = self.restore_series(fitted_numbers)
            forecast = series_model.forecasts(y, rows - first, model.task.horizon)
            if is_unscaled:
                forecast = scaling.rescale(forecast, uid, output)
            outputs.append(forecast)
        forecasts = np.stack(outputs, axis=2)
        if not np.isfinite(forecasts).all():
            raise ModelError(
                f"{self.family} forecasts of series {series.unique_id!r} are not finite."
            )
        return model.to_raw_units(forecasts, series, rows)


def _recursion_start(numbers: list[dict[str, Any]], series: Series) -> int:
    """The row at which the recursion began when it was fitted.

    `InputError` for a history that begins later: its states would be others, and every forecast
    wrong in silence.
    """
    begins, first = np.datetime64(numbers[0]["begins"], "ns"), series.ds[0]
    if first > begins:
        raise InputError(
            f"Series {series.unique_id!r}: the history begins at {_format_second(first)}; this"
            f" model's recursion began at {_format_second(begins)} and needs every row since. Give"
            " the whole history."
        )
    return int(np.searchsorted(series.ds, begins))


def _format_second(moment: np.datetime64) -> str:
    """ISO format, to the second."""
    return str(np.datetime_as_string(moment, unit="s"))


def series_model_numbers(fitted: SeriesModel) -> dict[str, Any]:
    """The fitted numbers as JSON: for the record, and for `StatisticalSpec.restore_series`."""
    name = type(fitted).__module__.rsplit(".", 1)[-1]
    return {"name": name, **asdict(fitted)}  # type: ignore[call-overload]


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
