"""The standard Theta method: `auto_theta` with its form given (statsforecast's Theta)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from forecast.models.families.auto_theta import Theta
from forecast.models.statistical import Fitted, StatisticalSpec


class Spec(StatisticalSpec):
    fitted: ClassVar[type[Fitted]] = Theta
    summary: ClassVar[str] = "Simple exponential smoothing with half the linear trend, after removing the season."
    equation: ClassVar[str] = "mean of the theta lines 0 (trend) and 2 (smoothed)"
    source: ClassVar[str] = "Assimakopoulos & Nikolopoulos 2000; Fiorucci et al. 2016"

    family: Literal["theta"] = "theta"

    def options(self, season: int) -> dict[str, Any]:
        return {"model": "STM"}
