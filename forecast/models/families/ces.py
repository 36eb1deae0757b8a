"""Complex exponential smoothing, its form chosen by AICc (statsforecast's AutoCES)."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "ces"
    summary: ClassVar[str] = "Complex exponential smoothing: level and a hidden second part, with or without a season."
    equation: ClassVar[str] = (
        "z[t] = [[1, alpha1 - 1], [1, 1 - alpha0]] z[t-1] + [alpha0 - alpha1, alpha0 + alpha1] e[t]"
    )
    source: ClassVar[str] = "Svetunkov, Kourentzes & Ord 2022"

    family: Literal["ces"] = "ces"
