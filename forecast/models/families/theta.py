"""The standard Theta method: `auto_theta` with its form given (statsforecast's Theta)."""

from __future__ import annotations

from typing import Any

from forecast.models.families.auto_theta import Theta
from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    """Options of an entry of this family, and what they ask of the fit."""

    series_model = Theta
    summary = "Simple exponential smoothing with half the linear trend, after removing the season."
    equation = "mean of the theta lines 0 (trend) and 2 (smoothed)"
    source = "Assimakopoulos & Nikolopoulos 2000; Fiorucci et al. 2016"

    def options(self, season: int) -> dict[str, Any]:
        """Arguments of the fit, given the dataset's season."""
        return {"model": "STM"}
