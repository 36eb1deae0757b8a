"""The standard Theta method: statsforecast's squared error and decomposition, its least found by one search."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "theta"
    summary: ClassVar[str] = "Simple exponential smoothing with half the linear trend, after removing the season."
    equation: ClassVar[str] = "mean of the theta lines 0 (trend) and 2 (smoothed)"
    source: ClassVar[str] = "Assimakopoulos & Nikolopoulos 2000; Fiorucci et al. 2016"

    family: Literal["theta"] = "theta"
