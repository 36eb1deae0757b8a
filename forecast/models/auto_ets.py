"""Exponential smoothing with automatic choice of error, trend and season (statsforecast's AutoETS).

Where the dataset has a season, the additive season is kept and the rest chosen: AICc looks one step ahead only, and
on hourly data it drops the day for a random walk, which is far worse at every longer horizon.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from forecast.models.base import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "auto_ets"
    summary: ClassVar[str] = "Exponential smoothing, form chosen by AICc on the train range."
    equation: ClassVar[str] = "l[t] = l[t-1] + b[t-1] + alpha e[t], ... (innovations state space)"
    source: ClassVar[str] = "Hyndman, Koehler, Snyder & Grose 2002"

    family: Literal["auto_ets"] = "auto_ets"

    def options(self, season: int) -> dict[str, Any]:
        return {"model": "ZZA" if season > 1 else "ZZZ"}
