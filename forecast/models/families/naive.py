"""Family `naive`: one value repeated, the last observed one (the random walk), or the mean or the
median of the lookback.

Nothing is fitted. Every leaderboard has the last value, since skill and the first tests are against
it. Of counts that are mostly zero the median is zero, which has the lowest absolute error of all
constants.

`Spec` (a `BaselineSpec`) is what an entry of configs/models.yaml with this family is read as.
`forecast` takes `Windows`, past rows (B, T, C) in scaled units, and gives (B, H, O) in the same; it
reads no row after the cutoff. Another constant of the rows in the lookback is a value of its
option that `forecast` reads.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from forecast.data.windows import Layout, Windows, fill_gaps
from forecast.models.base import BaselineSpec
from forecast.models.skip import Skip


class Spec(BaselineSpec):
    """An entry of this family: a rule on the rows of the window."""

    summary = "Repeats the last observed value, or the mean or median of the lookback."
    equation = "y[t+h] = y[t], or the mean or median of y[t-L+1..t]"
    source = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2"

    value: Literal["last", "mean", "median"] = Field("last", description="which one is repeated")

    def forecast(
        self, windows: Windows, channels: Layout, *, horizon: int, season_length: int
    ) -> np.ndarray:
        """(B, H, O) in scaled units. To a mean or median a missing row has the value before it, or,
        before the first observed one, 0: the train mean.
        """
        if self.value == "last":
            return Skip("last", horizon, channels.outputs).forecast(windows, channels)
        rows = fill_gaps(windows.z[:, :, : channels.outputs])[0]
        repeated = np.median(rows, axis=1) if self.value == "median" else rows.mean(axis=1)
        return np.repeat(repeated[:, None], horizon, axis=1)
