"""Exponential smoothing with automatic choice of error, trend and season (statsforecast's AutoETS).

AICc looks one step ahead only: on hourly data it drops the day for a random walk, which is far worse at every
longer horizon. `seasonal: kept` keeps the additive season and has the rest chosen: the stronger bar there.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "auto_ets"
    summary: ClassVar[str] = "Exponential smoothing, form chosen by AICc on the train range."
    equation: ClassVar[str] = "l[t] = l[t-1] + b[t-1] + alpha e[t], ... (innovations state space)"
    source: ClassVar[str] = "Hyndman, Koehler, Snyder & Grose 2002"

    family: Literal["auto_ets"] = "auto_ets"
    seasonal: Literal["chosen", "kept"] = "chosen"

    def unsuited(self, season_length: int) -> str:
        return "there is no season to keep" if self.seasonal == "kept" and season_length == 1 else ""

    def options(self, season_length: int) -> dict[str, Any]:
        return {"model": "ZZA" if self.seasonal == "kept" else "ZZZ"}
