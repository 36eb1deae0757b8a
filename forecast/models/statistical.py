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
from forecast.data.windows import filled, require_rows
from forecast.models.base import TrainableSpec
from forecast.models.problem import FittedForecaster, ForecastRequest, Parameters, Problem
from forecast.system.errors import InputError, ModelFailure

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

    def options_again(self, season: int, first: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a second fit, on more rows; `first`: the numbers of the one before, whose
        form may stay.
        """
        return self.options(season)

    def modules(self) -> list[str]:
        return [*super().modules(), self.series_model.__module__]

    def fit_again(self, problem: Problem, chosen: FittedForecaster, *, seed: int) -> Parameters:
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
        season = problem.panel.task.season_length
        result = {}
        for uid, blocks in problem.blocks.items():
            start, stop = blocks.train
            if (
                uid in before
                and problem.chosen_by
                and stop < problem.chosen_by.blocks[uid].train[1]
            ):
                result[uid] = before[uid]
                continue
            begins = np.datetime_as_string(problem.panel.by_id[uid].ds[start], unit="s")
            train = filled(problem.scaled(uid)[None, start:stop, : problem.panel.outputs])[0][0]
            fits = []
            for output, scaled in enumerate(train.T):
                values = problem.scaling.unscaled(scaled, uid, output)
                units = "own" if values.min() > 0 else "scaled"
                chosen = values if units == "own" else scaled
                first = before[uid][output] if uid in before else {}
                # in others a form that multiplies may not be allowed
                same = first.get("units") == units
                options = self.options_again(season, first) if same else self.options(season)
                numbers = series_model_numbers(self.fitted_to(chosen, season, options))
                fits.append({**numbers, "begins": str(begins), "units": units})
            result[uid] = fits
        return Parameters(series=result)

    def fitted_to(self, y: Array, season: int, options: Mapping[str, Any]) -> SeriesModel:
        """Fit on all of `y` (T,); `ModelFailure` when the model cannot be fitted."""
        try:
            with warnings.catch_warnings():
                # of the optimisers inside: what they found is judged by its errors
                warnings.simplefilter("ignore")
                return self.series_model.fit(np.array(y, dtype=np.float64), season, dict(options))
        except (InputError, ModelFailure):
            raise
        except Exception as error:
            # statsforecast raises bare Exception, ValueError, NotImplementedError, LinAlgError
            raise ModelFailure(
                f"{self.family} cannot be fitted to {len(y)} rows with season {season}: {error}."
            ) from error

    def restored(self, description: Mapping[str, Any]) -> SeriesModel:
        """The fitted model that `describe` wrote down."""
        values = {
            key: _tupled(value)
            for key, value in description.items()
            if key not in ("name", "begins", "units")
        }
        return self.series_model(**values)

    def predict(
        self, model: FittedForecaster, given: Sequence[ForecastRequest]
    ) -> list[np.ndarray]:
        """(n, H, O) in raw units of each series; `ModelFailure` where the recursion is not
        finite.
        """
        return [self._run(model, series, rows) for series, rows in given]

    def _run(self, model: FittedForecaster, series: Series, rows: np.ndarray) -> np.ndarray:
        require_rows(model.task, series, rows)
        numbers = model.statistical[series.unique_id]
        first = _first_row(numbers, series)
        z = model.scaling.scaled(series, model.task)
        values = filled(z[None, first:, : model.channels.outputs])[0][0]
        outputs = []
        for o, own in enumerate(numbers):
            # older saved models: all scaled
            uid, unscaled = series.unique_id, own.get("units") == "own"
            seen = model.scaling.unscaled(values[:, o], uid, o) if unscaled else values[:, o]
            said = self.restored(own).forecasts(seen, rows - first, model.task.horizon)
            outputs.append(model.scaling.rescaled(said, uid, o) if unscaled else said)
        forecasts = np.stack(outputs, axis=2)
        if not np.isfinite(forecasts).all():
            raise ModelFailure(
                f"{self.family} forecasts of series {series.unique_id!r} are not finite."
            )
        return model.to_raw_units(forecasts, series, rows)


def _first_row(numbers: list[dict[str, Any]], series: Series) -> int:
    """Where the recursion began when it was fitted; 0 for models saved before that was kept.

    `InputError` for a history that begins later: its states would be others, and every forecast
    wrong in silence.
    """
    begins = np.datetime64(numbers[0].get("begins", series.ds[0]), "ns")
    if series.ds[0] > begins:
        raise InputError(
            f"Series {series.unique_id!r}: the history begins at {_second(series.ds[0])}; this"
            f" model's recursion began at {_second(begins)} and needs every row since. Give the"
            " whole history."
        )
    return int(np.searchsorted(series.ds, begins))


def _second(moment: np.datetime64) -> str:
    return str(np.datetime_as_string(moment, unit="s"))


def series_model_numbers(fitted: SeriesModel) -> dict[str, Any]:
    """The fitted numbers as JSON: for the record, and for `StatisticalSpec.restored`."""
    return {"name": type(fitted).__module__.rsplit(".", 1)[-1], **asdict(fitted)}  # type: ignore[call-overload]


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
