"""Family `historical`: the average change of a series over its whole history, continued; mean or
median.

Nothing is estimated at the fit: each cutoff has the average of the changes before it. On a price
this is the drift of the market, and knows nothing of the recent past: what beats the naive forecast
without beating it may owe its gain to the drift alone. It is left out where no target is a price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from forecast.models.series_fit import Array, RowNumbers, SeriesModel
from forecast.models.statistical import StatisticalSpec


@dataclass(frozen=True)
class AverageChange:
    """`average`: "mean" or "median" of the one-step changes of all rows up to the origin."""

    average: str

    def forecasts(self, y: Array, origins: RowNumbers, horizon: int) -> Array:
        """(n_origins, horizon): the last value, and the average change once for every step."""
        changes = pd.Series(np.diff(y, prepend=np.nan)).expanding()
        average = changes.mean() if self.average == "mean" else changes.median()
        slope = average.fillna(0.0).to_numpy()[origins]
        return np.asarray(y[origins, None] + slope[:, None] * np.arange(1, horizon + 1))


class Spec(StatisticalSpec):
    """An entry of this family."""

    series_model = AverageChange
    suits_prices_only = True
    summary = "Continues the average change of the whole history: a market's drift."
    equation = "y[t+h] = y[t] + h mean(y[1] - y[0], ..., y[t] - y[t-1]), or their median"
    source = "Goyal & Welch 2008 (the historical average as a bar)"

    average: Literal["mean", "median"] = Field(
        "mean", description="of the changes; crashes hardly move the median"
    )

    def fit_model(self, y: Array, season: int, before: SeriesModel | None) -> AverageChange:
        """Nothing is estimated: each cutoff has the average of the rows before it."""
        return AverageChange(self.average)
