"""Statistical models: one fit per series and target, then filtered forward with fixed parameters.

A family's file has a small frozen dataclass of fitted numbers (`SeriesModel`) beside its spec. The
spec's `fit_model` makes it, by statsforecast where that has the method; its `forecasts` runs the
fitted recursion once over the whole series and reads the forecasts off at the origins. So the state
at an origin is a function of the rows up to that origin only, and no parameter is estimated after
the fit.

    fit       every series alone, on its train rows, gaps filled forward; in scaled units, so that
              the unit of the target makes no difference, and from the target's own zero where all
              values are above it: a family for counts would need a switch in `_fit_targets`
    refit     the same on more rows; `fit_model` is then given the earlier fit, whose form may stay
    predict   from the first row of the fit on: a history that begins later is refused

A fit sees values that are rounded to `FIT_DECIMALS`, a forecast sees them unrounded, so that an
exact zero of the fit may be 1e-16 there: a family that asks for zeros has to round.

What cannot be fitted is a `ModelError` that names the family, and so is a forecast that is not
finite. A forecast far beyond all values up to its origin is held (`hold_to_history`).
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
from forecast.models.series_fit import Array, RowNumbers, SeriesFit, SeriesModel
from forecast.system.errors import InputError, ModelError

FIT_DECIMALS = 9
"""Of what a fit is given, in scaled units. A zero that was scaled and moved back is 1e-16, which
would let an error or a season multiply; and the last bits, which differ with the unit of the
target, lead some searches (ARIMA of two and two terms) to another optimum.
"""


class StatisticalSpec(TrainableSpec):
    """A statistical model fitted per series at the train end, its state filtered forward to every
    origin.
    """

    kind = "statistical"
    series_model: ClassVar[type[SeriesModel]]
    """The family's `SeriesModel`: the dataclass that `fit_model` returns."""
    least_rows: ClassVar[int] = 1
    """Rows that a fit needs."""
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
        return Parameters(
            series={
                uid: self._fit_targets(problem, uid, before.get(uid, ())) for uid in problem.blocks
            }
        )

    def _fit_targets(
        self, problem: Problem, uid: str, before: Sequence[SeriesFit]
    ) -> list[SeriesFit]:
        """The fits of all targets of one series; `before`: those on fewer rows, or none.

        Divided by the scale of the train rows, not centred, where all values are above zero, so
        that a season or an error may multiply; scaled elsewhere, which the optimisers inside find
        easier (`ets_seasonal` on temperatures: 1.40 °C, else 1.46).
        """
        season = problem.panel.task.season_length
        start, stop = problem.blocks[uid].train
        begins = _format_second(problem.panel.by_id[uid].ds[start])
        train = fill_gaps(problem.scaled(uid)[None, start:stop, : problem.panel.outputs])[0][0]
        centres = problem.scaling.centre[uid] / problem.scaling.scale[uid]
        fits = []
        for output, scaled in enumerate(train.T):
            offset = float(centres[output])
            if np.round(scaled + offset, FIT_DECIMALS).min() <= 0:
                offset = 0.0
            y = np.round(scaled + offset, FIT_DECIMALS)
            # from another zero a form that multiplies may not be allowed
            earlier = None
            if before and before[output].offset == offset:
                earlier = before[output].model
            fits.append(SeriesFit(self.fit_series(y, season, earlier), begins, offset))
        return fits

    def fit_series(self, y: Array, season: int, before: SeriesModel | None = None) -> SeriesModel:
        """`fit_model` on a copy of y (T,); `ModelError` when the model cannot be fitted."""
        try:
            if len(y) < self.least_rows:
                raise ValueError(
                    f"it needs {self.least_rows}; give a longer history or a shorter horizon"
                )
            with warnings.catch_warnings():
                # of the optimisers inside: what they found is judged by its errors
                warnings.simplefilter("ignore")
                return self.fit_model(np.array(y, dtype=np.float64), season, before)
        except Exception as error:
            # statsforecast raises bare Exception, ValueError, NotImplementedError, LinAlgError
            raise ModelError(
                f"{self.family} cannot be fitted to {len(y)} train rows with season {season}:"
                f" {error}. Or take another model, such as 'naive' or 'historical_mean'."
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
        fits = model.statistical[series.unique_id]
        first = _recursion_start(fits[0].begins, series)
        z = model.scaling.scale_series(series, model.task)
        history = fill_gaps(z[None, first:, : model.channels.outputs])[0][0]
        outputs = []
        for z_of_output, fitted in zip(history.T, fits, strict=True):
            y_hat = fitted.model.forecasts(
                z_of_output + fitted.offset, rows - first, model.task.horizon
            )
            outputs.append(y_hat - fitted.offset)
        forecasts = hold_to_history(np.stack(outputs, axis=2), history, rows - first)
        if not np.isfinite(forecasts).all():
            raise ModelError(
                f"{self.family} forecasts of series {series.unique_id!r} are not finite."
                " Take another model, such as 'naive'."
            )
        return forecasts


def hold_to_history(forecasts: Array, history: Array, origins: RowNumbers) -> Array:
    """`forecasts` (n, H, O), held to the range of `history` (T, O) up to each of `origins` (n,) and
    its width on either side; further at a step that is further ahead than the history is long, so
    that a trend may go on.

    What multiplies has no end: a season of counts near zero, or of a level that fell, forecast a
    thousand times the highest value.
    """
    low = np.minimum.accumulate(history)[origins]
    high = np.maximum.accumulate(history)[origins]
    steps = np.arange(1, forecasts.shape[1] + 1)
    spans = np.maximum(steps / np.maximum(origins, 1)[:, None], 1.0)
    reach = (high - low)[:, None] * spans[:, :, None]
    return np.clip(forecasts, low[:, None] - reach, high[:, None] + reach)


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
