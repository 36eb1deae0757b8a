"""Season and trend by LOESS, exponential smoothing on what is left (statsforecast's MSTL with AutoETS)."""

from __future__ import annotations

from typing import ClassVar, Literal

from forecast.models.statistical import StatisticalSpec


class Spec(StatisticalSpec):
    method: ClassVar[str] = "mstl"
    summary: ClassVar[str] = "The last season repeated, on exponential smoothing of the seasonally adjusted series."
    equation: ClassVar[str] = "y[t+h] = ETS(y - s)[t+h] + s[t + h - m ceil(h/m)], s: seasonal part by STL"
    source: ClassVar[str] = "Cleveland, Cleveland, McRae & Terpenning 1990; Bandara, Hyndman & Bergmeir 2021"

    family: Literal["mstl"] = "mstl"

    def unsuited(self, season_length: int) -> str:
        return "a decomposition needs a season" if season_length == 1 else ""
