"""Exponential smoothing with automatic choice of error, trend and season (statsforecast's AutoETS)."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.base import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "auto_ets"
    summary: ClassVar[str] = "Exponential smoothing, form chosen by AICc on the train range."
    equation: ClassVar[str] = "l[t] = l[t-1] + b[t-1] + alpha e[t], ... (innovations state space)"
    source: ClassVar[str] = "Hyndman, Koehler, Snyder & Grose 2002"

    family: Literal["auto_ets"] = "auto_ets"
