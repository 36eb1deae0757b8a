"""Family `naive`: the last observed value repeated, y[t + h] = y[t], the random walk.

Nothing is fitted. Every leaderboard has it, since skill and the first tests are against it.
"""

from __future__ import annotations

import numpy as np

from forecast.data.windows import Layout, Windows
from forecast.models.base import BaselineSpec
from forecast.models.skip import Skip


class Spec(BaselineSpec):
    """An entry of this family: a rule on the rows of the window."""

    summary = "Repeats the last observed value."
    equation = "y[t+h] = y[t]"
    source = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2"

    def forecast(
        self, windows: Windows, channels: Layout, *, horizon: int, season_length: int
    ) -> np.ndarray:
        """(B, H, O) in scaled units."""
        return Skip("last", horizon, channels.outputs).forecast(windows, channels)
