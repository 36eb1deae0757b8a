"""Family `historical`: the average of a series over its whole history; mean or median.

Nothing is estimated at the fit: each cutoff has the average of the rows up to it. For a price the
average change is continued from the last value (the drift of the market). For anything else the
forecast is the average value, of all rows or of those at the same step of a season. It knows
nothing of the recent past: what beats the naive forecast without beating it may owe its gain to a
constant alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.config.transforms import TRANSFORMS
from forecast.models.problem import Problem
from forecast.models.series_fit import Array, RowNumbers, SeriesFit, SeriesModel
from forecast.models.statistical import StatisticalSpec


@dataclass(frozen=True)
class HistoricalAverage:
    """`average`: "mean" or "median" of all rows up to the origin that are a whole number of seasons
    before the forecast; of their one-step changes where `season` is 0.
    """

    average: str
    season: int

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """(n_origins, horizon): the average, or the last value with it once for every step."""
        steps = np.arange(1, horizon + 1)
        season = max(self.season, 1)
        values = np.full(-(-len(y) // season) * season, np.nan)  # whole seasons, one a row
        values[: len(y)] = y if self.season else np.diff(y, prepend=np.nan)
        averages = pd.DataFrame(values.reshape(-1, season)).expanding().agg(self.average)
        average = averages.fillna(0.0).to_numpy().ravel()
        if not self.season:
            return y[origins, None] + average[origins, None] * steps
        same_step = origins[:, None] + steps - season * -(-steps // season)
        return average[np.maximum(same_step, 0)]


class Spec(StatisticalSpec):
    """An entry of this family."""

    series_model = HistoricalAverage
    summary = "The average of the whole history; of a price of its changes, continued."
    equation = "y[t+h] = mean(y[t], y[t-1], ...), of a price y[t] + h mean(changes); or median"
    source = "Goyal & Welch 2008 (the historical average as a bar)"

    average: Literal["mean", "median"] = Field(
        "mean", description="of the rows; crashes hardly move the median"
    )
    seasonal: bool = Field(False, description="of the rows at the same step of the season alone")

    def reason_unsuited(self, season_length: int) -> str:
        """Why it is left out of a dataset with this season; empty when it fits."""
        if self.seasonal and season_length == 1:
            return "without a season it is the average of all rows"
        return ""

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> HistoricalAverage:
        """Nothing is estimated: each cutoff has the average of the rows up to it."""
        return HistoricalAverage(self.average, season if self.seasonal else 1)

    def _fit_targets(
        self, problem: Problem, uid: str, before: Sequence[SeriesFit]
    ) -> list[SeriesFit]:
        """The averages; for a price that is modelled by its level, that of the changes."""
        fits = super()._fit_targets(problem, uid, before)
        for place, column in enumerate(problem.panel.task.target):
            if column.is_price and not TRANSFORMS[column.transform].takes_changes:
                model = HistoricalAverage(self.average, 0)
                fits[place] = replace(fits[place], model=model)
        return fits
