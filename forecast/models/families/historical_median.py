"""The median change of a series over its whole history, continued: as `historical_mean`, but hardly
moved by crashes.
"""

from __future__ import annotations

from typing import Any

from forecast.models.families.historical_mean import AverageChange
from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    """An entry of this family."""

    series_model = AverageChange
    suits_prices_only = True
    summary = "Continues the median change of the whole history: a market's drift without crashes."
    equation = "y[t+h] = y[t] + h median(y[1] - y[0], ..., y[t] - y[t-1])"
    source = "Goyal & Welch 2008 (the historical average as a bar); the median for absolute errors"

    def options(self, season: int) -> dict[str, Any]:
        """Arguments of the fit, given the dataset's season."""
        return {"average": "median"}
